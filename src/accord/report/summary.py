"""What a report says: plain data, filled by whoever ran something, drawn by :mod:`accord.report.html`.

Every part but the title and the method may be absent; the report leaves its section out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from accord.evaluation.sections import (
    Classes,
    ClassRow,
    Confusion,
    Curves,
    Example,
    Item,
    Picture,
    Point,
    Relations,
    Retrieval,
    Section,
    Sheet,
    Sheets,
)

if TYPE_CHECKING:
    from accord.evaluation.metric import Metric
    from accord.papers.catalogue import PaperCard

__all__ = [
    "Arm",
    "BothSides",
    "ClassRow",
    "Classes",
    "Comparison",
    "Confusion",
    "Curve",
    "Curves",
    "Example",
    "Geometry",
    "Item",
    "LeftOut",
    "Noise",
    "NoisyPair",
    "Picture",
    "Point",
    "Quantity",
    "Relations",
    "Retrieval",
    "RunSummary",
    "Section",
    "Sheet",
    "Sheets",
]

Curve = Sequence[tuple[int, float]]  # (optimiser step, value)


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
class Geometry(Section):
    """The embedding space: numbers, and points in two dimensions per modality (see :func:`.project`)."""

    kind: ClassVar[str] = "geometry"
    numbers: tuple[Quantity, ...]
    points: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    title: str = field(default="Embedding space", kw_only=True)


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
        sections: what the tasks that ran show, and how embeddings lie.
        noise: what was judged noisy.
        left_out: rows that could not be used.
        both_sides: what held-out rows have in common with training rows.
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
    sections: tuple[Section, ...] = ()
    noise: Noise | None = None
    left_out: LeftOut | None = None
    both_sides: BothSides | None = None
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
