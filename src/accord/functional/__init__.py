"""Pure, differentiable mathematics on tensors; usable alone in any PyTorch project.

Functions hold no state and need PyTorch only. Vectors are unit norm where the docstring says so, results are
float32 at least, also under autocast, and shapes are checked at the door.
"""

from accord.functional.contrast import (
    ClipLoss,
    contrastive_logits,
    cwcl_loss,
    indexed_nce,
    info_nce,
    multi_positive_nce,
    restricted_info_nce,
    sigmoid_contrast,
    targets_from_ids,
    weighted_infonce,
)
from accord.functional.distributed import gather_features, rank, world_size
from accord.functional.engine import contrastive_loss, masked_logsumexp, row_normalize
from accord.functional.graph import (
    Neighbours,
    k_reciprocal_distance,
    k_reciprocal_neighbours,
    knn_graph,
    sgc_smooth,
)
from accord.functional.multiview import (
    average_view_nt_xent,
    dhel,
    mv_dhel,
    mv_infonce,
    nt_xent,
    pairwise_nt_xent,
    poly_view_loss,
    split_views,
    supcon,
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
from accord.functional.prototypes import proto_nce, prototype_loss, prototype_nce
from accord.functional.queue import distill_targets, queue_info_nce, queue_logits, queue_nce
from accord.functional.regularity import alignment, effective_rank, modality_gap, uniformity
from accord.functional.similarity import pairwise_cosine_similarity
from accord.functional.tiled import self_logsumexp, tiled_logsumexp, tiled_logsumexp_both

__all__ = [
    "ClipLoss",
    "Neighbours",
    "alignment",
    "average_view_nt_xent",
    "capro_loss",
    "collective_bootstrap",
    "contrastive_logits",
    "contrastive_loss",
    "correct_labels",
    "cwcl_loss",
    "dhel",
    "distill_targets",
    "effective_rank",
    "gather_features",
    "indexed_nce",
    "info_nce",
    "k_reciprocal_distance",
    "k_reciprocal_neighbours",
    "kept_mean",
    "knn_graph",
    "label_loss",
    "masked_logsumexp",
    "mixed_posterior",
    "modality_gap",
    "multi_positive_nce",
    "mv_dhel",
    "mv_infonce",
    "nt_xent",
    "pairwise_cosine_similarity",
    "pairwise_nt_xent",
    "poly_view_loss",
    "positive_weight",
    "proto_nce",
    "prototype_loss",
    "prototype_nce",
    "queue_info_nce",
    "queue_logits",
    "queue_nce",
    "rank",
    "restricted_info_nce",
    "row_normalize",
    "select_by_text",
    "self_logsumexp",
    "sgc_smooth",
    "sigmoid_contrast",
    "split_views",
    "supcon",
    "targets_from_ids",
    "tiled_logsumexp",
    "tiled_logsumexp_both",
    "uniformity",
    "weighted_infonce",
    "world_size",
]
