"""Composed scenes: exact boxes, masks and tracks; a folder like any other; bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from accord.data.corpus import corpus_from_items, open_corpus
from accord.data.making.compose import Sprite, compose, sprites_of, write_scenes
from accord.errors import ConfigError, DataError

COLOURS = {"red ball": (250, 0, 0), "green ball": (0, 250, 0), "blue ball": (0, 0, 250)}


def ball(colour) -> Image.Image:
    picture = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    ImageDraw.Draw(picture).ellipse((6, 6, 33, 33), fill=(*colour, 255))
    return picture


@pytest.fixture
def sprites():
    return [
        Sprite(ball(colour).crop((6, 6, 34, 34)), name, kind) for kind, (name, colour) in enumerate(COLOURS.items())
    ]


def test_masks_show_each_things_own_pixels(sprites):
    scene = compose(sprites, seed=3, side=64, things=(3, 3))
    pixels = np.asarray(scene.frames[0]).astype(int)
    for number, name in enumerate(scene.names, start=1):
        inside = scene.instances[0] == number
        assert inside.sum() > 50
        core = pixels[inside]
        wanted = np.array(COLOURS[name])
        assert (np.abs(core - wanted).max(axis=1) < 60).mean() > 0.85  # the rim is blended
        kind = list(COLOURS).index(name) + 1
        assert (scene.masks[0][inside] == kind).all()
        x0, y0, x1, y1 = scene.boxes[0, number - 1]
        ys, xs = np.nonzero(inside)
        assert x0 <= xs.min()
        assert xs.max() < x1
        assert y0 <= ys.min()
        assert ys.max() < y1
    assert ((scene.masks[0] == 0) == (scene.instances[0] == 0)).all()


def test_captions_name_the_things_where_they_are(sprites):
    scene = compose(sprites, seed=5, side=90, things=(2, 2), scale=(0.2, 0.25))
    assert scene.caption == " and ".join(
        f"{name} {where(box)}" for name, box in zip(scene.names, scene.boxes[0], strict=True)
    )


def where(box):
    x, y = (box[0] + box[2]) / 180, (box[1] + box[3]) / 180
    named = " ".join(word for word in (("top", "", "bottom")[int(3 * y)], ("left", "", "right")[int(3 * x)]) if word)
    return f"at the {named}" if named else "in the middle"


def test_things_move_in_straight_lines_and_stay_inside(sprites):
    scene = compose(sprites, seed=1, side=64, things=(2, 3), frames=20, speed=0.1)
    assert len(scene.frames) == 20
    assert scene.boxes.min() >= 0
    assert scene.boxes.max() <= 64
    steps = np.diff(scene.boxes[:, :, :2], axis=0)
    assert (np.abs(steps) <= 8).all()
    assert np.abs(steps).sum() > 20
    turned = np.sign(steps[1:]) * np.sign(steps[:-1]) < 0
    assert turned.mean() < 0.3
    for frame in (0, 7, 19):  # the track is where the mask is
        for number, (x0, y0, x1, y1) in enumerate(scene.boxes[frame], start=1):
            ys, xs = np.nonzero(scene.instances[frame] == number)
            assert not len(xs) or (x0 <= xs.min() and xs.max() < x1 and y0 <= ys.min() and ys.max() < y1)


def test_the_seed_decides_and_photographs_are_the_background(sprites):
    photo = Image.fromarray(np.full((50, 80, 3), 77, dtype=np.uint8))
    one, same, other = (compose(sprites, [photo], seed=seed) for seed in (1, 1, 2))
    assert (np.asarray(one.frames[0]) == np.asarray(same.frames[0])).all()
    assert (np.asarray(one.frames[0]) != np.asarray(other.frames[0])).any()
    assert (np.asarray(one.frames[0])[one.masks[0] == 0] == 77).mean() > 0.8  # but for blended rims


def test_only_pictures_with_a_transparent_background_are_cut_out():
    corpus = corpus_from_items("image", [ball((9, 9, 9)), Image.new("RGB", (9, 9)), b"no picture"])
    (only,) = sprites_of(corpus)
    assert only.picture.size == (28, 28)
    with pytest.raises(DataError, match="nothing can be cut out"):
        sprites_of(corpus_from_items("image", [Image.new("RGB", (9, 9))]))


@pytest.mark.parametrize("frames", [1, 3])
def test_a_written_folder_is_data_like_any_other(sprites, tmp_path, frames):
    out = write_scenes(tmp_path / "scenes", sprites, count=4, side=48, frames=frames, kinds=list(COLOURS))
    corpus = open_corpus(out, quiet=True)
    assert len(corpus) == 4
    assert corpus.columns.image == "image"
    assert corpus.columns.text == ("caption",)
    assert (corpus.columns.video == "video") == (frames > 1)
    sample = corpus.sample(2)
    assert sample["image"].size == (48, 48)
    if frames > 1:
        assert len(sample["video"]) == 3
    rows = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    mask = np.asarray(Image.open(out / rows[2]["mask"]))
    for box, name in zip(rows[2]["boxes"], rows[2]["names"], strict=True):
        x0, y0, x1, y1 = box
        assert (mask[y0:y1, x0:x1] == list(COLOURS).index(name) + 1).any()
    assert json.loads((out / "kinds.json").read_text()) == ["background", *COLOURS]
    again = write_scenes(tmp_path / "again", sprites, count=4, side=48, frames=frames, kinds=list(COLOURS))
    assert (again / "metadata.jsonl").read_text() == (out / "metadata.jsonl").read_text()


def test_a_folder_is_never_overwritten_and_a_failed_one_leaves_nothing(sprites, tmp_path):
    (tmp_path / "here").mkdir()
    with pytest.raises(ConfigError, match="exists already"):
        write_scenes(tmp_path / "here", sprites, count=1)
    with pytest.raises(ConfigError, match="scale"):
        write_scenes(tmp_path / "new", sprites, count=1, scale=(0.5, 2.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here"]


@pytest.mark.parametrize(
    "options", [{"things": (0, 2)}, {"things": (3, 2)}, {"scale": (0.0, 0.5)}, {"scale": (0.2, 1.5)}, {"frames": 0}]
)
def test_ranges_are_checked(sprites, options):
    with pytest.raises(ConfigError):
        compose(sprites, seed=0, **options)
    with pytest.raises(ConfigError):
        compose([], seed=0)
