"""Which frames of a clip are looked at, and when they are: one in each of equal segments, or a dense run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from accord.data.draws import Draws, Purpose

if TYPE_CHECKING:
    from accord.data.inputs import VideoInput


@dataclass(frozen=True)
class Timeline:
    """Which frames of a clip there are.

    Args:
        positions: their numbers in the whole clip, from 0.
        seconds: when each is shown, from the clip's start.
        total: frames of the whole clip.
    """

    positions: tuple[int, ...]
    seconds: tuple[float, ...]
    total: int


@dataclass(frozen=True)
class Clip(Sequence[Image.Image]):
    """The frames of a clip that were read, RGB, and when they are; a sequence of pictures."""

    frames: tuple[Image.Image, ...]
    timeline: Timeline

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, place: int) -> Image.Image:  # type: ignore[override]
        return self.frames[place]


def chosen_frames(total: int, spec: VideoInput | None, draws: Draws) -> list[int]:
    """Positions of the frames that an encoder is fed, in order; all of a clip that has no more than it wants.

    ``spec.sampling`` is ``"segments"`` (one frame of each of equal segments: any in training, otherwise that at
    ``spec.moment``, the middle), ``"dense"`` (every ``spec.stride``-th frame from a start that is drawn in training,
    otherwise likewise)
    or ``"around"`` (in training any frame, and others at most ``spec.span`` away from it; otherwise as segments).

    Example:
        >>> from accord.data.inputs import VideoInput
        >>> chosen_frames(9, VideoInput(frames=3), Draws()), chosen_frames(2, VideoInput(frames=3), Draws())
        ([1, 4, 7], [0, 1])
        >>> chosen_frames(9, VideoInput(frames=3, sampling="dense", stride=2), Draws())
        [2, 4, 6]
    """
    if spec is None or total <= spec.frames:
        return list(range(total))
    if spec.sampling == "dense":
        run = range(0, total, spec.stride)[: spec.frames]
        free = total - run[-1]  # starts for which the whole run fits
        share = float(draws.shares(Purpose.MOMENT)[0]) if draws.training else 0.5
        start = int(free * share) if draws.training else int((free - 1) * spec.moment)
        return [start + position for position in run]
    if not draws.training:
        return spaced(total, spec.frames, spec.moment)
    generator = torch.Generator().manual_seed(int(draws.hashes(Purpose.MOMENT)[0] >> np.uint64(1)))
    if spec.sampling == "around":
        return _around(total, spec, generator)
    return sample_frames(total, spec.frames, "random", generator=generator)[0].tolist()


def _around(total: int, spec: VideoInput, generator: torch.Generator) -> list[int]:
    """A frame and others near it; from further away where there are too few."""
    first = int(torch.randint(total, (), generator=generator))
    others = sorted(set(range(total)) - {first}, key=lambda position: abs(position - first))
    near = [position for position in others if abs(position - first) <= spec.span]
    near = near if len(near) >= spec.frames - 1 else others[: spec.frames - 1]
    chosen = torch.randperm(len(near), generator=generator)[: spec.frames - 1].tolist()
    return sorted([first, *(near[place] for place in chosen)])


def spaced(total: int, wanted: int | None, moment: float = 0.5) -> list[int]:
    """Positions of ``wanted`` evenly spaced frames out of ``total``: the middles of equal parts, or another moment.

    >>> spaced(8, 4), spaced(2, 4), spaced(3, None), spaced(8, 4, moment=0.25)
    ([1, 3, 5, 7], [0, 1], [0, 1, 2], [0, 2, 4, 6])
    """
    if wanted is None or wanted >= total:
        return list(range(total))
    return [min(int(position), total - 1) for position in (np.arange(wanted) + moment) * total / wanted]


def sample_frames(
    num_frames: int,
    T: int,  # noqa: N803  as the papers on clips call it
    mode: Literal["random", "middle", "multiview"] = "random",
    clips: int = 1,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Positions ``(clips, T)`` int64 of frames, one in each of T equal segments of a video (X-CLIP; Ni et al. 2022).

    Args:
        num_frames: frames of the video; where it has fewer than T, frames repeat.
        T: frames of a clip.
        mode: ``"random"`` draws a frame of each segment, ``"middle"`` takes the middle one, ``"multiview"`` spreads the
            clips evenly over each segment, so that they see different frames.
        clips: how many clips.
        generator: of the random ones; None for the global one.

    Example:
        >>> sample_frames(12, 3, "middle"), sample_frames(12, 3, "multiview", clips=2)
        (tensor([[ 2,  6, 10]]), tensor([[ 1,  5,  9],
                [ 3,  7, 11]]))
    """
    inside = torch.full((clips, 1), 0.5, dtype=torch.float64)  # of each segment, as a share of it
    if mode == "random":
        inside = torch.rand(clips, T, generator=generator, dtype=torch.float64)
    elif mode == "multiview":
        inside = ((torch.arange(clips, dtype=torch.float64) + 0.5) / clips)[:, None]
    return ((torch.arange(T) + inside) * num_frames / T).long().clamp(max=num_frames - 1)
