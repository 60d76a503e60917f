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
        correct: whether it counts as an answer to the query, None where that is not known.
        relation: what it has to do with the query, such as "its own picture" or "same class".
    """

    picture: Picture | None = None
    text: str = ""
    score: float | None = None
    correct: bool | None = None
    relation: str = ""


@dataclass(frozen=True)
class Example:
    """One query with its best answers, best first; the query is words or a picture."""

    query: Item
    hits: tuple[Item, ...]


@dataclass(frozen=True)
class Retrieval:
    """Queries with their answers, and what is marked as an answer."""

    lead: str
    examples: tuple[Example, ...]


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
        web_label: the label that came with it; for pairs without classes what the text was taken for.
        judged_label: what the method made of it, None where it dropped the row.
        true_label: the hidden truth, None where it is not known.
        score: confidence in the web label; lower is more doubtful.
        where: row number and file.
    """

    picture: Picture | None
    text: str
    web_label: str
    judged_label: str | None
    true_label: str | None = None
    score: float | None = None
    where: str = ""

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
        pairs: rows to show, the most certain doubt first.
        link: the file that lists all of them, relative to the report.
    """

    rows: int
    dropped: int
    corrected: int
    metrics: tuple[Metric, ...] = ()
    pairs: tuple[NoisyPair, ...] = ()
    link: str = ""


@dataclass(frozen=True)
class LeftOut:
    """Rows of the source that could not be used.

    Args:
        reasons: kind of fault -> number of rows, the commonest first.
        rows: the first of them, as row number, file and reason.
        link: the file that lists all of them, relative to the report.
    """

    reasons: Mapping[str, int]
    rows: tuple[tuple[int, str, str], ...]
    link: str = ""

    @property
    def count(self) -> int:
        """How many rows were left out."""
        return sum(self.reasons.values())


@dataclass(frozen=True)
class BothSides:
    """What stands on both sides of the split: sentences, and pairs of a held-out and a training picture."""

    lines: tuple[str, ...]
    pairs: tuple[tuple[Item, Item], ...] = ()


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
        metrics: results of one run; the main ones become the headline figures, where there is no comparison.
        measured: whose results they are, such as "one run, seed 0".
        comparison: the method against its baselines; its means become the headline figures.
        curves: ``"stage/term"`` -> points, as :func:`.read_curves` gives.
        retrieval: queries with their answers.
        confusion: confusion matrix on held-out rows.
        classes: per-class results.
        noise: what was judged noisy.
        left_out: rows that could not be used.
        both_sides: what held-out rows have in common with training rows.
        geometry: the embedding space.
        next_steps: commands to try next.
    """

    title: str
    method: str
    lede: str = ""
    card: PaperCard | None = None
    setup: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    measured: str = ""
    comparison: Comparison | None = None
    curves: Mapping[str, Curve] = field(default_factory=dict)
    retrieval: Retrieval | None = None
    confusion: Confusion | None = None
    classes: tuple[ClassRow, ...] = ()
    noise: Noise | None = None
    left_out: LeftOut | None = None
    both_sides: BothSides | None = None
    geometry: Geometry | None = None
    next_steps: tuple[str, ...] = ()

    @property
    def headline(self) -> tuple[Metric, ...]:
        """The figures on top: of each task the main one, of retrieval one of each direction, at most six.

        Example:
            >>> from accord.evaluation.metric import Metric
            >>> names = ["retrieval: image→text R@1", "retrieval: image→text R@5", "retrieval: text→image R@1",
            ...          "knn: top-1", "knn: top-5"]
            >>> run = RunSummary("A run", "clip", metrics=tuple(Metric(name, 1, None, None, None, 1) for name in names))
            >>> [metric.name for metric in run.headline]
            ['retrieval: image→text R@1', 'retrieval: text→image R@1', 'knn: top-1']
        """
        if self.comparison:
            arm = next((arm for arm in self.comparison.arms if arm.role == "method"), None)
            return arm.metrics[:4] if arm else ()
        judged = {metric.name for metric in self.noise.metrics} if self.noise else set()
        tasks: dict[str, list[Metric]] = {}
        for metric in self.metrics:
            if metric.name not in judged:
                task, colon, _ = metric.name.partition(": ")
                tasks.setdefault(task if colon else "", []).append(metric)
        main = [metric for found in tasks.values() for metric in _main(found, alone=len(tasks) == 1)]
        return tuple(main[:6])


def _main(metrics: Sequence[Metric], alone: bool) -> list[Metric]:
    """The main figures of one task: the recalls at 1 of both directions, or the first; of a task alone some more."""
    recalls = [metric for metric in metrics if metric.name.endswith("R@1")]
    return recalls or list(metrics[: 4 if alone else 1])
