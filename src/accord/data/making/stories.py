"""Stories: long clips of several scenes in which one thing does one thing, with exact spans, sentences and sounds.

Each story has a twin, the very same frames in the opposite order: what moved left moves right in it, what appeared
leaves. Single frames are the same in both, so that only who looks at their order can tell what happens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from accord.data.making.actions import ACTIONS, FORWARD, REVERSE, Pose, sentence, way_of
from accord.data.making.compose import Sprite, background
from accord.data.making.films import FRAMES, film_kind, write_film
from accord.data.making.folders import new_folder, own_seed, write_frames, write_rows
from accord.data.making.sounds import Sounding, Sounds, soundtrack, write_wave
from accord.errors import ConfigError

LARGEST = 0.6  # of a thing, over the side: there has to be room to move
RIM = 2  # transparent pixels around a thing, so that its edge may lie between two pixels
Range = tuple[float, float]


@dataclass(frozen=True)
class Moment:
    """What happens once.

    Args:
        action: see :data:`~accord.data.making.actions.ACTIONS`.
        names: of the thing that acts, and of the other one where there is one.
        first: frame from which it is under way.
        frames: how many frames it is under way; what is seen changes into each of these and into the one after.
    """

    action: str
    names: tuple[str, ...]
    first: int
    frames: int

    @property
    def text(self) -> str:
        """A sentence on it."""
        return sentence(self.action, *self.names)


@dataclass(frozen=True)
class Story:
    """A long clip.

    Args:
        frames: T pictures.
        moments: what happens, in order.
        fps: frames a second.
    """

    frames: tuple[Image.Image, ...]
    moments: tuple[Moment, ...]
    fps: int

    @property
    def duration(self) -> float:
        """Seconds of the whole."""
        return len(self.frames) / self.fps

    @property
    def spans(self) -> list[list[float]]:
        """Start and end of each moment, in seconds."""
        return [[round(at / self.fps, 4) for at in (one.first, one.first + one.frames)] for one in self.moments]

    @property
    def frame_labels(self) -> list[int]:
        """What is under way in each frame: 0 for nothing, else the action's place in ``ACTIONS`` from 1."""
        found = [0] * len(self.frames)
        for one in self.moments:
            found[one.first : one.first + one.frames] = [list(ACTIONS).index(one.action) + 1] * one.frames
        return found

    @property
    def caption(self) -> str:
        """All of it in words."""
        return ", then ".join(one.text for one in self.moments)

    def backwards(self) -> Story:
        """The same frames in the opposite order, with what then happens."""
        total = len(self.frames)
        turned = [
            replace(one, action=REVERSE[one.action], first=total - one.first - one.frames)
            for one in reversed(self.moments)
        ]
        return Story(self.frames[::-1], tuple(turned), self.fps)


@dataclass(frozen=True)
class _Scene:
    action: str
    sprites: tuple[Sprite, ...]


def tell(
    sprites: Sequence[Sprite],
    backgrounds: Sequence[Image.Image] = (),
    *,
    seed: int,
    side: int = 96,
    scenes: tuple[int, int] = (3, 5),
    scale: Range = (0.25, 0.5),
    fps: int = 8,
    lasts: Range = (1.0, 3.0),
    gap: Range = (0.5, 2.0),
    repeats: float = 0.0,
) -> Story:
    """One story.

    Args:
        sprites: things, drawn without repetition where there are enough.
        backgrounds: as of :func:`~accord.data.making.compose.compose`; one serves the whole story.
        seed: decides everything random.
        side: of a frame, in pixels.
        scenes: range of their number.
        scale: range of a thing's longer side, over the side.
        fps: frames a second.
        lasts: range of an action's seconds.
        gap: range of the seconds between two actions, in which things stand still and, somewhere, change places.
        repeats: share of the scenes that show once more what happened in an earlier one, which is not the last.

    Raises:
        ConfigError: no sprites, or a range that is empty or impossible.

    Example:
        >>> ball = Sprite(Image.new("RGBA", (20, 10), (255, 0, 0, 255)), "a ball", kind=3)
        >>> story = tell([ball], seed=0, side=32, scenes=(2, 2))
        >>> [one.text for one in story.moments], story.spans, story.duration
        (['the ball turns clockwise', 'the ball turns anticlockwise'], [[1.125, 3.875], [5.25, 7.125]], 8.375)
        >>> [one.text for one in story.backwards().moments]
        ['the ball turns clockwise', 'the ball turns anticlockwise']
    """
    _check(sprites, scenes, scale, fps, lasts, gap, repeats)
    random = np.random.default_rng(seed)
    canvas = background(backgrounds, side, random)
    frames: list[Image.Image] = []
    moments: list[Moment] = []
    plan = _plan(sprites, int(random.integers(scenes[0], scenes[1] + 1)), repeats, random)
    pauses = [max(2, round(fps * random.uniform(*gap))) for _ in range(len(plan) + 1)]
    cuts = [int(random.integers(1, pause)) for pause in pauses]  # frames that a pause gives the scene before it
    for number, scene in enumerate(plan):
        count = max(1, round(fps * random.uniform(*lasts)))
        before, after = pauses[number] - cuts[number], cuts[number + 1]
        seen = _shown(scene, canvas, count, scale, random)
        moments.append(Moment(scene.action, tuple(one.name for one in scene.sprites), len(frames) + before, count))
        frames += [seen[0]] * before + seen[1:-1] + [seen[-1]] * after
    return Story(tuple(frames), tuple(moments), fps)


