"""Files appear whole or not at all; a disk that does not take them is named, with the reason and a remedy."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from accord.errors import StorageError
from accord.files import replacing, storage_of, write_atomically


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    write_atomically(path, "old")

    def stopped_midway() -> None:
        with replacing(path) as partial:
            partial.write_text("ne")
            raise ValueError("midway")

    with pytest.raises(ValueError, match="midway"):
        stopped_midway()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["note.txt"]


def test_libraries_that_write_for_the_owner_alone_give_files_of_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with replacing(tmp_path / "model.safetensors") as partial:
        save_file({"a": torch.zeros(1)}, partial)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_a_sentence_that_names_the_file(tmp_path: Path) -> None:
    def write() -> None:
        with storage_of(tmp_path / "model.bin"), open("/dev/full", "wb") as full:
            full.write(b"x" * 10_000)

    with pytest.raises(StorageError, match=r"model\.bin cannot be written: the disk is full: free some space"):
        write()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        OSError("LanceError(IO): ... No space left on device (os error 28), rust/lance-io/src"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_what_libraries_quote_of_a_full_disk_is_understood(error: Exception) -> None:
    with pytest.raises(StorageError, match="the disk is full"), storage_of(Path("runs/a")):
        raise error


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("no folder")
    for path in (tmp_path / "runs" / "note.txt", tmp_path / "runs" / "a" / "note.txt"):
        with pytest.raises(StorageError, match=r"note\.txt cannot be written: a part of the path is a file"):
            write_atomically(path, "text")


def test_errors_that_are_not_about_the_disk_pass_unchanged() -> None:
    with pytest.raises(KeyError), storage_of(Path("runs/a")):
        raise KeyError("batch")
