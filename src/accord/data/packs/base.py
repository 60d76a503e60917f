"""What a pack is: a small real data set, where it comes from, and how a folder of it becomes rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Row = dict[str, Any]
Client = Literal["npm", "apt", "pip"]
Kind = Literal["image", "video", "audio", "sequence", "text", "texts", "number", "spans"]
Reject = Callable[[str, str], None]
"""Told the name of a file that cannot be used, and why."""


@dataclass(frozen=True)
class Archive:
    """One package file, pinned: what the package client downloads must be these bytes.

    Args:
        client: the package client that has it: ``"npm"``, ``"apt"`` or ``"pip"``.
        package: its name there.
        version: the exact version.
        size: bytes of the downloaded file.
        sha256: checksum of the downloaded file.
    """

    client: Client
    package: str
    version: str
    size: int
    sha256: str

    def __str__(self) -> str:
        """The name a reader would type.

        >>> str(Archive("npm", "emojibase-data", "17.0.0", 1, "00"))
        'emojibase-data 17.0.0 (npm)'
        """
        return f"{self.package} {self.version} ({self.client})"


@dataclass(frozen=True)
class AptIndex:
    """Index files that ``apt-get update`` brings beside the package lists, checked by the archive's signature.

    They change with every update of the distribution, so no checksum can be pinned; apt refuses files that do
    not match the signed ``Release``.

    Args:
        targets: name of each index target -> its path below the archive's component.
        size: bytes of all of them together when the pack was described, to show before the download.
    """

    targets: Mapping[str, str]
    size: int

    def __str__(self) -> str:
        """The name a reader would know.

        >>> str(AptIndex({"DEP-11": "dep11/Components.yml"}, 1))
        'index targets DEP-11 (apt)'
        """
        return f"index targets {', '.join(self.targets)} (apt)"


@dataclass(frozen=True)
class Pack:
    """One pack.

    Args:
        name: what follows ``pack:``.
        summary: one line for the list.
        about: a paragraph: what the rows are, what they are good for and what to watch for.
        licence: SPDX names, or a few words, of the content's licence.
        credit: whose work it is, and the attribution where one is asked for.
        origin: page of the source.
        sources: what to fetch.
        read: yields the rows of an unpacked folder, in a fixed order; names broken files to its second argument.
        schema: column -> kind; ``image``, ``video``, ``audio`` and ``sequence`` (``.npy``) hold encoded bytes,
            ``texts`` a list of strings, ``spans`` a list of starts and ends.
        columns: the default mapping from modality to column, with ``group``: the concept to split
            by; None keeps a modality out until it is asked for.
        expected_rows: rows that ``read`` gives on the sources described.
        options: what ``accord train pack:NAME`` needs besides, where the usual method does not take what the rows hold.
        embedded: Parquet file that ships with Accord, or None for a pack that is fetched.
    """

    name: str
    summary: str
    about: str
    licence: str
    credit: str
    origin: str
    sources: tuple[Archive | AptIndex, ...]
    read: Callable[[Path, Reject], Iterator[Row]] = field(repr=False)
    schema: Mapping[str, Kind]
    columns: Mapping[str, str | tuple[str, ...] | None]
    expected_rows: int
    options: str = ""
    embedded: Path | None = None

    @property
    def download_size(self) -> int:
        """Bytes that ``accord data get`` has to download."""
        return 0 if self.embedded else sum(source.size for source in self.sources)
