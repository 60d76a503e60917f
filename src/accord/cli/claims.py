"""``accord claims``: what papers say, measured against baselines over seeds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from accord.cli.options import Device

if TYPE_CHECKING:
    from accord.claims.run import Report

app = typer.Typer(help="Measure what papers say: method against baseline, paired by seed.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option(file_okay=False, help="Folder of the claim files.")]
Slug = Annotated[str, typer.Argument(help="The claim: the name of its file.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes, each with one thread.")]
Dirty = Annotated[
    bool, typer.Option("--dirty", help="Go on where claims or code are not committed; the record says so.")
]
Check = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Load the claims too (a minute): list what was not measured, and what `accord claims check` says.",
    ),
]
On = Annotated[
    Device | None, typer.Option(help="What to train on. Default: what the claim says, or the best there is.")
]


@app.command("list", epilog="Example: accord claims list")
def list_claims(check: Check = False, folder: Folder = Path("claims")) -> None:
    """List all questions and what was found, as the documentation's page on claims does; wide terminals show more."""
    from accord.claims.listing import listing
    from accord.claims.overview import declared, overview
    from accord.claims.record import read_records
    from accord.claims.table import summary
    from accord.cli.output import console

    lines = overview(folder, declared(folder) if check else None)
    console().print(listing(lines, console().width))
    console().print(summary(read_records(folder / "results")))


@app.command(epilog="Example: accord claims run clip --quick")
def run(
    slug: Slug,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds. Default: what the claim declares.")] = None,
    seed_list: Annotated[str | None, typer.Option(help="Which seeds instead, such as 20-29 or 1,5,7-9.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Smoke run: one seed, one epoch, few rows; writes nothing.")
    ] = False,
    jobs: Jobs = 1,
    dirty: Dirty = False,
    folder: Folder = Path("claims"),
    device: On = None,
) -> None:
    """Train a claim's arms on every seed, judge its statements, and write record and figure.

    What is finished is kept: the same command after an interruption goes on with what is missing.
    """
    _one_thread()
    from accord.claims.run import run_claim

    chosen = seeds if seed_list is None else _seed_list(seed_list)
    named = device and device.value
    _show(run_claim(slug, folder, seeds=chosen, quick=quick, jobs=jobs, dirty=dirty, device=named))


@app.command(epilog="Example: accord claims tune swav --jobs 2")
def tune(
    slug: Slug,
    jobs: Jobs = 1,
    dirty: Dirty = False,
    folder: Folder = Path("claims"),
    device: On = None,
) -> None:
    """Choose the settings of the arms that declare a search, with as many trials for each, and log every trial.

    Trials are measured on rows held out from the training rows, on seeds that the record does not use.
    """
    _one_thread()
    from accord.claims.tune import tune_claim

    log = tune_claim(slug, folder, jobs=jobs, dirty=dirty, device=device and device.value)
    typer.echo(f"trials: {log}")


@app.command(epilog="Example: accord claims check")
def check(
    slugs: Annotated[list[str] | None, typer.Argument(help="The claims. Default: all.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 where a claim is declared otherwise than it was measured.")
    ] = False,
    folder: Folder = Path("claims"),
) -> None:
    """Say of each record whether declaration and code are still those that were measured. Trains nothing."""
    from accord.claims.check import check as compare
    from accord.claims.load import claim_files

    found = {slug: compare(slug, folder) for slug in slugs or claim_files(folder)}
    for slug, status in found.items():
        typer.echo(f"{slug}: {status}")
    if strict and any(status.old or (status.measured and not status.declared) for status in found.values()):
        raise typer.Exit(1)


@app.command(epilog="Example: accord claims table")
def table(check: Check = False, folder: Folder = Path("claims")) -> None:
    """Print the documentation's page part on all results, as Markdown."""
    from accord.claims.overview import declared
    from accord.claims.table import page

    typer.echo(page(folder, today=declared(folder) if check else None))


def _one_thread() -> None:
    """One thread for what is loaded from here on, in this process and in those it starts: see `--jobs`."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def _seed_list(text: str) -> list[int]:
    """Seeds as they are typed.

    >>> _seed_list("1,5,7-9")
    [1, 5, 7, 8, 9]
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or not (last or first).isdecimal() or int(last or first) < int(first):
            raise typer.BadParameter(f"{text!r}: expected seeds such as 20-29 or 1,5,7-9", param_hint="--seed-list")
        seeds += range(int(first), int(last or first) + 1)
    return list(dict.fromkeys(seeds))


def _show(report: Report) -> None:
    """The answers, and where the record lies."""
    from accord.cli.output import console

    for outcome in report.outcomes:
        for line in outcome.sentences():
            console().print(line, soft_wrap=True, markup=False)
    if report.path is None:
        typer.echo(report.unwritten)
        return
    typer.echo(f"record: {report.path}")
    typer.echo(f"figure: {report.figure}")
