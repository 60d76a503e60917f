"""Similarities between embeddings, and what is made of them: gates, soft-target weights, attention, hard negatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.checks import (
    as_float,
    check_choice,
    check_ndim,
    check_positive,
    check_range,
    check_same_shape,
    check_same_width,
    check_shape,
)

Gating = Literal["subspace", "squared"]
Partner = Literal["arbitrary", "identical", "distinct"]
Kernel = Literal["affine", "exp", "topk", "rbf"]


def pairwise_cosine_similarity(a: Tensor, b: Tensor | None = None) -> Tensor:
    """Cosine of every row of ``a`` with every row of ``b``, in float32 even under autocast.

    Args:
        a: ``(A, D)``, any norm; a zero row has cosine 0 with everything.
        b: ``(B, D)``, by default ``a``.

    Returns:
        ``(A, B)``.

    Raises:
        ShapeError: not matrices of equal width.

    Example:
        >>> pairwise_cosine_similarity(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 9.0]]))
        tensor([[1., 0.]])
    """
    b = a if b is None else b
    check_same_width(a=a, b=b)
    with torch.autocast(a.device.type, enabled=False):
        return F.normalize(as_float(a), dim=1) @ F.normalize(as_float(b), dim=1).T


def mean_cosine(
    queries: Mapping[str, Tensor], candidates: Mapping[str, Tensor], present: Tensor | None = None
) -> Tensor:
    """Mean cosine ``(A, B)`` of A queries with B candidates, each of one or several modalities.

    Args:
        queries: modality -> unit-norm embeddings ``(A, D)``.
        candidates: modality -> unit-norm embeddings ``(B, D)``.
        present: ``(B, k)`` bool, False for a modality that a candidate lacks; None when all are there.

    Example:
        >>> east, north = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> mean_cosine({"text": east}, {"image": east, "audio": north})
        tensor([[0.5000]])
    """
    query = torch.stack(list(queries.values())).mean(dim=0)  # (A, D)
    cosines = torch.stack([query @ candidate.T for candidate in candidates.values()], dim=2)  # (A, B, k)
    if present is None:
        return cosines.mean(dim=2)
    there = present.to(cosines)
    return (cosines * there).sum(dim=2) / there.sum(dim=1).clamp(min=1)


def gated_similarity(z: Tensor, k: Tensor, gate: Tensor, mode: Gating = "subspace") -> Tensor:
    """Similarity of each anchor with every key in the dimensions that the anchor's gate leaves open (SimLAP).

    ``subspace`` (first version of the paper, Hydra): the cosine of ``g_i z_i`` and ``g_i k_j``, from three products
    of matrices: ``Σ g²zk / (sqrt(Σ g²z²) sqrt(Σ g²k²))``. It does not change with the scale of z, k or g.
    ``squared`` (second version): ``Σ g² ẑ k̂`` with ẑ, k̂ of unit norm; a closed gate lowers all similarities.

    Args:
        z: ``(B, d)`` anchors, any norm.
        k: ``(N, d)`` keys, any norm.
        gate: ``(B, d)`` non-negative, usually in (0, 1).
        mode: ``subspace`` or ``squared``.

    Returns:
        ``(B, N)``, not divided by a temperature; 0 without gradient where a vector has nothing in the open dimensions.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: an unknown mode.

    Example:
        >>> z, k, gate = torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, -3.0]]), torch.tensor([[0.5, 0.0]])
        >>> gated_similarity(z, k, gate).round(decimals=4), gated_similarity(z, k, gate, mode="squared")
        (tensor([[1.]]), tensor([[0.1250]]))
    """
    check_same_width(z=z, k=k)
    check_same_shape(z=z, gate=gate)
    check_choice(get_args(Gating), mode=mode)
    with torch.autocast(z.device.type, enabled=False):
        z, k, gate = F.normalize(as_float(z), dim=1), F.normalize(as_float(k), dim=1), as_float(gate)
        if mode == "squared":
            return (gate.square() * z) @ k.T
        largest = gate.detach().abs().amax(dim=1, keepdim=True)  # cancels; tiny gates would underflow when squared
        square = (gate / largest.masked_fill(largest == 0, 1.0)).square()
        inverse_anchor = _safe_rsqrt((square * z.square()).sum(dim=1, keepdim=True))
        inverse_key = _safe_rsqrt(square @ k.square().T)  # (B, N): a norm for each anchor's gate
        return (square * z) @ k.T * inverse_anchor * inverse_key


def gate_entropy(gate: Tensor) -> Tensor:
    """Mean entropy of gates seen as Bernoulli variables; small when they are nearly open or closed (SimLAP).

    Args:
        gate: any shape, in [0, 1].

    Returns:
        Scalar in [0, log 2]; a gate that is exactly 0 or 1 has entropy 0 without gradient.

    Example:
        >>> gate_entropy(torch.tensor([0.5, 1.0]))
        tensor(0.3466)
    """
    gate = as_float(gate)
    tiny = torch.finfo(gate.dtype).tiny
    return (torch.special.entr(gate.clamp(min=tiny)) + torch.special.entr((1 - gate).clamp(min=tiny))).mean()


def sample_partners(
    y: Tensor,
    mode: Partner = "arbitrary",
    num_classes: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The class that each anchor is to become similar to (SimLAP).

    Args:
        y: ``(B,)`` class of each anchor.
        mode: ``arbitrary``: the labels of the batch in random order, so that each partner class has keys;
            ``identical``: the own class (supervised contrast); ``distinct``: any other class, uniformly, which the
            batch may lack.
        num_classes: C, needed for ``distinct`` only.
        generator: makes the draw reproducible.

    Returns:
        ``(B,)`` class of each partner.

    Raises:
        ShapeError: ``y`` is not a vector.
        ValueError: an unknown mode, ``distinct`` without at least two classes.

    Example:
        >>> sample_partners(torch.tensor([0, 1, 0]), "distinct", num_classes=2)
        tensor([1, 0, 1])
    """
    check_ndim(1, y=y)
    check_choice(get_args(Partner), mode=mode)
    if mode == "identical":
        return y.clone()
    if mode == "arbitrary":
        return y[torch.randperm(len(y), generator=generator, device=y.device)]
    if num_classes is None or num_classes < 2:
        raise ValueError(f"num_classes = {num_classes}: expected at least 2 for mode='distinct'")
    step = torch.randint(1, num_classes, y.shape, generator=generator, device=y.device)
    return (y + step) % num_classes


