from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.data.augmenting.views import View
from accord.data.corpus import open_corpus
from accord.data.inputs import ImageInput, TextInput
from accord.data.loading.features import FeatureCache
from accord.data.loading.loader import EpochLoader, train_loader
from accord.data.loading.stream import StreamCorpus, open_stream, read_shards
from accord.errors import ConfigError, DataError
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
    for shard in range(3):
        write_shard(tmp_path / f"{shard:02d}.tar", {f"{8 * shard + i:03d}": row(8 * shard + i) for i in range(8)})
    bad = {f"{i:03d}": row(i) for i in range(8)} | {"003": {"png": b"", "txt": b"row 3", "cls": b"1"}}
    write_shard(tmp_path / "00.tar", bad)
    return tmp_path


def opened(shards: Path, **options: Any) -> StreamCorpus:
    return open_stream(shards, **{"quiet": True, "classes": ["0", "1"], "buffer": 6, **options})


def loader(stream: StreamCorpus, **options: Any) -> EpochLoader:
    return train_loader(stream, INPUTS, (View(),), **{"batch_size": 4, "seed": 0, "steps": 5, **options})


def said(batch: dict[str, torch.Tensor]) -> list[int]:
    """The numbers in the captions."""
    return [int("".join(map(chr, ids[ids > 0].tolist())).removeprefix("row ")) for ids in batch["text"]]


def test_a_stream_gives_the_batches_of_a_corpus_but_no_positions(shards: Path) -> None:
    batch = next(iter(loader(opened(shards))))
    assert batch["image"].shape == (4, 3, 8, 8)
    assert batch["view_boxes"].shape == (4, 1, 4)
    assert "index" not in batch
    assert batch["label"].tolist() == [number % 2 for number in said(batch)]


def test_bad_rows_are_skipped_counted_and_named(shards: Path) -> None:
    batches = loader(opened(shards), steps=6)
    seen = [number for batch in batches for number in said(batch)]
    assert 3 not in seen
    assert len(set(seen)) >= 22  # one row stood in for the bad one before its own turn
    assert [(bad.row, bad.reason) for bad in batches.quarantine] == [(3, "zero bytes")]
    assert next(iter(batches.quarantine)).file == f"{shards}/00.tar: 003"


def test_an_epoch_longer_than_the_shards_goes_through_them_again(shards: Path) -> None:
    seen = [number for batch in loader(opened(shards), steps=12) for number in said(batch)]
    assert len(seen) == 48
    assert set(seen) == set(range(24)) - {3}


def test_epochs_and_seeds_give_other_orders_and_the_same_ones_again(shards: Path) -> None:
    def order(epoch: int, seed: int) -> list[int]:
        batches = loader(opened(shards), seed=seed)
        batches.set_epoch(epoch)
        return [number for batch in batches for number in said(batch)]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(epoch, seed)) for epoch, seed in [(0, 0), (1, 0), (0, 1)]}) == 3


def test_workers_and_interruptions_change_nothing(shards: Path) -> None:
    whole = list(loader(opened(shards)))
    parallel = loader(opened(shards), workers=2)
    running = iter(parallel)
    seen = [next(running), next(running)]
    resumed = loader(opened(shards))
    resumed.load_state_dict(parallel.state_dict())
    for batch, expected in zip([*seen, *resumed], whole, strict=True):
        assert batch.keys() == expected.keys()
        assert all(torch.equal(batch[key], expected[key]) for key in batch)


def test_two_ranks_together_see_what_one_process_sees(shards: Path) -> None:
    whole = list(loader(opened(shards)))
    ranks = [list(loader(opened(shards), rank=rank, world_size=2)) for rank in (0, 1)]
    for batch, first, second in zip(whole, *ranks, strict=True):
        assert torch.equal(torch.cat([first["image"], second["image"]]), batch["image"])


def test_a_stream_needs_steps_and_takes_no_cache(shards: Path) -> None:
    for options in ({"steps": None}, {"cache": {"text": FeatureCache(torch.zeros(1, 1))}}):
        with pytest.raises(ConfigError, match=r"a stream needs steps=, .* and takes no feature cache"):
            loader(opened(shards), **options)


def test_labels_of_a_stream_need_classes(shards: Path) -> None:
    assert opened(shards, classes=None).columns.label is None
    with pytest.raises(ConfigError, match="the classes of a stream are not known beforehand: pass classes="):
        opened(shards, classes=None, columns={"label": "cls"})


def test_rows_of_unknown_class_or_without_text_are_bad(tmp_path: Path) -> None:
    rows = {f"{i:03d}": row(i) for i in range(8)}
    rows["001"]["cls"], rows["002"]["txt"], rows["004"]["txt"] = b"7", b" ", b"caf\xe9"
    write_shard(tmp_path / "a.tar", rows)
    batches = loader(opened(tmp_path))
    list(batches)
    assert sorted((bad.row, bad.reason) for bad in batches.quarantine) == [
        (1, "unknown class: '7' is not one of the 2 classes"),
        (2, "empty text"),
        (4, "text is not UTF-8"),
    ]


def test_a_stream_of_nothing_but_bad_rows_stops(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", {f"{i}": {"png": b"x", "txt": b"row 1"} for i in range(3)})
    stream = open_stream(tmp_path, columns={"image": "png"}, quiet=True)
    with pytest.raises(DataError, match=r"a.tar: \d\): not a picture.*none of the 16 rows after this batch"):
        next(iter(loader(stream)))


def test_shards_without_rows_are_named(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", {})
    with pytest.raises(DataError, match=r"no rows in 1 shards \(the first: .*a.tar\): expected names like"):
        opened(tmp_path)
    with pytest.raises(DataError, match="no tar shards there"):
        opened(tmp_path / "b.tar")


def test_a_shard_that_ends_early_keeps_its_first_rows(shards: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = (shards / "01.tar").read_bytes()
    (shards / "01.tar").write_bytes(whole[: len(whole) // 2 + 600])
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


def test_shards_open_as_a_corpus_too(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = open_corpus(shards)
    assert "23 rows, image=png text=txt label=cls; 1 bad row left out" in capsys.readouterr().err
    assert corpus.classes == ("0", "1")
    assert corpus.texts()[3] == ["row 4"]
    assert corpus.sample(0)["image"].size == (12, 10)


def test_opening_a_stream_prints_the_mapping(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_stream(f"{shards}/{{01..02}}.tar", classes=["0", "1"])
    assert "2 shards, image=png text=txt label=cls" in capsys.readouterr().err


def test_what_goes_wrong_on_the_way_to_a_table_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(shards: list[str]) -> Any:
        raise OSError("no space left")
        yield

    write_shard(tmp_path / "a.tar", {})
    with pytest.raises(DataError, match="no rows in 1 shards"):
        open_corpus(tmp_path, quiet=True)
    monkeypatch.setattr("accord.data.reading.sources.read_shards", failing)
    with pytest.raises(DataError, match="the shards cannot be read into one table: no space left"):
        open_corpus(tmp_path, quiet=True)
