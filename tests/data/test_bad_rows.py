from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from accord.data.corpus import Corpus, open_corpus
from accord.errors import DataError
from data.samples import encoded

COLUMNS = "file_name,text,label"


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def write_metadata(folder: Path, bad: bytes = b"bad.png,a bad one,x") -> None:
    texts = ["naïve", "Fußball", *(f"picture {i}" for i in range(2, 10))]
    lines = [COLUMNS.encode(), *(f"{i}.png,{texts[i]},{'xy'[i % 2]}".encode() for i in range(10)), bad]
    (folder / "metadata.csv").write_bytes(b"\n".join(lines) + b"\n")


def quarantined(folder: Path, **options: object) -> tuple[Corpus, list[dict[str, object]]]:
    list_of_bad = folder / "run" / "quarantine.jsonl"
    corpus = open_corpus(folder, quarantine=list_of_bad, quiet=True, **options)
    return corpus, [json.loads(line) for line in list_of_bad.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encoded(3, "PNG")[:-60], "truncated picture"),
        (encoded(3, "JPEG", size=(64, 64))[:700], "truncated picture"),
        (b"", "zero bytes"),
        (b"<html>not found</html>", "not a picture: no format that Pillow knows"),
        (encoded(3)[:20], "damaged picture"),
        (png_header(20_000, 20_000), "decompression bomb"),
        (png_header(12_000, 10_000), "decompression bomb: 12000 x 10000 pixels exceed the limit of 89478485"),
        (None, "missing file"),
    ],
    ids=["png", "jpeg", "empty", "html", "header", "bomb", "bomb_pillow_only_warns_of", "missing"],
)
def test_a_bad_file_is_left_out_and_listed_with_its_reason(folder: Path, content: bytes | None, reason: str) -> None:
    write_metadata(folder)
    if content is not None:
        (folder / "bad.png").write_bytes(content)
    corpus, bad = quarantined(folder)
    assert len(corpus) == 10
    assert [(entry["row"], entry["file"]) for entry in bad] == [(10, "bad.png")]
    assert str(bad[0]["reason"]).startswith(reason)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"0.png,,x", "empty text"),
        (b"0.png,   ,x", "empty text"),
        (b"0.png,caf\xe9,x", "text is not UTF-8"),
        (b"0.png,a text", "wrong number of values: line 12 has 2 instead of 3"),
        (b"0.png,a text,x,y", "wrong number of values: line 12 has 4 instead of 3"),
        (b'0.png,"a text,x\n1.png,b,y', "open quotation mark: line 12 opens one that is never closed"),
        (b"0.png,a text,\xff", "label is not UTF-8"),
        (b"caf\xe9.png,a text,x", "path is not UTF-8"),
        (b",a text,x", "no value"),
    ],
)
def test_a_bad_cell_is_left_out_and_listed_with_its_reason(folder: Path, line: bytes, reason: str) -> None:
    write_metadata(folder, line)
    corpus, bad = quarantined(folder)
    assert len(corpus) == 10 + (b"1.png,b,y" in line)
    assert [(entry["row"], entry["reason"]) for entry in bad] == [(10, reason)]


