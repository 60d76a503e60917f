"""Losses against the libraries that one would otherwise take: time, memory and agreement, as ratios in one run.

Each work is a forward and a backward pass in float32. Time: both sides alternate in one fresh process, and the medians
are compared. Memory: the rise of the peak resident set while one side runs once in a process of its own, above what
the inputs take. Agreement: the largest difference of the value and of the gradients, relative to the largest entry.
Where no library has the thing, the peer is the direct form, written below.

    python benchmarks/losses.py [--threads 2] [WORK ...]       # only the named works; nothing is written then
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from peers import (
    Call,
    clip_loss,
    det_volume,
    einsum_late_interaction,
    lightly_nt_xent,
    lightly_sinkhorn,
    lightly_swav,
    loop_mv_dhel,
    loop_mv_infonce,
    metric_learning_supcon,
    siglip_loss,
)
from record import write
from torch import Tensor

from accord import functional as AF

Inputs = list[Tensor]


@dataclass(frozen=True)
class Work:
    """One thing to compute in two ways.

    Args:
        name: as shown in the table.
        peer: whose implementation it is compared with.
        make: fresh inputs; floating-point ones get gradients where ``backward`` is set.
        ours: our call on the inputs.
        theirs: the peer's call; None where the peer cannot run.
        time_goal: largest ratio of times wanted.
        memory_goal: largest ratio of memory wanted.
        megabytes_goal: largest memory wanted, where the peer cannot run.
        repeats: timed runs of each side.
        backward: whether there is a gradient.
    """

    name: str
    peer: str
    make: Callable[[], Inputs]
    ours: Call
    theirs: Callable[[], Call] | None
    time_goal: float | None
    memory_goal: float | None = None
    megabytes_goal: float | None = None
    repeats: int = 7
    backward: bool = True


def unit(*shape: int) -> Tensor:
    """Random rows of unit norm, the same for the same shape."""
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))), dim=-1)


def pairs(rows: int, dim: int = 512) -> Inputs:
    """Images, texts near them, and a logit scale."""
    image = unit(rows, dim)
    return [image, F.normalize(image + unit(rows, dim + 1)[:, :dim], dim=-1), torch.tensor(14.3)]


# -- works


def our_late_interaction(image: Tensor, text: Tensor) -> Tensor:
    """Two softmax-like scalars from both directions, as the peer makes them."""
    rows, columns = AF.late_interaction_pair(image, text)
    return (rows * 14.3).logsumexp(dim=1).mean() + (columns * 14.3).logsumexp(dim=1).mean()


def twins(rows: int, dim: int) -> Inputs:
    """Images and texts of a trained model: close to each other and to one other pair, far from all the rest."""
    base = unit(rows // 2, dim).repeat_interleave(2, dim=0)
    return [F.normalize(base + 0.3 * unit(rows + other, dim)[other:], dim=1) for other in (1, 2)]


def info_nce(rows: int, goal: float | None, repeats: int, memory_goal: float | None = None) -> Work:
    """Symmetric InfoNCE of so many pairs; the peer has no memory for more than 16k."""
    return Work(
        f"symmetric InfoNCE, B={rows // 1024}k, D=512",
        "open_clip ClipLoss",
        lambda: pairs(rows),
        AF.info_nce,
        clip_loss if rows <= 16384 else None,
        goal,
        memory_goal,
        None if rows <= 16384 else 1024,
        repeats,
    )


def views(n: int, rows: int, dim: int) -> Callable[[], Inputs]:
    """Makes n views of so many instances."""
    return lambda: [unit(rows, dim + view)[:, :dim].contiguous() for view in range(n)]


def near_prototypes(rows: int, prototypes: int) -> Tensor:
    """Cosines of which the largest in each row is about 0.95, as in a trained model."""
    centres = unit(prototypes, 128)
    near = centres[torch.arange(rows) % prototypes] + unit(rows, 128) / 3
    return F.normalize(near, dim=1) @ centres.T


def normal(*shapes: tuple[int, ...]) -> Callable[[], Inputs]:
    """Makes one input of each shape."""
    return lambda: [unit(*shape) for shape in shapes]


LABELS = torch.arange(4096) % 100
WORKS = [
    info_nce(2048, 0.7, 15),
    info_nce(8192, 0.55, 5),
    info_nce(16384, 0.48, 3, 1 / 30),
    info_nce(65536, None, 1),
    Work(
        "symmetric InfoNCE, B=2k, D=512, logit scale 100, well separated pairs",
        "open_clip ClipLoss",
        lambda: [*twins(2048, 512), torch.tensor(100.0)],
        AF.info_nce,
        clip_loss,
        None,
        repeats=3,
    ),
    Work(
        "pairwise sigmoid (SigLIP), B=8k, D=512",
        "open_clip SigLipLoss",
        lambda: [*pairs(8192)[:2], torch.tensor(10.0), torch.tensor(-10.0)],
        AF.sigmoid_contrast,
        siglip_loss,
        0.7,
        1 / 10,
        repeats=5,
    ),
    Work(
        "NT-Xent, two views, B=4k, D=128",
        "lightly NTXentLoss",
        views(2, 4096, 128),
        lambda a, b: AF.nt_xent(a, b, 0.1),
        lightly_nt_xent,
        0.5,
        1 / 10,
    ),
    Work(
        "SupCon, B=4k, D=128, 100 classes",
        "pytorch-metric-learning SupConLoss",
        normal((4096, 128)),
        lambda z: AF.supcon(z, LABELS, 0.1),
        lambda: metric_learning_supcon(LABELS),
        0.35,
    ),
    Work(
        "Sinkhorn, 4096 × 3000, 3 rounds, eps 0.05",
        "lightly sinkhorn",
        lambda: [unit(4096, 128) @ unit(3000, 128).T],
        lambda scores: AF.sinkhorn(scores, eps=0.05),
        lambda: lightly_sinkhorn(0.05),
        1.2,
        backward=False,
    ),
    Work(
        "Sinkhorn, 4096 × 3000, 3 rounds, eps 0.01",
        "lightly sinkhorn",
        lambda: [near_prototypes(4096, 3000)],
        lambda scores: AF.sinkhorn(scores, eps=0.01),
        lambda: lightly_sinkhorn(0.01),
        1.2,
        backward=False,
    ),
    Work(
        "SwAV, 2 + 6 crops, B=256, K=3000",
        "lightly SwaVLoss",
        lambda: [unit(256, 128 + v) @ unit(3000, 128 + v).T for v in range(8)],
        lambda *scores: AF.swapped_prediction_loss(list(scores)),
        lightly_swav,
        0.8,
    ),
    Work(
        "late interaction, B=256, 49 × 32 tokens, D=256",
        "einsum and max",
        normal((256, 49, 256), (256, 32, 256)),
        our_late_interaction,
        lambda: einsum_late_interaction,
        0.8,
        1 / 10,
        repeats=5,
    ),
    *[
        Work(
            f"Gramian volume, B=1024, n={n}, D=512",
            "batched det",
            views(n, 1024, 512),
            lambda *mods: AF.volume(*mods),
            lambda: det_volume,
            1 / 5,
        )
        for n in (3, 4)
    ],
    Work(
        "MV-InfoNCE, 4 views, B=1k, D=128",
        "loop over pairs of views",
        views(4, 1024, 128),
        lambda *u: AF.mv_infonce(list(u), 0.2, normalize=False),
        lambda: loop_mv_infonce,
        0.5,
        1 / 4,
    ),
    Work(
        "MV-DHEL, 4 views, B=1k, D=128",
        "loop over pairs of views",
        views(4, 1024, 128),
        lambda *u: AF.mv_dhel(list(u), 0.2, normalize=False),
        lambda: loop_mv_dhel,
        0.5,
        1 / 4,
    ),
]


# -- measuring


def run(call: Call, inputs: Inputs, backward: bool) -> tuple[Tensor, Inputs]:
    """The value, and the gradients of its sum."""
    leaves = [x.detach().requires_grad_(backward) for x in inputs]
    value = call(*leaves)
    return value.detach(), list(torch.autograd.grad(value.sum(), leaves)) if backward else []


def seconds(work: Work) -> dict[str, Any]:
    """Median times of both sides in alternation, and how far their results differ."""
    inputs, sides = work.make(), [work.ours]
    if work.theirs is not None:
        sides.append(work.theirs())
    times: list[list[float]] = [[] for _ in sides]
    found: list[tuple[Tensor, Inputs]] = []
    for turn in range(work.repeats + 1):
        for side, call in enumerate(sides):
            start = time.perf_counter()
            results = run(call, inputs, work.backward)
            if turn or work.repeats == 1:  # the first turn warms up
                times[side].append(time.perf_counter() - start)
            if not turn:
                found.append(results)
    finite = [all(x.isfinite().all() for x in (value, *grads)) for value, grads in found]
    difference = compare(*found) if finite == [True, True] else None
    return {"times": [statistics.median(t) for t in times], "finite": finite, "difference": difference}


def compare(ours: tuple[Tensor, Inputs], theirs: tuple[Tensor, Inputs]) -> float:
    """Largest difference of values and gradients, each relative to the largest entry."""
    both = [(ours[0], theirs[0]), *zip(ours[1], theirs[1], strict=True)]
    return max(float((a - b).abs().max()) / (float(b.abs().max()) or 1.0) for a, b in both)


def megabytes(work: Work, side: str) -> dict[str, Any]:
    """Rise of the peak resident set while one side runs."""
    call = work.ours if side == "ours" else work.theirs()  # type: ignore[misc]
    inputs = work.make()
    run(lambda x: (x @ x.T).logsumexp(1).sum(), [torch.randn(64, 64)], True)  # libraries load their kernels
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(call, inputs, work.backward)
    return {"mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}


def in_process(work: Work, what: str, threads: int) -> dict[str, Any]:
    """Measure one thing in a fresh interpreter."""
    command = [sys.executable, __file__, "--threads", str(threads), "--measure", what, work.name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{work.name}, {what}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(work: Work, threads: int) -> dict[str, Any]:
    """One row of the table."""
    timed = in_process(work, "seconds", threads)
    memory = {"ours": in_process(work, "ours", threads)["mb"]}
    if work.theirs is not None:
        memory["theirs"] = in_process(work, "theirs", threads)["mb"]
    ours, theirs = timed["times"][0], timed["times"][1] if len(timed["times"]) > 1 else None
    time_ratio = None if theirs is None else ours / theirs
    memory_ratio = memory["ours"] / memory["theirs"] if memory.get("theirs", 0) > 1 else None
    return {
        "work": work.name,
        "peer": work.peer,
        "seconds": round(ours, 4),
        "peer seconds": None if theirs is None else round(theirs, 4),
        "time ratio": None if time_ratio is None else round(time_ratio, 3),
        "time goal": work.time_goal,
        "MB": round(memory["ours"], 1),
        "peer MB": None if "theirs" not in memory else round(memory["theirs"], 1),
        "memory ratio": None if memory_ratio is None else round(memory_ratio, 4),
        "memory goal": None if work.memory_goal is None else round(work.memory_goal, 4),
        "MB goal": work.megabytes_goal,
        "goals met": timed["finite"][0]
        and met(time_ratio, work.time_goal)
        and met(memory_ratio, work.memory_goal)
        and met(memory["ours"], work.megabytes_goal),
        "peer finite": timed["finite"][1] if len(timed["finite"]) > 1 else None,
        "difference": timed["difference"],
    }


def met(ratio: float | None, goal: float | None) -> bool:
    """Whether a ratio is within its goal; nothing to compare counts as met."""
    return ratio is None or goal is None or ratio <= goal


def main() -> None:
    """Measure all works and write ``results/losses.json``, or print the named ones."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("works", nargs="*", help="part of a work's name")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", choices=["seconds", "ours", "theirs"], help="inside a fresh process")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.measure:
        work = next(work for work in WORKS if work.name == options.works[0])
        print(json.dumps(seconds(work) if options.measure == "seconds" else megabytes(work, options.measure)))
        return
    chosen = [work for work in WORKS if not options.works or any(part in work.name for part in options.works)]
    rows = []
    for work in chosen:
        rows.append({**measure(work, options.threads), "threads": options.threads})
        print(json.dumps(rows[-1]), flush=True)
    if not options.works:
        packages = ("torch", "open_clip_torch", "lightly", "pytorch-metric-learning")
        print(write("losses", rows, packages))


if __name__ == "__main__":
    main()