def pair_masks(y1: Tensor, y2: Tensor, y_keys: Tensor, *, exclude_self: bool = False) -> tuple[Tensor, Tensor]:
    """Which keys an anchor of class y1 with partner class y2 is drawn to, and which it is pushed from (SimLAP).

    Positives have class y2; negatives neither y1 nor y2; the remaining keys of class y1 are ignored.

    Args:
        y1: ``(B,)`` class of each anchor.
        y2: ``(B,)`` class of its partner, see :func:`sample_partners`.
        y_keys: ``(N,)`` class of each key.
        exclude_self: key i is anchor i, which would be its own perfect positive where y1 = y2 (N = B; the released
            code keeps it).

    Returns:
        ``(B, N)`` bool positives and ``(B, N)`` bool negatives.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> positive, negative = pair_masks(torch.tensor([0]), torch.tensor([1]), torch.tensor([0, 1, 2]))
        >>> positive, negative
        (tensor([[False,  True, False]]), tensor([[False, False,  True]]))
    """
    check_ndim(1, y1=y1, y_keys=y_keys)
    check_shape((len(y1),), y2=y2)
    partner = y_keys == y2[:, None]
    negative = ~(partner | (y_keys == y1[:, None]))
    if exclude_self:
        check_shape((len(y1),), y_keys=y_keys)
        own = torch.eye(len(y1), dtype=torch.bool, device=y1.device)
        return partner & ~own, negative
    return partner, negative


