"""Contrast within one set: two or more views of each instance against all others, and rows of one class.

NT-Xent (SimCLR, Chen et al. 2020, ICML, eq. 1), SupCon (Khosla et al. 2020, NeurIPS, eq. 2), MV-InfoNCE and MV-DHEL
(Koromilas et al. 2025, "A Principled Framework for Multi-View Contrastive Learning"), DHEL (Koromilas et al. 2024,
ICML), poly-view contrast (Shidani et al. 2024, ICLR, eq. 13). The similarities of a set with itself are symmetric and
are computed once, in tiles; no product of views with views of all dimensions is ever held.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.checks import (
    as_float,
    check_choice,
    check_ndim,
    check_positive,
    check_same_shape,
    check_shape,
    logit_scale_of,
)
from accord.functional.engine import contrastive_loss, masked_logsumexp
from accord.functional.tiled import DENSE_ROWS, PairWeight, self_logsumexp, tiled_logsumexp, tiled_logsumexp_both

Views = Tensor | Sequence[Tensor]


def nt_xent(
    a: Tensor,
    p: Tensor,
    temperature: Tensor | float,
    *,
    normalize: bool = True,
    labels: Tensor | None = None,
    copies: Tensor | None = None,
) -> Tensor:
    """Normalised temperature-scaled cross-entropy: each of 2N embeddings must find its other view (SimCLR, eq. 1).

    All 2N - 2 other embeddings, of both views, are negatives; mean over the 2N anchors.

    Args:
        a: ``(N, D)`` first view.
        p: ``(N, D)`` second view; row i belongs to row i of ``a``.
        temperature: divides the cosines.
        normalize: bring rows to unit norm first; False takes them as they are.
        labels: ``(N,)`` integers; given, only rows of the anchor's own label are negatives (MCL).
        copies: ``(N,)`` integers; given, rows of one number are the same thing, and no negatives of each other.

    Returns:
        Scalar.

    Raises:
        ShapeError: not two matrices of the same shape.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> nt_xent(torch.eye(3), torch.eye(3), 0.01)
        tensor(0.)
    """
    check_same_shape(a=a, p=p)
    check_positive(temperature=temperature)
    for name, numbers in (("labels", labels), ("copies", copies)):
        if numbers is not None:
            check_shape((len(a),), **{name: numbers})
    with torch.autocast(a.device.type, enabled=False):
        z = _unit(torch.cat([a, p]), normalize)
        gain = (z[: len(a)] * z[len(a) :]).sum(dim=1) / temperature  # (N,), the same for both anchors of a pair
        if labels is None and copies is None:
            return self_logsumexp(z, logit_scale_of(temperature)).mean() - gain.mean()
        counts = _compared(labels, copies, len(a), a.device)
        levels = tiled_logsumexp(z, z, logit_scale_of(temperature), exclude_self=True, pair_weight=counts)
        return levels.mean() - gain.mean()


def _compared(labels: Tensor | None, copies: Tensor | None, count: int, device: torch.device) -> PairWeight:
    """Which of both views' ``2 count`` rows an anchor is compared with: those of its label, and none of its copies."""
    row = torch.arange(count, device=device).repeat(2)  # its own other view is compared in any case

    def counts(rows: slice, columns: slice) -> Tensor:
        itself = row[rows, None] == row[columns]
        found = torch.ones_like(itself)
        if labels is not None:
            found &= labels[row[rows], None] == labels[row[columns]]
        if copies is not None:
            found &= itself | (copies[row[rows], None] != copies[row[columns]])
        return found

    return counts


def supcon(
    z: Tensor,
    labels: Tensor,
    temperature: Tensor | float = 0.07,
    *,
    normalize: bool = True,
    present: Tensor | None = None,
) -> Tensor:
    """Supervised contrast: every other row of the class is a positive (SupCon, eq. 2, the sum outside the log).

    ``mean_i [log Σ_{k ≠ i} exp(s_ik) - mean_{j ≠ i, y_j = y_i} s_ij]`` over the rows that have a positive. The mean
    over positives is the similarity with their mean, so that beyond the denominator nothing grows with N².

    Args:
        z: ``(N, D)``; stack the views of an instance as rows of equal label.
        labels: ``(N,)`` integers.
        temperature: divides the cosines.
        normalize: bring rows to unit norm first; False takes them as they are.
        present: ``(N,)`` bool, False for rows that are neither compared nor compared with, such as those without label.

    Returns:
        Scalar, 0 when no row has a positive.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive, fewer than two rows.

    Example:
        >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> supcon(z, torch.tensor([5, 5, 9, 9]), temperature=0.05)
        tensor(0.)
    """
    check_ndim(2, z=z)
    check_shape((len(z),), labels=labels)
    check_positive(temperature=temperature)
    if present is not None:
        check_shape((len(z),), present=present)
    with torch.autocast(z.device.type, enabled=False):
        z = _unit(z, normalize)
        if len(z) <= DENSE_ROWS:
            other = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
            if present is not None:
                other &= present & present[:, None]
            same = (labels[:, None] == labels) & other
            return contrastive_loss(z @ z.T / temperature, same, other & ~same)
        if present is not None:
            z, labels = z[present], labels[present]
            if len(z) < 2:
                return z.sum() * 0
        classes, member = labels.unique(return_inverse=True)
        total = z.new_zeros(len(classes), z.shape[1]).index_add(0, member, z)
        count = torch.bincount(member, minlength=len(classes))[member] - 1
        others = (total[member] - z) / count.clamp(min=1)[:, None]  # mean of the other rows of the class
        loss = self_logsumexp(z, logit_scale_of(temperature)) - (z * others).sum(dim=1) / temperature
        return loss.masked_fill(count == 0, 0.0).sum() / (count > 0).sum().clamp(min=1)


