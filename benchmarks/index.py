"""What a search index costs and finds: building, memory, recall, and the time of a search beside plain faiss.

Rows are short texts, their vectors 384 numbers that vary in 32 directions, the later the less, and a little in all, as
embeddings do; questions are further draws. The whole of Accord's index is timed, that is with the captions that an
answer shows. Peers are faiss alone, on the same vectors in memory: all of them (flat), inverted lists as its guidelines
advise (four times the square root of the rows), and a graph of neighbours (HNSW) as it comes; of both so much is looked
at that recall is ours. Sides take turns, question by question; given are medians, and what all but
one in a hundred stay below (p99).

    python benchmarks/index.py [rows ...]
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from record import write

from accord.data.corpus import Corpus, corpus_from_items
from accord.searching.index import SearchIndex, build_index
from accord.searching.neighbours import unit

SIZE, DIRECTIONS, NOISE = 384, 32, 0.1
ROWS = (10_000, 60_000, 100_000, 1_000_000)
QUESTIONS, ANSWERS = 200, 10
LINKS, WIDTHS = 32, (16, 32, 64, 128, 256, 512, 1024)  # of a graph: neighbours of each, and how widely it is searched
Floats = NDArray[np.float32]
Answer = Callable[[Floats], list[int]]


@dataclass(frozen=True)
class Known:
    """A model whose embeddings are there already: a text is the number of its vector."""

    vectors: Floats
    modalities: tuple[str, ...] = ("text",)

    def embed_corpus(self, corpus: Corpus, modality: str) -> torch.Tensor:
        """Those of some rows."""
        return torch.from_numpy(self.vectors[corpus.ids])


def main(sizes: tuple[int, ...] = ROWS) -> None:
    """Measure, print and write ``results/index.json``."""
    rows = []
    for size in sizes:
        rows.append(measured(size))
        print(rows[-1], flush=True)
    print("written:", write("index", rows, ("faiss-cpu", "lancedb", "numpy")))


def measured(rows: int) -> dict[str, Any]:
    """One size."""
    vectors, questions = drawn(rows)
    with TemporaryDirectory() as folder:
        (Path(folder) / "model.safetensors").write_bytes(b"")
        corpus = corpus_from_items("text", [str(row) for row in range(rows)])
        before, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        began = time.perf_counter()
        index = build_index(Path(folder), Known(vectors), corpus, progress=False)  # type: ignore[arg-type]
        cpu, took = time.process_time() - cpu, time.perf_counter() - began
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        true = flat(vectors)
        expected = [true(question) for question in questions]
        own, exact = ours(index), ours(index, ann=False)
        found, all_found = recall(own, questions, expected), recall(exact, questions, expected)
        lists, lists_built = inverted(vectors, questions, expected, found)
        links, links_built = graph(vectors, questions, expected, found)
        spent = in_turns({"ours": own, "inverted": lists, "graph": links}, questions)
        spent |= in_turns({"exact": exact, "flat": true}, questions)
    middle = {name: statistics.median(times) for name, times in spent.items()}
    worst = {name: float(np.quantile(times, 0.99)) for name, times in spent.items()}
    return {
        "rows": rows,
        "build s": round(took, 1),
        "build µs/row": round(1e6 * cpu / rows, 1),
        "build bytes/row": round(1024 * grown / rows),
        "recall@10": round(found, 4),
        "recall@10, exact": round(all_found, 4),
        "search ms": round(1000 * middle["ours"], 2),
        "search ms, p99": round(1000 * worst["ours"], 2),
        "search / faiss IVF-flat": round(middle["ours"] / middle["inverted"], 2),
        "search / faiss HNSW": round(middle["ours"] / middle["graph"], 2),
        "exact ms": round(1000 * middle["exact"], 2),
        "exact ms, p99": round(1000 * worst["exact"], 2),
        "exact / faiss flat": round(middle["exact"] / middle["flat"], 2),
        "faiss IVF-flat ms": round(1000 * middle["inverted"], 2),
        "faiss IVF-flat build s": round(lists_built, 1),
        "faiss HNSW ms": round(1000 * middle["graph"], 2),
        "faiss HNSW ms, p99": round(1000 * worst["graph"], 2),
        "faiss HNSW build s": round(links_built, 1),
        "faiss HNSW recall@10": round(recall(links, questions, expected), 4),
        "faiss flat ms": round(1000 * middle["flat"], 2),
        "faiss flat ms, p99": round(1000 * worst["flat"], 2),
    }


def drawn(rows: int) -> tuple[Floats, Floats]:
    """Vectors of the rows, and of questions."""
    draw = np.random.default_rng(0)
    spread = np.arange(1, DIRECTIONS + 1, dtype=np.float32)[:, None] ** -0.5
    directions = spread * draw.standard_normal((DIRECTIONS, SIZE), dtype=np.float32)

    def some(number: int) -> Floats:
        along = draw.standard_normal((number, DIRECTIONS), dtype=np.float32)
        return unit(along @ directions + NOISE * draw.standard_normal((number, SIZE), dtype=np.float32))

    return some(rows), some(QUESTIONS)


def ours(index: SearchIndex, ann: bool | None = None) -> Answer:
    """The rows that Accord's index answers with."""
    return lambda question: [hit.row for hit in index.search(question, "text", k=ANSWERS, ann=ann)]


