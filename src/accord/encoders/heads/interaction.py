"""Parts of HBI (Jin et al. 2023, CVPR): phrases of words and scenes of frames, a reader of their cosines, answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.functional.checks import check_ndim, check_shape
from accord.functional.clusters.density_peaks import clusters_of, dpc_knn, merge_tokens
from accord.functional.distributed import gather_tokens
from accord.functional.similarity.weighted import token_weights


class TokenVotes(nn.Module):
    """The weight with which each token of a sequence votes: a softmax over the scores of an MLP (DRL, HBI).

    Args:
        dim: width of a token.

    Example:
        >>> TokenVotes(8)(torch.zeros(1, 3, 8), torch.tensor([[True, True, False]]))
        tensor([[0.5000, 0.5000, 0.0000]], grad_fn=<MulBackward0>)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # a softmax does not see a bias of the last layer
        self.score = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, 1, bias=False))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Weights ``(B, N)`` of ``tokens (B, N, D)``, 0 where ``mask (B, N)`` is False.

        Raises:
            ShapeError: a mask of another shape.
        """
        return token_weights(self.score(tokens)[..., 0], mask)


class TokenMerge(nn.Module):
    """Fewer tokens: clusters around density peaks, each their weighted mean, which then reads all tokens again.

    With ``h = LN(x + Conv(x))`` and scores s of a linear map, the members of a cluster are weighed by e^s, and the
    merged
    tokens attend to h with s added to the logits, after a common LayerNorm; there is no MLP (TCFormer; Zeng et al.
    2022, CVPR). What becomes of a sequence does not depend on its padding: it gets a share of its own tokens.

    Args:
        dim: width D of a token; a multiple of ``heads``.
        ratio: clusters for each token, rounded up.
        k: neighbours of the density.
        heads: of the attention.
        fewest: clusters of a sequence at least, if it has as many tokens.

    Raises:
        ValueError: heads that do not divide the width, or a ratio outside (0, 1].

    Example:
        >>> merged, mask, ids = TokenMerge(8, ratio=0.5, heads=2)(torch.randn(1, 4, 8))
        >>> merged.shape, mask.tolist(), ids.shape
        (torch.Size([1, 2, 8]), [[True, True]], torch.Size([1, 4]))
    """

    def __init__(self, dim: int, ratio: float, k: int = 3, heads: int = 8, fewest: int = 1) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"heads = {heads}: expected a divisor of dim = {dim}")
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio = {ratio}: expected a share in (0, 1]")
        self.ratio, self.k, self.heads, self.fewest = ratio, k, heads, fewest
        self.conv = nn.Conv1d(dim, dim, 3, padding=1, bias=False)
        self.norm = nn.LayerNorm(dim)
        self.score = nn.Linear(dim, 1, bias=False)  # the same factor on all weights would change nothing
        self.attention_norm = nn.LayerNorm(dim)
        self.query, self.key_value, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Merged tokens ``(B, K, D)``, their mask ``(B, K)`` and the cluster ``(B, N)`` of each of ``x (B, N, D)``.

        Args:
            x: tokens.
            mask: ``(B, N)`` bool, False for padding; None when all are real.

        Raises:
            ShapeError: shapes that do not fit.
        """
        check_ndim(3, x=x)
        rows, count, _ = x.shape
        real = torch.ones(rows, count, dtype=torch.bool, device=x.device) if mask is None else mask
        check_shape((rows, count), mask=real)
        x = x * real[..., None]  # the convolution looks at its neighbours
        h = self.norm(x + self.conv(x.mT).mT)  # (B, N, D)
        score = self.score(h)[..., 0].float()
        wanted = clusters_of(real.sum(dim=1), self.ratio, self.fewest)
        ids, _ = dpc_knn(h.detach(), wanted, self.k, real)
        most = max(1, math.ceil(count * self.ratio - 1e-4), min(count, self.fewest))
        merged = merge_tokens(h, ids, most, score.exp() * real)
        held = torch.arange(most, device=x.device) < wanted[:, None]
        return (merged + self._read(merged, h, score, real)) * held[..., None], held & real.any(dim=1)[:, None], ids

    def _read(self, merged: Tensor, h: Tensor, score: Tensor, real: Tensor) -> Tensor:
        """What attention adds to the merged tokens, ``(B, K, D)``."""
        merged, h = self.attention_norm(merged), self.attention_norm(h)
        query = self._by_head(self.query(merged))  # (B, heads, K, D / heads)
        key, value = (self._by_head(part) for part in self.key_value(h).chunk(2, dim=2))
        bias = score.masked_fill(~real, torch.finfo(query.dtype).min / 4)  # not -inf: a row may have no token
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias[:, None, None].to(query.dtype))
        return self.out(found.transpose(1, 2).flatten(2))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


@dataclass(frozen=True)
class Tokens:
    """One level of one modality.

    Args:
        values: ``(B, N, D)``, float32.
        mask: ``(B, N)`` bool, False for padding.
        votes: ``(B, N)`` weights, 0 for padding.
    """

    values: Tensor
    mask: Tensor
    votes: Tensor

    @property
    def direction(self) -> Tensor:
        """Of the weighted mean of the unit-norm tokens, ``(B, D)``."""
        return F.normalize(torch.einsum("bn,bnd->bd", self.votes, F.normalize(self.values, dim=2)), dim=1)

    def gathered(self) -> Tokens:
        """Those of all processes, with their gradient."""
        together = torch.cat([self.values, self.votes[..., None]], dim=2)
        together, mask = gather_tokens(together, self.mask, with_grad=True)
        return Tokens(together[..., :-1], mask, together[..., -1])


