"""The toys stand in the registry, and rows are made for them as for every method."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "methods")]

from contract_case import Case
from contract_rows import write_graph, write_rows

from accord.methods import registry


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Case]]:
    """``toys("segmenter")`` gives that toy and the rows that it is tried on."""
    folder = tmp_path_factory.mktemp("toys")
    places = write_rows(folder / "rows"), write_graph(folder / "graph")
    made: dict[str, Case] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda *_, **__: folder / "cache")
        for path in HERE.glob("*.py"):
            patch.setitem(registry._MODULES, f"toy_{path.stem}", path.stem)
        for helper in ("conftest", "test_toys"):
            del registry._MODULES[f"toy_{helper}"]
        yield lambda name: made.setdefault(name, Case(f"toy_{name}", places, folder / name))
