"""Where ILA points in neighbouring frames, and what it answers to clips that are played backwards.

python docs/pictures/ila.py
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from shared import clip_classifier, of_claim, save, train_steps
from torch import Tensor

from accord.encoders.alignment import AlignmentEncoder
from accord.functional.dense import soft_window
from accord.methods.base import Batch

CLAIM = of_claim("ila")
SEED, STEPS, LR = 11, 900, 2e-3
GRID = CLAIM.SIDE // CLAIM.SIZES["patch"]
SHOWN = ("moves left", "moves up", "grows", "turns clockwise")
BLUE, ORANGE, GREY = "#3b6fb6", "#e08214", "#d9d9d9"
TINT = LinearSegmentedColormap.from_list("tint", ["#ffffff00", "#e0821499"])
MEAN, ILA, FREE = "mean over frames", "alignment", "alignment, no loss"
ARMS: dict[str, Any] = {  # method, tower, settings
    MEAN: ("xclip", {"name": "cross_frame", "message": False}, {}),
    ILA: ("ila", {"name": "alignment", "hidden": 32}, {}),
    FREE: ("ila", {"name": "alignment", "hidden": 32}, {"alignment_weight": 0.0}),
}
Answers = dict[str, list[NDArray[np.float64]]]


def main() -> None:
    """Train, and draw windows with and without the loss on them, and the answers of all."""
    (video, labels), (held, truth) = CLAIM.filmed(SEED, CLAIM.CLIPS, CLAIM.CLIPS // 4)
    seen = CLAIM.shown(held, CLAIM.STARTS // 2)
    frames = held[:, CLAIM.STARTS // 2 :: CLAIM.STRIDE][:, : CLAIM.SEEN]
    answers: Answers = {}
    windows: dict[str, Tensor] = {"in the middle": soft_window(torch.zeros(len(held), 1, 2, 2), GRID)}
    for name, (method, tower, settings) in ARMS.items():
        torch.manual_seed(SEED)
        model = clip_classifier(CLAIM, method, tower, **settings)
        train_steps(model, batches(video, labels), STEPS, LR)
        answers[name] = [shares(model, clips, truth) for clips in (seen, seen.flip(1))]
        print(name, *answers[name])
        if name != MEAN:
            windows[name] = windows_of(model, seen)
    for name, each in windows.items():
        print(f"{name}: {inside(each, frames):.1f} % of a frame's light is in its window")
    print(save(draw(frames, truth, windows, answers), "ila"))


def batches(video: Tensor, labels: Tensor) -> Iterator[Batch]:
    """Random clips from random moments on."""
    draws = torch.Generator().manual_seed(SEED)
    while True:
        rows = torch.randint(len(video), (CLAIM.BATCH,), generator=draws)
        start = int(torch.randint(CLAIM.STARTS, (), generator=draws))
        yield {"video": CLAIM.shown(video[rows], start), "label": labels[rows]}


@torch.inference_mode()
def shares(model: Any, clips: Tensor, truth: Tensor) -> NDArray[np.float64]:
    """How often the action was answered, its reverse, and another one, in percent."""
    answered = torch.cat([model.classify({"video": part}) for part in clips.split(100)]).argmax(dim=1)
    right, reverse = (100 * float((answered == wanted).double().mean()) for wanted in (truth, truth ^ 1))
    return np.array([right, reverse, 100 - right - reverse])


@torch.inference_mode()
def windows_of(model: Any, clips: Tensor) -> Tensor:
    """The windows ``(N, T-1, 2, W, W)`` of the last block."""
    encoder, found = model.encoders["video"], []
    assert isinstance(encoder, AlignmentEncoder)
    alignment = encoder.visual.resblocks[-1].message_alignment
    hook = alignment.register_forward_hook(lambda module, given, made: found.append(made.points))
    model.classify({"video": clips})
    hook.remove()
    return soft_window(found[0], GRID)


def inside(windows: Tensor, frames: Tensor) -> float:
    """The share of the light of frames ``(N, T, S, S)`` that windows of pairs let through, in percent."""
    light = F.avg_pool2d(frames.float(), CLAIM.SIZES["patch"])
    light = light / light.sum(dim=(2, 3), keepdim=True)
    pairs = torch.stack([light[:, :-1], light[:, 1:]], dim=2)  # (N, T-1, 2, W, W)
    return 100 * float((windows * pairs).sum(dim=(3, 4)).mean())


def draw(frames: Tensor, truth: Tensor, windows: dict[str, Tensor], answers: Answers) -> Figure:
    """Pairs of frames under their windows, and bars of the answers."""
    figure = plt.figure(figsize=(12, 5.8))
    parts: Any = figure.subfigures(1, 2, width_ratios=[1.55, 1])
    left, right = parts
    rows = [int((truth == CLAIM.ACTIONS.index(action)).nonzero()[0]) for action in SHOWN]
    draw_pairs(left, frames[rows], [windows[name][rows] for name in (ILA, FREE)])
    draw_answers(right.subplots(), answers)
    right.subplots_adjust(left=0.3, right=0.96, top=0.86, bottom=0.11)
    return figure


def draw_pairs(figure: SubFigure, frames: Tensor, windows: Sequence[Tensor]) -> None:
    """A clip a row: its first two frames, tinted where their windows are."""
    axes = figure.subplots(len(SHOWN), 5, width_ratios=[1, 1, 0.2, 1, 1])
    for row, (action, line) in enumerate(zip(SHOWN, axes, strict=True)):
        line[2].set_axis_off()
        line[0].set_ylabel(action, fontsize=11)
        for place, each in zip((0, 3), windows, strict=True):
            for side in range(2):
                show(line[place + side], frames[row, side], each[row, 0, side])
    for place, title in ((0, "windows of alignment"), (3, "windows, no loss on them")):
        axes[0, place].set_title(title, fontsize=12, x=1.03)
    figure.subplots_adjust(left=0.05, right=0.99, top=0.93, bottom=0.02, wspace=0.05, hspace=0.07)


def show(axis: Axes, frame: Tensor, window: Tensor) -> None:
    """A frame with its window."""
    extent = (0, CLAIM.SIDE, CLAIM.SIDE, 0)
    axis.imshow(frame, cmap="gray_r", extent=extent)
    axis.imshow(window, cmap=TINT, vmin=0, vmax=1, extent=extent, interpolation="nearest")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_color("#999999")


def draw_answers(axis: Axes, answers: Answers) -> None:
    """How often each tower answered what, with the clips as they are and backwards."""
    names = [(name, way) for name in answers for way in ("forwards", "backwards")]
    places = [place + 0.4 * (place // 2) for place in range(len(names))]
    values = np.concatenate([np.stack(each) for each in answers.values()])
    start = np.zeros(len(values))
    labels = ("the clip's action", "its reverse", "another")
    for part, (label, colour) in enumerate(zip(labels, (BLUE, ORANGE, GREY), strict=True)):
        axis.barh(places, values[:, part], left=start, color=colour, label=label)
        start += values[:, part]
    axis.set_yticks(places, [f"{name}\n{way}" if way == "forwards" else way for name, way in names])
    axis.invert_yaxis()
    axis.set(xlim=(0, 100), xlabel="share of the answers, %")
    axis.spines[["top", "right"]].set_visible(False)
    above: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.36, 1.0)}
    axis.legend(frameon=False, ncols=3, fontsize=10, columnspacing=1.2, handlelength=1.4, **above)


if __name__ == "__main__":
    main()
