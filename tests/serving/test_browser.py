"""The application in a real browser, as ``accord serve`` starts it: its pages, what is done on them, and how they look.

Skipped where there is no Chromium. With ``ACCORD_SCREENS=FOLDER`` what the pages look like is written there.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from accord.papers.outbox import mails
from accord.papers.store import Store
from accord.serving.pages import PAGES
from serving.reviews import cleaned, discovered, pictures

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no browser: install chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-sync", "--no-first-run", "--disable-quic"]
WIDE, NARROW = 1280, 390  # pixels
PLACES = (
    *("/", *(page.path for page in PAGES)),
    *("/runs/runs/words", "/runs/compare?key=runs/words&key=runs/three"),
    *("/clean/runs/doubts", "/discover/runs/found", "/papers/capro", "/papers/subscribe"),
)

PASTE = """async () => {
  const canvas = new OffscreenCanvas(32, 32);
  canvas.getContext("2d").fillRect(0, 0, 32, 32);
  const held = new DataTransfer();
  held.items.add(new File([await canvas.convertToBlob()], "pasted.png", { type: "image/png" }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: held, bubbles: true }));
}"""  # a picture from the clipboard


@dataclass
class Served:
    """A running application.

    Args:
        address: where it is.
        folder: what it serves.
    """

    address: str
    folder: Path


@dataclass
class Seen:
    """A page of the browser, and what its console complained of."""

    page: Any
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def served(shop_floor: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``accord serve`` over two runs, a cleaning and found classes."""
    folder = tmp_path_factory.mktemp("served")
    for name in ("runs", "data"):
        shutil.copytree(shop_floor / name, folder / name)
    cleaned(folder / "runs" / "doubts", pictures(folder / "coloured", 24), 6)
    discovered(folder / "runs" / "found", folder / "coloured")
    command = [sys.executable, "-m", "accord", "serve", "runs", "--port", "0", "--data", str(folder / "data")]
    command += ["--store", str(folder / "papers.sqlite"), "--mail-from", "digest@example.org"]
    env = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, "accord serve did not say where it is"
        yield Served(found[0], folder)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0  # it ends when it is asked to, and says nothing went wrong


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium."""
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)


@pytest.fixture
def seen(browser: Any, served: Served) -> Iterator[Seen]:
    """A page, which nothing may complain of."""
    context = browser.new_context(base_url=served.address, viewport={"width": WIDE, "height": 900})
    found = Seen(context.new_page())
    found.page.on("console", lambda told: told.type == "error" and found.complaints.append(told.text))
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    yield found
    context.close()
    assert found.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_pages_fit_their_window_and_nothing_complains(seen, width, scheme):
    page = seen.page
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    for place in PLACES:
        page.goto(place)
        assert page.locator("h1").count() == 1, place
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width, f"{place} is too wide"
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 384) == (scheme == "dark"), place
        if folder := os.environ.get("ACCORD_SCREENS"):
            page.wait_for_load_state("networkidle")
            name = re.sub(r"\W+", "-", place).strip("-") or "front"
            page.screenshot(path=Path(folder) / f"{name}-{width}-{scheme}.png")


def test_every_page_is_reached_by_the_keyboard_alone(seen):
    page = seen.page
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    for target in PAGES:
        page.goto("/")
        for _ in range(len(PAGES) + 3):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.getAttribute('href')") == target.path:
                break
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(re.escape(target.path)))


def test_words_and_a_picture_find_rows_and_one_of_them_is_explained(seen, served):
    page = seen.page
    page.goto("/search?model=runs/words")
    page.locator("input[name=text]").wait_for(timeout=60_000)  # until the index is there
    page.fill("input[name=text]", "a red square")
    page.keyboard.press("Enter")
    page.wait_for_url("**text=a**")
    assert page.locator("img").count() > 3
    page.set_input_files("#drop input[type=file]", served.folder / "data" / "00.png")
    page.wait_for_url("**file=**")
    page.get_by_text("00.png").first.wait_for()
    page.goto("/search?model=runs/words")
    page.evaluate(PASTE)
    page.wait_for_url("**file=**")
    page.get_by_text("pasted.png").first.wait_for()
    page.goto("/explain?model=runs/words&row=3&text=a+red+square")
    page.get_by_text("nearest").first.wait_for(timeout=60_000)


def test_a_doubt_is_decided_taken_back_and_still_known_after(seen, served):
    page = seen.page
    page.goto("/clean/runs/doubts")
    card = page.locator("li.one").first
    card.locator("button[data-say=accept]").click()
    page.get_by_text("1 of 6 decided").wait_for()
    page.reload()
    assert page.get_by_text("1 of 6 decided").is_visible()
    page.keyboard.press("z")
    page.get_by_text("0 of 6 decided").wait_for()
    page.locator("li.one").nth(1).focus()
    page.keyboard.press("r")
    page.get_by_text("1 of 6 decided").wait_for()


def test_a_method_is_found_by_what_it_is_for(seen):
    page = seen.page
    page.goto("/papers")
    page.fill("#q", "temperature of image and text towers")
    page.locator("#papers-list").get_by_text("found by").wait_for(timeout=60_000)
    page.select_option("select[name=modality]", "graph")
    page.wait_for_url("**modality=graph**")
    page.locator("#papers-list h2 a").first.click()
    page.get_by_role("heading", name="Try it").wait_for()
    page.get_by_role("heading", name="Near to it").wait_for(timeout=60_000)


def test_a_digest_is_subscribed_to(seen, served):
    page = seen.page
    page.goto("/papers/subscribe")
    page.fill("input[name=address]", "you@example.org")
    page.get_by_role("button", name="Subscribe").click()
    page.get_by_role("heading", name="Look into your mail").wait_for()
    with Store(served.folder / "papers.sqlite") as store:
        assert [mail.recipient for mail in mails(store)] == ["you@example.org"]
