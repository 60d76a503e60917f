"""A codebook that modalities share: tokens of each are looked up in one set of learned vectors (FDT)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from accord.encoders.heads import QueryMLP
from accord.functional.checks import check_positive, check_range
from accord.functional.clusters.assignment import (
    Activation,
    PadMode,
    Pool,
    ground,
    sequence_relevance,
    sparsemax_temperature,
    token_relevance,
)

TOKENS_PER_DEGREE = 16  # C / T at which about 30 % of the entries are active at the start, whatever C


class FDTHead(nn.Module):
    """One codebook for all modalities, and a query map for each (Chen et al. 2023, CVPR, "FDT").

    The codebook starts standard normal. Temperature is a buffer, so that a model embeds with the one it was trained
    with; :meth:`calibrate_` sets it by how much of the codebook is to be active, :meth:`decay_` lowers it.

    Args:
        widths: modality -> width of its tokens.
        num_tokens: entries C of the codebook.
        dim: width d of an entry.
        pool: largest, mean or sum of the relevance over the tokens of an input.
        activation: sparsemax (exact zeros), softmax or sigmoid.
        pad_mode: "exclude" leaves padding out; "zero" counts it as tokens of relevance 0.
        temperature: divides the relevance; None starts at C / 16, where about 30 % of the entries are active.

    Example:
        >>> head = FDTHead({"image": 8, "text": 6}, num_tokens=32, dim=4)
        >>> w, e = head("image", torch.randn(2, 9, 8))
        >>> w.shape, e.shape, w.sum(dim=1).round().tolist()
        (torch.Size([2, 32]), torch.Size([2, 4]), [1.0, 1.0])
    """

    temperature: Tensor

    def __init__(
        self,
        widths: Mapping[str, int],
        num_tokens: int = 16384,
        dim: int = 512,
        *,
        pool: Pool = "max",
        activation: Activation = "sparsemax",
        pad_mode: PadMode = "exclude",
        temperature: float | None = None,
    ) -> None:
        super().__init__()
        check_range(2, max(num_tokens, 2), num_tokens=num_tokens)
        self.pool, self.activation, self.pad_mode = pool, activation, pad_mode
        self.codebook = nn.Parameter(torch.randn(num_tokens, dim))
        self.queries = nn.ModuleDict({modality: QueryMLP(width, dim) for modality, width in widths.items()})
        start = num_tokens / TOKENS_PER_DEGREE if temperature is None else temperature
        check_positive(temperature=start)
        self.register_buffer("temperature", torch.tensor(float(start)))

    def forward(self, modality: str, tokens: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Activations ``(B, C)`` and embeddings ``(B, d)`` of ``tokens (B, n, width)``, float32, not normalised.

        Args:
            modality: which query map to take.
            tokens: ``(B, n, width)``.
            mask: ``(B, n)`` bool, True where there is a token, or None when all are.
        """
        return ground(
            tokens,
            self.codebook,
            self.queries[modality],
            mask,
            self.temperature,
            self.pool,
            self.activation,
            self.pad_mode,
        )

    def relevance(self, modality: str, tokens: Tensor) -> Tensor:
        """What each token contributes to the pooled relevance, over the temperature: ``(B, n, C)``."""
        return token_relevance(tokens, self.codebook, self.queries[modality]) / self.temperature

    @torch.no_grad()
    def calibrate_(self, inputs: Mapping[str, tuple[Tensor, Tensor | None]], support: float) -> None:
        """Choose the temperature at which sparsemax activates a share of the codebook, on average over ``inputs``.

        Args:
            inputs: modality -> tokens ``(B, n, width)`` and mask ``(B, n)`` or None; equally many of each.
            support: share of active entries, in (1 / C, 1).
        """
        relevance = [
            sequence_relevance(tokens, self.codebook, self.queries[modality], mask, self.pool, self.pad_mode)
            for modality, (tokens, mask) in inputs.items()
        ]
        self.temperature.copy_(sparsemax_temperature(torch.cat(relevance), support))

    @torch.no_grad()
    def decay_(self, factor: float, lowest: float) -> None:
        """Multiply the temperature by ``factor``, down to ``lowest``."""
        self.temperature.mul_(factor).clamp_(min=lowest)
