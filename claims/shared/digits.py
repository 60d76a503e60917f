"""The data of the claims, made from the 1,797 real 8×8 digits that scikit-learn brings along.

*Digit scenes* are pictures of four digits with captions that name some of them and where they stand, for methods
that learn from pairs. *Web digits* carry labels and texts as a search engine would return them, for methods that
expect wrong labels. Test rows are always made from digits that training never sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from accord.data.columns import Columns
from accord.data.corpus import Corpus, corpus_from_items

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PLACES = (  # two names for each cell of the grid, row by row
    ("top left", "upper left"),
    ("top right", "upper right"),
    ("bottom left", "lower left"),
    ("bottom right", "lower right"),
)
CELLS = {place: cell for cell, names in enumerate(PLACES) for place in names}
OPENINGS = ("a picture with", "a picture of", "showing", "here we see", "look at")

MEANINGS = {0: 5, 1: 6, 2: 7}  # labels whose query means two things, and the other digit that it finds
CONFUSED = (*MEANINGS, *MEANINGS.values())
RANDOM = 0.1  # share of the remaining rows whose label is any other
JUNK = 0.35  # share of the texts that say nothing about their picture
TEXT_DIM = 32  # size of a text's vector
TEXT_NOISE = 2.5  # length of the noise in it over that of the meaning


@dataclass(frozen=True)
class Digits:
    """Single digits.

    Args:
        pixels: ``(N, 8, 8)`` uint8.
        labels: ``(N,)`` int64.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


class Mention(NamedTuple):
    """A digit that a caption names: the word's number in the caption, the digit, and the cell where it stands."""

    word: int
    digit: int
    cell: int


@dataclass(frozen=True)
class WebDigits:
    """Digits with noisy labels and texts.

    Args:
        train: rows with their noisy labels, the true ones as ``truth``, and one word as text.
        test: held-out rows with true labels.
        words: all texts that occur, those of the rows first, then the definitions of the classes.
        vectors: ``(len(words), D)`` float32, what a sentence encoder would make of each.
        definitions: class name -> its text.
    """

    train: Corpus
    test: Corpus
    words: tuple[str, ...]
    vectors: NDArray[np.float32]
    definitions: dict[str, str]


