"""Tables as people write them: read as they were meant, or refused with the line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accord.data.reading.sources import read_table
from accord.data.reading.tables import Table
from accord.errors import DataError

HEADER = "file_name;text;label"
ROWS = [("0.png", "a cat, asleep", "cat"), ("1.png", "Größe, Übermut", "dog"), ("2.png", "a dog", "dog")]


def written(separator: str = ",", header: bool = True) -> str:
    quoted = [[f'"{cell}"' if separator in cell else cell for cell in row] for row in ROWS]
    return "".join(f"{separator.join(row)}\n" for row in ([HEADER.split(";")] if header else []) + quoted)


def read(path: Path, content: str | bytes) -> Table:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (written().encode(), ""),
        (written(";").encode(), ""),
        (written("\t").encode(), ""),
        (written("|").encode(), ""),
        (b"sep=;\r\n" + written(";").replace("\n", "\r\n").encode(), ""),
        (written(";").encode("utf-8-sig"), ""),
        (written("\t").encode("utf-16"), ""),
        (written().encode("utf-16-le"), ""),
        (written().encode("cp1252"), "list.csv is read as Windows-1252, since it is not UTF-8"),
        (written(", ").encode(), ""),
    ],
    ids=["comma", "semicolon", "tab", "bar", "excel", "bom", "utf-16", "utf-16 bare", "windows", "spaces"],
)
def test_separators_and_encodings_are_recognised(tmp_path: Path, content: bytes, note: str) -> None:
    table = read(tmp_path / "list.csv", content)
    assert [tuple(row.values()) for row in table.rows] == ROWS
    assert table.rows.column_names == HEADER.split(";")
    assert [text.removeprefix(f"{tmp_path}/") for text in table.notes] == ([note] if note else [])


def test_without_a_header_the_first_line_stays_a_row_and_columns_are_numbered(tmp_path: Path) -> None:
    table = read(tmp_path / "list.csv", written(header=False))
    assert [tuple(row.values()) for row in table.rows] == ROWS
    assert table.rows.column_names == ["1", "2", "3"]
    assert (
        "has no header: line 1 holds values (0.png, a cat, asleep, cat), so the columns are called 1" in table.notes[0]
    )


@pytest.mark.parametrize(
    ("content", "headless"),
    [
        ("words,kind\nkind,a\nkind,b\n", False),  # a name that people give to columns is a name
        ("good,1\nbad,0\ngood,1\n", True),
        (",0,1\n0,5,6\n1,7,8\n", False),  # as pandas numbers columns
        ("text\na cat\na dog\n", False),
    ],
)
def test_a_header_is_told_from_values(tmp_path: Path, content: str, headless: bool) -> None:
    assert bool(read(tmp_path / "list.csv", content).notes) == headless


def test_a_line_that_does_not_fit_costs_its_own_row_and_is_named(tmp_path: Path) -> None:
    lines = ["a,b", "1,2", "", "3", '4,"two', 'lines"', "5,6,7", "8,9,,", '10,"never closed', "11,12"]
    table = read(tmp_path / "list.csv", "\n".join(lines))
    assert table.bad == {
        1: "wrong number of values: line 4 has 1 instead of 2",
        3: "wrong number of values: line 7 has 3 instead of 2",
        5: "open quotation mark: line 9 opens one that is never closed",
    }
    assert table.rows["a"] == [1, None, 4, None, 8, None, 11]
    assert table.rows["b"][2] == "two\nlines"


def test_a_file_with_a_line_that_does_not_fit_reads_as_one_without(tmp_path: Path) -> None:
    lines = ["file,text,n", '1.png,"a ""cat"", and', 'more", 5', '2.png,5" by 3" wide,', "", "3.png,  spaced ,7.5"]
    well_formed = read(tmp_path / "whole.csv", "\n".join(lines))
    one_odd = read(tmp_path / "odd.csv", "\n".join([*lines, "x"]))
    assert list(well_formed.rows) == list(one_odd.rows)[:3]
    assert next(iter(well_formed.rows)) == {"file": "1.png", "text": 'a "cat", and\nmore', "n": 5.0}
    assert (well_formed.bad, list(one_odd.bad)) == ({}, [3])


def test_a_column_has_one_type_in_all_rows_and_names_keep_their_zeros(tmp_path: Path) -> None:
    late = "".join(f"{i},{i},00{i % 8},{i / 2},,True\n" for i in range(12_000)) + "x,1,008,2,,False\n"
    rows = read(tmp_path / "list.csv", "mixed,whole,id,half,nothing,flag\n" + late).rows
    kinds = {name: feature.dtype for name, feature in rows.features.items()}
    assert kinds == {
        "mixed": "string",
        "whole": "int64",
        "id": "string",
        "half": "float64",
        "nothing": "null",
        "flag": "string",
    }
    assert rows[-1]["id"] == "008"


def test_columns_of_one_name_are_told_apart(tmp_path: Path) -> None:
    table = read(tmp_path / "list.csv", "file,text,text,\n1.png,a,b,\n")
    assert table.rows.column_names == ["file", "text", "text.2"]
    assert table.notes[0].endswith("list.csv has several columns 'text': number 2 is called 'text.2'")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", "file_name,text\n", r"list.csv holds a header \(file_name, text\) and no rows$"),
        ("list.csv", " \n\n", "list.csv is empty: there are only blank lines in it$"),
        ("list.csv", '"file,text\n1.png,a\n', "list.csv, line 1: a quotation mark is opened and never closed$"),
        ("list.csv", "привет,мир\nдом,сад\n".encode("cp1251"), "list.csv, line 1: the text is neither UTF-8 nor Win"),
        ("list.json", '[{"a": 1},\n{"a": 2]', r"list.json, line 2: not JSON \(expecting ',' delimiter at character 8"),
        (
            "list.json",
            '{"images": [{"id": 1}], "annotations": []}',
            r"is one object \(images, annotations\): expect",
        ),
        ("list.json", "[]", "list.json holds no rows: the list is empty$"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_the_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path / name, content)


def test_a_bad_line_of_json_costs_its_own_row(tmp_path: Path) -> None:
    lines = ['{"text": "a"}', '{"text": ', "", "[1, 2]", '{"text": "b"}']
    table = read(tmp_path / "list.jsonl", "\n".join(lines))
    assert table.rows["text"] == ["a", None, None, "b"]
    assert table.bad == {
        1: "not a JSON object: line 2: expecting value at character 9",
        2: "not a JSON object: line 4: a list",
    }


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", 5, True, None], ["a", "5", "true", None]),
        (["a", ["b", "c"], None], [["a"], ["b", "c"], None]),
        ([["a", 1], ["b"]], [["a", "1"], ["b"]]),
        ([1, 2.5], [1.0, 2.5]),
        ([2**70, 1], [str(2**70), "1"]),
    ],
)
def test_a_column_with_an_odd_type_is_still_seen(tmp_path: Path, values: list[object], expected: list[object]) -> None:
    table = read(tmp_path / "list.jsonl", "\n".join(json.dumps({"text": value}) for value in values))
    assert table.rows["text"] == expected


def test_a_value_beside_objects_is_a_bad_row(tmp_path: Path) -> None:
    table = read(tmp_path / "list.jsonl", '{"image": {"path": "a.png"}}\n{"image": "b.png"}\n')
    assert table.bad == {1: "mixed types: image is a text, elsewhere an object"}


@pytest.mark.parametrize(
    "content",
    [
        '[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]',
        '{"data": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]}',
        '{"a": [1, 2], "b": ["x", "y"]}',
        '{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n',
    ],
    ids=["list", "list in an object", "columns", "lines"],
)
def test_json_comes_as_a_list_as_columns_or_line_by_line(tmp_path: Path, content: str) -> None:
    assert list(read(tmp_path / "list.json", content).rows) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
