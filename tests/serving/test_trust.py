"""Who is answered, what is taken, and what a browser may do with an answer."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from accord.errors import ConfigError
from accord.serving import ServeConfig, build_app
from accord.serving.trust import CSRF, CSRF_HEADER, Trust

LOCAL = "http://127.0.0.1:8000"
TOKEN = "a-token-that-nobody-guesses"


def guarded(**settings: object) -> FastAPI:
    """An application with one change that says how much it read."""
    app = FastAPI()

    @app.post("/change")
    async def change(request: Request) -> int:
        return len(await request.body())

    @app.post("/proven")
    def proven() -> bool:
        return True

    @app.get("/look")
    def look() -> str:
        return "seen"

    app.add_middleware(Trust, config=ServeConfig.parse(settings), proven=("/proven",))
    return app


@pytest.fixture
def browser() -> TestClient:
    """A visitor who has seen a page."""
    client = TestClient(guarded(), base_url=LOCAL)
    client.get("/look")
    return client


def test_another_name_for_this_machine_is_not_answered(browser):
    assert browser.get("/look", headers={"host": "elsewhere.example"}).status_code == 400
    assert browser.get("/look", headers={"host": "localhost:8000"}).status_code == 200
    assert browser.get("/look", headers={"host": "[::1]:8000"}).status_code == 200


def test_a_change_from_another_site_is_refused(browser):
    own = {"origin": LOCAL, CSRF_HEADER: browser.cookies[CSRF]}
    assert browser.post("/change", headers=own).status_code == 200
    assert browser.post("/change", headers={**own, "origin": "https://elsewhere.example"}).status_code == 403
    assert browser.post("/change", headers={**own, "sec-fetch-site": "cross-site"}).status_code == 403
    assert browser.post("/change", headers={**own, "origin": "null"}).status_code == 403


def test_a_change_from_a_browser_needs_what_only_our_pages_can_read(browser):
    assert browser.post("/change", headers={"origin": LOCAL}).status_code == 403
    assert browser.post("/change", headers={"origin": LOCAL, CSRF_HEADER: "guessed"}).status_code == 403
    assert browser.post("/change", headers={"sec-fetch-site": "same-origin"}).status_code == 403
    browser.cookies.clear()
    assert browser.post("/change", headers={"origin": LOCAL, CSRF_HEADER: ""}).status_code == 403


def test_a_program_changes_without(browser):
    assert TestClient(guarded(), base_url=LOCAL).post("/change", content=b"abc").json() == 3


def test_a_link_from_a_mail_needs_no_more_than_its_own_proof():
    client = TestClient(guarded(host="0.0.0.0", token=TOKEN), base_url="http://lab.example")
    assert client.post("/proven?token=its-own", headers={"origin": "https://mail.example"}).json() is True


@pytest.mark.parametrize("said", [True, False], ids=["length said", "in chunks"])
def test_a_body_that_is_too_large_is_not_read(said):
    client = TestClient(guarded(max_upload=1000), base_url=LOCAL)
    body = b"x" * 1001
    found = client.post("/change", content=body if said else iter([body[:600], body[600:]]))
    assert found.status_code == 413
    assert client.post("/change", content=b"x" * 1000).status_code == 200


def test_beyond_localhost_a_token_is_asked_for():
    with pytest.raises(ConfigError, match="set a token"):
        ServeConfig.parse({"host": "0.0.0.0"})
    client = TestClient(guarded(host="0.0.0.0", token=TOKEN), base_url="http://lab.example")
    assert client.get("/look").status_code == 401
    assert client.get("/look?token=wrong-wrong-wrong-wrong").status_code == 401
    assert client.get("/look", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    entered = client.get(f"/look?page=2&token={TOKEN}", follow_redirects=False)
    assert entered.headers["location"] == "/look?page=2"
    assert "HttpOnly" in entered.headers["set-cookie"]
    assert client.get("/look").status_code == 200  # by the cookie
    assert client.post("/change").status_code == 403  # which alone changes nothing


def test_every_answer_forbids_what_pages_do_not_need_and_has_an_id(visitor):
    for path in ("/", "/nothing", "/api/nothing"):
        headers = visitor.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert len(headers["x-request-id"]) == 12


@pytest.mark.parametrize(
    "path",
    ["../config.py", "%2e%2e/config.py", "..%2fconfig.py", "vendor/../../app.py", "%2fetc/passwd", "/etc/passwd"],
)
def test_static_files_are_ours_alone(visitor, path):
    assert visitor.get(f"/static/{path}").status_code == 404


def test_an_error_is_a_sentence_and_nothing_of_the_inside(root):
    app = build_app(ServeConfig(runs=(root,)))

    def failing() -> None:
        raise RuntimeError("a secret")

    app.add_api_route("/api/fails", failing)
    app.add_api_route("/fails", failing)
    with TestClient(app, base_url=LOCAL, raise_server_exceptions=False) as client:
        for path in ("/api/fails", "/fails"):
            found = client.get(path)
            assert found.status_code == 500
            assert "secret" not in found.text
            assert "the log has the reason" in found.text
            assert "default-src" in found.headers["content-security-policy"]
