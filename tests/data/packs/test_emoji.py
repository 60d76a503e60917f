"""The emoji pack that ships with Accord, and the reader that made it."""

from __future__ import annotations

import io
import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from accord.data.making.corruption import web_noise_by_query
from accord.data.packs import get_pack, load_pack
from accord.data.packs.emoji import LANGUAGES, PACK, concept, read
from accord.data.packs.store import read_note
from accord.errors import DataError

CONFIG = Path(__file__).parents[3] / "src" / "accord" / "configs" / "emoji-web-queries.yaml"


@pytest.fixture(scope="module")
def rows():
    return load_pack("emoji")[0]


def test_the_shipped_file_stays_below_20_mb_and_knows_its_sources() -> None:
    assert PACK.embedded is not None
    assert PACK.embedded.stat().st_size <= 20_000_000
    note = read_note(PACK.embedded)
    assert note["rows"] == PACK.expected_rows
    assert note["sources"] == [str(source) for source in PACK.sources]


def test_every_emoji_has_both_styles_and_words_in_five_languages(rows) -> None:
    assert len(rows) == 3812
    styles = defaultdict(list)
    for code, style in zip(rows["id"], rows["style"], strict=True):
        styles[code].append(style)
    assert len(styles) == 1906
    assert set(map(tuple, styles.values())) == {("noto", "twemoji")}
    assert len(set(rows["category"])) == 9
    assert len(set(rows["subcategory"])) == 98
    for suffix in ("", *(f"_{lang}" for lang in LANGUAGES)):
        assert all(rows[f"name{suffix}"])
        assert all(rows[f"tags{suffix}"])


def test_every_picture_decodes_to_64_pixels_with_transparency(rows) -> None:
    for picture in rows["image"]:
        image = Image.open(io.BytesIO(picture["bytes"]))
        assert (image.format, image.size, image.convert("RGBA").mode) == ("PNG", (64, 64), "RGBA")


def test_no_gender_direction_or_skin_tone_twin_crosses_a_concept(rows) -> None:
    """Judged by code points, which the concept (made from the name) does not look at."""
    by_code = defaultdict(set)
    for code, group in zip(rows["id"], rows["concept"], strict=True):
        neutral = re.sub(r"-1F3F[B-F]", "", code)
        neutral = re.sub(r"-200D-(2640|2642|27A1)", "", neutral)
        by_code[re.sub(r"\b1F46[89]\b", "1F9D1", neutral)].add(group)
    assert {code: groups for code, groups in by_code.items() if len(groups) > 1} == {}
    assert 1600 <= len(set(rows["concept"])) <= 1719


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("man cook", "woman cook"),
        ("person running: facing right", "man running"),
        ("mermaid", "merman"),
        ("Mrs. Claus", "Santa Claus"),
        ("princess", "prince"),
        ("old woman", "older person"),
        ("left-facing fist", "right-facing fist"),
        ("family: man, woman, boy", "family: adult, child"),
    ],
)
def test_twins_have_one_concept(one: str, other: str) -> None:
    assert concept(one) == concept(other)


def test_different_things_keep_their_concepts() -> None:
    names = ["keycap: #", "keycap: *", "keycap: 1", "grinning face", "baby", "flag: Oman", "flag: Germany"]
    assert len({concept(name) for name in names}) == len(names)


def test_the_default_mapping_names_columns_of_the_pack() -> None:
    columns = get_pack("pack:emoji").columns
    assert columns == {"image": "image", "text": ("name",), "label": "subcategory", "group": "concept"}
    assert set(PACK.schema) >= {"image", "name", "subcategory", "concept"}


def test_licence_and_credit_name_every_source() -> None:
    notice = (Path(__file__).parents[3] / "NOTICE").read_text()
    for words in ("Apache-2.0", "CC-BY-4.0", "MIT"):
        assert words in PACK.licence
    for words in ("Noto Emoji", "Twitter, Inc and other contributors", "Cal Henderson", "Miles Johnson"):
        assert words in notice
    for source in PACK.sources:
        assert f"{source.package} {source.version}" in notice


