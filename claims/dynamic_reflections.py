"""Two encoders that never met, on three digits and what is said of them: what more frames and captions bring.

An item is three digits of handwriting side by side. A frame shows each of them with some probability, under noise; a
caption names each with some probability, among filler words. The vision encoder was trained to name the digits of
whole frames, and gives its hidden layer, the mean over frames; the text encoder is a sum of random word vectors, the
mean over captions. Items are made of digits that the encoder was not trained on.

1. Agreement should rise with both, to at least 1.5 times what one frame and one caption give.
2. The law ``S - C_f n_f^-a - C_c n_c^-b`` should explain more than 95 % of the variance over the grid, and predict
   cells that were left out better than ``a + b log n_f + c log n_c`` does. Where single frames and captions say little,
   a law in which the penalties multiply should predict better than one in which they add up.
3. With captions of other items there should be no agreement beyond chance.
4. More evidence must be more than less noise: one frame and one caption that are repeated under independent noise
   should bring less than half of what others do.

    accord claims run dynamic_reflections
"""

from __future__ import annotations

from functools import partial
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from shared.digits import Digits, split_digits
from torch import Tensor, nn

from accord.claims import Arm, Claim, Question, Scale
from accord.diagnostics.law import ScalingLaw
from accord.functional import mutual_knn

ITEMS, K = 500, 10
FRAMES, CAPTIONS = (1, 2, 4, 8, 16, 32), (1, 2, 4, 8, 16)
NOISE, HIDDEN, WIDTH, FILLERS = 0.25, 96, 48, 40
STEPS, BATCH, LR = 600, 128, 2e-3
CHANCE = 100 * K / (ITEMS - 1)
RISE, FIT, LAW, LOG, MULTIPLIED = "times as high", "R²", "error, law", "error, logarithms", "error, multiplied law"
SCORE, GAIN = "agreement", "share of the gain"


def items_of(digits: Digits, count: int, random: np.random.Generator) -> tuple[Tensor, NDArray[np.int64]]:
    """Whole frames ``(count, 3, 64)`` of three digits, and which digits they are ``(count, 3)``."""
    chosen = random.integers(len(digits.labels), size=(count, 3))
    return torch.from_numpy(digits.pixels[chosen].astype(np.float32) / 16).flatten(2), digits.labels[chosen]


def shown(whole: Tensor, seen: Tensor, noise: torch.Generator) -> Tensor:
    """Frames ``(B, 192)`` in which some digits are black, with noise."""
    frame = (whole * seen[:, :, None]).flatten(1)
    return frame + NOISE * torch.randn(frame.shape, generator=noise)


