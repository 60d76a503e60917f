"""What packages of Debian say of themselves in a line, what people tagged them with, and how alike the tags make two.

Nobody has judged pairs of these lines. People have tagged the packages, without the lines in mind, so that two lines
are as alike as the tags of their packages are: cosines of tags that weigh the more, the fewer packages have them.
Packages of one source never stand on both sides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cache
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from accord.data.columns import Columns
from accord.data.corpus import Corpus
from accord.data.packs.archive_tagged import PACK
from accord.evaluation.few_labels import few_of_each

ROWS = 2000  # for training, and at most as many to test on
RARE = 8  # training rows up to which a tag is rare
UNSEEN = 40  # tags that training does not show
DOCUMENT = 12  # lines of a document
Row = dict[str, Any]


@cache
def packages() -> tuple[Row, ...]:
    """All packages with their line, section, source, maintainer and tags; lines that stand several times once."""
    assert PACK.embedded is not None
    rows = pq.read_table(PACK.embedded).to_pylist()
    worded = [{**row, "tags": [in_words(tag) for tag in row["tags"]]} for row in rows if row["tags"]]
    return tuple({row["description"].lower(): row for row in worded}.values())


def in_words(tag: str) -> str:
    """A tag such as ``works-with::image`` as words."""
    return tag.replace("::", " ").replace("-", " ")


def shared_out(seed: int) -> tuple[list[Row], list[Row]]:
    """Packages to train on and to test on."""
    random, rows = np.random.default_rng(seed), packages()
    sources = sorted({row["source"] for row in rows})
    kept = set(random.permutation(sources)[: len(sources) // 2])
    sides = [[row for row in rows if (row["source"] in kept) is inside] for inside in (True, False)]
    train, test = ([side[place] for place in random.permutation(len(side))[:ROWS]] for side in sides)
    return train, test


def lines(seed: int) -> tuple[Corpus, Corpus]:
    """A line a row, with its section as label."""
    return tuple(
        as_corpus(f"descriptions, {name}", rows, [[row["description"]] for row in rows])
        for name, rows in zip(("train", "test"), shared_out(seed), strict=True)
    )


def few_lines(seed: int) -> tuple[Corpus, Corpus]:
    """As :func:`lines`, with ten lines of each section to train on."""
    train, test = lines(seed)
    assert train.labels is not None
    return train.select(few_of_each(train.labels, 10, seed)), test


def related_lines(seed: int) -> tuple[Corpus, Corpus]:
    """As :func:`lines`, for training each with that of the package whose tags are most like its own."""
    train, _ = shared_out(seed)
    likeness = alike(train)
    np.fill_diagonal(likeness, -1.0)
    texts = [
        [row["description"], train[place]["description"]]
        for row, place in zip(train, likeness.argmax(axis=1), strict=True)
    ]
    return as_corpus("related descriptions", train, texts), lines(seed)[1]


def opposed_lines(seed: int) -> tuple[Corpus, Corpus]:
    """As :func:`related_lines`, and with a line of the same section that shares no tag as hard negative."""
    train, _ = shared_out(seed)
    corpus, likeness = related_lines(seed)[0], alike(train)
    random, sections = np.random.default_rng(seed), np.array([row["section"] for row in train])
    hard = []
    for place, section in enumerate(sections):
        near = np.flatnonzero(sections == section)
        far = near[likeness[place, near] <= np.quantile(likeness[place, near], 0.1)]
        hard.append(train[random.choice(far)]["description"])
    rows = corpus.rows.add_column("hard", hard)
    columns = corpus.columns.model_copy(update={"hard_text": "hard"})
    return Corpus("opposed descriptions", rows, columns, corpus.ids, captions=corpus.captions), lines(seed)[1]


def documents(seed: int) -> tuple[Corpus, Corpus]:
    """The lines of training joined to documents of a dozen: of one section, those of a maintainer beside each other."""
    train, _ = shared_out(seed)
    of_section: dict[str, list[str]] = defaultdict(list)
    for row in sorted(train, key=lambda row: (row["section"], row["maintainer"] or "")):
        of_section[row["section"]].append(row["description"])
    texts = [
        ". ".join(said[start : start + DOCUMENT])
        for said in of_section.values()
        for start in range(0, len(said) - DOCUMENT // 2, DOCUMENT)
    ]
    return as_corpus(
        "documents", [{"section": "", "tags": [], "source": ""}] * len(texts), [[text] for text in texts]
    ), lines(seed)[1]


def tagged_lines(seed: int) -> tuple[Corpus, Corpus]:
    """Lines with all their tags as labels; some tags stand on the side of the tests alone."""
    train, test = shared_out(seed)
    random = np.random.default_rng(seed)
    counts = Counter(tag for row in train for tag in row["tags"])
    tested = Counter(tag for row in test for tag in row["tags"])
    often = sorted(tag for tag in counts if 5 <= counts[tag] <= 60 and tested[tag] >= 5)
    unseen = set(random.permutation(often)[:UNSEEN])
    known = sorted(set(counts) - unseen)
    everything = sorted({*known, *(tag for tag in tested if tag in unseen)})
    sides = []
    for name, rows, classes in (("train", train, known), ("test", test, everything)):
        place = {tag: number for number, tag in enumerate(classes)}
        hot = np.zeros((len(rows), len(classes)), dtype=np.uint8)
        for number, row in enumerate(rows):
            hot[number, [place[tag] for tag in row["tags"] if tag in place]] = 1
        corpus = as_corpus(f"tagged descriptions, {name}", rows, [[row["description"]] for row in rows])
        sides.append(corpus.with_labels(hot, classes=classes))
    return sides[0], sides[1]


def as_corpus(name: str, rows: list[Row], texts: list[list[str]]) -> Corpus:
    """Rows with captions, and the section as label."""
    table = datasets.Dataset.from_dict({"text": [text[0] for text in texts], "tags": [row["tags"] for row in rows]})
    captions = tuple(tuple(text) for text in texts)
    corpus = Corpus(name, table, Columns.parse({"text": ("text",)}), np.arange(len(rows)), captions=captions)
    sections = sorted({row["section"] for row in packages()})
    labels = np.array([sections.index(row["section"]) if row["section"] else -1 for row in rows])
    return corpus.with_labels(labels, classes=sections)


def alike(rows: list[Row]) -> NDArray[np.float64]:
    """How alike the tags of packages are, ``(N, N)`` in [0, 1]."""
    return tags_of([row["tags"] for row in rows]) @ tags_of([row["tags"] for row in rows]).T


def tags_of(rows: list[list[str]]) -> NDArray[np.float64]:
    """Unit vectors ``(N, T)`` of tags, weighed by their rarity among all packages."""
    counts = Counter(tag for row in packages() for tag in row["tags"])
    place = {tag: number for number, tag in enumerate(counts)}
    found = np.zeros((len(rows), len(counts)))
    for number, tags in enumerate(rows):
        for tag in tags:
            found[number, place[tag]] = np.log(len(packages()) / counts[tag])
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


def pairs_of(corpus: Corpus) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of rows, half of them by chance and half with the nearest by tags, and how alike they are."""
    vectors, random = tags_of(list(corpus.rows["tags"])), np.random.default_rng(0)
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1.0)
    first = np.arange(len(corpus))
    near = likeness.argpartition(-20, axis=1)[:, -20:]
    close = near[first, random.integers(0, 20, len(first))]
    chance = (first + random.integers(1, len(first), len(first))) % len(first)
    left, right = np.concatenate([first, first]), np.concatenate([chance, close])
    return left, right, likeness[left, right]
