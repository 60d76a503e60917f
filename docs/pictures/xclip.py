"""What frames hear of each other in X-CLIP, and what its answers make of their order.

python docs/pictures/xclip.py
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray
from shared import clip_classifier, of_claim, save, train_steps
from torch import Tensor

from accord.methods.base import Batch

CLAIM = of_claim("ila")  # whose clips are tensors
ACTIONS, FRAMES = CLAIM.ACTIONS, 4  # every second one of a clip
SEED, STEPS, LR = 11, 1500, 2e-3
EXAMPLES = ("grows", "moves left")
KINDS = {  # of actions, each with its reverse
    "moves left, right": ("#56b4e9", "o"),
    "moves up, down": ("#0072b2", "s"),
    "grows, shrinks": ("#d55e00", "^"),
    "turns": ("#999999", "D"),
}
MESSAGES = "messages"
ARMS = {MESSAGES: "mean", "x-clip": "mit"}  # what merges the frames


def main() -> None:
    """Train both towers; draw what a replaced frame does to the others, and logits for both directions of time."""
    (video, labels), (held, truth) = CLAIM.filmed(SEED, CLAIM.CLIPS, CLAIM.CLIPS // 4)
    seen, margins = fed(held), {}
    for name, temporal in ARMS.items():
        torch.manual_seed(SEED)
        model = clip_classifier(CLAIM, "xclip", {"name": "cross_frame", "frames": FRAMES, "temporal": temporal})
        train_steps(model, batches(video, labels), STEPS, LR)
        if name == MESSAGES:
            heard = hearing(model, seen[:100])
        margins[name] = np.stack([margin(model, clips, truth) for clips in (seen, seen.flip(1))])
        moved = np.abs(margins[name][0] - margins[name][1])
        print(f"{name}: played backwards margins move by {moved.mean():.6f} on average, {moved.max():.6f} at most")
        for kind, pair in enumerate(KINDS):
            own = margins[name][0][(truth // 2 == kind).numpy()]
            print(f"  {pair}: nearer to the action than to its reverse {100 * (own > 0).mean():.1f} %")
    print(save(draw(held, truth, heard, margins), "xclip"))


def fed(clips: Tensor, start: int = 0) -> Tensor:
    """Clips ``(N, T, S, S)`` as a network is fed: every second frame from one of the first two on."""
    return ((clips[:, start::2].float() / 255 - 0.1) / 0.25)[:, :, None].expand(-1, -1, 3, -1, -1)


def batches(video: Tensor, labels: Tensor) -> Iterator[Batch]:
    """Random clips from a random start, so that actions and their reverses show the same frames."""
    draws = torch.Generator().manual_seed(SEED)
    while True:
        rows = torch.randint(len(video), (64,), generator=draws)
        start = int(torch.randint(2, (), generator=draws))
        yield {"video": fed(video[rows], start), "label": labels[rows]}


@torch.inference_mode()
def hearing(model: Any, clips: Tensor) -> NDArray[np.float64]:
    """Change of each frame's vector where another clip's frame takes a place, over the replaced one's, ``(T, T)``."""
    frames = lambda x: model.seen({"video": x}).stream("frames").values  # noqa: E731
    before, rows = frames(clips), []
    for place in range(FRAMES):
        other = clips.clone()
        other[:, place] = clips.roll(1, 0)[:, place]
        change = (frames(other) - before).norm(dim=2)  # (N, T)
        rows.append((change / change[:, [place]]).mean(dim=0))
    return torch.stack(rows).double().numpy()


@torch.inference_mode()
def margin(model: Any, clips: Tensor, truth: Tensor) -> NDArray[np.float64]:
    """Logit of the action of each clip, played forwards, less that of its reverse."""
    logits = torch.cat([model.classify({"video": part}) for part in clips.split(100)])
    return (logits.gather(1, truth[:, None]) - logits.gather(1, truth[:, None] ^ 1))[:, 0].double().numpy()


