"""Fingerspelling: the letters of nineteen sign languages as the movement of two hands."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from accord.data.packs.base import Archive, Pack, Reject, Row
from accord.data.packs.files import root_of
from accord.data.packs.poses import Poses, read_poses
from accord.errors import DataError

STEPS = 25  # a second
HANDS = ("LEFT_HAND_LANDMARKS", "RIGHT_HAND_LANDMARKS")
BODY, SHOULDERS = "POSE_LANDMARKS", [11, 12]
WIDTH = 2 * (21 * 3 + 3 + 1)
"""Of a step: of each hand 21 points, where its wrist is, and whether it is seen."""
_ACROSS = slice(0, WIDTH // 2 - 1, 3)  # of a hand's numbers, those from left to right

LANGUAGES: Mapping[str, str] = MappingProxyType(
    {
        "ase": "American Sign Language",
        "asq": "Austrian Sign Language",
        "bzs": "Brazilian Sign Language",
        "cse": "Czech Sign Language",
        "csq": "Croatian Sign Language",
        "eso": "Estonian Sign Language",
        "gsg": "German Sign Language",
        "gss": "Greek Sign Language",
        "ise": "Italian Sign Language",
        "jos": "Jordanian Sign Language",
        "lls": "Lithuanian Sign Language",
        "mfs": "Mexican Sign Language",
        "psr": "Portuguese Sign Language",
        "sgg": "Swiss-German Sign Language",
        "ssp": "Spanish Sign Language",
        "svk": "Slovakian Sign Language",
        "swl": "Swedish Sign Language",
        "tsm": "Turkish Sign Language",
        "ukl": "Ukrainian Sign Language",
    }
)


@dataclass(frozen=True)
class Letter:
    """A letter as it is spelled in a sign language.

    Args:
        name: its file, without the ending.
        letter: in upper case.
        language: the code of the sign language.
        steps: ``(T, WIDTH)`` float16.
    """

    name: str
    letter: str
    language: str
    steps: np.ndarray


def read(folder: Path, reject: Reject) -> Iterator[Row]:
    """Rows of an unpacked package: every recording once, in the order of the package's list.

    Raises:
        DataError: the list of recordings is missing.
    """
    for one in letters(folder, reject):
        language = LANGUAGES.get(one.language, one.language)
        yield {
            "id": one.name,
            "sequence": npy(one.steps, one.name),
            "text": f"the letter {one.letter} in {language}",
            "letter": one.letter,
            "language": language,
        }


def letters(folder: Path, reject: Reject) -> Iterator[Letter]:
    """The recordings of an unpacked package; one that is listed under several languages is of its folder's.

    Raises:
        DataError: the list of recordings is missing.
    """
    root = root_of(folder, "spoken_to_signed/assets/fingerspelling_lexicon")
    index = root / "index.csv"
    if not index.is_file():
        raise DataError(f"{index} is missing: it lists the recordings of the Python package spoken-to-signed")
    listed: dict[str, str] = {}
    with index.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            listed.setdefault(row["path"], row["words"])
    for path, words in listed.items():
        try:
            steps = hands_of(read_poses((root / path).read_bytes(), path), path)
        except (DataError, OSError) as error:
            reject(path, str(error))
            continue
        yield Letter(path.removesuffix(".pose"), words.replace("ß", "ẞ").upper(), path.split("/")[0], steps)


def hands_of(poses: Poses, name: str) -> np.ndarray:
    """Both hands at ``STEPS`` a second, ``(T, WIDTH)`` float16.

    The hand that is seen more often comes first, mirrored as if it were the right one, and the other with it. Of each
    hand: its points from the wrist, over their root mean square distance from it; the wrist from the middle of
    the shoulders, over their distance; and 1 where the hand is seen. A hand that is not seen is zeros.

    Raises:
        DataError: a component is missing, or no hand is ever seen.
    """
    missing = [part for part in (BODY, *HANDS) if part not in poses.values]
    if missing or not len(poses.values[BODY]):
        raise DataError(f"{name}: no {' and '.join(missing) or 'frames'}")
    count = len(poses.values[BODY])
    shown = np.minimum(np.arange(max(1, round(count / poses.fps * STEPS))) * poses.fps / STEPS, count - 1)
    shoulders = poses.values[BODY][:, SHOULDERS]
    middle, width = shoulders.mean(axis=1), np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=1)
    parts = []
    for hand in HANDS:
        points, seen = poses.values[hand], np.all(poses.confidence[hand] > 0, axis=1)
        inner = points - points[:, :1]  # (T, 21, 3)
        size = np.sqrt(np.square(inner).sum(axis=2).mean(axis=1))
        wrist = (points[:, 0] - middle) / np.maximum(width, 1e-6)[:, None]
        own = [(inner / np.maximum(size, 1e-6)[:, None, None]).reshape(count, -1), wrist, np.ones((count, 1))]
        parts.append(np.concatenate(own, axis=1) * seen[:, None])
    left, right = (part[:, -1].sum() for part in parts)
    if left > right:
        for part in parts:
            part[:, _ACROSS] *= -1
    else:
        parts.reverse()
    steps = np.concatenate(parts, axis=1)[shown.round().astype(int)]
    if not np.isfinite(steps).all() or not steps.any():
        raise DataError(f"{name}: {'not finite' if not np.isfinite(steps).all() else 'no hand is seen'}")
    return steps.astype(np.float16)


def npy(steps: np.ndarray, name: str) -> dict[str, object]:
    """An array as a cell: the bytes of a ``.npy`` file."""
    stream = io.BytesIO()
    np.save(stream, steps, allow_pickle=False)
    return {"bytes": stream.getvalue(), "path": f"{name}.npy"}


SOURCES = (
    Archive(
        "pip",
        "spoken-to-signed",
        "0.4.0",
        95_934_858,
        "10570745f622476c0f890a9715e5376b650fb85bb0d0cef4b7cb031892055367",
    ),
)
LICENCE = "MIT for the package, which does not say on what terms the recordings are"
CREDIT = "Amit Moryossef and contributors to spoken-to-signed-translation. Fetched, never shipped with Accord."
ORIGIN = "https://github.com/sign-language-processing/spoken-to-signed-translation"

PACK = Pack(
    name="fingerspelling",
    summary="600 recordings of letters in 19 sign languages, as the movement of two hands",
    about=(
        "Each letter of each alphabet once, 24 to 44 of them a language; 26 Latin letters, most of them in 14 to 16 "
        "languages, and national ones. A step (25 a second) has 134 numbers: of each hand 21 points from its wrist "
        "over their size, where the wrist is from the shoulders, and whether the hand is seen; the leading hand comes "
        "first, as a right one. MediaPipe found the points. Recordings listed twice are kept once. Split by language, "
        "so that a letter is recognised in a language that was not trained on."
    ),
    licence=LICENCE,
    credit=CREDIT,
    origin=ORIGIN,
    sources=SOURCES,
    read=read,
    schema={"id": "text", "sequence": "sequence", "text": "text", "letter": "text", "language": "text"},
    columns={"image": None, "text": ("text",), "sequence": "sequence", "label": "letter", "group": "language"},
    expected_rows=600,
    options=(
        '--method gram --set \'method.modalities=["text","sequence"]\' '
        "--set encoders.sequence.options.seconds_per_step=0.04"
    ),
)
