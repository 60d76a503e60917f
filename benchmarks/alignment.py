"""Tokens in tiles: late interaction and soft alignment of clips of 64 tokens with texts of 64, against one einsum.

The plain form holds the similarities of all tokens of all pairs, ``(A, B, 64, 64)``, and what automatic differentiation
keeps of them. Forward and backward pass in float32, both directions. Time: sides take turns in one fresh process, and
the medians are compared. Memory: the rise of the peak resident set while a side runs once in a process of its own.
Agreement: the largest difference of scores and gradients, relative to the largest entry.

    python benchmarks/alignment.py [clips ...]
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from record import write
from torch import Tensor

from accord import functional as AF

CLIPS, TOKENS, WIDTH, HEAT = (64, 128), 64, 64, 0.07
REPEATS = 3
Both = tuple[Tensor, Tensor]
Score = Callable[[Tensor, Tensor, Tensor, Tensor], Both]


def late(clips: Tensor, texts: Tensor, seen: Tensor, said: Tensor) -> Both:
    """Ours: the best partner."""
    there, back = AF.late_interaction_pair(clips, texts, said, seen)
    return there, back.T


def soft(clips: Tensor, texts: Tensor, seen: Tensor, said: Tensor) -> Both:
    """Ours: the softmax-weighted mean of all partners."""
    return AF.soft_alignment_pair(clips, texts, seen, said, temperature=HEAT)


def plain_late(clips: Tensor, texts: Tensor, seen: Tensor, said: Tensor) -> Both:
    """All similarities in one tensor, and the maximum over either side."""
    similarity = torch.einsum("and,bmd->abnm", clips, texts)
    there = similarity.masked_fill(~said[:, None], -torch.inf).amax(dim=3)
    back = similarity.masked_fill(~seen[:, None, :, None], -torch.inf).amax(dim=2)
    return masked_mean(there, seen[:, None]), masked_mean(back, said)


def plain_soft(clips: Tensor, texts: Tensor, seen: Tensor, said: Tensor) -> Both:
    """All similarities in one tensor, and a softmax over either side."""
    similarity = torch.einsum("and,bmd->abnm", clips, texts)
    heated = similarity / HEAT
    there = heated.masked_fill(~said[:, None], -torch.inf).softmax(dim=3)
    back = heated.masked_fill(~seen[:, None, :, None], -torch.inf).softmax(dim=2)
    return masked_mean((there * similarity).sum(dim=3), seen[:, None]), masked_mean((back * similarity).sum(2), said)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Over the last dimension, where the mask is True."""
    return torch.where(mask, values, 0.0).sum(dim=2) / mask.sum(dim=-1)


WORKS: dict[str, tuple[Score, Score]] = {"late interaction": (late, plain_late), "soft alignment": (soft, plain_soft)}


def inputs(clips: int) -> list[Tensor]:
    """Tokens of clips and of as many texts, and which of them are real: half of them at least."""
    made = torch.Generator().manual_seed(clips)
    tokens = [F.normalize(torch.randn(clips, TOKENS, WIDTH, generator=made), dim=2) for _ in range(2)]
    masks = [
        torch.arange(TOKENS) < torch.randint(TOKENS // 2, TOKENS + 1, (clips, 1), generator=made) for _ in range(2)
    ]
    return [*tokens, *masks]


def run(score: Score, given: list[Tensor]) -> list[Tensor]:
    """The scores in both directions and the gradients of a loss on them."""
    leaves = [tokens.clone().requires_grad_() for tokens in given[:2]]
    scores = torch.stack(score(*leaves, *given[2:]))
    return [scores.detach(), *torch.autograd.grad(AF.contrastive_loss(scores / HEAT, direction="both"), leaves)]


def timed(name: str, clips: int) -> dict[str, float]:
    """Median seconds of both sides, and how far they are apart."""
    given, spent = inputs(clips), ([], [])  # type: ignore[var-annotated]
    found: list[list[Tensor]] = [[], []]
    for repeat in range(REPEATS + 1):
        for side, score in enumerate(WORKS[name]):
            start = time.perf_counter()
            found[side] = run(score, given)
            if repeat:
                spent[side].append(time.perf_counter() - start)
    apart = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(*found, strict=True))
    return {"ours": statistics.median(spent[0]), "plain": statistics.median(spent[1]), "difference": apart}


def grown(name: str, clips: int, side: int) -> float:
    """Megabytes by which the peak rises."""
    given = inputs(clips)
    run(WORKS[name][side], inputs(2))  # libraries load their kernels
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(WORKS[name][side], given)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def alone(what: str, name: str, clips: int) -> Any:
    """Measure one thing in a fresh interpreter."""
    command = [sys.executable, __file__, "--measure", what, name, str(clips)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def measured(name: str, clips: int) -> dict[str, Any]:
    """One row."""
    spent, ours, plain = (alone(what, name, clips) for what in ("time", "0", "1"))
    return {
        "work": f"{name}, {clips} × {clips} pairs of {TOKENS} × {TOKENS} tokens",
        "ms": round(1000 * spent["ours"], 1),
        "plain ms": round(1000 * spent["plain"], 1),
        "time ratio": round(spent["ours"] / spent["plain"], 2),
        "MB": round(ours, 1),
        "plain MB": round(plain, 1),
        "memory ratio": round(ours / plain, 3),
        "difference": float(f"{spent['difference']:.1g}"),
    }


def main(sizes: tuple[int, ...] = CLIPS) -> None:
    """Measure, print and write ``results/alignment.json``."""
    rows = []
    for clips in sizes:
        for name in WORKS:
            rows.append(measured(name, clips))
            print(rows[-1], flush=True)
    print("written:", write("alignment", rows, ("torch",)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--measure"]:
        what, name, clips = sys.argv[2], sys.argv[3], int(sys.argv[4])
        print(json.dumps(timed(name, clips) if what == "time" else grown(name, clips, int(what))))
    else:
        main(tuple(map(int, sys.argv[1:])) or CLIPS)
