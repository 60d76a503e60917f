"""Diagnostics of any model's embedding space: how its modalities lie to each other and how they fill the sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accord.diagnostics.gap import (
        Diagnostic,
        embedding_diagnostics,
        gap_diagnostics,
        gap_metrics,
        linear_separability,
        pair_diagnostics,
        spread_diagnostics,
    )

__all__ = [
    "Diagnostic",
    "embedding_diagnostics",
    "gap_diagnostics",
    "gap_metrics",
    "linear_separability",
    "pair_diagnostics",
    "spread_diagnostics",
]


def __getattr__(name: str) -> Any:
    """What is asked for, imported then: the names of measures are there before PyTorch is."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from accord.diagnostics import gap

    return getattr(gap, name)
