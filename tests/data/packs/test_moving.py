"""Moving emoji, on a folder of a few made clips, and clips in packs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from accord.data import open_corpus
from accord.data.columns import guess_columns
from accord.data.inputs import ImageInput, VideoInput
from accord.data.packs import build_pack, moving
from accord.data.packs.moving import FRAMES, PACK, SIDE, read, shorten
from accord.data.packs.store import read_rows, write_rows
from accord.errors import DataError

Write = Callable[[Path, bytes | str], Path]
WORDS = [
    {"hexcode": "1F1E6", "label": "regional indicator A"},
    {"hexcode": "1F44B", "label": "waving hand", "tags": ["bye", "hello"], "order": 188, "group": 1, "subgroup": 16}
    | {"skins": [{"hexcode": "1F44B-1F3FE", "label": "waving hand: medium-dark skin tone", "tone": 4}]},
    {"hexcode": "1F491", "label": "couple with heart", "order": 190, "group": 1, "subgroup": 30}
    | {"skins": [{"hexcode": "1F491-X", "label": "couple with heart: light, dark skin tone", "tone": [1, 5]}]},
    {"hexcode": "2764", "label": "red heart", "tags": ["love"], "order": 150, "group": 0, "subgroup": 14},
    {"hexcode": "1F600", "label": "grinning face", "tags": ["smile"], "order": 1, "group": 0, "subgroup": 0},
]


def animation(frames: int, side: int = 128, duration: int = 40) -> bytes:
    """A transparent square whose opaque lower half grows redder, one step of ten a frame."""
    pictures = []
    for step in range(frames):
        picture = Image.new("RGBA", (side, side))
        picture.paste((10 * step, 0, 100, 255), (0, side // 2, side, side))
        pictures.append(picture)
    buffer = io.BytesIO()
    pictures[0].save(buffer, "WEBP", save_all=True, append_images=pictures[1:], duration=duration, lossless=True)
    return buffer.getvalue()


def pixels(clip: bytes) -> np.ndarray:
    """All frames, ``(T, H, W, 4)``."""
    with Image.open(io.BytesIO(clip)) as image:
        frames = []
        for position in range(image.n_frames):
            image.seek(position)
            frames.append(np.asarray(image.convert("RGBA")))
    return np.stack(frames)


def reds(frames: Any) -> list[int]:
    """How red the lower half of each frame is, in the steps of :func:`animation`."""
    return [round(np.asarray(frame)[-8, 8, 0] / 10) for frame in frames]


@pytest.fixture
def packages(tmp_path: Path, write: Write) -> Path:
    """Three moving clips, a picture that stands still, and the words, as the npm packages lay them out."""
    modules = tmp_path / "unpacked" / "node_modules"
    for source in moving.CLIPS:
        (modules / source.package / "assets").mkdir(parents=True)
    first, second = (modules / source.package / "assets" for source in moving.CLIPS[:2])
    write(first / "1f44b.webp", animation(20))
    write(second / "1f44b-1f3fe.webp", animation(5))
    write(second / "2764-fe0f.webp", animation(3))
    write(second / "1f600.webp", animation(1))
    words = modules / "emojibase-data"
    write(words / "en" / "data.json", json.dumps(WORDS))
    groups = [{"order": 0, "message": "smileys & emotion"}, {"order": 1, "message": "people & body"}]
    write(words / "en" / "messages.json", json.dumps({"groups": groups}))
    subgroups = {"0": "face-smiling", "14": "heart", "16": "hand-fingers-open", "30": "family"}
    write(words / "meta" / "groups.json", json.dumps({"subgroups": subgroups}))
    return tmp_path / "unpacked"


def refuse(name: str, reason: str) -> None:
    raise AssertionError(f"{name}: {reason}")


def test_reader_keeps_what_moves_in_unicodes_order(packages: Path) -> None:
    found = list(read(packages, refuse))
    assert [row["id"] for row in found] == ["2764", "1F44B", "1F44B-1F3FE"]
    assert set(found[0]) == set(PACK.schema)
    assert found[0]["video"]["path"] == "2764-fe0f.webp"
    assert (found[0]["name"], found[0]["category"]) == ("red heart", "Smileys & Emotion")
    assert [row["id"] for row in read(packages / "node_modules", refuse)] == [row["id"] for row in found]


def test_a_skin_tone_has_its_own_name_and_the_tags_classes_and_concept_of_its_emoji(packages: Path) -> None:
    _, base, toned = list(read(packages, refuse))
    assert (base["name"], base["skin"]) == ("waving hand", "")
    assert (toned["name"], toned["skin"]) == ("waving hand: medium-dark skin tone", "medium-dark")
    for shared in ("tags", "category", "subcategory", "concept"):
        assert base[shared] == toned[shared]
    assert (toned["tags"], toned["subcategory"]) == (["bye", "hello"], "hand-fingers-open")


def test_two_people_have_two_skin_tones(packages: Path) -> None:
    (packages / "node_modules" / moving.CLIPS[3].package / "assets" / "1f491-x.webp").write_bytes(animation(2))
    assert next(row["skin"] for row in read(packages, refuse) if row["id"] == "1F491-X") == "light and dark"


def test_a_long_clip_becomes_small_and_keeps_evenly_spaced_frames_its_length_and_its_transparency() -> None:
    clip = shorten(animation(24, duration=40), "clip")
    assert clip is not None
    frames = pixels(clip)
    assert frames.shape == (FRAMES, SIDE, SIDE, 4)
    assert reds(frames) == [0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18, 20, 21, 23]
    assert not frames[:, : SIDE // 2 - 4, :, 3].any()
    assert (frames[:, SIDE // 2 + 4 :, :, 3] == 255).all()
    with Image.open(io.BytesIO(clip)) as image:
        image.load()
        assert image.info["duration"] * image.n_frames == 24 * 40


def test_a_short_and_small_clip_keeps_all_its_frames_and_its_size() -> None:
    clip = shorten(animation(5, side=40), "clip")
    assert clip is not None
    assert pixels(clip).shape == (5, 40, 40, 4)
    assert reds(pixels(clip)) == [0, 1, 2, 3, 4]


def test_a_picture_that_does_not_move_is_no_clip(png: Callable[..., bytes]) -> None:
    assert shorten(animation(1), "still") is None
    assert shorten(png(), "still") is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"not a picture", "not a picture"), (animation(20)[:400], "picture|clip"), (b"", "not a picture")],
)
def test_broken_clip_is_rejected_by_name(packages: Path, content: bytes, reason: str) -> None:
    next(packages.rglob("2764-fe0f.webp")).write_bytes(content)
    rejected = {}
    assert [row["id"] for row in read(packages, rejected.__setitem__)] == ["1F44B", "1F44B-1F3FE"]
    assert list(rejected) == ["2764-fe0f.webp"]
    assert rejected["2764-fe0f.webp"].startswith("2764-fe0f.webp: ")
    assert any(words in rejected["2764-fe0f.webp"] for words in reason.split("|"))


def test_only_a_moving_clip_without_words_is_rejected(packages: Path) -> None:
    assets = packages / "node_modules" / moving.CLIPS[2].package / "assets"
    (assets / "1fae0.webp").write_bytes(animation(2))
    (assets / "1fae1.webp").write_bytes(animation(1))
    rejected = {}
    assert len(list(read(packages, rejected.__setitem__))) == 3
    assert rejected == {"1fae0.webp": "1fae0.webp: emojibase-data has no entry for it"}


@pytest.mark.parametrize("missing", ["emojibase-data/meta/groups.json", "@lobehub/fluent-emoji-anim-3/assets"])
def test_missing_package_file_is_named_with_the_install_command(packages: Path, missing: str) -> None:
    path = packages / "node_modules" / missing
    path.rmdir() if path.is_dir() else path.unlink()
    wanted = rf"{missing} is missing: npm install --ignore-scripts @lobehub/fluent-emoji-anim-1@1\.0\.0 .*base-data@17"
    with pytest.raises(DataError, match=wanted):
        list(read(packages, refuse))


def test_built_clips_open_as_video_over_the_background_and_stay_together(packages: Path, cache: Path) -> None:
    assert build_pack("moving", packages).rows == 3
    corpus = open_corpus("pack:moving", quiet=True)
    assert corpus.modalities == ("video", "text")
    assert corpus.classes == ("hand-fingers-open", "heart")
    groups = corpus.groups()
    assert groups is not None
    assert groups[1] == groups[2] != groups[0]
    sample = corpus.sample(1, inputs={"video": VideoInput(ImageInput(background=(0, 255, 0)), frames=4)})
    assert sample["text"] == ["waving hand"]
    assert [frame.mode for frame in sample["video"]] == ["RGB"] * 4
    assert reds(sample["video"]) == sorted(set(reds(sample["video"]))), "in time's order"
    assert sample["video"][0].getpixel((5, 5)) == (0, 255, 0)


def test_column_of_clips_is_known_by_its_kind_whatever_its_name(tmp_path: Path) -> None:
    cells = [{"bytes": animation(2), "path": "a.webp"}, None]
    path = tmp_path / "some.parquet"
    write_rows([{"a": cell, "b": "x"} for cell in cells], {"a": "video", "b": "text"}, path, {})
    rows = read_rows(path, {"a": "video", "b": "text"})
    assert rows["a"] == cells
    assert guess_columns(rows).video == "a"


def test_default_mapping_and_pins_of_the_pack() -> None:
    assert PACK.schema[PACK.columns["video"]] == "video"
    assert PACK.sources[-1].package == "emojibase-data"
    assert len({source.sha256 for source in PACK.sources}) == 5
