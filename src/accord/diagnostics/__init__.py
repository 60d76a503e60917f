"""Diagnostics of any model's embedding space: how its modalities lie to each other and how they fill the sphere."""

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
