"""Words and sentences: losses on texts and captions, and what training draws from them."""

from accord.functional.text.captions import append_class_token_mask, caption_loss, caption_nll, token_mean
from accord.functional.text.draws import mlm_mask, pseudo_labels, replaced_words, sample_spans
from accord.functional.text.losses import (
    binary_nce,
    cline_sentence_loss,
    contrastive_tension_loss,
    electric_nce_logits,
    pool,
    simcse_loss,
    uncertainty_weighted,
)

__all__ = [
    "append_class_token_mask",
    "binary_nce",
    "caption_loss",
    "caption_nll",
    "cline_sentence_loss",
    "contrastive_tension_loss",
    "electric_nce_logits",
    "mlm_mask",
    "pool",
    "pseudo_labels",
    "replaced_words",
    "sample_spans",
    "simcse_loss",
    "token_mean",
    "uncertainty_weighted",
]
