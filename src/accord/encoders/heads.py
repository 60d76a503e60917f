"""Learnable parts between an encoder and a loss: projectors, poolers, gates, grouping layers, matchers, graph layers.

Each is a thin module around mathematics that is written elsewhere or in a few lines here; none knows of a method.
Masks are True on real positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from accord.errors import ShapeError
from accord.functional.checks import (
    as_float,
    check_choice,
    check_ndim,
    check_range,
    check_same_shape,
    check_same_width,
    check_shape,
)
from accord.functional.dense.losses import pixel_propagation
from accord.functional.dense.slots import semantic_grouping

CHUNK_ELEMENTS = 1 << 22  # hidden units of pairs held at a time: 16 MiB in float32


Activation = Literal["relu", "gelu"]


class MLPHead(nn.Sequential):
    """Projector or predictor of self-supervised learning: Linear, BatchNorm, ReLU, …, Linear (SimCLR, BYOL, SwAV).

    With ``layers`` hidden layers, ``[Linear(→ hidden), BatchNorm, ReLU] × layers, Linear(→ d_out)``. Batch norm sees
    the rows of the batch, so that training needs at least two.

    Args:
        d_in: width of the input.
        d_out: width of the output.
        hidden: width of the hidden layers.
        layers: number of hidden layers; 0 is a linear map.
        bias: the linear maps of the hidden layers have a bias.
        last_bias: the last linear map has one; by default as ``bias``.
        norm_last: a batch norm after the last map: ``"affine"``, ``"plain"`` (without scale and shift) or ``"none"``.
        activation: ``"relu"`` or ``"gelu"`` (SlotCon).

    Raises:
        ValueError: an unknown ``norm_last`` or activation, a negative number of layers.

    Example:
        >>> MLPHead(8, 4, hidden=16, layers=2)(torch.randn(3, 8)).shape
        torch.Size([3, 4])
        >>> z = MLPHead(8, 4, hidden=16, norm_last="plain")(torch.randn(9, 8))
        >>> torch.allclose(z.mean(dim=0), torch.zeros(4), atol=1e-6)
        True
    """

    def __init__(
        self,
        d_in: int,
        d_out: int,
        hidden: int = 4096,
        layers: int = 1,
        *,
        bias: bool = True,
        last_bias: bool | None = None,
        norm_last: Literal["none", "affine", "plain"] = "none",
        activation: Activation = "relu",
    ) -> None:
        check_range(0, max(layers, 0), layers=layers)
        check_choice(("none", "affine", "plain"), norm_last=norm_last)
        widths = [d_in, *[hidden] * layers]
        parts: list[nn.Module] = []
        for before, after in pairwise(widths):
            parts += [nn.Linear(before, after, bias=bias), nn.BatchNorm1d(after), _activation(activation)]
        parts.append(nn.Linear(widths[-1], d_out, bias=bias if last_bias is None else last_bias))
        if norm_last != "none":
            parts.append(nn.BatchNorm1d(d_out, affine=norm_last == "affine"))
        super().__init__(*parts)


class ConvHead(nn.Sequential):
    """:class:`MLPHead` for every cell of a map: 1×1 convolutions with batch norm over all cells (PixPro, SlotCon).

    Args:
        d_in: channels of the input.
        d_out: channels of the output.
        hidden: channels of the hidden layers.
        layers: number of hidden layers.
        activation: ``"relu"`` or ``"gelu"``.

    Raises:
        ValueError: an unknown activation, a negative number of layers.

    Example:
        >>> ConvHead(8, 4, hidden=16)(torch.randn(2, 8, 3, 3)).shape
        torch.Size([2, 4, 3, 3])
    """

    def __init__(
        self, d_in: int, d_out: int, hidden: int = 4096, layers: int = 1, *, activation: Activation = "relu"
    ) -> None:
        check_range(0, max(layers, 0), layers=layers)
        widths = [d_in, *[hidden] * layers]
        parts: list[nn.Module] = []
        for before, after in pairwise(widths):
            parts += [nn.Conv2d(before, after, 1), nn.BatchNorm2d(after), _activation(activation)]
        super().__init__(*parts, nn.Conv2d(widths[-1], d_out, 1))


def _activation(name: Activation) -> nn.Module:
    check_choice(("relu", "gelu"), activation=name)
    return nn.ReLU(inplace=True) if name == "relu" else nn.GELU()


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


class PairGate(nn.Module):
    """Which dimensions two classes may be compared in: a vector in (0, 1) from their labels (Hydra; 2024, arXiv).

    With ``"mean"``, ``sigmoid(MLP((e[y1] + e[y2]) / 2))`` of the label embeddings e; with ``"product"``,
    ``g(y1) · g(y2)`` of the gates of each label alone. Batch norm inside sees the pairs of the batch, so that
    training needs at least two.

    Args:
        num_classes: number of labels.
        dim: width of the gate.
        embed: width of the label embedding.
        hidden: width of the hidden layer.
        fuse: how the labels come together.

    Example:
        >>> gate = PairGate(10, dim=4, embed=8, hidden=16).eval()
        >>> first, second = torch.tensor([0, 3]), torch.tensor([5, 3])
        >>> torch.equal(gate(first, second), gate(second, first))
        True
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        embed: int = 512,
        hidden: int = 1024,
        fuse: Literal["mean", "product"] = "mean",
    ) -> None:
        super().__init__()
        if fuse not in ("mean", "product"):
            raise ValueError(f"fuse = {fuse!r}: expected 'mean' or 'product'")
        self.fuse = fuse
        self.label_embedding = nn.Embedding(num_classes, embed)
        self.mlp = nn.Sequential(
            nn.ReLU(),
            nn.BatchNorm1d(embed),
            nn.Linear(embed, hidden),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Linear(hidden, dim),
        )

    def forward(self, y1: Tensor, y2: Tensor) -> Tensor:
        """Gate of the pairs of labels ``y1 (B,)`` and ``y2 (B,)``; ``(B, dim)``.

        Raises:
            ShapeError: not two vectors of equal length.
        """
        check_ndim(1, y1=y1)
        check_shape((len(y1),), y2=y2)
        first, second = self.label_embedding(y1), self.label_embedding(y2)
        if self.fuse == "mean":
            return self.mlp((first + second) / 2).sigmoid()
        return self.mlp(first).sigmoid() * self.mlp(second).sigmoid()


