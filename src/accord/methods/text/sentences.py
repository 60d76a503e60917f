"""What methods of texts alone share: one text encoder, how a text's tokens become a vector, views, noise.

The families are those that Rethmeier and Augenstein order ("A Primer on Contrastive Pretraining in Language
Processing", 2023, ACM Computing Surveys). A text encoder that drops nothing itself, such as ``tiny_text``, is given
dropout before its blocks, since that is what makes two views of one text differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from accord import config as settings
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.encoders.residual import has_dropout, residual_dropout
from accord.encoders.text import is_causal
from accord.encoders.tokenizer import SpecialTokens
from accord.errors import ConfigError
from accord.functional import alignment, effective_rank, pool, uniformity
from accord.methods.abilities import Embeds
from accord.methods.base import Batch, DataInfo, Method

DROPOUT = 0.1  # that of BERT
Pair = tuple[Any, Tensor | None]  # token ids and mask of a batch of texts, or features


class SentenceConfig(settings.Config):
    """Settings of :class:`Sentences`."""

    pooling: Literal["encoder", "cls", "mean"] = Field(
        "mean", description="a text's vector: as its encoder pools, its first token, or the mean of its tokens"
    )
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="dropout before each block of the encoder; none: 0.1, unless the encoder drops something itself",
    )


class Sentences(Method, Embeds):
    """A text encoder whose vectors are compared."""

    needs: Mapping[str, frozenset[str]] = {"text": frozenset({"pooled", "tokens"})}
    Config: ClassVar[type[settings.Config]] = SentenceConfig
    config: Any

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        text = encoders["text"]
        self.special: SpecialTokens = getattr(getattr(text.input, "tokenizer", None), "special", SpecialTokens())
        dropout = 0.0 if has_dropout(text) else DROPOUT
        self.dropout: float = dropout if self.config.dropout is None else self.config.dropout
        if self.config.pooling == "cls" and is_causal(text):
            raise ConfigError(
                f"method {self.name} takes a text's first token for the whole (pooling = 'cls'), and no token of this "
                "encoder sees later ones: set method.pooling=encoder, or encoders.text.options.pool=mean"
            )

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """The encoder's own vector, or its tokens besides."""
        own = config.pooling == "encoder"
        return {"text": frozenset({"pooled"} if own else {"pooled", "tokens"})}

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """A small network to train, whose tokens see each other: a frozen one would learn nothing."""
        return {"text": {"name": "tiny_text", "options": {"pool": "mean"}}}

    @property
    def width(self) -> int:
        """Width of :meth:`pooled`."""
        encoder = self.text_encoder
        return encoder.dim if self.config.pooling == "encoder" else encoder.token_dim

    @property
    def text_encoder(self) -> Encoder:
        """The encoder of texts."""
        encoder = self.encoders["text"]
        assert isinstance(encoder, Encoder)
        return encoder

    def read(self, text: Any, mask: Tensor | None) -> Features:
        """What the encoder makes of texts, with dropout of its own for each of them in training."""
        return self.read_by(self.text_encoder, text, mask)

    def read_by(self, encoder: Encoder, text: Any, mask: Tensor | None) -> Features:
        """The same by a copy of the encoder."""
        with residual_dropout(encoder, self.dropout):
            features: Features = encoder(text, mask)
        return features

    def pooled(self, features: Features) -> Tensor:
        """One vector ``(B, D)`` a text, of any norm."""
        if self.config.pooling == "encoder":
            return features.pooled.float()
        return pool(*features.sequence(), self.config.pooling)

    def of_views(self, views: Sequence[Pair]) -> list[Tensor]:
        """:meth:`pooled` of several views of the texts, which go through the encoder together."""
        if len(views) == 1 or isinstance(views[0][0], Features):
            return [self.pooled(self.read(*view)) for view in views]
        return list(self.pooled(self.read(*stacked(views))).split([len(ids) for ids, _ in views]))

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The pooled vector, unit norm."""
        return {"text": F.normalize(self.vectors(batch)["text"], dim=1)}

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """The same as it is pooled."""
        return {"text": self.pooled(self.text_encoder(batch["text"], batch.get("text_mask")))}


def stacked(views: Sequence[Pair]) -> tuple[Tensor, Tensor]:
    """Ids and mask of several batches of texts as those of one, padded to the longest.

    Example:
        >>> short, long = torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 5, dtype=torch.int64)
        >>> stacked([(short, short > 0), (long, long > 0)])[1].sum(dim=1)
        tensor([3, 3, 5, 5])
    """
    longest = max(ids.shape[1] for ids, _ in views)
    masks = [torch.ones_like(ids, dtype=torch.bool) if mask is None else mask for ids, mask in views]
    ids = [F.pad(ids, (0, longest - ids.shape[1])) for ids, _ in views]
    return torch.cat(ids), torch.cat([F.pad(mask, (0, longest - mask.shape[1])) for mask in masks])


@torch.no_grad()
def spread_of(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """How near two views of the same texts are, and how the texts spread: what the log watches.

    Args:
        first: ``(N, D)``, any norm.
        second: ``(N, D)``.

    Example:
        >>> sorted(spread_of(torch.eye(3), torch.eye(3)))
        ['alignment', 'effective_rank', 'uniformity']
    """
    first, second = F.normalize(first.float(), dim=1), F.normalize(second.float(), dim=1)
    return {
        "alignment": alignment(first, second),
        "uniformity": uniformity(first),
        "effective_rank": effective_rank(first),
    }
