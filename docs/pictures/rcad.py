"""How a clip shares itself out among captions with eight directions, before and after these are ranked in training.

python docs/pictures/rcad.py
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from shared import of_claim, save

from accord.evaluation.retrieval import rank_queries
from accord.functional import candidate_logits
from accord.methods import DataInfo
from accord.methods.multimodal.rcad import Rcad

CLAIM = of_claim("rcad")
SEED, EPOCHS = 11, 16  # none of the record's seeds, and twice its epochs
TEACHER = 0.1  # divides the teacher's likeness
SHOWN = (3, 0, 6, 1)  # directions, of each of which the first clip is drawn
ARROWS = "→↘↓↙←↖↑↗"
BLUE, ORANGE, GREY = "#2f62ac", "#e08214", "#c9c9c9"
ARMS = {"contrast alone": (ORANGE, 0.0), "with ranked captions": (BLUE, 1.0)}
Shares = dict[str, NDArray[np.float64]]  # (N, 8) of each


def main() -> None:
    """Train with and without ranked captions, ask for the direction of each held-out clip, and draw."""
    train, test = CLAIM.dot_clips(SEED, CLAIM.TRAIN, CLAIM.TEST)
    shares: Shares = {}
    for name, (_, weight) in ARMS.items():
        torch.manual_seed(SEED)
        settings = {"dim": 64, "weight": weight, "candidates": CLAIM.CANDIDATES, "teacher_temperature": TEACHER}
        towers = {"video": CLAIM.Dots("weak"), "text": CLAIM.Slots()}
        method = Rcad(settings, towers, DataInfo(rows=len(train.said)))
        CLAIM.fitted(method, train, CLAIM.ACTION, EPOCHS, SEED)
        shares[name], everywhere = asked(method.eval(), test)
        right = 100 * (shares[name].argmax(axis=1) == test.said[:, CLAIM.ACTION]).mean()
        print(f"{name}: direction right {right:.1f} %, R@1 among all captions {everywhere:.1f} %")
    print(save(draw(test, shares), "rcad"))


@torch.inference_mode()
def asked(method: Rcad, test: Any) -> tuple[NDArray[np.float64], float]:
    """The softmax of each clip over its caption with each direction ``(N, 8)``; R@1 among the captions of all clips."""
    video = method.embed({"video": test.frames})["video"]
    own, each = test.said.tolist(), range(len(ARROWS))
    captions = [CLAIM.caption([*said[: CLAIM.ACTION], direction]) for said in own for direction in each]
    ids, mask = CLAIM.Reader()([*captions, *(CLAIM.caption(said) for said in own)])
    texts = method.embed({"text": ids, "text_mask": mask})["text"]
    candidates, true = texts[: len(captions)].unflatten(0, (len(own), -1)), texts[len(captions) :]
    found = candidate_logits(video, candidates, 1 / method.logit_scale()).softmax(dim=1)
    ranks = rank_queries((video, true), [[row] for row in range(len(own))]).rank
    return found.double().numpy(), 100 * float((ranks == 1).mean())


def draw(test: Any, shares: Shares) -> Figure:
    """Four clips, each beside its shares, and how far all answers are off."""
    figure = plt.figure(figsize=(12, 5.4))
    parts: Any = figure.subfigures(1, 2, width_ratios=[2.1, 1])
    left, right = parts
    directions = test.said[:, CLAIM.ACTION]
    grid = left.add_gridspec(2, 4, left=0.02, right=0.97, top=0.86, bottom=0.05, wspace=0.22, hspace=0.42)
    for place, direction in enumerate(SHOWN):
        row = int(np.flatnonzero(directions == direction)[0])
        line, column = divmod(place, 2)
        draw_clip(left.add_subplot(grid[line, 2 * column]), test.frames[row].numpy(), test.said[row].tolist())
        rose = left.add_subplot(grid[line, 2 * column + 1], projection="polar")
        draw_rose(rose, {name: each[row] for name, each in shares.items()}, direction)
    handles, names = rose.get_legend_handles_labels()
    left.legend(handles, names, loc="upper center", ncols=3, frameon=False, fontsize=11)
    draw_turns(right.subplots(), shares, directions)
    right.subplots_adjust(left=0.2, right=0.96, top=0.86, bottom=0.16)
    return figure


def draw_clip(axis: Axes, frames: NDArray[np.float32], said: list[int]) -> None:
    """All frames in one picture, the earlier ones paler, under the caption."""
    weights = np.linspace(0.2, 1, len(frames))[:, None, None]
    axis.imshow((weights * frames).max(axis=0), cmap="gray_r", vmin=0.15, vmax=1, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_color("#999999")
    axis.set_title(f"“{CLAIM.caption(said)}”", fontsize=11)


def draw_rose(axis: Any, shares: Shares, true: int) -> None:
    """Shares of a clip by the direction that a caption names, and the teacher's of texts."""
    angles = np.arange(len(ARROWS) + 1) * 2 * np.pi / len(ARROWS)
    likeness = np.array([CLAIM.likeness(true, other) for other in range(len(ARROWS))])
    teacher = np.exp(likeness / TEACHER) / np.exp(likeness / TEACHER).sum()
    axis.fill(angles, np.append(teacher, teacher[0]), color=GREY, label="the teacher of texts")
    for name, each in shares.items():
        axis.plot(angles, np.append(each, each[0]), color=ARMS[name][0], linewidth=1.8, label=name)
    axis.set_theta_direction(-1)  # as in a picture, whose rows go down
    axis.set_xticks(angles[:-1], list(ARROWS), fontsize=12)
    axis.get_xticklabels()[true].set(color=BLUE, fontsize=17, fontweight="bold")
    axis.set_yticks([0.25, 0.5, 0.75], ["", "50 %", ""], fontsize=9, color="#777777")
    axis.set_rlabel_position(22.5 + 45 * ((true + 4) % 8))  # on the far side
    axis.set_ylim(0, 0.8)
    axis.spines["polar"].set_color("#bbbbbb")
    axis.grid(color="#e3e3e3")


def draw_turns(axis: Axes, shares: Shares, directions: NDArray[np.int64]) -> None:
    """How far the nearest caption's direction is from that of the clip, over all clips."""
    angles = np.arange(5)
    for number, (name, each) in enumerate(shares.items()):
        turned = np.abs((each.argmax(axis=1) - directions + 4) % 8 - 4)
        heights = 100 * np.bincount(turned, minlength=len(angles)) / len(turned)
        axis.bar(angles + 0.4 * (number - 0.5), heights, 0.38, color=ARMS[name][0])
    guessed = np.array([1, 2, 2, 2, 1]) / 8 * 100
    axis.hlines(guessed, angles - 0.42, angles + 0.42, color="black", linewidth=1.2, label="guessing")
    axis.set_xticks(angles, [f"{45 * angle}°" for angle in angles])
    axis.set(xlabel="from the clip's direction\nto that of the nearest caption", ylabel="clips, %")
    axis.set_title(f"all {len(directions)} clips", fontsize=12)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)


if __name__ == "__main__":
    main()
