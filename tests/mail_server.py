"""A mail server on this machine, which keeps what it takes and refuses what it is told to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest

pytest.importorskip("aiosmtpd", reason="the extra dev brings it")
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

__all__ = ["AuthResult", "MailServer", "mail_server"]


class MailServer:
    """What arrived, and what to answer: each list is used up from its beginning, then all is taken."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, EmailMessage]] = []
        self.to_sender: list[str] = []
        self.to_recipient: list[str] = []
        self.to_text: list[str] = []
        self.port = 0

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if self.to_sender:
            return self.to_sender.pop(0)
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:
        if self.to_recipient:
            return self.to_recipient.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.to_text:
            answer = self.to_text.pop(0)
            if answer == "hang up":
                self._keep(envelope)
                server.transport.close()
            return answer
        self._keep(envelope)
        return "250 taken"

    def wait_for(self, count: int, seconds: float = 20.0) -> None:
        """Until so many arrived."""
        until = time.monotonic() + seconds
        while len(self.taken) < count and time.monotonic() < until:
            time.sleep(0.01)
        assert len(self.taken) >= count

    def _keep(self, envelope: Any) -> None:
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.taken.extend((address, message) for address in envelope.rcpt_tos)


class _AnyPort(Controller):
    """Tries itself at the port that it was given, not at the 0 that was asked for."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server(**options: Any) -> Iterator[MailServer]:
    """A server that runs in the block; ``options`` are those of aiosmtpd's."""
    kept = MailServer()
    controller = _AnyPort(kept, hostname="127.0.0.1", port=0, **options)
    controller.start()
    kept.port = controller.port
    try:
        yield kept
    finally:
        controller.stop()
