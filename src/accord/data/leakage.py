"""What stands on both sides of a split: the same captions, and pictures that differ only in size, cut or coding.

Every held-out row that was trained on in another form flatters the score. Captions are compared word for word, those of
all rows. Pictures are compared as thumbnails: 8 × 8 grey values of one against those of 49 windows of the other, which
finds candidates even where one was cut out of the other; a candidate's window is then moved until it fits best, and
both are compared once more, finer and in colour. A fixed number of pictures is looked at, so that the cost has a bound,
and what was found is remembered for the same rows.
"""

from __future__ import annotations

import io
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

from accord.data.corpus import Corpus
from accord.data.reading.media import (
    WHITE,
    Unreadable,
    cell_name,
    cell_path,
    flatten,
    open_image,
    quiet_pillow,
    read_bytes,
)
from accord.data.reading.sources import announce, cache_folder
from accord.errors import StorageError
from accord.files import write_atomically

LOOK_AT = (1000, 4000)  # held-out and training pictures at most
EXAMPLES = 3  # of each kind that a sentence names
_SIDE = 64  # of a thumbnail, pixels
_COARSE, _FINE = 8, 16  # cells a side: to find candidates, to judge them
_CANDIDATE, _SAME = 0.9, 0.97  # correlation from which a pair is one
_CANDIDATES = 3  # judged for each held-out picture
_FLAT = 4.0  # standard deviation of grey values below which a picture shows too little to be known again
_SIZES = (1.0, 0.9, 0.8)  # of a window, of the picture's width or height
# by how much the edges of a candidate's window are moved, and the correlation below which that is not worth it
_STEPS = ((0.05, 0.7), (0.025, 0.88), (0.0125, 0.94))
_SMALLEST = 0.5  # window, of the picture's width or height
_LONGEST = 60  # letters of a caption in a sentence

Box = tuple[float, float, float, float]  # left, top, right, bottom in [0, 1]
_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Twin:
    """A held-out row and the training row that shows or says the same, by their numbers in the source."""

    held_out: int
    training: int


@dataclass(frozen=True)
class Leakage:
    """What held-out rows have in common with training rows; true when there is anything.

    Args:
        rows: held-out rows.
        captions: one entry for each whose captions are those of a training row.
        pictures: one entry for each whose picture is that of a training row, or nearly.
        held_out: pictures compared, and all that there are.
        training: likewise.
    """

    rows: int
    captions: tuple[Twin, ...] = ()
    pictures: tuple[Twin, ...] = ()
    held_out: tuple[int, int] = (0, 0)
    training: tuple[int, int] = (0, 0)

    def __bool__(self) -> bool:
        return bool(self.captions or self.pictures)

    @property
    def sampled(self) -> str:
        """That only some of the pictures were compared; empty where all were."""
        if (self.held_out[0], self.training[0]) == (self.held_out[1], self.training[1]):
            return ""
        return (
            f"compared: {self.held_out[0]:,} of {self.held_out[1]:,} held-out pictures "
            f"with {self.training[0]:,} of {self.training[1]:,} training pictures"
        )


def find_leakage(train: Corpus, test: Corpus) -> Leakage:
    """Compare held-out rows with training rows.

    What it knows again, of 150 drawings (``pack:emoji``) and 150 photographs and drawings (``pack:stamps``): 99 % at
    half the size or as JPEG, 95 % cut to 90 % of their area, 92 % at 80 %, 89 % at 70 %, 61 % at 60 %, 24 to 37 % at
    50 %. Mirrored or turned ones it does not. Things that look the same are taken for the same: where concepts are kept
    apart, 43 of 762 held-out emoji (an open and a closed lock, flags of the same stripes) and 2 of 191 stamps.

    Args:
        train: training rows.
        test: held-out rows.

    Example:
        >>> from accord.data.corpus import corpus_from_items
        >>> found = find_leakage(corpus_from_items("text", ["A cat.", "a dog"]), corpus_from_items("text", ["a cat"]))
        >>> found.captions
        (Twin(held_out=0, training=0),)
    """
    path = cache_folder("leakage", f"{train.fingerprint}-{test.fingerprint}.json")
    known = _read(path)
    if known is not None:
        return known
    found = _compared(train, test)
    with suppress(StorageError):  # a full cache costs the same work once more
        write_atomically(path, json.dumps(asdict(found)))
    return found


