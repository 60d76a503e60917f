"""The check before the start: every medium of a corpus is decoded once, and the verdict remembered."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from rich.console import Console
from rich.progress import track

from accord import __version__
from accord.data.cache import dispensable
from accord.data.modalities import modality_of
from accord.data.quarantine import BadRow, RowError
from accord.data.reading.media import quiet_pillow
from accord.data.reading.sources import cache_folder
from accord.data.targets import get_target
from accord.files import write_atomically

if TYPE_CHECKING:
    from accord.data.corpus import Corpus

_SHOW_PROGRESS_FROM = 2000  # rows; fewer are checked before a bar can be read
_BLOCK = 512  # rows under way at once
_ROOMS = [Path(__file__).parent / room for room in ("reading", "modalities", "targets")]  # what judges cells


def check_media(corpus: Corpus, *, quiet: bool = False) -> list[BadRow]:
    """Decode every row's media once and list those that fail.

    The verdict is cached under the corpus's fingerprint, which covers size and time of every file, together with
    Pillow's pixel limit, whether empty cells are bad, and the code that judges: an unchanged corpus is not decoded
    again before that code changes.
    """
    if not (corpus.columns.media or corpus.targets) or not len(corpus):
        return []
    path = _verdict_path(corpus)
    known = _read_verdict(path)
    if known is not None:
        return known
    positions: Iterable[int] = range(len(corpus))
    if len(corpus) >= _SHOW_PROGRESS_FROM and not quiet:
        positions = track(positions, f"checking {corpus.name}", console=Console(stderr=True), transient=True)
    bad = list(_decode_all(corpus, positions))
    _write_verdict(path, bad)
    return bad


def unreadable_rows(corpus: Corpus) -> list[BadRow]:
    """Decode every row's media now, whatever is remembered of them, and list those that fail."""
    return list(_decode_all(corpus, range(len(corpus))))


def _decode_all(corpus: Corpus, positions: Iterable[int]) -> Iterator[BadRow]:
    remaining = iter(positions)
    alike: dict[str, dict[str, list[int]]] = {}  # field -> what has to be the same in all rows -> where it is so
    with ThreadPoolExecutor(max_workers=min(32, os.cpu_count() or 1)) as pool, quiet_pillow():
        while block := list(islice(remaining, _BLOCK)):
            for position, found in zip(block, pool.map(partial(_verdict, corpus), block), strict=True):
                if isinstance(found, BadRow):
                    yield found
                    continue
                for field, value in found.items():
                    alike.setdefault(field, {}).setdefault(value, []).append(position)
    for field, rows in alike.items():
        usual = max(rows, key=lambda value: len(rows[value]))
        for value in rows.keys() - {usual}:
            yield from (_odd(corpus, position, field, f"{value}, most rows have {usual}") for position in rows[value])


def _verdict(corpus: Corpus, position: int) -> BadRow | dict[str, str]:
    try:
        return corpus.check(position)
    except RowError as error:
        return BadRow(error.row, error.file, error.reason)


def _odd(corpus: Corpus, position: int, field: str, reason: str) -> BadRow:
    return BadRow(int(corpus.ids[position]), corpus.file_of(position, field), f"unlike the others: {reason}")


def _verdict_path(corpus: Corpus) -> Path:
    rule = "incomplete" if corpus.incomplete else "complete"
    return cache_folder("checks", f"{corpus.fingerprint}-{Image.MAX_IMAGE_PIXELS}-{rule}-{_code(corpus)}.json")


def _code(corpus: Corpus) -> str:
    """Hash of the version and of the sources of what judges these rows, those of other packages among it."""
    media = [type(modality_of(field)) for field in corpus.columns.media]
    kinds = [*media, *(get_target(name) for name in corpus.targets)]
    files = {path for room in _ROOMS for path in room.glob("*.py")} | {Path(inspect.getfile(kind)) for kind in kinds}
    digest = hashlib.blake2b(__version__.encode(), digest_size=8)
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read_verdict(path: Path) -> list[BadRow] | None:
    try:
        return [BadRow(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return None


def _write_verdict(path: Path, bad: list[BadRow]) -> None:
    with dispensable("what was found when the pictures were opened"):
        write_atomically(path, json.dumps([vars(entry) for entry in bad]))
