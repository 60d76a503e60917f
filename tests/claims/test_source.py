"""The code of a claim: what its functions are and name, in the folder of claims."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any

import pytest

from accord.claims.source import Source, source_of

TEXT = '''
"""Helpers."""
import functools
from functools import partial, cache
import numpy as np
from accord.functional import info_nce
from accord.evaluation.retrieval import evaluate_retrieval

LEVEL = 3
TABLE = np.arange(4)

class Base:
    """The base."""
    def scale(self):
        return {"times": 2}

class Method(Base):
    @property
    def level(self):
        return LEVEL

@cache
def helper(x):
    """Helps."""
    return Method().level * x + TABLE[0]

def measure(x):
    # a comment
    from accord.diagnostics import gap_metrics
    return helper(x)

def unused():
    return 1

lazy = partial(measure, 1)
'''


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Callable[..., Source]]:
    """The code behind ``measure`` after changes to the file."""

    def find(*changes: tuple[str, str], name: str = "measure") -> Source:
        text = TEXT
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / f"toys_{len(list(tmp_path.glob('*.py')))}.py"
        path.write_text(text)
        invalidate_caches()
        module: Any = import_module(path.stem)
        imported.append(path.stem)
        found = source_of(tmp_path, getattr(module, name))
        return Source(found.text.replace(path.stem, "toys"), found.modules, found.words)

    imported: list[str] = []
    sys.path.insert(0, str(tmp_path))
    yield find
    sys.path.remove(str(tmp_path))
    for name in imported:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LEVEL = 3", "LEVEL = 4"),  # through a property of a class that a helper makes
        ("np.arange(4)", "np.arange(5)"),
        ('{"times": 2}', '{"times": 3}'),  # of the base class
        ("* x + TABLE[0]", "* x - TABLE[0]"),  # behind a cache
        ("return helper(x)", "return helper(x + 0)"),
    ],
)
def test_a_change_of_what_a_function_reaches_is_another_source(source, old, new) -> None:
    assert source((old, new)).text != source().text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another"),
        ('"""Helps."""', '"""Helps a lot."""'),
        ('    """The base."""\n', ""),
        ("def unused():\n    return 1", "def unused():\n    return 2"),
        ("return helper(x)", "return (\n        helper(x)\n    )"),
    ],
)
def test_a_change_of_anything_else_is_not(source, old, new) -> None:
    assert source((old, new)).text == source().text


def test_what_lies_elsewhere_is_named_by_its_module(source) -> None:
    found = source()
    assert "accord.diagnostics.gap_metrics" in found.modules
    assert not any(name.startswith("accord.evaluation") for name in found.modules)  # imported and not used


def test_the_words_of_reached_code_are_known(source) -> None:
    assert "times" in source().words


def test_arguments_of_a_partial_function_count(source) -> None:
    other = source(("partial(measure, 1)", "partial(measure, 2)"), name="lazy")
    assert other.text != source(name="lazy").text


def test_where_a_file_lies_does_not_count(tmp_path, monkeypatch) -> None:
    texts = []
    for place in ("one", "two"):
        folder = tmp_path / place
        folder.mkdir()
        (folder / "placed.py").write_text("def where():\n    return __file__\n")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.delitem(sys.modules, "placed", raising=False)
        invalidate_caches()
        texts.append(source_of(folder, import_module("placed").where).text)
    assert texts[0] == texts[1]


def test_of_a_path_only_the_name_counts(tmp_path) -> None:
    here, there = (source_of(tmp_path, tmp_path / folder / "rows.parquet") for folder in ("here", "there"))
    assert here.text == there.text
    assert here.text != source_of(tmp_path, tmp_path / "here" / "others.parquet").text