def describe_leakage(leakage: Leakage, train: Corpus, test: Corpus) -> list[str]:
    """What there is in common, in a sentence each for captions and pictures, and one with the remedy; empty without.

    Example:
        >>> from accord.data.corpus import corpus_from_items
        >>> train, test = corpus_from_items("text", ["A cat.", "a dog"]), corpus_from_items("text", ["a cat"])
        >>> describe_leakage(find_leakage(train, test), train, test)[0]
        '1 of 1 held-out rows has the captions of a training row: row 0 those of row 0 (“a cat”)'
    """
    if not leakage:
        return []
    lines = []
    if leakage.captions:
        said = [
            f"{_name(test, twin.held_out)} those of {_name(train, twin.training)} (“{_words(test, twin.held_out)}”)"
            for twin in leakage.captions[:EXAMPLES]
        ]
        has = "has" if len(leakage.captions) == 1 else "have"
        what = f"{len(leakage.captions):,} of {leakage.rows:,} held-out rows {has} the captions of a training row"
        lines.append(f"{what}: {_listed(said, len(leakage.captions))}")
    if leakage.pictures:
        said = [
            f"{_name(test, twin.held_out)} like {_name(train, twin.training)}" for twin in leakage.pictures[:EXAMPLES]
        ]
        looks = "looks" if len(leakage.pictures) == 1 else "look"
        what = f"{len(leakage.pictures):,} of {leakage.held_out[0]:,} held-out pictures {looks} like a training picture"
        lines.append(f"{what}, but for size, cut or coding: {_listed(said, len(leakage.pictures))}")
    return [*lines, _remedy(train.columns.group)]


def warn_of_leakage(train: Corpus, test: Corpus) -> None:
    """Print on stderr what held-out rows have in common with training rows; nothing when that is nothing."""
    leakage = find_leakage(train, test)
    lines = describe_leakage(leakage, train, test)
    if lines:
        announce("warning: " + "; ".join([*lines, *([leakage.sampled] if leakage.sampled else [])]))


def _remedy(group: str | None) -> str:
    if group:
        return f"column {group} does not keep them together: where they show one thing, give them one {group}"
    return "where they show one thing the score flatters: name a column that is equal for such rows, with --group COL"


def _listed(examples: Sequence[str], total: int) -> str:
    return "; ".join(examples) + (" …" if total > len(examples) else "")


def _name(corpus: Corpus, row: int) -> str:
    """Row number and, where it has one, its file."""
    position = corpus.position_of(row)
    for column in corpus.columns.media.values():
        cell = corpus.rows.select_columns([column])[position][column]
        if cell_path(cell, corpus.root) is not None:
            return f"row {row} ({cell_name(cell)})"
    return f"row {row}"


def _words(corpus: Corpus, row: int) -> str:
    words = corpus.select([corpus.position_of(row)]).texts()[0][0]
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


