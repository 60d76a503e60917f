"""RCAD and LLM-teacher on clips of three real digits that stand still above a dot that moves.

A clip is told from others by its digits, of which there are a thousand combinations, so that a contrast of the batch
hardly needs to know where the dot goes. Retrieval among captions with the same digits and another direction asks for
that alone; guessing is right once in six.

1. Contrast alone retrieves well and guesses among altered captions. Trained with altered captions, hard (``lbl``) or as
   alike as the directions are (``lgt``), the same towers should be right more often, by more than 10 points. It could
   fail because the dot is hard to see: whether its motion is discovered at all differs from seed to seed.
2. Captions in which a digit was altered should give no such gain: these were told apart before.
3. What is seen of the direction, over what is seen of digits, should rise.

Two controls show where the method has nothing to do: with a tower that sees motion well contrast alone should be right
among altered captions, and with one that sees single frames alone nothing should help.

    accord claims run rcad
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from shared.dots import SLOTS, WORDS, Clips, altered, caption, dot_clips, likeness
from torch import Tensor, nn

from accord.claims import Arm, Claim, Measured, Question, Scale
from accord.data.inputs import TextInput, VideoInput
from accord.encoders.base import Encoder, Features
from accord.evaluation.counterfactuals import ranks_of_first
from accord.evaluation.retrieval import rank_queries
from accord.functional import swap_sensitivity
from accord.methods import DataInfo, Step
from accord.methods.base import Batch
from accord.methods.multimodal.rcad import Rcad

TRAIN, TEST, EPOCHS, BATCH, LR = 2000, 600, 8, 128, 2e-3
QUICK = 32  # clips of a smoke run
CANDIDATES, OTHERS = 5, 5  # altered captions of a training and of a test clip
Motion = Literal["weak", "strong", "none"]  # how a tower sees it
ACTION, OBJECT = SLOTS - 1, 0  # slots
CONTRAST, LBL, LGT, DIGITS = "contrast alone", "lbl", "lgt", "lbl, digits altered"
SEES, BLIND, UNTRAINED = "contrast alone, sees motion", "lgt, single frames", "untrained"
RCAD, RETRIEVAL, SHARE = "RCAD R@1", "R@1", "direction over digit"
POINTS: dict[str, Any] = {"smallest": 3.0, "because": "another draw of the test clips moves it by two points"}


class Reader:
    """Words of a caption as their numbers."""

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """``(B, 4)`` of each."""
        ids = torch.tensor([[WORDS.index(word) for word in text.split()] for text in texts])
        return ids, torch.ones_like(ids, dtype=torch.bool)


class Slots(Encoder):
    """An embedding of each word of a caption, and a hidden layer."""

    modality = "text"

    def __init__(self, width: int = 32, dim: int = 128) -> None:
        super().__init__()
        self.input, self.dim = TextInput(Reader()), dim
        self.words = nn.Embedding(len(WORDS), width)
        self.layers = nn.Sequential(nn.Linear(SLOTS * width, dim), nn.ReLU())

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of ``(B, 4)``."""
        return Features(pooled=self.layers(self.words(x).flatten(1)))

    def blocks(self) -> list[nn.Module]:
        """The layer."""
        return [self.layers]

    def spec(self) -> dict[str, Any]:
        """The widths."""
        return {"name": "slots", "width": self.words.embedding_dim, "dim": self.dim}