def _check(
    sprites: Sequence[Sprite],
    scenes: tuple[int, int],
    scale: Range,
    fps: int,
    lasts: Range,
    gap: Range,
    repeats: float,
) -> None:
    if not sprites:
        raise ConfigError("no sprites: a story needs at least one thing")
    if not 1 <= scenes[0] <= scenes[1]:
        raise ConfigError(f"scenes = {scenes[0]} to {scenes[1]}: expected a range from 1")
    if not 0 < scale[0] <= scale[1] <= LARGEST:
        raise ConfigError(f"scale = {scale[0]} to {scale[1]}: expected a range in (0, {LARGEST}]")
    if fps < 1:
        raise ConfigError(f"fps = {fps}: expected at least 1")
    for name, (low, high) in (("lasts", lasts), ("gap", gap)):
        if not 0 <= low <= high:
            raise ConfigError(f"{name} = {low} to {high}: expected a range of seconds")
    if not 0 <= repeats <= 1:
        raise ConfigError(f"repeats = {repeats}: expected a share from 0 to 1")


def _plan(sprites: Sequence[Sprite], count: int, repeats: float, random: np.random.Generator) -> list[_Scene]:
    """What happens in each scene."""
    order = random.permutation(len(sprites))
    drawn = 0
    plan: list[_Scene] = []
    for number in range(count):
        if number > 1 and random.random() < repeats:
            plan.append(plan[int(random.integers(number - 1))])
            continue
        action = list(ACTIONS)[int(random.integers(len(ACTIONS)))]
        wanted = 2 if action in ("meet", "part") else 1
        chosen = [sprites[order[(drawn + more) % len(order)]] for more in range(wanted)]
        drawn += wanted
        plan.append(_Scene(action, tuple(chosen)))
    return plan


def _shown(
    scene: _Scene, canvas: Image.Image, count: int, scale: Range, random: np.random.Generator
) -> list[Image.Image]:
    """The frames of an action, with one before and one after it."""
    side = canvas.width
    pictures = [_sized(sprite, side * random.uniform(*scale), random) for sprite in scene.sprites]
    forth = scene.action in FORWARD
    sizes = [((picture.width - 2 * RIM) / side, (picture.height - 2 * RIM) / side) for picture in pictures]
    way = way_of(scene.action if forth else REVERSE[scene.action], sizes, random)
    stage = canvas if way.other is None else _painted(canvas, pictures[1], way.other)
    shares = [number / (count + 1) for number in range(count + 2)]
    frames = [_painted(stage, pictures[0], way.start.towards(way.end, share)) for share in shares]
    return frames if forth else frames[::-1]


def _sized(sprite: Sprite, longest: float, random: np.random.Generator) -> Image.Image:
    ratio = longest / max(sprite.picture.size)
    size = tuple(max(2, round(edge * ratio)) for edge in sprite.picture.size)
    picture = sprite.picture.resize(size, Image.Resampling.LANCZOS)  # type: ignore[arg-type]
    picture = ImageOps.expand(picture, RIM, (0, 0, 0, 0))
    return ImageOps.mirror(picture) if random.random() < 0.5 else picture


def _painted(canvas: Image.Image, picture: Image.Image, pose: Pose) -> Image.Image:
    """The canvas with the thing on it, to a fraction of a pixel, so that whatever moves changes every frame."""
    side, turn = canvas.width, np.deg2rad(pose.angle)
    cos, sin = np.cos(turn) / pose.scale, np.sin(turn) / pose.scale
    x, y, width, height = pose.x * side, pose.y * side, picture.width / 2, picture.height / 2
    # where each pixel of the canvas is in the picture
    back = (cos, sin, width - cos * x - sin * y, -sin, cos, height + sin * x - cos * y)
    layer = picture.transform(canvas.size, Image.Transform.AFFINE, back, Image.Resampling.BICUBIC)
    painted = canvas.copy()
    painted.paste(layer, mask=layer)
    return painted


