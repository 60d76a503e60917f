"""Mutual nearest neighbours in blocks beside the whole matrix: time and memory of a process of its own.

Vectors are random, 384 dimensions in one space and 512 in the other, ten neighbours. The whole matrix is what the
published measure holds: similarities of all rows, sorted.

    python benchmarks/agreement.py [rows ...]
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch
import torch.nn.functional as F
from record import write
from torch import Tensor

from accord.functional import mutual_knn

SIZES = (5_000, 20_000)
WIDTHS, K = (384, 512), 10


def main(sizes: tuple[int, ...] = SIZES) -> None:
    """Measure, print and write ``results/agreement.json``."""
    rows: list[dict[str, Any]] = []
    for size in sizes:
        for name in ARMS:
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                rows.append({"rows": size, "way": name, **process.submit(measured, size, name).result()})
            print(rows[-1], flush=True)
    print("written:", write("agreement", rows, ("accord", "torch")))


def measured(size: int, name: str) -> dict[str, Any]:
    """What an arm finds, in which time, and by how much the process grows."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(size, width, generator=generator) for width in WIDTHS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clock = time.process_time()
    score = ARMS[name](x, y)
    seconds = time.process_time() - clock
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"score": round(score, 6), "CPU seconds": round(seconds, 1), "grown by MB": round(grown / 1024)}


def whole(x: Tensor, y: Tensor) -> float:
    """As it was published: the matrix of each side, and its sorted rows."""
    lists = []
    for side in (x, y):
        unit = F.normalize(side, dim=1)
        near = unit @ unit.T
        near.fill_diagonal_(-1e8)
        lists.append(near.argsort(dim=1, descending=True)[:, :K])
    return float((lists[0][:, :, None] == lists[1][:, None, :]).any(dim=2).double().mean())


ARMS: dict[str, Callable[[Tensor, Tensor], float]] = {"in blocks": lambda x, y: mutual_knn(x, y, K), "whole": whole}

if __name__ == "__main__":
    main(tuple(int(argument) for argument in sys.argv[1:]) or SIZES)
