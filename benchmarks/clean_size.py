"""What ``accord clean`` takes on many pairs of embeddings: seconds, processor seconds and memory.

Pairs are made of sides that share 32 directions of 384, under noise; a fifth of them stand with another's partner. It
is the whole verb from a Parquet file to the page, in a process of its own, on as many threads as there are processors.

    python benchmarks/clean_size.py [pairs ...]
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from record import write

from accord.searching.rows import vector_column

COUNTS, SIZE, SHARED = (20_000, 50_000, 200_000), 384, 32


def main(counts: tuple[int, ...] = COUNTS) -> None:
    """Measure, print and write ``results/clean_size.json``."""
    rows = []
    for count in counts:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            rows.append(process.submit(measured, count).result())
        print(rows[-1], flush=True)
    print("written:", write("clean_size", rows, ("accord", "faiss-cpu", "torch")))


def measured(count: int) -> dict[str, Any]:
    """The verb on so many pairs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.parquet"
        save(path, count)
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-m", "accord", "clean", str(path), "--out", str(Path(folder) / "out")]
        subprocess.run(command, check=True, capture_output=True)
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "pairs": count,
        "dimensions": SIZE,
        "seconds": round(seconds, 1),
        "processor seconds": round(worked, 1),
        "GB": round(after.ru_maxrss / 1024**2, 2),
    }


def save(path: Path, count: int) -> None:
    """Write made pairs, a fifth of them wrong."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(0)
    shared = random.standard_normal((count, SHARED), dtype=np.float32)
    turned = shared @ random.standard_normal((SHARED, SIZE), dtype=np.float32)
    order = np.arange(count)
    order[: count // 5] = np.roll(order[: count // 5], 1)
    columns = {"id": pa.array(np.arange(count)), "text": pa.array([f"text {place}" for place in order])}
    for name, rows in (("image_vector", turned), ("text_vector", turned[order])):
        noisy = rows + 3 * random.standard_normal((count, SIZE), dtype=np.float32)
        columns[name] = vector_column(F.normalize(torch.from_numpy(noisy), dim=1))
    pq.write_table(pa.table(columns), path)


if __name__ == "__main__":
    main(tuple(int(argument) for argument in sys.argv[1:]) or COUNTS)
