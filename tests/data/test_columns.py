from __future__ import annotations

from typing import Any

import datasets
import pytest

from accord.data.columns import Columns, describe_columns, guess_columns, sniff
from accord.errors import ConfigError, DataError
from data.samples import encoded


def test_columns_that_may_be_anything_are_guessed_for_those_who_want_them():
    table = datasets.Dataset.from_dict({"image": ["a.png"], "bbox": [[[0, 0, 9, 9]]], "names": [["a cat"]]})
    assert describe_columns(guess_columns(table)) == "image=image"
    wanted = ("boxes", "instance_label", "instance_text")
    assert describe_columns(guess_columns(table, wanted=wanted)) == "image=image boxes=bbox instance_text=names"
    assert describe_columns(guess_columns(table, {"boxes": None}, wanted)) == "image=image instance_text=names"


def guessed(table: dict[str, list[Any]], **overrides: Any) -> str:
    return describe_columns(guess_columns(datasets.Dataset.from_dict(table), overrides))


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"file_name": ["a.jpg"], "caption": ["a cat"], "label": [1]}, "image=file_name text=caption label=label"),
        ({"Image_Path": ["a.jpg"], "Class": ["cat"]}, "image=Image_Path label=Class"),
        ({"thing": [encoded()], "tags": [["a", "b"]]}, "image=thing text=tags"),
        ({"clip": ["a.webp"], "text": ["it moves"]}, "text=text video=clip"),
        ({"frames": [["1.png", "2.png"]], "title": ["it moves"]}, "text=title video=frames"),
        ({"x": ["a.mp4"], "y": ["cat"]}, "video=x label=y"),
        ({"x": ["a.wav"], "transcript": ["hello"], "sentence": ["hi"]}, "text=sentence audio=x"),
        ({"png": [{"bytes": encoded(), "path": "a.png"}], "txt": ["a"], "cls": [3]}, "image=png text=txt label=cls"),
        ({"photo": ["a.png"], "concept": ["cat"], "labels": [[0, 2]]}, "image=photo label=labels group=concept"),
        ({"image": [{"bytes": None, "path": "a.png"}], "name": ["a"]}, "image=image text=name"),
        ({"id": [1], "picture": ["a.png"], "thumbnail": ["b.png"]}, "image=picture"),
    ],
)
def test_names_types_and_contents_tell_the_columns(table: dict[str, list[Any]], expected: str) -> None:
    assert guessed(table) == expected


def test_typed_columns_need_no_name() -> None:
    features = datasets.Features(
        {
            "a": datasets.Image(decode=False),
            "b": datasets.Audio(decode=False),
            "c": datasets.ClassLabel(names=["cat"]),
            "d": datasets.Value("string"),
        }
    )
    rows = datasets.Dataset.from_dict({"a": [None], "b": [None], "c": [0], "d": ["x"]}, features=features)
    assert describe_columns(guess_columns(rows)) == "image=a audio=b label=c"


def test_overrides_win_and_none_takes_a_modality_out() -> None:
    table = {"image": ["a.png"], "name": ["a"], "title": ["b"], "label": ["c"]}
    assert guessed(table, text=["name", "title"], label=None) == "image=image text=name+title"
    assert guessed(table, label="title") == "image=image text=name label=title"


def test_wrong_overrides_name_what_there_is() -> None:
    table = {"image": ["a.png"], "name": ["a"]}
    with pytest.raises(DataError, match="no column 'titel' for text; the columns are: image, name"):
        guessed(table, text="titel")
    with pytest.raises(ConfigError, match="'smell' is not a modality; there are: image, text, video"):
        guessed(table, smell="name")
    with pytest.raises(DataError, match=r"image takes one column, not 2 \(image, name\)"):
        guessed(table, image=["image", "name"])


def test_a_table_without_anything_to_learn_from_lists_its_columns() -> None:
    with pytest.raises(DataError, match=r"name one, e.g. --image COL --text COL; the columns are: id, size"):
        guessed({"id": [1], "size": [2.5]})


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (encoded(kind="JPEG"), "image"),
        (encoded(kind="WEBP"), "image"),
        (encoded(kind="GIF"), "image"),
        (b"fLaC", "audio"),
        (b"RIFF0000AVI ", "video"),
        (b"RIFF0000????", "other"),
        (b"0000ftypavif", "image"),
        (b"\x1a\x45\xdf\xa3", "video"),
        (b"", "other"),
    ],
)
def test_first_bytes_tell_the_kind(content: bytes, kind: str) -> None:
    assert sniff(content) == kind


def test_modalities_are_those_with_a_column() -> None:
    assert Columns(image="a", text=("b",), label="c").modalities == ("image", "text")


def test_none_takes_a_modality_out_unless_a_column_is_called_so() -> None:
    table = {"image": ["a.png"], "name": ["a"], "label": ["c"]}
    assert guessed(table, label="none", text=["none"]) == "image=image"
    assert guessed({**table, "none": ["d"]}, label="none") == "image=image text=name label=none"


def test_a_column_without_any_value_is_not_guessed() -> None:
    assert guessed({"image": ["a.png"], "label": [None], "text": [None]}) == "image=image"


def test_a_misspelt_column_gets_its_neighbour() -> None:
    with pytest.raises(DataError, match=r"no column 'captoin' for text; .*; did you mean caption\?$"):
        guessed({"image": ["a.png"], "caption": ["a"]}, text="captoin")