class Dots(Encoder):
    """Two convolutions, whose mean over time keeps where things are, beside one that says how things move anywhere.

    Args:
        motion: ``weak``: the latter is averaged over all places, and halved; ``strong``: its largest value over all
            places, twice; ``none``: no part sees more than one frame.
    """

    modality = "video"

    def __init__(self, motion: Motion) -> None:
        super().__init__()
        self.input, self.motion = VideoInput(), motion
        time = 1 if motion == "none" else 3
        self.still = nn.Sequential(
            nn.Conv3d(1, 8, (1, 3, 3), (1, 2, 2), (0, 1, 1)),
            nn.ReLU(),
            nn.Conv3d(8, 24, (time, 3, 3), (1, 2, 2), (time // 2, 1, 1)),
            nn.ReLU(),
        )
        self.moving = nn.Sequential(nn.Conv3d(1, 24, (time, 3, 3), (1, 2, 2), (time // 2, 1, 1)), nn.ReLU())
        self.dim = 24 * 36 + 24

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of ``(B, T, 24, 24)``."""
        clip = x[:, None]
        still = self.still(clip).mean(dim=2).flatten(1)
        moving = self.moving(clip)  # (B, 24, T, 12, 12)
        anywhere = 2 * moving.amax(dim=(3, 4)) if self.motion == "strong" else moving.mean(dim=(3, 4)) / 2
        return Features(pooled=torch.cat([still, anywhere.mean(dim=2)], dim=1))

    def blocks(self) -> list[nn.Module]:
        """Both parts."""
        return [self.still, self.moving]

    def spec(self) -> dict[str, Any]:
        """How it sees motion."""
        return {"name": "dots", "motion": self.motion}


def outcome(
    seed: int,
    mode: str = "lgt",
    slot: int = ACTION,
    *,
    weight: float = 1.0,
    motion: Motion = "weak",
    trained: bool = True,
    quick: bool = False,
) -> Measured:
    """Train on pairs and altered captions, and measure retrieval among all captions and among altered ones."""
    train, test = dot_clips(seed, *(QUICK, QUICK) if quick else (TRAIN, TEST))
    torch.manual_seed(seed)
    config = {"dim": 64, "mode": mode, "weight": weight, "candidates": CANDIDATES, "teacher_temperature": 0.1}
    method = Rcad(config, {"video": Dots(motion), "text": Slots()}, DataInfo(rows=len(train.said)))
    steps = fitted(method, train, slot, (1 if quick else EPOCHS) if trained else 0, seed)
    return Measured(measure(method.eval(), test, seed), steps)


def fitted(method: Rcad, clips: Clips, slot: int, epochs: int, seed: int) -> int:
    """Train in place with Adam; returns the number of steps."""
    random, optimizer = np.random.default_rng(seed), torch.optim.Adam(method.parameters(), lr=LR, fused=True)
    wrong = [altered(said, slot, CANDIDATES, random) for said in clips.said.tolist()]
    size = min(BATCH, len(clips.said))
    done, total = 0, epochs * (len(clips.said) // size)
    method.train()
    for epoch in range(epochs):
        order = random.permutation(len(clips.said))
        for rows in order[: len(order) // size * size].reshape(-1, size):
            optimizer.zero_grad()
            step = Step(epoch=epoch, index=done, total=total, epochs=epochs, seed=done, watched=False)
            method.loss(batch_of(clips, rows, [wrong[row] for row in rows]), step)["total"].backward()
            optimizer.step()
            method.after_step(step)
            done += 1
    return done


def batch_of(clips: Clips, rows: Any, wrong: Sequence[Sequence[Sequence[int]]]) -> Batch:
    """Clips with their captions, the altered ones, and how alike these are: another digit is not alike at all."""
    said = clips.said[rows].tolist()
    ids, mask = Reader()([caption(one) for one in said])
    alike = [
        [float(own[:ACTION] == other[:ACTION]) * likeness(own[ACTION], other[ACTION]) for other in others]
        for own, others in zip(said, wrong, strict=True)
    ]
    similarity = torch.tensor(alike)
    return {
        "video": clips.frames[rows],
        "text": ids,
        "text_mask": mask,
        "counterfactuals": [[caption(other) for other in others] for others in wrong],
        "counterfactual_of": [""] * len(said),
        "counterfactual_present": torch.ones_like(similarity, dtype=torch.bool),
        "counterfactual_similarity": similarity,
    }


@torch.inference_mode()
def measure(method: Rcad, test: Clips, seed: int) -> dict[str, float]:
    """R@1 among the captions of all clips, and among a clip's own with other directions; what is seen of changes."""
    random = np.random.default_rng([seed, 1])
    video = method.embed({"video": test.frames})["video"]
    texts = [_embedded(method, test.said.tolist())]
    for slot in (ACTION, OBJECT):
        wrong = [altered(said, slot, OTHERS, random) for said in test.said.tolist()]
        texts.append(_embedded(method, [one for others in wrong for one in others]).view(len(video), OTHERS, -1))
    own, directions, digits = texts
    candidates = torch.cat([own[:, None], directions], dim=1)
    found = ranks_of_first(torch.einsum("bd,bcd->bc", video, candidates), ties="mean")
    everywhere = rank_queries((video, own), [[row] for row in range(len(own))])
    seen = [_seen(video, own, others) for others in (directions, digits)]
    return {
        RCAD: 100 * float((found == 1).double().mean()),
        RETRIEVAL: 100 * float((everywhere.rank == 1).mean()),
        "sensitivity to the direction": seen[0],
        "sensitivity to a digit": seen[1],
        SHARE: abs(seen[0]) / max(abs(seen[1]), 1e-6),
    }


def _embedded(method: Rcad, said: Sequence[Sequence[int]]) -> Tensor:
    ids, mask = Reader()([caption(one) for one in said])
    return method.embed({"text": ids, "text_mask": mask})["text"]


def _seen(video: Tensor, own: Tensor, others: Tensor) -> float:
    """Mean change of the cosine when something else is said."""
    clips, captions = (side[:, None].expand_as(others).flatten(0, 1) for side in (video, own))
    return float(swap_sensitivity(clips, captions, others.flatten(0, 1)).mean())


def arm(note: str = "", **options: Any) -> Arm:
    """An arm of these options."""
    return Arm(function=partial(outcome, **options), note=note)


def gains(name: str, statement: str, method: str, baseline: str | float, **more: Any) -> Question:
    """A question to retrieval among altered captions."""
    return Question(name, statement, method, baseline, RCAD, **{**POINTS, **more})


CLAIM = Claim(
    slug="rcad",
    kind_of_data="composed",
    paper="Models of clips and captions retrieve by things and guess among captions of which the action alone was "
    "changed; ranking such captions in training teaches them actions, and costs retrieval little.",
    arms={
        CONTRAST: arm(weight=0.0),
        LBL: arm(mode="lbl"),
        LGT: arm(mode="lgt"),
        DIGITS: arm("the first digit is altered instead of the direction", mode="lbl", slot=OBJECT),
        SEES: arm("the tower keeps the strongest motion anywhere", weight=0.0, motion="strong"),
        BLIND: arm("no part of the tower sees two frames", motion="none"),
        UNTRAINED: arm(trained=False),
    },
    scales={
        RCAD: Scale(100 / (1 + OTHERS), 100.0),
        RETRIEVAL: Scale((UNTRAINED, 100 / TEST), 100.0),
        SHARE: Scale(0.0, 2.0),
    },
    questions=[
        gains(
            "lgt",
            "With ranked altered captions, R@1 among altered captions is more than 10 points higher.",
            LGT,
            CONTRAST,
            margin=10.0,
        ),
        gains(
            "lbl",
            "With altered captions that are simply wrong, R@1 among altered captions is more than 10 points higher.",
            LBL,
            CONTRAST,
            margin=10.0,
        ),
        gains("soft labels", "Ranked captions teach more than simply wrong ones.", LGT, LBL),
        gains(
            "digits altered",
            "Captions with another direction teach it by more than 10 points better than those with another digit.",
            LBL,
            DIGITS,
            margin=10.0,
        ),
        Question(
            "sensitivity",
            "What is seen of the direction over what is seen of a digit is larger with ranked captions.",
            LGT,
            CONTRAST,
            SHARE,
            unit="",
            smallest=0.1,
            because="a tenth of what is seen of digits is what contrast alone may see of the direction",
        ),
        Question(
            "retrieval",
            "Retrieval among all captions loses less than 5 points.",
            LGT,
            CONTRAST,
            RETRIEVAL,
            margin=-5.0,
            **POINTS,
        ),
        gains(
            "the shortcut",
            "Contrast alone is less than 10 points better than guessing among altered captions.",
            CONTRAST,
            100 / (1 + OTHERS),
            higher=False,
            margin=-10.0,
            scale="the statement is that it lies near its floor",
        ),
        gains(
            "motion that is seen",
            "Where the tower sees motion well, contrast alone is more than 10 points better than where it hardly does.",
            SEES,
            CONTRAST,
            margin=10.0,
        ),
        gains(
            "single frames",
            "Where the tower sees single frames alone, ranked captions are less than 10 points better than guessing.",
            BLIND,
            100 / (1 + OTHERS),
            higher=False,
            margin=-10.0,
            scale="the statement is that it lies near its floor",
        ),
    ],
    tuning="Learning rate, batch, temperature and epochs are those of the first design, the same for all arms. "
    "The tower that sees motion well was chosen as the best of four on seed 100, which is none of the "
    "record.",
    seeds=10,  # a seed finds motion early, late or not at all
)
