"""What the JSON routes of discoveries take and answer, and the classes of one as they are listed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from accord.serving.deciding import Steps
from accord.serving.discovered import NONE, Discovery

SORTS: dict[str, tuple[str, Callable[[Any], Any]]] = {  # name -> in words, and what comes first
    "size": ("the largest first", lambda one: -one.rows),
    "stability": ("the least stable first", lambda one: (one.stability is None, one.stability or 0.0)),
    "density": ("the least dense first", lambda one: one.density),
    "name": ("by name", lambda one: one.name.casefold()),
}
SHOWN: dict[str, tuple[str, Callable[[Any], bool]]] = {  # name -> in words, and which classes
    "all": ("all classes", lambda one: one.is_live),
    "new": ("new classes", lambda one: one.is_live and one.new),
    "known": ("known classes", lambda one: one.is_live and not one.new),
    "changed": ("what was changed", lambda one: one.revision > 0),
    "out": ("merged ones, and what is no class", lambda one: not one.is_live),
}
Sort = Literal["size", "stability", "density", "name"]
Show = Literal["all", "new", "known", "changed", "out"]
Number = Annotated[int, Field(ge=0, lt=2**31, description="of a class")]
Revision = Annotated[int, Field(ge=0, le=2**53, description="what the last answer said")]


class FoundClass(BaseModel):
    """One class."""

    number: int
    name: str
    found_as: str = Field(description="what it was called when it was found")
    new: bool = Field(description="whether nobody had labelled rows of it")
    rows: int
    labelled: int
    stability: float | None
    density: float
    words: list[str]
    part_of: int | None = Field(description="the class that it was merged with")
    real: bool = Field(description="false where it is taken for no class")
    revision: int

    @property
    def is_live(self) -> bool:
        """Whether it is there by itself."""
        return self.real and self.part_of is None


class FoundClasses(Steps):
    """Some classes of a discovery."""

    matching: int
    classes: list[FoundClass]


class FoundRow(BaseModel):
    """One row."""

    id: int
    path: str | None
    captions: list[str]
    given: str | None = Field(description="the label that it came with")
    number: int | None = Field(description="its class; null for none")
    next: int | None = Field(description="the nearest other class; null where the row was moved, or the two are merged")
    margin: float | None
    revision: int


class FoundRows(Steps):
    """Some rows of a class, the nearest to its centre first."""

    matching: int
    rows: list[FoundRow]


class Discovered(BaseModel):
    """One discovery."""

    key: str
    source: str
    rows: int
    known: int
    new: int
    steps: int = Field(description="decisions that were made, those taken back counted too")
    changed: float = Field(description="seconds since 1970")


class Rename(BaseModel):
    """Call a class otherwise."""

    change: Literal["rename"]
    number: Number
    name: str = Field(min_length=1, max_length=200)
    revision: Revision


class Merge(BaseModel):
    """Make a class part of another."""

    change: Literal["merge"]
    number: Number
    into: Number | None = Field(description="null for a class of its own again")
    revision: Revision


class Mark(BaseModel):
    """Say whether a class is one."""

    change: Literal["mark"]
    number: Number
    real: bool
    revision: Revision


class Moved(BaseModel):
    """A row that is moved."""

    row: int
    revision: Revision


class Move(BaseModel):
    """Put rows into another class."""

    change: Literal["move"]
    rows: list[Moved] = Field(min_length=1, max_length=10_000)
    into: Number | None = Field(description="null for no class")


Change = Annotated[Rename | Merge | Mark | Move, Field(discriminator="change")]


def carry_out(discovery: Discovery, change: Rename | Merge | Mark | Move) -> None:
    """Decide as was asked; errors are those of the discovery's methods."""
    if isinstance(change, Rename):
        discovery.rename(change.number, " ".join(change.name.split()), change.revision)
    elif isinstance(change, Merge):
        discovery.merge(change.number, change.into, change.revision)
    elif isinstance(change, Mark):
        discovery.mark(change.number, change.real, change.revision)
    else:
        discovery.move({each.row: each.revision for each in change.rows}, change.into)


def class_of(discovery: Discovery, number: int) -> FoundClass:
    """A class as it is now."""
    now, one = discovery.sorted(), discovery.classes[number]
    into = int(now.into[number])
    return FoundClass(
        number=number,
        name=now.names[number],
        found_as=one["name"],
        new=one["new"],
        rows=int(now.starts[number + 1] - now.starts[number]),
        labelled=one["labelled"],
        stability=one["stability"],
        density=one["density"],
        words=[each["word"] for each in one["words"]],
        part_of=None if into == number else into,
        real=bool(now.real[number]),
        revision=discovery.revision(number),
    )


def classes_of(discovery: Discovery, show: str = "all", sort: str = "size", text: str = "") -> list[FoundClass]:
    """The classes that are wanted, in order.

    Args:
        discovery: theirs.
        show: one of :data:`SHOWN`.
        sort: one of :data:`SORTS`.
        text: part of a name, or of a word.
    """
    wanted, first, part = SHOWN[show][1], SORTS[sort][1], text.casefold()
    found = (class_of(discovery, number) for number in range(len(discovery.classes)))
    said = (one for one in found if any(part in word.casefold() for word in (one.name, one.found_as, *one.words)))
    return sorted(filter(wanted, said), key=lambda one: (first(one), one.number))


def unsorted(discovery: Discovery) -> int:
    """How many rows have no class by now."""
    return int((discovery.sorted().rows == NONE).sum())
