"""What verbs print: tables on stdout, as wide as the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console


def console() -> Console:
    """A console on stdout; plain text when that is not a terminal."""
    return Console(highlight=False)


def show_metrics(metrics: Sequence[Any]) -> None:
    """The table of metrics with intervals and chance levels."""
    from accord.evaluation.metric import format_metrics

    console().print(format_metrics(list(metrics)))


def show_diagnostics(numbers: Sequence[Any]) -> None:
    """The table of what ``accord probe`` found, with intervals and chance levels where there are any."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    rated = [name for name, given in (("95 % interval", "low"), ("chance", "chance")) if _any(numbers, given)]
    table = Table(box=SIMPLE_HEAD)
    table.add_column("what, and how to read it")
    for column in ("value", *rated, "rows"):
        table.add_column(column, justify="right", no_wrap=True)
    for item in numbers:
        said = {
            "95 % interval": "" if item.low is None else f"[{item.text(item.low)}, {item.text(item.high)}]",
            "chance": item.text(item.chance),
        }
        rows = "" if item.n is None else f"{item.n:,}"
        what = Text.assemble(item.name, "\n", (f"  {item.meaning}", "dim"))
        table.add_row(what, *map(Text, (item.shown, *(said[name] for name in rated), rows)))
    console().print(table)


def _any(numbers: Sequence[Any], field: str) -> bool:
    return any(getattr(item, field) is not None for item in numbers)


def show_run(run: Any) -> None:
    """Metrics of a finished run, where it lies, and what to do next."""
    if run.metrics:
        show_metrics(run.metrics)
    typer.echo(f"model:  {run.path}")
    typer.echo(f"report: {run.path / 'report.html'}")
    if run.doubted:
        typer.echo(f"doubted rows: {run.doubted}")
    for command in run.next_steps:
        typer.echo(f"next:   {command}")


def show_moments(found: Sequence[Any]) -> None:
    """The intervals in which something happens, a line each, in which nothing is markup."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from accord.pipeline.detection.verb import listed_intervals

    table = Table(box=SIMPLE_HEAD)
    table.add_column("file", overflow="fold")
    for column in ("from", "to", found[0].event if found else "score"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in listed_intervals(found):
        table.add_row(*map(Text, row))
    console().print(table)


def show_explanation(explanation: Any) -> None:
    """An explanation as a line and a table, in which nothing is markup."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD)
    for column, justify in explanation.columns.items():
        table.add_column(column, justify=justify, overflow="fold")
    for row in explanation.rows():
        table.add_row(*map(Text, row))
    if explanation.summary:
        typer.echo(explanation.summary)
    if table.row_count:
        console().print(table)