class TokenLevels(nn.Module):
    """Tokens of one modality at several levels: as they are, then merged again and again; with the votes of each.

    Args:
        dim: width D of a token; a multiple of ``heads`` where there are ratios.
        ratios: tokens of each further level for one of the last.
        k: neighbours of the density, see :class:`TokenMerge`.
        heads: of the attention.
        fewest: tokens of a level at least, if there are as many.

    Example:
        >>> levels = TokenLevels(8, ratios=(0.25, 0.5))(torch.zeros(1, 24, 8), torch.ones(1, 24, dtype=torch.bool))
        >>> [level.values.shape[1] for level in levels]
        [24, 6, 3]
    """

    def __init__(self, dim: int, ratios: Sequence[float], k: int = 3, heads: int = 8, fewest: int = 1) -> None:
        super().__init__()
        self.votes = nn.ModuleList(TokenVotes(dim) for _ in range(1 + len(ratios)))
        self.merges = nn.ModuleList(TokenMerge(dim, ratio, k, heads, fewest) for ratio in ratios)

    def forward(self, values: Tensor, mask: Tensor, count: int | None = None) -> list[Tokens]:
        """The first ``count`` levels of ``values (B, N, D)`` with ``mask (B, N)``; all by default."""
        found = []
        for number, votes in enumerate(self.votes[:count]):
            if number:
                values, mask, _ = self.merges[number - 1](values, mask)
            values = values.float()
            found.append(Tokens(values, mask, votes(values, mask)))
        return found


class TokenAnswers(nn.Module):
    """A classifier of what a clip and a question say together: the tokens of each pooled by their votes (HBI).

    It has a hidden layer: what a linear one says of a clip would be the same whatever is asked.

    Args:
        dim: width D of a token.
        width: numbers that either side becomes.
        answers: A.

    Example:
        >>> side = Tokens(torch.randn(2, 3, 8), torch.ones(2, 3, dtype=torch.bool), torch.full((2, 3), 1 / 3))
        >>> TokenAnswers(8, width=4, answers=5)(side, side).shape
        torch.Size([2, 5])
    """

    def __init__(self, dim: int, width: int, answers: int) -> None:
        super().__init__()
        self.text, self.video = nn.Linear(dim, width), nn.Linear(dim, width)
        self.classifier = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.GELU(), nn.Linear(2 * width, answers))

    def forward(self, text: Tokens, video: Tokens, kept: Tensor | None = None) -> Tensor:
        """Logits ``(B, A)`` in float32; ``kept (B, 2 width)`` are factors of a dropout, the video's numbers first."""
        pooled = [torch.einsum("bn,bnd->bd", side.votes, side.values) for side in (video, text)]
        read = torch.cat([self.video(pooled[0]), self.text(pooled[1])], dim=1)
        logits: Tensor = self.classifier(read if kept is None else read * kept)
        return logits.float()


class BanzhafHead(nn.Module):
    """From the cosines of words and frames to their interactions: two convolutions around attention over all cells.

    Padding counts for nothing: attention and convolutions see zeros there, or nothing. As in the reference
    implementation the logits of the attention are not scaled, and nothing is projected after it.

    Args:
        width: channels C between the convolutions.
        shift: whether the last bias, which moves all interactions alike, is trained; a softmax does not see it.

    Example:
        >>> BanzhafHead(4)(torch.randn(2, 5, 3)).shape
        torch.Size([2, 5, 3])
    """

    def __init__(self, width: int = 64, *, shift: bool = True) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)
        if self.last.bias is not None:
            self.last.bias.requires_grad_(shift)
        self.query, self.key, self.value = (nn.Parameter(torch.empty(width, width)) for _ in range(3))
        for matrix in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(matrix, gain=2**0.5)

    def forward(self, cosines: Tensor, mask: Tensor | None = None) -> Tensor:
        """Interactions ``(B, n, m)`` of ``cosines (B, n, m)``, in float32 at least; 0 where ``mask`` is False.

        Args:
            cosines: of each text's words with the frames of its own clip, 0 at padding.
            mask: ``(B, n, m)`` bool, or None when all cells are real.

        Raises:
            ShapeError: shapes that do not fit.
        """
        check_ndim(3, cosines=cosines)
        with torch.autocast(cosines.device.type, enabled=False):
            h = self.first(cosines.to(self.query.dtype)[:, None]).relu()  # (B, C, n, m)
            if mask is not None:
                check_shape(tuple(cosines.shape), mask=mask)
                h = h * mask[:, None]
            cells = h.flatten(2).mT  # (B, n m, C)
            seen = None if mask is None else (mask | ~mask.any(dim=(1, 2), keepdim=True)).flatten(1)[:, None]
            read = F.scaled_dot_product_attention(
                cells @ self.query, cells @ self.key, cells @ self.value, attn_mask=seen, scale=1.0
            )
            h = (cells + read).mT.unflatten(2, cosines.shape[1:])
            found = self.last(h if mask is None else h * mask[:, None])[:, 0]
            return found if mask is None else found * mask
