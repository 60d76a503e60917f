"""Files that visitors send: known by what they hold, decoded elsewhere, and kept for a while under names of our own.

Nothing of a file is believed but its bytes. Another process, which may take little time and memory, makes of it what
can be used (:mod:`accord.serving.decoding`); the original is thrown away. A visitor gets a handle, which stands for
the file in later requests as long as there is room.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from accord.data.modalities import get_modality, items_in_files, sniff
from accord.errors import DataError
from accord.serving.config import ServeConfig
from accord.serving.decoding import DECODERS, Limits

MOST, ROOM = 200, 256 * 2**20  # files, and bytes of them, that are kept
_AT_ONCE = 2  # processes that decode
_MEMORY = 2 * 2**30  # bytes that one of them may take
_ALL = 40  # times as many pixels as of a picture are decoded of a clip
_NAME = 80  # characters of a name that are shown


@dataclass(frozen=True)
class Upload:
    """A file that a visitor sent.

    Args:
        handle: what stands for it in requests.
        name: what its sender calls it, to be shown and for nothing else.
        kind: its modality; of an animation ``image``.
        files: modality -> what to read it from.
        size: bytes of these.
    """

    handle: str
    name: str
    kind: str
    files: Mapping[str, Path]
    size: int

    def as_one_of(self, modalities: Collection[str]) -> tuple[str, Path]:
        """The modality that it is read as, and its file: its kind, or what else it can be read as.

        Raises:
            DataError: none of them.
        """
        for modality in (self.kind, *self.files):
            if modality in modalities and modality in self.files:
                return modality, self.files[modality]
        wanted = " or ".join(get_modality(name).item for name in modalities if name != "text") or "words"
        raise DataError(f"{self.name} is a {get_modality(self.kind).item}; the model takes a {wanted}")


class Uploads:
    """The files of one application.

    Args:
        folder: where they are kept.
        config: how large they may be, and how long decoding may take.

    Example:
        >>> Uploads(Path(tempfile.mkdtemp()), ServeConfig()).receive("notes.txt", b"some words")
        Traceback (most recent call last):
        accord.errors.DataError: notes.txt holds none of pictures, clips, recordings, sequences: choose another file
    """

    def __init__(self, folder: Path, config: ServeConfig) -> None:
        self._folder, self._config = folder, config
        self._known: OrderedDict[str, Upload] = OrderedDict()
        self._lock, self._workers = threading.Lock(), threading.BoundedSemaphore(_AT_ONCE)

    def receive(self, name: str | None, content: bytes) -> Upload:
        """Take a file in.

        Args:
            name: what its sender calls it.
            content: its bytes.

        Raises:
            DataError: it is of no kind that is taken, damaged, too large, or takes too long to decode.
        """
        shown, kind = _shown(name), sniff(content)
        if kind not in DECODERS:
            raise DataError(f"{shown} holds none of {items_in_files()}: choose another file")
        place = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            with self._workers:
                files = self._decoded(shown, kind, content, place)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        size = sum(file.stat().st_size for file in files.values())
        upload = Upload(secrets.token_urlsafe(16), shown, kind, files, size)
        self._keep(upload)
        return upload

    def get(self, handle: str) -> Upload:
        """The file of a handle.

        Raises:
            DataError: there is none, or it has made room for others.
        """
        with self._lock:
            if handle not in self._known:
                raise DataError("the file is not here any more: choose it again")
            self._known.move_to_end(handle)
            return self._known[handle]

    def _keep(self, upload: Upload) -> None:
        with self._lock:
            self._known[upload.handle] = upload
            while len(self._known) > MOST or sum(each.size for each in self._known.values()) > ROOM:
                _, old = self._known.popitem(last=False)
                shutil.rmtree(next(iter(old.files.values())).parent, ignore_errors=True)

    def _decoded(self, shown: str, kind: str, content: bytes, place: Path) -> dict[str, Path]:
        """What another process makes of the file."""
        source = place / "sent"
        source.write_bytes(content)
        seconds, pixels = self._config.decode_seconds, self._config.max_pixels
        limits = Limits(pixels, _ALL * pixels, _MEMORY, math.ceil(seconds) + 1, ROOM // 4)
        script = str(Path(__file__).with_name("decoding.py"))
        try:
            ended = subprocess.run(
                [sys.executable, "-P", script, kind, str(source), str(place), json.dumps(asdict(limits))],
                cwd=place,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise DataError(f"{shown} takes longer than {seconds:g} seconds to decode: choose a smaller file") from None
        finally:
            source.unlink()
        if ended.returncode:
            raise DataError(f"{shown} cannot be decoded: it is damaged, or takes more memory or time than a file may")
        found = json.loads(ended.stdout)
        if "refused" in found:
            raise DataError(f"{shown} cannot be taken: {found['refused']}")
        return {modality: place / file for modality, file in found["files"].items()}


def _shown(name: str | None) -> str:
    """The last part of a name, without what does not print.

    >>> _shown("../../etc/passwd"), _shown("C:\\\\x\\\\cat.png"), _shown(None), _shown("a\\x00b.png")
    ('passwd', 'cat.png', 'the file', 'ab.png')
    """
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable()).strip()[:_NAME] or "the file"


def _environment() -> dict[str, str]:
    """What the other process is told: where modules are, and to start no threads, which take memory."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, **threads, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
