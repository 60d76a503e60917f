"""What a set of embeddings looks like: alignment, uniformity, rank, the gap between modalities and ways across it.

And whether two sets of the same rows agree.
"""

from accord.functional.measures.agreement import (
    cka,
    cknna,
    cycle_knn,
    knn_indices,
    lcs_knn,
    mutual_knn,
    mutual_knn_per_item,
    neighbour_overlap,
)
from accord.functional.measures.frechet import frechet_distance
from accord.functional.measures.gap import (
    GapClosingLoss,
    embedding_arithmetic,
    gap_closing_loss,
    gap_geometry,
    modality_gap,
    procrustes,
)
from accord.functional.measures.layers import Sweep, clamp_outliers, layer_sweep
from accord.functional.measures.regularity import (
    alignment,
    barlow_cross,
    cross_uniformity,
    cyclip_consistency,
    effective_rank,
    entropy,
    marginal_entropy,
    negative_cosine,
    uniform_sphere_uniformity,
    uniformity,
    used_dimensions,
)
from accord.functional.measures.transfer import (
    GapStats,
    GaussianNoise,
    LinearAdapter,
    MeanShift,
    StructuredNoise,
    fit_gap,
    noise_for_cosine,
    segment_mean,
)

__all__ = [
    "GapClosingLoss",
    "GapStats",
    "GaussianNoise",
    "LinearAdapter",
    "MeanShift",
    "StructuredNoise",
    "Sweep",
    "alignment",
    "barlow_cross",
    "cka",
    "cknna",
    "clamp_outliers",
    "cross_uniformity",
    "cycle_knn",
    "cyclip_consistency",
    "effective_rank",
    "embedding_arithmetic",
    "entropy",
    "fit_gap",
    "frechet_distance",
    "gap_closing_loss",
    "gap_geometry",
    "knn_indices",
    "layer_sweep",
    "lcs_knn",
    "marginal_entropy",
    "modality_gap",
    "mutual_knn",
    "mutual_knn_per_item",
    "negative_cosine",
    "neighbour_overlap",
    "noise_for_cosine",
    "procrustes",
    "segment_mean",
    "uniform_sphere_uniformity",
    "uniformity",
    "used_dimensions",
]
