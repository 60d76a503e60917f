"""The part of ``accord papers`` that sends mails: digests, subscriptions and the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

DIGEST_EXAMPLE = """Example:

accord papers digest --since 7d --topic "noisy labels"

accord papers digest --since 7d --to you@example.org --dry-run

accord papers digest --to you@example.org --smtp mail.example.org:587 --starttls --user you@example.org

accord papers digest --subscribers --smtp localhost:25 --from papers@example.org"""

SUBSCRIBE_EXAMPLE = """Example:

accord papers subscribe you@example.org --topic "noisy labels" --smtp localhost:25 --from papers@example.org"""

CONFIRM_EXAMPLE = """Example:

accord papers confirm c.1.Zk3v.Q0xh"""

UNSUBSCRIBE_EXAMPLE = """Example:

accord papers unsubscribe you@example.org"""

OUTBOX_EXAMPLE = """Example:

accord papers outbox --send --smtp localhost:25

accord papers outbox --state failed"""

StoreOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", dir_okay=False, help="Where papers are kept. Default: a file in your data folder."),
]
Smtp = Annotated[
    str | None, typer.Option("--smtp", metavar="HOST:PORT", envvar="ACCORD_SMTP", help="The server that takes mails.")
]
StartTls = Annotated[bool, typer.Option("--starttls", help="Change to TLS first. Port 465 speaks it anyway.")]
User = Annotated[
    str,
    typer.Option(
        envvar="ACCORD_SMTP_USER", help="To log in; the password is read from the variable ACCORD_SMTP_PASSWORD."
    ),
]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="ADDRESS", envvar="ACCORD_MAIL_FROM", help="From whom mails are. Default: --user."),
]
BaseUrl = Annotated[
    str,
    typer.Option(
        metavar="URL",
        envvar="ACCORD_BASE_URL",
        help="Where accord serve is reached from outside, for the links in mails.",
    ),
]


def digest(
    since: Annotated[str, typer.Option(metavar="DAYS", help="How far back, such as 7d or 2w.")] = "7d",
    topic: Annotated[str, typer.Option(metavar="WORDS", help="What about. Default: everything.")] = "",
    to: Annotated[list[str] | None, typer.Option(metavar="ADDRESS", help="To whom; repeatable.")] = None,
    subscribers: Annotated[
        bool, typer.Option("--subscribers", help="To all who have subscribed and for whom it is time.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many papers at most.")] = 20,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; write the mail to --out.")] = False,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where --dry-run writes it.")] = Path("digest.eml"),
    smtp: Smtp = None,
    starttls: StartTls = False,
    user: User = "",
    sender: From = None,
    base_url: BaseUrl = "",
    store: StoreOption = None,
) -> None:
    """Tell of new papers: on the terminal, or by mail as text and HTML. The same digest goes out once a day."""
    from accord.papers import digest as digests
    from accord.papers.store import Store

    if subscribers and (to or topic or dry_run):
        raise typer.BadParameter("--subscribers have topics of their own; it goes without --to, --topic and --dry-run")
    with Store(store) as opened:
        if subscribers:
            server, who = _server(smtp, starttls, user), _sender(sender, user, base_url)
            typer.echo(f"digests: {len(digests.queue_due(opened, who))}")
            _send(opened, server)
            return
        chosen = digests.choose(opened, _days_ago(digests.days(since)), topic, limit)
        if dry_run:
            _write(chosen, _sender(sender or "accord@localhost", user, base_url), to or ["you@example.org"], out)
        elif not to or not chosen.papers:
            typer.echo(digests.as_text(chosen).rstrip())
        else:
            server, who = _server(smtp, starttls, user), _sender(sender, user, base_url)
            keys = {address: digests.queue_digest(opened, chosen, who, address) for address in to}
            for address in (address for address, (_, is_new) in keys.items() if not is_new):
                typer.echo(f"{address} has this digest already, or it waits: accord papers outbox")
            _send(opened, server, [key for key, is_new in keys.values() if is_new])


def subscribe(
    address: Annotated[str, typer.Argument(help="Who wants a digest.")],
    topic: Annotated[str, typer.Option(metavar="WORDS", help="What about. Default: everything.")] = "",
    every: Annotated[str, typer.Option(metavar="DAYS", help="How often, such as 1d or 2w.")] = "7d",
    smtp: Smtp = None,
    starttls: StartTls = False,
    user: User = "",
    sender: From = None,
    base_url: BaseUrl = "",
    store: StoreOption = None,
) -> None:
    """Ask an address by mail whether it wants a digest; it gets one only when it confirms."""
    from accord.papers import subscriptions
    from accord.papers.digest import days
    from accord.papers.store import Store

    server, who = _server(smtp, starttls, user), _sender(sender, user, base_url)
    with Store(store) as opened:
        typer.echo(f"{address}: {subscriptions.subscribe(opened, address, who, topic, days(every))}")
        _send(opened, server)


def confirm(token: Annotated[str, typer.Argument(help="What the mail says.")], store: StoreOption = None) -> None:
    """Begin a subscription that was asked for."""
    from accord.papers import subscriptions
    from accord.papers.store import Store

    with Store(store) as opened:
        one = subscriptions.confirm(opened, token)
    topic = f" on {one.topic}" if one.topic else ""
    typer.echo(f"{one.address} gets a digest{topic} every {one.every_days} days")


def unsubscribe(
    who: Annotated[str, typer.Argument(metavar="ADDRESS|TOKEN", help="Who, or what the mail says.")],
    store: StoreOption = None,
) -> None:
    """End a subscription and forget the address."""
    from accord.papers import subscriptions
    from accord.papers.store import Store

    end = subscriptions.remove if "@" in who else subscriptions.unsubscribe
    with Store(store) as opened:
        ended = end(opened, who)
    typer.echo("the subscription has ended" if ended else "there is no such subscription")


def outbox(
    send: Annotated[bool, typer.Option("--send", help="Send what waits and is due.")] = False,
    resend_uncertain: Annotated[
        bool, typer.Option("--resend-uncertain", help="Send those again that may or may not have gone out.")
    ] = False,
    state: Annotated[
        str | None, typer.Option(help="Only those that are pending, sending, sent, failed or uncertain.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many on a page.")] = 20,
    page: Annotated[int, typer.Option(min=1, help="Which page.")] = 1,
    smtp: Smtp = None,
    starttls: StartTls = False,
    user: User = "",
    store: StoreOption = None,
) -> None:
    """List mails and what became of them; send those that wait."""
    from accord.cli.output import console
    from accord.papers import outbox as box
    from accord.papers.listing import mail_table
    from accord.papers.store import Store

    with Store(store) as opened:
        if resend_uncertain:
            typer.echo(f"to be sent again: {box.resend_uncertain(opened)}")
        if send or resend_uncertain:
            _send(opened, _server(smtp, starttls, user))
            return
        console().print(mail_table(box.mails(opened, state, limit, (page - 1) * limit)))


def add_to(app: typer.Typer) -> None:
    """Put these verbs into ``accord papers``."""
    app.command(epilog=DIGEST_EXAMPLE)(digest)
    app.command(epilog=SUBSCRIBE_EXAMPLE)(subscribe)
    app.command(epilog=CONFIRM_EXAMPLE)(confirm)
    app.command(epilog=UNSUBSCRIBE_EXAMPLE)(unsubscribe)
    app.command(epilog=OUTBOX_EXAMPLE)(outbox)


def _server(smtp: str | None, starttls: bool, user: str) -> Any:
    from accord.papers.mail import Server

    if not smtp:
        raise typer.BadParameter("no mail server: give --smtp HOST:PORT, or set ACCORD_SMTP")
    return Server.at(smtp, starttls=starttls, user=user)


def _sender(sender: str | None, user: str, base_url: str) -> Any:
    from accord.papers.mail import Sender

    if not sender and "@" not in user:
        raise typer.BadParameter("nobody to send from: give --from ADDRESS, or set ACCORD_MAIL_FROM")
    return Sender.parse({"address": sender or user, "base_url": base_url}, at="mail")


def _send(store: Any, server: Any, keys: Sequence[str] = ("",)) -> None:
    """Send what is due, or some mails, and say what became of each; 1 where something did not go out."""
    from accord.papers.outbox import send_due

    tried = [mail for key in keys for mail in send_due(store, server, only=key)]
    for mail in tried:
        typer.echo(f"{mail.state}: {mail.recipient}, {mail.subject}{': ' if mail.error else ''}{mail.error}")
    if any(mail.state != "sent" for mail in tried):
        raise typer.Exit(1)


def _write(digest: Any, sender: Any, to: list[str], out: Path) -> None:
    from accord.files import replacing
    from accord.papers.digest import as_mail
    from accord.papers.mail import check_address

    mail = as_mail(digest, sender, check_address(to[0]), key="dry run")
    with replacing(out) as partial:
        partial.write_bytes(mail.as_bytes())
    typer.echo(f"nothing was sent; the mail is {out}")


def _days_ago(count: int) -> Any:
    import datetime

    return datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=count)
