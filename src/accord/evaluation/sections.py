"""What a task shows in the report besides its numbers: sections of plain data, each of a kind that the report can draw.

Rows are named by their positions in ``corpus``; whoever writes the report adds their pictures.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from PIL.Image import Image

    from accord.data.corpus import Corpus

Point = tuple[float, float]


@dataclass(frozen=True)
class Picture:
    """An encoded thumbnail.

    Args:
        data: bytes of a WebP file.
        alt: what it shows, for those who do not see it.
    """

    data: bytes = field(repr=False)
    alt: str

    @classmethod
    def of(cls, image: Image, alt: str, side: int = 128) -> Picture:
        """A thumbnail of ``image`` that fits into ``side`` × ``side`` pixels; transparency is kept.

        >>> from PIL import Image
        >>> Picture.of(Image.new("RGB", (300, 100)), "a black bar").data[8:12]
        b'WEBP'
        """
        thumbnail = image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB")
        thumbnail.thumbnail((side, side))
        buffer = io.BytesIO()
        thumbnail.save(buffer, "WEBP", quality=85)
        return cls(buffer.getvalue(), alt)


@dataclass(frozen=True)
class Item:
    """Something shown: a picture, a text, or both.

    Args:
        picture: thumbnail or None.
        text: caption or label.
        score: similarity to the query, or None.
        correct: whether it counts as an answer to the query, None where that is not known.
        relation: what it has to do with the query, such as "its own picture" or "same class".
        row: position of the row that is shown; its picture, and its name where there is no text, are filled in.
    """

    picture: Picture | None = None
    text: str = ""
    score: float | None = None
    correct: bool | None = None
    relation: str = ""
    row: int | None = None


@dataclass(frozen=True)
class Example:
    """One query with its best answers, best first; the query is words or a picture."""

    query: Item
    hits: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """Base of all sections.

    Args:
        title: headline; kept apart from another task's by the task's name.
        corpus: the rows that items are positions of.
    """

    kind: ClassVar[str]  # how the report draws it
    title: str = ""
    corpus: Corpus | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Retrieval(Section):
    """Queries with their answers, and what is marked as an answer."""

    kind: ClassVar[str] = "examples"
    lead: str
    examples: tuple[Example, ...]
    title: str = field(default="Retrieval", kw_only=True)


@dataclass(frozen=True)
class Confusion(Section):
    """Counts ``[true][predicted]`` with the class names of both axes."""

    kind: ClassVar[str] = "confusion"
    classes: tuple[str, ...]
    counts: Sequence[Sequence[int]]
    title: str = field(default="Confusion", kw_only=True)

    def worst(self, limit: int = 10) -> list[tuple[str, str, int, float]]:
        """The most frequent mistakes: true class, predicted class, count, share of the true class in percent.

        >>> Confusion(("cat", "dog"), [[8, 2], [0, 5]]).worst()
        [('cat', 'dog', 2, 20.0)]
        """
        mistakes = [
            (self.classes[true], self.classes[predicted], count, 100 * count / sum(row))
            for true, row in enumerate(self.counts)
            for predicted, count in enumerate(row)
            if count and true != predicted
        ]
        return sorted(mistakes, key=lambda mistake: (-mistake[2], -mistake[3]))[:limit]


@dataclass(frozen=True)
class Relations(Section):
    """A value for every pair of classes, ``[first][second]``, with the names of both axes; darkest at the largest."""

    kind: ClassVar[str] = "relations"
    lead: str
    classes: tuple[str, ...]
    values: Sequence[Sequence[float]]
    title: str = field(default="Relations", kw_only=True)


@dataclass(frozen=True)
class ClassRow:
    """One class: accuracy in percent over ``n`` items, and some of them; a wrong item's text is the predicted class."""

    name: str
    accuracy: float
    n: int
    right: tuple[Item, ...] = ()
    wrong: tuple[Item, ...] = ()


@dataclass(frozen=True)
class Classes(Section):
    """Results of each class."""

    kind: ClassVar[str] = "classes"
    rows: tuple[ClassRow, ...]
    title: str = field(default="Classes", kw_only=True)


@dataclass(frozen=True)
class Curves(Section):
    """Lines over a common axis.

    Args:
        lead: what they show.
        lines: name -> points, from left to right.
        x: what the horizontal axis is.
        y: what the vertical axis is.
    """

    kind: ClassVar[str] = "curves"
    lead: str
    lines: Mapping[str, Sequence[Point]]
    x: str
    y: str
    title: str = field(default="Curves", kw_only=True)


@dataclass(frozen=True)
class Sheet:
    """A group of things, such as a class that was found: what is known of it, and some of its members.

    Args:
        name: what it is called.
        tag: a word beside the name.
        note: what is known of it.
        rows: headline and members, row by row.
    """

    name: str
    tag: str
    note: str
    rows: tuple[tuple[str, tuple[Item, ...]], ...]


@dataclass(frozen=True)
class Sheets(Section):
    """Contact sheets, one a group."""

    kind: ClassVar[str] = "sheets"
    lead: str
    sheets: tuple[Sheet, ...]
    title: str = field(default="Groups", kw_only=True)
