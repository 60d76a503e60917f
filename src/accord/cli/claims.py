"""``accord claims``: what papers say, measured against baselines over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Device

if TYPE_CHECKING:
    from accord.claims.run import Report

app = typer.Typer(help="Measure what papers say: method against baseline, paired by seed.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option(file_okay=False, help="Folder of the claim files.")]


@app.command("list", epilog="Example: accord claims list")
def list_claims(folder: Folder = Path("claims")) -> None:
    """List the claims that can be run, and how their statements came out when they were."""
    from rich.table import Table

    from accord.claims.load import claim_files, headline
    from accord.claims.record import read_records
    from accord.cli.output import console

    measured = {record["slug"]: record["questions"] for record in read_records(folder / "results")}
    table = Table("claim", "what it is about", "results", box=None)
    for slug, path in claim_files(folder).items():
        verdicts = [question["verdict"] for question in measured.get(slug, ())]
        counted = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
        table.add_row(slug, headline(path), ", ".join(f"{n} {v}" for v, n in counted.items()) or "not measured")
    console().print(table)


@app.command(epilog="Example: accord claims run clip --quick")
def run(
    slug: Annotated[str, typer.Argument(help="The claim: the name of its file.")],
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds. Default: what the claim declares.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Smoke run: one seed, one epoch, few rows; writes nothing.")
    ] = False,
    folder: Folder = Path("claims"),
    device: Annotated[
        Device | None, typer.Option(help="What to train on. Default: what the claim says, or the best there is.")
    ] = None,
) -> None:
    """Train a claim's arms on every seed, judge its statements, and write record and figure.

    What is finished is kept: the same command after an interruption goes on with what is missing.
    """
    from accord.claims.run import run_claim

    _show(run_claim(slug, folder, seeds=seeds, quick=quick, device=device and device.value))


@app.command(epilog="Example: accord claims table")
def table(folder: Folder = Path("claims")) -> None:
    """Print the documentation's page part on all results, as Markdown."""
    from accord.claims.table import page

    typer.echo(page(folder / "results"))


def _show(report: Report) -> None:
    """The answers, and where the record lies."""
    from accord.cli.output import console

    for outcome in report.outcomes:
        for line in outcome.sentences():
            console().print(line, soft_wrap=True, markup=False)
    if report.path is None:
        typer.echo("smoke run: every part works; the figures mean nothing and nothing was written")
        return
    typer.echo(f"record: {report.path}")
    typer.echo(f"figure: {report.figure}")