def flat(vectors: Floats) -> Answer:
    """Those of faiss that looks at all."""
    index = faiss.IndexFlatIP(SIZE)
    index.add(vectors)
    return answering(index)


def inverted(vectors: Floats, questions: Floats, expected: list[list[int]], wanted: float) -> tuple[Answer, float]:
    """Those of faiss' inverted lists, and seconds to build them; the fewest are looked into that find as ``wanted``."""
    index: Any = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(SIZE), SIZE, int(4 * len(vectors) ** 0.5), faiss.METRIC_INNER_PRODUCT
    )
    index.cp.min_points_per_centroid = 1  # where rows are few it would warn
    index.cp.max_points_per_centroid, index.cp.niter = 40, 8
    began = time.perf_counter()
    index.train(vectors)
    index.add(vectors)
    took = time.perf_counter() - began

    def found(probes: int) -> float:
        index.nprobe = probes
        return recall(answering(index), questions, expected)

    every = range(1, index.nlist + 1)
    index.nprobe = every[min(bisect_left(every, wanted, key=found), len(every) - 1)]
    return answering(index), took


def graph(vectors: Floats, questions: Floats, expected: list[list[int]], wanted: float) -> tuple[Answer, float]:
    """Those of faiss' graph of neighbours, and seconds to build it, searched as widely as finds what is ``wanted``."""
    index: Any = faiss.IndexHNSWFlat(SIZE, LINKS, faiss.METRIC_INNER_PRODUCT)
    began = time.perf_counter()
    index.add(vectors)
    took = time.perf_counter() - began
    for width in WIDTHS:
        index.hnsw.efSearch = width
        if recall(answering(index), questions, expected) >= wanted:
            break
    return answering(index), took


def answering(index: Any) -> Answer:
    """The rows that a faiss index answers with."""
    return lambda question: index.search(question[None], ANSWERS)[1][0].tolist()


def recall(answer: Answer, questions: Floats, expected: list[list[int]]) -> float:
    """Share of the true neighbours that are answered with."""
    found = [len({*answer(question)} & {*true}) for question, true in zip(questions, expected, strict=True)]
    return sum(found) / (ANSWERS * len(found))


def in_turns(answers: dict[str, Answer], questions: Floats) -> dict[str, list[float]]:
    """Seconds of each search, by side; each question goes to every side, after a first one that does not count."""
    spent: dict[str, list[float]] = {name: [] for name in answers}
    for question in questions:
        for name, answer in answers.items():
            started = time.perf_counter()
            answer(question)
            spent[name].append(time.perf_counter() - started)
    return {name: times[1:] for name, times in spent.items()}


if __name__ == "__main__":
    main(tuple(int(argument) for argument in sys.argv[1:]) or ROWS)
