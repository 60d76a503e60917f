"""Discover: classes that nobody has labelled; what they are called, which belong together, which row is of which."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import Response

from accord.errors import AccordError
from accord.pipeline.discovery.verb import discover
from accord.serving.classes import (
    SHOWN,
    SORTS,
    Change,
    Discovered,
    FoundClasses,
    FoundRows,
    Show,
    Sort,
    carry_out,
    class_of,
    classes_of,
    unsorted,
)
from accord.serving.deciding import (
    Head,
    Steps,
    make,
    making,
    offered,
    offers,
    opened,
    plain_name,
    progress,
    refusals,
    steps,
)
from accord.serving.discovered import Discovery
from accord.serving.places import DISCOVERED
from accord.serving.rendering import page
from accord.serving.reviewing import shown_of
from accord.serving.workshop import Shop, Workshop

router = APIRouter()
_CLASSES, _ROWS = 20, 60  # on a page
Start = Annotated[int, Query(ge=0, lt=2**31)]
Limit = Annotated[int, Query(ge=1, le=200)]
Text = Annotated[str, Query(max_length=200)]

# ---- for programs ----------------------------------------------------------------------------------------------------


@router.get("/api/discover")
def discoveries(shop: Shop) -> list[Discovered]:
    """Discoveries below the configured folders, the newest first."""
    return _listed(shop)


@router.get("/api/discover/{key:path}/classes")
def classes(
    key: str,
    shop: Shop,
    show: Show = "all",
    sort: Sort = "size",
    text: Text = "",
    start: Start = 0,
    limit: Limit = _CLASSES,
) -> FoundClasses:
    """Classes as they are after all decisions."""
    found = opened(shop.discoveries, key)
    wanted = classes_of(found, show, sort, text)
    stands = steps(found.decisions).model_dump()
    return FoundClasses(**stands, matching=len(wanted), classes=wanted[start : start + limit])


@router.get("/api/discover/{key:path}/rows")
def rows(
    key: str, shop: Shop, number: Annotated[int, Query(ge=0, lt=2**31)], start: Start = 0, limit: Limit = _ROWS
) -> FoundRows:
    """Rows of a class, the nearest to its centre first."""
    found = opened(shop.discoveries, key)
    with refusals():
        members = found.members(number)
    told = [found.row(int(position)) for position in members[start : start + limit]]
    return FoundRows.model_validate({**steps(found.decisions).model_dump(), "matching": len(members), "rows": told})


@router.post("/api/discover/{key:path}/decisions")
def decide(key: str, change: Change, shop: Shop) -> Steps:
    """Rename, merge or mark a class, or move rows; one step."""
    found = opened(shop.discoveries, key)
    with refusals():
        carry_out(found, change)
    return steps(found.decisions)


@router.post("/api/discover/{key:path}/undo")
def undo(key: str, seen: Head, shop: Shop) -> Steps:
    """Take the last step back."""
    found = opened(shop.discoveries, key)
    with refusals():
        found.decisions.undo(seen.head)
    return steps(found.decisions)


@router.post("/api/discover/{key:path}/redo")
def redo(key: str, seen: Head, shop: Shop) -> Steps:
    """Do again what was undone last."""
    found = opened(shop.discoveries, key)
    with refusals():
        found.decisions.redo(seen.head)
    return steps(found.decisions)


# ---- pages -----------------------------------------------------------------------------------------------------------


@router.get("/discover", include_in_schema=False)
def overview(request: Request, shop: Shop) -> Response:
    """The discoveries, and a form to begin another."""
    models = shop.models.names()
    return page(request, "discover", discoveries=_listed(shop), offers=offers(shop), models=models)


@router.post("/discover", include_in_schema=False)
def begin(
    request: Request,
    shop: Shop,
    data: Annotated[str, Form()],
    name: Annotated[str, Form()],
    model: Annotated[str, Form()] = "",
    labelled: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Begin to look for classes."""
    offer, run = offered(shop, data), shop.models.source(model) if model else None
    columns = {field: column for field, column in offer.columns.items() if field != "label"}
    how: dict[str, Any] = {"columns": columns, "device": shop.config.device, "workers": 0}
    work = partial(discover, offer.source, labelled.strip() or None, run=run, **how)
    return make(request, shop, DISCOVERED, name, f"Classes in {offer.title}", lambda folder: work(out=folder))


