"""``accord embed``: data in, vectors out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accord.cli.runs import RunArgument

EXAMPLE = """Example:

accord embed runs/first pack:emoji --out emoji-vectors.parquet"""


def embed(
    run: RunArgument,
    source: Annotated[str, typer.Argument(metavar="DATA", help="What to embed; anything that train takes.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="Parquet file to write.")] = Path("embeddings.parquet"),
) -> None:
    """Embed every row and write the unit-norm vectors as Parquet, one column per modality."""
    from accord import pipeline

    typer.echo(f"wrote {pipeline.embed(run, source, out=out)}")
