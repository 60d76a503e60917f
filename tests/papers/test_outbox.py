"""The outbox against a server on this machine: what dies, is refused or runs twice, and what arrives all the same."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import time

import pytest

from accord.errors import ConfigError
from accord.papers import outbox
from accord.papers.mail import Sender, Server, compose
from accord.papers.outbox import MailServerError, mails, queue, resend_uncertain, send_due
from accord.papers.store import Store
from mail_server import AuthResult, mail_server

ME = "papers@example.org"
LATER = 10**10.0  # seconds since 1970: everything is due by then
SEND = """
import os, sys
from accord.papers import outbox
from accord.papers.mail import Server
from accord.papers.store import Store
if sys.argv[3] == "dies":  # when the server has taken the mail
    outbox._end = lambda *args: os.kill(os.getpid(), 9)
with Store(sys.argv[1]) as store:
    print(len(outbox.send_due(store, Server(host="127.0.0.1", port=int(sys.argv[2])))))
"""


@pytest.fixture
def server():
    with mail_server() as kept:
        yield kept


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


def put(store: Store, *keys: str) -> list[bool]:
    with store.transaction() as db:
        return [
            queue(db, key, compose(Sender(address=ME), f"{key}@example.org", f"about {key}", "t", "<p>h", key=key))
            for key in keys
        ]


def send(store: Store, server, **options) -> list[tuple[str, str]]:
    done = send_due(store, Server(host="127.0.0.1", port=server.port, timeout=5), **options)
    return [(mail.key, mail.state) for mail in done]


def states(store: Store) -> dict[str, str]:
    return {mail.key: mail.state for mail in mails(store)}


def sender_process(store: Store, server, how: str = "") -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", SEND, str(store.path), str(server.port), how])


def test_a_mail_is_sent_once_and_its_text_is_not_kept(store, server) -> None:
    assert put(store, "a", "b", "a") == [True, True, False]
    assert send(store, server) == [("a", "sent"), ("b", "sent")]
    assert send(store, server) == []
    assert put(store, "a") == [False]
    assert [(to, mail["Subject"]) for to, mail in server.taken] == [
        ("a@example.org", "about a"),
        ("b@example.org", "about b"),
    ]
    assert store.rows("SELECT count(*) FROM outbox WHERE message IS NOT NULL")[0][0] == 0


def test_one_mail_alone_can_be_sent(store, server) -> None:
    put(store, "a", "b")
    assert send(store, server, only="b") == [("b", "sent")]
    assert states(store) == {"a": "pending", "b": "sent"}


def test_a_refusal_for_now_is_tried_again_later_and_one_for_good_is_not(store, server) -> None:
    server.to_recipient = ["451 greylisted", "550 no such user"]
    put(store, "a", "b", "c")
    assert send(store, server) == [("a", "pending"), ("b", "failed"), ("c", "sent")]
    a, b = (next(mail for mail in mails(store) if mail.key == key) for key in "ab")
    assert (a.error, b.error) == ("451 greylisted", "550 no such user")
    assert 50 < a.due - time.time() < 70
    assert send(store, server) == []
    assert send(store, server, now=LATER) == [("a", "sent")]
    assert len(server.taken) == 2


def test_the_text_can_be_refused_too(store, server) -> None:
    server.to_text = ["452 full", "554 spam"]
    put(store, "a", "b")
    assert send(store, server) == [("a", "pending"), ("b", "failed")]


def test_a_server_that_does_not_take_our_sender_costs_no_mail(store, server) -> None:
    server.to_sender = ["530 log in first"]
    put(store, "a")
    with pytest.raises(MailServerError, match=r"takes nothing from papers@example.org: 530 log in first; mails wait"):
        send(store, server)
    assert states(store) == {"a": "pending"}
    assert send(store, server, now=LATER) == [("a", "sent")]


def test_a_server_that_is_away_is_tried_ever_more_rarely_and_given_up_at_last(store, monkeypatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = Server(host="127.0.0.1", port=free.getsockname()[1])
    put(store, "a")
    now, waits = time.time(), []
    monkeypatch.setattr(outbox.time, "time", lambda: now)
    for _ in range(outbox.MOST_TRIES):
        with pytest.raises(MailServerError, match=r"cannot be reached: .*refused; mails wait in the outbox"):
            send_due(store, nobody)
        (mail,) = mails(store)
        waits.append(mail.due - now)
        now = mail.due
    assert waits[:4] == [60, 120, 240, 480]
    assert waits == sorted(waits)
    assert mail.state == "failed"
    assert send_due(store, nobody) == []


def test_a_connection_that_breaks_after_the_text_leaves_the_mail_uncertain(store, server) -> None:
    server.to_text = ["hang up"]
    put(store, "a", "b")
    assert send(store, server) == [("a", "uncertain"), ("b", "sent")]
    assert send(store, server, now=LATER) == []
    assert len(server.taken) == 2


def test_a_process_killed_after_the_server_took_the_mail_does_not_send_it_again(store, server) -> None:
    put(store, "a", "b")
    assert sender_process(store, server, "dies").wait(60) == -9
    server.wait_for(1)
    assert send(store, server, now=LATER) == [("b", "sent")]
    assert states(store) == {"a": "uncertain", "b": "sent"}
    assert [to for to, _ in server.taken] == ["a@example.org", "b@example.org"]
    assert "it may have been sent" in next(mail.error for mail in mails(store, "uncertain"))
    assert resend_uncertain(store) == 1
    assert send(store, server) == [("a", "sent")]
    numbers = [mail["Message-ID"] for to, mail in server.taken if to == "a@example.org"]
    assert len(numbers) == 2
    assert numbers[0] == numbers[1]  # by which the reader's program knows the copy


def test_a_claim_of_another_machine_lapses_after_a_while(store, server) -> None:
    put(store, "a")
    assert outbox._claim(store, "", None) is not None
    store.db.execute("UPDATE outbox SET owner = 'elsewhere:1:x'")
    assert send(store, server, now=LATER) == []
    assert states(store) == {"a": "sending"}
    store.db.execute("UPDATE outbox SET lease = ?", (time.time() - 1,))
    assert states(store) == {"a": "uncertain"}
    assert server.taken == []


def test_two_processes_at_once_send_each_mail_once(store, server) -> None:
    keys = [f"k{number}" for number in range(40)]
    put(store, *keys)
    both = [sender_process(store, server) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert sorted(to for to, _ in server.taken) == sorted(f"{key}@example.org" for key in keys)
    assert set(states(store).values()) == {"sent"}


def test_a_password_is_asked_for_by_the_name_of_its_variable(store, server, monkeypatch) -> None:
    monkeypatch.delenv("ACCORD_SMTP_PASSWORD", raising=False)
    put(store, "a")
    with pytest.raises(ConfigError, match="no password for me: put it into the environment variable ACCORD_SMTP_PASS"):
        send_due(store, Server(host="127.0.0.1", port=server.port, user="me"))
    monkeypatch.setenv("ACCORD_SMTP_PASSWORD", "x")
    with pytest.raises(MailServerError, match="does not let me in"):
        send_due(store, Server(host="127.0.0.1", port=server.port, user="me"))
    assert [(mail.state, mail.tries) for mail in mails(store)] == [("pending", 0)]


def test_an_unknown_state_is_refused(store) -> None:
    with pytest.raises(ConfigError, match=r"no state 'send'; did you mean sent"):
        mails(store, "send")


def test_a_server_without_tls_is_told_nothing_where_tls_was_asked_for(store, server, monkeypatch) -> None:
    monkeypatch.setenv("ACCORD_SMTP_PASSWORD", "secret")
    put(store, "a")
    with pytest.raises(MailServerError, match="does not let me in: STARTTLS extension not supported"):
        send_due(store, Server(host="127.0.0.1", port=server.port, user="me", starttls=True))
    assert server.taken == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes the server's certificate")
def test_the_password_goes_over_tls_to_a_server_whose_certificate_is_good(store, tmp_path, monkeypatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*make.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    logins = []

    def check(server, session, envelope, mechanism, data) -> AuthResult:
        logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"secret")

    monkeypatch.setenv("ACCORD_SMTP_PASSWORD", "secret")
    put(store, "a")
    with mail_server(tls_context=tls, require_starttls=True, auth_required=True, authenticator=check) as server:
        place = Server(host="localhost", port=server.port, user="me", starttls=True)
        with pytest.raises(MailServerError, match="certificate verify failed"):
            send_due(store, place)
        assert logins == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert [mail.state for mail in send_due(store, place, now=LATER)] == ["sent"]
    assert logins == [(b"me", b"secret")]
