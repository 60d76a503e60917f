"""Wesnoth's units: short drawn animations with what is done, who does it, and often how it sounds.

Units are described in a macro language. Only what stands in it plainly is read: which pictures and sounds a block
names. The rest is said by file names, ``RACE/UNIT-ACTION-NUMBER.png``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from accord.data.packs.base import Archive, Pack, Reject, Row
from accord.data.packs.files import MAX_PIXELS, linked_groups, root_of
from accord.errors import DataError

FEWEST = 4  # frames of a sequence
MILLISECONDS = 100  # of a frame
VERBS: Mapping[str, str] = MappingProxyType({"attack": "attacks", "die": "dies", "idle": "stands", "move": "moves"})
"""Action, which is the label, and its word in a caption."""

_WORDS = {
    "die": "die death dying",
    "move": "move moving run running walk fly flying soar takeoff teleport",
    "idle": "idle stand standing bob breeze taunt victory",
    "attack": "attack melee ranged sword bow crossbow xbow magic spear pierce impact blade kick fire bite claw claws "
    "2claws charge tail flame slap pincer stinger sting sling trample hand fist axe hammer throw slash jarid mace "
    "javelin launch lightning heaving inhale",
}
_ACTIONS = {word: action for action, words in _WORDS.items() for word in words.split()}
_PLAIN = frozenset("die death dying move moving idle stand standing attack melee bob breeze".split())  # noqa: SIM905
_TOOLS = frozenset(
    "sword bow crossbow spear blade claws tail hammer axe mace javelin fist magic flame fire lightning pincer stinger".split()  # noqa: E501, SIM905
)
_SIDES = frozenset("n s ne se nw sw".split())  # noqa: SIM905  where a unit looks
_BLOCKS = {"attack_anim": "attack", "death": "die", "idle_anim": "idle", "standing_anim": "idle"} | {
    "movement_anim": "move"
}

_UNIT = re.compile(r"\[unit_type\](.*?)\[/unit_type\]", re.DOTALL)
_BLOCK = re.compile(rf"\[({'|'.join(_BLOCKS)})\](.*?)\[/\1\]", re.DOTALL)
_PICTURE = re.compile(r"units/((?:[\w+/-]|\[[^\]]*\])+)\.png")
_NUMBER = re.compile(r"-?(?:\[[\d~,*]+\]|\d+)$")
_SOUND = re.compile(r"\{SOUND_LIST:(\w+)\}|([\w~\[\]-]+\.(?:ogg|wav))")
_LIST = re.compile(r"#define SOUND_LIST:(\w+)\s+(.*?)#enddef", re.DOTALL)


@dataclass
class _Said:
    """What the units' descriptions say of a sequence, by the first that names it."""

    unit: str = ""
    about: str = ""
    action: str = ""
    sound: str = ""
    dying: str = ""
    keys: set[str] = field(default_factory=set)


def read(folder: Path, reject: Reject) -> Iterator[Row]:
    """Rows of an unpacked package: every numbered sequence of at least ``FEWEST`` frames, by path.

    Raises:
        DataError: the folder holds no such sequence.
    """
    root = root_of(folder, "usr/share/games/wesnoth/1.18/data/core")
    pictures = root / "images" / "units"
    sequences = _sequences(pictures)
    if not sequences:
        raise DataError(f"{pictures} holds no sequence of {FEWEST} or more frames (RACE/UNIT-ACTION-1.png and so on)")
    said = _said(root)
    stills = {name: _still(pictures, name) for name in sequences}
    groups = linked_groups([{stills[name], *said.get(name, _Said()).keys} for name in sequences])
    names = list(sequences)
    for name, group in zip(names, groups, strict=True):
        try:
            clip = _clip(sequences[name])
        except (DataError, OSError, SyntaxError, ValueError) as error:
            reject(name, str(error))
            continue
        shown = said.get(name, _Said())
        unit = shown if shown.unit else said.get(stills[name], shown)
        action = action_of(name) or shown.action or None
        sound = root / "sounds" / (shown.sound or (unit.dying if action == "die" else ""))
        yield {
            "id": name,
            "video": {"bytes": clip, "path": f"{name}.webp"},
            "sound": {"bytes": sound.read_bytes(), "path": sound.name} if sound.is_file() else None,
            "caption": caption_of(name, action),
            "action": action,
            "race": name.split("/")[0].replace("-", " "),
            "unit": unit.unit or stills[name].rpartition("/")[2].replace("-", " "),
            "description": unit.about or None,
            "concept": stills[names[group]],
        }


def action_of(name: str) -> str | None:
    """What is done in a sequence, by its name.

    >>> action_of("orcs/grunt-ne-die"), action_of("dwarves/lord-se-axe"), action_of("bats/bat-ne")
    ('die', 'attack', None)
    """
    parts = [part.rstrip("0123456789") or part for part in re.split(r"[-_]", name.rpartition("/")[2])[1:]]
    plain = [part for part in parts if part in _PLAIN]
    return next((_ACTIONS[part] for part in (*plain, *parts) if part in _ACTIONS), None)


def caption_of(name: str, action: str | None) -> str:
    """Who is seen in a sequence and what it does, by its name.

    >>> caption_of("elves-wood/archer+female-bow-attack", "attack"), caption_of("orcs/grunt-ne-die", "die")
    ('female archer attacks with bow', 'grunt dies')
    """
    parts = re.split(r"[-_]", name.rpartition("/")[2])
    place = next((n for n, part in enumerate(parts) if n and (part in _SIDES or _is_action(part))), len(parts))
    who = " ".join(parts[:place])
    if who.endswith("+female"):
        who = f"female {who.removesuffix('+female')}"
    tools = [part for part in parts[place:] if part in _TOOLS] if action == "attack" else []
    does = [VERBS[action]] if action else []
    return " ".join([who, *does, *(["with", *tools[:1]] if tools else [])])


