"""Settings of the application: where it looks, where it listens, and what it takes."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from accord.config import Config
from accord.papers.mail import Server

LOCAL = ("127.0.0.1", "localhost", "::1")


class ServeConfig(Config):
    """Settings of :func:`accord.serving.serve`.

    Example:
        >>> ServeConfig().host
        '127.0.0.1'
        >>> ServeConfig.parse({"host": "0.0.0.0"})
        Traceback (most recent call last):
        accord.errors.ConfigError: host = '0.0.0.0' can be reached from other machines: set a token as well
    """

    runs: tuple[Path, ...] = Field((Path("runs"),), description="folders below which runs and reviews are found")
    data: tuple[str, ...] = Field((), description="what can be searched besides the data of each run")
    models: tuple[str, ...] = Field(("house",), description="models that no folder of runs holds, such as clip:FOLDER")
    papers: Path | None = Field(None, description="the user's store of papers; None for the usual one")
    mail_from: str = Field("", description="from whom digests are; empty where none are offered")
    smtp: str = Field("", description="HOST:PORT of the mail server; empty leaves mails in the outbox")
    base_url: str = Field("", description="where links in mails lead; empty for the address that was asked")
    host: str = Field("127.0.0.1", description="the address to listen at")
    port: int = Field(8000, ge=0, le=65535, description="its port; 0 takes a free one")
    token: str | None = Field(None, min_length=16, description="what a visitor has to show; needed beyond localhost")
    device: str = Field("auto", description="where models run: auto, cpu, cuda or mps")
    max_upload: int = Field(20 * 2**20, ge=1, description="bytes of a request at most")
    max_pixels: int = Field(50_000_000, ge=1, description="pixels of an uploaded picture at most")
    decode_seconds: float = Field(10.0, gt=0, description="time to decode an uploaded file in")
    kept_models: int = Field(2, ge=1, description="models that stay in memory")

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if not self.is_local and self.token is None:
            raise ValueError(f"host = {self.host!r} can be reached from other machines: set a token as well")
        return self

    @property
    def smtp_server(self) -> Server | None:
        """The mail server."""
        return Server.at(self.smtp) if self.smtp else None

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host in LOCAL:
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
