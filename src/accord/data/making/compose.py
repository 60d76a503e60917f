"""Scenes made of cut-out things on photographs: real pictures whose boxes, masks and tracks are known exactly.

The things are pictures with a transparent background (stamps, emoji), the backgrounds any pictures, or a smooth
gradient of two colours. Written as a folder, the scenes are data like any other, with a column of masks beside.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from accord.data.corpus import Corpus
from accord.data.making.folders import new_folder, own_seed, write_frames, write_rows
from accord.data.reading.media import Unreadable, open_image, read_bytes
from accord.errors import ConfigError, DataError

OPAQUE = 128  # alpha from which a pixel belongs to a thing
COVER = 0.25  # largest share of a thing that those before it may lie under
TRIES = 30  # places tried for a thing before the scene does without it
ROWS, COLUMNS = ("top", "", "bottom"), ("left", "", "right")


@dataclass(frozen=True)
class Sprite:
    """A thing to paste.

    Args:
        picture: RGBA, cut to what is visible.
        name: what captions call it.
        kind: its class, from 0.
    """

    picture: Image.Image
    name: str
    kind: int


@dataclass(frozen=True)
class Scene:
    """A picture, or a clip, with everything known about it.

    Args:
        frames: T pictures of side S.
        masks: ``(T, S, S)`` uint8, 0 for the background and ``kind + 1`` for a thing's pixels.
        instances: ``(T, S, S)`` uint8, 0 for the background and the thing's number from 1.
        boxes: ``(T, K, 4)`` int, x0, y0, x1, y1 in pixels, of each thing as it was pasted.
        names: of the K things.
        kinds: ``(K,)`` int, their classes.
        caption: names and places in the first frame.
    """

    frames: tuple[Image.Image, ...]
    masks: np.ndarray
    instances: np.ndarray
    boxes: np.ndarray
    names: tuple[str, ...]
    kinds: tuple[int, ...]
    caption: str


@dataclass
class _Thing:
    """A sprite at its size, where it is and how it moves, in pixels and pixels a frame."""

    sprite: Sprite
    picture: Image.Image
    place: np.ndarray
    speed: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        left, top = (round(float(value)) for value in self.place)
        return left, top, left + self.picture.width, top + self.picture.height


def sprites_of(corpus: Corpus) -> list[Sprite]:
    """The pictures of a corpus that have a transparent background, cut to their visible part.

    Args:
        corpus: has images; the first caption of a row is its name, its label its kind.

    Raises:
        DataError: no picture has one.
    """
    column = corpus.columns.image
    texts, labels = corpus.texts(), corpus.labels
    found = []
    for row, cell in enumerate(corpus.rows.select_columns([column])[column] if column else ()):
        picture = _cut_out(cell, corpus.root)
        if picture is not None:
            name = texts[row][0] if texts[row] else "a thing"
            kind = 0 if labels is None or labels.ndim == 2 else max(0, int(labels[row]))
            found.append(Sprite(picture, name, kind))
    if not found:
        raise DataError(
            f"{corpus.name}: no picture has a transparent background, so nothing can be cut out; use drawings or "
            "cut-outs, such as pack:stamps or pack:emoji"
        )
    return found


def _cut_out(cell: object, root: Path | None) -> Image.Image | None:
    try:
        with open_image(io.BytesIO(read_bytes(cell, root))) as image:
            picture = ImageOps.exif_transpose(image).convert("RGBA")
    except (Unreadable, OSError, SyntaxError):
        return None
    solid = np.asarray(picture.getchannel("A")) >= OPAQUE
    if solid.all() or not solid.any():
        return None
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    return picture.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))


def compose(
    sprites: Sequence[Sprite],
    backgrounds: Sequence[Image.Image] = (),
    *,
    seed: int,
    side: int = 96,
    things: tuple[int, int] = (2, 4),
    scale: tuple[float, float] = (0.25, 0.5),
    frames: int = 1,
    speed: float = 0.05,
) -> Scene:
    """One scene.

    Args:
        sprites: what is pasted, drawn without repetition where there are enough.
        backgrounds: RGB pictures, of which a square is taken; none for a gradient of two random colours.
        seed: decides everything random.
        side: S in pixels.
        things: range of their number.
        scale: range of a thing's longer side over S.
        frames: number of frames T; with more than one, things move in straight lines and turn back at the edges.
        speed: largest way in a frame, over S.

    Raises:
        ConfigError: no sprites, or a range that is empty.

    Example:
        >>> ball = Sprite(Image.new("RGBA", (20, 10), (255, 0, 0, 255)), "a ball", kind=3)
        >>> scene = compose([ball], seed=0, side=64, things=(1, 1))
        >>> scene.frames[0].size, scene.masks.shape, np.unique(scene.masks).tolist()
        ((64, 64), (1, 64, 64), [0, 4])
        >>> x0, y0, x1, y1 = scene.boxes[0, 0]
        >>> int((scene.masks > 0).sum()) == int(x1 - x0) * int(y1 - y0)
        True
    """
    if not 1 <= things[0] <= things[1]:
        raise ConfigError(f"things = {things[0]} to {things[1]}: expected a range from 1")
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ConfigError(f"scale = {scale[0]} to {scale[1]}: expected a range in (0, 1]")
    if not sprites or frames < 1:
        raise ConfigError(f"{len(sprites)} sprites and {frames} frames: there should be at least one of each")
    random = np.random.default_rng(seed)
    canvas = background(backgrounds, side, random)
    count = int(random.integers(things[0], things[1] + 1))
    chosen = random.choice(len(sprites), size=count, replace=count > len(sprites))
    placed: list[_Thing] = []
    for index in chosen:
        thing = _placed(sprites[index], placed, side, scale, speed if frames > 1 else 0.0, random)
        placed += [thing] if thing else []
    pictures, masks, instances, boxes = [], [], [], []
    for _ in range(frames):
        picture, mask, instance = _painted(canvas, placed)
        pictures.append(picture)
        masks.append(mask)
        instances.append(instance)
        boxes.append([thing.box for thing in placed])
        _move(placed, side)
    names = tuple(thing.sprite.name for thing in placed)
    caption = " and ".join(f"{name} {_where(box, side)}" for name, box in zip(names, boxes[0], strict=True))
    shape = np.array(boxes, dtype=np.int64).reshape(frames, len(placed), 4)
    kinds = tuple(thing.sprite.kind for thing in placed)
    return Scene(tuple(pictures), np.stack(masks), np.stack(instances), shape, names, kinds, caption)


def background(backgrounds: Sequence[Image.Image], side: int, random: np.random.Generator) -> Image.Image:
    """A square of one of the pictures, or a gradient of two random colours where there are none."""
    if not backgrounds:
        corners = random.integers(40, 216, size=(2, 2, 3)).astype(np.uint8)
        return Image.fromarray(corners).resize((side, side), Image.Resampling.BICUBIC)
    picture = backgrounds[int(random.integers(len(backgrounds)))].convert("RGB")
    edge = int(min(picture.size) * random.uniform(0.5, 1.0)) or 1
    left, top = (int(random.integers(size - edge + 1)) for size in picture.size)
    return picture.resize((side, side), Image.Resampling.BICUBIC, box=(left, top, left + edge, top + edge))


def write_scenes(
    out: Path,
    sprites: Sequence[Sprite],
    backgrounds: Sequence[Image.Image] = (),
    *,
    count: int,
    seed: int = 0,
    kinds: Sequence[str] = (),
    **options: object,
) -> Path:
    """Write scenes as a folder that every verb reads: pictures or clips, masks, and ``metadata.jsonl``.

    A row has ``image`` (the first frame), ``caption``, ``mask``, ``instances``, ``boxes``, ``names`` and ``kinds``, and
    of clips ``video`` (a folder of frames), ``tracks``, the boxes of every frame, and ``track_masks``, a folder of the
    things of every frame. The folder appears in one move.

    Args:
        out: the folder; must not exist.
        sprites: see :func:`compose`.
        backgrounds: see :func:`compose`.
        count: number of scenes.
        seed: scene i has the seed ``(seed, i)``.
        kinds: names of the sprites' kinds, written to ``kinds.json``.
        options: further arguments of :func:`compose`.

    Raises:
        ConfigError: the folder exists.
        StorageError: it cannot be written, such as on a full disk.
    """
    with new_folder(out) as folder:
        for part in ("images", "masks", "instances"):
            (folder / part).mkdir(parents=True)
        scenes = _scenes(sprites, backgrounds, count, seed, options)
        write_rows(folder, [_write_scene(folder, f"{i:05}", scene, kinds) for i, scene in enumerate(scenes)])
        (folder / "kinds.json").write_text(json.dumps(["background", *kinds], ensure_ascii=False), encoding="utf-8")
    return out


def _scenes(
    sprites: Sequence[Sprite], backgrounds: Sequence[Image.Image], count: int, seed: int, options: dict[str, object]
) -> Iterator[Scene]:
    for number in range(count):
        yield compose(sprites, backgrounds, seed=own_seed(seed, number), **options)  # type: ignore[arg-type]


def _write_scene(folder: Path, name: str, scene: Scene, kinds: Sequence[str]) -> dict[str, object]:
    scene.frames[0].save(folder / "images" / f"{name}.png")
    for kind, maps in (("masks", scene.masks), ("instances", scene.instances)):
        Image.fromarray(maps[0]).save(folder / kind / f"{name}.png")
    row: dict[str, object] = {
        "image": f"images/{name}.png",
        "caption": scene.caption,
        "mask": f"masks/{name}.png",
        "instances": f"instances/{name}.png",
        "boxes": scene.boxes[0].tolist(),
        "names": list(scene.names),
        "kinds": [kinds[kind] if kinds else str(kind) for kind in scene.kinds],
    }
    if len(scene.frames) > 1:
        for place, pictures in (
            ("clips", scene.frames),
            ("clip_masks", map(Image.fromarray, scene.masks)),
            ("clip_instances", map(Image.fromarray, scene.instances)),
        ):
            write_frames(folder / place / name, pictures)
        row |= {
            "video": f"clips/{name}",
            "tracks": scene.boxes.tolist(),
            "track_masks": f"clip_instances/{name}",
        }
    return row


def _placed(
    sprite: Sprite,
    others: Sequence[_Thing],
    side: int,
    scale: tuple[float, float],
    speed: float,
    random: np.random.Generator,
) -> _Thing | None:
    """The sprite at a random size and place that hides little of the others, or None where there is no room."""
    longest = side * random.uniform(*scale)
    ratio = longest / max(sprite.picture.size)
    width, height = (max(2, round(edge * ratio)) for edge in sprite.picture.size)
    picture = sprite.picture.resize((width, height), Image.Resampling.LANCZOS)
    if random.random() < 0.5:
        picture = ImageOps.mirror(picture)
    angle = random.uniform(0, 2 * np.pi)
    way = side * speed * random.uniform(0.3, 1.0) * np.array([np.cos(angle), np.sin(angle)])
    for _ in range(TRIES):
        place = random.uniform(0, 1, 2) * (side - np.array([width, height]))
        thing = _Thing(sprite, picture, place, way)
        if all(_share_hidden(other.box, thing.box) <= COVER for other in others):
            return thing
    return None


def _share_hidden(box: tuple[int, int, int, int], over: tuple[int, int, int, int]) -> float:
    """Share of a box that another one lies over."""
    width = min(box[2], over[2]) - max(box[0], over[0])
    height = min(box[3], over[3]) - max(box[1], over[1])
    return max(0, width) * max(0, height) / ((box[2] - box[0]) * (box[3] - box[1]))


def _painted(canvas: Image.Image, things: Sequence[_Thing]) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """The picture, its mask of kinds and its mask of things; later things lie over earlier ones."""
    picture = canvas.copy()
    mask, instance = (np.zeros((canvas.height, canvas.width), dtype=np.uint8) for _ in range(2))
    for number, thing in enumerate(things, start=1):
        left, top, right, bottom = thing.box
        picture.paste(thing.picture, (left, top), thing.picture)
        solid = np.asarray(thing.picture.getchannel("A")) >= OPAQUE
        mask[top:bottom, left:right][solid] = thing.sprite.kind + 1
        instance[top:bottom, left:right][solid] = number
    return picture, mask, instance


def _move(things: Sequence[_Thing], side: int) -> None:
    """One frame on; a thing that would leave the picture turns back."""
    for thing in things:
        room = side - np.array(thing.picture.size)
        goal = thing.place + thing.speed
        outside = (goal < 0) | (goal > room)
        thing.speed = np.where(outside, -thing.speed, thing.speed)
        thing.place = np.clip(thing.place + thing.speed, 0, room)


def _where(box: Sequence[int], side: int) -> str:
    """The place of a box in words.

    >>> _where((0, 0, 10, 10), 96), _where((40, 40, 60, 60), 96)
    ('at the top left', 'in the middle')
    """
    x, y = ((box[0] + box[2]) / 2 / side, (box[1] + box[3]) / 2 / side)
    words = [ROWS[min(2, int(3 * y))], COLUMNS[min(2, int(3 * x))]]
    named = " ".join(word for word in words if word)
    return f"at the {named}" if named else "in the middle"