def _is_action(part: str) -> bool:
    return (part.rstrip("0123456789") or part) in _ACTIONS


def _sequences(pictures: Path) -> dict[str, list[Path]]:
    """Name -> its frames in order."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(pictures.rglob("*.png")):
        number = re.search(r"\d+$", path.stem)
        name = _NUMBER.sub("", path.relative_to(pictures).with_suffix("").as_posix())
        if number and name:
            found.setdefault(name, {}).setdefault(int(number[0]), path)
    return {
        name: [frames[number] for number in sorted(frames)]
        for name, frames in sorted(found.items())
        if len(frames) >= FEWEST
    }


def _still(pictures: Path, name: str) -> str:
    """The picture of the unit at rest: the shortest beginning of the name that there is, else its first word."""
    folder, _, stem = name.rpartition("/")
    beginnings = [stem[: mark.start()] for mark in re.finditer(r"[-+_]|$", stem)]
    there = [begin for begin in beginnings if begin and (pictures / folder / f"{begin}.png").is_file()]
    return f"{folder}/{(there or beginnings)[0]}"


def _clip(frames: list[Path]) -> bytes:
    """The frames as a lossless animation, all as large as the largest, centred."""
    from PIL import Image

    opened = []
    for path in frames:
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(f"{path.name}: {image.width} x {image.height} pixels are too many")
            opened.append(image.convert("RGBA"))
    width, height = max(one.width for one in opened), max(one.height for one in opened)
    even = []
    for one in opened:
        canvas = Image.new("RGBA", (width, height))
        canvas.paste(one, ((width - one.width) // 2, (height - one.height) // 2))
        even.append(canvas)
    buffer = io.BytesIO()
    first, *rest = even
    first.save(
        buffer, "WEBP", save_all=True, append_images=rest, duration=MILLISECONDS, loop=0, lossless=True, method=4
    )
    return buffer.getvalue()


def _said(root: Path) -> dict[str, _Said]:
    """What the units' descriptions say, by sequence and by picture."""
    found: dict[str, _Said] = {}
    sounds = _sound_lists(root)
    for path in sorted((root / "units").rglob("*.cfg")):
        for unit in _UNIT.findall(path.read_text(encoding="utf-8", errors="replace")):
            who, about = _value(unit, "name"), _value(unit, "description")
            dies = re.search(r"die_sound=(.*)", unit)
            dying = _first_sound(dies[1], sounds) if dies else ""
            for name in _pictures(unit):
                said = found.setdefault(name, _Said(who, about, dying=dying))
                said.keys.add(f"{path.stem}: {who}")
            for tag, block in _BLOCK.findall(unit):
                heard = _first_sound(block, sounds) if tag == "attack_anim" else ""
                for name in _pictures(block):
                    said = found[name]
                    said.action = said.action or _BLOCKS[tag]
                    said.sound = said.sound or heard
    return found


def _pictures(text: str) -> Iterator[str]:
    """Names of the pictures in a text, without their numbers."""
    return (_NUMBER.sub("", name) for name in _PICTURE.findall(text))


def _value(unit: str, key: str) -> str:
    """A text that is to be translated, without breaks."""
    found = re.search(rf'^\s*{key}\s*=\s*_\s*"((?:[^"]|"")*)"', unit, re.MULTILINE)
    text = found[1].replace('""', '"').rpartition("^")[2] if found else ""  # before it stands a note to translators
    return " ".join(text.split())


def _sound_lists(root: Path) -> dict[str, str]:
    path = root / "macros" / "sound-utils.cfg"
    return dict(_LIST.findall(path.read_text(encoding="utf-8", errors="replace"))) if path.is_file() else {}


def _first_sound(text: str, lists: Mapping[str, str]) -> str:
    """The first sound that a text names, of lists the first one: of ``a-[1~3].ogg``, ``a-1.ogg``."""
    for name, file in _SOUND.findall(text):
        if file:
            return re.sub(r"\[(\d+)[~,][^\]]*\]", r"\1", file)
        first = _first_sound(lists.get(name, ""), {})
        if first:
            return first
    return ""


PACK = Pack(
    name="sprites",
    summary="658 short animations of fantasy units: what is done, by whom, how it sounds",
    about=(
        "Drawn sequences of four frames and more (72 pixels, with transparency, 100 ms a frame, as lossless animated "
        "WebP) of units that attack, die, stand and move. Action, race and caption come from the file name, the action "
        "also from where the unit's definition shows the sequence; 597 have a description of the unit, and 344, most "
        "of which attack or die, a sound (--audio sound). Split by concept: all sequences of one unit, and of units "
        "drawn with the same frames. The mean of the frames says much of the action already."
    ),
    licence="GPL-2.0-or-later, in part CC-BY-SA-4.0",
    credit="The Battle for Wesnoth Project and its artists. Fetched, never shipped with Accord.",
    origin="https://www.wesnoth.org/",
    sources=(
        Archive(
            "apt",
            "wesnoth-1.18-data",
            "1:1.18.5-1",
            128_314_420,
            "6db473c8af6242d5a9a824f5af79619a0f5769460e896b90f529bacc405aeffd",
        ),
    ),
    read=read,
    schema={
        "id": "text",
        "video": "video",
        "sound": "audio",
        "caption": "text",
        "action": "text",
        "race": "text",
        "unit": "text",
        "description": "text",
        "concept": "text",
    },
    columns={
        "image": None,
        "text": ("caption",),
        "video": "video",
        "audio": None,
        "label": "action",
        "group": "concept",
    },
    expected_rows=658,
    options='--method gram --video-encoder frames:tiny_convnet --set \'method.modalities=["text","video"]\'',
)
