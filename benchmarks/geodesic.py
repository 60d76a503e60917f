"""Geodesics of G2L on 4,096 moments: Accord's table of neighbours and paths beside scikit-learn and SciPy.

The moments are those of a film of scenes that repeat: all cells of a map whose clips are random vectors around one of
twelve. Both sides find the five nearest neighbours of each moment by Euclidean distance, measure the edges by cosine,
and look for paths of at most 0.5 from 64 moments. The other side is what one would put together: scikit-learn's
neighbours and SciPy's Dijkstra with a limit. The paths alone are timed on the same edges, too; on a processor Accord's
are SciPy's, so that the difference is what it costs to hand them over. Processor time of one thread, in turn; medians
of some repetitions after one that does not count. All paths are compared.

    python benchmarks/geodesic.py [--moments 4096]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from record import write
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from accord.functional import geodesic_similarity
from accord.functional.similarity.geodesic import _edges, _shortest

K, CUTOFF, SOURCES, DIM, SCENES, REPEATS = 5, 0.5, 64, 256, 12, 7


def main(moments: int) -> None:
    """Measure, print and write ``results/geodesic.json``."""
    torch.set_num_threads(1)
    features = film(moments)
    sources = torch.randperm(moments, generator=torch.Generator().manual_seed(1))[:SOURCES]
    near, length = _edges(features[None], K)
    graph = as_graph(near[0], length[0])
    sides: dict[tuple[str, str], Callable[[], Any]] = {
        ("neighbours and paths", "accord"): lambda: geodesic_similarity(features, sources, K, CUTOFF),
        ("neighbours and paths", "scikit-learn and scipy"): lambda: theirs(features, sources),
        ("paths", "accord"): lambda: paths(near, length, sources),
        ("paths", "scipy"): lambda: dijkstra(graph, indices=sources.numpy(), limit=CUTOFF),
    }
    seconds = timed(sides)
    ours = geodesic_similarity(features, sources, K, CUTOFF)
    expected = similarity(dijkstra(graph, indices=sources.numpy(), limit=CUTOFF))
    difference = float((ours - expected).abs().max())
    reached = int((ours > 0).sum(dim=1).median())
    rows = []
    for (what, side), taken in seconds.items():
        other = next(value for (part, name), value in seconds.items() if part == what and name != "accord")
        row = {"what": what, "side": side, "moments": moments, "sources": SOURCES, "reached (median)": reached}
        rows.append(
            row | {"seconds": round(taken, 5), "/ other": round(taken / other, 3), "largest difference": difference}
        )
        print(rows[-1], flush=True)
    print("written:", write("geodesic", rows, ("accord", "torch", "scipy", "scikit-learn")))


def film(moments: int) -> Tensor:
    """The first cells ``(P, D)`` of the map of a film: the largest values of the clips of each moment."""
    random = torch.Generator().manual_seed(0)
    clips = int((2 * moments) ** 0.5) + 1
    scenes = torch.randn(SCENES, DIM, generator=random)[torch.randint(SCENES, (clips // 8 + 1,), generator=random)]
    shown = scenes.repeat_interleave(8, dim=0)[:clips] + 0.5 * torch.randn(clips, DIM, generator=random)
    start, end = torch.triu_indices(clips, clips)
    cells = [shown[i : j + 1].amax(dim=0) for i, j in zip(start.tolist(), end.tolist(), strict=True)]
    return torch.stack(cells[:moments])


def timed(sides: dict[tuple[str, str], Callable[[], Any]]) -> dict[tuple[str, str], float]:
    """Median seconds of each, in turn, in processor time, which other work on the machine hardly changes."""
    taken: dict[tuple[str, str], list[float]] = {name: [] for name in sides}
    for _ in range(REPEATS + 1):
        for name, run in sides.items():
            begun = time.process_time()
            run()
            taken[name].append(time.process_time() - begun)
    return {name: statistics.median(values[1:]) for name, values in taken.items()}


def theirs(features: Tensor, sources: Tensor) -> Tensor:
    """The same by scikit-learn and SciPy."""
    rows = features.numpy()
    near = torch.from_numpy(NearestNeighbors(n_neighbors=K).fit(rows).kneighbors(return_distance=False))
    unit = F.normalize(features, dim=1)
    length = (1 - torch.einsum("pd,pkd->pk", unit, unit[near])).clamp(min=0)
    return similarity(dijkstra(as_graph(near, length), indices=sources.numpy(), limit=CUTOFF))


def paths(near: Tensor, length: Tensor, sources: Tensor) -> Tensor:
    """Our paths on edges that are there."""
    return _shortest(near, length, sources, torch.zeros_like(sources), CUTOFF)


def as_graph(near: Tensor, length: Tensor) -> csr_matrix:
    """Edges as SciPy's matrix."""
    rows = np.repeat(np.arange(len(near)), K)
    return csr_matrix((length.double().flatten().numpy(), (rows, near.flatten().numpy())), shape=(len(near),) * 2)


def similarity(distance: np.ndarray) -> Tensor:
    """1 minus the distance, 0 where there is no path."""
    found = torch.from_numpy(distance)
    return torch.where(found.isinf(), 0.0, 1 - found).float()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--moments", type=int, default=4096)
    main(parser.parse_args().moments)
