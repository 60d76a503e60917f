"""Runs in a list: what is said of each, which are wanted, in what order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel

from accord.errors import AccordError
from accord.evaluation.metric import Metric
from accord.pipeline.record import Record, read_record
from accord.serving.numbers import Number
from accord.serving.places import RUN, Place, Places

ORDERS = ("changed", "run", "method", "data", "epochs", "state")  # besides the metrics
Shown = Literal["training", "evaluating", "finished", "interrupted", "damaged"]


class Brief(BaseModel):
    """A run in few words.

    Attributes:
        key: what it is called.
        state: training, evaluating, finished, interrupted, or damaged where its files cannot be read.
        share: percent of its stage that training has done; None where it does not say.
        changed: when it last did.
        headline: the main figures.
        fault: what is damaged.
    """

    key: str
    method: str
    data: str
    epochs: int | None
    state: Shown
    share: float | None
    changed: datetime
    headline: list[Number]
    fault: str = ""


@dataclass(frozen=True)
class Listed:
    """A run of the list.

    Args:
        place: where it is.
        record: what it says; None where that is damaged.
        fault: what is damaged, in a sentence.
    """

    place: Place
    record: Record | None
    fault: str = ""
    metrics: tuple[Metric, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", self.record.headline if self.record else ())

    @property
    def state(self) -> Shown:
        """What it is doing."""
        return self.record.state if self.record else "damaged"

    def words(self) -> str:
        """What a search for words looks in."""
        record = self.record
        about = (record.method, record.data) if record else ()
        return " ".join((self.place.key, self.state, *about)).lower()

    def by(self, order: str) -> Any:
        """The value that an order goes by; None where the run has none."""
        record = self.record
        if order == "changed":
            return self.place.changed
        if order in ("run", "state"):
            return self.place.key if order == "run" else self.state
        if order in ORDERS:
            return getattr(record, order) if record else None
        held = record.metrics if record else ()
        return next((metric.value for metric in held if metric.name == order and metric.value == metric.value), None)

    def brief(self) -> Brief:
        """The same for programs."""
        record = self.record
        return Brief(
            key=self.place.key,
            method=record.method if record else "",
            data=record.data if record else "",
            epochs=record.epochs if record else None,
            state=self.state,
            share=record.standing.share if record and record.standing else None,
            changed=datetime.fromtimestamp(self.place.changed, UTC),
            headline=[Number.of(metric) for metric in self.metrics],
            fault=self.fault,
        )


def listed_runs(places: Places) -> list[Listed]:
    """All runs, the newest first; one that cannot be read is there as well, with the reason."""
    return [_listed(place) for place in places.all(RUN)]


def _listed(place: Place) -> Listed:
    try:
        return Listed(place, read_record(place.folder))
    except AccordError as error:
        return Listed(place, None, str(error))


def wanted(runs: Iterable[Listed], words: str = "", method: str = "", state: str = "") -> list[Listed]:
    """The runs in which all of the words occur, of a method and in a state; empty asks for any."""
    asked = words.lower().split()
    return [
        run
        for run in runs
        if all(word in run.words() for word in asked)
        and (not method or (run.record is not None and run.record.method == method))
        and (not state or run.state == state)
    ]


def ordered(runs: Sequence[Listed], order: str, down: bool) -> list[Listed]:
    """The runs by one of :data:`ORDERS` or a metric; those that have no such value come last either way."""
    having = [run for run in runs if run.by(order) is not None]
    rest = [run for run in runs if run.by(order) is None]
    return sorted(having, key=lambda run: run.by(order), reverse=down) + rest


def metric_names(runs: Iterable[Listed]) -> list[str]:
    """Names of the main figures of these runs, in the order in which they first appear."""
    return list(dict.fromkeys(metric.name for run in runs for metric in run.metrics))
