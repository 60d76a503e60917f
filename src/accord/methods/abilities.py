"""What a method can do besides being trained: one small class for each ability.

A method derives from those that it has. Verbs, tasks, reports and the command line ask ``ABILITY.of(method)`` and get
the method as one that has it, or None; nothing else says what a method can do. Batches are a loader's, see
:class:`accord.methods.base.Method`, and all that is returned stands on the method's device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from torch import Tensor, nn

from accord.data.loading.features import Features
from accord.methods.programme import Batch

if TYPE_CHECKING:
    from accord.encoders.generation import Caption, CaptionFit, Decoding


_LARGEST_SCALE = 100.0  # that CLIP lets its own grow to


class Ability(ABC):
    """Base of all abilities."""

    does: ClassVar[str]  # in words, after "it does not"
    lacks: frozenset[type[Ability]] = frozenset()  # of the class's abilities, those that settings take away

    @classmethod
    def of(cls, method: object) -> Self | None:
        """``method`` as one with this ability; None where it has not, or not with its settings.

        Example:
            >>> Embeds.of("no method") is None
            True
        """
        return method if isinstance(method, cls) and cls not in method.lacks else None


# --- vectors and scores ---


class Embeds(Ability):
    """Gives vectors of one space: what search, retrieval, probes and exports live on."""

    does = "embed anything"

    needs: Mapping[str, frozenset[str]]

    @property
    def embeds(self) -> tuple[str, ...]:
        """Modalities that :meth:`embed` can return."""
        return tuple(self.needs)

    @property
    def cosine_scale(self) -> float:
        """Factor on cosines that makes them logits: that of its part ``logit_scale``, or CLIP's largest without one."""
        parts = dict(self.named_children()) if isinstance(self, nn.Module) else {}
        return float(parts["logit_scale"]().detach()) if "logit_scale" in parts else _LARGEST_SCALE

    @property
    def cosine_bias(self) -> float | None:
        """What is added to such a logit before a sigmoid; None where classes are weighed by a softmax."""
        return None

    @property
    def templates(self) -> tuple[str, ...]:
        """How class names are written for it where the user does not say; none for as they are."""
        return ()

    @abstractmethod
    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Unit-norm embeddings ``{modality: (B, D)}`` of the modalities that the batch holds."""

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """:meth:`embed` with the lengths that the vectors have before they are made unit norm, where that is known."""
        return self.embed(batch)


class Rescores(Embeds):
    """Scores the pairs that a search by cosine found more closely, from their tokens: a second stage."""

    does = "score pairs in a second stage"

    rescores_in_logits: ClassVar[bool] = False  # as a matching head does; else the scores are like cosines

    @abstractmethod
    def token_features(self, batch: Batch) -> dict[str, Features]:
        """``tokens (B, N, D)`` and ``mask (B, N)`` of the modalities in the batch; ``pooled`` is the embedding."""

    @abstractmethod
    def rescore(self, query: Features, candidates: Features, modality: str) -> Tensor:
        """Scores ``(A, B)`` of A queries of a modality against B candidates of the other, by :meth:`token_features`."""


class ScoresTuples(Embeds):
    """Compares things of several modalities by a score of its own instead of the mean cosine (GRAM)."""

    does = "compare by a score of its own"

    @abstractmethod
    def score_tuples(
        self, queries: Mapping[str, Tensor], candidates: Mapping[str, Tensor], present: Tensor | None = None
    ) -> Tensor:
        """Score ``(A, B)`` of A queries against B candidates, each of one or several modalities.

        Args:
            queries: modality -> unit-norm embeddings ``(A, D)``.
            candidates: modality -> unit-norm embeddings ``(B, D)``.
            present: ``(B, k)`` bool, False for a modality that a candidate lacks; None when all are there.
        """


class RescoresTuples(Embeds):
    """Scores a thing of one modality with a tuple of all others, from their tokens: a second stage."""

    does = "score tuples in a second stage"

    @property
    @abstractmethod
    def anchor(self) -> str:
        """The modality that is read beside all others."""

    @abstractmethod
    def token_features(self, batch: Batch) -> dict[str, Features]:
        """As :meth:`Rescores.token_features`."""

    @abstractmethod
    def rescore_tuples(self, anchor: Features, others: Mapping[str, Features]) -> Tensor:
        """Log-odds ``(P,)`` that the p-th item of :attr:`anchor` belongs to the p-th tuple of the others.

        Args:
            anchor: from :meth:`token_features`.
            others: modality -> the same.
        """


# --- classes, words, answers ---


class Classifies(Ability):
    """Has a classifier of its own over the classes that it was trained on."""

    does = "classify by itself"

    @abstractmethod
    def classify(self, batch: Batch) -> Tensor:
        """Class logits ``(B, C)``."""


class RelatesClasses(Ability):
    """Compares each pair of its classes in dimensions of their own (Hydra)."""

    does = "compare each pair of classes in dimensions of their own"

    @abstractmethod
    def project(self, batch: Batch) -> Tensor:
        """Vectors ``(B, d)`` of what the rows show, any norm."""

    @abstractmethod
    def gates(self, first: Tensor, second: Tensor) -> Tensor:
        """How far each dimension is open to P pairs of classes, ``(P, d)`` in [0, 1].

        Args:
            first: ``(P,)`` int64, the one class of each pair.
            second: ``(P,)`` int64, the other.
        """


class MatchesLabels(Ability):
    """Scores rows with labels that are given in words, those of training or any others (GILE, CLESS)."""

    does = "match rows with labels in words"

    @abstractmethod
    def match(self, batch: Batch, labels: Sequence[str]) -> Tensor:
        """Logits ``(B, C)`` that each row belongs to each label."""


class Captions(Ability):
    """Writes texts for what a row shows."""

    does = "write captions"

    @abstractmethod
    def caption(self, batch: Batch, decoding: Decoding) -> list[Caption]:
        """A caption for each row of the batch."""

    @abstractmethod
    def read_captions(self, batch: Batch) -> CaptionFit:
        """How well each caption of the batch is predicted, word after word, from what its row shows."""


class Answers(Ability):
    """Answers questions about what a row shows; the batch's ``input_text`` is the question."""

    does = "answer questions"

    @abstractmethod
    def answer(self, batch: Batch, decoding: Decoding) -> list[Caption]:
        """An answer for each row of the batch."""


