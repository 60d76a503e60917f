"""Explain: why a row or a file fits words, in every way that the model has; its neighbours for any model."""

from __future__ import annotations

import base64
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from accord.data.corpus import Corpus
from accord.errors import ConfigError, DataError
from accord.explaining import WAYS, Way
from accord.methods.abilities import Embeds
from accord.pipeline.asking import Question
from accord.pipeline.items import item_of
from accord.pipeline.model import Model
from accord.searching.query import embed_query
from accord.serving.answering import named, opened, taken, waiting_for
from accord.serving.asked import Asked, Row
from accord.serving.jobs import Job
from accord.serving.rendering import page
from accord.serving.searches import Searchable
from accord.serving.uploads import Upload
from accord.serving.workshop import Shop, Workshop

router = APIRouter()
_NEAREST = 6  # rows that are shown as neighbours
_PARTS = 8  # concepts, or what else a way shows several of
_DRAWING = threading.Lock()  # matplotlib's fonts are not for several threads


class Subject(Asked):
    """What is to be explained: a row or a file, and words."""

    row: Row | None = Field(None, description="a row, by its number")

    @property
    def is_given(self) -> bool:
        """Whether there is a row or a file."""
        return self.row is not None or bool(self.file)


@dataclass(frozen=True)
class Drawn:
    """An explanation as a page shows it.

    Args:
        summary: a line on the whole.
        headings: of the table, with ``left`` or ``right``.
        rows: of the table.
        picture: the figure, as a data URI.
    """

    summary: str
    headings: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[str]]
    picture: str


@router.get("/explain", include_in_schema=False)
def explain_page(request: Request, shop: Shop, asked: Annotated[Subject, Query()]) -> Response:
    """The form, and a place for each explanation."""
    asked = named(shop, asked)
    shown: dict[str, Any] = {"asked": asked, "models": shop.searches.models(), "data": shop.searches.data()}
    found = shop.searches.get(asked.model, asked.data)
    if isinstance(found, Job):
        return page(request, "explain", **shown, waiting=waiting_for(shop, asked, found), open=None)
    uploads: list[Upload] = []
    captions: list[str] = []
    parts: list[tuple[str, str]] = []
    error = ""
    try:
        uploads = [shop.uploads.get(handle) for handle in asked.file[:1]]
        with shop.models.using(asked.model) as model:
            parts = [(way.name, way.title) for way in WAYS if model.can(way.ability)]
        if asked.row is not None and not uploads:
            captions = found.rows.texts()[found.rows.position_of(asked.row)]
    except (ConfigError, DataError) as refused:
        error = str(refused)
    shown |= {"uploads": uploads, "captions": captions, "taken": taken(found.modalities), "parts": parts}
    return page(request, "explain", **shown, waiting=None, open=found, error=error, text=_words(asked, captions))


@router.get("/explain/way", include_in_schema=False)
def way_part(request: Request, shop: Shop, way: str, asked: Annotated[Subject, Query()]) -> Response:
    """One explanation; where it looks into the data, how far it is."""
    chosen = next((each for each in WAYS if each.name == way), None)
    if chosen is None:
        raise ConfigError(f"no way to explain {way!r}; there are: {', '.join(each.name for each in WAYS)}")
    found = opened(shop, asked.model, asked.data)
    text = _words(asked, _captions(found, asked))
    if chosen.reads_text and not text:
        return page(request, "message", sentence="Give words above to see how they fit.")
    work = partial(_explained, shop, found, asked, chosen, text)
    if not chosen.reads_rows:
        return page(request, "explain_way", found=work())
    key = f"explain {found.stamp} {asked.address(text=text)} {asked.row} {way}"
    job = shop.jobs.start(key, chosen.title, work)
    if job.state == "done":
        return page(request, "explain_way", found=job.result())
    if job.state == "failed":
        shop.jobs.forget(key)
        return page(request, "message", sentence=job.error)
    return page(request, "job", job=job, address=asked.address("/explain/way", way=way))


