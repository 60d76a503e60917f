"""Masked language modelling beside a contrast: hidden tokens are named from the text around them (BERT)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.data.inputs import TextInput
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.encoders.fusion import TokenHead, token_table
from accord.encoders.tokenizer import SpecialTokens
from accord.errors import ConfigError
from accord.functional import gather_tokens, mlm_mask, own_rows, token_mean


class HiddenWords(nn.Module):
    """Hides tokens and scores the vocabulary for them; the table of tokens is the encoder's own where it fits.

    Args:
        encoder: a text encoder that gives tokens.
        share: of the tokens that are hidden.

    Raises:
        ConfigError: the tokenizer has no mask token.

    Example:
        >>> from accord.encoders import build_encoder
        >>> text = build_encoder("text", "tiny_text", texts=["a red ball"])
        >>> ids, mask = text.input.tokenizer(["a red ball"])
        >>> words = HiddenWords(text, share=0.5)
        >>> hidden, labels = words.hide(ids, mask, torch.Generator().manual_seed(0))
        >>> words.loss(text(hidden, mask), labels, text).shape
        torch.Size([])
    """

    def __init__(self, encoder: Encoder, share: float = 0.15) -> None:
        super().__init__()
        assert isinstance(encoder.input, TextInput)  # it is a text encoder
        tokenizer = encoder.input.tokenizer
        self.special: SpecialTokens = getattr(tokenizer, "special", SpecialTokens())
        if self.special.mask is None:
            raise ConfigError(
                "words are hidden behind a mask token, and the tokenizer has none: choose another encoder"
            )
        self.vocabulary, self.share = int(tokenizer.vocabulary), share  # type: ignore[attr-defined]
        tied = token_table(encoder, self.vocabulary) is not None
        self.head = TokenHead(encoder.token_dim, self.vocabulary, tied=tied)

    def hide(self, ids: Tensor, mask: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """The texts with hidden tokens, and the tokens that are hidden, -100 elsewhere; drawn for all processes.

        Args:
            ids: ``(B, L)``.
            mask: ``(B, L)``, True on real tokens.
            draws: the same in all processes.
        """
        every, free = gather_tokens(ids[..., None], mask & ~self.special.among(ids), with_grad=False)
        assert self.special.mask is not None
        found = mlm_mask(every[..., 0], ~free, self.vocabulary, self.share, mask_id=self.special.mask, generator=draws)
        hidden, labels = (x[own_rows(len(ids)), : ids.shape[1]] for x in found)
        return hidden, labels

    def loss(self, features: Features, labels: Tensor, encoder: Encoder) -> Tensor:
        """Cross-entropy of the hidden tokens, a mean over those of all processes.

        Args:
            features: of the texts with hidden tokens.
            labels: of :meth:`hide`.
            encoder: what made the features.
        """
        chosen = labels >= 0
        logits = self.head(features.sequence()[0][chosen], token_table(encoder, self.vocabulary)).float()  # (M, V)
        return token_mean(F.cross_entropy(logits, labels[chosen], reduction="sum"), chosen.sum(), across_processes=True)
