"""Templates and what all of them share: the looks of the reports, the list of pages, the token of changes."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment
from starlette.responses import HTMLResponse

from accord import __version__
from accord.report.html import environment_over
from accord.searching.hit import Hit

STATIC = Path(str(files("accord.serving") / "static"))
_SHARED = {"style.css": "accord.report", "cards.css": "accord.cleaning", "cards.js": "accord.cleaning"}
STATICS = {path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*") if path.is_file()} | {
    name: Path(str(files(package) / "templates" / name))
    for name, package in _SHARED.items()  # as reports have them
}


def page(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A page, or a part of one, from a template of :mod:`accord.serving`.

    Args:
        request: of the visitor.
        template: its name, without ``.html.j2``.
        status: of the answer.
        context: what it shows; every text is escaped.
    """
    from accord.serving.pages import PAGES

    about = {
        "pages": PAGES,
        "here": request.url.path,
        "csrf": request.state.csrf,
        "version": __version__,
    }
    return HTMLResponse(_environment().get_template(f"{template}.html.j2").render(**about, **context), status)


@cache
def _environment() -> Environment:
    """The report's environment, with its filters and macros, and templates of our own before its."""
    environment = environment_over("accord.serving", "accord.cleaning")
    environment.filters |= {"when": _when, "thumbnail": _thumbnail}
    environment.globals |= {"static": static_address}
    return environment


@cache
def static_address(name: str) -> str:
    """The address of a static file, which changes with its content, so that browsers may keep it.

    >>> static_address("app.css").startswith("/static/app.css?v=")
    True
    """
    return f"/static/{name}?v={hashlib.blake2b(STATICS[name].read_bytes(), digest_size=5).hexdigest()}"


def _thumbnail(hit: Hit) -> str:
    """The picture of an answer, to stand in the page itself."""
    return f"data:image/webp;base64,{base64.b64encode(hit.thumbnail or b'').decode('ascii')}"


def _when(seconds: float) -> str:
    """A time in seconds since 1970, in the local zone."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%-d %b %Y, %H:%M")