def test_web_noise_on_the_training_concepts_is_as_bad_as_in_the_pilot(rows) -> None:
    queries = yaml.safe_load(CONFIG.read_text())["queries"]
    classes = list(queries)
    assert len(classes) == 26
    assert set(classes) <= set(rows["subcategory"])
    texts = [[name, *tags] for name, tags in zip(rows["name"], rows["tags"], strict=True)]
    truth = np.array([classes.index(name) if name in classes else -1 for name in rows["subcategory"]])
    groups, member = np.unique(rows["concept"], return_inverse=True)
    right, none = [], []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(groups))
        train = np.flatnonzero(np.isin(member, order[int(0.3 * len(groups)) :]))
        indices, labels = web_noise_by_query([texts[row] for row in train], queries)
        found = truth[train[indices]]
        right.append((found == labels).mean())
        none.append((found == -1).mean())
    assert 0.44 <= np.mean(right) <= 0.49
    assert 0.36 <= np.mean(none) <= 0.40


@pytest.fixture
def packages(tmp_path: Path, png: Callable[..., bytes], write: Callable) -> Path:
    """Two emoji and a component, as the npm packages lay them out."""
    modules = tmp_path / "node_modules"
    listed = [
        ("1F600", "Smileys & Emotion", "face-smiling", 2),
        ("2764-FE0F", "Smileys & Emotion", "heart", 1),
        ("1F3FB", "Component", "skin-tone", 3),
    ]
    items = [
        {
            "unified": code,
            "image": f"{code.lower()}.png",
            "category": category,
            "subcategory": subcategory,
            "sort_order": order,
            "has_img_google": True,
            "has_img_twitter": True,
        }
        for code, category, subcategory, order in listed
    ]
    write(modules / "emoji-datasource" / "emoji.json", json.dumps(items))
    for vendor in ("google", "twitter"):
        for item in items:
            write(modules / f"emoji-datasource-{vendor}" / "img" / vendor / "64" / item["image"], png((64, 64)))
    for lang in ("en", *LANGUAGES):
        words = [
            {"hexcode": "1F600", "label": f"grin {lang}", "tags": ["happy"]},
            {"hexcode": "2764", "label": f"heart {lang}"},
        ]
        write(modules / "emojibase-data" / lang / "data.json", json.dumps(words))
    return tmp_path


def refuse(name: str, reason: str) -> None:
    raise AssertionError(f"{name}: {reason}")


def test_reader_joins_without_variation_selector_and_leaves_components_out(packages: Path) -> None:
    found = list(read(packages, refuse))
    assert [(row["id"], row["style"]) for row in found] == [
        ("2764", "noto"),
        ("2764", "twemoji"),
        ("1F600", "noto"),
        ("1F600", "twemoji"),
    ]
    assert found[0]["name_de"] == "heart de"
    assert found[0]["tags"] == []
    assert set(found[0]) == set(PACK.schema)


def test_reader_takes_node_modules_itself(packages: Path) -> None:
    assert len(list(read(packages / "node_modules", refuse))) == 4


def test_missing_package_file_is_named_with_the_install_command(packages: Path) -> None:
    (packages / "node_modules" / "emojibase-data" / "fr" / "data.json").unlink()
    with pytest.raises(DataError, match=r"data\.json is missing: npm install --ignore-scripts .*emojibase-data@17"):
        list(read(packages, refuse))


def test_broken_picture_is_rejected_by_name(packages: Path) -> None:
    broken = packages / "node_modules" / "emoji-datasource-google" / "img" / "google" / "64" / "1f600.png"
    broken.write_bytes(broken.read_bytes()[:40])
    rejected = []
    found = list(read(packages, lambda name, reason: rejected.append((name, reason))))
    assert len(found) == 3
    assert rejected[0][0] == "noto/1f600.png"
    assert "cannot be decoded" in rejected[0][1]