@dataclass
class Concepts:
    """Which concepts of a vocabulary that modalities share an input activates, and where.

    Args:
        weights: ``(B, C)`` how much of each concept there is; nonnegative, rows sum to 1.
        relevance: ``(B, N, C)`` how strongly each patch, word or frame speaks for each concept.
        mask: ``(B, N)`` bool, True where there is a patch, word or frame, or None when all are.
    """

    weights: Tensor
    relevance: Tensor
    mask: Tensor | None = None


class SpeaksInConcepts(Ability):
    """Makes inputs of all modalities of the same concepts (FDT)."""

    does = "express its inputs in concepts that modalities share"

    @abstractmethod
    def concepts(self, batch: Batch) -> dict[str, Concepts]:
        """What the inputs of each modality in the batch are made of."""


class LocatesWords(Ability):
    """Traces words to places in a picture (FILIP)."""

    does = "compare words with patches"

    @abstractmethod
    def word_patch(self, batch: Batch) -> Tensor:
        """Similarity ``(B, L, N)`` of every word of a row with every patch of its picture, 0 for padding."""


@dataclass
class WordTimes:
    """When each word of a text is meant by a clip or a sequence.

    Args:
        similarity: ``(B, L, N)`` of every token of the text with every step, 0 for padding; to be compared within a
            token.
        weights: ``(B, L, N)`` how much each token attends to each step; those of a token sum to 1.
        seconds: ``(B, N)`` when each step begins.
        mask: ``(B, N)`` bool, True where there is a step.
    """

    similarity: Tensor
    weights: Tensor
    seconds: Tensor
    mask: Tensor


