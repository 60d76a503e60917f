from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accord.data.corpus import Corpus, corpus_from_items, open_corpus
from accord.data.inputs import ImageInput, TextInput
from accord.data.loading.loader import EpochLoader, train_loader
from accord.data.loading.order import Known, Order, Passes
from accord.data.reading.shards import read_shards
from accord.errors import DataError
from accord.searching.rows import row_keys
from data.samples import Letters, encoded

INPUTS = {"image": ImageInput(size=8), "text": TextInput(Letters())}
Parts = dict[str, bytes]


def write_shard(path: Path, rows: dict[str, Parts]) -> None:
    with tarfile.open(path, "w") as archive:
        for key, parts in rows.items():
            for suffix, content in parts.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def row(number: int) -> Parts:
    return {"png": encoded(number), "txt": f"row {number}".encode(), "cls": str(number % 2).encode()}


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards of eight rows, one of them bad."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(3):
        write_shard(folder / f"{shard:02d}.tar", {f"{8 * shard + i:03d}": row(8 * shard + i) for i in range(8)})
    bad = {f"{i:03d}": row(i) for i in range(8)} | {"003": {"png": b"", "txt": b"row 3", "cls": b"1"}}
    write_shard(folder / "00.tar", bad)
    return folder


def test_shards_are_a_corpus_whose_pictures_stay_where_they_lie(
    shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = open_corpus(shards)
    assert "23 rows, image=png text=txt label=cls; 1 bad row left out" in capsys.readouterr().err
    assert corpus.classes == ("0", "1")
    assert corpus.texts()[3] == ["row 4"]
    assert corpus.sample(3)["image"].tobytes() == corpus_from_items("image", [encoded(4)]).sample(0)["image"].tobytes()
    assert set(corpus.rows[0]["png"]) == {"path", "within", "start", "size"}
    assert [(bad.row, bad.file, bad.reason) for bad in corpus.left_out] == [
        (3, f"00.tar: 003.png, {shards}", "zero bytes")
    ]


def test_a_shard_that_changes_is_another_corpus_and_one_that_goes_is_missed(shards: Path) -> None:
    corpus = open_corpus(shards, quiet=True)
    first, keys = corpus.fingerprint, list(row_keys(corpus))
    assert len(set(keys)) == len(keys)
    os.utime(shards / "01.tar", ns=(1, 1))
    again = open_corpus(shards, quiet=True)
    assert again.fingerprint != first
    changed = [before != after for before, after in zip(keys, row_keys(again), strict=True)]
    assert changed == [7 <= position < 15 for position in range(23)]
    (shards / "02.tar").unlink()
    with pytest.raises(DataError, match="missing file"):
        again.sample(22, ("image",))


def test_the_folder_of_shards_may_move(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_corpus(shards, quiet=True).fingerprint
    moved = shards.rename(shards.parent / "moved")
    after = open_corpus(moved, quiet=True)
    assert after.fingerprint == before
    monkeypatch.chdir(moved)
    assert open_corpus("0{0..2}.tar", quiet=True).sample(4)["image"].size == (12, 10)


def test_shards_without_rows_are_named(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", {})
    with pytest.raises(DataError, match=r"no rows in 1 shards \(the first: .*a.tar\): expected names like"):
        open_corpus(tmp_path, quiet=True)


def test_a_compressed_shard_is_refused(shards: Path) -> None:
    whole = (shards / "01.tar").read_bytes()
    (shards / "01.tar").write_bytes(gzip.compress(whole))
    with pytest.raises(DataError, match=r"01.tar is compressed, so that its rows cannot be read where they lie: dec"):
        open_corpus(shards, quiet=True)


@pytest.mark.parametrize("more", [600, 40])  # amid a picture, amid a header
def test_a_shard_that_ends_early_keeps_its_first_rows(
    shards: Path, more: int, caplog: pytest.LogCaptureFixture
) -> None:
    whole = (shards / "01.tar").read_bytes()
    (shards / "01.tar").write_bytes(whole[: len(whole) // 2 // 512 * 512 + more])
    found = [part["__key__"] for part in read_shards([str(shards / "01.tar"), str(shards / "02.tar")])]
    assert found[0] == "008"
    assert 10 < len(found) < 16
    assert found[-1] == "023"
    assert "01.tar ends early" in caplog.text


def test_json_fields_become_columns_and_odd_members_are_passed_over(tmp_path: Path) -> None:
    about = json.dumps({"caption": "a cat", "width": 12, "nested": {"a": 1}}).encode()
    write_shard(
        tmp_path / "a.tar",
        {
            "x/1": {"jpg": encoded(kind="JPEG"), "json": about, "xyz": b"123"},
            "x/2": {"jpg": encoded(kind="JPEG"), "json": b"{broken"},
            "x/3": {"jpg": encoded(kind="JPEG"), "json": b"[1]"},
            "x/.hidden": {"png": b""},
            "README": {"": b""},
        },
    )
    rows = list(read_shards([str(tmp_path / "a.tar")]))
    assert [part["caption"] for part in rows] == ["a cat", None, None]
    assert rows[0].keys() == {"jpg", "caption", "width", "__key__", "__shard__", "__row__"}
    assert rows[0]["jpg"]["path"] == "x/1.jpg"


def test_a_row_without_its_picture_is_left_out_and_long_names_are_read(tmp_path: Path) -> None:
    long = "folder/" * 30 + "name"
    write_shard(tmp_path / "a.tar", {"1": row(1), "2": {"txt": b"row 2"}, long: row(3)})
    corpus = open_corpus(tmp_path, quiet=True)
    assert [corpus.texts()[position] for position in range(len(corpus))] == [["row 1"], ["row 3"]]
    assert corpus.sample(1)["image"].size == (12, 10)


def test_what_goes_wrong_on_the_way_to_a_table_is_told(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(shards: list[str], root: str) -> Any:
        raise OSError("no space left")
        yield

    monkeypatch.setattr("accord.data.reading.sources.read_shards", failing)
    with pytest.raises(DataError, match="the shards cannot be read into one table: no space left"):
        open_corpus(shards, quiet=True)


# --- in training: the order in which rows are read ---


def loader(corpus: Corpus, epoch_rows: int | None = None, near: int | None = 6, **options: Any) -> EpochLoader:
    return train_loader(
        corpus, INPUTS, **{"batch_size": 4, "seed": 0, "sampling": lambda: Passes(epoch_rows, near), **options}
    )


def said(batches: EpochLoader, epochs: int = 1) -> list[int]:
    return [int(number) for _ in range(epochs) for batch in batches for number in batch["index"]]


@pytest.mark.parametrize("near", [None, 6])
@pytest.mark.parametrize("epoch_rows", [None, 8, 60])
def test_each_row_comes_once_a_pass_however_long_an_epoch_is(
    shards: Path, epoch_rows: int | None, near: int | None
) -> None:
    corpus = open_corpus(shards, quiet=True)
    batches = loader(corpus, epoch_rows, near)
    seen = said(batches, epochs=12)
    passes = [seen[start : start + len(corpus)] for start in range(0, len(seen), len(corpus))]
    assert len(passes) > 3
    for one in passes[:-1]:
        assert sorted(one) == list(range(len(corpus)))
    assert passes[0] != passes[1]


def test_rows_that_lie_together_are_read_together_and_shards_come_in_another_order_each_pass() -> None:
    shard = np.arange(6400) // 100
    known = Known(6400, shards=shard)
    passes = [np.stack([batch.rows for batch in Passes(near=640).draw(known, 32, 200, 0, turn)]) for turn in (0, 1)]
    for rows in passes:
        assert len(np.unique(rows)) == 6400
        for place in rows.T:  # each place of a batch goes through shards one by one
            assert len(np.unique(shard[place])) <= 3
            steps = np.abs(np.diff(place))
            assert np.median(steps) < 20
    halves = [set(shard[part.reshape(-1)]) for part in np.split(passes[0], 2, axis=1)]
    assert len(halves[0] & halves[1]) <= 1  # so that two processes read other shards
    assert not np.array_equal(passes[0], passes[1])


def test_workers_interruptions_and_processes_change_nothing(shards: Path) -> None:
    corpus = open_corpus(shards, quiet=True)
    whole = said(loader(corpus, epoch_rows=12), epochs=4)
    assert said(loader(corpus, epoch_rows=12, workers=2), epochs=4) == whole
    resumed = loader(corpus, epoch_rows=12)
    resumed.load_state_dict({"epoch": 2, "batch": 1})
    assert said(resumed, epochs=2) == whole[28:]
    known = Known(len(corpus))
    keys = [Order(known, 4, 0, lambda: Passes(12, 6), rank=rank, world_size=2)(3, 0) for rank in (0, 1)]
    together = [np.concatenate([left, right]) for (_, left), (_, right) in zip(*keys, strict=True)]
    assert np.concatenate(together).tolist() == whole[36:]
