"""What CrossVideoMAE fills in of a clip and of its second version, and how both and a frame find each other.

Encoders and settings are those of the claim, on more clips and in more and smaller steps.

python docs/pictures/cross_video_mae.py
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from matplotlib.figure import SubFigure
from numpy.typing import NDArray
from shared import of_claim, save
from shared.moving import ACTIONS, FRAMES
from shared.moving_named import Clips, as_frames, named_moving_digits, view_of_clip
from torch import Tensor

from accord.encoders.masked import VideoMaeConfig, VideoMaeEncoder
from accord.methods import DataInfo
from accord.methods.abilities import Filled
from accord.methods.video.cross_video_mae import CrossVideoMae

CLAIM = of_claim("cross_video_mae")
CLAIM.BATCH, CLAIM.LR = 16, 1.5e-3  # filling in takes more steps than the record makes
SEED, CLIPS, EPOCHS = 0, 3000, 16
EACH = 2  # clips of an action in a matrix


def main() -> None:
    """Train, fill in two versions of a held-out clip, and compare versions and frames of others."""
    train, test = named_moving_digits(SEED, CLIPS, CLAIM.TEST, centred=True)
    method = trained(train)
    clips = as_frames(test.frames)
    torch.manual_seed(SEED)
    again = view_of_clip(clips)
    figure = plt.figure(figsize=(12, 6.2))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.75, 1])[0]
    draw_filled(left, [method.fill_in({"video": version[:1]}, seed) for seed, version in enumerate((clips, again))])
    chosen = [row for action in range(len(ACTIONS)) for row in np.flatnonzero(test.actions == action)[:EACH]]
    draw_cosines(right, projected(method, clips, again), chosen)
    print(save(figure, "cross_video_mae"))


def trained(train: Clips) -> CrossVideoMae:
    """The whole method, with an image branch that was trained on still digits."""
    torch.manual_seed(SEED)
    tower = {**CLAIM.TOWER, "frames": FRAMES, "tubelet": 2}
    towers = {
        "video": VideoMaeEncoder(VideoMaeConfig.parse(tower)),
        "image": CLAIM.taught_image(SEED, CLAIM.CLIPS),
    }
    method = CrossVideoMae(CLAIM.WHOLE, towers, DataInfo(rows=len(train.frames)))
    CLAIM.fitted(method, as_frames(train.frames), EPOCHS, SEED)
    return method.eval()


@torch.inference_mode()
def projected(method: CrossVideoMae, clips: Tensor, again: Tensor) -> dict[str, Tensor]:
    """Cosines ``(N, N)`` of clips with second versions and with first frames, after the projectors."""

    def whole(name: str, x: Tensor) -> Tensor:
        return F.normalize(method.projectors[name](method.encoders[name](x).pooled), dim=1)

    video, second, frame = whole("video", clips), whole("video", again), whole("image", clips[:, 0])
    return {"its second version": video @ second.mT, "its first frame": video @ frame.mT}


def draw_filled(figure: SubFigure, versions: list[Filled]) -> None:
    """Frames of both versions: as they are, what the encoder is shown, and what the decoder makes of the rest."""
    axes = figure.subplots(6, FRAMES)
    for number, version in enumerate(versions):
        seen, made = (part[0, :, 0].numpy() for part in (version.seen, version.made))  # (T, H, W)
        hidden = version.hidden[0].numpy()
        rows = {("clip", "second\nversion")[number]: seen, "shown": np.where(hidden, np.nan, seen), "filled in": made}
        for line, (name, frames) in zip(axes[3 * number :], rows.items(), strict=False):
            draw_frames(line, name, frames, (seen.min(), seen.max()))
        off = np.sqrt(np.square(made - seen)[hidden].mean())
        print(f"version {number + 1}: {100 * hidden.mean():.0f} % hidden, off by {off:.3f} there")
    figure.subplots_adjust(left=0.09, right=0.99, top=0.985, bottom=0.015, wspace=0.05, hspace=0.08)


def draw_frames(axes: NDArray[np.object_], name: str, frames: NDArray[np.float32], limits: tuple[float, float]) -> None:
    """A strip of frames; what is hidden of them is blue."""
    for axis, frame in zip(axes, frames, strict=True):
        axis.imshow(frame, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="nearest")
        axis.set(xticks=[], yticks=[], facecolor="#9db8d6")
        axis.spines[:].set_visible(False)
    axes[0].set_ylabel(name, fontsize=11)


def draw_cosines(figure: SubFigure, cosines: dict[str, Tensor], chosen: list[int]) -> None:
    """How clips find their own second version and their own frame among those of others."""
    axes = figure.subplots(2, 1)
    for axis, (name, every) in zip(axes, cosines.items(), strict=True):
        first = every.argmax(dim=1) == torch.arange(len(every))
        print(f"{name}: first for {100 * float(first.float().mean()):.1f} % of {len(every)} clips")
        axis.imshow(every[chosen][:, chosen], cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_yticks(np.arange(len(ACTIONS)) * EACH + (EACH - 1) / 2, ACTIONS, fontsize=9)
        axis.tick_params(length=0)
        axis.set_xticks([])
        axis.set_title(f"a clip and {name}", fontsize=12)
    figure.subplots_adjust(left=0.32, right=0.86, top=0.95, bottom=0.02, hspace=0.14)
    bar = figure.add_axes((0.885, 0.36, 0.025, 0.26))
    figure.colorbar(axes[0].images[0], cax=bar, ticks=[-1, 0, 1])
    bar.set_title("cosine", fontsize=9.5, loc="left")


if __name__ == "__main__":
    main()