def split_views(z: Tensor, n_views: int) -> Tensor:
    """``(N·M, D)`` in view-major order (all instances of view 1, then of view 2, …) as ``(N, M, D)``.

    Args:
        z: ``(N·M, D)``.
        n_views: N.

    Raises:
        ShapeError: ``z`` is not a matrix whose rows divide by the views.

    Example:
        >>> split_views(torch.arange(4.0)[:, None], 2)[1].T
        tensor([[2., 3.]])
    """
    check_ndim(2, z=z)
    if n_views < 1 or len(z) % n_views:
        raise ShapeError(f"z has {len(z)} rows: expected a multiple of {n_views} views")
    return z.unflatten(0, (n_views, -1))


def mv_infonce(
    views: Views,
    tau: Tensor | float,
    *,
    normalize: bool = True,
    mask: Tensor | None = None,
    same_view_negatives: bool = True,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """One InfoNCE term per instance over all its views together (MV-InfoNCE).

    ``log Σ_l Σ_{(m,j) ≠ (l,i)} exp s(u_il, u_jm) - log Σ_l Σ_{l' ≠ l} exp s(u_il, u_il')`` for instance i. With two
    views this is not NT-Xent, which has one logarithm per anchor.

    Args:
        views: N tensors ``(M, D)``, or ``(N, M, D)``; row i of every view belongs to instance i.
        tau: divides the cosines.
        normalize: bring rows to unit norm first.
        mask: ``(N, M)`` bool, False where a view is missing. An instance with fewer than two views contributes zero,
            but its view is still a negative for others.
        same_view_negatives: other instances of the anchor's own view are negatives, as in the released code; False:
            the denominator of the paper's formula, over the other views only.
        reduction: ``mean`` over the instances that have a term, or ``none``.

    Returns:
        Scalar, or ``(M,)``.

    Raises:
        ShapeError: fewer than two views, or views of different shapes.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> eye = torch.eye(6).view(3, 2, 6)  # three views of two instances, all orthogonal
        >>> torch.isclose(mv_infonce(eye, 0.5), torch.tensor(5.0).log() - torch.tensor(2.0).log())
        tensor(True)
    """
    u, there = _views(views, normalize, mask)
    check_positive(tau=tau)
    n, m, _ = u.shape
    with torch.autocast(u.device.type, enabled=False):
        view = torch.arange(n, device=u.device).repeat_interleave(m)
        present = None if mask is None else there.flatten()

        def counts(rows: slice, columns: slice) -> Tensor:
            other = (view[rows, None] != view[columns]) | same_view_negatives
            return other if present is None else other & present[rows, None] & present[columns]

        weight = None if present is None and same_view_negatives else counts
        level = self_logsumexp(u.flatten(0, 1), logit_scale_of(tau), pair_weight=weight).view(n, m)
        together = masked_logsumexp(level.T, None if present is None else -torch.inf < level.T)
        return _instance_loss(together, _joint_positive(u, there, tau), there, reduction)


def mv_dhel(
    views: Views,
    tau: Tensor | float,
    *,
    normalize: bool = True,
    mask: Tensor | None = None,
    itself: bool = False,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Alignment over all views of an instance, uniformity inside each view (MV-DHEL).

    ``Σ_l log Σ_{j ≠ i} exp s(u_il, u_jl) - log Σ_{l < l'} exp s(u_il, u_il')`` for instance i: positives never stand
    in a denominator. With two views it is DHEL. The sum over views is not a mean: uniformity weighs more the more views
    there are. Between views of different modalities nothing pushes negatives apart.

    Args:
        views: N tensors ``(M, D)``, or ``(N, M, D)``; M ≥ 2.
        tau: divides the cosines.
        normalize: bring rows to unit norm first.
        mask: ``(N, M)`` bool, False where a view is missing; see :func:`mv_infonce`.
        itself: the sum over j takes in i, a constant exp(1 / tau), as in the paper's formula; not so in the released
            code.
        reduction: ``mean`` over the instances that have a term, or ``none``.

    Returns:
        Scalar, or ``(M,)``.

    Raises:
        ShapeError: fewer than two views, or views of different shapes.
        ValueError: a temperature that is not finite and positive, fewer than two instances.

    Example:
        >>> eye = torch.eye(6).view(2, 3, 6)  # two views of three instances, all orthogonal
        >>> torch.isclose(mv_dhel(eye, 0.5), 2 * torch.tensor(2.0).log())
        tensor(True)
    """
    u, there = _views(views, normalize, mask)
    check_positive(tau=tau)
    with torch.autocast(u.device.type, enabled=False):
        spread = [_view_level(u[view], there[view] if mask is not None else None, tau) for view in range(len(u))]
        level = torch.stack(spread)  # (N, M)
        if itself:
            own = u.square().sum(dim=2) / tau
            level = torch.where(there, torch.logaddexp(level, own), level)
        uniform = level.masked_fill(level == -torch.inf, 0.0).sum(dim=0)
        pull = _joint_positive(u, there, tau) - math.log(2)  # every unordered pair stands twice in it
        return _instance_loss(uniform, pull, there, reduction)


def dhel(
    a: Tensor,
    b: Tensor,
    tau: Tensor | float,
    *,
    normalize: bool = True,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Decoupled hyperspherical energy: ``log E_1 + log E_2 - s(a_i, b_i)``, each E within one view (DHEL).

    Args:
        a: ``(M, D)`` first view.
        b: ``(M, D)`` second view.
        tau: divides the cosines.
        normalize: bring rows to unit norm first.
        reduction: ``mean`` or ``none``.

    Returns:
        Scalar, or ``(M,)``.

    Raises:
        ShapeError: views of different shapes.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> dhel(torch.eye(2), torch.eye(2), 0.5)
        tensor(-2.)
    """
    return mv_dhel([a, b], tau, normalize=normalize, reduction=reduction)


def pairwise_nt_xent(
    views: Views, tau: Tensor | float, *, normalize: bool = True, reduction: Literal["mean", "none"] = "mean"
) -> Tensor:
    """Mean of :func:`nt_xent` over all pairs of views, the usual way to use more than two.

    Args:
        views: N tensors ``(M, D)``, or ``(N, M, D)``.
        tau: divides the cosines.
        normalize: bring rows to unit norm first.
        reduction: ``mean`` or ``none``, the mean over the pairs and both anchors of each instance.

    Returns:
        Scalar, or ``(M,)``.

    Raises:
        ShapeError: fewer than two views, or views of different shapes.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> x = torch.eye(3)
        >>> torch.isclose(pairwise_nt_xent([x, x.flip(0)], 0.5), nt_xent(x, x.flip(0), 0.5))
        tensor(True)
    """
    u, _ = _views(views, normalize, None)
    check_positive(tau=tau)
    with torch.autocast(u.device.type, enabled=False):
        within = [_view_level(view, None, tau) for view in u]
        terms = []
        for a, b in combinations(range(len(u)), 2):
            rows, columns = tiled_logsumexp_both(u[a], u[b], logit_scale_of(tau))
            gain = (u[a] * u[b]).sum(dim=1) / tau
            terms.append((torch.logaddexp(within[a], rows) + torch.logaddexp(within[b], columns)) / 2 - gain)
        loss = torch.stack(terms).mean(dim=0)
        return loss if reduction == "none" else loss.mean()


def average_view_nt_xent(views: Views, tau: Tensor | float, *, normalize: bool = True) -> Tensor:
    """Mean over the views of :func:`nt_xent` between a view and the mean of the other views' unit vectors.

    The mean is not brought to unit norm again.

    Args:
        views: N tensors ``(M, D)``, or ``(N, M, D)``.
        tau: divides the inner products.
        normalize: bring the views to unit norm first.

    Returns:
        Scalar.

    Raises:
        ShapeError: fewer than two views, or views of different shapes.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> x = torch.eye(3)
        >>> torch.isclose(average_view_nt_xent([x, x.flip(0)], 0.5), nt_xent(x, x.flip(0), 0.5))
        tensor(True)
    """
    u, _ = _views(views, normalize, None)
    total = u.sum(dim=0)
    losses = [nt_xent(view, (total - view) / (len(u) - 1), tau, normalize=False) for view in u]
    return torch.stack(losses).mean()


def poly_view_loss(
    views: Views,
    tau: Tensor | float,
    kind: Literal["geometric", "arithmetic"] = "geometric",
    *,
    normalize: bool = True,
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """Each view must prefer each other view of its instance to all views of all others (poly-view contrast).

    ``p(a, b) = exp s(i,a;i,b) / (exp s(i,a;i,b) + Σ_{j ≠ i} Σ_m exp s(i,a;j,m))``; geometric: the mean of ``-log p``
    over ordered pairs of views; arithmetic: the mean over views a of ``-log mean_b p(a, b)``.

    Args:
        views: N tensors ``(M, D)``, or ``(N, M, D)``.
        tau: divides the cosines.
        kind: ``geometric`` or ``arithmetic``.
        normalize: bring rows to unit norm first.
        reduction: ``mean`` or ``none``.

    Returns:
        Scalar, or ``(M,)``.

    Raises:
        ShapeError: fewer than two views, or views of different shapes.
        ValueError: a temperature that is not finite and positive, an unknown kind.

    Example:
        >>> eye = torch.eye(4).view(2, 2, 4)  # two views of two instances, all orthogonal: p = 1 / 3
        >>> torch.isclose(poly_view_loss(eye, 0.5), torch.tensor(3.0).log())
        tensor(True)
    """
    u, _ = _views(views, normalize, None)
    check_positive(tau=tau)
    check_choice(("geometric", "arithmetic"), kind=kind)
    n, m, _ = u.shape
    with torch.autocast(u.device.type, enabled=False):
        instance = torch.arange(m, device=u.device).repeat(n)

        def others(rows: slice, columns: slice) -> Tensor:
            return instance[rows, None] != instance[columns]

        level = self_logsumexp(u.flatten(0, 1), logit_scale_of(tau), pair_weight=others).view(n, 1, m)
        term = F.softplus(level - _view_logits(u, tau))  # (N, N, M), -log p of anchor view a and view b
        pair = ~torch.eye(n, dtype=torch.bool, device=u.device)[..., None]
        if kind == "geometric":
            loss = term.masked_fill(~pair, 0.0).sum(dim=(0, 1)) / (n * (n - 1))
        else:
            mean_p = torch.logsumexp((-term).masked_fill(~pair, -torch.inf), dim=1) - math.log(n - 1)  # (N, M)
            loss = -mean_p.mean(dim=0)
        return loss if reduction == "none" else loss.mean()


def _unit(z: Tensor, normalize: bool) -> Tensor:
    z = as_float(z)
    return F.normalize(z, dim=-1) if normalize else z


def _views(views: Views, normalize: bool, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """``(N, M, D)`` in float32 at least, and ``(N, M)`` bool, which of them are there."""
    if not isinstance(views, Tensor):
        shapes = [tuple(view.shape) for view in views]
        if len(set(shapes)) > 1:
            raise ShapeError(f"views have shapes {', '.join(map(str, shapes))}: expected equal ones")
        views = torch.stack(list(views)) if shapes else torch.empty(0)
    if views.ndim != 3 or len(views) < 2:
        raise ShapeError(f"views have shape {tuple(views.shape)}: expected (views ≥ 2, instances, width)")
    if mask is None:
        return _unit(views, normalize), torch.ones(views.shape[:2], dtype=torch.bool, device=views.device)
    check_shape(tuple(views.shape[:2]), mask=mask)
    views = views.masked_fill(~mask.bool().unsqueeze(-1), 0.0)  # what stands for a missing view may be anything
    return _unit(views, normalize), mask.bool()


def _view_logits(u: Tensor, tau: Tensor | float) -> Tensor:
    """Similarities of the views of each instance with each other: ``(N, N, M)``."""
    return torch.einsum("amd,bmd->abm", u, u) / tau


def _joint_positive(u: Tensor, there: Tensor, tau: Tensor | float) -> Tensor:
    """Log-sum-exp over the ordered pairs of different views of each instance: ``(M,)``, -inf without a pair."""
    other = ~torch.eye(len(u), dtype=torch.bool, device=u.device)[..., None]
    pair = other & there[:, None] & there[None]  # (N, N, M)
    return masked_logsumexp(_view_logits(u, tau).flatten(0, 1).T, pair.flatten(0, 1).T)


def _view_level(view: Tensor, there: Tensor | None, tau: Tensor | float) -> Tensor:
    """Log-sum-exp over the other instances of one view: ``(M,)``."""
    if there is None:
        return self_logsumexp(view, logit_scale_of(tau))
    return self_logsumexp(
        view, logit_scale_of(tau), pair_weight=lambda rows, columns: there[rows, None] & there[columns]
    )


def _instance_loss(push: Tensor, pull: Tensor, there: Tensor, reduction: str) -> Tensor:
    """``push - pull`` of the instances with at least two views, and their mean."""
    counts = there.sum(dim=0) >= 2
    loss = push.masked_fill(~counts, 0.0) - pull.masked_fill(~counts, 0.0)
    return loss if reduction == "none" else loss.sum() / counts.sum().clamp(min=1)
