"""A cache that cannot be written ends nothing that can be done without it."""

from __future__ import annotations

import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from accord.data import cache
from accord.data.corpus import open_corpus
from accord.errors import StorageError


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    """A file stands where the cache should be: chmod does not bind the superuser."""
    (tmp_path / "cache").write_text("no folder")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: tmp_path / "cache")
    monkeypatch.setattr(cache, "_warned", [])
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(6):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(folder / f"{number}.png")
    (folder / "6.png").write_bytes(b"")
    return folder


def test_data_are_opened_without_a_cache_with_one_warning(no_cache, caplog, capsys):
    with caplog.at_level(logging.WARNING):
        assert len(open_corpus(no_cache)) == 6
    warned = [record.message for record in caplog.records]
    assert len(warned) == 1
    assert "not kept, since" in warned[0]
    assert warned[0].endswith("this goes on without it")
    assert "1 bad row left out;" in capsys.readouterr().err.replace("\n", ";")


def test_a_table_needs_the_cache_and_says_how_to_have_another(no_cache, tmp_path):
    table = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["a cat"], "label": ["cat"]}), table)
    with pytest.raises(StorageError, match=r"cache cannot be written: .*, by XDG_CACHE_HOME=FOLDER before the command"):
        open_corpus(table, quiet=True)
