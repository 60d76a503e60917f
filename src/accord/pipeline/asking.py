"""A question to an index that is open: words, files, rows and what alters them, put into the search that it needs.

``accord search`` opens the index for one question, ``accord serve`` keeps it open for many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accord.errors import ConfigError, listed, no_such
from accord.searching.hit import Hit
from accord.searching.index import SearchIndex
from accord.searching.query import search, search_altered, search_jointly, search_like
from accord.training.model import Model


@dataclass(frozen=True)
class Question:
    """What is looked for; one of ``query``, ``together`` and ``like``, or ``plus`` and ``minus`` alone.

    Args:
        query: words, or the path of a picture, clip or recording.
        together: modality -> words or a file, all of which an answer should fit.
        like: a row: its number, or what one of its columns says.
        plus: words, or numbers of rows, for what the answers should show besides.
        minus: the same for what they should not show any more.
        strength: how much these count.
        labels: names of classes; an answer has one of them.
        modality: of ``query``; None for what its name says.

    Raises:
        ConfigError: these do not go together.

    Example:
        >>> Question("a dog", like=3)
        Traceback (most recent call last):
        accord.errors.ConfigError: search: give either a query, a row, or several things of ...
    """

    query: str | Path | None = None
    together: Mapping[str, str | Path] = field(default_factory=dict)
    like: str | int | None = None
    plus: Sequence[str | int] = ()
    minus: Sequence[str | int] = ()
    strength: float = 1.0
    labels: Sequence[str] = ()
    modality: str | None = None

    def __post_init__(self) -> None:
        altered = bool(listed("plus", self.plus) + listed("minus", self.minus))
        listed("labels", self.labels)
        given = (self.query is not None) + bool(self.together) + (self.like is not None)
        if given > 1 or (not given and not altered):
            raise ConfigError("search: give either a query, a row, or several things of different modalities together")
        if self.together and altered:
            raise ConfigError("search: plus and minus change a query or a row, not several things together")


def ask(
    index: SearchIndex,
    model: Model,
    question: Question,
    k: int = 10,
    *,
    classes: Sequence[str] = (),
    ann: bool | None = None,
    candidates: int | None = None,
) -> list[Hit]:
    """The ``k`` rows of an index that answer a question, best first.

    Args:
        index: what is searched, up to date.
        model: the model that it was built with.
        question: what is looked for; ``like`` is the number of a row.
        k: how many answers.
        classes: names of the classes of the rows, which the labels of a question are of.
        ann: approximate search; None decides by size.
        candidates: how many rows a second stage scores; 0 leaves it out, None decides by ``k``.

    Raises:
        ConfigError: what the model cannot embed, or there is no such class or row.
        DataError: there is no such file.
    """
    labels = labels_of(index, classes, question.labels)
    if question.labels and not labels:
        return []
    if question.plus or question.minus:
        start = question.query if question.like is None else int(question.like)
        return search_altered(
            index,
            model,
            start,
            plus=question.plus,
            minus=question.minus,
            strength=question.strength,
            k=k,
            ann=ann,
            modality=question.modality,
            labels=labels,
        )
    if question.like is not None:
        return search_like(index, int(question.like), k=k, ann=ann, labels=labels)
    if question.query is None:
        return search_jointly(index, model, question.together, k=k, ann=ann, candidates=candidates, labels=labels)
    return search(
        index,
        model,
        question.query,
        k=k,
        ann=ann,
        candidates=candidates,
        modality=question.modality,
        labels=labels,
    )


def counted_classes(index: SearchIndex, classes: Sequence[str]) -> dict[str, int]:
    """Class -> how many rows of an index have it, in alphabetical order.

    Args:
        index: the rows.
        classes: names of their classes.
    """
    counts: dict[str, int] = {}
    for label, count in index.labels.items():
        for name in classes_in(label, classes):
            counts[name] = counts.get(name, 0) + count
    return dict(sorted(counts.items()))


def labels_of(index: SearchIndex, classes: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """What rows of an index say that have one of the classes ``wanted``.

    Raises:
        ConfigError: no row has such a class, and none is called so.
    """
    if not wanted:
        return []
    said = {label: classes_in(label, classes) for label in index.labels}
    known = {*classes, *(name for names in said.values() for name in names)}
    for name in wanted:
        if name not in known:
            raise ConfigError(no_such("class", name, sorted(known)))
    return [label for label, names in said.items() if not set(wanted).isdisjoint(names)]


def classes_in(label: str, classes: Sequence[str]) -> tuple[str, ...]:
    """The classes that a row's label names: itself, or several that are joined by commas.

    >>> classes_in("cat, dog", ["cat", "dog"]), classes_in("cat, wild", ["cat, wild", "dog"])
    (('cat', 'dog'), ('cat, wild',))
    """
    return (label,) if label in classes else tuple(label.split(", "))