class PixelPropagation(nn.Module):
    """Smooth a map by its similarity with itself, with a learned value transform (PixPro; Xie et al. 2021, CVPR).

    Args:
        dim: channels C.
        power: exponent of the similarity.
        num_layers: 1×1 convolutions of the transform: 0 is the identity, 1 a linear map, 2 have batch norm and ReLU
            between them.
        clamp: lower end of the similarity.

    Example:
        >>> PixelPropagation(8)(torch.randn(2, 8, 3, 3)).shape
        torch.Size([2, 8, 3, 3])
    """

    def __init__(self, dim: int, power: float = 2.0, num_layers: int = 1, clamp: float = 0.0) -> None:
        super().__init__()
        check_range(0, 2, num_layers=num_layers)
        self.power, self.clamp = power, clamp
        layers: list[nn.Module] = [nn.Conv2d(dim, dim, 1)] if num_layers else []
        if num_layers == 2:
            layers += [nn.BatchNorm2d(dim), nn.ReLU(), nn.Conv2d(dim, dim, 1)]
        self.transform = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """:func:`~accord.functional.dense.losses.pixel_propagation` of ``x (N, C, H, W)``."""
        return pixel_propagation(x, self.transform, self.power, self.clamp)


class SemanticGrouping(nn.Module):
    """Assign the cells of a map to K learned prototypes and pool each into a slot (SlotCon; Wen et al. 2022, NeurIPS).

    Args:
        num_prototypes: K.
        dim: channels D.
        temp: temperature of the assignment.
        eps: added to every assignment.

    Example:
        >>> slots, dots = SemanticGrouping(5, 8)(torch.randn(2, 8, 3, 3))
        >>> slots.shape, dots.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 5, 3, 3]))
    """

    def __init__(self, num_prototypes: int, dim: int, temp: float = 0.07, eps: float = 1e-6) -> None:
        super().__init__()
        self.temp, self.eps = temp, eps
        self.prototypes = nn.Parameter(torch.randn(num_prototypes, dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """:func:`~accord.functional.dense.slots.semantic_grouping` of ``x (B, D, H, W)``: slots and cosines."""
        return semantic_grouping(x, self.prototypes, self.temp, self.eps)


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


class LabelMatcher(nn.Module):
    """Score inputs against labels that are themselves vectors, so that new labels are new rows.

    ``"gile"``: ``w · (tanh(W_x x + b_x) ⊙ tanh(W_l l + b_l)) + b`` (Pappas and Henderson 2019, TACL). ``"concat"``: a
    two-layer MLP on ``[x; l]`` (CLESS; Rethmeier and Augenstein 2022), computed without the table of all pairs.

    Args:
        dim_x: width of the inputs.
        dim_l: width of the label vectors.
        joint: width J of the joint space, or of the hidden layer.
        form: which of the two.

    Example:
        >>> LabelMatcher(8, 6, joint=4)(torch.randn(3, 8), torch.randn(5, 6)).shape
        torch.Size([3, 5])
    """

    def __init__(self, dim_x: int, dim_l: int, joint: int, form: Literal["gile", "concat"] = "gile") -> None:
        super().__init__()
        if form not in ("gile", "concat"):
            raise ValueError(f"form = {form!r}: expected 'gile' or 'concat'")
        self.form = form
        self.input, self.label = nn.Linear(dim_x, joint), nn.Linear(dim_l, joint, bias=form == "gile")
        self.out = nn.Linear(joint, 1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Logit of every ``x (B, dim_x)`` with every label ``(C, dim_l)``; ``(B, C)``.

        Raises:
            ShapeError: shapes that do not fit.
        """
        check_shape((None, self.input.in_features), x=x)
        check_shape((None, self.label.in_features), labels=labels)
        left, right = self.input(x), self.label(labels)
        if self.form == "concat":
            return _pair_scores(left, right, self.out)
        return (left.tanh() * self.out.weight) @ right.tanh().T + self.out.bias


class PairWeightMLP(nn.Module):
    """Weight of every pair in (0, 1): ``sigmoid(v · tanh(W (f_i + c_j) + b) + b')`` (AdaMEOW; Yu et al. 2024, TKDE).

    W is applied to each side once, and the hidden layer of the pairs is made in chunks of rows and again in the
    backward pass: beyond the result, memory is linear in the number of rows.

    Args:
        d: width of the embeddings.
        hidden: width of the hidden layer.

    Example:
        >>> PairWeightMLP(8)(torch.randn(3, 8), torch.randn(5, 8)).shape
        torch.Size([3, 5])
    """

    def __init__(self, d: int, hidden: int = 16) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(d, hidden), nn.Linear(hidden, 1)

    def forward(self, zf: Tensor, zc: Tensor) -> Tensor:
        """Weights of rows ``zf (M, d)`` against ``zc (N, d)``; ``(M, N)``.

        Raises:
            ShapeError: not matrices of equal width.
        """
        check_same_width(zf=zf, zc=zc)
        return _pair_scores(self.inner(zf), F.linear(zc, self.inner.weight), self.out).sigmoid()

    def parts(self, zf: Tensor, zc: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What :func:`accord.functional.adaptive_infonce` makes the weights of.

        Returns:
            ``(M, J)`` and ``(N, J)``, the two sides of the hidden units; their readout ``(J,)`` and its bias ``(1,)``.

        Raises:
            ShapeError: not matrices of equal width.
        """
        check_same_width(zf=zf, zc=zc)
        with torch.autocast(zf.device.type, enabled=False):
            right = F.linear(as_float(zc), self.inner.weight)
            return self.inner(as_float(zf)), right, self.out.weight[0], self.out.bias


class SharedGCN(nn.Module):
    """Two graph convolutions and one normalisation of the whole matrix, for any number of graphs (MEOW).

    ``LN(A PReLU(A X W1) W2)`` without bias. The layer norm has one mean and one variance for all nodes and
    dimensions together, and no parameters.

    Args:
        dim: width of hidden layer and output.
        d_in: width of the input, by default ``dim``.
        dropout: share of ``X W1`` and of ``H W2`` that is dropped.

    Example:
        >>> SharedGCN(4)(torch.randn(3, 4), torch.eye(3).to_sparse()).shape
        torch.Size([3, 4])
    """

    def __init__(self, dim: int, d_in: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        bound = dim**-0.5
        self.weight1 = nn.Parameter(torch.empty(dim if d_in is None else d_in, dim).uniform_(-bound, bound))
        self.weight2 = nn.Parameter(torch.empty(dim, dim).uniform_(-bound, bound))
        self.activation, self.dropout = nn.PReLU(), nn.Dropout(dropout)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Embed nodes ``x (N, d_in)`` over ``adjacency (N, N)``, dense or sparse, in float32; ``(N, dim)``.

        Raises:
            ShapeError: shapes that do not fit.
        """
        check_shape((None, len(self.weight1)), x=x)
        check_shape((len(x), len(x)), adjacency=adjacency)
        with torch.autocast(x.device.type, enabled=False):  # sparse products have no half precision
            hidden = self.activation(adjacency @ self.dropout(as_float(x) @ self.weight1))
            out = adjacency @ self.dropout(hidden @ self.weight2)
            return F.layer_norm(out, out.shape)


class SemanticAttention(nn.Module):
    """Weigh views of the same nodes by how they look on average (Wang et al. 2019, WWW, "HAN").

    ``β = softmax_m(q · mean_i tanh(V h_i^m + b))``, and the sum of the views with these weights.

    Args:
        dim: width of the views.
        dropout: share of q that is dropped.

    Example:
        >>> out, beta = SemanticAttention(4)([torch.randn(3, 4), torch.randn(3, 4)])
        >>> out.shape, beta.shape
        (torch.Size([3, 4]), torch.Size([2]))
    """

    def __init__(self, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.project, self.dropout = nn.Linear(dim, dim), nn.Dropout(dropout)
        self.query = nn.Parameter(torch.empty(1, dim))
        nn.init.xavier_normal_(self.project.weight, gain=1.414)
        nn.init.xavier_normal_(self.query, gain=1.414)

    def forward(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The fused nodes ``(N, dim)`` and the weights ``(m,)`` of m views, each ``(N, dim)``.

        Raises:
            ShapeError: no view, or views of different shapes.
        """
        if not views:
            raise ShapeError("views is empty: expected at least one (N, dim)")
        check_same_shape(**{f"views[{position}]": view for position, view in enumerate(views)})
        query = self.dropout(self.query).squeeze(0)
        score = torch.stack([self.project(view).tanh().mean(dim=0) @ query for view in views])
        beta = score.softmax(dim=0)
        return sum((weight * view for weight, view in zip(beta, views, strict=True)), views[0].new_zeros(())), beta


class MetaPathContext(nn.Module):
    """Add to the nodes of one type what lies along a meta-path: ``ELU(h + Σ_c Q_c mean_c)`` (MEOW).

    Context c is the mean of the neighbours of one type at one position of the path, mapped by its own ``Q_c``. Each
    meta-path has its own module.

    Args:
        dim: width of target and context nodes.
        n_contexts: contexts of the path: one for two hops, one per position for longer paths.
        dropout: share of each message that is dropped.

    Example:
        >>> paper_author = torch.tensor([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]).to_sparse()
        >>> MetaPathContext(4, 1)(torch.randn(3, 4), [(paper_author, torch.randn(2, 4))]).shape
        torch.Size([3, 4])
    """

    def __init__(self, dim: int, n_contexts: int, dropout: float = 0.0) -> None:
        super().__init__()
        check_range(1, max(n_contexts, 1), n_contexts=n_contexts)
        self.maps = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(n_contexts))
        self.dropout = nn.Dropout(dropout)

    def forward(self, target: Tensor, contexts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Nodes with their contexts, ``(N, dim)``.

        Args:
            target: ``(N, dim)``.
            contexts: for each context its matrix ``(N, M)``, dense or sparse, and the nodes ``(M, dim)``. A row of
                sum 0 gets no message.

        Raises:
            ShapeError: shapes or a number of contexts that do not fit.
        """
        if len(contexts) != len(self.maps):
            raise ShapeError(f"contexts has {len(contexts)} entries: expected {len(self.maps)}")
        message = torch.zeros_like(target)
        for position, ((matrix, nodes), mapping) in enumerate(zip(contexts, self.maps, strict=True)):
            check_shape((len(target), len(nodes)), **{f"matrix of contexts[{position}]": matrix})
            message = message + self.dropout(mapping(_neighbour_mean(matrix, nodes)))
        return F.elu(target + message)


def _neighbour_mean(matrix: Tensor, nodes: Tensor) -> Tensor:
    """Weighted mean of the neighbours of every row, zero without any; ``(N, d)`` in float32 at least."""
    with torch.autocast(nodes.device.type, enabled=False):
        nodes = as_float(nodes)
        matrix = matrix.to(nodes.dtype)
        total = matrix @ nodes.new_ones(len(nodes), 1)
        return matrix @ nodes / torch.where(total == 0, 1, total)


def _pair_scores(left: Tensor, right: Tensor, out: nn.Linear) -> Tensor:
    """``out(tanh(left_i + right_j))`` of all pairs without ``(M, N, J)``; ``(M, N)`` in float32 at least."""

    def score(rows: Tensor) -> Tensor:
        return (rows[:, None] + right).tanh() @ weight

    with torch.autocast(left.device.type, enabled=False):
        left, right, weight = as_float(left), as_float(right), as_float(out.weight[0])
        chunks = left.split(max(1, CHUNK_ELEMENTS // max(1, right.numel())))
        return torch.cat([checkpoint(score, rows, use_reentrant=False) for rows in chunks]) + out.bias
