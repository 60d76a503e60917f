"""What the JSON routes of cleanings take and answer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from accord.serving.deciding import Steps
from accord.serving.reviewing import Filter

TOLD = 500  # rows that are named in an answer
Word = Literal["accept", "reject", "drop"]


class Instead(BaseModel, extra="forbid"):
    """What is right, in the place of what is proposed."""

    label: str | None = Field(None, min_length=1, max_length=2000)
    caption: str | None = Field(None, min_length=1, max_length=2000)


class Decided(BaseModel):
    """A decision on a row, and the revision that it was made on."""

    row: int
    decision: Word | Instead | None = Field(description="null for none")
    revision: int = Field(ge=0, le=2**53, description="what the row's last answer said")


class Changed(Steps):
    """Where the review stands after a change."""

    decided: int
    doubted: int
    rows: list[Decided] = Field(description=f"those that were changed, {TOLD} at most")


class DoubtedRow(BaseModel):
    """One doubted row."""

    id: int
    path: str | None
    captions: list[str]
    label: str | None
    score: float
    reason: str
    kinds: list[str]
    proposed_label: str | None
    proposed_caption: str | None
    nearest_id: int | None
    nearest_caption: str | None
    decision: Word | Instead | None
    revision: int


class DoubtedRows(Steps):
    """Some of the doubted rows, the surest doubt first."""

    decided: int
    doubted: int
    matching: int
    next: int | None = Field(description="start of the next rows")
    previous: int | None = Field(description="start of those before")
    rows: list[DoubtedRow]


class Cleaning(BaseModel):
    """One cleaning."""

    key: str
    source: str
    model: str
    rows: int
    doubted: int
    decided: int
    changed: float = Field(description="seconds since 1970")


class Decisions(BaseModel):
    """Decisions that are one step."""

    decisions: list[Decided] = Field(min_length=1, max_length=10_000)


class All(BaseModel):
    """A decision on all undecided rows of one kind."""

    decision: Word = "accept"
    reason: str = Field("", max_length=1000)
    label: str = Field("", max_length=1000)
    text: str = Field("", max_length=200)
    doubt: float = Field(0.0, ge=0, le=1, description="least probability that the row is wrong")
    expected: int = Field(ge=0, le=2**53, description="how many rows that is, as was told before")

    @property
    def wanted(self) -> Filter:
        """Which rows."""
        return Filter(self.reason, self.label, self.text, True, self.doubt)


class Count(BaseModel):
    """How many rows."""

    rows: int


class Done(BaseModel):
    """On how many rows was decided, and where the review stands."""

    rows: int
    steps: Steps
