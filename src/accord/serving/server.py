"""Running the application: bound to this machine unless told otherwise, with a log that names each request."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn

from accord.errors import ConfigError
from accord.serving.app import build_app
from accord.serving.config import ServeConfig
from accord.training.device import resolve_device

_PATIENCE = 10  # seconds that a request may go on after the application is asked to end


def serve(config: ServeConfig, ready: Callable[[str], None] | None = None) -> None:
    """Serve until interrupted; requests that are being answered are answered.

    Args:
        config: settings.
        ready: is told the address as soon as it answers.

    Raises:
        ConfigError: the address cannot be listened at, or this machine has no such device.
    """
    resolve_device(config.device)  # said now, and not at the first search
    listening = _listening(config)
    host = f"[{config.host}]" if ":" in config.host else config.host
    token = "" if config.token is None else f"/?token={config.token}"
    address = f"http://{host}:{listening.getsockname()[1]}{token}"
    logging.getLogger("accord.serve").setLevel(logging.INFO)
    settings = uvicorn.Config(
        build_app(config),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_PATIENCE,
        timeout_keep_alive=30,
    )
    server = _Server(settings, lambda: ready(address) if ready else None)
    with suppress(KeyboardInterrupt):  # which is how it is ended
        server.run(sockets=[listening])


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        self._ready()


def _listening(config: ServeConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((config.host, config.port))
    except OSError as error:
        found.close()
        raise ConfigError(
            f"{config.host}:{config.port} cannot be listened at ({error.strerror}): name another port with --port"
        ) from error
    return found
