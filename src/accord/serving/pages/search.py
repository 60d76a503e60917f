"""Search: by words, by a file, by several at once, by rows and what is added to and taken from them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import FileResponse, Response

from accord.data.corpus import Corpus
from accord.data.modalities import modality_of
from accord.data.reading.audio import is_audio
from accord.data.reading.media import is_image
from accord.data.reading.video import is_video
from accord.errors import ConfigError, DataError
from accord.pipeline.items import item_of
from accord.searching.rows import label_names
from accord.serving.answering import answered, named, opened, taken, waiting_for
from accord.serving.asked import Asked, Row
from accord.serving.jobs import Job
from accord.serving.pages import search_api
from accord.serving.rendering import page
from accord.serving.searches import OWN
from accord.serving.uploads import Upload
from accord.serving.workshop import Shop

router = APIRouter()
router.include_router(search_api.router)
_SIDE = 1024  # pixels of a large picture


@router.get("/search", include_in_schema=False)
def search_page(request: Request, shop: Shop, asked: Annotated[Asked, Query()]) -> Response:
    """The form and its answers, or how far the index is that they will come from."""
    asked = named(shop, asked)
    shown: dict[str, Any] = {
        "asked": asked,
        "models": shop.searches.models(),
        "data": shop.searches.data(),
        "error": "",
    }
    found = shop.searches.get(asked.model, asked.data)
    if isinstance(found, Job):
        return page(request, "search", **shown, waiting=waiting_for(shop, asked, found), found=None, open=None)
    answers = None
    uploads: list[Upload] = []
    try:
        uploads = [shop.uploads.get(handle) for handle in asked.file]
        answers = answered(shop, found, asked, pictures=True) if asked.is_something else None
    except (ConfigError, DataError) as error:  # said beside the form, so that it can be put right there
        shown["error"] = str(error)
    kinds = taken(found.modalities)
    return page(request, "search", **shown, waiting=None, open=found, found=answers, uploads=uploads, taken=kinds)


@router.get("/search/progress", include_in_schema=False)
def progress(request: Request, shop: Shop, model: str, data: str = OWN) -> Response:
    """How far an index is; the page is loaded again when it is there."""
    asked = Asked(model=model, data=data)
    job = shop.searches.job(model, data)
    if job.state == "done":
        return Response(headers={"hx-refresh": "true"})
    return page(request, "search_progress", waiting=waiting_for(shop, asked, job))


@router.post("/search/update", include_in_schema=False)
def update(request: Request, shop: Shop, model: str, data: str = OWN) -> Response:
    """Look for rows that are new, changed or gone."""
    job = shop.searches.update(model, data)
    return page(request, "search_progress", waiting=waiting_for(shop, Asked(model=model, data=data), job))


@router.get("/search/row", include_in_schema=False)
def row_page(request: Request, shop: Shop, model: str, row: Row, data: str = OWN) -> Response:
    """One row, larger, with what can be played of it."""
    asked, found = Asked(model=model, data=data), opened(shop, model, data)
    rows = found.rows
    position = rows.position_of(row)
    template = "search_row" if "hx-request" in request.headers else "search_row_page"
    return page(
        request,
        template,
        asked=asked,
        open=found,
        row=row,
        captions=rows.texts()[position],
        label=label_names(rows.select([position]))[0],
        where=rows.describe(position),
        played=[(field, element) for field, (element, _) in _played(rows, position).items()],
        pictured=rows.picture(position, 8, found.modalities) is not None,
    )


@router.get("/search/picture", include_in_schema=False)
def picture(
    shop: Shop, model: str, row: Row, data: str = OWN, side: Annotated[int, Query(ge=16, le=_SIDE)] = _SIDE
) -> Response:
    """What there is to look at of a row."""
    found = opened(shop, model, data)
    rows = found.rows
    seen = rows.picture(rows.position_of(row), side, found.modalities)
    if seen is None:
        raise HTTPException(404, "This row has nothing to look at.")
    stream = io.BytesIO()
    seen.save(stream, "WEBP", quality=90)
    return Response(stream.getvalue(), media_type="image/webp")


@router.get("/search/media", include_in_schema=False)
def media(shop: Shop, model: str, row: Row, field: str, data: str = OWN) -> Response:
    """A recording or clip of a row, as it is."""
    rows = opened(shop, model, data).rows
    found = _played(rows, rows.position_of(row)).get(field)
    if found is None:
        raise HTTPException(404, "This row has nothing of that kind to play.")
    _, item = found
    kind = _content_type(_beginning(item))
    return FileResponse(item, media_type=kind) if isinstance(item, str) else Response(item, media_type=kind)


@router.get("/search/upload", include_in_schema=False)
def uploaded(shop: Shop, handle: str) -> Response:
    """A file that was sent, as it was decoded."""
    upload = shop.uploads.get(handle)
    shown = upload.files.get(upload.kind) or next(iter(upload.files.values()))
    if shown.suffix == ".npy":
        raise HTTPException(404, "There is nothing to look at of a sequence.")
    return FileResponse(shown, media_type=_content_type(_beginning(str(shown))))


def _played(rows: Corpus, position: int) -> Mapping[str, tuple[str, str | bytes]]:
    """Field -> the element that plays it, and its file or bytes; without what is only looked at."""
    found: dict[str, tuple[str, str | bytes]] = {}
    for field in rows.columns.media:
        if not rows.present[field][position]:
            continue
        item = item_of(rows, position, field)
        if not isinstance(item, bytes) and not (isinstance(item, str) and Path(item).is_file()):
            continue  # a folder, or numbers
        element = _content_type(_beginning(item)).partition("/")[0]
        moving = element == "image" and modality_of(field).name != "image"  # an animation in the place of a film
        if moving or element in ("audio", "video"):
            found[field] = ("img" if moving else element, item)
    return found


def _beginning(item: str | bytes) -> bytes:
    """The first bytes of a file, or of its content."""
    if isinstance(item, bytes):
        return item[:16]
    with open(item, "rb") as file:
        return file.read(16)


def _content_type(content: bytes) -> str:
    """What a browser is told of a file, by its first bytes."""
    if is_image(content):
        return {b"\x89PNG": "image/png", b"GIF8": "image/gif", b"RIFF": "image/webp"}.get(content[:4], "image/jpeg")
    if is_video(content):
        return "video/mp4" if content[4:8] == b"ftyp" else "video/webm"
    if is_audio(content):
        known = {b"fLaC": "audio/flac", b"OggS": "audio/ogg", b"RIFF": "audio/wav", b"FORM": "audio/aiff"}
        return known.get(content[:4], "audio/mpeg")
    return "application/octet-stream"
