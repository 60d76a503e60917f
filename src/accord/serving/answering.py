"""What pages and programs share of a search: from the question in an address to a page of answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fastapi import HTTPException

from accord.data.fields import declared
from accord.data.modalities import get_modality
from accord.errors import ConfigError
from accord.pipeline.asking import Question
from accord.searching.hit import Hit
from accord.serving.asked import MOST, Asked
from accord.serving.decoding import DECODERS
from accord.serving.jobs import Job
from accord.serving.searches import OWN, Searchable
from accord.serving.workshop import Workshop
from accord.shipped import is_bundle

Some = TypeVar("Some", bound=Asked)


@dataclass(frozen=True)
class Found:
    """What a page of answers shows."""

    open: Searchable
    hits: list[Hit]
    seconds: float
    more: bool


@dataclass(frozen=True)
class Taken:
    """A kind of file that a question may hold, as the form offers it."""

    modality: str
    name: str
    accept: str


def named(shop: Workshop, asked: Some) -> Some:
    """The question with its model named, and its data where that model has none of its own.

    Raises:
        ConfigError: there is no model.
    """
    known = shop.searches.models()
    if not known:
        raise ConfigError("there is no model that embeds anything: train one with accord train")
    model = asked.model or known[0]
    data = next(iter(shop.config.data), OWN) if not asked.data and is_bundle(model) else asked.data
    return asked.model_copy(update={"model": model, "data": data})


def answered(shop: Workshop, found: Searchable, asked: Asked, *, pictures: bool = False) -> Found:
    """A page of answers."""
    last = asked.k * asked.page
    if last > MOST:
        raise ConfigError(f"page {asked.page} of {asked.k} answers each: at most {MOST} answers are given")
    question, began = _question(shop, found, asked), time.perf_counter()
    with shop.models.using(asked.model) as model:
        exact = False if asked.exact else None
        wanted = slice(last - asked.k, last) if pictures else slice(0)
        hits = found.ask(model, question, last + 1, ann=exact, candidates=asked.candidates, pictures=wanted)
    return Found(found, hits[last - asked.k : last], time.perf_counter() - began, len(hits) > last and last < MOST)


def _question(shop: Workshop, found: Searchable, asked: Asked) -> Question:
    """What is asked, of words that are never taken for the name of a file."""
    together: dict[str, str | Path] = {"text": asked.text} if asked.text.strip() else {}
    for handle in asked.file:
        modality, path = shop.uploads.get(handle).as_one_of(found.modalities)
        if modality in together:
            raise ConfigError(f"two of the same kind ({get_modality(modality).item}): ask by one of them at a time")
        together[modality] = path
    plus, minus = [*asked.plus, *asked.more], [*asked.minus, *asked.less]
    changes: dict[str, Any] = {
        "plus": plus,
        "minus": minus,
        "strength": asked.strength,
        "labels": asked.label,
        "like": asked.like,
    }
    if len(together) == 1:
        ((modality, query),) = together.items()
        return Question(query, modality=modality, **changes)
    return Question(together=together, **changes)


def taken(modalities: tuple[str, ...]) -> list[Taken]:
    """The kinds of files that can be asked with."""
    kinds = [get_modality(name) for name in modalities if name in DECODERS]
    return [
        Taken(kind.name, declared(kind.name).file or kind.item, ",".join(sorted(kind.suffixes | kind.also)))
        for kind in kinds
    ]


def waiting_for(shop: Workshop, asked: Asked, job: Job) -> dict[str, Any]:
    """What is said of a job that opens an index."""
    progress = shop.searches.progress.get(job.key)
    counted = {"done": progress.done, "total": progress.total} if progress else {"done": 0, "total": 0}
    address = asked.place("/search/progress")
    return {"state": job.state, "title": job.title, "error": job.error, "address": address, **counted}


def opened(shop: Workshop, model: str, data: str) -> Searchable:
    """An index that is open.

    Raises:
        HTTPException: it is not.
    """
    found = shop.searches.get(model, data)
    if isinstance(found, Job):
        raise HTTPException(404, "This is being opened: search it first.")
    return found
