"""Assigning rows to prototypes and tokens to a codebook: equal partition, sparsemax, pooled relevance, matching.

Sinkhorn-Knopp assignment under equal partition (Caron et al. 2020, NeurIPS, SwAV; Cuturi 2013, NeurIPS), the
projection on the simplex (Martins and Astudillo 2016, ICML, sparsemax), finite discrete tokens (Chen et al. 2023,
CVPR, FDT), and the one-to-one assignment of least cost (Kuhn 1955).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import distributed as dist

from accord.errors import ShapeError
from accord.functional.checks import (
    as_float,
    check_choice,
    check_ndim,
    check_positive,
    check_range,
    check_same_width,
    check_shape,
)
from accord.functional.distributed import world_size

Pool = Literal["max", "mean", "sum"]
Activation = Literal["sparsemax", "softmax", "sigmoid"]
PadMode = Literal["exclude", "zero"]

# A round lets the largest factor of a row grow at most n-fold, that of a column K-fold. With n⁴K³ below 1e30 what a
# kernel entry is off near the smallest float32 cannot be seen in the result.
ROUNDS_PER_SHIFT = 4
FIRST_CANDIDATES = 32  # largest entries that sparsemax sorts at first; rows with a larger support sort 16 times as many


@torch.no_grad()
def sinkhorn(scores: Tensor, eps: float = 0.05, n_iters: int = 3, extra: Tensor | None = None) -> Tensor:
    """Soft assignment of rows to prototypes that gives every prototype the same mass (Sinkhorn-Knopp).

    ``Q = diag(a) exp(scores / eps) diag(b)``: ``n_iters`` times, first every column is scaled to the sum n / K, then
    every row to the sum 1. The matrix is exponentiated once, after a shift that makes the largest entry of every
    row and of every column 1; then each round is two products of that matrix with a vector. No sum can overflow or
    vanish at any eps, and after a few rounds the shift is made anew, so the result is that of the log domain.

    The rows of all processes take part, each process getting its own back. The result carries no gradient: it is
    a target.

    Args:
        scores: ``(n, K)`` similarity to each prototype, usually inner products of unit vectors.
        eps: smoothness; the smaller, the nearer to one-hot.
        n_iters: rounds, at least 1. Rows sum to 1 after each; the columns only tend to equal mass.
        extra: ``(m, K)`` scores of more rows, such as those of a queue, that join the partition and are dropped from
            the result. Their number may differ between processes.

    Returns:
        ``(n, K)`` without gradient, float32 at least.

    Raises:
        ShapeError: not matrices of equal width, or no row.
        ValueError: eps that is not finite and positive, fewer than one round.

    Example:
        >>> sinkhorn(torch.tensor([[0.9, 0.8], [0.9, 0.2]])).round(decimals=2)  # both rows prefer column 0
        tensor([[0.1400, 0.8600],
                [1.0000, 0.0000]])
    """
    check_same_width(scores=scores, **({} if extra is None else {"extra": extra}))
    check_positive(eps=eps)
    check_range(1, max(n_iters, 1), n_iters=n_iters)
    if not scores.numel():
        raise ShapeError(f"scores has shape {tuple(scores.shape)}: expected at least one row and one prototype")
    with torch.autocast(scores.device.type, enabled=False):
        rows = as_float(scores)
        rows = rows if extra is None else torch.cat([rows, as_float(extra).to(rows)])
        kernel = rows.clone()
        potential = torch.zeros_like(rows[:, :1])  # eps · log a; only a matters, as b comes anew from a in every round
        for done in range(0, n_iters, ROUNDS_PER_SHIFT):
            if done:
                kernel.copy_(rows).add_(potential)
            shift = _shift_and_exponentiate(kernel, eps)
            a = (shift / eps).exp()  # undoes the shift; a row that vanishes here is nothing beside the others
            for _ in range(min(ROUNDS_PER_SHIFT, n_iters - done)):
                b = _sum_over_processes(a @ kernel).reciprocal()
                a = (kernel @ b).reciprocal()
            potential = potential + (eps * a.log() - shift)[:, None]
        return kernel.mul_(b).mul_(a[:, None])[: len(scores)]


def column_marginal_error(assignment: Tensor) -> Tensor:
    """How far the prototypes are from equal mass: ``Σ_k |mean_i q_ik - 1/K|``, over the rows of all processes.

    Three rounds of :func:`sinkhorn` leave some: with few rows per prototype, or a small eps, watch it.

    Args:
        assignment: ``(n, K)`` whose rows sum to 1.

    Returns:
        Scalar without gradient: 0 for equal partition, ``2 (1 - 1/K)`` if one prototype takes all.

    Raises:
        ShapeError: ``assignment`` is not a matrix.

    Example:
        >>> column_marginal_error(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        tensor(1.)
    """
    check_ndim(2, assignment=assignment)
    mass = as_float(assignment.detach()).sum(dim=0)
    mass = _sum_over_processes(torch.cat([mass, mass.new_tensor([float(len(assignment))])]))
    return (mass[:-1] / mass[-1] - 1 / assignment.shape[1]).abs().sum()


def sparsemax(z: Tensor, dim: int = -1) -> Tensor:
    """Euclidean projection on the probability simplex: a softmax with exact zeros.

    ``max(z - τ, 0)`` with the τ for which the result sums to 1. The gradient is exact, ``g - mean_S(g)`` on the
    support S and 0 elsewhere, and may be differentiated again. Only the largest entries are sorted, more of them in
    the rows whose support needs it.

    Args:
        z: any shape; -inf excludes an entry, as long as one of the row is finite.
        dim: the dimension that shall sum to 1.

    Returns:
        The shape of ``z``.

    Raises:
        ShapeError: a scalar.
        IndexError: ``dim`` that ``z`` does not have.

    Source:
        Martins and Astudillo (2016, ICML), Algorithm 1.

    Example:
        >>> sparsemax(torch.tensor([1.0, 0.8, -0.5]))
        tensor([0.6000, 0.4000, 0.0000])
    """
    if z.ndim == 0:
        raise ShapeError("z has shape (): expected at least one dimension")
    with torch.autocast(z.device.type, enabled=False):
        return _Sparsemax.apply(as_float(z).movedim(dim, -1)).movedim(-1, dim)


def pool_relevance(r: Tensor, mask: Tensor | None = None, how: Pool = "max") -> Tensor:
    """Relevance of each codebook entry to a whole sequence, from its relevance to each token.

    Args:
        r: ``(B, n, C)`` relevance of entry c to token n.
        mask: ``(B, n)`` bool, True where there is a token; the others take no part. A sequence without any token has
            relevance 0 to every entry.
        how: largest, mean or sum over the tokens.

    Returns:
        ``(B, C)``.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a mask that is not bool, an unknown ``how``.

    Example:
        >>> r = torch.tensor([[[1.0, -3.0], [2.0, -1.0]]])
        >>> pool_relevance(r), pool_relevance(r, torch.tensor([[True, False]]), how="mean")
        (tensor([[ 2., -1.]]), tensor([[ 1., -3.]]))
    """
    check_ndim(3, r=r)
    _check_mask(r, mask)
    check_choice(("max", "mean", "sum"), how=how)
    r = as_float(r)
    if how == "max":
        if mask is None:
            return r.max(dim=1).values  # unlike amax keeps the place only, not r, for the backward pass
        largest = r.masked_fill(~mask[:, :, None], -torch.inf).max(dim=1).values
        return largest.masked_fill(~mask.any(dim=1, keepdim=True), 0)
    if mask is None:
        return r.mean(dim=1) if how == "mean" else r.sum(dim=1)
    total = r.masked_fill(~mask[:, :, None], 0).sum(dim=1)
    return total / mask.sum(dim=1, keepdim=True).clamp(min=1) if how == "mean" else total


def sparsemax_temperature(z: Tensor, support: float) -> Tensor:
    """The temperature T at which ``sparsemax(z / T)`` has this share of nonzero entries, on average over the rows.

    Sorted in descending order, entry j of a row is nonzero exactly where ``T > Σ_{i≤j} z_i - j z_j``, so that T is an
    order statistic of these gaps; nothing has to be searched. Equal gaps leave the share below the wanted one.

    Args:
        z: ``(R, C)`` finite; no gradient flows.
        support: share of nonzero entries, in (1 / C, 1).

    Returns:
        Scalar, float32 at least.

    Raises:
        ShapeError: ``z`` is not a matrix.
        ValueError: a share outside of (1 / C, 1), or entries so equal that every temperature gives a larger one.

    Example:
        >>> z = torch.tensor([[4.0, 3.0, 1.0, 0.0], [2.5, 1.0, 0.5, 0.0]])
        >>> temperature = sparsemax_temperature(z, 0.5)
        >>> (sparsemax(z / temperature) > 0).sum()
        tensor(4)
    """
    check_ndim(2, z=z)
    if not 1 / z.shape[1] < support < 1:
        raise ValueError(f"support = {support}: expected a share in (1 / C, 1) = ({1 / z.shape[1]:.2g}, 1)")
    z = as_float(z.detach())
    ordered = (z - z.amax(dim=1, keepdim=True)).sort(dim=1, descending=True).values
    place = torch.arange(1, z.shape[1] + 1, device=z.device)
    gaps = (ordered.cumsum(dim=1) - place * ordered).flatten()
    temperature = gaps.kthvalue(min(round(support * z.numel()), z.numel() - 1) + 1).values
    if temperature <= 0:
        raise ValueError(f"z: the largest entries of its rows are equal, no temperature leaves {support:.0%} of them")
    return temperature


def token_relevance(tokens: Tensor, codebook: Tensor, query_map: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Relevance of every entry of a codebook to every token: ``query_map(tokens) codebookᵀ / √d``.

    Args:
        tokens: ``(B, n, d_in)`` features of patches, words or frames.
        codebook: ``(C, d)``.
        query_map: maps ``(B, n, d_in)`` to ``(B, n, d)``; None takes the tokens as queries.

    Returns:
        ``(B, n, C)``, float32 at least.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> codebook = torch.eye(4)[:2]
        >>> token_relevance(torch.tensor([[[2.0, 0.0, 7.0, 7.0], [0.0, 4.0, 7.0, 7.0]]]), codebook)
        tensor([[[1., 0.],
                 [0., 2.]]])
    """
    queries = _queries(tokens, codebook, query_map)
    with torch.autocast(tokens.device.type, enabled=False):
        return _scaled_products(as_float(queries), as_float(codebook))


def sequence_relevance(
    tokens: Tensor,
    codebook: Tensor,
    query_map: Callable[[Tensor], Tensor] | None = None,
    mask: Tensor | None = None,
    pool: Pool = "max",
    pad_mode: PadMode = "exclude",
) -> Tensor:
    """Relevance of every entry of a codebook to a whole sequence: :func:`token_relevance`, pooled over the tokens.

    Args:
        tokens: ``(B, n, d_in)``.
        codebook: ``(C, d)``.
        query_map: maps ``(B, n, d_in)`` to ``(B, n, d)``, or None.
        mask: ``(B, n)`` bool, True where there is a token.
        pool: largest, mean or sum over the tokens.
        pad_mode: see :func:`ground`.

    Returns:
        ``(B, C)``, float32 at least.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a mask that is not bool, an unknown option.

    Example:
        >>> tokens = torch.tensor([[[4.0, -2.0, 7.0, 7.0], [-9.0, 18.0, 7.0, 7.0]]])
        >>> codebook = torch.eye(4)[:2]
        >>> only_first = torch.tensor([[True, False]])
        >>> sequence_relevance(tokens, codebook), sequence_relevance(tokens, codebook, mask=only_first)
        (tensor([[2., 9.]]), tensor([[ 2., -1.]]))
    """
    _check_mask(tokens, mask)
    check_choice(("max", "mean", "sum"), pool=pool)
    check_choice(("exclude", "zero"), pad_mode=pad_mode)
    queries = _queries(tokens, codebook, query_map)
    with torch.autocast(tokens.device.type, enabled=False):
        queries, codebook = as_float(queries), as_float(codebook)
        if mask is not None and pad_mode == "zero":
            queries, mask = queries.masked_fill(~mask[:, :, None], 0), None
        if pool != "max":  # mean and sum commute with the product: n times less work
            queries, mask = pool_relevance(queries, mask, pool)[:, None], None
        return pool_relevance(_scaled_products(queries, codebook), mask)


def ground(
    tokens: Tensor,
    codebook: Tensor,
    query_map: Callable[[Tensor], Tensor] | None = None,
    mask: Tensor | None = None,
    temperature: Tensor | float = 1.0,
    pool: Pool = "max",
    activation: Activation = "sparsemax",
    pad_mode: PadMode = "exclude",
) -> tuple[Tensor, Tensor]:
    """Express a sequence as a combination of the entries of a codebook that modalities share (FDT).

    ``r̄ = sequence_relevance(...) / temperature``; ``w = activation(r̄)``; ``e = w codebook``, for the sigmoid divided
    by ``Σ_c w_c``.

    Args:
        tokens: ``(B, n, d_in)`` features of patches, words or frames.
        codebook: ``(C, d)``, keys and values in one.
        query_map: maps ``(B, n, d_in)`` to ``(B, n, d)``; None takes the tokens as queries.
        mask: ``(B, n)`` bool, True where there is a token.
        temperature: divides the relevance. The paper's 1000 goes with C = 16384; with a smaller codebook choose it so
            that at the start 10 to 40 % of the entries are active (:func:`sparsemax_temperature`).
        pool: largest, mean or sum over the tokens.
        activation: sparsemax (exact zeros), softmax or sigmoid.
        pad_mode: "exclude" leaves padding out; a sequence of padding only then has relevance 0 to every entry.
            "zero" counts each padded position as a token of relevance 0, as the released code does: the pooled
            relevance of padded sequences is then never negative.

    Returns:
        ``(B, C)`` activations w, and ``(B, d)`` embeddings e, not normalised.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a mask that is not bool, a temperature that is not finite and positive, an unknown option.

    Source:
        Chen et al. (2023, CVPR, "Revisiting Multimodal Representation in Contrastive Learning").

    Example:
        >>> w, e = ground(torch.tensor([[[9.0, 0.0], [0.0, 1.0]]]), torch.eye(2))
        >>> w, e
        (tensor([[1., 0.]]), tensor([[1., 0.]]))
    """
    check_positive(temperature=temperature)
    check_choice(("sparsemax", "softmax", "sigmoid"), activation=activation)
    relevance = sequence_relevance(tokens, codebook, query_map, mask, pool, pad_mode) / temperature
    with torch.autocast(tokens.device.type, enabled=False):
        codebook = as_float(codebook)
        if activation == "sigmoid":
            w = relevance.sigmoid()
            # written with log σ, so that a row in which every σ vanishes keeps a sum of 1
            return w, torch.softmax(F.logsigmoid(relevance), dim=1) @ codebook
        w = sparsemax(relevance) if activation == "sparsemax" else relevance.softmax(dim=1)
        return w, w @ codebook


def codebook_orthogonality(codebook: Tensor) -> Tensor:
    """Penalty on entries that point the same way: ``Σ_ij (cos(s_i, s_j) - [i = j])² / C²``.

    Memory is quadratic in the smaller of C and d.

    Args:
        codebook: ``(C, d)``, any norm; 1e-10 is added to each norm.

    Returns:
        Scalar; 0 for orthogonal entries.

    Raises:
        ShapeError: ``codebook`` is not a matrix.

    Source:
        Released code of FDT (Chen et al. 2023, CVPR), which has it without using it.

    Example:
        >>> codebook_orthogonality(2 * torch.eye(3)), codebook_orthogonality(torch.ones(2, 4))
        (tensor(0.), tensor(0.5000))
    """
    check_ndim(2, codebook=codebook)
    with torch.autocast(codebook.device.type, enabled=False):
        codebook = as_float(codebook)
        count, width = codebook.shape
        unit = codebook / (torch.linalg.vector_norm(codebook, dim=1, keepdim=True) + 1e-10)
        if count <= width:
            gram = unit @ unit.T - torch.eye(count, dtype=unit.dtype, device=unit.device)
            return gram.square().sum() / count**2
        square = unit.square().sum()  # ‖X Xᵀ - I‖² = ‖Xᵀ X‖² - 2 ‖X‖² + C
        return ((unit.T @ unit).square().sum() - 2 * square + count) / count**2


def hungarian_matching(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The one-to-one assignment of rows to columns of least total cost.

    Args:
        cost: ``(n, m)``; no gradient flows.

    Returns:
        Two ``(min(n, m),)`` index tensors: row i of the pairs in ascending order, and its column.

    Raises:
        ShapeError: ``cost`` is not a matrix.
        ValueError: a cost that is NaN or -inf, or no finite assignment.
        ImportError: SciPy is not installed.

    Source:
        Kuhn (1955, Naval Research Logistics Quarterly), by the solver of SciPy.

    Example:
        >>> hungarian_matching(torch.tensor([[1.0, 2.0], [1.0, 9.0]]))
        (tensor([0, 1]), tensor([1, 0]))
    """
    check_ndim(2, cost=cost)
    try:
        from scipy.optimize import linear_sum_assignment  # slow to import, and needed here only
    except ImportError as error:
        raise ImportError("hungarian_matching solves the assignment with SciPy: pip install scipy") from error
    rows, columns = linear_sum_assignment(as_float(cost.detach()).cpu().numpy())
    return torch.as_tensor(rows, device=cost.device), torch.as_tensor(columns, device=cost.device)


def _shift_and_exponentiate(kernel: Tensor, eps: float) -> Tensor:
    """In place, ``exp((kernel - column maximum - shift) / eps)``, whose largest entry in each row and column is 1.

    Returns the shift ``(n,)`` of the rows. The columns' maxima are those of all processes; a row that holds one of
    them has shift 0, so that its entry stays 1.
    """
    top = kernel.amax(dim=0)
    if world_size() > 1:
        dist.all_reduce(top, dist.ReduceOp.MAX)
    shift = kernel.sub_(top).amax(dim=1)
    lowest = math.log(1000 * torch.finfo(kernel.dtype).tiny)  # below lie denormal numbers, up to 80 times as slow
    F.threshold(kernel.sub_(shift[:, None]).div_(eps), lowest, lowest, inplace=True).exp_()
    return shift


def _sum_over_processes(x: Tensor) -> Tensor:
    if world_size() > 1:
        dist.all_reduce(x)
    return x


class _Sparsemax(torch.autograd.Function):
    """Projection of the last dimension; whatever stands before it is a batch, so that vmap only moves dimensions."""

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        z = z - z.amax(dim=-1, keepdim=True)  # the support lies within 1 of the largest: no digits are lost
        rows = z.reshape(-1, z.shape[-1])
        first = rows.shape[1] if torch.compiler.is_compiling() else FIRST_CANDIDATES
        return (z - _threshold(rows, first).view(*z.shape[:-1], 1)).clamp(min=0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        support = output > 0
        inside = torch.where(support, grad, 0)
        mean = inside.sum(dim=-1, keepdim=True) / support.sum(dim=-1, keepdim=True)
        return torch.where(support, grad - mean, 0)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], z: Tensor) -> tuple[Tensor, int]:
        return _Sparsemax.apply(z.movedim(in_dims[0], 0)), 0


def _threshold(rows: Tensor, candidates: int) -> Tensor:
    """τ of every row, ``(R, 1)``, found among its ``candidates`` largest entries where these go beyond the support."""
    count = rows.shape[1]
    if 4 * candidates >= count:  # a full sort is as fast
        candidates = count
        largest = rows.sort(dim=1, descending=True).values
    else:
        largest = rows.topk(candidates, dim=1).values
    excess = largest.cumsum(dim=1) - 1
    place = torch.arange(1, candidates + 1, device=rows.device)
    size = (place * largest > excess).sum(dim=1, keepdim=True).clamp(min=1)
    tau = excess.gather(1, size - 1) / size
    if candidates < count:
        unsure = (size == candidates).squeeze(1)
        if unsure.any():
            tau[unsure] = _threshold(rows[unsure], 16 * candidates)
    return tau


def _queries(tokens: Tensor, codebook: Tensor, query_map: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Queries ``(B, n, d)``, checked; in the precision of the autocast around."""
    check_ndim(3, tokens=tokens)
    check_ndim(2, codebook=codebook)
    queries = tokens if query_map is None else query_map(tokens)
    check_shape((*tokens.shape[:2], codebook.shape[1]), queries=queries)
    return queries


def _scaled_products(queries: Tensor, codebook: Tensor) -> Tensor:
    return queries / math.sqrt(codebook.shape[1]) @ codebook.T  # (B, n, C)


def _check_mask(sequence: Tensor, mask: Tensor | None) -> None:
    if mask is not None:
        check_shape(tuple(sequence.shape[:2]), mask=mask)
        if mask.dtype != torch.bool:
            raise ValueError(f"mask has dtype {mask.dtype}: expected torch.bool, True where there is a token")
