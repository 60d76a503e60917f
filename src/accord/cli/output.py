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


def show_explanation(explanation: Any) -> None:
    """Why a picture and a text match, by concepts or by places of words; or a picture's parts."""
    if hasattr(explanation, "shares"):
        show_parts(explanation)
    elif hasattr(explanation, "concepts"):
        show_concepts(explanation)
    else:
        show_words(explanation)


def show_parts(explanation: Any) -> None:
    """The parts of a picture and their shares of it."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for column in ("part", "share"):
        table.add_column(column, justify="right")
    for number, share in explanation.shares.items():
        table.add_row(str(number), f"{100 * share:.1f} %")
    console().print(table)


def show_words(explanation: Any) -> None:
    """Where each word is seen: row and column of its best patch, and its cosine there."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD)
    table.add_column("word")
    for column in ("row", "column", "cosine"):
        table.add_column(column, justify="right")
    for word in explanation.maps:
        row, column = word.best
        table.add_row(Text(word.word), str(row + 1), str(column + 1), f"{float(word.heat.max()):.2f}")
    console().print(table)


def show_concepts(explanation: Any) -> None:
    """What a picture and a text share, one line a concept."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD)
    for column, justify in (("concept", "right"), ("picture", "right"), ("text", "right"), ("words", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    table.add_column("words elsewhere", overflow="fold")
    for concept in explanation.concepts:
        called = sorted((pair for pair in concept.words if pair[1] > 0), key=lambda pair: -pair[1])
        words = (", ".join(word for word, _ in called), ", ".join(concept.corpus_words))
        shares = (f"{concept.image_weight:.1%}", f"{concept.text_weight:.1%}")
        table.add_row(str(concept.entry), *shares, *(Text(part) for part in words))  # Text: a word is no markup
    typer.echo(f"cosine {explanation.similarity:.2f}, overlap of concepts {explanation.overlap:.0%}")
    if explanation.concepts:
        console().print(table)
