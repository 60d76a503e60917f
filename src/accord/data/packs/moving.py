"""Moving emoji: the animated Fluent emoji as short clips, with names and tags."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.data.packs.base import Archive, Pack, Reject, Row
from accord.data.packs.emoji import SOURCES as EMOJI_SOURCES
from accord.data.packs.emoji import concept, plain_code
from accord.data.packs.files import missing_package, package_file
from accord.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

SIDE = 64
FRAMES = 16
# Lossy: a third of the size of lossless. Method 4 is the slowest that does not take seconds a clip.
ENCODING = {"quality": 80, "alpha_quality": 50, "method": 4}
CLIPS = tuple(
    Archive("npm", f"@lobehub/fluent-emoji-anim-{part}", "1.0.0", size, sha256)
    for part, size, sha256 in (
        (1, 164_966_217, "4c03ac178c1eabf2e2a16dd498f3cc2b92dc30ec3466ae38fdc497d4774c99ea"),
        (2, 181_915_962, "e431da8172e394036c330faa77648d6fbbae1fd3b0be95637c4497c9075019c0"),
        (3, 197_000_910, "3624d0c34c819c1794b74ccf6ae9034adff7c4cb6318dd2a645145f0196feb43"),
        (4, 185_915_894, "3d4c08f1e321f70808ef4996aba0ab575a9d97b6c56ffffc92cf6161a7836aa3"),
    )
)
SOURCES = (*CLIPS, *(source for source in EMOJI_SOURCES if source.package == "emojibase-data"))
TONES = ("light", "medium-light", "medium", "medium-dark", "dark")


def read(folder: Path, reject: Reject) -> Iterator[Row]:
    """Rows of a folder with ``node_modules``: the clips of more than one frame, in Unicode's order.

    Raises:
        DataError: a package or a file of one is missing; names it.
    """
    modules = folder / "node_modules" if (folder / "node_modules").is_dir() else folder
    words = _words(modules / "emojibase-data")
    place = {code: number for number, code in enumerate(words)}
    files = {plain_code(path.stem): path for source in CLIPS for path in _files(modules / source.package / "assets")}
    for code in sorted(files, key=lambda code: (place.get(code, len(place)), code)):
        name = files[code].name
        try:
            clip = shorten(files[code].read_bytes(), name)
            if clip is not None and code not in words:
                raise DataError(f"{name}: emojibase-data has no entry for it")
        except DataError as error:
            reject(name, str(error))
            continue
        if clip is not None:
            yield {"id": code, "video": {"bytes": clip, "path": name}, **words[code]}


def shorten(data: bytes, name: str) -> bytes | None:
    """A clip as stored in the pack: small, a few evenly spaced frames, as long as before, with its transparency.

    Args:
        data: an encoded animation whose frames last equally long.
        name: what to call it in an error.

    Returns:
        An animated WebP of at most ``FRAMES`` frames and ``SIDE`` pixels, or None for a picture that does not move.

    Raises:
        DataError: it cannot be decoded.
    """
    from accord.data.reading.media import Unreadable, open_image
    from accord.data.reading.video import spaced

    try:
        with open_image(io.BytesIO(data)) as image:
            total = getattr(image, "n_frames", 1)
            if total < 2:
                return None
            frames = [_frame(image, position) for position in spaced(total, FRAMES)]
            duration = round(image.info["duration"] * total / len(frames))  # milliseconds
    except Unreadable as error:
        raise DataError(f"{name}: {error}") from error
    except Exception as error:  # Pillow's decoders raise many types
        raise DataError(f"{name}: cannot be decoded as a clip ({error or type(error).__name__})") from error
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], duration=duration, loop=0, **ENCODING)
    return buffer.getvalue()


def _frame(image: Image.Image, position: int) -> Image.Image:
    from PIL import Image

    image.seek(position)
    # premultiplied alpha ("RGBa"), or the hidden colour of transparent pixels bleeds into the edge
    small = image.convert("RGBA").convert("RGBa")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return small.convert("RGBA")


def _words(package: Path) -> dict[str, Row]:
    """Code -> text columns, in Unicode's order; a skin tone has the tags, classes and concept of its base emoji."""
    categories = {group["order"]: group["message"].title() for group in _json(package / "en/messages.json")["groups"]}
    subcategories = _json(package / "meta/groups.json")["subgroups"]
    bases = [entry for entry in _json(package / "en/data.json") if "group" in entry]  # the others are parts of flags
    table = {}
    for base in sorted(bases, key=lambda entry: entry["order"]):
        shared = {
            "tags": base.get("tags", []),
            "category": categories[base["group"]],
            "subcategory": subcategories[str(base["subgroup"])],
            "concept": concept(base["label"]),
        }
        for entry in (base, *base.get("skins", [])):
            table[plain_code(entry["hexcode"])] = {"name": entry["label"], "skin": _skin(entry), **shared}
    return table


def _skin(entry: dict[str, Any]) -> str:
    """The skin tone of each person in it, nothing for the yellow of a base emoji."""
    tones = entry.get("tone", [])
    return " and ".join(TONES[tone - 1] for tone in (tones if isinstance(tones, list) else [tones]))


def _files(assets: Path) -> list[Path]:
    if not assets.is_dir():
        raise missing_package(assets, SOURCES)
    return sorted(assets.glob("*.webp"))


def _json(path: Path) -> Any:
    return json.loads(package_file(path, SOURCES))


PACK = Pack(
    name="moving",
    summary="2,109 short clips of emoji that move, with names and tags, 57 classes",
    about=(
        "The animated Fluent emoji that really move: 734 emoji and 1,375 skin-tone variants of them, with English "
        "name, tags, category (8) and subcategory (57); 1,705 of the clips show people. The originals are 256 pixels "
        "wide with 13 to 97 frames; to keep the pack small each is re-encoded, with loss, as an animated WebP of 64 "
        "pixels and at most 16 evenly spaced frames, with its transparency and its length. Split by concept (553): "
        "the name without skin tone and without words for gender and direction, so that no twin crosses a split. One "
        "frame says nearly as much as all: a result on them is about looks more than about time."
    ),
    licence="MIT",
    credit=(
        "Fluent emoji by Microsoft, packaged by LobeHub, who state the MIT licence. Names, tags and classes: MIT "
        "(emojibase, Miles Johnson). Fetched, never shipped with Accord."
    ),
    origin="https://github.com/lobehub/fluent-emoji",
    sources=SOURCES,
    read=read,
    schema={
        "id": "text",
        "video": "video",
        "name": "text",
        "skin": "text",
        "tags": "texts",
        "category": "text",
        "subcategory": "text",
        "concept": "text",
    },
    columns={"image": None, "text": ("name",), "video": "video", "label": "subcategory", "group": "concept"},
    expected_rows=2109,
    options='--method gram --video-encoder frames:tiny_convnet --set \'method.modalities=["text","video"]\'',
)
