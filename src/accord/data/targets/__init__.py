"""Targets: what rows say about their pictures and clips beside what these show, one file a kind.

A method names the targets that it learns from in ``Method.targets``, by their column.
"""

from __future__ import annotations

from typing import Any

from accord.data.targets.base import Canvas, Place, Target, entries
from accord.data.targets.boxes import Boxes
from accord.data.targets.instances import Instances
from accord.data.targets.masks import SemanticMask
from accord.data.targets.moments import Moments
from accord.data.targets.roles import ROLES, Role
from accord.data.targets.tracks import TrackMasks, Tracks

TARGETS: dict[str, type[Target[Any]]] = {
    kind.name: kind for kind in (SemanticMask, Boxes, Instances, Tracks, TrackMasks, Moments, Role)
}

__all__ = [
    "ROLES",
    "TARGETS",
    "Boxes",
    "Canvas",
    "Instances",
    "Moments",
    "Place",
    "Role",
    "SemanticMask",
    "Target",
    "TrackMasks",
    "Tracks",
    "entries",
]
