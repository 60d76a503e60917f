"""Digests by mail: asking for one, saying that one meant it, and ending it with one click.

A page answers the same whether an address has subscribed or not, so that nobody learns who has. Links from mails carry
a proof of their own; see :data:`accord.serving.app.PROVEN`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Query, Request
from limits import RateLimitItemPerHour
from starlette.responses import Response

from accord.papers.mail import Sender
from accord.papers.outbox import send_due
from accord.papers.store import Store
from accord.papers.subscriptions import confirm, subscribe, unsubscribe
from accord.serving.rendering import page
from accord.serving.workshop import Shop, Workshop

router = APIRouter(prefix="/papers", include_in_schema=False)
Token = Annotated[str, Query(max_length=400)]
PACE = RateLimitItemPerHour(10)  # addresses that one visitor may give; an address itself is asked once an hour


@router.get("/subscribe")
def form(request: Request, shop: Shop) -> Response:
    """Where to ask for a digest."""
    return page(request, "subscribe", sender=shop.config.mail_from)


@router.post("/subscribe")
def ask(
    request: Request,
    shop: Shop,
    address: Annotated[str, Form(max_length=254)],
    topic: Annotated[str, Form(max_length=200)] = "",
    every_days: Annotated[int, Form(ge=1, le=90)] = 7,
) -> Response:
    """Write the mail that asks whether it was meant, and send it where a server is named."""
    if not shop.pace.hit(PACE, request.client.host if request.client else ""):
        raise HTTPException(429, f"You asked for {PACE.amount} digests within an hour: try again later.")
    with Store(shop.config.papers) as store:
        subscribe(store, address, _sender(request, shop), topic, every_days)
    server = shop.config.smtp_server
    if server is not None:
        shop.jobs.forget("mails")
        shop.jobs.start("mails", "Sending mails", lambda: _send(shop))
    return page(request, "told", title="Look into your mail", sentence=_ASKED if server else _QUEUED)


@router.get("/confirm")
def confirming(request: Request, token: Token) -> Response:
    """A button: programs that look at links in mails press none."""
    return page(request, "proof", title="Your digest", action=f"/papers/confirm?token={token}", press="Yes, send it")


@router.post("/confirm")
def confirmed(request: Request, shop: Shop, token: Token) -> Response:
    """Begin to send."""
    with Store(shop.config.papers) as store:
        found = confirm(store, token)
    about = f" about {found.topic}" if found.topic else ""
    return page(request, "told", title="Thank you", sentence=f"A digest{about} comes every {found.every_days} days.")


@router.get("/unsubscribe")
def ending(request: Request, token: Token) -> Response:
    """A button, as above."""
    return page(request, "proof", title="No more digests", action=f"/papers/unsubscribe?token={token}", press="End it")


@router.post("/unsubscribe")
def ended(request: Request, shop: Shop, token: Token) -> Response:
    """End it; also what a mail program sends for one-click unsubscription (RFC 8058)."""
    with Store(shop.config.papers) as store:
        unsubscribe(store, token)
    return page(request, "told", title="Done", sentence="There will be no more digests, and your address is forgotten.")


_ASKED = "If the address can be written to, a mail is on its way. Nothing else is sent before you confirm it."
_QUEUED = "The mail waits in the outbox: accord papers outbox --send --smtp HOST:PORT sends it."


def _sender(request: Request, shop: Workshop) -> Sender:
    """From whom mails are.

    Raises:
        HTTPException: nobody is named.
    """
    if not shop.config.mail_from:
        raise HTTPException(409, "This application sends no mail: start it with accord serve --mail-from ADDRESS.")
    base = shop.config.base_url or str(request.base_url)
    return Sender.parse({"address": shop.config.mail_from, "base_url": base.rstrip("/")})


def _send(shop: Workshop) -> int:
    assert shop.config.smtp_server is not None
    with Store(shop.config.papers) as store:
        return len(send_due(store, shop.config.smtp_server))
