"""One-dimensional Gaussian mixtures that tell clean from noisy pairs by their losses.

DivideMix (Li et al. 2020, ICLR), NCR (Huang et al. 2021, NeurIPS) and PC² (Duan et al. 2024, ACM MM) use them. All is
computed in float64 and carries no gradient.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import (
    as_float,
    check_finite,
    check_ndim,
    check_positive,
    check_range,
    check_share,
)
from accord.functional.clusters.k_means import kmeans

LOG_TWO_PI = math.log(2 * math.pi)


class GaussianMixture1d(NamedTuple):
    """A mixture of normal distributions on the line; see :func:`gaussian_mixture_1d`.

    Args:
        weights: ``(K,)``, sum 1.
        means: ``(K,)``.
        variances: ``(K,)``.
    """

    weights: Tensor
    means: Tensor
    variances: Tensor

    def log_joint(self, values: Tensor) -> Tensor:
        """``log(weight_k N(value; mean_k, variance_k))`` of ``values (N,)``: ``(N, K)``."""
        square = (values.double()[:, None] - self.means).square() / self.variances
        return self.weights.log() - (LOG_TWO_PI + self.variances.log() + square) / 2

    def posterior(self, values: Tensor) -> Tensor:
        """Probability of each component given ``values (N,)``: ``(N, K)``, rows sum to 1."""
        return self.log_joint(values).softmax(dim=1)


@torch.no_grad()
def gaussian_mixture_1d(
    values: Tensor, n_components: int, *, n_iter: int = 100, tol: float = 1e-3, reg: float = 1e-6, seed: int = 0
) -> GaussianMixture1d:
    """Fit a mixture of normal distributions to numbers by expectation-maximisation, started by k-means.

    Args:
        values: ``(N,)``; finite.
        n_components: number K of components.
        n_iter: largest number of rounds.
        tol: ends the search when the mean log-likelihood changes by less.
        reg: added to every variance.
        seed: of the start.

    Returns:
        :class:`GaussianMixture1d` in float64. A component that no value belongs to has weight 0.

    Raises:
        ShapeError: ``values`` is not a vector.
        ValueError: a value that is not finite, K outside [1, N], fewer than one round, reg that is not positive.

    Example:
        >>> mixture = gaussian_mixture_1d(torch.tensor([0.0, 0.2, 5.0, 5.2]), 2)
        >>> mixture.means.sort().values.round(decimals=2)
        tensor([0.1000, 5.1000], dtype=torch.float64)
    """
    check_ndim(1, values=values)
    check_range(1, len(values), n_components=n_components)
    check_range(1, max(n_iter, 1), n_iter=n_iter)
    check_positive(reg=reg)
    check_finite(values=values)
    x = values.double()
    labels, _, _ = kmeans(x[:, None], n_components, n_iter=300, n_redo=3, seed=seed)
    share = F.one_hot(labels, n_components).double()  # (N, K)
    mixture, before = _maximise(x, share, reg), -math.inf
    for _ in range(n_iter):
        joint = mixture.log_joint(x)
        evidence = joint.logsumexp(dim=1, keepdim=True)
        mixture, likelihood = _maximise(x, (joint - evidence).exp(), reg), float(evidence.mean())
        if abs(likelihood - before) < tol:
            break
        before = likelihood
    return mixture


@torch.no_grad()
def gmm_clean_probability(
    values: Tensor, *, monotone: bool = False, n_iter: int = 10, tol: float = 1e-2, reg: float = 5e-4, seed: int = 0
) -> Tensor:
    """Probability that a sample is clean, from its loss: clean samples have the smaller losses.

    The losses are scaled to [0, 1], a mixture of two normal distributions is fitted, and the posterior of the one of
    smaller mean is returned.

    Args:
        values: ``(N,)`` loss of each sample, or another number that is smaller for clean ones; finite.
        monotone: never let the probability rise with the loss. Where the variances differ, the wider component takes
            over far out on *both* sides, so the largest losses may look clean, or the smallest noisy; then the
            probability at the turning point is kept from there on.
        n_iter: largest number of rounds of the fit.
        tol: see :func:`gaussian_mixture_1d`.
        reg: see :func:`gaussian_mixture_1d`.
        seed: see :func:`gaussian_mixture_1d`.

    Returns:
        ``(N,)`` in [0, 1], float32 at least; 1 for all if the losses are equal.

    Raises:
        ShapeError: ``values`` is not a vector.
        ValueError: a value that is not finite, fewer than two values.

    Source:
        Li et al. (2020, ICLR, "DivideMix"), section 3.1; the settings are those of the released code of PC².

    Example:
        >>> gmm_clean_probability(torch.tensor([0.1, 0.2, 0.15, 2.0, 2.1])).round()
        tensor([1., 1., 1., 0., 0.])
    """
    check_ndim(1, values=values)
    check_range(2, max(len(values), 2), **{"number of values": len(values)})
    check_finite(values=values)
    x = values.double()
    low, high = x.aminmax()
    x = (x - low) / torch.where(high > low, high - low, 1)
    mixture = gaussian_mixture_1d(x, 2, n_iter=n_iter, tol=tol, reg=reg, seed=seed)
    clean = mixture.means.argmin()
    if monotone:
        x = _before_the_turn(x, mixture, clean)
    return mixture.posterior(x)[:, clean].to(as_float(values).dtype)


@torch.no_grad()
def monotone_log_odds(values: Tensor, mixture: GaussianMixture1d, clean: int) -> Tensor:
    """Log-odds of the component of smaller mean, which never rise with the value.

    Where the variances differ, the wider component takes over far out on *both* sides; beyond the turning point of the
    log-odds, a parabola, they stay what they are there.

    Args:
        values: ``(N,)``.
        mixture: of two components.
        clean: which of them has the smaller mean.

    Returns:
        ``(N,)`` float64.

    Raises:
        ShapeError: ``values`` is not a vector.

    Example:
        >>> both = GaussianMixture1d(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 4.0]), torch.tensor([1.0, 1.0]))
        >>> monotone_log_odds(torch.tensor([0.0, 2.0, 4.0]), both, clean=0)
        tensor([ 8.,  0., -8.], dtype=torch.float64)
    """
    check_ndim(1, values=values)
    joint = mixture.log_joint(_before_the_turn(values.double(), mixture, torch.tensor(clean)))
    return joint[:, clean] - joint[:, 1 - clean]


def split_clean(prob: Tensor, th: float = 0.5) -> Tensor:
    """Which samples count as clean: those whose probability is above a threshold.

    If all are, the threshold is the 1 % quantile, the ``⌊N/100⌋``-th smallest probability, so that a noisy set exists.

    Args:
        prob: ``(N,)`` from :func:`gmm_clean_probability`.
        th: threshold in [0, 1].

    Returns:
        ``(N,)`` bool.

    Raises:
        ShapeError: ``prob`` is not a vector.
        ValueError: a threshold outside [0, 1].

    Source:
        Duan et al. (2024, ACM MM), released code.

    Example:
        >>> split_clean(torch.tensor([0.9, 0.2])), split_clean(torch.tensor([0.9, 0.8]))
        (tensor([ True, False]), tensor([ True, False]))
    """
    check_ndim(1, prob=prob)
    check_share(th=th)
    if not len(prob):
        return prob > th
    quantile = prob.sort().values[len(prob) // 100]
    return prob > torch.where((prob > th).all(), quantile, th)


def _maximise(x: Tensor, share: Tensor, reg: float) -> GaussianMixture1d:
    """The M step; a component without members stays at the mean of all values, with weight 0."""
    mass = share.sum(dim=0)
    there = mass.clamp(min=torch.finfo(mass.dtype).tiny)
    means = torch.where(mass > 0, x @ share / there, x.mean())
    variances = (share * (x[:, None] - means).square()).sum(dim=0) / there + reg
    return GaussianMixture1d(mass / mass.sum(), means, variances)


def _before_the_turn(x: Tensor, mixture: GaussianMixture1d, clean: Tensor) -> Tensor:
    """Values held at the vertex of the log odds, a parabola, where the probability would begin to rise."""
    (mean, other), (var, wide) = ((each[clean], each[1 - clean]) for each in (mixture.means, mixture.variances))
    vertex = ((other * var - mean * wide) / (var - wide)).nan_to_num(nan=torch.inf, posinf=torch.inf)
    return torch.where(var >= wide, torch.minimum(x, vertex), torch.maximum(x, vertex))
