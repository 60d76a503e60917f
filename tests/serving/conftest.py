"""An application over a folder of its own, and a visitor of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from accord.serving import ServeConfig, build_app

LOCAL = "http://127.0.0.1:8000"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where its runs would be."""
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture
def visitor(root: Path) -> Iterator[TestClient]:
    """A visitor who is no browser."""
    with TestClient(build_app(ServeConfig(runs=(root,))), base_url=LOCAL) as client:
        yield client