@torch.no_grad()
def similarity_weights(
    ref: Tensor, kernel: Kernel = "affine", temperature: float | None = None, k: int | None = None
) -> Tensor:
    """How much each item counts as a positive of each other, from the features of a frozen model (CWCL).

    ``affine`` (paper): ``cos/2 + 1/2``. ``exp``: ``exp((cos - 1) / temperature)``, much sharper. ``topk``: the k
    largest weights of each row, its own among them, and zero elsewhere. ``rbf``:
    ``exp(-|x_i - x_j|² / (2 temperature))`` of the vectors as they are. Targets of a loss are these weights after
    :func:`accord.functional.engine.row_normalize`, which is not to be transposed for the other direction.

    Args:
        ref: ``(B, D)`` reference features, any norm, or ``(B, C, D)`` with C channels whose cosines (squared distances)
            are averaged.
        kernel: ``affine``, ``exp``, ``topk`` or ``rbf``.
        temperature: of ``exp`` (by default 0.1) and of ``rbf`` (needed: the variance σ²); given for ``topk``, the
            kept weights are those of ``exp``, otherwise those of ``affine``.
        k: entries kept per row, for ``topk`` only.

    Returns:
        ``(B, B)`` in [0, 1] with ones on the diagonal, without gradient.

    Raises:
        ShapeError: ``ref`` has neither two nor three dimensions.
        ValueError: an unknown kernel, a temperature that is not finite and positive, k outside [1, B].

    Example:
        >>> ref = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
        >>> similarity_weights(ref)
        tensor([[1.0000, 0.5000, 0.0000],
                [0.5000, 1.0000, 0.5000],
                [0.0000, 0.5000, 1.0000]])
        >>> similarity_weights(ref, kernel="topk", k=1).diagonal()
        tensor([1., 1., 1.])
    """
    check_choice(get_args(Kernel), kernel=kernel)
    if ref.ndim not in (2, 3):
        raise ShapeError(f"ref has shape {tuple(ref.shape)}: expected (B, D) or (B, C, D)")
    if kernel == "rbf" and temperature is None:
        raise ValueError("temperature = None: expected the variance of the rbf kernel")
    if kernel == "topk":
        check_range(1, len(ref), k=0 if k is None else k)
    if temperature is not None:
        check_positive(temperature=temperature)
    with torch.autocast(ref.device.type, enabled=False):
        channels = as_float(ref).unflatten(1, (-1, ref.shape[-1])) if ref.ndim == 2 else as_float(ref)
        if kernel == "rbf":
            x = channels.flatten(1)
            square = torch.cdist(x, x).square() / channels.shape[1]
            weight = torch.exp(-square / (2 * (temperature or 1.0)))
        else:
            x = F.normalize(channels, dim=2).flatten(1)
            cosine = (x @ x.T / channels.shape[1]).clamp(-1, 1)
            sharp = kernel == "exp" or (kernel == "topk" and temperature is not None)
            weight = torch.exp((cosine - 1) / (temperature or 0.1)) if sharp else (cosine + 1) / 2
        weight.fill_diagonal_(1.0)
        return weight if kernel != "topk" else _keep_largest(weight, k or 1)


def stacked_cross_attention(
    query: Tensor,
    context: Tensor,
    smooth: float = 9.0,
    query_mask: Tensor | None = None,
    *,
    all_pairs: bool = False,
) -> Tensor:
    """For every token of the query the context that it attends to (SCAN, Lee et al. 2018, ECCV).

    ``a = leaky_relu_0.1(context · query)`` is normalised over the query's tokens (so that a region says which words
    it serves), and ``softmax(smooth · a)`` over the context mixes its tokens; the mixture is normalised.

    Args:
        query: ``(B, L, d)`` unit norm, often words.
        context: ``(B, R, d)`` unit norm, often image regions; sample b is attended to by query b only.
        smooth: inverse temperature of the softmax.
        query_mask: ``(B, L)`` bool, False for padding, which takes no part in the normalisation.
        all_pairs: every query attends to each of A contexts ``(A, R, d)``.

    Returns:
        ``(B, L, d)`` unit norm, or ``(A, B, L, d)`` for all pairs; zero for padding.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: ``smooth`` that is not finite and positive.

    Example:
        >>> stacked_cross_attention(torch.eye(2)[None, :1], torch.eye(2)[None]).round(decimals=3)
        tensor([[[1., 0.]]])
    """
    check_ndim(3, query=query, context=context)
    check_shape((None if all_pairs else len(query), None, query.shape[2]), context=context)
    check_positive(smooth=smooth)
    if query_mask is not None:
        check_shape(tuple(query.shape[:2]), query_mask=query_mask)
    pairs = "ard,bld->abrl" if all_pairs else "brd,bld->brl"
    with torch.autocast(query.device.type, enabled=False):
        query, context = as_float(query), as_float(context)
        affinity = F.leaky_relu(torch.einsum(pairs, context, query), 0.1)  # (A, B, R, L) or (B, R, L)
        if query_mask is not None:
            affinity = affinity.masked_fill(~query_mask[:, None], 0.0)
        attention = (smooth * _unit(affinity)).softmax(dim=-2)
        mixed = "abrl,ard->abld" if all_pairs else "brl,brd->bld"
        attended = _unit(torch.einsum(mixed, attention, context))
        return attended if query_mask is None else attended.masked_fill(~query_mask[..., None], 0.0)


