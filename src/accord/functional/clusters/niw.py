"""Gaussian clusters under a Normal-inverse-Wishart prior that split and merge by their marginal likelihood.

Zhao et al. (2023, ICCV, GPC), Ronen et al. (2022, CVPR, DeepDPM), Chang and Fisher (2013, NeurIPS). All is computed in
float64 and carries no gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from accord.functional.checks import (
    as_float,
    check_ndim,
    check_positive,
    check_range,
    check_same_width,
    check_shape,
    check_share,
)
from accord.functional.clusters.halves import halves
from accord.functional.clusters.k_means import assign_to_nearest


class ClusterStatistics(NamedTuple):
    """All that the likelihood of a Gaussian cluster needs of its members; O(D²), whatever their number.

    Args:
        size: number n of members.
        mean: ``(D,)``.
        scatter: ``(D, D)``, ``Σ (x - mean)(x - mean)ᵀ``.

    Example:
        >>> x = torch.tensor([[0.0], [2.0], [4.0]])
        >>> union = ClusterStatistics.of(x[:1]).union(ClusterStatistics.of(x[1:]))
        >>> union.mean.item(), union.scatter.item()
        (2.0, 8.0)
    """

    size: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, x: Tensor) -> ClusterStatistics:
        """The statistics of the rows of ``x (n, D)``, in float64."""
        check_ndim(2, x=x)
        x = x.double()
        mean = x.sum(dim=0) / max(len(x), 1)
        return cls(len(x), mean, (x - mean).T @ (x - mean))

    def union(self, other: ClusterStatistics) -> ClusterStatistics:
        """The statistics of the members of both."""
        size = self.size + other.size
        gap = other.mean - self.mean
        mean = self.mean + gap * (other.size / max(size, 1))
        shift = gap.outer(gap) * (self.size * other.size / max(size, 1))
        return ClusterStatistics(size, mean, self.scatter + other.scatter + shift)

    def scatter_about(self, mu: Tensor) -> Tensor:
        """``Σ (x - mu)(x - mu)ᵀ``: ``(D, D)``."""
        gap = self.mean - mu.double()
        return self.scatter + self.size * gap.outer(gap)


@dataclass(frozen=True, eq=False)
class NIWPrior:
    """Normal-inverse-Wishart prior on mean and covariance of a Gaussian cluster.

    ``Σ ~ InverseWishart(psi0, nu0)`` and ``mean ~ N(m0, Σ / kappa0)``. How readily clusters split depends strongly on
    ``psi0`` and on D: reduce the features to a few dozen dimensions first, and choose ``psi0`` near the scatter
    expected inside a class, for example that of the labelled classes.

    Args:
        m0: ``(D,)`` expected mean, usually that of all features.
        kappa0: number of observations that ``m0`` is worth.
        nu0: degrees of freedom, above D - 1.
        psi0: ``(D, D)`` positive definite.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: kappa0 that is not positive, too few degrees of freedom, psi0 that is not positive definite.

    Example:
        >>> prior = NIWPrior(torch.zeros(2), kappa0=1e-4, nu0=3, psi0=0.005 * torch.eye(2))
        >>> tight, wide = torch.zeros(9, 2), torch.eye(2).repeat(5, 1)
        >>> bool(prior.log_marginal(tight, tight.mean(dim=0)) > prior.log_marginal(wide, wide.mean(dim=0)))
        True
    """

    m0: Tensor
    kappa0: float
    nu0: float
    psi0: Tensor

    def __post_init__(self) -> None:
        check_ndim(1, m0=self.m0)
        check_shape((len(self.m0), len(self.m0)), psi0=self.psi0)
        check_positive(kappa0=self.kappa0)
        if not (math.isfinite(self.nu0) and self.nu0 > len(self.m0) - 1):
            raise ValueError(f"nu0 = {self.nu0}: expected a finite number > D - 1 = {len(self.m0) - 1}")
        if torch.linalg.cholesky_ex(self.psi0.double()).info.any():
            raise ValueError("psi0 is not positive definite: expected a positive definite matrix")

    @classmethod
    def from_features(cls, x: Tensor, scale: float = 0.005, kappa0: float = 1e-4, nu0: float | None = None) -> NIWPrior:
        """The weak prior of GPC around all features: ``m0`` their mean, ``psi0 = scale I``, ``nu0 = D + 1``.

        Args:
            x: ``(N, D)``.
            scale: variance scale of a cluster in each direction.
            kappa0: see :class:`NIWPrior`.
            nu0: see :class:`NIWPrior`.
        """
        check_ndim(2, x=x)
        width = x.shape[1]
        psi0 = scale * torch.eye(width, dtype=torch.float64, device=x.device)
        return cls(x.double().mean(dim=0), kappa0, width + 1 if nu0 is None else nu0, psi0)

    def log_marginal(self, x: Tensor | ClusterStatistics, mu: Tensor | None = None) -> Tensor:
        """Log of the probability of the members of a cluster, with mean and covariance integrated out.

        ``-(n D / 2) log π + log Γ_D(ν*/2) - log Γ_D(ν0/2) + (ν0/2) log|Ψ0| - (ν*/2) log|Ψ*| + (D/2) log(κ0/κ*)`` with
        ``κ* = κ0 + n``, ``ν* = ν0 + n`` and
        ``Ψ* = Ψ0 + Σ (x - mu)(x - mu)ᵀ + κ0 n / κ* (mu - m0)(mu - m0)ᵀ``.

        Args:
            x: ``(n, D)``, or their :class:`ClusterStatistics`, with which it costs O(D³).
            mu: ``(D,)`` centre of the cluster, by default the mean of its members: then it is the evidence exactly.

        Returns:
            Scalar, float64; 0 without members.

        Raises:
            ShapeError: shapes that do not fit together.
        """
        members, mu = self._members(x, mu)
        half, width = members.size / 2, len(self.m0)
        nu = self.nu0 + members.size
        gamma = torch.special.multigammaln(self._log_det0.new_tensor([nu / 2, self.nu0 / 2]), width)
        spread = self.nu0 * self._log_det0 - nu * _log_det(self._scale(members, mu))
        shrink = math.log(self.kappa0 / (self.kappa0 + members.size))
        return gamma[0] - gamma[1] + (spread + width * shrink) / 2 - half * width * math.log(math.pi)

    def posterior_mean(self, x: Tensor | ClusterStatistics, mu: Tensor | None = None) -> Tensor:
        """``(n mu + kappa0 m0) / (n + kappa0)``, ``(D,)``; arguments as for :meth:`log_marginal`."""
        members, mu = self._members(x, mu)
        return (members.size * mu + self.kappa0 * self.m0.double()) / (members.size + self.kappa0)

    def posterior_cov(self, x: Tensor | ClusterStatistics, mu: Tensor | None = None) -> Tensor:
        """Mode of the covariance, ``Ψ* / (nu0 + n + D + 2)``, ``(D, D)``; arguments as for :meth:`log_marginal`."""
        members, mu = self._members(x, mu)
        return self._scale(members, mu) / (self.nu0 + members.size + len(self.m0) + 2)

    def _members(self, x: Tensor | ClusterStatistics, mu: Tensor | None) -> tuple[ClusterStatistics, Tensor]:
        members = x if isinstance(x, ClusterStatistics) else ClusterStatistics.of(x)
        mu = members.mean if mu is None else mu.double()
        check_shape(tuple(self.m0.shape), mu=mu, **{"mean of x": members.mean})
        return members, mu

    def _scale(self, members: ClusterStatistics, mu: Tensor) -> Tensor:
        """Ψ*."""
        gap = mu - self.m0.double()
        pull = self.kappa0 * members.size / (self.kappa0 + members.size)
        return self.psi0.double() + members.scatter_about(mu) + pull * gap.outer(gap)

    @cached_property
    def _log_det0(self) -> Tensor:
        return _log_det(self.psi0.double())


def log_hastings_split(n1: int, n2: int, ll1: float, ll2: float, ll_union: float, alpha: float = 1.0) -> float:
    """Log Hastings ratio for splitting a cluster in two: positive where the parts explain the members better.

    ``log α + log Γ(n1) + ll1 + log Γ(n2) + ll2 - log Γ(n1 + n2) - ll_union``

    Args:
        n1: members of the first part, at least 1.
        n2: members of the second part, at least 1.
        ll1: :meth:`NIWPrior.log_marginal` of the first part.
        ll2: the same of the second part.
        ll_union: the same of both together.
        alpha: concentration of the Dirichlet process; larger means more clusters.

    Returns:
        A number; the split is accepted with probability ``min(1, exp(number))``.

    Raises:
        ValueError: an empty part, alpha that is not positive.

    Source:
        Chang and Fisher (2013, NeurIPS); Zhao et al. (2023, ICCV).

    Example:
        >>> round(log_hastings_split(3, 3, -10.0, -10.0, -30.0), 4)
        6.5988
    """
    check_range(1, max(n1, 1), n1=n1)
    check_range(1, max(n2, 1), n2=n2)
    check_positive(alpha=alpha)
    prior = math.log(alpha) + math.lgamma(n1) + math.lgamma(n2) - math.lgamma(n1 + n2)
    return prior + float(ll1) + float(ll2) - float(ll_union)


def log_hastings_merge(n1: int, n2: int, ll1: float, ll2: float, ll_union: float, alpha: float = 1.0) -> float:
    """Log Hastings ratio for merging two clusters: the negative of :func:`log_hastings_split` of their union.

    Args:
        n1: members of the first cluster, at least 1.
        n2: members of the second cluster, at least 1.
        ll1: :meth:`NIWPrior.log_marginal` of the first cluster.
        ll2: the same of the second cluster.
        ll_union: the same of both together.
        alpha: concentration of the Dirichlet process.

    Returns:
        A number; the merge is accepted with probability ``min(1, exp(number))``.

    Raises:
        ValueError: an empty cluster, alpha that is not positive.

    Example:
        >>> log_hastings_merge(1, 1, -5.0, -5.0, -6.0)
        4.0
    """
    return -log_hastings_split(n1, n2, ll1, ll2, ll_union, alpha)


class SplitMergeInfo(NamedTuple):
    """What :func:`split_merge_step` did; numbers are those of the centres that came in.

    Args:
        split: clusters that were split.
        merged: pairs that were merged.
        dropped: novel clusters without members, which are left out.
        log_split: log Hastings ratio of every split that was tested.
        log_merge: log Hastings ratio of every merge that was tested.
    """

    split: list[int]
    merged: list[tuple[int, int]]
    dropped: list[int]
    log_split: dict[int, float]
    log_merge: dict[tuple[int, int], float]


@torch.no_grad()
def split_merge_step(
    x_u: Tensor,
    x_l: Tensor,
    y_l: Tensor,
    centres: Tensor,
    prior: NIWPrior,
    rng: torch.Generator,
    p_accept: Literal["mh", "greedy"] | float = "mh",
    *,
    alpha: float = 1.0,
    min_size: int = 5,
) -> tuple[Tensor, Tensor, SplitMergeInfo]:
    """One sweep of splits and merges over the novel clusters of generalised category discovery (GPC).

    Every novel cluster of enough members is cut in two by 2-means, and split if the marginal likelihoods say so. Then
    the unsplit novel clusters are walked through in pairs with their nearest neighbour, the closest pair first; a
    pair is merged if the likelihoods say so and neither has been merged in this sweep. Clusters that own labelled
    rows are never touched.

    Args:
        x_u: ``(N_u, D)`` without label; finite.
        x_l: ``(N_l, D)`` with label; may have no rows.
        y_l: ``(N_l,)`` integer classes; they own the first L centres in ascending order, as
            :func:`accord.functional.semi_supervised_kmeans` returns them.
        centres: ``(K, D)``.
        prior: of the clusters.
        rng: for 2-means and acceptance.
        p_accept: what happens to a move of log ratio h ≤ 0 (those above 0 are always made): "greedy" rejects it, "mh"
            accepts it with probability exp(h), a number with that probability (0.1 in the released code).
        alpha: see :func:`log_hastings_split`.
        min_size: a cluster is split only if both parts have more members than this.

    Returns:
        ``(K', D)`` centres: the kept ones in their order, then both halves of each split cluster, then the mean of
        each merged pair; ``(N_l + N_u,)`` their clusters, labelled rows in that of their class and the others at the
        nearest centre; and :class:`SplitMergeInfo`.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: fewer centres than classes, an unknown acceptance, a probability outside [0, 1].

    Source:
        Zhao et al. (2023, ICCV), Algorithm 1, as a matching: the released code may merge a cluster twice.

    Example:
        >>> x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)) / 20
        >>> x[20:] += 1
        >>> prior, rng = NIWPrior.from_features(x), torch.Generator().manual_seed(0)
        >>> none = torch.zeros(0, dtype=torch.long)
        >>> centres, assign, info = split_merge_step(x, x[:0], none, x.mean(0, keepdim=True), prior, rng, "greedy")
        >>> len(centres), info.split
        (2, [0])
    """
    check_same_width(x_u=x_u, x_l=x_l, centres=centres)
    check_shape((len(x_l),), y_l=y_l)
    classes, y = y_l.unique(return_inverse=True)
    check_range(max(len(classes), 1), max(len(centres), len(classes), 1), **{"number of centres": len(centres)})
    if isinstance(p_accept, str):
        if p_accept not in ("mh", "greedy"):
            raise ValueError(f"p_accept = {p_accept!r}: expected 'mh', 'greedy' or a probability")
    else:
        check_share(p_accept=p_accept)
    info = SplitMergeInfo([], [], [], {}, {})
    x_u, centres = as_float(x_u), as_float(centres)
    near, _ = assign_to_nearest(x_u, centres)
    seed = int(torch.randint(2**31, (), generator=rng, device=rng.device))
    parts = members_of(x_u, 2 * near + halves(x_u, near, len(centres), seed=seed), 2 * len(centres))
    members: dict[int, ClusterStatistics] = {}  # unsplit novel clusters
    new: list[Tensor] = []
    for k in range(len(classes), len(centres)):
        first, second = ClusterStatistics.of(parts[2 * k]), ClusterStatistics.of(parts[2 * k + 1])
        if not first.size + second.size:
            info.dropped.append(k)
            continue
        members[k] = first.union(second)
        if min(first.size, second.size) <= min_size:
            continue
        info.log_split[k] = log_hastings_split(*_evidence(prior, first, second), alpha)
        if _accepted(info.log_split[k], p_accept, rng):
            del members[k]
            info.split.append(k)
            new += [first.mean, second.mean]
    new += _merges(members, centres, prior, rng, p_accept, alpha, info)
    kept = sorted(set(range(len(centres))) - {*info.split, *info.dropped, *sum(info.merged, ())})
    centres = torch.cat([centres[kept], *[centre.to(centres)[None] for centre in new]])
    return centres, torch.cat([y, assign_to_nearest(x_u, centres)[0]]), info


def _merges(
    members: dict[int, ClusterStatistics],
    centres: Tensor,
    prior: NIWPrior,
    rng: torch.Generator,
    p_accept: str | float,
    alpha: float,
    info: SplitMergeInfo,
) -> list[Tensor]:
    """Centres of the merged pairs, which are noted in ``info``."""
    if len(members) < 2:
        return []
    ids = list(members)
    distance = torch.cdist(centres[ids], centres[ids]).fill_diagonal_(torch.inf)
    nearest = distance.min(dim=1)
    pairs = {
        (ids[min(i, j)], ids[max(i, j)]): far  # a mutual pair once
        for i, (j, far) in enumerate(zip(nearest.indices.tolist(), nearest.values.tolist(), strict=True))
    }
    new, taken = [], set[int]()
    for pair in sorted(pairs, key=lambda pair: (pairs[pair], pair)):
        if taken & {*pair}:
            continue
        one, two = members[pair[0]], members[pair[1]]
        info.log_merge[pair] = log_hastings_merge(*_evidence(prior, one, two), alpha)
        if _accepted(info.log_merge[pair], p_accept, rng):
            taken |= {*pair}
            info.merged.append(pair)
            new.append(one.union(two).mean)
    return new


def members_of(x: Tensor, assign: Tensor, count: int) -> tuple[Tensor, ...]:
    """The rows of each cluster, in one pass over all of them.

    Args:
        x: ``(N, D)``.
        assign: ``(N,)`` int64 cluster of each row, below ``count``.
        count: number of clusters.

    Returns:
        ``count`` tensors ``(n_k, D)``, the rows in their order.

    Example:
        >>> [rows.flatten().tolist() for rows in members_of(torch.arange(3.0)[:, None], torch.tensor([1, 0, 1]), 2)]
        [[1.0], [0.0, 2.0]]
    """
    sizes = torch.bincount(assign, minlength=count).tolist()
    return x[assign.argsort(stable=True)].split(sizes)


def _evidence(prior: NIWPrior, one: ClusterStatistics, two: ClusterStatistics) -> tuple[int, int, float, float, float]:
    """Counts and log marginals that a Hastings ratio takes."""
    likelihoods = (float(prior.log_marginal(each)) for each in (one, two, one.union(two)))
    return (one.size, two.size, *likelihoods)  # type: ignore[return-value]


def _accepted(log_ratio: float, p_accept: str | float, rng: torch.Generator) -> bool:
    if log_ratio > 0 or p_accept == "greedy":
        return log_ratio > 0
    chance = math.exp(log_ratio) if p_accept == "mh" else float(p_accept)
    return float(torch.rand((), generator=rng, device=rng.device)) < chance


def _log_det(matrix: Tensor) -> Tensor:
    return 2 * torch.linalg.cholesky(matrix).diagonal().log().sum()
