"""What a report says: plain data, filled by whoever ran something, drawn by :mod:`accord.report.html`.

Every part but the title and the method may be absent; the report leaves its section out.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

    from accord.evaluation.metric import Metric
    from accord.papers.catalogue import PaperCard

Curve = Sequence[tuple[int, float]]  # (optimiser step, value)
Point = tuple[float, float]


@dataclass(frozen=True)
class Picture:
    """An encoded thumbnail.

    Args:
        data: bytes of a WebP file.
        alt: what it shows, for those who do not see it.
    """

    data: bytes = field(repr=False)
    alt: str

    @classmethod
    def of(cls, image: Image, alt: str, side: int = 128) -> Picture:
        """A thumbnail of ``image`` that fits into ``side`` × ``side`` pixels; transparency is kept.

        >>> from PIL import Image
        >>> Picture.of(Image.new("RGB", (300, 100)), "a black bar").data[8:12]
        b'WEBP'
        """
        thumbnail = image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB")
        thumbnail.thumbnail((side, side))
        buffer = io.BytesIO()
        thumbnail.save(buffer, "WEBP", quality=85)
        return cls(buffer.getvalue(), alt)


@dataclass(frozen=True)
class Item:
    """Something shown: a picture, a text, or both.

    Args:
        picture: thumbnail or None.
        text: caption or label.
        score: similarity to the query, or None.
        correct: whether it answers the query, None where that is not known.
    """

    picture: Picture | None = None
    text: str = ""
    score: float | None = None
    correct: bool | None = None


@dataclass(frozen=True)
class Example:
    """One query with its best answers, best first; the query is words or a picture."""

    query: Item
    hits: tuple[Item, ...]


@dataclass(frozen=True)
class Confusion:
    """Counts ``[true][predicted]`` with the class names of both axes."""

    classes: tuple[str, ...]
    counts: Sequence[Sequence[int]]

    def worst(self, limit: int = 10) -> list[tuple[str, str, int, float]]:
        """The most frequent mistakes: true class, predicted class, count, share of the true class in percent.

        >>> Confusion(("cat", "dog"), [[8, 2], [0, 5]]).worst()
        [('cat', 'dog', 2, 20.0)]
        """
        mistakes = [
            (self.classes[true], self.classes[predicted], count, 100 * count / sum(row))
            for true, row in enumerate(self.counts)
            for predicted, count in enumerate(row)
            if count and true != predicted
        ]
        return sorted(mistakes, key=lambda mistake: (-mistake[2], -mistake[3]))[:limit]


@dataclass(frozen=True)
class ClassRow:
    """One class: accuracy in percent over ``n`` items, and pictures; a wrong item's text is the predicted class."""

    name: str
    accuracy: float
    n: int
    right: tuple[Picture, ...] = ()
    wrong: tuple[Item, ...] = ()


@dataclass(frozen=True)
class NoisyPair:
    """A training row whose label or text the method did not believe.

    Args:
        picture: thumbnail or None.
        text: the text beside the picture.
        web_label: the label that came with it.
        judged_label: what the method made of it, None where it dropped the row.
        true_label: the hidden truth, None where it is not known.
        score: confidence in the web label; lower is more doubtful.
    """

    picture: Picture | None
    text: str
    web_label: str
    judged_label: str | None
    true_label: str | None = None
    score: float | None = None

    @property
    def verdict(self) -> tuple[Literal["good", "half", "bad", "unknown"], str]:
        """How the judgement compares with the truth, as a grade and in words.

        >>> NoisyPair(None, "a computer mouse", "animal", "computer", "computer").verdict
        ('good', 'corrected rightly')
        """
        if self.true_label is None:
            return "unknown", "truth not known"
        if self.true_label == self.web_label:
            return "bad", "the label was right"
        if self.judged_label is None:
            return "good", "dropped rightly"
        if self.judged_label == self.true_label:
            return "good", "corrected rightly"
        return "half", "doubted rightly, corrected wrongly"


@dataclass(frozen=True)
class Noise:
    """What the method judged noisy.

    Args:
        rows: training rows.
        dropped: rows judged to belong to no class.
        corrected: rows that got another label.
        metrics: precision and recall against the hidden truth, purity; empty where the truth is not known.
        pairs: rows to show.
    """

    rows: int
    dropped: int
    corrected: int
    metrics: tuple[Metric, ...] = ()
    pairs: tuple[NoisyPair, ...] = ()


@dataclass(frozen=True)
class Quantity:
    """A number with what it means, such as the modality gap."""

    name: str
    value: float
    meaning: str


@dataclass(frozen=True)
class Geometry:
    """The embedding space: numbers, and points in two dimensions per modality (see :func:`.project`)."""

    numbers: tuple[Quantity, ...]
    points: Mapping[str, Sequence[Point]] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """One contestant of a comparison; ``role`` tells the method in question from yardsticks."""

    name: str
    metrics: tuple[Metric, ...]
    role: Literal["method", "baseline", "ceiling"] = "baseline"
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """Arms measured on the same data; metrics are matched by name, intervals are over ``seeds`` seeds."""

    arms: tuple[Arm, ...]
    seeds: int
    note: str = ""

    @property
    def names(self) -> list[str]:
        """Names of all metrics in the order they first appear."""
        return list(dict.fromkeys(metric.name for arm in self.arms for metric in arm.metrics))

    def chance(self, name: str) -> float | None:
        """Chance level of the metric ``name``, None where no arm has one."""
        levels = (metric.chance for arm in self.arms for metric in arm.metrics if metric.name == name)
        return next((level for level in levels if level is not None), None)


@dataclass(frozen=True)
class RunSummary:
    """Everything a report can say about a run.

    Args:
        title: headline.
        method: registry name of the method.
        lede: one or two sentences that say what came out.
        card: the method's card.
        setup: sections of facts, e.g. ``{"Data": {"source": "pack:emoji", "rows": "3 653"}}``.
        metrics: results; the first four become the headline figures.
        comparison: the method against its baselines.
        curves: ``"stage/term"`` -> points, as :func:`.read_curves` gives.
        examples: queries with their answers.
        confusion: confusion matrix on held-out rows.
        classes: per-class results.
        noise: what was judged noisy.
        geometry: the embedding space.
        next_steps: commands to try next.
    """

    title: str
    method: str
    lede: str = ""
    card: PaperCard | None = None
    setup: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    comparison: Comparison | None = None
    curves: Mapping[str, Curve] = field(default_factory=dict)
    examples: tuple[Example, ...] = ()
    confusion: Confusion | None = None
    classes: tuple[ClassRow, ...] = ()
    noise: Noise | None = None
    geometry: Geometry | None = None
    next_steps: tuple[str, ...] = ()
