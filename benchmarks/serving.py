"""What ``accord serve`` bears: 200 visitors who search at once for a minute, while its index is being changed.

The application is a process of its own, over the model that ships and a folder of 2,000 of the pack's pictures. Each
visitor asks by words, waits for the answer and asks again. Meanwhile another process adds pictures and brings the index
up to date, again and again. Memory is what is resident of the application's process, after the first quarter of the
time and at the end; a visitor alone is measured first.

    python benchmarks/serving.py [seconds]
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import numpy as np
from record import write

from accord.data.corpus import Corpus, open_corpus

SECONDS, ALONE, VISITORS = 60.0, 10.0, 200
ROWS, MORE, PAUSE = 2000, 20, 2.0  # rows at first, rows that each change adds, seconds between two
ENDS = 60  # seconds to end in
WORDS = ("red", "green", "a heart", "a face", "an animal", "fruit", "a building", "a flag", "a clock", "a boat")


@dataclass
class Seen:
    """What visitors met with."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    rows: set[int] = field(default_factory=set)


def main(seconds: float = SECONDS) -> None:
    """Measure, print and write ``results/serving.json``."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        pictures = open_corpus("pack:emoji", columns={"text": ["name"]}, check=False, quiet=True)
        data = root / "pictures"
        add(data, pictures, 0, ROWS)
        # the index of the shipped model goes to a cache of its own
        surroundings = {**os.environ, "XDG_CACHE_HOME": str(root / "cache")}
        server, address = started(root, data, surroundings)
        try:
            opened(address, data)
            rows = [asyncio.run(measured(address, data, server.pid, 1, min(ALONE, seconds)))]
            changing = Changing(data, pictures, surroundings)
            changing.start()
            rows.append(asyncio.run(measured(address, data, server.pid, VISITORS, seconds)))
            rows[-1]["changes"] = changing.finish()
        finally:
            server.send_signal(signal.SIGINT)
            try:
                server.wait(ENDS)
            except subprocess.TimeoutExpired:
                print(f"the application goes on {ENDS} seconds after it was asked to end", file=sys.stderr)
                server.kill()
    for row in rows:
        print(row)
    print("written:", write("serving", rows, ("fastapi", "uvicorn", "faiss-cpu", "lancedb", "torch")))


def add(data: Path, pictures: Corpus, first: int, number: int) -> None:
    """Put some more pictures into the folder, which lists them only when they are there."""
    data.mkdir(exist_ok=True)
    listed = data / "metadata.csv"
    lines = listed.read_text().splitlines() if listed.exists() else ["file_name,caption"]
    for row in range(first, first + number):
        said = pictures.sample(row)
        said["image"].save(data / f"{row}.png")
        lines.append(f'{row}.png,"{said["text"][0]}"')
    partial = data / ".metadata.part"
    partial.write_text("\n".join(lines) + "\n")
    os.replace(partial, listed)


def started(root: Path, data: Path, surroundings: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    """The application, answering."""
    command = [sys.executable, "-m", "accord", "serve", str(root), "--data", str(data), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=surroundings)
    assert server.stdout is not None
    line = server.stdout.readline()
    return server, next(word for word in line.split() if word.startswith("http"))


def opened(address: str, data: Path) -> None:
    """Wait until the index is there."""
    asked = {"model": "house", "data": str(data), "text": "a heart"}
    while httpx2.get(f"{address}/api/search", params=asked, timeout=600).status_code == 202:
        time.sleep(0.5)


async def measured(address: str, data: Path, process: int, visitors: int, seconds: float) -> dict[str, Any]:
    """So many visitors for so many seconds."""
    seen, end = Seen(), time.perf_counter() + seconds
    limits = httpx2.Limits(max_connections=visitors, max_keepalive_connections=visitors)
    async with httpx2.AsyncClient(base_url=address, limits=limits, timeout=120) as client:
        memory = asyncio.create_task(resident_later(process, seconds / 4))
        await asyncio.gather(*(visit(client, data, seen, end, number) for number in range(visitors)))
        before = await memory
    after = resident(process)
    for error in sorted(set(seen.errors))[:5]:
        print("error:", error, file=sys.stderr)
    return {
        "visitors": visitors,
        "seconds": seconds,
        "searches": len(seen.seconds),
        "errors": len(seen.errors),
        "searches/s": round(len(seen.seconds) / seconds, 1),
        "p50 ms": round(1000 * float(np.quantile(seen.seconds, 0.5))),
        "p99 ms": round(1000 * float(np.quantile(seen.seconds, 0.99))),
        "states of the index": len(seen.rows),
        "MB after a quarter": round(before),
        "MB at the end": round(after),
        "changes": 0,
    }


async def visit(client: httpx2.AsyncClient, data: Path, seen: Seen, end: float, number: int) -> None:
    """One visitor, until the end."""
    for turn in count(number):
        if time.perf_counter() >= end:
            return
        words = f"{WORDS[turn % len(WORDS)]} {turn % 97}"
        began = time.perf_counter()
        try:
            answer = await client.get(
                "/api/search", params={"model": "house", "data": str(data), "text": words, "k": 10}
            )
            seen.seconds.append(time.perf_counter() - began)
            if answer.status_code != 200 or len(answer.json()["hits"]) != 10:
                seen.errors.append(f"{answer.status_code} {answer.text[:200]}")
            else:
                seen.rows.add(answer.json()["rows"])
        except httpx2.HTTPError as error:
            seen.errors.append(repr(error))


class Changing(threading.Thread):
    """Another process that adds rows to the data and brings the index up to date, until it is told to finish."""

    def __init__(self, data: Path, pictures: Corpus, surroundings: dict[str, str]) -> None:
        super().__init__()
        self.data, self.pictures, self.surroundings = data, pictures, surroundings
        self.done, self.ending = 0, threading.Event()

    def run(self) -> None:
        """Add and update."""
        while not self.ending.wait(PAUSE):
            add(self.data, self.pictures, ROWS + MORE * self.done, MORE)
            command = [sys.executable, "-m", "accord", "search", "house", str(self.data), "a heart", "-k", "1"]
            subprocess.run(command, check=True, capture_output=True, env=self.surroundings)
            self.done += 1

    def finish(self) -> int:
        """How many changes there were."""
        self.ending.set()
        self.join()
        return self.done


async def resident_later(process: int, seconds: float) -> float:
    """What is resident of a process after some seconds."""
    await asyncio.sleep(seconds)
    return resident(process)


def resident(process: int) -> float:
    """MB of a process that are in memory."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1000


if __name__ == "__main__":
    main(*(float(argument) for argument in sys.argv[1:2]))
