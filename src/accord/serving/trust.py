"""What stands before every page: whose requests are answered, how large they may be, and what a browser is allowed.

One middleware, the outermost. A browser tells where a request comes from (``Origin``, ``Sec-Fetch-Site``); a change
that comes from a browser has to come from a page of ours and carry the token that only such a page can read. Programs
that are no browser send none of it and need none.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request, cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from accord.serving.config import LOCAL, ServeConfig

log = logging.getLogger("accord.serve")
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="-")
JSON = "/api/"  # routes for programs; the others answer with pages
SESSION, CSRF, CSRF_HEADER = "accord_session", "accord_csrf", "x-csrf-token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; frame-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Trust:
    """The middleware.

    Args:
        app: what answers.
        config: token and limits.
        failed: the answer to a request in which something broke that nobody foresaw.
        proven: paths whose requests carry a proof of their own, such as one-click unsubscription from a mail.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: ServeConfig,
        failed: Callable[[Request], Response] = lambda _: PlainTextResponse("This went wrong.\n", 500),
        proven: Iterable[str] = (),
    ) -> None:
        self.app, self.config, self.failed, self.proven = app, config, failed, frozenset(proven)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with a sentence; every answer has an id, which the log has too."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, name = time.perf_counter(), secrets.token_hex(6)
        REQUEST_ID.set(name)
        headers = Headers(scope=scope)
        cookies = cookie_parser(headers.get("cookie", ""))
        known = CSRF in cookies
        csrf = cookies[CSRF] if known else secrets.token_urlsafe(24)
        scope.setdefault("state", {})["csrf"] = csrf
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = MutableHeaders(scope=message)
                for header, value in HEADERS.items():
                    sent.setdefault(header, value)
                sent.setdefault("cache-control", "no-store")
                sent["x-request-id"] = name
                if not known:
                    sent.append("set-cookie", f"{CSRF}={csrf}; Path=/; SameSite=Strict")
            await send(message)

        refused = self._refusal(scope, headers, cookies)
        try:
            if refused is not None:
                await refused(scope, receive, answer)
            else:
                await self.app(scope, _limited(receive, self.config.max_upload), answer)
        except Exception:
            log.exception("%s failed", name)
            if status:  # half an answer is on its way
                raise
            await self.failed(Request(scope))(scope, receive, answer)
        finally:
            took = 1000 * (time.perf_counter() - began)
            log.info("%s %s %s %s %.0f ms", name, scope["method"], scope["path"], status, took)

    def _refusal(self, scope: Scope, headers: Headers, cookies: dict[str, str]) -> Response | None:
        """Why a request is not answered; None where it is."""
        if self.config.is_local and _host(headers) not in (*LOCAL, self.config.host):
            return _said(scope, 400, "Accord answers to localhost alone.")  # whatever name leads here
        if (entered := self._entering(scope)) is not None:
            return entered
        proven = scope["path"] in self.proven
        if not proven and not self._is_known(headers, cookies):
            return _said(scope, 401, "Open the address that accord serve printed: it holds the token.")
        if not proven and scope["method"] not in _SAFE and not self._is_own(scope, headers, cookies):
            return _said(scope, 403, "This change does not come from a page of Accord: load the page again.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.config.max_upload:
            return _said(scope, 413, _too_large(self.config.max_upload))
        return None

    def _entering(self, scope: Scope) -> Response | None:
        """The first visit, whose address holds the token: it becomes a cookie and leaves the address."""
        asked = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        given = asked.pop("token", None)
        if self.config.token is None or given is None or not _same(given, self.config.token):
            return None
        query = f"?{urlencode(asked)}" if asked else ""
        response = RedirectResponse(f"{scope['path']}{query}", 303)
        response.set_cookie(SESSION, given, httponly=True, samesite="strict")
        return response

    def _is_known(self, headers: Headers, cookies: dict[str, str]) -> bool:
        token = self.config.token
        if token is None:
            return True
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return _same(bearer, token) or _same(cookies.get(SESSION, ""), token)

    def _is_own(self, scope: Scope, headers: Headers, cookies: dict[str, str]) -> bool:
        """Whether a change comes from a page of ours, or from no browser at all."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin is None and site is None and SESSION not in cookies:
            return True
        own = f"{scope['scheme']}://{headers.get('host', '')}"
        if origin not in (None, own) or site not in (None, "same-origin"):
            return False
        sent = headers.get(CSRF_HEADER, "")
        return bool(sent) and _same(sent, cookies.get(CSRF, ""))


class TooLargeError(HTTPException):
    """A request's body is longer than is allowed, and did not say so."""


def _limited(receive: Receive, most: int) -> Receive:
    """The same, but for no more than so many bytes."""
    read = 0

    async def counted() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > most:
            raise TooLargeError(413, _too_large(most))
        return message

    return counted


def _said(scope: Scope, status: int, sentence: str) -> Response:
    """A sentence, for programs as they read all others."""
    if scope["path"].startswith(JSON):
        return JSONResponse({"detail": sentence}, status)
    return PlainTextResponse(f"{sentence}\n", status)


def _too_large(most: int) -> str:
    return f"The request is larger than {most / 2**20:.0f} MiB, the most that accord serve --max-upload allows."


def _host(headers: Headers) -> str | None:
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:
        return None


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
