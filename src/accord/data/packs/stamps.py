"""Tux Paint stamps: cut-out photographs and drawings with captions in many languages, read aloud in several."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accord.data.packs.base import Archive, Pack, Reject, Row
from accord.data.packs.files import picture, root_of
from accord.errors import DataError

CAPTIONS = ("de", "fr", "es", "zh_CN", "ru", "ca", "ro", "bg", "be", "el", "nn")
SPEECH = ("fr", "ru", "ro", "ca", "bg", "es", "be", "el", "nn")
LONGEST = 512


def read(folder: Path, reject: Reject) -> Iterator[Row]:
    """Rows of an unpacked package: every picture that has a caption, by path.

    Raises:
        DataError: the folder holds no captioned stamp.
    """
    root = root_of(folder, "usr/share/tuxpaint/stamps")
    found = False
    for path in sorted(root.rglob("*.png")):
        words = path.with_suffix(".txt")
        if not words.is_file():
            continue
        found = True
        name = path.relative_to(root).as_posix()
        try:
            yield _row(path, name, _captions(words))
        except DataError as error:
            reject(name, str(error))
    if not found:
        raise DataError(f"{root} holds no stamp (a .png with a .txt of the same name beside it)")


def _row(path: Path, name: str, captions: dict[str, str]) -> Row:
    image = {"bytes": picture(path.read_bytes(), name, LONGEST), "path": name}
    folders = name.split("/")[:-1]
    return {
        "id": name.removesuffix(".png"),
        "image": image,
        "caption": captions["en"],
        **{f"caption_{lang}": captions.get(lang) for lang in CAPTIONS},
        **{f"speech_{lang}": _sound(path.with_name(f"{path.stem}_desc_{lang}.ogg")) for lang in SPEECH},
        "folder": folders[0] if folders else "none",
        "subfolder": "/".join(folders) or "none",
        "concept": " ".join(re.findall(r"\w+", captions["en"].lower())) or captions["en"],
    }


def _captions(path: Path) -> dict[str, str]:
    """The first line is English; ``LANG.utf8=`` lines follow."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or not lines[0].strip():
        raise DataError(f"{path.name}: the caption is empty")
    pairs = (line.split(".utf8=", 1) for line in lines[1:] if ".utf8=" in line)
    return {"en": lines[0].strip()} | {lang: text.strip() for lang, text in pairs if text.strip()}


def _sound(path: Path) -> dict[str, Any] | None:
    return {"bytes": path.read_bytes(), "path": path.name} if path.is_file() else None


PACK = Pack(
    name="stamps",
    summary="951 cut-out pictures with captions in 12 languages and speech in 9",
    about=(
        "Photographs and drawings of one thing each, most with a transparent background (so each is an exact "
        "mask too), captioned by people and translated; volunteers read the captions aloud (French 925, Russian "
        "918, down to Norwegian 631; empty where nobody did). 16 folders, up to four levels deep, serve as "
        "classes. Split by concept, which is the English caption without case and punctuation: 775 of them."
    ),
    licence="GPL-2.0-or-later",
    credit="Bill Kendrick and contributors to Tux Paint. Fetched, never shipped with Accord.",
    origin="https://tuxpaint.org/stamps/",
    sources=(
        Archive(
            "apt",
            "tuxpaint-stamps-default",
            "2025.03.31-1",
            80_872_956,
            "6312d03a37d0220b10fc91a7467bf2a2a2336e08c2f416de04311d25fd7aeacb",
        ),
    ),
    read=read,
    schema={
        "id": "text",
        "image": "image",
        "caption": "text",
        **{f"caption_{lang}": "text" for lang in CAPTIONS},
        **{f"speech_{lang}": "audio" for lang in SPEECH},
        "folder": "text",
        "subfolder": "text",
        "concept": "text",
    },
    columns={"image": "image", "text": ("caption",), "audio": None, "label": "folder", "group": "concept"},
    expected_rows=951,
)
