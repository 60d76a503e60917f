"""Heads on tokens: queries of a dictionary, an attentional pooler, and prefixes for a language model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from accord.functional.checks import check_ndim, check_range, check_shape


class QueryMLP(nn.Sequential):
    """LayerNorm, Linear, GELU, LayerNorm, Linear: maps tokens to queries of a dictionary (FDT; Chen et al. 2023, CVPR).

    Args:
        d_in: width of the tokens.
        d: width of the queries.

    Example:
        >>> QueryMLP(8, 4)(torch.randn(2, 3, 8)).shape
        torch.Size([2, 3, 4])
    """

    def __init__(self, d_in: int, d: int) -> None:
        super().__init__(nn.LayerNorm(d_in), nn.Linear(d_in, d), nn.GELU(), nn.LayerNorm(d), nn.Linear(d, d))


class AttentionalPooler(nn.Module):
    """Learned queries attend to tokens; no residual and no MLP (CoCa; Yu et al. 2022, TMLR, section 3.2).

    ``MHA(query = LN(queries), key = value = LN(tokens))``.

    Args:
        d_model: width of queries and output.
        context_dim: width of the tokens.
        n_queries: number of queries.
        n_heads: attention heads; they divide ``d_model``.

    Example:
        >>> AttentionalPooler(16, 12, n_queries=5, n_heads=4)(torch.randn(3, 9, 12)).shape
        torch.Size([3, 5, 16])
    """

    def __init__(self, d_model: int, context_dim: int, n_queries: int, n_heads: int) -> None:
        super().__init__()
        check_range(1, max(n_queries, 1), n_queries=n_queries)
        self.query = nn.Parameter(torch.randn(n_queries, d_model))
        self.query_norm, self.context_norm = nn.LayerNorm(d_model), nn.LayerNorm(context_dim)
        self.attention = nn.MultiheadAttention(d_model, n_heads, kdim=context_dim, vdim=context_dim, batch_first=True)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Pool ``tokens (B, n, context_dim)`` to ``(B, n_queries, d_model)``; a row without a real token is zero.

        Args:
            tokens: ``(B, n, context_dim)``.
            mask: ``(B, n)`` bool, or None when all tokens are real.

        Raises:
            ShapeError: shapes that do not fit.
        """
        check_shape((None, None, self.context_norm.normalized_shape[0]), tokens=tokens)
        context = self.context_norm(tokens)
        query = self.query_norm(self.query).expand(tokens.shape[0], -1, -1)  # len() would fix it in an export
        if mask is None:
            return self.attention(query, context, context, need_weights=False)[0]
        check_shape(tuple(tokens.shape[:2]), mask=mask)
        empty = ~mask.any(dim=1, keepdim=True)  # (B, 1): attends everywhere, since a softmax over nothing is NaN
        pooled = self.attention(query, context, context, key_padding_mask=~(mask | empty), need_weights=False)[0]
        return pooled.masked_fill(empty[:, :, None], 0)


class PrefixProjector(nn.Module):
    """Turn one embedding into pseudo tokens of a language model (CLOSE; Gu et al. 2023, ICCV).

    Args:
        dim: width D of the embedding.
        lm_dim: width E of the language model's tokens.
        n_tokens: tokens that depend on the embedding.
        n_constant: learned tokens that do not; they come first.

    Example:
        >>> PrefixProjector(8, 16)(torch.randn(2, 8)).shape
        torch.Size([2, 4, 16])
    """

    def __init__(self, dim: int, lm_dim: int, n_tokens: int = 4, n_constant: int = 0) -> None:
        super().__init__()
        check_range(1, max(n_tokens, 1), n_tokens=n_tokens)
        check_range(0, max(n_constant, 0), n_constant=n_constant)
        self.n_tokens = n_tokens
        self.project = nn.Linear(dim, n_tokens * lm_dim)
        self.constant = nn.Parameter(torch.randn(n_constant, lm_dim)) if n_constant else None

    def forward(self, z: Tensor) -> Tensor:
        """Prefix ``(B, n_constant + n_tokens, E)`` of ``z (B, D)``.

        Raises:
            ShapeError: not ``(B, D)``.
        """
        check_shape((None, self.project.in_features), z=z)
        tokens = self.project(z).unflatten(1, (self.n_tokens, -1))
        if self.constant is None:
            return tokens
        return torch.cat([self.constant.to(tokens).expand(len(z), -1, -1), tokens], dim=1)


def prepend(prefix: Tensor, embeds: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Put a prefix before embedded tokens and extend their mask; give both to the encoder *and* to cross-attention.

    Args:
        prefix: ``(B, n, E)``.
        embeds: ``(B, L, E)`` token embeddings, or None when there is no text.
        mask: ``(B, L)`` bool or 0/1, or None when all tokens are real.

    Returns:
        ``(B, n + L, E)`` and its mask ``(B, n + L)``, in the type of ``mask`` (bool without one).

    Raises:
        ShapeError: shapes that do not fit.

    Example:
        >>> _, mask = prepend(torch.zeros(1, 2, 4), torch.zeros(1, 3, 4), torch.tensor([[True, True, False]]))
        >>> mask
        tensor([[ True,  True,  True,  True, False]])
    """
    check_ndim(3, prefix=prefix)
    embeds = prefix[:, :0] if embeds is None else embeds
    check_shape((len(prefix), None, prefix.shape[2]), embeds=embeds)
    mask = torch.ones(embeds.shape[:2], dtype=torch.bool, device=prefix.device) if mask is None else mask
    check_shape(tuple(embeds.shape[:2]), mask=mask)
    return torch.cat([prefix, embeds.to(prefix)], dim=1), torch.cat([mask.new_ones(prefix.shape[:2]), mask], dim=1)