def namer(digits: Digits, seed: int, steps: int) -> nn.Sequential:
    """A hidden layer and a head that names the three digits of a whole frame."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(192, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 30))
    optimiser, random = torch.optim.Adam(net.parameters(), lr=LR), np.random.default_rng(seed)
    noise = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        whole, labels = items_of(digits, BATCH, random)
        logits = net(shown(whole, torch.ones(BATCH, 3), noise)).unflatten(1, (3, 10))
        loss = F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(labels).flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net


class World:
    """Items with all their frames and captions, as the two encoders see them.

    Args:
        seed: of everything.
        visible: probability that a frame shows a digit.
        said: probability that a caption names one.
        repeated: every frame and caption of an item shows and says what its first one does.
        quick: an encoder that is hardly trained.
    """

    def __init__(self, seed: int, visible: float, said: float, repeated: bool = False, quick: bool = False) -> None:
        train, test = split_digits(seed)
        random, noise = np.random.default_rng([seed, 1]), torch.Generator().manual_seed(seed + 1)
        whole, labels = items_of(test, ITEMS, random)
        net = namer(train, seed, 5 if quick else STEPS)
        words = torch.randn(30 + FILLERS, WIDTH, generator=noise)
        known = words[torch.arange(3) * 10 + torch.from_numpy(labels)]  # (N, 3, WIDTH)

        def said_or_seen(share: float, before: Tensor | None) -> Tensor:
            fresh = (torch.rand(ITEMS, 3, generator=noise) < share).float()
            return fresh if before is None or not repeated else before

        frames: list[Tensor] = []
        captions: list[Tensor] = []
        seen = named = None
        with torch.no_grad():
            for _ in range(FRAMES[-1]):
                seen = said_or_seen(visible, seen)
                frames.append(net[:2](shown(whole, seen, noise)))
            for _ in range(CAPTIONS[-1]):
                named = said_or_seen(said, named)
                filler = words[30 + torch.randint(FILLERS, (ITEMS, 2), generator=noise)].sum(dim=1)
                captions.append((known * named[:, :, None]).sum(dim=1) + filler)
        self.frames, self.captions = torch.stack(frames), torch.stack(captions)

    def score(self, frames: int, captions: int, order: Tensor | None = None) -> float:
        """Agreement in percent with so many frames and captions."""
        texts = self.captions[:captions].mean(dim=0)
        return 100 * mutual_knn(self.frames[:frames].mean(dim=0), texts if order is None else texts[order], K)

    def grid(self) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
        """Numbers of frames and captions of each cell, and its agreement as a share."""
        cells = list(product(FRAMES, CAPTIONS))
        scores = np.array([self.score(*cell) for cell in cells]) / 100
        return [np.array(each, dtype=np.float64) for each in zip(*cells, strict=True)], scores


def laws(seed: int, visible: float = 0.85, said: float = 0.9, quick: bool = False) -> dict[str, float]:
    """What the grid looks like, how well the law fits, and how well each predicts every second cell from the others."""
    world = World(seed, visible, said, quick=quick)
    evidence, scores = world.grid()
    odd = np.arange(len(scores)) % 2 == 1
    kept, asked = [each[~odd] for each in evidence], [each[odd] for each in evidence]

    def error(predicted: NDArray[np.float64]) -> float:
        return 100 * float(np.abs(predicted - scores[odd]).mean())

    add, times = (ScalingLaw.fit(kept, scores[~odd], form) for form in ("additive", "multiplicative"))
    logs = [np.stack([np.ones(len(each[0])), *map(np.log, each)], axis=1) for each in (kept, asked)]
    line = np.linalg.lstsq(logs[0], scores[~odd], rcond=None)[0]
    return {
        SCORE: world.score(FRAMES[-1], CAPTIONS[-1]),
        RISE: world.score(FRAMES[-1], CAPTIONS[-1]) / world.score(1, 1),
        FIT: ScalingLaw.fit(evidence, scores).r2,
        LAW: error(add.predict(asked)),
        MULTIPLIED: error(times.predict(asked)),
        LOG: error(logs[1] @ line),
    }


def strangers(seed: int, quick: bool = False) -> dict[str, float]:
    """Agreement with the captions of other items."""
    world = World(seed, 0.85, 0.9, quick=quick)
    order = torch.randperm(ITEMS, generator=torch.Generator().manual_seed(seed))
    return {SCORE: world.score(FRAMES[-1], CAPTIONS[-1], order)}


def repeated(seed: int, quick: bool = False) -> dict[str, float]:
    """What repeats of one frame and one caption bring, in percent of what others do."""
    gains = []
    for same in (True, False):
        world = World(seed, 0.85, 0.9, same, quick)
        gains.append(world.score(FRAMES[-1], CAPTIONS[-1]) - world.score(1, 1))
    return {GAIN: 100 * gains[0] / gains[1]}


def whole_items(seed: int, quick: bool = False) -> dict[str, float]:
    """Agreement where every frame shows and every caption says all."""
    return {SCORE: World(seed, 1.0, 1.0, quick=quick).score(FRAMES[-1], CAPTIONS[-1])}


PREDICTS = {
    "unit": "points",
    "higher": False,
    "smallest": 0.2,
    "because": "a fifth of a point is a fiftieth of the rise",
}
NO_SCALE = "an error has no chance level; zero is its best"

CLAIM = Claim(
    slug="dynamic_reflections",
    kind_of_data="composed",
    paper="How far encoders of films and of texts agree on what is alike depends on how much they are shown, by a law "
    "that saturates.",
    arms={
        "seen and said": Arm(function=laws, note="a frame shows a digit with 0.85, a caption names it with 0.9"),
        "poor evidence": Arm(function=partial(laws, visible=0.4, said=0.5), note="with 0.4 and 0.5"),
        "other captions": Arm(function=strangers, note="the captions of other items"),
        "repeated": Arm(function=repeated, note="one frame and one caption under new noise, against others"),
        "all seen": Arm(function=whole_items, note="every frame shows, every caption names all three digits"),
    },
    seeds=tuple(range(10)),
    scales={SCORE: Scale(CHANCE, "all seen")},
    questions=[
        Question(
            "rise",
            "All frames and captions agree at least 1.5 times as well as one of each.",
            "seen and said",
            1.0,
            RISE,
            unit="times",
            margin=0.5,
            smallest=0.1,
            because="a tenth of what one of each gives",
            equal="nothing",
            scale="a ratio of two scores has no ceiling",
        ),
        Question(
            "fit",
            "The law explains more than 95 % of the variance over frames and captions.",
            "seen and said",
            0.0,
            FIT,
            unit="R²",
            margin=0.95,
            smallest=0.01,
            because="a hundredth of the variance",
            equal="nothing",
            scale=Scale(0.0, 1.0),
        ),
        Question(
            "law against logarithms",
            "The law predicts cells that were left out better than logarithms of both numbers do.",
            "seen and said",
            "seen and said",
            LAW,
            baseline_metric=LOG,
            equal="nothing",
            scale=NO_SCALE,
            **PREDICTS,
        ),
        Question(
            "poor evidence",
            "Where single frames and captions say little, penalties that multiply predict better than a sum of them.",
            "poor evidence",
            "poor evidence",
            MULTIPLIED,
            baseline_metric=LAW,
            equal="nothing",
            scale=NO_SCALE,
            **PREDICTS,
        ),
        Question(
            "other captions",
            "With the captions of other items agreement is what chance gives.",
            "other captions",
            CHANCE,
            SCORE,
            smallest=0.5,
            because="half a point is a quarter of chance",
            expects="equivalent",
            equal="nothing",
        ),
        Question(
            "repeated",
            "One frame and one caption that are repeated under new noise bring less than half of what others do.",
            "repeated",
            50.0,
            GAIN,
            higher=False,
            smallest=5.0,
            because="a tenth of a half",
            equal="nothing",
            scale=Scale(100.0, 0.0),
        ),
    ],
    tuning="Nothing is tuned.",
)
