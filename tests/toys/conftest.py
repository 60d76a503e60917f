"""The toys are installed as another package's methods, and rows are made for them as for every method."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "methods"))

from contract_case import Case
from contract_rows import write_graph, write_rows
from installed import lay_out


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Case]]:
    """``toys("segmenter")`` gives that toy and the rows that it is tried on."""
    folder = tmp_path_factory.mktemp("toys")
    places = write_rows(folder / "rows"), write_graph(folder / "graph")
    made: dict[str, Case] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(lay_out(folder / "site")))
        patch.setattr("platformdirs.user_cache_path", lambda *_, **__: folder / "cache")
        yield lambda name: made.setdefault(name, Case(f"toy_{name}", places, folder / name))
