"""``accord serve``: the local web application."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from accord.cli import complete
from accord.cli.options import Device, DeviceOption
from accord.cli.runs import known_run

EXAMPLE = """Example:

accord serve --open

accord serve runs experiments --data pack:emoji --data photos --model clip:models/vit-b-32

accord serve --host 0.0.0.0 --port 8080

accord serve --mail-from digest@example.org --smtp localhost:25"""


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
        typer.Option(
            metavar="MODEL",
            callback=lambda given: [known_run(name) for name in given or ()],
            autocompletion=complete.runs,
            help="A model besides the runs, such as clip:FOLDER; repeatable.",
        ),
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
    mail_from: Annotated[
        str, typer.Option(metavar="ADDRESS", help="From whom digests of papers are; offers them on the page.")
    ] = "",
    smtp: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Mail server. Default: mails wait in the outbox.")
    ] = "",
    base_url: Annotated[str, typer.Option(metavar="URL", help="Where links in mails lead.")] = "",
    store: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Store of imported papers. Default: the usual one.")
    ] = None,
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
        "mail_from": mail_from,
        "smtp": smtp,
        "base_url": base_url,
        "papers": store,
        "max_upload": max_upload * 2**20,
    }
    local = ServeConfig.parse({**settings, "token": "x" * 16}).is_local
    config = ServeConfig.parse({**settings, "token": token or (None if local else new_token())})

    def ready(address: str) -> None:
        typer.echo(f"Accord is at {address} (Ctrl-C ends it)")
        if open_browser:
            typer.launch(address)

    run(config, ready)
