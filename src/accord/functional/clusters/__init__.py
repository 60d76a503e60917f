"""Rows put together: k-means, balanced and sparse assignment, Gaussian clusters, neighbours."""

from accord.functional.clusters.assignment import (
    codebook_orthogonality,
    column_marginal_error,
    ground,
    hungarian_matching,
    pool_relevance,
    sequence_relevance,
    sinkhorn,
    sparsemax,
    sparsemax_temperature,
    token_relevance,
)
from accord.functional.clusters.axes import principal_axes
from accord.functional.clusters.density_peaks import clusters_of, dpc_knn, merge_tokens
from accord.functional.clusters.discovery import Discovered, Tried, discover_classes
from accord.functional.clusters.halves import halves
from accord.functional.clusters.k_means import (
    assign_to_nearest,
    class_means,
    kmeans,
    kmeans_plus_plus,
    principal_components,
    semi_supervised_kmeans,
)
from accord.functional.clusters.mini_batch import mini_batch_kmeans
from accord.functional.clusters.neighbours import (
    Neighbours,
    k_reciprocal_distance,
    k_reciprocal_neighbours,
    knn_graph,
    sgc_smooth,
)
from accord.functional.clusters.niw import (
    ClusterStatistics,
    NIWPrior,
    SplitMergeInfo,
    log_hastings_merge,
    log_hastings_split,
    members_of,
    split_merge_step,
)
from accord.functional.clusters.prototypes import back_translate, concentration, prototype_density

__all__ = [
    "ClusterStatistics",
    "Discovered",
    "NIWPrior",
    "Neighbours",
    "SplitMergeInfo",
    "Tried",
    "assign_to_nearest",
    "back_translate",
    "class_means",
    "clusters_of",
    "codebook_orthogonality",
    "column_marginal_error",
    "concentration",
    "discover_classes",
    "dpc_knn",
    "ground",
    "halves",
    "hungarian_matching",
    "k_reciprocal_distance",
    "k_reciprocal_neighbours",
    "kmeans",
    "kmeans_plus_plus",
    "knn_graph",
    "log_hastings_merge",
    "log_hastings_split",
    "members_of",
    "merge_tokens",
    "mini_batch_kmeans",
    "pool_relevance",
    "principal_axes",
    "principal_components",
    "prototype_density",
    "semi_supervised_kmeans",
    "sequence_relevance",
    "sgc_smooth",
    "sinkhorn",
    "sparsemax",
    "sparsemax_temperature",
    "split_merge_step",
    "token_relevance",
]
