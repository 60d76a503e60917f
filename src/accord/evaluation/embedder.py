"""What evaluation and search ask of a model; the loaded model implements it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor

from accord.data.loading.features import Features
from accord.data.loading.tokens import TokenRows
from accord.errors import DataError
from accord.methods.abilities import Ability, Rescores, ScoresTuples

if TYPE_CHECKING:
    from accord.data.corpus import Corpus


class Embedder(Protocol):
    """Turns items of any of its modalities into unit vectors of one space, in batches of its own choosing."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it embeds, of :func:`accord.data.fields.main_fields`."""
        ...

    def embed(
        self,
        *,
        images: Sequence[Any] | None = None,
        texts: Sequence[str] | None = None,
        audio: Sequence[Any] | None = None,
        video: Sequence[Any] | None = None,
    ) -> Tensor:
        """Embed the one argument that is given.

        Args:
            images: paths, PIL images or encoded bytes.
            texts: strings.
            audio: paths.
            video: paths of clips or folders of frames.

        Returns:
            ``(N, D)`` float32 on the CPU, unit norm.
        """
        ...

    def embed_corpus(self, corpus: Corpus, modality: str) -> Tensor:
        """Embed one modality of every row in order, the first caption for ``"text"``: ``(N, D)``."""
        ...


class Rescorer(Embedder, Protocol):
    """An embedder that can also score pairs more closely, from their tokens."""

    def tokens(
        self,
        *,
        images: Sequence[Any] | None = None,
        texts: Sequence[str] | None = None,
        audio: Sequence[Any] | None = None,
        video: Sequence[Any] | None = None,
    ) -> TokenRows:
        """Embeddings and tokens of the one argument that is given."""
        ...

    def tokens_corpus(self, corpus: Corpus, modality: str) -> TokenRows:
        """Embeddings and tokens of one modality of every row in order, of the first caption for ``"text"``."""
        ...

    def rescore(self, query: Features, candidates: Features, modality: str) -> Tensor:
        """Scores ``(A, B)``, float32 on the CPU, of A queries of a modality against B candidates of another."""
        ...


@runtime_checkable
class HasAbilities(Protocol):
    """A model that says what else it can do; what is an embedder alone can do nothing besides."""

    def can(self, kind: type[Ability]) -> bool:
        """Whether it has this ability."""
        ...


def by_joint_score(model: Embedder) -> bool:
    """Whether the model compares by a score of its own instead of the cosine."""
    return can(model, ScoresTuples)


def rescorer(model: Embedder) -> Rescorer | None:
    """The model as one that scores pairs in a second stage; None where it compares whole embeddings only."""
    return model if can(model, Rescores) else None  # type: ignore[return-value]


def can(model: Embedder, kind: type[Ability]) -> bool:
    """Whether a model has an ability; an embedder that says nothing of its abilities has none."""
    return isinstance(model, HasAbilities) and model.can(kind)


def check_finite(name: str, embeddings: Tensor) -> None:
    """Refuse embeddings that hold NaN or infinity: every comparison with them would silently count as a hit.

    Raises:
        DataError: names how many rows are not finite.

    Example:
        >>> import torch
        >>> check_finite("images", torch.tensor([[1.0], [float("nan")]]))
        Traceback (most recent call last):
        accord.errors.DataError: images: 1 of 2 rows are not finite; the model diverged, ...
    """
    bad = int((~embeddings.isfinite()).any(dim=1).sum())
    if bad:
        raise DataError(
            f"{name}: {bad} of {len(embeddings)} rows are not finite; "
            "the model diverged, train again with a lower learning rate"
        )
