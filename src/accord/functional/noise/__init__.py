"""Labels and pairs that may be wrong: finding them, weighing them, correcting them."""

from accord.functional.noise.instances import (
    SemiBags,
    cross_modal_instance_loss,
    gather_bags,
    instance_contrast,
    semi_bags,
    snippets_to_frames,
    topk_mil_pool,
)
from accord.functional.noise.labels import (
    capro_loss,
    collective_bootstrap,
    correct_labels,
    kept_mean,
    label_loss,
    mixed_posterior,
    positive_weight,
    select_by_text,
)
from accord.functional.noise.mixtures import (
    GaussianMixture1d,
    gaussian_mixture_1d,
    gmm_clean_probability,
    monotone_log_odds,
    split_clean,
)
from accord.functional.noise.pairs import (
    assign_pseudo_captions,
    prediction_oscillation,
    pseudo_classification_loss,
    rectify_labels,
    soft_margin,
    triplet_ranking_loss,
)
from accord.functional.noise.segments import Segment, temporal_pseudo_labels

__all__ = [
    "GaussianMixture1d",
    "Segment",
    "SemiBags",
    "assign_pseudo_captions",
    "capro_loss",
    "collective_bootstrap",
    "correct_labels",
    "cross_modal_instance_loss",
    "gather_bags",
    "gaussian_mixture_1d",
    "gmm_clean_probability",
    "instance_contrast",
    "kept_mean",
    "label_loss",
    "mixed_posterior",
    "monotone_log_odds",
    "positive_weight",
    "prediction_oscillation",
    "pseudo_classification_loss",
    "rectify_labels",
    "select_by_text",
    "semi_bags",
    "snippets_to_frames",
    "soft_margin",
    "split_clean",
    "temporal_pseudo_labels",
    "topk_mil_pool",
    "triplet_ranking_loss",
]
