"""What pages share on which something is decided or begun: steps with a way back, conflicts, jobs that make folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from fastapi import Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from accord.data.recipe import DataConfig
from accord.errors import AccordError, ConfigError, no_such
from accord.pipeline.folder import run_config, things_in
from accord.serving.decisions import ConflictError, Decisions, UnknownError
from accord.serving.kept import Kept
from accord.serving.places import CLEANED, DISCOVERED, RUN
from accord.serving.rendering import page
from accord.serving.workshop import Workshop

T = TypeVar("T")
_NAME = re.compile(r"\w[\w.-]{0,99}", re.ASCII)
_PAGES = {CLEANED: "/clean", DISCOVERED: "/discover"}  # where what a job makes is looked at


class Steps(BaseModel):
    """Where the decisions stand."""

    head: int = Field(description="number of the last step; undo and redo name it")
    undo: str | None = Field(description="what undo would take back; null for nothing")
    redo: str | None = Field(description="what redo would do again; null for nothing")


class Head(BaseModel):
    """What a page has seen before it takes a step back or forth."""

    head: int | None = Field(None, ge=0, le=2**53, description="number of the last step that was seen; null for any")


def steps(decisions: Decisions) -> Steps:
    """Where decisions stand."""
    undo, redo = decisions.next_undo(), decisions.next_redo()
    return Steps(head=decisions.head, undo=undo and undo.what, redo=redo and redo.what)


@contextmanager
def refusals() -> Iterator[None]:
    """Tell a visitor what does not go together with what holds by now, or that there is nothing to decide on."""
    try:
        yield
    except UnknownError as error:
        raise HTTPException(404, str(error)) from error
    except (ConflictError, ConfigError) as error:
        raise HTTPException(409, str(error)) from error


def opened(kept: Kept[T], key: str) -> T:
    """The thing of a place.

    Raises:
        HTTPException: there is no such place.
    """
    try:
        return kept.get(key)
    except ConfigError as error:
        raise HTTPException(404, str(error)) from error


# ---- jobs that make a folder -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Offer:
    """Data that a job may read.

    Args:
        title: for people.
        source: where they are.
        columns: field -> column names, where a run named them.
    """

    title: str
    source: str
    columns: Mapping[str, Any] = field(default_factory=dict)


def offers(shop: Workshop) -> dict[str, Offer]:
    """Data that were named at the start, and those of runs, by what a form sends; each source once."""
    found = {f"data:{name}": Offer(name, name) for name in shop.config.data}
    seen = [(offer.source, offer.columns) for offer in found.values()]
    for place in shop.places.all(RUN):
        with suppress(AccordError):  # a run that is broken is no reason to offer nothing
            config = DataConfig.parse(run_config(place.folder)["data"])
            offer = Offer(f"{config.source} ({place.key})", config.place, config.columns)
            if (offer.source, offer.columns) not in seen:
                seen.append((offer.source, offer.columns))
                found[f"run:{place.key}"] = offer
    return found


def offered(shop: Workshop, name: str) -> Offer:
    """The data of this name.

    Raises:
        ConfigError: pages offer none of this name.
    """
    found = offers(shop)
    if name not in found:
        raise ConfigError(no_such("data", name, list(found)))
    return found[name]


def new_folder(shop: Workshop, name: str) -> Path:
    """A folder below the first root that a job may make.

    Raises:
        ConfigError: this is no plain name, or there is such a folder already.
    """
    root = shop.config.runs[0].expanduser().resolve()
    folder = root / plain_name(name)
    if folder.exists() and (not folder.is_dir() or things_in(folder)):
        raise ConfigError(f"{root.name}/{name} is there already: give another name")
    return folder


def plain_name(name: str) -> str:
    """The name, if it is one that leads nowhere else.

    Raises:
        ConfigError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name for it: letters, digits, dots, dashes and underscores, no folders")
    return name


def make(
    request: Request, shop: Workshop, kind: str, name: str, title: str, work: Callable[[Path], object]
) -> Response:
    """Begin a job that makes a new folder; how far it is, see :func:`making`.

    Args:
        request: of the visitor.
        shop: where jobs are done.
        kind: of the place that the folder becomes, such as ``cleaning``.
        name: of the folder.
        title: of the job, for people.
        work: is given the folder.

    Raises:
        ConfigError: as :func:`new_folder`.
    """
    folder = new_folder(shop, name)
    key = f"{kind} {folder}"
    shop.jobs.forget(key)

    def made() -> str | None:
        work(folder)
        return next((place.key for place in shop.places.all(kind) if place.folder == folder), None)

    shop.jobs.start(key, title, made)
    return making(request, shop, kind, name)


def making(request: Request, shop: Workshop, kind: str, name: str) -> Response:
    """How far the job is that makes the folder of this name, and then the way to it."""
    at, folder = _PAGES[kind], shop.config.runs[0].expanduser().resolve() / plain_name(name)

    def done(key: str | None) -> Response:
        return page(request, "ready", address=f"{at}/{quote(key or '')}", title=key or name)

    return progress(request, shop, f"{kind} {folder}", f"{at}/begun?{urlencode({'name': name})}", done)


def progress(request: Request, shop: Workshop, key: str, address: str, done: Callable[[Any], Response]) -> Response:
    """How far a job is, as a part of a page: waits for it, or says why it failed, or what came out.

    Args:
        request: of the visitor.
        shop: where the job is.
        key: of the job.
        address: where to ask again.
        done: makes the answer of the job's result.
    """
    job = shop.jobs.get(key)
    if job.state == "failed":
        return page(request, "message", sentence=job.error)
    return done(job.result()) if job.state == "done" else page(request, "job", job=job, address=address)
