from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.table import Table
from typer.testing import CliRunner, Result

import accord
from accord.cli import app
from accord.diagnostics import Diagnostic
from accord.evaluation.metric import Metric
from accord.searching.index import Hit

METRIC = Metric("top-1", 53.8, 50.0, 57.6, 3.8, 734)


class Pipeline(ModuleType):
    """Stands in for ``accord.pipeline``: records calls, gives canned answers, or raises ``error``."""

    def __init__(self, folder: Path) -> None:
        super().__init__("accord.pipeline")
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.error: BaseException | None = None
        table = Table("method", "accuracy")
        table.add_row("capro", "53.8")
        self.answers = {
            "train": SimpleNamespace(
                path=folder / "run", metrics=[METRIC], next_steps=("accord search 'my run' 'a cat'",), doubted=None
            ),
            "evaluate": [METRIC],
            "caption": [SimpleNamespace(image=folder / "cat.png", caption="a [red] cat", score=-0.25)],
            "embed": folder / "vectors.parquet",
            "probe": [
                Diagnostic("image purity", 61.25, "of [its] neighbours", 57.0, 65.5, 10.0, 2000, "%"),
                Diagnostic("image uniformity", -3.5, "spread over the sphere", n=2000),
            ],
            "search": [Hit(1, 0.83, row=7, captions=("red heart [big]",), label="heart")],
            "compare": SimpleNamespace(
                table=lambda: table, sentences=lambda: ["capro is better."], report=folder / "report.html"
            ),
        }
        for name in self.answers:
            setattr(self, name, self._recorder(name))

    def _recorder(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.calls.append((name, args, options))
            if self.error:
                raise self.error
            return self.answers[name]

        return call


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pipeline:
    fake = Pipeline(tmp_path)
    monkeypatch.setitem(sys.modules, "accord.pipeline", fake)
    monkeypatch.setattr(accord, "pipeline", fake, raising=False)
    return fake


@pytest.fixture
def accord_cli() -> Callable[..., Result]:
    """Runs a command line and returns exit code and output."""
    runner = CliRunner(env={"COLUMNS": "120", "TERM": "dumb"})
    return lambda *args: runner.invoke(app, [str(arg) for arg in args])
