"""A trained method in use: vectors, scores, classes and captions for things in memory and for rows of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.inputs import Input
from accord.data.loading.batches import to_device
from accord.data.loading.features import FeatureCache, Features
from accord.data.loading.loader import EpochLoader, eval_loader
from accord.data.loading.tokens import TokenRows
from accord.encoders.base import Encoder
from accord.encoders.generation import Caption, CaptionFit, Decoding
from accord.errors import ConfigError
from accord.functional import mean_cosine
from accord.methods import Method, named_with
from accord.methods.abilities import (
    Ability,
    Answers,
    Captions,
    Classifies,
    Embeds,
    Rescores,
    RescoresTuples,
    ScoresTuples,
    Segments,
)
from accord.methods.base import Batch, map_encoder
from accord.training.allocator import keep_freed_memory
from accord.training.caching import stored_features
from accord.training.device import reading_workers
from accord.training.items import Items

Able = TypeVar("Able", bound=Ability)
Answer = TypeVar("Answer")
_WORTH_STORING = 64  # rows; fewer are encoded as fast as they are looked up


class Model:
    """A trained method that embeds anything it has an encoder for.

    ``workers`` processes decode what it reads of many rows; None takes what suits the device.

    It does not change any more, so what a corpus embeds to is computed once and remembered as long as the corpus
    lives: several evaluations and the report read the same vectors.

    Example:
        >>> model = accord.load("runs/emoji")                          # doctest: +SKIP
        >>> pictures = model.embed(images=["cat.png", "dog.png"])      # doctest: +SKIP
        >>> model.similarity(model.embed(texts=["a cat"]), pictures)   # doctest: +SKIP
    """

    def __init__(self, method: Method, *, config: Mapping[str, Any] | None = None, path: Path | None = None) -> None:
        self.method = method.eval()
        self.config = dict(config or {})
        self.path = path
        self.workers: int | None = None
        self._known: WeakKeyDictionary[Corpus, dict[str, Any]] = WeakKeyDictionary()
        keep_freed_memory()

    def __repr__(self) -> str:
        return f"Model({self.method.name}, {' + '.join(self.modalities)}, from {self.path})"

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that the method embeds; none where it embeds nothing."""
        able = Embeds.of(self.method)
        return () if able is None else tuple(able.embeds)

    def can(self, kind: type[Ability]) -> bool:
        """Whether the method has this ability, with its settings."""
        return kind.of(self.method) is not None

    def able(self, kind: type[Able]) -> Able:
        """The method as one with this ability.

        Raises:
            ConfigError: it has not; names the methods that have.
        """
        able = kind.of(self.method)
        if able is None:
            raise ConfigError(f"method {self.method.name} does not {kind.does}; methods that do: {named_with(kind)}")
        return able

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the training data."""
        return self.method.data.classes

    @property
    def inputs(self) -> dict[str, Input]:
        """Field -> what it is prepared for: what its encoder is fed, or what the method says where it has none."""
        return self.method.inputs

    @property
    def logit_scale(self) -> float:
        """Factor on cosines that makes them logits: the method's own, or CLIP's largest where it has none."""
        return self.able(Embeds).cosine_scale

    @property
    def score_scale(self) -> float:
        """Factor that makes logits of the closest scores that the model has: of :meth:`rescore`, or of cosines."""
        able = Rescores.of(self.method)
        return 1.0 if able is not None and able.rescores_in_logits else self.logit_scale

    @property
    def templates(self) -> str | Sequence[str]:
        """How class names are written for the model: as it was trained to read them (a bundle), else as they are."""
        return self.able(Embeds).templates or "plain"

    def shares(self, scores: Tensor) -> Tensor:
        """Probabilities ``(N, C)`` of C classes from their scores.

        They are weighed against each other, or each has one of its own where the model was trained with a sigmoid.
        """
        logits, bias = self.score_scale * scores, self.able(Embeds).cosine_bias
        return logits.softmax(dim=1) if bias is None else (logits + bias).sigmoid()

    def loader(
        self,
        corpus: Corpus,
        modalities: Collection[str],
        *,
        batch_size: int = 64,
        targets: Collection[str] = (),
        cache: Mapping[str, FeatureCache] | None = None,
        inputs: Mapping[str, Input] | None = None,
    ) -> EpochLoader:
        """Rows in order as the method reads them, not augmented: :func:`~accord.data.loading.loader.eval_loader`.

        ``inputs`` are what fields are prepared for instead of :attr:`inputs`, for other views of the same rows.
        """
        return eval_loader(
            corpus,
            {**self.inputs, **(inputs or {})},
            batch_size=batch_size,
            modalities=modalities,
            targets=targets,
            cache=cache,
            raw=self.method.raw_inputs,
            workers=reading_workers(self.workers, self.method.device),
            late=self.method.device.type != "cpu",
        )

    def embed(
        self,
        *,
        images: Sequence[Any] | None = None,
        texts: Sequence[str] | None = None,
        audio: Sequence[Any] | None = None,
        video: Sequence[Any] | None = None,
        sequences: Sequence[Any] | None = None,
        batch_size: int = 64,
        **others: Sequence[Any] | None,
    ) -> Tensor:
        """Unit-norm embeddings ``(N, D)``, float32 on the CPU, of items of one modality.

        Args:
            images: paths, PIL images or bytes.
            texts: strings.
            audio: paths.
            video: paths of clips or folders of frames.
            sequences: paths of ``.npy`` files, or arrays ``(T, F)``.
            batch_size: items per forward pass.
            **others: items of a modality of another package, by its own argument.

        Raises:
            ConfigError: not exactly one modality is given, as a list, or the model has no encoder for it.
            DataError: an item cannot be read; says which.
        """
        given = Items("embed", images=images, texts=texts, audio=audio, video=video, sequences=sequences, **others)
        with given.named():
            return self.embed_corpus(given.corpus, given.modality, batch_size=batch_size)

    def embed_corpus(self, corpus: Corpus, modality: str, *, batch_size: int = 64) -> Tensor:
        """Embeddings ``(N, D)`` of one modality of every row of ``corpus``, in order.

        Raises:
            ConfigError: the method does not embed this modality.
            RowError: a row cannot be read any more.
        """
        self._check(modality)
        return self._run(corpus, modality, modality, batch_size, partial(self.embed_batch, modality=modality), _rows)

    @torch.inference_mode()
    def embed_batch(self, batch: Batch, modality: str) -> Tensor:
        """Embeddings ``(B, D)`` of one modality of a loader's batch, float32 on the CPU."""
        moved = to_device(batch, self.method.device)
        return self.able(Embeds).embed(moved)[modality].float().cpu()

    @torch.inference_mode()
    def score_tuples(
        self, queries: Mapping[str, Tensor], candidates: Mapping[str, Tensor], present: Tensor | None = None
    ) -> Tensor:
        """Score ``(A, B)`` of A queries of one or several modalities against B candidates, float32 on the CPU.

        The mean cosine, unless the method has a score of its own (GRAM).

        Args:
            queries: modality -> embeddings ``(A, D)``.
            candidates: modality -> embeddings ``(B, D)``.
            present: ``(B, k)`` bool, False for a modality that a candidate lacks.
        """
        device = self.method.device
        asked, found = ({name: rows.to(device) for name, rows in side.items()} for side in (queries, candidates))
        there = None if present is None else present.to(device)
        own = ScoresTuples.of(self.method)
        scores = mean_cosine(asked, found, there) if own is None else own.score_tuples(asked, found, there)
        return scores.float().cpu()

    @torch.inference_mode()
    def rescore_tuples(self, anchor: Features, others: Mapping[str, Features]) -> Tensor:
        """Log-odds ``(P,)`` that items belong to tuples of the other modalities, float32 on the CPU.

        Args:
            anchor: of the modality that the method's matching head reads beside all others, padded tokens as
                :meth:`tokens` gives them.
            others: modality -> the same, of as many items.

        Raises:
            ConfigError: the method has no matching head for tuples.
        """
        device = self.method.device
        moved = {name: features.to(device) for name, features in others.items()}
        return self.able(RescoresTuples).rescore_tuples(anchor.to(device), moved).float().cpu()

    def tokens(
        self,
        *,
        images: Sequence[Any] | None = None,
        texts: Sequence[str] | None = None,
        audio: Sequence[Any] | None = None,
        video: Sequence[Any] | None = None,
        sequences: Sequence[Any] | None = None,
        batch_size: int = 64,
        **others: Sequence[Any] | None,
    ) -> TokenRows:
        """Embeddings and tokens of items of one modality, given as to :meth:`embed`, for :meth:`rescore`.

        Raises:
            ConfigError: the method has no second stage, not exactly one modality is given, or there is no encoder.
            DataError: an item cannot be read; says which.
        """
        given = Items("tokens", images=images, texts=texts, audio=audio, video=video, sequences=sequences, **others)
        with given.named():
            return self.tokens_corpus(given.corpus, given.modality, batch_size=batch_size)

    def tokens_corpus(self, corpus: Corpus, modality: str, *, batch_size: int = 64) -> TokenRows:
        """Embeddings and tokens of one modality of every row of ``corpus``, in order.

        Raises:
            ConfigError: the method has no second stage, or does not embed this modality.
            RowError: a row cannot be read any more.
        """
        self._check(modality)
        able = RescoresTuples.of(self.method) or self.able(Rescores)

        def tokens(batch: Batch) -> Features:
            return able.token_features(batch)[modality].to("cpu")

        rows: TokenRows = self._run(corpus, modality, f"{modality} tokens", batch_size, tokens, TokenRows.of)
        self._known[corpus].setdefault(modality, rows.pooled)
        return rows

    @torch.inference_mode()
    def rescore(self, query: Features, candidates: Features, modality: str) -> Tensor:
        """Scores ``(A, B)`` of A queries against B candidates by their tokens, float32 on the CPU.

        They order the candidates of one query more closely than cosines do, and are no cosines themselves.

        Args:
            query: tokens of one modality, as :meth:`tokens` gives them, padded.
            candidates: tokens of the other.
            modality: that of the query.

        Raises:
            ConfigError: the method has no second stage.
        """
        device = self.method.device
        return self.able(Rescores).rescore(query.to(device), candidates.to(device), modality).float().cpu()

    def classify(self, corpus: Corpus, *, batch_size: int = 64) -> Tensor:
        """Class logits ``(N, C)`` of every row of ``corpus``.

        Raises:
            ConfigError: the method has no classifier.
        """
        able = self.able(Classifies)

        def classify(batch: Batch) -> Tensor:
            return able.classify(batch).float().cpu()

        read = self.method.subjects_of(corpus.columns.readable)
        logits: Tensor = self._run(corpus, read, "logits", batch_size, classify, _rows)
        return logits

    @torch.inference_mode()
    def over_batches(
        self,
        corpus: Corpus,
        ask: Callable[[Batch], Answer],
        *,
        targets: Collection[str] = (),
        batch_size: int = 64,
        inputs: Mapping[str, Input] | None = None,
    ) -> list[Answer]:
        """What is answered to each batch of ``corpus``, in order: rows as the method reads them, not augmented.

        For tasks that ask an ability of the method.

        Args:
            corpus: the rows.
            ask: takes a batch on the method's device, such as ``model.able(FindsMoments).find_moments``.
            targets: of :mod:`accord.data.targets`, in the batch under their keys.
            batch_size: rows of a batch.
            inputs: as of :meth:`loader`.

        Raises:
            DataError: the rows lack a modality or target.
            RowError: a row cannot be read any more.
        """
        read = self.method.reads(self.method.config)
        loader = self.loader(corpus, read, batch_size=batch_size, targets=targets, inputs=inputs)
        return [ask(to_device(batch, self.method.device)) for batch in loader]

    def once(self, corpus: Corpus, name: str, compute: Callable[[], Answer]) -> Answer:
        """What is computed of a corpus, remembered under a name for as long as the corpus lives.

        For tasks whose numbers and whose part of the report come from one pass over the rows.
        """
        known = self._known.setdefault(corpus, {})
        if name not in known:
            known[name] = compute()
        found: Answer = known[name]
        return found

    def dense_corpus(self, corpus: Corpus, *, batch_size: int = 64) -> Tensor:
        """Features ``(N, C, h, w)`` of the cells of every row's image, float32 on the CPU.

        Raises:
            ConfigError: the image encoder gives no map.
        """
        encoder = map_encoder(self.method)
        return self._maps(corpus, batch_size, lambda batch: encoder(batch["image"]).grid().float().cpu())

    def segment_corpus(self, corpus: Corpus, size: tuple[int, int], *, batch_size: int = 64) -> Tensor:
        """The part ``(N, H, W)`` that each pixel of every row's image belongs to, a number.

        Raises:
            ConfigError: the method does not segment.
        """
        able = self.able(Segments)
        return self._maps(corpus, batch_size, lambda batch: able.segment(batch, size).cpu())

    @torch.inference_mode()
    def _maps(self, corpus: Corpus, batch_size: int, forward: Callable[[Batch], Tensor]) -> Tensor:
        loader = self.loader(corpus, ("image",), batch_size=batch_size)
        return torch.cat([forward(to_device(batch, self.method.device)) for batch in loader])

    def caption(
        self, images: Sequence[Any], *, decoding: Decoding | Mapping[str, Any] | None = None, seed: int = 0
    ) -> list[Caption]:
        """A caption for each image; each is a string with a ``score``.

        Args:
            images: paths, PIL images or bytes.
            decoding: how captions are written, such as ``{"method": "nucleus", "top_p": 0.9}``; None for beam search.
            seed: of sampling.

        Raises:
            ConfigError: the method writes no captions; names those that do.
            DataError: an image cannot be read; says which.
        """
        given = Items("caption", images=images)
        with given.named():
            return self.caption_corpus(given.corpus, decoding=decoding, seed=seed)

    def caption_corpus(
        self,
        corpus: Corpus,
        *,
        decoding: Decoding | Mapping[str, Any] | None = None,
        seed: int = 0,
        batch_size: int = 32,
    ) -> list[Caption]:
        """A caption for the image of every row of ``corpus``, in order; see :meth:`caption`."""
        able = self.able(Captions)
        how = Decoding.parse(dict(decoding) if isinstance(decoding, Mapping) else decoding, at="decoding")
        return self._written(corpus, partial(able.caption, decoding=how), seed, batch_size)

    def answer_corpus(
        self,
        corpus: Corpus,
        *,
        decoding: Decoding | Mapping[str, Any] | None = None,
        seed: int = 0,
        batch_size: int = 32,
    ) -> list[Caption]:
        """An answer to the question of every row of ``corpus`` about what it shows, in order.

        Args:
            corpus: the rows.
            decoding: how answers are written; None for beam search.
            seed: of sampling.
            batch_size: rows of a batch.

        Raises:
            ConfigError: the method answers no questions; names those that do.
        """
        able = self.able(Answers)
        how = Decoding.parse(dict(decoding) if isinstance(decoding, Mapping) else decoding, at="decoding")
        return self._written(corpus, partial(able.answer, decoding=how), seed, batch_size)

    def _written(
        self, corpus: Corpus, write: Callable[[Batch], list[Caption]], seed: int, batch_size: int
    ) -> list[Caption]:
        """What is written of every row's subjects."""
        loader = self.loader(corpus, self.method.subjects_of(corpus.columns.readable), batch_size=batch_size)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            batches = [write(to_device(batch, self.method.device)) for batch in loader]
        return [text for batch in batches for text in batch]

    def read_captions(self, corpus: Corpus, *, batch_size: int = 64) -> CaptionFit:
        """How well the first caption of every row of ``corpus`` is predicted from its image, token by token.

        Raises:
            ConfigError: the method writes no captions.
        """
        able = self.able(Captions)
        read = dict.fromkeys([*self.method.subjects_of(corpus.columns.readable), "text"])
        loader = self.loader(corpus, tuple(read), batch_size=batch_size)
        fits = [able.read_captions(to_device(batch, self.method.device)) for batch in loader]
        return CaptionFit(*(torch.cat([getattr(fit, part.name).cpu() for fit in fits]) for part in fields(CaptionFit)))

    def beside(self, name: str | Path) -> Model:
        """Another model, on the same device: what judges things that this one made.

        Args:
            name: of a run, of a model that ships, or of a bundle, see :func:`accord.training.named.named_model`.

        Raises:
            AccordError: there is no such model.
        """
        from accord.training.named import named_model  # which makes models of this class

        return named_model(name, self.method.device)

    @staticmethod
    def similarity(a: Tensor, b: Tensor) -> Tensor:
        """Cosine similarity ``(N, M)`` of unit-norm ``a (N, D)`` and ``b (M, D)``."""
        return a @ b.T

    def _check(self, modality: str) -> None:
        if modality not in self.able(Embeds).embeds:
            raise ConfigError(f"method {self.method.name} embeds {', '.join(self.modalities)}, not {modality}")

    @torch.inference_mode()
    def _run(
        self,
        corpus: Corpus,
        read: str | tuple[str, ...],
        result: str,
        batch_size: int,
        forward: Callable[[Batch], Any],
        join: Callable[[list[Any]], Any],
    ) -> Any:
        def run() -> Any:
            modalities = (read,) if isinstance(read, str) else read
            cache = {name: held for part in modalities for name, held in self._stored(corpus, part).items()}
            loader = self.loader(corpus, modalities, batch_size=batch_size, cache=cache)
            return join([forward(to_device(batch, self.method.device)) for batch in loader])

        return self.once(corpus, result, run)

    def _stored(self, corpus: Corpus, modality: str) -> dict[str, FeatureCache]:
        """Stored features of a frozen encoder, by modality; empty where there are none."""
        encoder = dict(self.method.encoders.items()).get(modality)
        if not isinstance(encoder, Encoder) or not encoder.frozen or len(corpus) < _WORTH_STORING:
            return {}
        cache = stored_features(modality, encoder, corpus, self.method.needs[modality], self.workers)
        return {} if cache is None else {modality: cache}


def _rows(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if parts else torch.empty(0, 0)
