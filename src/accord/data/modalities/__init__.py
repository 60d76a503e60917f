"""Modalities: what a row may hold and an encoder may read, one file each, found by name or by what a file holds.

Another package adds one by the entry point ``accord.modalities``: ``name = "its.module:OBJECT"``, an instance of
:class:`Modality`. Its column is then ``data.columns.NAME`` and its option ``--NAME COL``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache
from importlib import import_module
from pathlib import PurePath
from typing import Annotated

from pydantic import AfterValidator

from accord.data.fields import declared, main_fields
from accord.data.modalities.base import VIEWS, Modality, Reading
from accord.errors import ConfigError, no_such
from accord.plugins import broken, complain, find_plugin

_MODULES = ("image", "text", "video", "audio", "graph", "sequence")


def _known(name: str) -> str:
    fed = [field for field in main_fields() if field not in _MODULES or get_modality(field).by_row]
    if name not in fed:
        raise ValueError(f"expected one of {', '.join(fed)}")
    return name


ModalityName = Annotated[str, AfterValidator(_known)]  # a setting of a method that takes what the user holds


@cache
def get_modality(name: str) -> Modality:
    """The modality of that name.

    Raises:
        ConfigError: there is none, or another package's cannot be used.

    Example:
        >>> get_modality("image").argument
        'images'
    """
    if name in _MODULES:
        found: Modality = import_module(f"{__name__}.{name}").MODALITY
        return found
    offered = find_plugin("modalities", name)
    if offered is None:
        raise ConfigError(no_such("modality", name, main_fields()))
    if not isinstance(offered, Modality) or offered.name != name:
        raise broken("modalities", name, f"expected an accord.data.modalities.Modality called {name}, got {offered!r}")
    if offered.views_from not in (None, *VIEWS):
        raise broken("modalities", name, f"views_from = {offered.views_from!r}, expected None or one of {VIEWS}")
    return offered


def modality_of(field: str) -> Modality:
    """What reads a field of a row: that of its declaration, such as pictures for ``reference``.

    >>> modality_of("reference").name
    'image'
    """
    return get_modality(declared(field).modality or field)


def viewed_field(fields: Iterable[str]) -> str | None:
    """The field that a method's ``views`` are of: pictures where there are any, else clips.

    >>> viewed_field(["text", "video"]), viewed_field(["video", "image"]), viewed_field(["text"])
    ('video', 'image', None)
    """
    given = set(fields)
    return next((kind.name for kind in get_modalities() if kind.name in given and kind.views_from == "views"), None)


@cache
def get_modalities() -> tuple[Modality, ...]:
    """All modalities, those of other packages last; one that cannot be used is left out, with a line that says so."""
    found = []
    for name in main_fields():
        try:
            found.append(get_modality(name))
        except ConfigError as error:
            complain(error)
    return tuple(found)


@cache
def suffixes() -> dict[str, str]:
    """Suffix of a file, in lower case with its dot -> the modality that it holds.

    >>> suffixes()[".webm"]
    'video'
    """
    return {suffix: kind.name for kind in get_modalities() for suffix in sorted(kind.suffixes)}


def items_in_files() -> str:
    """What files may hold, in words.

    >>> items_in_files()
    'pictures, clips, recordings, sequences'
    """
    return ", ".join(kind.items for kind in get_modalities() if kind.suffixes)


def modality_of_file(path: PurePath, among: Collection[str] = ()) -> str | None:
    """The modality of a file, by its suffix; None where no modality has it.

    Args:
        path: the file.
        among: modalities that it is wanted of, where it can be one of them: an animation is a clip for who reads no
            pictures.

    Example:
        >>> from pathlib import Path
        >>> modality_of_file(Path("a.PNG")), modality_of_file(Path("a.doc"))
        ('image', None)
        >>> modality_of_file(Path("a.gif"), ["video"]), modality_of_file(Path("a.gif"), ["video", "image"])
        ('video', 'image')
    """
    suffix = path.suffix.lower()
    usual = suffixes().get(suffix)
    if usual in among:
        return usual
    return next((kind.name for kind in get_modalities() if kind.name in among and suffix in kind.also), usual)


def sniff(content: bytes) -> str:
    """The modality of a file, from its first bytes; ``"other"`` where no modality knows them.

    >>> sniff(b"\\x89PNG rest"), sniff(b"RIFF....WAVEfmt"), sniff(b"....ftypisom"), sniff(b"hello")
    ('image', 'audio', 'video', 'other')
    """
    return next((modality.name for modality in get_modalities() if modality.knows(content)), "other")


__all__ = [
    "Modality",
    "ModalityName",
    "Reading",
    "get_modalities",
    "get_modality",
    "items_in_files",
    "modality_of",
    "modality_of_file",
    "sniff",
    "suffixes",
    "viewed_field",
]