def _read(path: Path) -> Leakage | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        twins = {name: tuple(Twin(**twin) for twin in found.pop(name)) for name in ("captions", "pictures")}
        return Leakage(found["rows"], **twins, held_out=tuple(found["held_out"]), training=tuple(found["training"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _compared(train: Corpus, test: Corpus) -> Leakage:
    captions = tuple(_same_captions(train, test))
    if not (test.columns.image and train.columns.image):
        return Leakage(len(test), captions)
    left, right = test.having("image"), train.having("image")
    if not (len(left) and len(right)):
        return Leakage(len(test), captions)
    few, many = _spread(left, LOOK_AT[0]), _spread(right, LOOK_AT[1])
    pictures = tuple(_same_pictures(many, few))
    return Leakage(len(test), captions, pictures, (len(few), len(left)), (len(many), len(right)))


# ---- captions ------------------------------------------------------------------------------------------------------


def _same_captions(train: Corpus, test: Corpus) -> Iterator[Twin]:
    """Held-out rows all of whose captions a training row has too; those that only say the class do not count."""
    classes = frozenset(map(_plain, test.classes))
    held_out = [frozenset(map(_plain, texts)) for texts in test.said()]
    wanted = {said for said in held_out if said and not said <= classes}
    home: dict[frozenset[str], int] = {}
    for row, texts in zip(train.ids, train.said(), strict=True):
        said = frozenset(map(_plain, texts))
        if said in wanted:
            home.setdefault(said, int(row))
    yield from (Twin(int(row), home[said]) for row, said in zip(test.ids, held_out, strict=True) if said in home)


def _plain(text: str) -> str:
    """A text as words, without case, punctuation and accents that are only written otherwise.

    >>> _plain("A  Red_Heart!")
    'a red heart'
    """
    folded = unicodedata.normalize("NFKC", text).casefold().replace("_", " ")
    return " ".join(re.findall(r"\w+", folded)) or folded.strip()


# ---- pictures ------------------------------------------------------------------------------------------------------


def _spread(corpus: Corpus, most: int) -> Corpus:
    """At most that many rows, evenly spaced."""
    if len(corpus) <= most:
        return corpus
    return corpus.select(np.linspace(0, len(corpus) - 1, most).astype(np.int64))


def _same_pictures(train: Corpus, test: Corpus) -> Iterator[Twin]:
    """Held-out pictures that a training picture is nearly equal to."""
    sides = [_thumbnails(corpus) for corpus in (test, train)]
    score, window = _likeness(*(_descriptors(thumbnails) for thumbnails in sides))
    for row, scores in enumerate(score):
        for column in np.argsort(-scores)[:_CANDIDATES]:
            pair = (sides[0][row], sides[1][column])
            if scores[column] >= _CANDIDATE and _same(*pair, int(window[row, column])):
                yield Twin(int(test.ids[row]), int(train.ids[column]))
                break


def _thumbnails(corpus: Corpus) -> list[Image.Image]:
    """One of every row, squeezed to a square; a flat one where a picture cannot be read any more."""
    cells = corpus.rows.select_columns([str(corpus.columns.image)])
    with ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1)) as pool, quiet_pillow():
        return list(pool.map(partial(_thumbnail, cells, corpus), range(len(corpus))))


def _thumbnail(cells: datasets.Dataset, corpus: Corpus, position: int) -> Image.Image:
    try:
        with open_image(io.BytesIO(read_bytes(cells[position][corpus.columns.image], corpus.root))) as image:
            image.draft("RGB", (2 * _SIDE, 2 * _SIDE))  # a photograph of many pixels is decoded smaller
            return flatten(image, WHITE).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    except Unreadable:
        return Image.new("RGB", (_SIDE, _SIDE))


def _windows() -> list[Box]:
    """The whole, and parts of it in the corners, at the edges and in the middle."""
    return [
        (x * (1 - width), y * (1 - height), x * (1 - width) + width, y * (1 - height) + height)
        for width, height in product(_SIZES, _SIZES)
        for x, y in product((0, 0.5, 1) if width < 1 else (0,), (0, 0.5, 1) if height < 1 else (0,))
    ]


def _descriptors(thumbnails: Sequence[Image.Image]) -> np.ndarray:
    """Grey values of every window of every thumbnail ``(W, N, C)``, without mean and of unit length."""
    grey = np.stack([np.asarray(picture.convert("L"), dtype=np.float32) for picture in thumbnails])
    found = []
    for left, top, right, bottom in _windows():
        rows, columns = _overlaps(top, bottom), _overlaps(left, right)
        cells = (rows @ grey @ columns.T).reshape(len(grey), -1)  # (N, 8 · 8)
        found.append(_unit(cells, np.sqrt(cells.shape[1])))
    return np.stack(found)


def _overlaps(start: float, stop: float) -> np.ndarray:
    """How much of each cell between ``start`` and ``stop`` each line of a thumbnail covers ``(8, 64)``."""
    ends = np.linspace(start, stop, _COARSE + 1)[:, None] * _SIDE
    lines = np.arange(_SIDE)
    covered = np.minimum(ends[1:], lines + 1) - np.maximum(ends[:-1], lines)
    covered = np.clip(covered, 0, None)
    return (covered / covered.sum(axis=1, keepdims=True)).astype(np.float32)


def _unit(cells: np.ndarray, scale: float) -> np.ndarray:
    """Rows without their mean and of unit length; zero where a row is flat."""
    cells = cells - cells.mean(axis=1, keepdims=True)
    length = np.linalg.norm(cells, axis=1, keepdims=True)
    return np.where(length > _FLAT * scale, cells / np.maximum(length, 1e-9), 0).astype(np.float32)


def _likeness(test: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest correlation ``(Q, G)`` of a whole with a window, and which: those of the training picture first."""
    score = np.full((test.shape[1], train.shape[1]), -1, dtype=np.float32)
    window = np.zeros(score.shape, dtype=np.int16)
    for number in range(2 * len(test)):
        part = number % len(test)
        found = test[0] @ train[part].T if number < len(test) else test[part] @ train[0].T
        better = found > score
        np.copyto(score, found, where=better)
        window[better] = number
    return score, window


def _same(held_out: Image.Image, training: Image.Image, window: int) -> bool:
    """Whether one picture is the part of the other near a window, moved until it fits; see :func:`_likeness`."""
    boxes = _windows()
    part, whole = (held_out, training) if window < len(boxes) else (training, held_out)
    wanted, box = _fine(part, _WHOLE), boxes[window % len(boxes)]
    best = float(wanted @ _fine(whole, box))
    for step, hopeless in _STEPS:
        moved = best >= hopeless
        while moved and best < _SAME:
            moved = False
            for changed in _neighbours(box, step):
                found = float(wanted @ _fine(whole, changed))
                if found > best + 1e-3:
                    best, box, moved = found, changed, True
    return best >= _SAME


def _neighbours(box: Box, step: float) -> Iterator[Box]:
    """Windows one of whose edges lies a step further out or in."""
    for edge, by in product(range(4), (-step, step)):
        moved = [*box]
        moved[edge] = min(max(moved[edge] + by, 0.0), 1.0)
        left, top, right, bottom = moved
        if right - left >= _SMALLEST and bottom - top >= _SMALLEST and moved[edge] != box[edge]:
            yield left, top, right, bottom


def _fine(picture: Image.Image, box: Box) -> np.ndarray:
    """Colours of the cells of a window ``(16 · 16 · 3)``, each without its mean, of unit length."""
    left, top, right, bottom = (_SIDE * end for end in box)
    cells = picture.resize((_FINE, _FINE), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    colours = np.asarray(cells, dtype=np.float32).reshape(-1, 3)
    return _unit((colours - colours.mean(axis=0)).reshape(1, -1), np.sqrt(colours.size))[0]