def test_a_lower_limit_of_pillow_makes_a_bomb_of_a_smaller_picture(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_metadata(folder, b"big.png,a big one,x")
    (folder / "big.png").write_bytes(encoded(size=(40, 40)))
    assert quarantined(folder)[1] == []
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "1600 x" not in str(quarantined(folder)[1])
    assert quarantined(folder)[1][0]["reason"] == ("decompression bomb: 40 x 40 pixels exceed the limit of 1000 pixels")


def test_json_lines_that_are_not_utf8_lose_only_their_row(folder: Path) -> None:
    lines = [
        json.dumps({"file_name": f"{i}.png", "text": f"naïve picture {i}"}, ensure_ascii=False).encode()
        for i in range(9)
    ]
    lines.append(b'{"file_name": "9.png", "text": "caf\xe9"}')
    (folder / "metadata.jsonl").write_bytes(b"\n".join(lines))
    corpus, bad = quarantined(folder)
    assert len(corpus) == 9
    assert (bad[0]["row"], bad[0]["reason"]) == (9, "text is not UTF-8")


def test_parquet_strings_that_are_not_utf8_lose_only_their_row(folder: Path) -> None:
    texts = pa.array([f"picture {i}".encode() for i in range(9)] + [b"caf\xe9"]).cast(pa.binary())
    files = pa.array([f"{i}.png" for i in range(10)])
    raw = pa.Array.from_buffers(pa.string(), 10, texts.buffers())
    pq.write_table(pa.table({"file_name": files, "text": raw}), folder / "metadata.parquet")
    corpus, bad = quarantined(folder)
    assert len(corpus) == 9
    assert (bad[0]["row"], bad[0]["reason"]) == (9, "text is not UTF-8")


def test_rows_without_a_label_stay_and_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["file_name,text,label", *(f"{i}.png,picture,{i % 3 if i < 4 else ['', 'nan'][i % 2]}" for i in range(10))]
    (folder / "metadata.csv").write_text("\n".join(lines))
    corpus = open_corpus(folder)
    assert corpus.classes == ("0", "1", "2")
    assert corpus.labels is not None
    assert corpus.labels.tolist() == [0, 1, 2, 0, *[-1] * 6]
    assert "10 rows, image=file_name text=text label=label; 6 rows have no label" in capsys.readouterr().err


def test_rows_without_any_of_several_labels_are_left_out_but_are_no_damage(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"file_name": f"{i}.png", "labels": ["a", "b"] if i < 4 else None} for i in range(10)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert len(open_corpus(folder)) == 4
    assert "6 rows without a label (--label none keeps them) left out" in capsys.readouterr().err
    assert len(open_corpus(folder, columns={"label": "none"}, quiet=True)) == 10


def test_too_many_bad_rows_stop_with_one_sentence(folder: Path) -> None:
    write_metadata(folder)
    for number in range(4):
        (folder / f"{number}.png").write_bytes(b"")
    listed = folder / "quarantine.jsonl"
    with pytest.raises(DataError) as caught:
        open_corpus(folder, quarantine=listed, quiet=True)
    assert str(caught.value) == (
        f"5 of 11 rows (45 %) cannot be used, most often: zero bytes; the list is in {listed}; "
        "mend them, or accept a larger share with max_bad (now 0.2)"
    )
    assert len(listed.read_text().splitlines()) == 5
    assert len(open_corpus(folder, quarantine=listed, max_bad=0.5, quiet=True)) == 6


def test_without_a_place_given_the_list_goes_to_the_cache_and_is_printed(
    folder: Path, capsys: pytest.CaptureFixture[str], own_cache: Path
) -> None:
    write_metadata(folder)
    open_corpus(folder)
    line = capsys.readouterr().err
    assert "10 rows, image=file_name text=text label=label; 1 bad row left out, listed in " in line
    assert len(list(own_cache.rglob("*.jsonl"))) == 1


def test_rows_that_are_left_out_keep_the_numbers_of_the_others(folder: Path) -> None:
    write_metadata(folder)
    (folder / "4.png").write_bytes(b"")
    corpus, _ = quarantined(folder)
    assert corpus.ids.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert corpus.texts()[4] == ["picture 5"]


def test_a_corpus_of_only_bad_rows_is_refused_whatever_the_share(folder: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,text\nno.png,nothing\n")
    with pytest.raises(DataError, match="has no rows"):
        open_corpus(folder, max_bad=1.0, quiet=True)


def test_the_check_can_be_left_out_for_media_but_not_for_texts(folder: Path) -> None:
    write_metadata(folder, b"0.png,,x")
    (folder / "1.png").write_bytes(b"")
    corpus, bad = quarantined(folder, check=False)
    assert [entry["reason"] for entry in bad] == ["empty text"]
    with pytest.raises(DataError, match=r"row 1 \(1.png\): zero bytes"):
        corpus.sample(1)


def test_an_unchanged_corpus_is_decoded_once_and_a_changed_one_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_metadata(folder)
    decoded: list[int] = []
    original: Callable[..., object] = Corpus.check

    def counting(self: Corpus, position: int, *rest: object) -> object:
        decoded.append(position)
        return original(self, position, *rest)

    monkeypatch.setattr(Corpus, "check", counting)
    quarantined(folder)
    assert len(decoded) == 11
    assert len(quarantined(folder)[1]) == 1
    assert len(decoded) == 11
    (folder / "2.png").write_bytes(encoded(99, size=(30, 30)))
    quarantined(folder)
    assert len(decoded) == 22


def test_the_check_shows_a_bar_for_many_rows(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("accord.data.check._SHOW_PROGRESS_FROM", 5)
    write_metadata(folder, b"")
    open_corpus(folder)
    assert "10 rows" in capsys.readouterr().err


def test_rows_with_an_empty_cell_are_counted_apart_and_do_not_count_as_damage(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [COLUMNS, *(f"{i}.png,picture {i},x" for i in range(10)), *(f",nobody drew {i},x" for i in range(30))]
    (folder / "metadata.csv").write_text("\n".join([*lines, "gone.png,a lost one,x"]) + "\n")
    corpus = open_corpus(folder)
    assert len(corpus) == 10
    printed = capsys.readouterr()
    assert "1 bad row left out" in printed.out + printed.err
    assert "30 rows without image left out" in printed.out + printed.err
    with pytest.raises(DataError, match=r"1 of 11 rows \(9 %\) cannot be used, most often: missing file"):
        open_corpus(folder, max_bad=0.05)


def test_a_column_without_any_value_says_so(folder: Path) -> None:
    rows = [{"file_name": None, "text": f"picture {i}", "label": "x"} for i in range(10)]
    pq.write_table(
        pa.Table.from_pylist(rows, schema=pa.schema(dict.fromkeys(rows[0], pa.string()))), folder / "a.parquet"
    )
    with pytest.raises(DataError, match="has no rows: 10 rows without image"):
        open_corpus(folder / "a.parquet", columns={"image": "file_name"}, quiet=True)


def test_what_other_code_has_judged_is_judged_again(folder: Path, tmp_path: Path, monkeypatch) -> None:
    write_metadata(folder, b"9.png,again,x")
    judged: list[int] = []
    monkeypatch.setattr(Corpus, "check", lambda corpus, position: judged.append(position) or {})
    monkeypatch.setattr("accord.data.check._ROOMS", [tmp_path])
    counts = []
    for version, code in (("1", "a"), ("1", "a"), ("1", "b"), ("2", "b"), ("2", "b")):
        (tmp_path / "smell.py").write_text(code)
        monkeypatch.setattr("accord.data.check.__version__", version)
        open_corpus(folder, quiet=True)
        counts.append(len(judged))
    assert counts == [11, 11, 22, 33, 33]