@router.get("/explain/neighbours", include_in_schema=False)
def neighbours_part(request: Request, shop: Shop, asked: Annotated[Subject, Query()]) -> Response:
    """The nearest rows, and how near its texts are, which every model that embeds can tell."""
    found = opened(shop, asked.model, asked.data)
    texts = list(dict.fromkeys([*filter(None, [asked.text.strip()]), *_captions(found, asked)]))
    with shop.models.using(asked.model) as model:
        question, modality, own = _itself(shop, found, model, asked)
        hits = found.ask(model, question, _NEAREST, pictures=slice(_NEAREST))
        said = _cosines(model, own, texts)
    near = _prototypes(found, modality, own)
    shown: dict[str, Any] = {"hits": hits, "said": said, "prototypes": near, "title": found.title}
    return page(request, "explain_neighbours", asked=asked, **shown)


def _words(asked: Subject, captions: Sequence[str]) -> str:
    """The words that are to be explained: those given, else the first of the row's own."""
    return asked.text.strip() or next(iter(captions), "")


def _captions(found: Searchable, asked: Subject) -> list[str]:
    if asked.file or asked.row is None:
        return []
    return found.rows.texts()[found.rows.position_of(asked.row)]


def _explained(shop: Workshop, found: Searchable, asked: Subject, way: Way, text: str) -> Drawn:
    """An explanation, drawn."""
    rows: Corpus | None = found.rows if way.reads_rows else None
    with shop.models.using(asked.model) as model:
        explanation = way.explain(model, _item(shop, found, model, asked), text, rows, _PARTS)
    with tempfile.TemporaryDirectory(dir=shop.files) as folder, _DRAWING:
        content = explanation.draw(Path(folder) / "figure.png").read_bytes()
    picture = f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
    return Drawn(explanation.summary, tuple(explanation.columns.items()), explanation.rows(), picture)


def _item(shop: Workshop, found: Searchable, model: Model, asked: Subject) -> Any:
    """What is explained: the file, or what the row holds of what the model reads beside texts."""
    fields = [name for name in model.inputs if name != "text"]
    if asked.file:
        return shop.uploads.get(asked.file[0]).as_one_of(fields)[1]
    if asked.row is None:
        raise ConfigError("nothing to explain: choose a row of a search, or a file")
    rows = found.rows
    position = rows.position_of(asked.row)
    field = next((name for name in fields if name in rows.columns.media and rows.present[name][position]), None)
    if field is None:
        raise DataError(f"row {asked.row} has nothing of what the model reads beside texts: {', '.join(fields)}")
    return item_of(rows, position, field)


def _itself(shop: Workshop, found: Searchable, model: Model, asked: Subject) -> tuple[Question, str, torch.Tensor]:
    """The question for what is like the subject, its modality and its vector."""
    if asked.file:
        modality, path = shop.uploads.get(asked.file[0]).as_one_of(found.modalities)
        return Question(path, modality=modality), modality, torch.as_tensor(embed_query(model, path, modality))
    if asked.row is None:
        raise ConfigError("nothing to explain: choose a row of a search, or a file")
    vectors = found.index.vectors_of(asked.row)
    if not vectors:
        raise DataError(f"row {asked.row} has nothing that the model embeds")
    own = next((name for name in vectors if name != "text"), "text")
    return Question(like=asked.row), own, torch.from_numpy(vectors[own])


def _prototypes(found: Searchable, modality: str, own: torch.Tensor) -> list[tuple[str, int, float]]:
    """Classes whose rows are nearest on the mean, with how many there are and the cosine; none without classes."""
    rows = found.index.prototypes(modality)
    unit = torch.nn.functional.normalize(own.float(), dim=0).numpy()
    near = sorted(((label, float(mean @ unit)) for label, mean in rows.items()), key=lambda pair: -pair[1])
    counts = found.index.labels
    return [(label, counts.get(label, 0), cosine) for label, cosine in near[:_NEAREST]]


def _cosines(model: Model, own: torch.Tensor, texts: Sequence[str]) -> list[tuple[str, float]]:
    """Texts with their cosine to a vector, the nearest first; none of a model that embeds no text like it."""
    if not texts or "text" not in model.able(Embeds).embeds:
        return []
    vectors = model.embed(texts=list(texts))
    if vectors.shape[1] != len(own):
        return []
    unit = torch.nn.functional.normalize(own.float(), dim=0)
    return sorted(zip(texts, (vectors @ unit).tolist(), strict=True), key=lambda pair: -pair[1])
