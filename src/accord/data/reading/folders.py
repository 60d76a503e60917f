"""A folder of pictures, clips or recordings without a table: classes from sub-folders, captions from ``.txt`` files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import datasets

from accord.data.modalities import Modality, get_modalities, items_in_files
from accord.data.reading.textfiles import read_text
from accord.errors import DataError

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_PARTS = frozenset(["train", "training", "val", "valid", "validation", "dev", "test", "testing"])
_LISTS = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt", ".xlsx")  # where captions and labels may stand


@dataclass(frozen=True)
class MediaFolder:
    """What a folder of media holds.

    Args:
        rows: a row for each file, by path.
        columns: which column is what.
        notes: sentences on what was made of it where it could have been meant otherwise.
    """

    rows: datasets.Dataset
    columns: dict[str, str | None]
    notes: tuple[str, ...] = ()


def read_media_folder(folder: Path) -> MediaFolder:
    """Read the most frequent kind of media in a folder and its sub-folders.

    Raises:
        DataError: there are none; says which files there are.
    """
    # Listed here rather than by imagefolder, which stops at the first file it cannot take.
    files = _files(folder)
    found = {modality: [file for file in files if modality.holds(file)] for modality in get_modalities()}
    modality = max(found, key=lambda kind: len(found[kind]))
    if not found[modality]:
        kinds = Counter(file.suffix.lower() or "no suffix" for file in files).most_common(3)
        others = f"; the files there are: {', '.join(f'{kind} ({count})' for kind, count in kinds)}" if kinds else ""
        raise DataError(f"{folder} holds no {', '.join(METADATA)}, no tar shards and no {items_in_files()}{others}")
    media = found[modality]
    table: dict[str, Any] = {modality.name: [str(file) for file in media]}
    texts, said = _captions(folder, media, files)
    if texts:
        table["text"] = texts
    labels, named = _labels(media, captioned=bool(texts))
    if labels:
        table["label"] = labels
    columns = {"text": None, "label": None, **{name: name for name in table}}
    unread = _unread(folder, modality, found, files)
    notes = tuple(f"{folder}: {note}" for note in (*named, *said, *unread))
    return MediaFolder(datasets.Dataset.from_dict(table), columns, notes)


def metadata_of(folder: Path) -> Path | None:
    """The table of a folder that lists its files, or None."""
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def _files(folder: Path) -> list[PurePath]:
    """All files by path in the folder, hidden ones left out."""
    found = []
    for base, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = PurePath(os.path.relpath(base, folder))
        found += [inside / name for name in sorted(names) if not name.startswith(".")]
    return found


def _labels(media: Sequence[PurePath], captioned: bool) -> tuple[list[str | None], tuple[str, ...]]:
    """The class of each file, None for one in no sub-folder; empty where sub-folders are no classes."""
    tops = {file.parts[0] for file in media if len(file.parts) > 1}
    parts = tops and tops <= _PARTS and all(len(file.parts) > 1 for file in media)
    named: tuple[str, ...] = ()
    if parts and len(tops) > 1:
        named = (
            f"{', '.join(sorted(tops))} are read as one and split anew (data.split); to keep one of them for "
            "testing, train on the folder of another and give it to accord evaluate",
        )
    folders = [file.parent.parts[1:] if parts else file.parent.parts for file in media]
    labels = [inner[-1] if inner else None for inner in folders]
    inside = [label for label in labels if label is not None]
    if 2 * len(inside) <= len(labels) or (captioned and all(label.isdigit() for label in inside)):
        return [], named  # a few files put aside; parts 00000, 00001 of a crawl
    return labels, named


def _captions(
    folder: Path, media: Sequence[PurePath], files: Sequence[PurePath]
) -> tuple[list[str | None], tuple[str, ...]]:
    """The text beside each file, ``1.txt`` for ``1.jpg``; empty where fewer than half of the files have one."""
    beside = {file.with_suffix("") for file in files if file.suffix.lower() == ".txt"}
    count = sum(file.with_suffix("") in beside for file in media)
    if not count:
        return [], ()
    if 2 * count < len(media):
        return [], (f"only {count:,} of {len(media):,} files have a .txt beside them: not read as captions",)
    named = {file.with_suffix(""): file for file in files if file.suffix.lower() == ".txt"}
    texts = [named.get(file.with_suffix("")) for file in media]
    read = [None if text is None else read_text((folder / text).read_bytes(), str(text))[0].strip() for text in texts]
    return read, (f"the .txt files beside {count:,} of {len(media):,} files are read as their captions",)


def _unread(
    folder: Path, modality: Modality, found: dict[Modality, list[PurePath]], files: Sequence[PurePath]
) -> tuple[str, ...]:
    """What else is there and might have been meant."""
    notes = []
    lists = [file.name for file in files if len(file.parts) == 1 and file.suffix.lower() in _LISTS]
    media = {file.with_suffix("") for file in found[modality]}
    lists = [name for name in lists if PurePath(name).with_suffix("") not in media and not _is_about(name)]
    if lists:
        notes.append(
            f"{', '.join(lists[:3])}{' …' if len(lists) > 3 else ''} beside them is not read; a table that names the "
            f"files can be given instead of the folder ({folder / lists[0]}), or be called metadata.csv"
        )
    others = [f"{len(files):,} {kind.items}" for kind, files in found.items() if files and kind != modality]
    if others:
        notes.append(f"{' and '.join(others)} beside the {modality.items} are not read")
    return tuple(notes)


def _is_about(name: str) -> bool:
    """Whether a file only describes the data to people."""
    return PurePath(name.lower()).stem in {"readme", "license", "licence", "copying", "notice", "requirements"}
