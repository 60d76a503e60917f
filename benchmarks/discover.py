"""Classes that nobody has labelled, found among known ones: how many, how right, how long, how much memory.

Vectors are a mixture on the sphere: classes of sizes by Zipf's law around centres that come in families, with captions
of which one word tells the class. Half of the classes are old, and half of their rows are labelled. ``accord discover``
is the whole verb from a Parquet file to the page, stability over five parts included; beside it stand k-means that is
told how many classes there are, k-means that is told wrong, and splitting and merging from that wrong number as it was
published: one start, and the prior whose scale nobody has fitted. Accuracy (All, Old, New) is of the rows without a
label, under one matching of clusters with classes. Each row of the table is a process of its own.

    python benchmarks/discover.py [rows ...]
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from record import write

if TYPE_CHECKING:
    from torch import Tensor

SIZES = (10_000, 100_000)
WIDTH, INNER, FAMILIES = 384, 48, 8  # dimensions, those in which rows differ, and families of classes
WRONG = 3  # times the true number of classes
DIM = 32  # principal components, those of the verb
FILE = "vectors.parquet"


@dataclass(frozen=True)
class Answer:
    """A class for each row, and what is known of the search."""

    found: np.ndarray
    stability: float | None = None


@dataclass(frozen=True)
class Rows:
    """Rows with what is true of them."""

    vectors: np.ndarray  # (N, D) float32, unit norm
    truth: np.ndarray  # (N,)
    labels: np.ndarray  # (N,), -1 for none
    classes: int


def main(sizes: tuple[int, ...] = SIZES) -> None:
    """Measure, print and write ``results/discover.json``."""
    rows: list[dict[str, Any]] = []
    for size in sizes:
        with TemporaryDirectory() as folder:
            alone(save, Path(folder), size)
            for arm in ARMS:
                rows.append({"search": arm, "rows": size, **alone(measured, Path(folder), size, arm)})
                print(rows[-1], flush=True)
    print("written:", write("discover", rows, ("accord", "torch")))


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """What a process of its own makes of it."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


def made(size: int) -> Rows:
    """Rows of a mixture in a few of the dimensions; the more rows, the more classes."""
    draw = np.random.default_rng(size)
    count = round(size**0.5 / 2.5)
    share = 1 / np.arange(5, count + 5)  # Zipf's law, without its few giants
    truth = draw.choice(count, size, p=share / share.sum())
    families = unit(draw.normal(size=(FAMILIES, INNER)))
    centres = unit(families[np.arange(count) % FAMILIES] + 0.8 * unit(draw.normal(size=(count, INNER))))
    loose = draw.uniform(0.6, 1.4, count) / INNER**0.5  # how far a class spreads
    inner = centres[truth] + loose[truth, None] * draw.normal(size=(size, INNER))
    axes, _ = np.linalg.qr(draw.normal(size=(WIDTH, INNER)))
    vectors = unit((inner @ axes.T).astype(np.float32))
    old = np.isin(truth, draw.permutation(count)[: count // 2])
    return Rows(vectors, truth, np.where(old & (draw.random(size) < 0.5), truth, -1), count)


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows at unit norm."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def save(folder: Path, size: int) -> None:
    """Write rows of a size as somebody else might have embedded them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, draw = made(size), np.random.default_rng(0)
    words = draw.integers(0, 500, (size, 3))
    said = zip(rows.truth, words, strict=True)
    captions = [f"kind{kind} with " + " and ".join(f"word{n}" for n in own) for kind, own in said]
    label = [f"kind{label}" if label >= 0 else None for label in rows.labels]
    vectors = pa.FixedSizeListArray.from_arrays(rows.vectors.ravel(), WIDTH)
    pq.write_table(pa.table({"embedding": vectors, "caption": captions, "label": label}), folder / FILE)


def measured(folder: Path, size: int, arm: str) -> dict[str, Any]:
    """How right an arm is, and what it takes."""
    import accord.pipeline.discovery  # noqa: F401  # imports are no part of it
    from accord.evaluation.discovery import gcd_accuracy

    rows = made(size)
    clock = time.perf_counter()
    answer = ARMS[arm](folder, rows)
    seconds = time.perf_counter() - clock
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    free = rows.labels < 0
    old = np.isin(rows.truth, np.unique(rows.labels[~free]))
    right = gcd_accuracy(rows.truth[free], answer.found[free], old[free])
    return {
        "classes": rows.classes,
        "found": len(np.unique(answer.found)),
        **{name.capitalize(): round(100 * value, 1) for name, value in right.items()},
        "stability": answer.stability,
        "seconds": round(seconds, 1),
        "process MB": round(memory / 1024),
    }


def verb(folder: Path, rows: Rows) -> Answer:
    """The whole verb, which is told nothing."""
    import accord

    found = accord.discover(folder / FILE, "label", out=folder / "found")
    known = [one.stability for one in found.classes if one.stability is not None]
    return Answer(found.placed.classes, round(float(np.mean(known)), 2))


def told_right(folder: Path, rows: Rows) -> Answer:
    """Semi-supervised k-means that is told the number of classes."""
    return k_means(rows, rows.classes)


def told_wrong(folder: Path, rows: Rows) -> Answer:
    """The same, told wrong."""
    return k_means(rows, WRONG * rows.classes)


def plain(folder: Path, rows: Rows) -> Answer:
    """Splitting and merging from the wrong number with the published prior."""
    from accord.functional import discover_classes

    vectors, labels = tensors(rows)
    start = WRONG * rows.classes
    return Answer(discover_classes(vectors, labels, start=start, spread=0.005, dim=DIM).assigned.numpy())


def k_means(rows: Rows, classes: int) -> Answer:
    """Clusters of the principal components, the labelled rows in those of their classes."""
    import torch

    from accord.functional import principal_components, semi_supervised_kmeans

    vectors, labels = tensors(rows)
    x, free = principal_components(vectors, DIM), labels < 0
    _, found, _ = semi_supervised_kmeans(x[free], x[~free], labels[~free], classes)
    assigned = torch.empty_like(labels)
    assigned[~free], assigned[free] = found.split([int((~free).sum()), int(free.sum())])
    return Answer(assigned.numpy())


def tensors(rows: Rows) -> tuple[Tensor, Tensor]:
    """Vectors, and labels as integers from 0."""
    import torch

    labels = np.unique(np.append(rows.labels, -1), return_inverse=True)[1][:-1] - 1
    return torch.from_numpy(rows.vectors), torch.from_numpy(labels)


ARMS: dict[str, Callable[[Path, Rows], Answer]] = {
    "accord discover": verb,
    "k-means, told the number": told_right,
    "k-means, told three times the number": told_wrong,
    "split and merge as published, from three times the number": plain,
}

if __name__ == "__main__":
    main(tuple(int(argument) for argument in sys.argv[1:]) or SIZES)