@router.get("/discover/begun", include_in_schema=False)
def begun(request: Request, shop: Shop, name: str) -> Response:
    """How far the search is."""
    return making(request, shop, DISCOVERED, name)


@router.get("/discover/{key:path}/picture/{row}", include_in_schema=False)
def picture(key: str, row: int, shop: Shop) -> Response:
    """A small picture of a row."""
    return opened(shop.discoveries, key).pictures.answer(row)


@router.post("/discover/{key:path}/export", include_in_schema=False)
def export(request: Request, key: str, shop: Shop, name: Annotated[str, Form()] = "corrected.parquet") -> Response:
    """Begin to write the rows with their classes."""
    found = opened(shop.discoveries, key)
    out = found.folder / plain_name(name)
    shop.jobs.forget(f"export {out}")
    shop.jobs.start(f"export {out}", "Writing the rows", lambda: found.export(out))
    return exported(request, key, shop, name)


@router.get("/discover/{key:path}/exported", include_in_schema=False)
def exported(request: Request, key: str, shop: Shop, name: str) -> Response:
    """How far the writing is."""
    found = opened(shop.discoveries, key)
    out = found.folder / plain_name(name)
    address = f"/discover/{quote(key)}/exported?{urlencode({'name': name})}"

    def done(moved: int) -> Response:
        return page(request, "discover_exported", rows=len(found), moved=moved, path=out)

    return progress(request, shop, f"export {out}", address, done)


@router.get("/discover/{key:path}", include_in_schema=False)
def sheets(
    request: Request,
    key: str,
    shop: Shop,
    show: Show = "all",
    sort: Sort = "size",
    text: Text = "",
    start: Start = 0,
    number: Annotated[int | None, Query(alias="class", ge=0, lt=2**31)] = None,
) -> Response:
    """The contact sheets of one discovery, or all rows of a class."""
    found = opened(shop.discoveries, key)
    found.pictures.look_again()
    asked: dict[str, Any] = {"show": show, "sort": sort, "text": text}
    about: dict[str, Any] = {"shows": SHOWN, "sorts": SORTS, "asked": asked, "names": found.sorted().names}
    if number is None:
        wanted = classes_of(found, show, sort, text.strip())
        shown = shown_of(len(wanted), start, _CLASSES)
        part = [wanted[place] for place in shown.positions]
        about |= {"sheets": [(one, *(_told(found, at) for at in found.sheet(one.number))) for one in part]}
    else:
        with refusals():
            members, asked = found.members(number), {"class": number}
        shown = shown_of(len(members), start, _ROWS)
        about |= {"one": class_of(found, number), "rows": _told(found, members[shown.positions].tolist())}
    return page(
        request,
        "discover_sheets",
        key=key,
        found=found,
        live=classes_of(found, sort="name"),
        without=unsorted(found),
        steps=steps(found.decisions),
        shown=shown,
        address=lambda start: f"/discover/{quote(key)}?{urlencode({**asked, 'start': start})}",
        **about,
    )


# ---- below -----------------------------------------------------------------------------------------------------------


def _listed(shop: Workshop) -> list[Discovered]:
    """Discoveries that can be read, the newest first."""
    told = []
    for place in shop.places.all(DISCOVERED):
        try:
            found = shop.discoveries.get(place.key)
        except AccordError:  # somebody else's file of that name
            continue
        live = classes_of(found)
        new = sum(one.new for one in live)
        counts = {"rows": len(found), "known": len(live) - new, "new": new, "steps": found.decisions.head}
        told.append(Discovered(key=place.key, source=str(found.about["data"]), changed=place.changed, **counts))
    return told


def _told(found: Discovery, positions: list[int]) -> list[dict[str, Any]]:
    return [found.row(position) for position in positions]
