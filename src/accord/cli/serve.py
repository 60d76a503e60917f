"""``accord serve``: the local web application."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accord.cli.options import Device, DeviceOption

EXAMPLE = """Example:

accord serve --open

accord serve runs experiments --data pack:emoji --data photos --model clip:models/vit-b-32

accord serve --host 0.0.0.0 --port 8080"""


def serve(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FOLDER]...", file_okay=False, help="Folders below which runs and reviews are. Default: runs."
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="DATA", help="What can be searched besides each run's own data; repeatable."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="A model besides the runs, such as clip:FOLDER; repeatable."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; beyond localhost a token is asked for.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="ACCORD_TOKEN", help="What visitors have to show. Default: none on localhost, else a new one."
        ),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    max_upload: Annotated[int, typer.Option(min=1, metavar="MIB", help="Size of an uploaded file at most.")] = 20,
    device: DeviceOption = Device.auto,
) -> None:
    """Open the web application: look at runs, search, review, explain and compare, in a browser on this machine."""
    from accord.errors import require

    require("fastapi", "serve")
    from accord.serving import ServeConfig
    from accord.serving.server import new_token
    from accord.serving.server import serve as run

    settings = {
        "runs": tuple(runs or [Path("runs")]),
        "data": tuple(data or ()),
        "models": ("house", *(model or ())),
        "host": host,
        "port": port,
        "device": device.value,
        "max_upload": max_upload * 2**20,
    }
    local = ServeConfig.parse({**settings, "token": "x" * 16}).is_local
    config = ServeConfig.parse({**settings, "token": token or (None if local else new_token())})

    def ready(address: str) -> None:
        typer.echo(f"Accord is at {address} (Ctrl-C ends it)")
        if open_browser:
            typer.launch(address)

    run(config, ready)
