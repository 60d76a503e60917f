"""What the things of a story do: each action with its verb, the one that it is backwards, and how it looks.

An action is drawn forwards or backwards only by the order of its frames, so that no single one tells which it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from types import MappingProxyType

import numpy as np

TRAVEL = 0.35  # shortest way of a thing that moves, over the side
SMALL = 0.5  # size of a thing before it grows, over its size after
TURN = (90.0, 180.0)  # degrees that a thing turns

FORWARD: Mapping[str, str] = MappingProxyType(
    {"right": "left", "down": "up", "grow": "shrink", "clockwise": "anticlockwise", "appear": "leave", "meet": "part"}
)
REVERSE: Mapping[str, str] = MappingProxyType({**FORWARD, **{back: forth for forth, back in FORWARD.items()}})
ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "right": "moves right",
        "left": "moves left",
        "down": "moves down",
        "up": "moves up",
        "grow": "grows",
        "shrink": "shrinks",
        "clockwise": "turns clockwise",
        "anticlockwise": "turns anticlockwise",
        "appear": "appears",
        "leave": "leaves",
        "meet": "meets",
        "part": "parts from",
    }
)
"""Name of each action and the words for it; of ``meet`` and ``part`` another thing follows."""


@dataclass(frozen=True)
class Pose:
    """Where a thing is.

    Args:
        x: of its centre, over the side.
        y: likewise.
        scale: its size over that of its picture.
        angle: how far it is turned clockwise, in degrees.
    """

    x: float
    y: float
    scale: float = 1.0
    angle: float = 0.0

    def towards(self, other: Pose, share: float) -> Pose:
        """The pose a share of the way to another.

        >>> Pose(0.0, 0.5).towards(Pose(1.0, 0.5, angle=90.0), 0.5)
        Pose(x=0.5, y=0.5, scale=1.0, angle=45.0)
        """
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Pose(*((1 - share) * here + share * there for here, there in pairs))


@dataclass(frozen=True)
class Way:
    """How an action goes.

    Args:
        start: of the thing that acts.
        end: likewise.
        other: where another thing stands meanwhile, or None.
    """

    start: Pose
    end: Pose
    other: Pose | None = None


def sentence(action: str, *names: str) -> str:
    """What happens, in words.

    >>> sentence("left", "A badger."), sentence("meet", "cat", "The Moon")
    ('the badger moves left', 'the cat meets the Moon')
    """
    subject, *others = (_the(name) for name in names)
    return " ".join([subject, ACTIONS[action], *others])


def way_of(action: str, sizes: list[tuple[float, float]], random: np.random.Generator) -> Way:
    """A way that an action may go, drawn.

    Args:
        action: one of :data:`FORWARD`; others are these, backwards.
        sizes: width and height of the thing that acts, and of the other, over the side.
        random: decides.
    """
    width, height = sizes[0]
    if action == "meet":
        return _meeting(sizes, random)
    here = Pose(_inside(width, random), _inside(height, random))
    if action in ("right", "down"):
        axis, size = ("x", width) if action == "right" else ("y", height)
        length = _between(TRAVEL, 1 - size, random)
        start = _between(size / 2, 1 - size / 2 - length, random)
        return Way(replace(here, **{axis: start}), replace(here, **{axis: start + length}))
    if action == "grow":
        return Way(replace(here, scale=SMALL), here)
    if action == "clockwise":
        angle = random.uniform(-90.0, 90.0)
        return Way(replace(here, angle=angle), replace(here, angle=angle + random.uniform(*TURN)))
    axis, size = ("x", width) if random.random() < 0.5 else ("y", height)
    outside = -size / 2 if random.random() < 0.5 else 1 + size / 2
    return Way(replace(here, **{axis: outside}), here)


def _meeting(sizes: list[tuple[float, float]], random: np.random.Generator) -> Way:
    """From one side until the two touch; both small enough for a way of some length."""
    width, other = (size[0] for size in sizes)
    scale = min(1.0, (1 - TRAVEL) / (width + other))
    width, other, height = width * scale, other * scale, scale * max(size[1] for size in sizes)
    length = _between(TRAVEL, 1 - width - other, random)
    start = _between(width / 2, 1 - width / 2 - other - length, random)
    y, stands = _inside(height, random), start + length + (width + other) / 2
    places = [start, start + length, stands]
    if random.random() < 0.5:
        places = [1 - place for place in places]
    first, last, still = (Pose(place, y, scale) for place in places)
    return Way(first, last, still)


def _inside(size: float, random: np.random.Generator) -> float:
    return _between(size / 2, 1 - size / 2, random)


def _between(low: float, high: float, random: np.random.Generator) -> float:
    return float(random.uniform(low, max(low, high)))


def _the(name: str) -> str:
    words = name.strip().rstrip(".").split()
    if words and words[0].lower() in ("a", "an", "the", "some"):
        words = words[1:]
    return " ".join(["the", *(words or ["thing"])])
