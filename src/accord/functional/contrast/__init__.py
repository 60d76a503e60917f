"""Softmaxes over pairs: between two sides, among views, with weights, over remembered keys, among prototypes."""

from accord.functional.contrast.adaptive import adaptive_infonce
from accord.functional.contrast.candidates import (
    candidate_ce,
    candidate_distill,
    candidate_logits,
    swap_sensitivity,
)
from accord.functional.contrast.cross_modal import cross_modal_prototype_loss, slot_nt_xent
from accord.functional.contrast.grounding import best_moments, geodesic_contrastive_loss, mutual_matching_loss
from accord.functional.contrast.memory import (
    distill_targets,
    distilled_cross_entropy,
    kl_rows,
    queue_info_nce,
    queue_logits,
    queue_nce,
)
from accord.functional.contrast.pairs import (
    ClipLoss,
    contrastive_logits,
    first_of_each,
    indexed_nce,
    info_nce,
    sigmoid_contrast,
    targets_from_ids,
)
from accord.functional.contrast.prototypes import proto_nce, prototype_loss, prototype_nce
from accord.functional.contrast.swap import (
    assigned_prediction_loss,
    cross_view_nce,
    swap_assignment_loss,
    swapped_prediction_loss,
)
from accord.functional.contrast.views import (
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
from accord.functional.contrast.weighted import (
    cwcl_loss,
    multi_positive_nce,
    restricted_info_nce,
    target_entropy,
    weighted_infonce,
)

__all__ = [
    "ClipLoss",
    "adaptive_infonce",
    "assigned_prediction_loss",
    "average_view_nt_xent",
    "best_moments",
    "candidate_ce",
    "candidate_distill",
    "candidate_logits",
    "contrastive_logits",
    "cross_modal_prototype_loss",
    "cross_view_nce",
    "cwcl_loss",
    "dhel",
    "distill_targets",
    "distilled_cross_entropy",
    "first_of_each",
    "geodesic_contrastive_loss",
    "indexed_nce",
    "info_nce",
    "kl_rows",
    "multi_positive_nce",
    "mutual_matching_loss",
    "mv_dhel",
    "mv_infonce",
    "nt_xent",
    "pairwise_nt_xent",
    "poly_view_loss",
    "proto_nce",
    "prototype_loss",
    "prototype_nce",
    "queue_info_nce",
    "queue_logits",
    "queue_nce",
    "restricted_info_nce",
    "sigmoid_contrast",
    "slot_nt_xent",
    "split_views",
    "supcon",
    "swap_assignment_loss",
    "swap_sensitivity",
    "swapped_prediction_loss",
    "target_entropy",
    "targets_from_ids",
    "weighted_infonce",
]
