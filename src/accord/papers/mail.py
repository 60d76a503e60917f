"""Mails as text and HTML, and the addresses, senders and servers that they need. Nothing is sent here."""

from __future__ import annotations

import hashlib
import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import Field, field_validator, model_validator

from accord.config import Config
from accord.errors import ConfigError

PASSWORD = "ACCORD_SMTP_PASSWORD"  # the environment variable, so that it stands in no command and no history
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*")
_LINK = re.compile(r"://|www\.|\w\.[^\W\d_]{2,}|@")
_HERE = ("localhost", "127.0.0.1", "::1")


def check_address(text: str) -> str:
    """A mail address, its domain in lower case and ASCII.

    Raises:
        ConfigError: it is none, such as one with a line break that would begin another header.

    Example:
        >>> check_address("Anna.Bee@Example.ORG")
        'Anna.Bee@example.org'
        >>> check_address("anna@example.org\\nBcc: all@example.org")
        Traceback (most recent call last):
        accord.errors.ConfigError: 'anna@example.org\\nBcc: all@example.org' is no mail address: expected one ...
    """
    local, _, domain = text.partition("@")
    try:
        domain = domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        domain = ""
    fits = _LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain) and len(local) <= 64 and len(domain) <= 189
    if not fits:
        raise ConfigError(f"{text[:120]!r} is no mail address: expected one such as you@example.org")
    return f"{local}@{domain}"


def check_topic(text: str) -> str:
    """A topic on one line.

    Raises:
        ConfigError: it has more than 100 characters, some that cannot be printed, or a link: others would read that in
            a mail from us, which anybody may ask for in their name.

    Example:
        >>> check_topic("noisy labels (vision) ")
        'noisy labels (vision)'
        >>> check_topic("win at casino.example")
        Traceback (most recent call last):
        accord.errors.ConfigError: topic 'win at casino.example': expected words on one line, at most 100 ...
    """
    topic = text.strip()
    if len(topic) > 100 or not topic.isprintable() or _LINK.search(topic):
        raise ConfigError(f"topic {topic[:60]!r}: expected words on one line, at most 100 characters, no link")
    return topic


class Sender(Config):
    """From whom mails are, and where their links lead."""

    address: str = Field(description="what stands behind From")
    base_url: str = Field(
        "",
        pattern=r"^(https?://[^\s\"<>]+)?$",
        description="where accord serve is reached; empty writes commands instead",
    )

    @field_validator("address")
    @classmethod
    def _is_address(cls, address: str) -> str:
        return check_address(address)

    def link(self, page: str, token: str) -> str:
        """Where a token is taken, ``BASE/papers/PAGE?token=TOKEN``; empty without a base.

        >>> Sender(address="a@b.org", base_url="https://b.org/").link("confirm", "c.1")
        'https://b.org/papers/confirm?token=c.1'
        """
        return f"{self.base_url.rstrip('/')}/papers/{page}?token={token}" if self.base_url else ""


class Server(Config):
    """The SMTP server that takes mails."""

    host: str = Field(min_length=1, pattern=r"^[^\s/@]+$", description="name or number")
    port: int = Field(25, ge=1, le=65_535, description="465 speaks TLS from the start")
    starttls: bool = Field(False, description="change to TLS before anything is said")
    user: str = Field("", description="to log in; the password is taken from the environment")
    timeout: float = Field(60.0, gt=0, le=100, description="seconds to wait for an answer")

    @model_validator(mode="after")
    def _keeps_the_password(self) -> Server:
        if self.user and not (self.starttls or self.port == 465 or self.host in _HERE):
            raise ValueError(f"the password of {self.user} would travel in the clear: add --starttls, or use port 465")
        return self

    @classmethod
    def at(cls, place: str, **options: Any) -> Server:
        """The server at ``HOST:PORT`` or ``HOST``.

        Raises:
            ConfigError: it is no such place, or a password would be sent without encryption.

        Example:
            >>> Server.at("mail.example.org:587", starttls=True).port
            587
            >>> Server.at("[::1]:2525").host
            '::1'
        """
        found = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^:]+))(?::(\d+))?", place.strip())
        if found is None:
            raise ConfigError(f"mail server {place!r}: expected HOST:PORT, such as mail.example.org:587")
        port = int(found[3]) if found[3] else 587 if options.get("starttls") else 25
        return cls.parse({"host": found[1] or found[2], "port": port, **options}, at="smtp")


def rendered(name: str, **values: Any) -> tuple[str, str]:
    """The text and the HTML of a template; what is put into the HTML is escaped."""
    return tuple(_templates().get_template(f"{name}.{kind}.j2").render(**values) for kind in ("txt", "html"))  # type: ignore[return-value]


def compose(
    sender: Sender, to: str, subject: str, text: str, html: str, *, key: str, unsubscribe: str = ""
) -> EmailMessage:
    """A mail in two forms.

    Args:
        sender: from whom.
        to: a checked address.
        subject: on one line.
        text: for programs that show no HTML.
        html: the same as HTML.
        key: what the mail is; its Message-ID is made of it, by which a copy is recognised.
        unsubscribe: the link that ends a subscription with one click (RFC 8058, which asks for https), or empty.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = Address("Accord", addr_spec=sender.address)
    message["To"] = Address(addr_spec=to)
    message["Subject"] = subject
    message["Date"] = formatdate()
    domain = sender.address.rpartition("@")[2]
    message["Message-ID"] = f"<{hashlib.sha256(f'{sender.address} {key}'.encode()).hexdigest()[:40]}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    if unsubscribe:
        message["List-Unsubscribe"] = f"<{unsubscribe}>"
        if unsubscribe.startswith("https://"):
            message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(text, cte="quoted-printable")
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    return message


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("accord.papers"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
