"""Wesnoth's units, on a folder of a few made frames and descriptions."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from accord.data import open_corpus
from accord.data.packs import build_pack
from accord.data.packs.sprites import PACK, action_of, caption_of, read
from accord.errors import DataError

Write = Callable[[Path, bytes | str], Path]
GRUNT = """
[unit_type]
    id=Grunt
    name= _ "female^Orcish Grunt"
    image="units/orcs/grunt.png"
    description= _ "Strong, and ""loud"".

It fights."
    die_sound={SOUND_LIST:ORC_DIE}
    [attack_anim]
        [frame]
            image="units/orcs/grunt-attack-[1~4].png:[100,75,100,50]"
        [/frame]
        {SOUND:HIT_AND_MISS {SOUND_LIST:SWISH} miss.ogg -100}
    [/attack_anim]
    [movement_anim]
        [frame]
            image=units/orcs/grunt-s-[1~4].png:250
        [/frame]
    [/movement_anim]
[/unit_type]
"""
RIDER = """
[unit_type]
    name= _ "Rider"
    description= _ "Rides."
    [attack_anim]
        image="units/orcs/wolf-bite-1.png:50"
        sound=bite.ogg
    [/attack_anim]
    image="units/orcs/grunt-attack-2.png"
[/unit_type]
"""


@pytest.fixture
def unpacked(tmp_path: Path, write: Write) -> Path:
    core = tmp_path / "unpacked" / "usr" / "share" / "games" / "wesnoth" / "1.18" / "data" / "core"
    orcs = core / "images" / "units" / "orcs"
    write(orcs / "grunt.png", frame(0))
    for name, count in (("grunt-attack", 4), ("grunt-ne-die", 5), ("grunt-s", 4), ("grunt-idle", 3), ("wolf-bite", 11)):
        for number in range(1, count + 1):
            write(orcs / f"{name}-{number}.png", frame(number, 12 if (name, number) == ("grunt-attack", 2) else 8))
    write(core / "units" / "a.cfg", GRUNT)
    write(core / "units" / "orcs" / "b.cfg", RIDER)
    write(
        core / "macros" / "sound-utils.cfg",
        "#define SOUND_LIST:SWISH\nsword-1.ogg #enddef\n#define SOUND_LIST:ORC_DIE\norc-die-[1~3].ogg #enddef\n",
    )
    for sound in ("sword-1.ogg", "orc-die-1.ogg", "bite.ogg"):
        write(core / "sounds" / sound, sound.encode())
    return tmp_path / "unpacked"


def frame(number: int, side: int = 8) -> bytes:
    """A transparent square with an opaque middle, the redder the later."""
    picture = Image.new("RGBA", (side, 8))
    picture.paste((20 * number, 0, 100, 255), (2, 2, side - 2, 6))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def refuse(name: str, reason: str) -> None:
    raise AssertionError(f"{name}: {reason}")


def test_sequences_of_four_frames_become_clips_with_what_names_say(unpacked: Path) -> None:
    found = {row["id"]: row for row in read(unpacked, refuse)}
    assert list(found) == ["orcs/grunt-attack", "orcs/grunt-ne-die", "orcs/grunt-s", "orcs/wolf-bite"]
    assert all(set(row) == set(PACK.schema) for row in found.values())
    assert [row["caption"] for row in found.values()] == ["grunt attacks", "grunt dies", "grunt moves", "wolf attacks"]
    assert [row["action"] for row in found.values()] == ["attack", "die", "move", "attack"]
    assert {row["race"] for row in found.values()} == {"orcs"}


def test_frames_are_in_the_order_of_their_numbers_whole_and_transparent(unpacked: Path) -> None:
    found = {row["id"]: row for row in read(unpacked, refuse)}
    with Image.open(io.BytesIO(found["orcs/wolf-bite"]["video"]["bytes"])) as image:
        assert image.n_frames == 11
        reds = []
        for position in range(11):
            image.seek(position)
            reds.append(np.asarray(image.convert("RGBA"))[4, 4, 0])
        assert reds == [20 * number for number in range(1, 12)], "10 comes after 9"
        assert np.asarray(image.convert("RGBA"))[0, 0, 3] == 0
        image.load()
        assert image.info["duration"] == 100
    with Image.open(io.BytesIO(found["orcs/grunt-attack"]["video"]["bytes"])) as image:
        assert image.size == (12, 8), "as large as the largest frame"


def test_descriptions_say_who_it_is_and_how_it_sounds(unpacked: Path) -> None:
    found = {row["id"]: row for row in read(unpacked, refuse)}
    attack, die, move, bite = found.values()
    assert attack["unit"] == die["unit"] == move["unit"] == "Orcish Grunt"
    assert attack["description"] == 'Strong, and "loud". It fights.'
    assert attack["sound"] == {"bytes": b"sword-1.ogg", "path": "sword-1.ogg"}
    assert die["sound"]["path"] == "orc-die-1.ogg"
    assert move["sound"] is None
    assert (bite["unit"], bite["sound"]["path"]) == ("Rider", "bite.ogg")


def test_units_drawn_with_the_same_frames_are_not_split(unpacked: Path) -> None:
    assert len({row["concept"] for row in read(unpacked, refuse)}) == 1, "the rider's description shows a grunt"
    next(unpacked.rglob("b.cfg")).unlink()
    concepts = [row["concept"] for row in read(unpacked, refuse)]
    assert concepts == ["orcs/grunt"] * 3 + ["orcs/wolf"]


def test_without_descriptions_names_are_enough(unpacked: Path) -> None:
    for path in unpacked.rglob("*.cfg"):
        path.unlink()
    attack, _, other, bite = read(unpacked, refuse)
    assert (attack["unit"], attack["description"], attack["sound"]) == ("grunt", None, None)
    assert (other["action"], other["caption"]) == (None, "grunt")
    assert bite["unit"] == "wolf"


def test_a_broken_frame_rejects_its_sequence_by_name(unpacked: Path) -> None:
    next(unpacked.rglob("wolf-bite-7.png")).write_bytes(b"x")
    rejected: dict[str, str] = {}
    assert len(list(read(unpacked, rejected.__setitem__))) == 3
    assert list(rejected) == ["orcs/wolf-bite"]


def test_a_folder_without_sequences_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no sequence of 4 or more frames"):
        list(read(tmp_path, refuse))


def test_names_say_actions_and_tools() -> None:
    assert action_of("a/spearman-idle2") == "idle"
    assert action_of("a/archer-bow-attack") == action_of("a/lord-se-axe") == "attack"
    assert caption_of("a/gryphon-rider-ne-move", "move") == "gryphon rider moves"
    assert caption_of("a/mage+female-magic-2", "attack") == "female mage attacks with magic"


def test_a_built_pack_opens_as_clips_with_texts_classes_and_groups(unpacked: Path, cache: Path) -> None:
    assert build_pack("sprites", unpacked).rows == 4
    corpus = open_corpus("pack:sprites", quiet=True)
    assert corpus.modalities == ("video", "text")
    assert corpus.classes == ("attack", "die", "move")
    assert corpus.groups() is not None
    assert len(corpus.sample(1)["video"]) == 5
    heard = open_corpus("pack:sprites", columns={"audio": "sound"}, check=False, incomplete=True, quiet=True)
    assert "audio" in heard.modalities
    assert PACK.schema[str(PACK.columns["video"])] == "video"
