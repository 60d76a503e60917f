"""Emoji in two hands: the Noto and the Twemoji drawing of every emoji, with names and tags in five languages.

Ships with Accord; ``tools/packs/emoji.py`` builds the file from the npm packages named here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accord.data.packs.base import Archive, Pack, Reject, Row
from accord.data.packs.files import package_file, picture
from accord.errors import DataError

STYLES = {"noto": "google", "twemoji": "twitter"}
SIZE = 64
LANGUAGES = ("de", "fr", "es", "zh")
SOURCES = (
    Archive(
        "npm",
        "emoji-datasource",
        "16.0.0",
        25_187_342,
        "2006725061dc0098daa832d65f854a7bec0740af2eb47cb5b23d89f7e2c849f9",
    ),
    Archive(
        "npm",
        "emoji-datasource-google",
        "16.0.0",
        74_344_091,
        "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    ),
    Archive(
        "npm",
        "emoji-datasource-twitter",
        "16.0.0",
        61_683_754,
        "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
    ),
    Archive(
        "npm",
        "emojibase-data",
        "17.0.0",
        6_711_091,
        "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    ),
)
# Words that tell twins apart: gender, age, direction.
UNSPECIFIC = frozenset(
    (
        *("man", "men", "woman", "women", "person", "people", "boy", "girl", "child", "adult"),
        *("facing", "left", "right", "up", "down"),
    )
)
# Twins whose names do not differ by such a word alone.
TWINS = {
    "older": "old",
    "mermaid": "merperson",
    "merman": "merperson",
    "princess": "royal",
    "prince": "royal",
    "with crown": "royal",
    "santa claus": "claus",
    "mrs claus": "claus",
    "mx claus": "claus",
}


def concept(name: str) -> str:
    """The name without words for gender, age and direction: all emoji of one concept stay on one side of a split.

    Example:
        >>> concept("woman cook"), concept("man running: facing right"), concept("men’s room")
        ('cook', 'running', 'room')
        >>> concept("woman"), concept("woman and man holding hands"), concept("merman")
        ('person', 'holding hands', 'merperson')
    """
    words = re.sub(r"[’']s\b", "", name.lower())
    kept = [word for word in re.findall(r"[^\W_]+|[#*]", words) if word not in UNSPECIFIC]
    text = re.sub(r"^and | and$", "", " ".join(kept)) or "person"
    return TWINS.get(text, text)


def read(folder: Path, reject: Reject) -> Iterator[Row]:
    """Rows of a folder with ``node_modules``: emoji in Unicode's order, one row for each style.

    Emoji that only one of the two styles draws, and the parts that are no pictures of their own (skin tones),
    are left out.

    Raises:
        DataError: a package or a file of one is missing; names it.
    """
    modules = folder / "node_modules" if (folder / "node_modules").is_dir() else folder
    words = {lang: _words(modules, lang) for lang in ("en", *LANGUAGES)}
    listed = _json(modules / "emoji-datasource" / "emoji.json")
    for item in sorted(listed, key=lambda item: item["sort_order"]):
        drawn = all(item[f"has_img_{vendor}"] for vendor in STYLES.values())
        if item["category"] == "Component" or not drawn:
            continue
        row = _text_columns(item, words)
        for style, vendor in STYLES.items():
            path = modules / f"emoji-datasource-{vendor}" / "img" / vendor / "64" / item["image"]
            name, data = f"{style}/{item['image']}", package_file(path, SOURCES)
            try:
                image = {"bytes": picture(data, name, SIZE), "path": name}
            except DataError as error:
                reject(name, str(error))
                continue
            yield {"id": row["id"], "style": style, "image": image, **row}


def _text_columns(item: dict[str, Any], words: dict[str, dict[str, Any]]) -> Row:
    """Names, tags and classes of one emoji; the vendors write U+FE0F in different places, so it is left out."""
    code = plain_code(item["unified"])
    if any(code not in table for table in words.values()):
        raise DataError(f"emojibase-data has no entry for emoji {code}: install the version that the pack names")
    english = words["en"][code]
    row = {"id": code, "name": english["label"], "tags": english.get("tags", [])}
    for lang in LANGUAGES:
        row[f"name_{lang}"] = words[lang][code]["label"]
        row[f"tags_{lang}"] = words[lang][code].get("tags", [])
    classes = {"category": item["category"], "subcategory": item["subcategory"]}
    return row | classes | {"concept": concept(english["label"])}


def _words(modules: Path, lang: str) -> dict[str, Any]:
    return {plain_code(entry["hexcode"]): entry for entry in _json(modules / "emojibase-data" / lang / "data.json")}


def plain_code(code: str) -> str:
    """A hex code as both vendors' tables are joined by.

    >>> plain_code("2764-fe0f")
    '2764'
    """
    return code.upper().replace("-FE0F", "")


def _json(path: Path) -> Any:
    return json.loads(package_file(path, SOURCES))


_TEXT_COLUMNS = [f"{what}{lang}" for lang in ("", *(f"_{code}" for code in LANGUAGES)) for what in ("name", "tags")]

PACK = Pack(
    name="emoji",
    summary="1,906 emoji drawn in two styles, names and tags in five languages, 98 classes",
    about=(
        "Every emoji that both Noto and Twemoji draw, 64 by 64 pixels with transparency, with its name and tags "
        "in English, German, French, Spanish and Chinese, its category (9) and subcategory (98). Split by "
        "concept: the name without words for gender and direction, so that 'man cook' does not train what 'woman "
        "cook' tests. Emoji are pictograms: a result on them shows that a method works as described, not how it "
        "ranks on photographs."
    ),
    licence="Apache-2.0 AND CC-BY-4.0 AND MIT",
    credit=(
        "Noto Emoji drawings: Apache-2.0, Google. Twemoji drawings: CC-BY-4.0, Twitter, Inc and other "
        "contributors. Names, tags and classes: MIT (emoji-datasource, Cal Henderson; emojibase, Miles Johnson)."
    ),
    origin="https://github.com/iamcal/emoji-data",
    sources=SOURCES,
    read=read,
    schema={
        "id": "text",
        "style": "text",
        "image": "image",
        **{name: "texts" if name.startswith("tags") else "text" for name in _TEXT_COLUMNS},
        "category": "text",
        "subcategory": "text",
        "concept": "text",
    },
    columns={"image": "image", "text": ("name",), "label": "subcategory", "group": "concept"},
    expected_rows=3812,
    embedded=Path(__file__).parent / "files" / "emoji.parquet",
)