def split_digits(seed: int) -> tuple[Digits, Digits]:
    """The digits, 70 % for training and 30 % for testing, classes shared out evenly."""
    data, target = load_digits(return_X_y=True)
    pixels = np.round(data.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    shares = train_test_split(pixels, target.astype(np.int64), test_size=0.3, stratify=target, random_state=seed)
    return Digits(shares[0], shares[2]), Digits(shares[1], shares[3])


def tuning_digits(seed: int, share: float) -> tuple[Digits, Digits]:
    """Digits for training and for measuring: :func:`split_digits`, or with a share training rows for both."""
    train, test = split_digits(seed)
    if not share:
        return train, test
    order = np.random.default_rng(seed).permutation(len(train.labels))
    held, left = (
        Digits(train.pixels[rows], train.labels[rows]) for rows in np.split(order, [round(share * len(order))])
    )
    return left, held


def labelled_digits(seed: int) -> tuple[Corpus, Corpus]:
    """Single 8×8 digits with their labels, for methods that learn from pictures alone and are measured by labels."""
    parts = zip(("train", "test"), split_digits(seed), strict=True)
    train, test = (
        replace(
            with_texts(f"digits, {name}", digits.pixels, [""] * len(digits.labels)), labels=digits.labels, classes=WORDS
        )
        for name, digits in parts
    )
    return train, test


def digit_scenes(seed: int, train: int = 4096, test: int = 1000) -> tuple[Corpus, Corpus]:
    """Captioned 16×16 pictures of four digits on a 2×2 grid, for training and for testing.

    A caption names the digits of two to four cells in any order, each cell by one of two names. Scenes with the same
    caption occur, and several scenes may fit one caption, so that no model reaches a recall of 100 %.
    """
    random = np.random.default_rng(seed)
    corpora = []
    for name, size, digits in zip(("train", "test"), (train, test), split_digits(seed), strict=True):
        chosen = random.integers(len(digits.labels), size=(size, 4))
        top_left, top_right, bottom_left, bottom_right = digits.pixels[chosen].swapaxes(0, 1)  # each (size, 8, 8)
        pictures = np.block([[top_left, top_right], [bottom_left, bottom_right]])
        captions = [_caption(random, row) for row in digits.labels[chosen]]
        corpora.append(with_texts(f"digit scenes, {name}", pictures, captions))
    return corpora[0], corpora[1]


def web_digits(seed: int, wrong: float = 0.5) -> WebDigits:
    """Digits under the labels and beside the texts that a web search would give them.

    For three labels the noise is directed: a share of the pictures of another digit come under them and take the places
    of as large a share of their own. A tenth of the other rows has a random label. A text is the definition vector of
    the *true* class plus noise two and a half times as long, so that their cosine is about 0.4; about a third of the
    texts is noise alone.

    Args:
        seed: decides all that is random.
        wrong: share of the pictures of the three labels that show the other digit; 0 for labels that are all right.
    """
    random = np.random.default_rng(seed)
    train, test = split_digits(seed)
    train, labels = _search(random, train, wrong)
    classes = tuple(str(digit) for digit in range(10))
    meaning = random.standard_normal((10, TEXT_DIM))
    noise = TEXT_NOISE * random.standard_normal((len(labels), TEXT_DIM))
    junk = random.permutation(len(labels))[: round(JUNK * len(labels))]
    vectors = meaning[train.labels] + noise
    vectors[junk] = noise[junk]
    texts = [_spelled("row", number) for number in range(len(labels))]
    definitions = {name: _spelled("class", number) for number, name in enumerate(classes)}
    named = {"classes": classes}
    return WebDigits(
        train=replace(with_texts("web digits, train", train.pixels, texts), labels=labels, truth=train.labels, **named),
        test=replace(with_texts("web digits, test", test.pixels, [""] * len(test.labels)), labels=test.labels, **named),
        words=(*texts, *definitions.values()),
        vectors=np.concatenate([vectors, meaning]).astype(np.float32),
        definitions=definitions,
    )


def mentions(caption: str) -> list[Mention]:
    """The digits that a caption names with their cells, in its order; words that no cell follows are left out.

    >>> mentions("showing nine top left and one lower right")
    [Mention(word=1, digit=9, cell=0), Mention(word=5, digit=1, cell=3)]
    """
    words = caption.split()
    places = [CELLS.get(" ".join(words[start + 1 : start + 3])) for start in range(len(words))]
    return [
        Mention(number, WORDS.index(word), cell)
        for number, (word, cell) in enumerate(zip(words, places, strict=True))
        if word in WORDS and cell is not None
    ]


def quarter(patch: int, side: int = 4) -> int:
    """The cell that a patch lies in, of ``side`` patches in a row.

    >>> [quarter(patch) for patch in (0, 3, 9, 15)]
    [0, 1, 2, 3]
    """
    row, column = divmod(patch, side)
    return 2 * (2 * row // side) + 2 * column // side


def cell_digits(scenes: Corpus) -> NDArray[np.int64]:
    """The digits ``(N, 4)`` in the cells of scenes, row by row: every cell is one of scikit-learn's pictures."""
    every = [digits for part in split_digits(0) for digits in zip(part.pixels, part.labels, strict=True)]
    known = {picture.tobytes(): int(label) for picture, label in every}
    found = []
    for row in range(len(scenes)):
        grey = np.asarray(scenes.sample(row, ("image",))["image"])[..., 0]
        found.append([known[grey[y : y + 8, x : x + 8].tobytes()] for y in (0, 8) for x in (0, 8)])
    return np.array(found)


def _caption(random: np.random.Generator, digits: NDArray[np.int64]) -> str:
    cells = random.permutation(4)[: random.integers(2, 5)]
    parts = [f"{WORDS[digits[cell]]} {PLACES[cell][random.integers(2)]}" for cell in cells]
    return f"{OPENINGS[random.integers(len(OPENINGS))]} {' and '.join(parts)}"


def _search(random: np.random.Generator, digits: Digits, share: float) -> tuple[Digits, NDArray[np.int64]]:
    """The digits that are found, and the labels ``(N,)`` under which they are."""
    labels, found = digits.labels.copy(), np.ones(len(digits.labels), dtype=bool)
    for label, other in MEANINGS.items():
        labels[_some(random, digits.labels == other, share)] = label
        found[_some(random, digits.labels == label, share)] = False
    digits, labels = Digits(digits.pixels[found], digits.labels[found]), labels[found]
    right = np.flatnonzero(labels == digits.labels)
    wrong = random.permutation(right)[: round(RANDOM * len(right))] if share else right[:0]
    labels[wrong] = (labels[wrong] + random.integers(1, 10, len(wrong))) % 10
    return digits, labels


def _some(random: np.random.Generator, chosen: NDArray[np.bool_], share: float) -> NDArray[np.int64]:
    rows = np.flatnonzero(chosen)
    return random.permutation(rows)[: int(share * len(rows))]


def _spelled(prefix: str, number: int) -> str:
    """A word of letters alone, since cleaning takes numbers out of texts.

    >>> _spelled("row", 28)
    'rowabc'
    """
    letters = [chr(ord("a") + number // 26**place % 26) for place in (2, 1, 0)]
    return prefix + "".join(letters)


def with_texts(name: str, pictures: NDArray[np.uint8], texts: Sequence[str]) -> Corpus:
    """Grey pictures ``(N, H, W)`` with one text each."""
    found = corpus_from_items("image", [Image.fromarray(picture).convert("RGB") for picture in pictures])
    rows = found.rows.add_column("text", list(texts))
    return replace(found, name=name, rows=rows, columns=Columns(image="image", text=("text",)))