class TimesWords(Ability):
    """Traces words to the steps of a sequence, or the frames or windows of a clip (CiCo, HBI)."""

    does = "compare words with steps in time"

    @abstractmethod
    def word_times(self, batch: Batch) -> WordTimes:
        """Which step speaks for which word of its row."""


# --- places and times ---


class Segments(Ability):
    """Divides pictures into parts by itself."""

    does = "divide pictures into parts"

    @abstractmethod
    def segment(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        """The part ``(B, H, W)``, a number, that each pixel of each picture belongs to.

        Of a method that learns from masks the number is that of the class.
        """


@dataclass
class Detections:
    """What was found in one picture.

    Args:
        boxes: ``(n, 4)`` x0, y0, x1, y1, relative to the view.
        scores: ``(n,)``, higher is surer.
        labels: ``(n,)`` int64 index of the class, or of the phrase that was asked for.
        masks: ``(n, H, W)`` bool on the pixels of the view, or None.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor | None = None


class Detects(Ability):
    """Finds things in pictures, each with its box."""

    does = "find things in pictures"

    @abstractmethod
    def detect(self, batch: Batch) -> list[Detections]:
        """What was found in each picture of the batch."""


@dataclass
class Tracked:
    """What was followed through one clip.

    Args:
        present: ``(n, T)`` bool, whether track i is there in frame t.
        boxes: ``(n, T, 4)`` x0, y0, x1, y1, relative to the view.
        scores: ``(n, C)`` of the classes.
        masks: ``(n, T, H, W)`` bool on the pixels of the view, or None.
    """

    present: Tensor
    boxes: Tensor
    scores: Tensor
    masks: Tensor | None = None


class Tracks(Ability):
    """Follows things through clips, each under one identity."""

    does = "follow things through clips"

    @abstractmethod
    def track(self, batch: Batch) -> list[Tracked]:
        """What was followed through each clip of the batch."""


@dataclass
class Moments:
    """Spans of one clip or recording for each of its sentences, the likeliest first.

    Args:
        spans: ``(S, M, 2)`` start and end in seconds.
        scores: ``(S, M)``, falling along M.
    """

    spans: Tensor
    scores: Tensor


class FindsMoments(Ability):
    """Finds when something happens that a sentence says; the batch's ``moment_text`` are the sentences."""

    does = "find moments"

    @abstractmethod
    def find_moments(self, batch: Batch, *, most: int | None = None, overlap: float | None = None) -> list[Moments]:
        """The moments of each row of the batch.

        Args:
            batch: with ``moment_text`` and ``duration``.
            most: how many for a sentence, at most; None for as many as the method is set to.
            overlap: IoU above which the less likely of two is dropped; None likewise.
        """


@dataclass
class Timeline:
    """How likely something happens in each step of one recording.

    Args:
        spans: ``(T, 2)`` start and end of each step in seconds.
        scores: ``(T,)`` in [0, 1].
        streams: modality -> ``(T,)``, what each says by itself.
    """

    spans: Tensor
    scores: Tensor
    streams: dict[str, Tensor]


class ScoresMoments(Ability):
    """Says when something happens, without being asked for it by a sentence."""

    does = "say when something happens"

    @property
    @abstractmethod
    def event(self) -> str:
        """What happens, in a word or two."""

    @abstractmethod
    def score_moments(self, batch: Batch) -> list[Timeline]:
        """The scores of each row of the batch."""


# --- things that are made ---


class Generates(Ability):
    """Makes pictures or clips."""

    does = "make pictures or clips"

    makes: ClassVar[Literal["image", "video"]] = "image"

    @abstractmethod
    def generate(self, batch: Batch, seed: int = 0, **how: Any) -> dict[str, Tensor]:
        """Things made for what each row of the batch asks, in [0, 1]: ``{"image": (B, 3, H, W)}``.

        Clips are ``{"video": (B, T, 3, H, W)}``; :attr:`makes` says which of the two.
        """


class Tokenizes(Ability):
    """Writes things as codes of learned vocabularies, and reads them back."""

    does = "write things as codes"

    @abstractmethod
    def tokenize(self, batch: Batch) -> dict[str, Tensor]:
        """Vocabulary -> codes ``(B, h, w, D)`` int64."""

    @abstractmethod
    def reconstruct(self, codes: Mapping[str, Tensor]) -> Tensor:
        """The things ``(B, 3, H, W)`` in [0, 1] that the codes of :meth:`tokenize` stand for."""


@dataclass
class Filled:
    """Pictures or clips of which something was hidden and filled in.

    Args:
        seen: ``(B, T, 3, H, W)`` in [0, 1], whole; a picture has one frame.
        hidden: ``(B, T, H, W)`` bool, True on what was hidden.
        made: as ``seen``, with what was filled in.
    """

    seen: Tensor
    hidden: Tensor
    made: Tensor


class FillsIn(Ability):
    """Makes out what is hidden of a picture or clip."""

    does = "fill in what is hidden"

    @abstractmethod
    def fill_in(self, batch: Batch, seed: int = 0) -> Filled:
        """Hide as much as in training, where ``seed`` says, and fill it in."""


# --- judgements ---


@dataclass
class Verdicts:
    """What a method thinks of each training row, for cleaning and for the report.

    Args:
        kept: ``(N,)`` bool, False where the row was judged wrong and dropped.
        label: ``(N,)`` corrected class index, or None for methods without classes.
        score: ``(N,)`` confidence that the row's pair or label is right, higher is cleaner.
        trusted: ``(N,)`` bool, rows the method selected as certainly clean, or None.
    """

    kept: Tensor
    score: Tensor
    label: Tensor | None = None
    trusted: Tensor | None = None


class JudgesRows(Ability):
    """Judges, while it is trained, which rows are wrong."""

    does = "judge its training rows"

    @abstractmethod
    def verdicts(self) -> Verdicts | None:
        """The judgement of the training rows, None before there is one."""


@dataclass
class Discovery:
    """The classes that were found among rows of which some have labels.

    Args:
        assigned: ``(N,)`` int64 the class of each row; those below ``known`` are the labelled ones.
        known: number of classes that had labels.
        classes: estimated number of all classes.
    """

    assigned: Tensor
    known: int
    classes: int


class DiscoversClasses(Ability):
    """Finds classes that nobody has labelled beside those that somebody has."""

    does = "discover classes"

    @abstractmethod
    def discover(self, embeddings: Tensor, labels: Tensor) -> Discovery:
        """The classes of rows.

        Args:
            embeddings: ``(N, D)`` unit norm.
            labels: ``(N,)`` int64, -1 for rows without one.
        """


@dataclass
class Evidence:
    """Why one row was answered as it was: prototypes that it resembles, and where.

    Args:
        prototypes: ``(k,)`` int64 numbers of the prototypes, the strongest first.
        similarity: ``(k,)`` how strongly each was found.
        contribution: ``(k,)`` what each adds to the logit of the class that was answered.
        maps: ``(k, h, w)`` where each was found.
        source: ``(k,)`` int64 training row that each prototype was taken from, -1 for none.
        names: what the prototypes are called, where they have names.
    """

    prototypes: Tensor
    similarity: Tensor
    contribution: Tensor
    maps: Tensor
    source: Tensor
    names: tuple[str, ...] = ()


class Explains(Ability):
    """Says of its own answers why, by the prototypes that they rest on."""

    does = "explain its answers by prototypes"

    @abstractmethod
    def explain(self, batch: Batch) -> list[Evidence]:
        """The evidence for the answer to each row of the batch."""