def write_stories(
    out: Path,
    sprites: Sequence[Sprite],
    backgrounds: Sequence[Image.Image] = (),
    *,
    count: int,
    seed: int = 0,
    sounds: Sounds | None = None,
    lag: Range = (0.0, 0.5),
    film: str | None = None,
    **options: object,
) -> Path:
    """Write stories and their twins as a folder that every verb reads: films, sounds and ``metadata.jsonl``.

    Story i is rows 2 i, as it was told, and 2 i + 1, backwards. A row has ``id``, ``video``, ``audio``, ``caption``;
    ``moments``, ``moment_text`` and ``duration``; ``action`` and ``thing``, a list each, by moment; ``sounds``, when
    each sound is heard; ``frame_labels``, for evaluation: 0 or, from 1, the place in ``actions.json`` of what is under
    way in a frame; ``reverse_of``, the twin, and ``group``, which keeps the two in one part of a split. The folder
    appears in one move.

    Args:
        out: the folder; must not exist.
        sprites: see :func:`tell`.
        backgrounds: see :func:`tell`.
        count: number of stories; there are twice as many rows.
        seed: story i depends on ``(seed, i)`` alone.
        sounds: waves of the actions, such as :func:`~accord.data.making.sounds.tones`; None writes no sounds.
        lag: range of the seconds by which a sound begins after its action.
        film: ``"mp4"``, ``"webm"`` or ``"frames"``, a folder of pictures; None for mp4 where PyAV is installed, else
            frames.
        options: further arguments of :func:`tell`.

    Raises:
        ConfigError: the folder exists, or an option is out of its range.
        MissingExtraError: films need PyAV.
        StorageError: it cannot be written, such as on a full disk.
    """
    if not 0 <= lag[0] <= lag[1]:
        raise ConfigError(f"lag = {lag[0]} to {lag[1]}: expected a range of seconds")
    kind = film_kind(film, int(options.get("side", 96)))  # type: ignore[call-overload]
    with new_folder(out) as folder:
        for part in ("clips", "sounds") if sounds is not None else ("clips",):
            (folder / part).mkdir()
        rows = []
        for number, (pair, random) in enumerate(_pairs(sprites, backgrounds, count, seed, options)):
            names = [f"{2 * number + place:05}" for place in range(2)]
            for name, twin, story in zip(names, names[::-1], pair, strict=True):
                row = _write_story(folder, name, story, kind)
                row |= {} if sounds is None else _write_sounds(folder, name, story, sounds, lag, random)
                rows.append(row | {"reverse_of": twin, "group": f"{number:05}"})
        write_rows(folder, rows)
        (folder / "actions.json").write_text(json.dumps(["nothing", *ACTIONS]), encoding="utf-8")
    return out


def _pairs(
    sprites: Sequence[Sprite], backgrounds: Sequence[Image.Image], count: int, seed: int, options: dict[str, object]
) -> Iterator[tuple[tuple[Story, Story], np.random.Generator]]:
    """Each story with its twin, and what draws their sounds."""
    for number in range(count):
        own = own_seed(seed, number)
        story = tell(sprites, backgrounds, seed=own, **options)  # type: ignore[arg-type]
        yield (story, story.backwards()), np.random.default_rng(own_seed(own, 1))


def _write_story(folder: Path, name: str, story: Story, kind: str) -> dict[str, object]:
    path = f"clips/{name}" if kind == FRAMES else f"clips/{name}.{kind}"
    if kind == FRAMES:
        write_frames(folder / path, story.frames)
    else:
        write_film(folder / path, story.frames, story.fps)
    return {
        "id": name,
        "video": path,
        "caption": story.caption,
        "moments": story.spans,
        "moment_text": [one.text for one in story.moments],
        "duration": round(story.duration, 4),
        "action": [one.action for one in story.moments],
        "thing": [one.names[0] for one in story.moments],
        "frame_labels": story.frame_labels,
    }


def _write_sounds(
    folder: Path, name: str, story: Story, sounds: Sounds, lag: Range, random: np.random.Generator
) -> dict[str, object]:
    heard = [
        Sounding(one.action, one.first / story.fps + random.uniform(*lag), one.frames / story.fps)
        for one in story.moments
    ]
    samples, spans = soundtrack(heard, story.duration, sounds, random)
    write_wave(folder / "sounds" / f"{name}.wav", samples)
    return {"audio": f"sounds/{name}.wav", "sounds": spans}
