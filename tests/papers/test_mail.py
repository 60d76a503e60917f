"""Addresses, servers and mails: nothing that somebody writes becomes a header, an address or HTML of its own."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest

from accord.errors import ConfigError
from accord.papers.mail import Sender, Server, check_address, check_topic, compose, rendered

SENDER = Sender(address="papers@example.org", base_url="https://papers.example.org/")


@pytest.mark.parametrize("good", ["you@example.org", "a.b+c@x.example.org", "o'neil@localhost", "x@münchen.de"])
def test_addresses_are_taken(good) -> None:
    assert check_address(good).startswith(good.partition("@")[0] + "@")
    assert check_address(good).isascii()


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "you",
        "you@",
        "@example.org",
        "a b@example.org",
        "you@example.org\r\nBcc: all@example.org",
        "you@example.org\nRCPT TO:<all@example.org>",
        "you@example.org, all@example.org",
        "You <you@example.org>",
        "you@exa mple.org",
        "you@@example.org",
        "you@-example.org",
        "you@example..org",
        ".you@example.org",
        '"a b"@example.org',
        "you@example.org\u0000",
        "y" * 65 + "@example.org",
        "you@" + "a" * 300 + ".org",
    ],
)
def test_what_is_no_single_address_is_refused(bad) -> None:
    with pytest.raises(ConfigError, match="is no mail address: expected one such as you@"):
        check_address(bad)


@pytest.mark.parametrize("bad", ["a\nBcc: all", "a\rb", "x" * 101, "a\u202eb", "http://a", "see evil.com"])
def test_a_topic_is_words_on_one_line(bad) -> None:
    with pytest.raises(ConfigError, match="words on one line, at most 100 characters, no link"):
        check_topic(bad)
    assert check_topic(" labels <b>, GPT-4.1 e.g. ") == "labels <b>, GPT-4.1 e.g."


def test_a_password_does_not_travel_in_the_clear() -> None:
    with pytest.raises(ConfigError, match="would travel in the clear: add --starttls, or use port 465"):
        Server.at("mail.example.org:25", user="me")
    assert Server.at("mail.example.org", user="me", starttls=True).port == 587
    assert Server.at("mail.example.org:465", user="me").port == 465
    assert Server.at("localhost:2525", user="me").host == "localhost"


@pytest.mark.parametrize("bad", ["", "a:b", "a:99999", "a:1:2", "a b:25", "x@y:25", "a:0"])
def test_a_place_that_is_no_server_is_refused(bad) -> None:
    with pytest.raises(ConfigError):
        Server.at(bad)


@pytest.mark.parametrize("bad", ["papers.example.org", "javascript:alert(1)", "https://a.org/ b", 'https://a.org/"'])
def test_a_base_that_is_no_address_of_the_web_is_refused(bad) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        Sender.parse({"address": "a@b.org", "base_url": bad})


def test_a_mail_has_both_forms_and_ends_by_one_click() -> None:
    link = SENDER.link("unsubscribe", "u.1.x")
    assert link == "https://papers.example.org/papers/unsubscribe?token=u.1.x"
    raw = compose(SENDER, "you@example.org", "Déjà vu", "text é", "<p>é</p>", key="k", unsubscribe=link).as_bytes()
    mail = message_from_bytes(raw, policy=policy.default)
    assert (mail["Subject"], mail["To"]) == ("Déjà vu", "you@example.org")
    assert (mail["List-Unsubscribe"], mail["List-Unsubscribe-Post"]) == (f"<{link}>", "List-Unsubscribe=One-Click")
    assert mail.get_body(("plain",)).get_content().strip() == "text é"
    assert mail.get_body(("html",)).get_content().strip() == "<p>é</p>"
    assert raw.isascii()
    assert max(map(len, raw.splitlines())) < 998


def test_one_click_is_promised_over_https_alone() -> None:
    mail = compose(SENDER, "you@example.org", "s", "t", "h", key="k", unsubscribe="http://localhost:8000/u")
    assert mail["List-Unsubscribe"] == "<http://localhost:8000/u>"
    assert mail["List-Unsubscribe-Post"] is None
    assert compose(SENDER, "you@example.org", "s", "t", "h", key="k")["List-Unsubscribe"] is None


def test_the_number_of_a_mail_is_that_of_what_it_is() -> None:
    numbers = [compose(SENDER, "you@example.org", "s", "t", "h", key=key)["Message-ID"] for key in ("a", "a", "b")]
    assert numbers[0] == numbers[1] != numbers[2]


def test_a_line_break_cannot_begin_another_header() -> None:
    with pytest.raises(ValueError, match="linefeed or carriage return"):
        compose(SENDER, "you@example.org", "s\r\nBcc: all@example.org", "t", "h", key="k")


def test_html_is_escaped_and_text_is_not() -> None:
    text, html = rendered("confirm", topic="<script>x</script> & y", every_days=1, token="t", link="")
    assert "<script>x</script> & y" in text
    assert "&lt;script&gt;x&lt;/script&gt; &amp; y" in html
    assert "every 1 day at" in " ".join(text.split())