@torch.no_grad()
def hard_negative_weights(logits: Tensor, own_index: Tensor, floor: float = 1e-4) -> Tensor:
    """Weights for drawing one hard negative per row: ``softmax(logits) + floor``, the own candidates 0 (ALBEF, GRAM).

    Where that leaves nothing to draw, all candidates that are not own get weight 1; where every candidate is
    excluded, all but column i, the own one of row i in a square batch.

    Args:
        logits: ``(B, M)`` similarity over temperature; for GRAM minus the volume.
        own_index: ``(B,)`` integer column of the own candidate, or ``(B, M)`` bool, True for all that are excluded.
        floor: added to each probability, so that easy negatives are drawn too.

    Returns:
        ``(B, M)``, not normalised, without gradient.

    Raises:
        ShapeError: shapes that do not fit together, or fewer than two candidates.
        ValueError: a negative floor, ``own_index`` neither integer nor bool.

    Example:
        >>> hard_negative_weights(torch.zeros(1, 4), torch.tensor([2]), floor=0.0)
        tensor([[0.2500, 0.2500, 0.0000, 0.2500]])
    """
    check_ndim(2, logits=logits)
    if not floor >= 0:
        raise ValueError(f"floor = {floor}: expected a number ≥ 0")
    if logits.shape[1] < 2:
        raise ShapeError(f"logits has shape {tuple(logits.shape)}: expected at least two candidates")
    if own_index.is_floating_point():
        raise ValueError(f"own_index has type {own_index.dtype}: expected integer columns, or a bool mask")
    columns = torch.arange(logits.shape[1], device=logits.device)
    check_shape(tuple(logits.shape) if own_index.dtype == torch.bool else (len(logits),), own_index=own_index)
    own = own_index if own_index.dtype == torch.bool else columns == own_index[:, None]
    weight = (as_float(logits).softmax(dim=1) + floor).masked_fill(own, 0.0)
    nothing_left = own.all(dim=1, keepdim=True)
    diagonal = columns == torch.arange(len(logits), device=logits.device)[:, None]
    others = ~own | (nothing_left & ~diagonal)
    return torch.where(weight.sum(dim=1, keepdim=True) > 0, weight, others.to(weight))


@torch.no_grad()
def sample_hard_negatives(
    logits: Tensor, own_index: Tensor, floor: float = 1e-4, generator: torch.Generator | None = None
) -> Tensor:
    """One negative candidate per row, drawn with the weights of :func:`hard_negative_weights`.

    Args:
        logits: ``(B, M)`` similarity over temperature.
        own_index: ``(B,)`` integer column of the own candidate, or ``(B, M)`` bool, True for all that are excluded.
        floor: added to each probability.
        generator: makes the draw reproducible.

    Returns:
        ``(B,)`` column of the negative of each row.

    Raises:
        ShapeError: shapes that do not fit together, or fewer than two candidates.
        ValueError: a negative floor, ``own_index`` neither integer nor bool.

    Example:
        >>> sample_hard_negatives(torch.tensor([[0.0, 9.0, 0.0]]), torch.tensor([[True, False, True]]))
        tensor([1])
    """
    return torch.multinomial(hard_negative_weights(logits, own_index, floor), 1, generator=generator).squeeze(1)


def matching_pairs(
    x_to_y: Tensor, y_to_x: Tensor, own: Tensor, floor: float = 1e-4, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs that a matching head learns from: the right ones, and each side with a hard wrong partner.

    Align before Fuse, Li et al. 2021 (NeurIPS), section 3.2.

    Args:
        x_to_y: ``(B, B)`` similarity over temperature of each x with all y.
        y_to_x: ``(B, B)`` of each y with all x.
        own: as ``own_index`` of :func:`sample_hard_negatives`.
        floor: added to each probability.
        generator: makes the draws reproducible.

    Returns:
        ``(3B,)`` rows of x and of y, and whether they belong together: B pairs as they are, B of an x with a wrong y,
        B of a y with a wrong x.

    Raises:
        ShapeError, ValueError: as :func:`sample_hard_negatives`.

    Example:
        >>> similarity = torch.eye(2)
        >>> matching_pairs(similarity, similarity, torch.arange(2))
        (tensor([0, 1, 0, 1, 1, 0]), tensor([0, 1, 1, 0, 0, 1]), tensor([1, 1, 0, 0, 0, 0]))
    """
    rows = torch.arange(len(x_to_y), device=x_to_y.device)
    y = sample_hard_negatives(x_to_y, own, floor, generator)
    x = sample_hard_negatives(y_to_x, own, floor, generator)
    together = torch.cat([torch.ones_like(rows), torch.zeros_like(rows).repeat(2)])
    return torch.cat([rows, rows, x]), torch.cat([rows, y, rows]), together


def _safe_rsqrt(x: Tensor) -> Tensor:
    """One over the norm of which x is the square; 0 without gradient for a norm below 1e-12."""
    return x.masked_fill(x < 1e-24, torch.inf).rsqrt()


def _unit(x: Tensor) -> Tensor:
    """Rows over their norm, to which the released code adds 1e-8."""
    return x / (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + 1e-8)


def _keep_largest(weight: Tensor, k: int) -> Tensor:
    """Zero but for the k largest entries of each row, the diagonal first."""
    first = weight.clone().fill_diagonal_(torch.inf)
    kept = torch.zeros_like(weight, dtype=torch.bool).scatter_(1, first.topk(k, dim=1).indices, True)
    return weight.masked_fill(~kept, 0.0)
