"""Papers: the catalogue's cards and the papers that were imported, to be searched, tried and subscribed to."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from fastapi import APIRouter, HTTPException, Query, Request, UploadFile
from pydantic import BaseModel, Field
from starlette.responses import Response

from accord.errors import ConfigError
from accord.papers.catalogue import Modality, PaperCard, Purpose, Status, get_card, settings_of
from accord.papers.feeds import parse_feed
from accord.papers.finding import Item, find, items, similar
from accord.papers.headline import headline
from accord.papers.store import Store, usual_store
from accord.papers.trending import ranked
from accord.papers.verdicts import shipped_verdicts
from accord.serving.pages import subscriptions
from accord.serving.rendering import page
from accord.serving.workshop import Shop, Workshop

router = APIRouter()
router.include_router(subscriptions.router)
SHOWN = 24  # papers of a page
NEAR = 6  # similar papers of one


class Question(BaseModel):
    """What the list of papers is asked for; empty is anything."""

    q: str = Field("", max_length=400, description="A description, or words.")
    modality: Modality | Literal[""] = Field("", description="Only what reads it.")
    task: Purpose | Literal[""] = Field("", description="Only what is good for it.")
    status: Status | Literal[""] = Field("", description="Only what is implemented so far.")
    order: Literal["newest", "trending"] = Field("newest", description="Of what is not searched.")
    page: int = Field(1, ge=1, le=1000, description="Of the answers.")


@dataclass(frozen=True)
class Answer:
    """A page of the list.

    Args:
        how: what was searched with; empty where nothing was searched for.
        total: papers on all pages.
        items: those of this page, in order.
    """

    how: str
    total: int
    items: list[Item]


class Told(BaseModel):
    """A card or an imported paper, for programs."""

    name: str = Field(description="A method's short name, or paper:NUMBER of an imported one.")
    title: str
    summary: str
    date: datetime.date
    url: str
    status: str = Field(description="ready, partial or planned; imported.")
    modalities: list[str]
    tasks: list[str]
    command: str = Field(description="To try it; empty where there is none.")
    claim: str = Field(description="What measuring its first claim gave; empty where nothing was measured.")


class List(BaseModel):
    """A page of the list, for programs."""

    how: str
    total: int
    papers: list[Told]


Asked = Annotated[Question, Query()]


# ---- pages -----------------------------------------------------------------------------------------------------------


@router.get("/papers", include_in_schema=False)
def papers(request: Request, shop: Shop, asked: Asked) -> Response:
    """The list, or the part of it that a filter changes."""
    answer = _found(shop, asked)
    part = "papers_list" if request.headers.get("hx-target") == "papers-list" else "papers"
    choices = {"modality": get_args(Modality), "task": get_args(Purpose), "status": get_args(Status)}
    return page(request, part, asked=asked, answer=answer, choices=choices, shown=SHOWN, headline=headline)


@router.get("/papers/{name}", include_in_schema=False)
def paper(request: Request, shop: Shop, name: str) -> Response:
    """One card, or one imported paper."""
    item = _item(shop, name)
    card = item.card
    return page(
        request,
        "paper",
        item=item,
        card=card,
        settings=settings_of(card.slug) if card and card.is_method else [],
        verdicts=shipped_verdicts(),
        headline=headline,
    )


@router.get("/papers/{name}/near", include_in_schema=False)
def near(request: Request, shop: Shop, name: str) -> Response:
    """What is near to it, for its page, which does not wait until the texts have been read."""
    _item(shop, name)
    return page(request, "paper_near", similar=_near(shop, name))


@router.post("/papers/import", include_in_schema=False)
def take_in(request: Request, shop: Shop, feed: UploadFile) -> Response:
    """Import an uploaded feed."""
    read = parse_feed(feed.file.read(), feed.filename or "the feed")
    with Store(shop.config.papers) as store:
        done = store.add(read)
        broken = store.quarantine()[: done.broken]
    return page(request, "papers_imported", done=done, broken=broken)


# ---- for programs ----------------------------------------------------------------------------------------------------


@router.get("/api/papers")
def list_papers(shop: Shop, asked: Asked) -> List:
    """Cards and imported papers, by a description, by filters, the newest or the most read first."""
    answer = _found(shop, asked)
    return List(how=answer.how, total=answer.total, papers=[_told(item) for item in answer.items])


@router.get("/api/papers/{name}")
def get_paper(shop: Shop, name: str) -> Told:
    """One card or imported paper."""
    return _told(_item(shop, name))


@router.get("/api/papers/{name}/similar")
def similar_papers(shop: Shop, name: str) -> list[Told]:
    """What is nearest to it in meaning, the nearest first."""
    _item(shop, name)
    return [_told(item) for item in _near(shop, name)]


# ---- what both ask ---------------------------------------------------------------------------------------------------


@contextmanager
def _imported(shop: Workshop) -> Iterator[Store | None]:
    """The store of imported papers; None where nothing was imported yet, and none is made by looking."""
    place = shop.config.papers or usual_store()
    if not place.is_file():
        yield None
        return
    with Store(place) as store:
        yield store


def _found(shop: Workshop, asked: Question) -> Answer:
    with _imported(shop) as store:
        among = items(store, asked.modality or None, asked.task or None, asked.status or None)
    first = SHOWN * (asked.page - 1)
    if asked.q.strip():
        answer = find(asked.q, among, SHOWN, first)
        return Answer(how=answer.how, total=answer.total, items=[found.item for found in answer.found])
    if asked.order == "trending":
        among = [item for item in among if item.paper]
        order = {
            paper.id: place for place, (paper, _) in enumerate(ranked([item.paper for item in among if item.paper]))
        }
        among.sort(key=lambda item: order[item.paper.id] if item.paper else 0)
    return Answer(how="", total=len(among), items=among[first : first + SHOWN])


def _item(shop: Workshop, name: str) -> Item:
    """What is called so.

    Raises:
        HTTPException: nothing is.
    """
    with _imported(shop) as store:
        among = items(store)
    try:
        wanted = name if name.startswith("paper:") else get_card(name).slug
    except ConfigError as error:
        raise HTTPException(404, str(error)) from None
    found = next((item for item in among if item.name == wanted), None)
    if found is None:
        raise HTTPException(404, f"There is no imported paper {name}.")
    return found


def _near(shop: Workshop, name: str) -> list[Item]:
    with _imported(shop) as store:
        return [found.item for found in similar(name, items(store), NEAR).found]


def _told(item: Item) -> Told:
    card: PaperCard | None = item.card
    measured = headline(card) if card else None
    return Told(
        name=item.name,
        title=item.title,
        summary=item.summary,
        date=item.date,
        url=card.url if card else item.paper.url if item.paper else "",
        status=card.status if card else "imported",
        modalities=list(card.modalities) if card else [],
        tasks=list(card.tasks) if card else [],
        command=card.example if card else "",
        claim=f"{measured.says} {measured.verdict}" if measured else "",
    )
