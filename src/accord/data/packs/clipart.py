"""Open clip art: drawings whose only words are a file name with the author's name in it, as on the web."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from accord.data.packs.base import Archive, Pack, Reject, Row
from accord.data.packs.files import picture, root_of
from accord.errors import DataError

# The folders that hold pictures of things; the others are icons, shapes, signs and odds and ends.
FOLDERS = (
    "animals",
    "buildings",
    "containers",
    "education",
    "electronics",
    "food",
    "geography",
    "office",
    "people",
    "plants",
    "recreation",
    "science",
    "tools",
    "transportation",
)
LONGEST = 256


def words_of(stem: str) -> str:
    """The words of a file name: no numbers, no single letters.

    >>> words_of("cavallo_architetto_franc_07"), words_of("az-lizard_benji_park_01"), words_of("mag1")
    ('cavallo architetto franc', 'az lizard benji park', 'mag')
    """
    return " ".join(word for word in re.findall(r"[^\W\d_]+", stem.lower()) if len(word) > 1)


def read(folder: Path, reject: Reject) -> Iterator[Row]:
    """Rows of an unpacked package: every picture of the 14 object-like folders once.

    The package links a picture into each folder where it belongs; one row lists them all.

    Raises:
        DataError: the folder holds none of the folders of the package.
    """
    root = root_of(folder, "usr/share/openclipart/png")
    pictures = _pictures(root)
    if not pictures:
        raise DataError(f"{root} holds no picture below any of the folders {', '.join(FOLDERS)}")
    for path, names in pictures.items():
        try:
            yield _row(path, names)
        except (DataError, OSError) as error:
            reject(names[0], str(error))


def _pictures(root: Path) -> dict[Path, list[str]]:
    """Each file -> the names it has below ``root``, its own before those that are links to it."""
    found: dict[Path, list[str]] = {}
    inside = root.resolve()
    paths = (path for folder in FOLDERS for path in (root / folder).rglob("*.png"))
    for path in sorted(paths, key=lambda path: (path.is_symlink(), path)):
        target = path.resolve()
        if target.is_relative_to(inside):
            found.setdefault(target, []).append(path.relative_to(root).as_posix())
    return found


def _row(path: Path, names: list[str]) -> Row:
    name = words_of(path.stem)
    return {
        "id": names[0].removesuffix(".png"),
        "image": {"bytes": picture(path.read_bytes(), names[0], LONGEST), "path": names[0]},
        "name": name or path.stem,
        "folder": names[0].split("/")[0],
        "subfolder": names[0].rpartition("/")[0],
        "folders": sorted({other.split("/")[0] for other in names}),
        "concept": re.sub(r"\b(bw|black|white|colou?r)\b\s*", "", name).strip() or name or path.stem,
    }


PACK = Pack(
    name="clipart",
    summary="2,424 drawings in 14 folders, with file names as noisy text",
    about=(
        "Public-domain clip art with transparency, in 14 folders of things, at most 256 pixels a side. The text is "
        "the file name, often with a piece of the author's name and in one of several languages: noise as the web "
        "has it. The label is the folder that holds the picture; 'folders' lists those that link to it as well. "
        "Split by concept: the name without numbers and colours, so that a series does not cross. Twelve of the "
        "2,436 pictures are refused: they have more than 50 million pixels each."
    ),
    licence="public domain",
    credit="The artists of openclipart.org (Creative Commons Public Domain Dedication).",
    origin="https://openclipart.org",
    sources=(
        Archive(
            "apt",
            "openclipart-png",
            "1:0.18+dfsg-19",
            130_910_028,
            "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
        ),
    ),
    read=read,
    schema={
        "id": "text",
        "image": "image",
        "name": "text",
        "folder": "text",
        "subfolder": "text",
        "folders": "texts",
        "concept": "text",
    },
    columns={"image": "image", "text": ("name",), "label": "folder", "group": "concept"},
    expected_rows=2424,
)
