"""Banzhaf interactions of words and frames: all at once beside plain enumeration, and how good drawn coalitions are.

Plain is the definition, coalition by coalition and pair by pair in Python, for a batch of one; up to 8 players it is
what errors are measured against. Above, all coalitions are enumerated at once as far as that goes, and else 6,400 are
drawn. *One draw a pair* is what the reference implementation does: 100 coalitions for each word and frame of its own.
Times are processor time for one pair of a text and a clip, in a batch of 8 but for plain; the error is the root mean
square over pairs of a word and a frame, in percent of the standard deviation of the interactions.

    python benchmarks/banzhaf.py
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch
from record import write
from torch import Tensor

from accord.functional import TokenGame, paired_similarity, token_interaction, token_weights

BATCH, DIM, REPEATS = 8, 32, 3
SMALL = ((3, 3), (4, 4))
LARGE = ((6, 6), (24, 12))
REFERENCE = 6_400
Game = tuple[Tensor, Tensor, Tensor]


def main() -> None:
    """Measure, print and write ``results/banzhaf.json``."""
    torch.set_num_threads(1)
    rows = []
    for row in measured():
        rows.append(row)
        print(row, flush=True)
    print("written:", write("banzhaf", rows, ("accord", "torch")))


def measured() -> Iterator[dict[str, Any]]:
    """One row for each size and way."""
    for n, m in SMALL:
        game = games(n, m)
        seconds, reference = timed(lambda game=game: plain(game), 1)
        yield row(n, m, "plain enumeration", "all", seconds, reference, reference)
        yield from ways(n, m, game, reference)
    for n, m in LARGE:
        game = games(n, m)
        enumerated = n + m <= 16
        reference = interactions(game, None if enumerated else REFERENCE, seed=1)
        yield from ways(n, m, game, reference, enumerated=enumerated)


def ways(n: int, m: int, game: Game, reference: Tensor, *, enumerated: bool = True) -> Iterator[dict[str, Any]]:
    """All coalitions where that goes, drawn ones, and draws of each pair's own."""
    if enumerated:
        seconds, found = timed(lambda: interactions(game, None))
        yield row(n, m, "all at once", "all", seconds / BATCH, found, reference)
    for samples in (100, 400):
        seconds, found = timed(lambda samples=samples: interactions(game, samples))
        yield row(n, m, "shared draws", str(samples), seconds / BATCH, found, reference)
    seconds, found = timed(lambda: pair_by_pair(game, 100), 1)
    yield row(n, m, "one draw a pair", "100", seconds / BATCH, found, reference)


def row(n: int, m: int, way: str, coalitions: str, seconds: float, found: Tensor, reference: Tensor) -> dict[str, Any]:
    """What is written of one measurement."""
    error = (found[: len(reference)] - reference).square().mean().sqrt() / reference.std()
    return {
        "words": n,
        "frames": m,
        "how": way,
        "coalitions": coalitions,
        "ms a pair": round(1e3 * seconds, 3),
        "error %": round(100 * float(error), 2),
    }


def games(n: int, m: int) -> Game:
    """Cosines of random tokens with a few that are alike, and votes."""
    generator = torch.Generator().manual_seed(0)
    text, video = (torch.randn(BATCH, count, DIM, generator=generator) for count in (n, m))
    shared = min(n, m) // 2
    video[:, :shared] += 1.5 * text[:, :shared]
    votes = [token_weights(torch.randn(BATCH, count, generator=generator)) for count in (n, m)]
    return paired_similarity(text, video), votes[0], votes[1]


def interactions(game: Game, samples: int | None, seed: int = 0) -> Tensor:
    """All at once."""
    return token_interaction(*game, samples=samples, scale=1.0, generator=torch.Generator().manual_seed(seed))


def pair_by_pair(game: Game, samples: int) -> Tensor:
    """Coalitions drawn for each word and frame anew, of which only their interaction is taken."""
    similarity, generator = game[0], torch.Generator().manual_seed(0)
    played, found = TokenGame.of(*game, scale=1.0), torch.zeros_like(similarity)
    _, n, m = similarity.shape
    for i, j in product(range(n), range(m)):
        text, video = (torch.rand(samples, 1, count, generator=generator) < 0.5 for count in (n, m))
        worth = []
        for word, frame in product((True, False), repeat=2):
            text[..., i], video[..., j] = word, frame
            worth.append(played.payoff(text, video))
        found[:, i, j] = (worth[0] - worth[1] - worth[2] + worth[3]).mean(dim=0)
    return found


def plain(game: Game) -> Tensor:
    """The definition for the first pair of the batch."""
    similarity, a, b = (each[0].double() for each in game)
    n, m = similarity.shape
    found = torch.zeros(1, n, m)

    def worth(words: list[int], frames: list[int]) -> float:
        if not words or not frames:
            return 0.0
        part = similarity[words][:, frames]
        by_words = (a[words] * part.max(dim=1).values).sum() / a[words].sum()
        return float(by_words + (b[frames] * part.max(dim=0).values).sum() / b[frames].sum()) / 2

    for i, j in product(range(n), range(m)):
        others = [*[(0, word) for word in range(n) if word != i], *[(1, frame) for frame in range(m) if frame != j]]
        for joins in product((False, True), repeat=len(others)):
            members = [player for player, there in zip(others, joins, strict=True) if there]
            words, frames = ([number for kind, number in members if kind == which] for which in (0, 1))
            for word, frame in product((False, True), repeat=2):
                sign = 1 if word == frame else -1
                found[0, i, j] += sign * worth(words + [i] * word, frames + [j] * frame) / 2 ** len(others)
    return found


def timed(call: Callable[[], Tensor], repeats: int = REPEATS) -> tuple[float, Tensor]:
    """The median of the processor's time, after one call that does not count where there are several; the result."""
    found = call() if repeats > 1 else None
    times = []
    for _ in range(repeats):
        start = time.process_time()
        found = call()
        times.append(time.process_time() - start)
    assert found is not None
    return sorted(times)[len(times) // 2], found


if __name__ == "__main__":
    main()
