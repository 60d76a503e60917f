"""Targets: what rows say about their pictures and clips beside what these show, one file a kind.

A method names the targets that it learns from in ``Method.targets``, by their column.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from accord.errors import ConfigError, no_such

if TYPE_CHECKING:
    from accord.data.targets.base import Canvas, Target, entries
    from accord.data.targets.boxes import Boxes
    from accord.data.targets.instances import Instances
    from accord.data.targets.masks import SemanticMask
    from accord.data.targets.moments import MomentSpans
    from accord.data.targets.place import Place
    from accord.data.targets.roles import ROLES, Role
    from accord.data.targets.texts import Counterfactuals, HardText, TextPair
    from accord.data.targets.tracks import TrackBoxes, TrackMasks

# name, which is its column -> module and class; imported when it is asked for
_TARGETS = {
    "mask": ("masks", "SemanticMask"),
    "boxes": ("boxes", "Boxes"),
    "instances": ("instances", "Instances"),
    "tracks": ("tracks", "TrackBoxes"),
    "track_masks": ("tracks", "TrackMasks"),
    "moments": ("moments", "MomentSpans"),
    "role": ("roles", "Role"),
    "hard_text": ("texts", "HardText"),
    "counterfactuals": ("texts", "Counterfactuals"),
    "text_pair": ("texts", "TextPair"),
}
TARGETS = tuple(_TARGETS)
_HOMES = {kind: module for module, kind in _TARGETS.values()} | {
    "Canvas": "base",
    "Target": "base",
    "entries": "base",
    "Place": "place",
    "ROLES": "roles",
}

__all__ = [
    "ROLES",
    "TARGETS",
    "Boxes",
    "Canvas",
    "Counterfactuals",
    "HardText",
    "Instances",
    "MomentSpans",
    "Place",
    "Role",
    "SemanticMask",
    "Target",
    "TextPair",
    "TrackBoxes",
    "TrackMasks",
    "entries",
    "fields_of",
    "get_target",
]


def get_target(name: str) -> type[Target[Any]]:
    """The kind of target of that name.

    Raises:
        ConfigError: there is none.

    Example:
        >>> get_target("boxes").keys
        ('boxes', 'instance_present', 'instance_label', 'instance_id', 'instance_text')
    """
    if name not in _TARGETS:
        raise ConfigError(no_such("target", name, TARGETS))
    found: type[Target[Any]] = __getattr__(_TARGETS[name][1])
    return found


def fields_of(names: Iterable[str]) -> tuple[str, ...]:
    """The columns that these targets read.

    >>> fields_of(["boxes", "role"])
    ('boxes', 'instance_label', 'instance_text', 'role')
    """
    return tuple(field for name in names for field in get_target(name).fields)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
