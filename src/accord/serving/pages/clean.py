"""Clean: rows that are doubted, what is decided on each, and the table without what was wrong."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Form, Query, Request
from starlette.responses import Response

from accord.cleaning.corrections import Corrected
from accord.errors import AccordError, ConfigError
from accord.pipeline.cleaning import apply_decisions, clean
from accord.serving.deciding import (
    Head,
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
from accord.serving.decisions import Step
from accord.serving.doubts import (
    TOLD,
    All,
    Changed,
    Cleaning,
    Count,
    Decisions,
    Done,
    DoubtedRows,
    Instead,
    Word,
)
from accord.serving.places import CLEANED
from accord.serving.rendering import page
from accord.serving.reviewing import PAGE, Filter, Review
from accord.serving.workshop import Shop, Workshop

router = APIRouter()


def _wanted(
    reason: Annotated[str, Query(max_length=1000)] = "",
    label: Annotated[str, Query(max_length=1000)] = "",
    text: Annotated[str, Query(max_length=200)] = "",
    undecided: bool = False,
    doubt: Annotated[float, Query(ge=0, le=1)] = 0.0,
) -> Filter:
    return Filter(reason, label, text.strip(), undecided, doubt)


Wanted = Annotated[Filter, Depends(_wanted)]
Start = Annotated[int, Query(ge=0, lt=2**31)]

# ---- for programs ----------------------------------------------------------------------------------------------------


@router.get("/api/clean")
def cleanings(shop: Shop) -> list[Cleaning]:
    """Cleanings below the configured folders, the newest first."""
    return _listed(shop)


@router.get("/api/clean/{key:path}/rows")
def rows(
    key: str, shop: Shop, wanted: Wanted, start: Start = 0, limit: Annotated[int, Query(ge=1, le=200)] = PAGE
) -> DoubtedRows:
    """Doubted rows with what was decided on them."""
    review = opened(shop.cleanings, key)
    shown = review.shown(wanted, start, limit)
    about = {"matching": shown.matching, "next": shown.next, "previous": shown.previous}
    return DoubtedRows.model_validate({**_stands(review), **about, "rows": review.cards(shown.positions)})


@router.post("/api/clean/{key:path}/decisions")
def decide(key: str, said: Decisions, shop: Shop) -> Changed:
    """Decide on rows; all of it is one step."""
    review = opened(shop.cleanings, key)
    with refusals():
        changes = {each.row: _plain(each.decision) for each in said.decisions}
        review.decide(changes, {each.row: each.revision for each in said.decisions})
    return _changed(review, list(changes))


@router.post("/api/clean/{key:path}/undo")
def undo(key: str, seen: Head, shop: Shop) -> Changed:
    """Take the last step back."""
    review = opened(shop.cleanings, key)
    with refusals():
        return _turned(review, review.decisions.undo(seen.head))


@router.post("/api/clean/{key:path}/redo")
def redo(key: str, seen: Head, shop: Shop) -> Changed:
    """Do again what was undone last."""
    review = opened(shop.cleanings, key)
    with refusals():
        return _turned(review, review.decisions.redo(seen.head))


@router.get("/api/clean/{key:path}/all")
def count_all(key: str, shop: Shop, wanted: Wanted) -> Count:
    """How many undecided rows a decision on all would be on."""
    return Count(rows=len(opened(shop.cleanings, key).matching(replace(wanted, undecided=True))))


@router.post("/api/clean/{key:path}/all")
def decide_all(key: str, said: All, shop: Shop) -> Done:
    """Decide on all undecided rows that are meant, as one step."""
    review = opened(shop.cleanings, key)
    with refusals():
        count = review.decide_all(said.decision, said.wanted, said.expected)
    return Done(rows=count, steps=steps(review.decisions))


# ---- pages -----------------------------------------------------------------------------------------------------------


@router.get("/clean", include_in_schema=False)
def overview(request: Request, shop: Shop) -> Response:
    """The cleanings, and a form to begin another."""
    models = shop.models.names()
    return page(request, "clean", cleanings=_listed(shop), offers=offers(shop), models=models)


@router.post("/clean", include_in_schema=False)
def begin(
    request: Request,
    shop: Shop,
    data: Annotated[str, Form()],
    name: Annotated[str, Form()],
    model: Annotated[str, Form()] = "",
) -> Response:
    """Begin to judge data."""
    offer, run = offered(shop, data), shop.models.source(model) if model else None
    how: dict[str, Any] = {"columns": offer.columns, "device": shop.config.device, "workers": 0, "progress": False}
    work = partial(clean, offer.source, run, **how)
    return make(request, shop, CLEANED, name, f"Judging {offer.title}", lambda folder: work(out=folder))


@router.get("/clean/begun", include_in_schema=False)
def begun(request: Request, shop: Shop, name: str) -> Response:
    """How far the judging is."""
    return making(request, shop, CLEANED, name)


@router.get("/clean/{key:path}/picture/{row}", include_in_schema=False)
def picture(key: str, row: int, shop: Shop) -> Response:
    """A small picture of a row."""
    return opened(shop.cleanings, key).pictures.answer(row)


@router.post("/clean/{key:path}/apply", include_in_schema=False)
def apply(request: Request, key: str, shop: Shop, name: Annotated[str, Form()] = "cleaned.parquet") -> Response:
    """Begin to write the corrected table."""
    review = opened(shop.cleanings, key)
    out = review.folder / plain_name(name)
    work = f"apply {out}"
    shop.jobs.forget(work)
    decisions = review.decided_rows()
    shop.jobs.start(work, "Writing the corrected table", lambda: apply_decisions(review.folder, decisions, out=out))
    return applied(request, key, shop, name)


@router.get("/clean/{key:path}/applied", include_in_schema=False)
def applied(request: Request, key: str, shop: Shop, name: str) -> Response:
    """How far the writing is."""
    out = opened(shop.cleanings, key).folder / plain_name(name)
    address = f"/clean/{quote(key)}/applied?{urlencode({'name': name})}"

    def done(found: Corrected) -> Response:
        return page(request, "clean_applied", done=found)

    return progress(request, shop, f"apply {out}", address, done)


@router.get("/clean/{key:path}", include_in_schema=False)
def review(request: Request, key: str, shop: Shop, wanted: Wanted, start: Start = 0) -> Response:
    """The doubted rows of one cleaning."""
    found = opened(shop.cleanings, key)
    found.pictures.look_again()
    shown = found.shown(wanted, start)
    asked = _query(wanted)
    return page(
        request,
        "clean_review",
        key=key,
        review=found,
        cards=found.cards(shown.positions),
        shown=shown,
        wanted=wanted,
        address=lambda start: f"/clean/{quote(key)}?{urlencode({**asked, 'start': start})}",
        steps=steps(found.decisions),
        decided=found.decided,
    )


# ---- below -----------------------------------------------------------------------------------------------------------


def _listed(shop: Workshop) -> list[Cleaning]:
    """Cleanings that can be read, the newest first."""
    found = []
    for place in shop.places.all(CLEANED):
        try:
            review = shop.cleanings.get(place.key)
        except AccordError:  # somebody else's file of that name
            continue
        counts = {"rows": review.judged, "doubted": len(review), "decided": review.decided}
        about = {"source": review.about["source"], "model": review.about["model"]}
        found.append(Cleaning(key=place.key, changed=place.changed, **about, **counts))
    return found


def _query(wanted: Filter) -> dict[str, Any]:
    """A filter as an address holds it."""
    asked: dict[str, Any] = {"reason": wanted.kind, "label": wanted.label, "text": wanted.text}
    asked |= {"undecided": "true" if wanted.undecided else "", "doubt": wanted.doubt or ""}
    return {name: value for name, value in asked.items() if value}


def _plain(decision: Word | Instead | None) -> Any:
    """A decision as it is kept."""
    if not isinstance(decision, Instead):
        return decision
    said = decision.model_dump(exclude_none=True)
    if not said:
        raise ConfigError("a correction says neither a label nor a caption: say one, or accept, reject or drop")
    return said


def _stands(review: Review) -> dict[str, Any]:
    return {**steps(review.decisions).model_dump(), "decided": review.decided, "doubted": len(review)}


def _turned(review: Review, step: Step) -> Changed:
    return _changed(review, [int(row) for row in step.after])


def _changed(review: Review, changed: list[int]) -> Changed:
    said = review.decisions.all_of(map(str, changed[:TOLD]))
    told = [{"row": row, "decision": value, "revision": revision} for row, (value, revision) in said.items()]
    return Changed.model_validate({**_stands(review), "rows": told})
