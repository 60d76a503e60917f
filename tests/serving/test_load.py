"""Many visitors at once, while the index is being changed: nobody meets with an error."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx2
import pytest
import uvicorn
from PIL import Image

import accord
from accord.data.corpus import open_corpus
from accord.searching.index import build_index
from accord.serving import ServeConfig, build_app

VISITORS, SECONDS = 24, 4.0


@pytest.fixture
def address(floor) -> Iterator[str]:
    """An application that listens."""
    config = ServeConfig(runs=(floor / "runs",), data=(str(floor / "data"),), models=())
    server = uvicorn.Server(uvicorn.Config(build_app(config), port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(30)


def test_many_search_at_once_while_the_index_changes(address, floor):
    asked = {"model": "runs/words", "data": str(floor / "data"), "k": 5}
    while httpx2.get(f"{address}/api/search", params={**asked, "text": "a square"}).status_code == 202:
        time.sleep(0.1)
    met: Counter[int] = Counter()
    rows: set[int] = set()
    end = time.monotonic() + SECONDS

    def visit(number: int) -> None:
        with httpx2.Client(base_url=address, timeout=60) as client:
            while time.monotonic() < end:
                question = {"text": f"a red square {number}"} if number % 3 else {"like": number % 20}
                path = "/search" if number % 4 == 0 else "/api/search"
                answer = client.get(path, params={**asked, **question})
                met[answer.status_code] += 1
                if path == "/api/search" and answer.status_code == 200:
                    rows.add(answer.json()["rows"])
                    assert len(answer.json()["hits"]) == 5

    visitors = [threading.Thread(target=visit, args=(number,)) for number in range(VISITORS)]
    for visitor in visitors:
        visitor.start()
    model = accord.load(floor / "runs" / "words", "cpu")
    for number in range(24, 27):
        Image.new("RGB", (32, 32), (250, 250, number)).save(floor / "data" / f"{number}.png")
        with (floor / "data" / "metadata.csv").open("a") as file:
            file.write(f"{number}.png,a yellow square,yellow\n")
        build_index(model.path, model, open_corpus(floor / "data", quiet=True), progress=False)
    for visitor in visitors:
        visitor.join()
    assert set(met) == {200}
    assert met[200] >= VISITORS
    assert max(rows) > 24