def draw(held: Tensor, truth: Tensor, heard: NDArray[np.float64], margins: dict[str, Any]) -> Figure:
    """Two clips in both directions, what a replaced frame does to the others, and the margins of all clips."""
    figure = plt.figure(figsize=(12, 7))
    parts: Any = figure.subfigures(2, 1, height_ratios=[1, 1.45])
    for part, action in zip(parts[0].subfigures(1, 2), EXAMPLES, strict=True):
        row = int((truth == ACTIONS.index(action)).nonzero()[0])
        draw_strips(part, held[row, ::2], action, {name: each[:, row] for name, each in margins.items()})
    axes = parts[1].subplots(1, 3)
    draw_hearing(axes[0], heard)
    for axis, (name, each) in zip(axes[1:], margins.items(), strict=True):
        draw_margins(axis, each, truth.numpy() // 2, name)
    axes[1].legend(frameon=False, fontsize=9.5, loc="upper left", handletextpad=0.1)
    parts[1].subplots_adjust(left=0.06, right=0.99, top=0.9, bottom=0.13, wspace=0.28)
    return figure


def draw_strips(figure: SubFigure, clip: Tensor, action: str, margins: dict[str, Any]) -> None:
    """A clip forwards and backwards, and beside it the margins."""
    axes = figure.subplots(2, FRAMES + 2)
    for way, (line, frames) in enumerate(zip(axes, (clip, clip.flip(0)), strict=True)):
        for axis, frame in zip(line, frames, strict=False):
            axis.imshow(frame, cmap="gray_r")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_color("#999999")
        line[0].set_ylabel(("forwards", "backwards")[way], fontsize=11)
        for axis, (name, each) in zip(line[FRAMES:], margins.items(), strict=True):
            axis.set_axis_off()
            axis.set_box_aspect(1)
            axis.text(0.5, 0.5, f"{each[way]:+.1f}".replace("-", "−"), ha="center", va="center", fontsize=15)
            axis.set_title("" if way else name, fontsize=11)
    axes[0, 0].set_title(f"“{action}”", fontsize=12, loc="left")
    figure.subplots_adjust(left=0.06, right=0.99, top=0.88, bottom=0.03, wspace=0.08, hspace=0.08)


def draw_hearing(axis: Axes, heard: NDArray[np.float64]) -> None:
    """A matrix: rows are frames that were replaced, columns those whose vectors changed."""
    axis.imshow(heard, cmap="Blues", vmin=0, vmax=1.2)
    for (row, column), share in np.ndenumerate(heard):
        ink = "white" if row == column else "black"
        axis.text(column, row, f"{100 * share:.0f} %", ha="center", va="center", color=ink)
    names = [str(1 + place) for place in range(FRAMES)]
    for side in (axis.xaxis, axis.yaxis):
        side.set_ticks(range(FRAMES), names)
    axis.set(xlabel="frame whose vector changes", ylabel="frame that is replaced")
    axis.set_title("messages: what frames hear of each other", fontsize=12)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


def draw_margins(axis: Axes, margins: NDArray[np.float64], kinds: NDArray[np.int64], name: str) -> None:
    """Margins with the clip forwards and backwards; on the diagonal where order does not matter."""
    most = 1.05 * np.abs(margins).max()
    for line in (axis.axhline, axis.axvline):
        line(0, color="#bbbbbb", linewidth=0.8)
    axis.axline((0, 0), slope=1, color="#bbbbbb", linestyle="--", linewidth=0.8)
    for kind, (label, (colour, marker)) in enumerate(KINDS.items()):
        x, y = margins[:, kinds == kind]
        axis.scatter(x, y, s=16, color=colour, marker=marker, label=label, linewidths=0)
    axis.set(xlim=(-most, most), ylim=(-most, most), xlabel="margin forwards", ylabel="margin backwards")
    axis.set_title(name, fontsize=12)
    axis.set_box_aspect(1)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
