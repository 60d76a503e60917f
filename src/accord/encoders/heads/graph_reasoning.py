"""Similarity by graph reasoning over local and global alignments: the SGR head of SGRAF (Diao et al. 2021, AAAI).

Every word of a caption attends to the regions of a picture; how it differs from what it found is a node of a graph, how
picture and caption differ as a whole is another, and a few rounds of attention between the nodes end in one number.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from accord.encoders.pooling import masked_mean
from accord.functional import stacked_cross_attention
from accord.functional.checks import as_float, check_range, check_same_width, check_shape

CHUNK_ELEMENTS = 1 << 24  # numbers in the contexts and affinities of the pairs that are held at a time


class SelfAttentionPool(nn.Module):
    """One unit vector of a sequence: its tokens, weighed by how they go with their mean.

    ``softmax(w · (tanh(W₁ v_n) ⊙ tanh(W₂ mean v)))`` over the tokens. With ``positions``, the published head of
    pictures, batch norm stands before each tanh: over the positions for the tokens, over the features for the mean.

    Args:
        dim: width D of the tokens.
        positions: how many tokens every item has; None where their number varies, as that of words, without batch norm.
        dropout: after each tanh.

    Example:
        >>> SelfAttentionPool(8, positions=5)(torch.randn(3, 5, 8)).shape
        torch.Size([3, 8])
    """

    def __init__(self, dim: int, positions: int | None = None, dropout: float = 0.4) -> None:
        super().__init__()
        norm = positions is not None
        self.token, self.mean = nn.Linear(dim, dim), nn.Linear(dim, dim, bias=not norm)
        self.token_norm = nn.Identity() if positions is None else nn.BatchNorm1d(positions)
        self.mean_norm = nn.BatchNorm1d(dim) if norm else nn.Identity()
        self.weigh, self.dropout = nn.Linear(dim, 1, bias=False), nn.Dropout(dropout)
        _xavier(self)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """``tokens (B, N, D)``, ``mask (B, N)`` True on real ones, to ``(B, D)``.

        Raises:
            ShapeError: shapes that do not fit.
        """
        check_shape((None, None, self.token.in_features), tokens=tokens)
        token = self.dropout(self.token_norm(self.token(tokens)).tanh())  # (B, N, D)
        mean = self.dropout(self.mean_norm(self.mean(masked_mean(tokens, mask))).tanh())  # (B, D)
        weight = self.weigh(token * mean[:, None]).squeeze(-1).float()  # (B, N)
        if mask is not None:
            check_shape(tuple(tokens.shape[:2]), mask=mask)
            weight = weight.masked_fill(~mask, torch.finfo(weight.dtype).min)
            tokens = tokens.masked_fill(~mask[..., None], 0)
        return F.normalize(torch.einsum("bn,bnd->bd", weight.softmax(dim=1), tokens.float()), dim=1)


class GraphReasoning(nn.Module):
    """Similarity in (0, 1) of every picture with every caption, from their tokens.

    Captions are walked through in blocks, of which each is computed again in the backward pass where there are several:
    what the words of a block found in all pictures is the most that is held.

    Args:
        dim: width D of the tokens.
        sim_dim: width of a node.
        steps: rounds of reasoning.
        smooth: inverse temperature with which words attend to regions.

    Example:
        >>> unit = lambda *shape: F.normalize(torch.randn(*shape), dim=-1)
        >>> head = GraphReasoning(8, sim_dim=4)
        >>> head(unit(3, 5, 8), unit(3, 8), unit(2, 6, 8), unit(2, 8)).shape  # pictures × captions
        torch.Size([3, 2])
    """

    def __init__(self, dim: int, sim_dim: int = 256, steps: int = 3, smooth: float = 9.0) -> None:
        super().__init__()
        check_range(1, max(steps, 1), steps=steps)
        self.smooth = smooth
        self.local, self.overall = nn.Linear(dim, sim_dim), nn.Linear(dim, sim_dim)
        self.rounds = nn.ModuleList(_Round(sim_dim) for _ in range(steps))
        self.readout = nn.Linear(sim_dim, 1)
        _xavier(self)

    def forward(
        self, regions: Tensor, image: Tensor, words: Tensor, text: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Similarities ``(A, B)`` of A pictures and B captions, in float32 at least.

        Args:
            regions: ``(A, R, D)`` unit norm.
            image: ``(A, D)`` the pictures as wholes, unit norm, see :class:`SelfAttentionPool`.
            words: ``(B, L, D)`` unit norm.
            text: ``(B, D)`` the captions as wholes, likewise.
            mask: ``(B, L)`` bool, True on real words; None when all are.

        Raises:
            ShapeError: shapes that do not fit.
        """
        check_same_width(image=image, text=text)
        check_shape((len(image), None, self.local.in_features), regions=regions)
        check_shape((len(text), None, self.local.in_features), words=words)
        mask = torch.ones(words.shape[:2], dtype=torch.bool, device=words.device) if mask is None else mask
        check_shape(tuple(words.shape[:2]), mask=mask)
        with torch.autocast(image.device.type, enabled=False):
            regions, image, words, text = (as_float(x) for x in (regions, image, words, text))
            a_caption = len(image) * words.shape[1] * (regions.shape[1] + regions.shape[2])
            blocks = [x.split(max(1, CHUNK_ELEMENTS // max(1, a_caption))) for x in (words, text, mask)]
            one = self._block if len(blocks[0]) == 1 or not torch.is_grad_enabled() else self._block_again
            return torch.cat([one(regions, image, *block) for block in zip(*blocks, strict=True)], dim=1)

    def _block_again(self, *block: Tensor) -> Tensor:
        """:meth:`_block`, of which the backward pass computes anew what lies between."""
        found: Tensor = checkpoint(self._block, *block, use_reentrant=False, preserve_rng_state=False)
        return found

    def _block(self, regions: Tensor, image: Tensor, words: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        found = stacked_cross_attention(words, regions, self.smooth, mask, all_pairs=True)  # (A, b, L, D)
        local = F.normalize(self.local((found - words).square()), dim=-1)  # (A, b, L, s)
        overall = F.normalize(self.overall((image[:, None] - text).square()), dim=-1)  # (A, b, s)
        nodes = torch.cat([overall[:, :, None], local], dim=2)  # (A, b, 1 + L, s)
        real = F.pad(mask, (1, 0), value=True)[:, None]  # (b, 1, 1 + L)
        for one in self.rounds:
            nodes = one(nodes, real)
        return self.readout(nodes[:, :, 0]).squeeze(-1).sigmoid()


class _Round(nn.Module):
    """``ReLU(W softmax((W_q X) (W_k X)^T) X)``: neither scaled by the width nor added to what was there."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # a bias of the keys would move all weights of a row alike, which a softmax does not see
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, nodes: Tensor, real: Tensor) -> Tensor:
        query, key = self.query(nodes), self.key(nodes)
        return self.out(F.scaled_dot_product_attention(query, key, nodes, attn_mask=real, scale=1.0)).relu()


def _xavier(module: nn.Module) -> None:
    """Linear maps as published: Xavier-uniform, biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
