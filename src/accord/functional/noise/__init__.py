"""Labels and pairs that may be wrong: finding them, weighing them, correcting them."""

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
    "assign_pseudo_captions",
    "capro_loss",
    "collective_bootstrap",
    "correct_labels",
    "gaussian_mixture_1d",
    "gmm_clean_probability",
    "kept_mean",
    "label_loss",
    "mixed_posterior",
    "monotone_log_odds",
    "positive_weight",
    "prediction_oscillation",
    "pseudo_classification_loss",
    "rectify_labels",
    "select_by_text",
    "soft_margin",
    "split_clean",
    "temporal_pseudo_labels",
    "triplet_ranking_loss",
]
