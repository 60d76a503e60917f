"""Diagnostics: how the embeddings of a model or a file lie, in numbers, a figure, and a plane to look around in."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Form, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, RedirectResponse, Response

from accord.errors import AccordError, no_such
from accord.pipeline.embedded import Embedded
from accord.pipeline.examples import thumbnail
from accord.pipeline.probing import open_probed
from accord.pipeline.rows import own_data
from accord.serving.downloads import WHOLE
from accord.serving.jobs import Job
from accord.serving.numbers import Number
from accord.serving.places import EMBEDDED
from accord.serving.probed import POINTS, SpaceSeen, see
from accord.serving.rendering import page
from accord.serving.workshop import Shop, Workshop

router = APIRouter()
HELD_OUT, OWN = "", "own"  # which rows of a run, where no other data are named
_SHOWN = 60  # rows of a list at a time
Answers = dict[int | str, dict[str, Any]]
_BINARY: Answers = {200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}
_CSV: Answers = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


class Wish(BaseModel):
    """What to look at.

    Attributes:
        model: name of a model, or of a file of embeddings.
        data: rows to embed: empty for the run's held-out rows, ``own`` for all that it was trained on, or data that
            the application was started with. Of a file of embeddings nothing.
        label: the column of labels, where the guess is wrong.
        factors: columns that say more of the rows.
    """

    model_config = ConfigDict(extra="forbid")

    model: str
    data: str = HELD_OUT
    label: str = ""
    factors: list[str] = Field(default_factory=list, max_length=20)


class Look(BaseModel):
    """Work that was begun, and what it found.

    Attributes:
        id: its name.
        state: waiting, running, done or failed.
        error: why it failed.
        rows: how many rows were measured.
        drawn: how many of them are drawn; each has a point in every modality.
        modalities: those whose points are drawn, in the order of the points.
        share: percent of the variance that the plane holds.
        colours: what rows can be coloured by.
        numbers: what was measured.
    """

    id: str
    title: str
    state: Literal["waiting", "running", "done", "failed"]
    error: str = ""
    rows: int = 0
    drawn: int = 0
    modalities: list[str] = []
    share: float = 0.0
    colours: list[str] = []
    numbers: list[Number] = []


class Colouring(BaseModel):
    """Names of values, and which of them each drawn row has, -1 for none; the last may stand for the rest."""

    names: list[str]
    codes: list[int]
    rest: bool


class Row(BaseModel):
    """A row that is drawn, by its place among those that are."""

    place: int
    row: int
    name: str
    caption: str
    label: str
    pictured: bool


class Rows(BaseModel):
    """Rows that were chosen: the numbers of all, and the first of them."""

    ids: list[int]
    rows: list[Row]


Places = Annotated[list[int], Body(embed=True, max_length=POINTS)]


# ---- for programs ----------------------------------------------------------------------------------------------------


@router.post("/api/diagnostics", status_code=202)
def begin(shop: Shop, wish: Wish) -> Look:
    """Begin to look at a space, or find what was begun."""
    return _look(*_start(shop, wish))


@router.get("/api/diagnostics/{name}")
def found(shop: Shop, name: str) -> Look:
    """How far it is, and what was found."""
    return _look(name, _job(shop, name))


@router.get("/api/diagnostics/{name}/points", responses=_BINARY, response_class=Response)
def points(shop: Shop, name: str) -> Response:
    """The points as float32, little endian: x and y of each row, modality after modality."""
    content = _seen(shop, name).points.astype("<f4").tobytes()
    return Response(content, media_type="application/octet-stream", headers=WHOLE)


@router.get("/api/diagnostics/{name}/colours")
def colours(shop: Shop, name: str, by: str) -> Colouring:
    """The value of each drawn row in one of ``colours``."""
    return Colouring(**_seen(shop, name).colouring(by)._asdict())


@router.post("/api/diagnostics/{name}/rows")
def rows(
    shop: Shop,
    name: str,
    places: Places,
    skip: Annotated[int, Query(ge=0, le=POINTS)] = 0,
    most: Annotated[int, Query(ge=1, le=500)] = _SHOWN,
) -> Rows:
    """The rows at these places: numbers of all, and what the first after ``skip`` say."""
    seen = _seen(shop, name)
    chosen = _within(seen, places)
    shown = seen.rows(chosen[skip : skip + most])
    return Rows(ids=seen.corpus.ids[chosen].tolist(), rows=[Row(**row) for row in shown])


@router.post("/api/diagnostics/{name}/table", responses=_CSV, response_class=Response)
def table(shop: Shop, name: str, places: Places) -> Response:
    """The rows at these places as CSV."""
    seen = _seen(shop, name)
    return Response(seen.table(_within(seen, places)), media_type="text/csv; charset=utf-8")


# ---- pages -----------------------------------------------------------------------------------------------------------


@router.get("/diagnostics", include_in_schema=False)
def choose(request: Request, shop: Shop, model: str = "") -> Response:
    """What to look at, one model chosen already."""
    files = [place.key for place in shop.places.all(EMBEDDED)]
    return page(request, "diagnostics", models=shop.models.names(), files=files, data=shop.config.data, chosen=model)


@router.post("/diagnostics", include_in_schema=False)
def begin_here(
    request: Request,
    shop: Shop,
    model: Annotated[str, Form()],
    data: Annotated[str, Form()] = HELD_OUT,
    label: Annotated[str, Form()] = "",
    factors: Annotated[str, Form()] = "",
) -> Response:
    """Begin, and go where the outcome will be."""
    named = [part.strip() for part in factors.split(",") if part.strip()]
    name, _ = _start(shop, Wish(model=model, data=data, label=label.strip(), factors=named[:20]))
    address = f"/diagnostics/{name}"
    if "hx-request" in request.headers:
        return Response(headers={"hx-redirect": address})
    return RedirectResponse(address, 303)


@router.get("/diagnostics/{name}", include_in_schema=False)
def outcome(request: Request, shop: Shop, name: str) -> Response:
    """What was found; while it is not, how far it is."""
    job = _job(shop, name)
    address = f"/diagnostics/{name}"
    if "hx-request" in request.headers:  # the part that waits
        if job.state in ("waiting", "running"):
            return page(request, "job", job=job, address=address)
        return Response(headers={"hx-refresh": "true"})
    seen = job.result() if job.state == "done" else None
    return page(request, "diagnostics_found", job=job, address=address, seen=seen, name=name)


@router.get("/diagnostics/{name}/figure.png", include_in_schema=False)
def figure(shop: Shop, name: str) -> Response:
    """The figure that ``accord probe`` draws."""
    path = _seen(shop, name).figure
    if path is None or not path.is_file():
        raise HTTPException(404, "Nothing was drawn.")
    return FileResponse(path, media_type="image/png")


@router.get("/diagnostics/{name}/rows/{place}.webp", include_in_schema=False)
def picture(shop: Shop, name: str, place: int) -> Response:
    """The thumbnail of a row."""
    seen = _seen(shop, name)
    found = thumbnail(seen.corpus, _within(seen, [place])[0], seen.subjects)
    if found is None:
        raise HTTPException(404, "This row has no picture.")
    return Response(found.data, media_type="image/webp", headers={"cache-control": "private, max-age=3600", **WHOLE})


# ---- what they share -------------------------------------------------------------------------------------------------


def _start(shop: Workshop, wish: Wish) -> tuple[str, Job]:
    """The work of a wish and its name, which changes when the model or the file does."""
    files = {place.key: place for place in shop.places.all(EMBEDDED)}
    runs = {place.key: place for place in shop.places.all()}
    if wish.model not in files and wish.model not in shop.models.names():
        raise HTTPException(404, f"There is {no_such('model', wish.model, [*shop.models.names(), *files])}")
    if wish.data not in (HELD_OUT, OWN, *shop.config.data):
        raise HTTPException(404, f"There is {no_such('data', wish.data, [OWN, *shop.config.data])}")
    changed = runs[wish.model].changed if wish.model in runs else 0.0
    name = hashlib.blake2b(f"{wish.model_dump_json()} {changed}".encode(), digest_size=6).hexdigest()
    drawn = shop.files / f"diagnostics-{name}.png"

    def work() -> SpaceSeen:
        title = _title(wish, wish.model in files)
        return see(_opened(shop, wish, files), title, drawn, wish.factors)

    return name, shop.jobs.start(_key(name), _title(wish, wish.model in files), work)


def _opened(shop: Workshop, wish: Wish, files: dict[str, Any]) -> Embedded:
    """The rows with their vectors; the model is free again when they are there."""
    columns = {"label": wish.label} if wish.label else None
    if wish.model in files:
        return open_probed(files[wish.model].path, columns=columns, factors=wish.factors)
    with shop.models.using(wish.model) as model:
        data = own_data(model).place if wish.data == OWN else wish.data or None
        return open_probed(model, data, columns=columns, factors=wish.factors)


def _title(wish: Wish, file: bool) -> str:
    on = {HELD_OUT: "its held-out rows", OWN: "all of its data"}.get(wish.data, wish.data)
    return wish.model if file else f"{wish.model} on {on}"


def _key(name: str) -> str:
    return f"diagnostics {name}"


def _job(shop: Workshop, name: str) -> Job:
    try:
        return shop.jobs.get(_key(name))
    except AccordError:
        raise HTTPException(404, "This was not looked at, or long ago: start it again.") from None


def _seen(shop: Workshop, name: str) -> SpaceSeen:
    job = _job(shop, name)
    if job.state == "failed":
        raise HTTPException(400, job.error)
    if job.state != "done":
        raise HTTPException(409, "This is not finished yet.")
    found: SpaceSeen = job.result()
    return found


def _within(seen: SpaceSeen, places: list[int]) -> list[int]:
    """Places of drawn rows, each once.

    Raises:
        HTTPException: there is no such row.
    """
    chosen = list(dict.fromkeys(places))
    if any(not 0 <= place < len(seen.corpus) for place in chosen):
        raise HTTPException(404, f"There is no such row: places go from 0 to {len(seen.corpus) - 1}.")
    return chosen


def _look(name: str, job: Job) -> Look:
    if job.state != "done":
        return Look(id=name, title=job.title, state=job.state, error=job.error)
    seen: SpaceSeen = job.result()
    return Look(
        id=name,
        title=job.title,
        state="done",
        rows=seen.count,
        drawn=len(seen.corpus),
        modalities=list(seen.modalities),
        share=seen.share,
        colours=seen.colours(),
        numbers=[Number.of(number) for number in seen.numbers],
    )
