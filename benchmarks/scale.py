"""What a row costs, and how that grows with the number of rows: opening, starting to train, training, embedding.

Data are tar shards of small pictures with captions of a few words, and a table of captions alone. Each figure is of a
process of its own, which begins without anything remembered: seconds of processor time and bytes of memory that the
part adds. ``slope`` is that of the logarithms, from one size to the next: 1 where twice the rows cost twice as much.
The index has a benchmark of its own, ``index.py``.

    python benchmarks/scale.py [rows ...]
"""

from __future__ import annotations

import io
import math
import resource
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from record import write

ROWS = (10_000, 40_000, 160_000)
PER_SHARD, SIDE = 2000, 32
STEPS, BATCH = 20, 64
EMBEDDED = 2000  # rows: what one costs does not depend on how many there are
WORDS = "red green blue small large old new cat dog bird house tree river stone cloud star".split()  # noqa: SIM905


class Clock:
    """Processor time and memory from when it is started."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin anew."""
        self._memory, self._seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()

    def read(self, rows: int) -> dict[str, float]:
        """What has been used since, in all and a row."""
        seconds = time.process_time() - self._seconds
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self._memory)
        return {"cpu s": round(seconds, 2), "µs/row": round(1e6 * seconds / rows, 1), "bytes/row": round(grown / rows)}


Part = Callable[[Path, Path, Clock], int]  # takes shards, a table and a running clock; gives the rows it went through


def main(sizes: tuple[int, ...] = ROWS) -> None:
    """Measure, print and write ``results/scale.json``."""
    rows: list[dict[str, Any]] = []
    for size in sizes:
        with TemporaryDirectory() as folder:
            shards, table = made(Path(folder), size)
            for part in (open_shards, open_table, first_step, training, embedding):
                rows.append({"part": part.__name__.replace("_", " "), "rows": size, **measured(part, shards, table)})
                rows[-1]["slope"] = slope(rows[-1], rows)
                print(rows[-1], flush=True)
    print("written:", write("scale", rows, ("accord", "datasets", "torch")))


def made(folder: Path, rows: int) -> tuple[Path, Path]:
    """A folder of shards and a table of as many rows."""
    draw = np.random.default_rng(0)
    captions = [" ".join(words) for words in draw.choice(WORDS, (rows, 6))]
    shards, table = folder / "shards", folder / "captions.csv"
    shards.mkdir()
    table.write_text("caption,label\n" + "".join(f"{text},{text.split()[0]}\n" for text in captions))
    pictures = [picture(draw) for _ in range(64)]
    for first in range(0, rows, PER_SHARD):
        with tarfile.open(shards / f"{first // PER_SHARD:05}.tar", "w") as archive:
            for row in range(first, min(first + PER_SHARD, rows)):
                for suffix, content in (("png", pictures[row % 64]), ("txt", captions[row].encode())):
                    member = tarfile.TarInfo(f"{row:08}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return shards, table


def picture(draw: np.random.Generator) -> bytes:
    """A few colours as PNG."""
    stream = io.BytesIO()
    Image.fromarray(draw.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def measured(part: Part, shards: Path, table: Path) -> dict[str, float]:
    """Processor time and memory of a part, in a process of its own with a cache of its own."""
    with TemporaryDirectory() as cache, ProcessPoolExecutor(1, get_context("spawn")) as alone:
        return alone.submit(spent, part, shards, table, cache).result()


def spent(part: Part, shards: Path, table: Path, cache: str) -> dict[str, float]:
    """What a part adds to what this process has used so far."""
    import platformdirs

    import accord.pipeline.run
    import accord.training.fit  # noqa: F401  # imports are no part of it

    platformdirs.user_cache_path = lambda *_, **__: Path(cache)  # type: ignore[assignment, misc]
    clock = Clock()
    rows = part(shards, table, clock)
    return clock.read(rows)


def slope(now: dict[str, Any], before: list[dict[str, Any]]) -> float | None:
    """How the processor time of a part has grown since the size before."""
    last = [row for row in before if row["part"] == now["part"] and row["rows"] < now["rows"]]
    if not last:
        return None
    grown = math.log(max(now["cpu s"], 1e-3) / max(last[-1]["cpu s"], 1e-3))
    return round(grown / math.log(now["rows"] / last[-1]["rows"]), 2)


def open_shards(shards: Path, table: Path, clock: Clock) -> int:
    """Opening pictures and captions, no picture decoded."""
    from accord.data import open_corpus

    return len(open_corpus(shards, check=False, quiet=True))


def open_table(shards: Path, table: Path, clock: Clock) -> int:
    """Opening captions and labels."""
    from accord.data import open_corpus

    return len(open_corpus(table, quiet=True))


def first_step(shards: Path, table: Path, clock: Clock) -> int:
    """All that happens until the first step of CLIP on a stream has been made."""
    return _trained(shards, 1, Clock())


def training(shards: Path, table: Path, clock: Clock) -> int:
    """Twenty steps of CLIP, once all is open."""
    _trained(shards, STEPS, clock)
    return STEPS * BATCH


def _trained(shards: Path, steps: int, clock: Clock) -> int:
    """Starts the clock when all is open; gives the rows that there are."""
    from accord.data.recipe import DataConfig, prepare
    from accord.pipeline.build import build_method
    from accord.pipeline.config import RunConfig
    from accord.training.fit import fit

    config = RunConfig.parse(
        {
            "data": {"source": str(shards), "stream": True, "split": {"test": 0.01}},
            "method": {"name": "clip", "dim": 32},
            "encoders": {
                "image": {"name": "tiny_convnet", "options": {"size": SIDE}},
                "text": {"name": "tiny_text", "options": {"width": 32, "depth": 1, "heads": 2}},
            },
            "training": {"epochs": 1, "epoch_rows": steps * BATCH, "batch_size": BATCH, "accelerator": "cpu"},
        }
    )
    prepared = prepare(DataConfig.parse(config.data.model_dump()), quiet=True)
    method = build_method(config, prepared.train)
    clock.start()
    with TemporaryDirectory() as folder:
        fit(method, prepared.train, config.training, Path(folder), progress=False)
    return len(prepared.train)


def embedding(shards: Path, table: Path, clock: Clock) -> int:
    """Some of the pictures, once they are open."""
    from accord.data import open_corpus
    from accord.encoders import build_encoder
    from accord.training.caching import stored_features

    corpus = open_corpus(shards, check=False, quiet=True)
    encoder = build_encoder("image", {"name": "tiny_convnet", "size": SIDE})
    encoder.freeze("all")
    clock.start()
    stored_features("image", encoder, corpus.select(range(EMBEDDED)))
    return EMBEDDED


if __name__ == "__main__":
    main(tuple(int(argument) for argument in sys.argv[1:]) or ROWS)
