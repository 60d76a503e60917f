"""Pure, differentiable mathematics on tensors; usable alone in any PyTorch project.

Functions hold no state and need PyTorch only. Vectors are unit norm where the docstring says so, results are
float32 at least, also under autocast, and shapes are checked at the door.
"""

from accord.functional.contrast import (
    ClipLoss,
    contrastive_logits,
    indexed_nce,
    info_nce,
    prototype_nce,
    queue_logits,
    queue_nce,
    sigmoid_contrast,
    targets_from_ids,
)
from accord.functional.distributed import gather_features, rank, world_size
from accord.functional.graph import (
    Neighbours,
    k_reciprocal_distance,
    k_reciprocal_neighbours,
    knn_graph,
    sgc_smooth,
)
from accord.functional.noise import (
    capro_loss,
    collective_bootstrap,
    correct_labels,
    kept_mean,
    label_loss,
    mixed_posterior,
    positive_weight,
    select_by_text,
)
from accord.functional.regularity import alignment, effective_rank, modality_gap, uniformity
from accord.functional.similarity import pairwise_cosine_similarity
from accord.functional.tiled import tiled_logsumexp, tiled_logsumexp_both

__all__ = [
    "ClipLoss",
    "Neighbours",
    "alignment",
    "capro_loss",
    "collective_bootstrap",
    "contrastive_logits",
    "correct_labels",
    "effective_rank",
    "gather_features",
    "indexed_nce",
    "info_nce",
    "k_reciprocal_distance",
    "k_reciprocal_neighbours",
    "kept_mean",
    "knn_graph",
    "label_loss",
    "mixed_posterior",
    "modality_gap",
    "pairwise_cosine_similarity",
    "positive_weight",
    "prototype_nce",
    "queue_logits",
    "queue_nce",
    "rank",
    "select_by_text",
    "sgc_smooth",
    "sigmoid_contrast",
    "targets_from_ids",
    "tiled_logsumexp",
    "tiled_logsumexp_both",
    "uniformity",
    "world_size",
]
