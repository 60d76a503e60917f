"""Whether a plane of 50,000 embeddings is smooth to look around in: frames of a browser while it is zoomed and moved.

The application shows a file of embeddings with pictures and texts. Chromium (without a graphics card, as on a server)
opens its Diagnostics, turns the wheel and drags for some seconds, and says when each frame came and how often the
points were drawn anew. The same is done with few points in the same run, which is what the browser itself takes.
``loaded`` is from the address to the drawn points.

    python benchmarks/plane.py [seconds]
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from playwright.sync_api import Page, sync_playwright
from record import write

from accord.searching.rows import vector_column

SECONDS, SIZES, SIZE = 4.0, (500, 25_000), 64
CLASSES = 12
WINDOW = {"width": 1280, "height": 900}
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
WATCH = """() => {
  window.frames_seen = [];
  window.drawn = 0;
  window.count_drawn = () => { window.drawn++; };
  document.getElementById("sheet").chart.on("rendered", window.count_drawn);
  const next = (now) => { window.frames_seen.push(now); window.watching = requestAnimationFrame(next); };
  window.watching = requestAnimationFrame(next);
}"""
SEEN = """() => {
  cancelAnimationFrame(window.watching);
  document.getElementById("sheet").chart.off("rendered", window.count_drawn);
  return [window.frames_seen, window.drawn];
}"""


def main(seconds: float = SECONDS) -> None:
    """Measure, print and write ``results/plane.json``."""
    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser_path is None:
        raise SystemExit("there is no browser: install chromium")
    rows = []
    with TemporaryDirectory() as folder:
        for number in SIZES:
            draw(Path(folder) / f"{number}.parquet", number)
        command = [sys.executable, "-m", "accord", "serve", folder, "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
            assert server.stdout is not None
            address = next(word for word in server.stdout.readline().split() if word.startswith("http"))
            browser = playwright.chromium.launch(executable_path=browser_path, args=list(QUIET))
            page = browser.new_page(base_url=address, viewport=WINDOW)  # type: ignore[arg-type]
            for number in SIZES:
                rows.append(measured(page, address, f"{Path(folder).name}/{number}.parquet", seconds))
                print(rows[-1], flush=True)
            browser.close()
            server.send_signal(signal.SIGINT)
    print("written:", write("plane", rows, ("fastapi", "playwright")))


def draw(path: Path, rows: int) -> None:
    """Embeddings of classes, of pictures and of texts beside them."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, CLASSES, rows)
    centres = rng.standard_normal((CLASSES, SIZE), dtype=np.float32)
    sides = [
        F.normalize(torch.from_numpy(centres[label] + rng.standard_normal((rows, SIZE), dtype=np.float32)), dim=1)
        for _ in range(2)
    ]
    columns = {
        "image_vector": vector_column(sides[0]),
        "text_vector": vector_column(sides[1]),
        "text": [f"thing {row}" for row in range(rows)],
        "label": [f"class {kind}" for kind in label],
    }
    pq.write_table(pa.table(columns), path)


def measured(page: Page, address: str, name: str, seconds: float) -> dict[str, Any]:
    """One file."""
    client = httpx2.Client(base_url=address, timeout=60)
    known = client.post("/api/diagnostics", json={"model": name}).json()
    while known["state"] in ("waiting", "running"):
        time.sleep(0.2)
        known = client.get(f"/api/diagnostics/{known['id']}").json()
    assert known["state"] == "done", known
    began = time.perf_counter()
    page.goto(f"/diagnostics/{known['id']}")
    page.wait_for_function("document.getElementById('sheet').chart")
    loaded = time.perf_counter() - began
    page.locator("#sheet").scroll_into_view_if_needed()
    page.select_option("#by", "label")
    page.wait_for_timeout(500)
    zoomed, moved = frames(page, seconds, zoom), frames(page, seconds, move)
    return {
        "points": known["drawn"] * len(known["modalities"]),
        "loaded s": round(loaded, 2),
        **{f"zooming, {name}": value for name, value in zoomed.items()},
        **{f"moving, {name}": value for name, value in moved.items()},
    }


def frames(page: Page, seconds: float, act: Any) -> dict[str, float]:
    """Milliseconds between frames, and drawings a second, while something is done again and again."""
    page.evaluate(WATCH)
    end, turn = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        act(page, turn)
        turn += 1
    came, drawn = page.evaluate(SEEN)
    middle, late = np.quantile(np.diff(came), (0.5, 0.95))
    return {
        "ms a frame": round(float(middle), 1),
        "p95 ms": round(float(late), 1),
        "drawings/s": round(drawn / seconds, 1),
    }


def zoom(page: Page, turn: int) -> None:
    """Turn the wheel, twenty times nearer, then as often farther."""
    if not turn:
        box = page.locator("#sheet").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -60 if turn // 20 % 2 == 0 else 60)


def move(page: Page, turn: int) -> None:
    """Drag, to and fro."""
    box = page.locator("#sheet").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    if not turn:
        page.mouse.move(x, y)
        page.mouse.wheel(0, -600)  # what is wholly in view does not move
        page.mouse.down()
    page.mouse.move(x + 100 * np.sin(turn / 10), y + 60 * np.cos(turn / 10))


if __name__ == "__main__":
    main(*(float(argument) for argument in sys.argv[1:2]))
