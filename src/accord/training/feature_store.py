"""Features on disk, one per content: whoever needs the features of a picture or a text finds those made before.

A store is a folder of safetensors files. Each holds the features of some contents beside the hashes of these
contents; files are only ever added, each written beside its place and renamed, so that a store is valid at any time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from accord.data.cache import dispensable
from accord.errors import DataError
from accord.files import replacing, storage_of

KEY_BYTES = 16


def content_key(*contents: bytes) -> bytes:
    """Hash of a content of one or more parts.

    >>> len(content_key(b"a cat")), content_key(b"a", b"b") == content_key(b"ab")
    (16, False)
    """
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for content in contents:
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.digest()


class FeatureStore:
    """Tensors by content key, in one folder.

    Args:
        folder: where the files are; made when something is added.

    Example:
        >>> import tempfile
        >>> store = FeatureStore(Path(tempfile.mkdtemp()))
        >>> cat, dog = content_key(b"cat"), content_key(b"dog")
        >>> store.add([cat], {"plain": torch.ones(1, 2)})
        >>> store.missing([cat, dog, dog])
        [1]
        >>> store.gather([cat, cat])["plain"].shape
        torch.Size([2, 2])
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._unwritten: list[tuple[list[bytes], dict[str, Tensor]]] = []
        self._read: dict[Path, list[bytes]] = {}  # files do not change

    def lock(self, keys: Sequence[bytes]) -> FileLock | None:
        """Held while features of these contents are computed, so that no two processes do; None without a folder."""
        with dispensable("features"), storage_of(self.folder):
            locks = self.folder / "locks"
            locks.mkdir(parents=True, exist_ok=True)
            return FileLock(locks / content_key(*keys).hex())
        return None

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Positions of the contents that are not stored, each content once."""
        known = {key for stored, _ in self._parts() for key in stored}
        first = {key: position for position, key in reversed(list(enumerate(keys))) if key not in known}
        return sorted(first.values())

    def add(self, keys: Sequence[bytes], tensors: dict[str, Tensor]) -> None:
        """Store the rows of ``tensors`` under ``keys``, in one file, atomically.

        Where they cannot be written, such as on a full disk, this object keeps them.
        """
        stored = torch.from_numpy(np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY_BYTES).copy())
        path = self.folder / f"{content_key(*keys).hex()}.safetensors"
        with dispensable("features"):
            with replacing(path) as place:
                contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
                save_file({"keys": stored, **contiguous}, place)
            return
        self._unwritten.append((list(keys), tensors))

    def gather(self, keys: Sequence[bytes]) -> dict[str, Tensor]:
        """The stored rows of ``keys``, in their order; all of them must be there."""
        places: dict[bytes, list[int]] = {}
        for position, key in enumerate(keys):
            places.setdefault(key, []).append(position)
        found: dict[str, Tensor] = {}
        for stored, tensors in self._parts():
            hits = [(row, position) for row, key in enumerate(stored) for position in places.get(key, ())]
            if not hits:
                continue
            rows, positions = torch.tensor(hits).unbind(1)
            for name, tensor in tensors().items():
                target = found.setdefault(name, torch.empty(len(keys), *tensor.shape[1:], dtype=tensor.dtype))
                target[positions] = tensor[rows]
        return found

    def _parts(self) -> Iterator[tuple[list[bytes], Callable[[], dict[str, Tensor]]]]:
        """The keys of each file, and how to read its tensors; then of what could not be written."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path not in self._read:
                content = _tensors(path, only="keys")["keys"].numpy().tobytes()
                self._read[path] = [content[i : i + KEY_BYTES] for i in range(0, len(content), KEY_BYTES)]
            yield self._read[path], partial(_tensors, path)
        for keys, tensors in self._unwritten:
            yield keys, partial(dict, tensors)


def _tensors(path: Path, only: str | None = None) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            names = [only] if only else [name for name in file.keys() if name != "keys"]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise DataError(f"stored features {path} cannot be read ({error}): delete the file, it is made anew") from None
