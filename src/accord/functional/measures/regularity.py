"""How a set of embeddings fills its space: alignment, uniformity, redundancy, entropy, modality gap, rank.

Wang and Isola (2020, ICML) for alignment and uniformity, Liang et al. (2022, NeurIPS) for the gap, Zbontar et al.
(2021, ICML) for redundancy, Roy and Vetterli (2007, EUSIPCO) for the effective rank.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import (
    as_float,
    check_ndim,
    check_positive,
    check_range,
    check_same_shape,
    check_same_width,
)
from accord.functional.distributed import gather_features
from accord.functional.tiled import tiled_logsumexp


def alignment(x: Tensor, y: Tensor, alpha: float = 2.0) -> Tensor:
    """Mean distance of the pairs, ``mean ||x_i - y_i||^alpha``; 0 when every pair coincides.

    Args:
        x: ``(N, D)`` unit norm.
        y: ``(N, D)`` unit norm.
        alpha: power of the distance.

    Returns:
        Scalar in [0, 2^alpha].

    Raises:
        ShapeError: not two matrices of the same shape.
        ValueError: alpha that is not finite and positive.

    Example:
        >>> alignment(torch.eye(2), torch.eye(2).flip(0))
        tensor(2.)
    """
    check_same_shape(x=x, y=y)
    check_positive(alpha=alpha)
    square = (as_float(x) - as_float(y)).square().sum(dim=1)
    return (square if alpha == 2 else square.pow(alpha / 2)).mean()


def uniformity(x: Tensor, t: float = 2.0) -> Tensor:
    """``log mean exp(-t ||x_i - x_j||²)`` over all pairs i ≠ j; lower is more uniform. Memory linear in N.

    Args:
        x: ``(N, D)``, N ≥ 2, usually unit norm.
        t: sharpness of the kernel.

    Returns:
        Scalar, in [-4 t, 0] for unit norm.

    Raises:
        ShapeError: ``x`` is not a matrix.
        ValueError: fewer than two rows, t that is not finite and positive.

    Example:
        >>> uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]))
        tensor(-8.)
    """
    check_ndim(2, x=x)
    check_positive(t=t)
    if len(x) < 2:
        raise ValueError(f"x has {len(x)} rows: expected at least 2")
    return _log_mean_kernel(x, x, t, exclude_pairs=True)


def cross_uniformity(x: Tensor, y: Tensor, t: float = 2.0, exclude_pairs: bool = True) -> Tensor:
    """``log mean exp(-t ||x_i - y_j||²)`` over the pairs of two modalities; memory linear in N.

    The term ``L_XUniform`` of Fahim et al. (2024, "It's Not a Modality Gap"): lower when what does not belong
    together is far apart across the modalities too.

    Args:
        x: ``(N, D)``, usually unit norm.
        y: ``(M, D)``; row i belongs to row i of ``x`` when pairs are excluded, and then M = N ≥ 2.
        t: sharpness of the kernel.
        exclude_pairs: leave out the matched pairs ``i = j``; duplicates elsewhere count.

    Returns:
        Scalar, in [-4 t, 0] for unit norm.

    Raises:
        ShapeError: not matrices of equal width, or of different length when pairs are excluded.
        ValueError: too few rows, t that is not finite and positive.

    Example:
        >>> x = torch.eye(2)
        >>> cross_uniformity(x, x), cross_uniformity(x, -x, exclude_pairs=False)
        (tensor(-4.), tensor(-4.6750))
    """
    check_same_shape(x=x, y=y) if exclude_pairs else check_same_width(x=x, y=y)
    check_positive(t=t)
    least = 2 if exclude_pairs else 1
    if min(len(x), len(y)) < least:
        raise ValueError(f"x has {len(x)} and y {len(y)} rows: expected at least {least}")
    return _log_mean_kernel(x, y, t, exclude_pairs)


def uniform_sphere_uniformity(dim: int, t: float = 2.0) -> float:
    """Uniformity of points spread evenly over the sphere: what :func:`uniformity` tends to at best.

    ``-2 t + log 0F1(; dim / 2; t²)``, the expectation of ``exp(-t ||u - v||²)``. Few points can lie lower: N ≤
    dim + 1 points on a simplex give ``-2 t N / (N - 1)``.

    Args:
        dim: number of dimensions D of the space that the sphere lies in, at least 1.
        t: sharpness of the kernel.

    Returns:
        A number in [-4 t, 0].

    Raises:
        ValueError: fewer than one dimension, t that is not finite and positive.

    Example:
        >>> [round(uniform_sphere_uniformity(dim), 2) for dim in (8, 32, 512)]
        [-3.08, -3.75, -3.98]
    """
    check_range(1, max(dim, 1), dim=dim)
    check_positive(t=t)
    half = dim / 2
    terms = [  # logarithms of t^2k Γ(D/2) / (Γ(D/2 + k) k!), which peak near k = t
        2 * k * math.log(t) + math.lgamma(half) - math.lgamma(half + k) - math.lgamma(k + 1)
        for k in range(int(4 * t) + 64)
    ]
    peak = max(terms)
    return peak + math.log(math.fsum(math.exp(term - peak) for term in terms)) - 2 * t


def cyclip_consistency(x: Tensor, y: Tensor) -> Tensor:
    """Both modalities see the same geometry: ``N/4 [mean (XXᵀ - YYᵀ)² + mean (XYᵀ - YXᵀ)²]``.

    The in-modal and cross-modal terms of CyCLIP (Goel et al. 2022, NeurIPS) on cosines, with the
    weight 0.25 of each; the means are over all N² entries.

    Args:
        x: ``(N, D)`` unit norm.
        y: ``(N, D)`` unit norm.

    Returns:
        Scalar ≥ 0.

    Raises:
        ShapeError: not two matrices of the same shape.

    Example:
        >>> cyclip_consistency(torch.eye(2), torch.eye(2).flip(0))
        tensor(0.)
    """
    check_same_shape(x=x, y=y)
    with torch.autocast(x.device.type, enabled=False):
        x, y = as_float(x), as_float(y)
        within, across = x @ x.T - y @ y.T, x @ y.T
        return len(x) * (within.square().mean() + (across - across.T).square().mean()) / 4


def barlow_cross(z1: Tensor, z2: Tensor, lam: float = 5e-3, scale: float = 0.025) -> Tensor:
    """Each feature agrees across the two sides and repeats no other feature (Barlow Twins across modalities).

    ``scale [Σ_i (C_ii - 1)² + lam Σ_i≠j C_ij²]`` with ``C = z1ᵀ z2 / N`` (Zbontar et al. 2021, eq. 1; BarLIP of
    Fini et al. 2023, TMLR). ``Σ_ij C_ij²`` is also ``Σ_nm (z1 z1ᵀ)_nm (z2 z2ᵀ)_nm / N²``, so the smaller of D×D
    and N×N is held: 8192 features of 512 rows need 1 MiB matrices instead of 256 MiB.

    In several processes C runs over the rows of all of them, and each process returns the loss of the whole batch;
    after the averaging of DistributedDataParallel its gradient is that of one process with the whole batch.

    Args:
        z1: ``(N, D)``, each feature standardised over the batch, as by a last BatchNorm.
        z2: ``(N, D)``, likewise; row i belongs to row i of ``z1``.
        lam: weight of the redundancy.
        scale: factor on everything.

    Returns:
        Scalar ≥ 0.

    Raises:
        ShapeError: not two matrices of the same shape.
        ValueError: lam or scale that is not finite and positive.

    Example:
        >>> z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> barlow_cross(z, z), barlow_cross(z, z.flip(1), lam=0.5, scale=1.0)
        (tensor(0.), tensor(3.))
    """
    check_same_shape(z1=z1, z2=z2)
    check_positive(lam=lam, scale=scale)
    z1, z2 = (gather_features(as_float(side), with_grad=True) for side in (z1, z2))
    with torch.autocast(z1.device.type, enabled=False):
        agreement = (z1 * z2).mean(dim=0)  # (D,), the diagonal of C
        if len(z1) < z1.shape[1]:
            square = ((z1 @ z1.T) * (z2 @ z2.T)).sum() / len(z1) ** 2
        else:
            square = (z1.T @ z2 / len(z1)).square().sum()
        redundancy = square - agreement.square().sum()
        return scale * ((agreement - 1).square().sum() + lam * redundancy)


def negative_cosine(p: Tensor, v: Tensor) -> Tensor:
    """``mean(2 - 2 cos(p_i, v_i))`` without gradient to ``v``: the regression of BYOL, SimSiam and SiamLIP.

    BYOL (Grill et al. 2020, NeurIPS, eq. 2). Implementations that report ``-2 mean cos`` (PixPro's instance
    branch) lie 2 lower, SimSiam's ``-mean cos`` is ``negative_cosine / 2 - 1``; the gradients are the same up to
    that factor.

    Args:
        p: ``(N, D)`` predictions, any norm.
        v: ``(N, D)`` targets, any norm.

    Returns:
        Scalar in [0, 4].

    Raises:
        ShapeError: not two matrices of the same shape.

    Example:
        >>> negative_cosine(torch.eye(2), 3 * torch.eye(2)), negative_cosine(torch.eye(2), torch.eye(2).flip(0))
        (tensor(0.), tensor(2.))
    """
    check_same_shape(p=p, v=v)
    with torch.autocast(p.device.type, enabled=False):
        cosine = (F.normalize(as_float(p), dim=1) * F.normalize(as_float(v.detach()), dim=1)).sum(dim=1)
        return (2 - 2 * cosine).mean()


def entropy(logits: Tensor | None = None, *, probs: Tensor | None = None) -> Tensor:
    """Entropy of each row's distribution, ``-Σ_c p_c log p_c``, from logits or from probabilities.

    Args:
        logits: ``(..., C)``; -inf is a class without probability.
        probs: ``(..., C)`` summing to 1, instead of the logits.

    Returns:
        ``(...,)`` in [0, log C].

    Raises:
        ValueError: neither or both are given.

    Example:
        >>> entropy(torch.zeros(1, 4)), entropy(probs=torch.tensor([0.0, 1.0]))
        (tensor([1.3863]), tensor(0.))
    """
    if logits is not None and probs is None:
        log_prob = as_float(logits).log_softmax(dim=-1)
        prob = log_prob.exp()
        return (prob * -log_prob.masked_fill(prob == 0, 0)).sum(dim=-1)  # 0 · log 0 = 0
    if probs is not None and logits is None:
        probs = as_float(probs)
        return (probs * -probs.clamp(min=torch.finfo(probs.dtype).tiny).log()).sum(dim=-1)
    raise ValueError("entropy: expected either logits or probs")


def marginal_entropy(logits: Tensor) -> Tensor:
    """Entropy of the batch's mean prediction; low when all rows choose the same class (a collapse).

    To push rows to be sure and classes to be used, minimise
    ``entropy(logits).mean() - marginal_entropy(logits)``, the negative mutual information.

    Args:
        logits: ``(B, C)``.

    Returns:
        Scalar in [0, log C].

    Raises:
        ShapeError: ``logits`` is not a matrix.

    Example:
        >>> marginal_entropy(1e4 * torch.eye(4)), marginal_entropy(1e4 * torch.ones(4, 1) * torch.eye(4)[0])
        (tensor(1.3863), tensor(0.))
    """
    check_ndim(2, logits=logits)
    # Averaging softmax values loses nothing against the log domain: all of them are positive.
    return entropy(probs=as_float(logits).softmax(dim=1).mean(dim=0))


def effective_rank(x: Tensor, center: bool = False) -> Tensor:
    """Number of dimensions that vectors really use: exp of the entropy of their normalised singular values.

    Args:
        x: ``(N, D)``.
        center: subtract the mean first, so that a common offset does not count as a dimension.

    Returns:
        Scalar in [1, min(N, D)]; 1 for collapsed features, also when nothing is left after centring.

    Raises:
        ShapeError: ``x`` is not a matrix.

    Example:
        >>> effective_rank(torch.eye(3)).round(decimals=4)
        tensor(3.)
        >>> effective_rank(torch.eye(3), center=True).round(decimals=4)
        tensor(2.)
    """
    check_ndim(2, x=x)
    x = as_float(x)
    spectrum = torch.linalg.svdvals(x - x.mean(dim=0) if center else x)
    share = spectrum / spectrum.sum().clamp(min=torch.finfo(spectrum.dtype).tiny)
    return torch.special.entr(share).sum().exp()


def used_dimensions(z: Tensor, tol: float = 1e-5) -> Tensor:
    """Number of singular values of the feature covariance above ``tol`` (Jing et al. 2022, ICLR).

    Args:
        z: ``(N, D)``; centred here.
        tol: absolute, so the scale of the features matters.

    Returns:
        Scalar int64 in [0, min(N - 1, D)].

    Raises:
        ShapeError: ``z`` is not a matrix.

    Example:
        >>> used_dimensions(torch.tensor([[1.0, 0.0, 5.0], [0.0, 1.0, 5.0], [1.0, 1.0, 5.0]]))
        tensor(2)
    """
    check_ndim(2, z=z)
    z = as_float(z)
    spread = torch.linalg.svdvals(z - z.mean(dim=0)).square() / max(1, len(z) - 1)  # eigenvalues of the covariance
    return (spread > tol).sum()


def _log_mean_kernel(x: Tensor, y: Tensor, t: float, exclude_pairs: bool) -> Tensor:
    """``log mean exp(-t ||x_i - y_j||²)`` over all pairs, or over ``i ≠ j``."""
    with torch.autocast(x.device.type, enabled=False):
        x, y = as_float(x), as_float(y)
        half_x, half_y = (side.square().sum(dim=1, keepdim=True) / 2 for side in (x, y))
        left = torch.cat([x, torch.ones_like(half_x), -half_x], dim=1)
        right = torch.cat([y, -half_y, torch.ones_like(half_y)], dim=1)
        rows = tiled_logsumexp(left, right, 2 * t, exclude_self=exclude_pairs)  # left·right = -||x_i - y_j||² / 2
    return torch.logsumexp(rows, dim=0) - math.log(len(x) * (len(y) - exclude_pairs))
