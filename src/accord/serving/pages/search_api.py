"""Search for programs: the routes that answer with JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Query, UploadFile
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from accord.errors import ConfigError
from accord.serving.answering import answered, named, waiting_for
from accord.serving.asked import Asked
from accord.serving.jobs import Job
from accord.serving.workshop import Shop, Workshop

router = APIRouter()


class SearchHit(BaseModel):
    """One answer."""

    rank: int = Field(description="place, from 1")
    score: float = Field(description="what answers are ordered by: a cosine, or a score of the model's own")
    cosine: float | None = Field(description="beside the score of a second stage")
    row: int = Field(description="number of the row in its data")
    captions: list[str]
    label: str | None
    path: str | None = Field(description="file of the row, where it has one")
    picture: str = Field(description="address of its picture")


class SearchAnswer(BaseModel):
    """Answers to a question, best first."""

    model: str
    data: str
    rows: int = Field(description="rows that were searched, of all classes")
    hits: list[SearchHit]
    seconds: float
    more: bool = Field(description="whether there is another page")


class Waiting(BaseModel):
    """The index is being opened, or made: ask again."""

    state: Literal["waiting", "running", "done", "failed"]
    title: str
    done: int
    total: int


class Kept(BaseModel):
    """A file that was taken in."""

    handle: str = Field(description="what stands for it in later requests")
    name: str
    kind: str = Field(description="its modality")


@router.get("/api/search", response_model=SearchAnswer, responses={202: {"model": Waiting}})
def api_search(shop: Shop, asked: Annotated[Asked, Query()]) -> Any:
    """Search by words, by rows, or by files that were uploaded before."""
    return _answer(shop, named(shop, asked))


@router.post("/api/search", response_model=SearchAnswer, responses={202: {"model": Waiting}})
def api_search_by_files(
    shop: Shop, asked: Annotated[Asked, Query()], files: Annotated[list[UploadFile], File(max_length=5)]
) -> Any:
    """Search by files that come with the request."""
    received = [shop.uploads.receive(each.filename, each.file.read()).handle for each in files]
    return _answer(shop, named(shop, asked.model_copy(update={"file": [*asked.file, *received]})))


@router.post("/api/uploads", response_model=Kept)
def api_upload(shop: Shop, file: UploadFile) -> Any:
    """Take in a file, to search by it or to explain it: a picture, clip, recording or sequence, by its content."""
    upload = shop.uploads.receive(file.filename, file.file.read())
    return Kept(handle=upload.handle, name=upload.name, kind=upload.kind)


def _answer(shop: Workshop, asked: Asked) -> Any:
    found = shop.searches.get(asked.model, asked.data)
    if isinstance(found, Job):
        if found.state == "failed":
            raise ConfigError(found.error)
        return JSONResponse(Waiting(**waiting_for(shop, asked, found)).model_dump(), 202, {"retry-after": "1"})
    answers = answered(shop, found, asked)
    hits = [
        SearchHit(
            rank=hit.rank,
            score=float(hit.score),
            cosine=None if hit.cosine is None else float(hit.cosine),
            row=hit.row,
            captions=list(hit.captions),
            label=hit.label,
            path=hit.path,
            picture=asked.place("/search/picture", row=hit.row),
        )
        for hit in answers.hits
    ]
    where = {"model": asked.model, "data": found.title, "rows": len(found.index)}
    return SearchAnswer(**where, hits=hits, seconds=answers.seconds, more=answers.more)
