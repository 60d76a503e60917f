"""A cache of its own for each test, small pictures, and package clients made of shell script."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

MakeClient = Callable[[str, str], None]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setattr("accord.data.packs.store.cache_folder", lambda: folder)
    return folder


@pytest.fixture
def png() -> Callable[..., bytes]:
    def make(size: tuple[int, int] = (8, 6), colour: tuple[int, ...] = (200, 30, 30, 128)) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGBA", size, colour).save(buffer, "PNG")
        return buffer.getvalue()

    return make


@pytest.fixture
def write() -> Callable[[Path, bytes | str], Path]:
    def put(path: Path, content: bytes | str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return put


@pytest.fixture
def make_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeClient:
    """Put a program on the PATH, and nothing beside it but the shell's own tools."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))

    def make(name: str, body: str) -> None:
        path = programs / name
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{body}\n")
        path.chmod(0o755)

    return make


@pytest.fixture
def npm_archive(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    def make(files: dict[str, bytes]) -> Path:
        path = tmp_path / "archive.tgz"
        with tarfile.open(path, "w:gz") as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return path

    return make


@pytest.fixture
def wheel(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    def make(files: dict[str, bytes]) -> Path:
        path = tmp_path / "archive.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path

    return make
