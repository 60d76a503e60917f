"""Diagnostics of an embedding space: how its modalities lie to each other, how they fill the sphere, what they tell."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accord.diagnostics.classes import class_diagnostics
    from accord.diagnostics.factors import factor_diagnostics
    from accord.diagnostics.finding import Diagnostic, Finding
    from accord.diagnostics.gap import (
        embedding_diagnostics,
        gap_diagnostics,
        gap_metrics,
        linear_separability,
        pair_diagnostics,
        spread_diagnostics,
    )
    from accord.diagnostics.purity import Purity, neighbour_purity
    from accord.diagnostics.space import Factor, Space

_HOMES = {
    "classes": ("class_diagnostics",),
    "factors": ("factor_diagnostics",),
    "finding": ("Diagnostic", "Finding"),
    "gap": (
        "embedding_diagnostics",
        "gap_diagnostics",
        "gap_metrics",
        "linear_separability",
        "pair_diagnostics",
        "spread_diagnostics",
    ),
    "purity": ("Purity", "neighbour_purity"),
    "space": ("Factor", "Space"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Diagnostic",
    "Factor",
    "Finding",
    "Purity",
    "Space",
    "class_diagnostics",
    "embedding_diagnostics",
    "factor_diagnostics",
    "gap_diagnostics",
    "gap_metrics",
    "linear_separability",
    "neighbour_purity",
    "pair_diagnostics",
    "spread_diagnostics",
]


def __getattr__(name: str) -> Any:
    """What is asked for, imported then: the names of measures are there before PyTorch is."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
