"""Generalised category discovery: how many classes are there, when some rows of some classes have labels?

The whole loop of GPC (Zhao et al. 2023, ICCV) on features that stand still: semi-supervised k-means, then a sweep of
splits and merges by marginal likelihood, and again with the number of clusters that came out. Where the paper leaves
the number of clusters and the prior to the user, both are found: the prior's scale from the labelled classes, and the
number from several starts, of which the one of highest evidence is kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import (
    as_float,
    check_choice,
    check_finite,
    check_ndim,
    check_positive,
    check_range,
    check_shape,
)
from accord.functional.clusters.axes import principal_axes
from accord.functional.clusters.k_means import assign_to_nearest, semi_supervised_kmeans
from accord.functional.clusters.niw import ClusterStatistics, NIWPrior, members_of, split_merge_step
from accord.functional.clusters.prototypes import prototype_density

PAPER = 0.005  # GPC's scale of the prior
DEGREES = (0.0, *(2.0 ** (step / 2) for step in range(23)))  # of freedom beyond D + 1 that a prior is tried with
SMALLEST_HALF = 5  # a cluster is split only where both halves have more members
DOUBLINGS = 6  # of the first start, at most
# Of more unlabelled rows k-means starts on some of them and goes on over all, and many clusters have fewer restarts.
SAMPLE = 10_000
STARTED = 1000  # clusters of all restarts together


class Tried(NamedTuple):
    """What one number of clusters to start from came to.

    Args:
        start: number of clusters that was started from.
        classes: number of clusters that was found.
        evidence: log probability of the rows and their clusters, see :func:`discover_classes`.
    """

    start: int
    classes: int
    evidence: float


@dataclass(frozen=True, eq=False)
class Discovered:
    """The classes that :func:`discover_classes` found.

    Args:
        assigned: ``(N,)`` int64 class of each row; those below ``known`` are the labelled classes.
        known: number L of labelled classes.
        classes: number K of all classes, each of which has rows.
        centres: ``(K, d)`` means in the space of the clusters, the labelled classes first.
        density: ``(K,)`` how loose each class is, 1 on average (:func:`~accord.functional.prototype_density`).
        sizes: ``(K,)`` number of rows.
        names: ``(L,)`` the label of each of the first classes, in ascending order.
        history: number of clusters after each sweep, from the start that was kept.
        converged: whether its last sweep changed nothing.
        tried: every start with what it came to, in the order in which they were tried.
        prior: what the search expects of a class.
        principal: ``(D,)`` and ``(D, d)``: unit-norm rows, less the first, times the second are in the space of the
            clusters.
    """

    assigned: Tensor
    known: int
    classes: int
    centres: Tensor
    density: Tensor
    sizes: Tensor
    names: Tensor
    history: tuple[int, ...]
    converged: bool
    tried: tuple[Tried, ...]
    prior: NIWPrior
    principal: tuple[Tensor, Tensor]

    @property
    def unsplittable(self) -> int:
        """How many new classes have too few rows for a split: one that hides among them cannot be found."""
        return int((self.sizes[self.known :] < 2 * (SMALLEST_HALF + 1)).sum())

    def place(self, features: Tensor) -> Tensor:
        """The class ``(n,)`` of the nearest centre of other rows ``(n, D)``.

        Raises:
            ShapeError: rows of another width.
            ValueError: a row that is not finite.
        """
        mean, axes = self.principal
        check_shape((None, len(mean)), features=features)
        check_finite(features=features)
        x = F.normalize(as_float(features).to(mean), dim=1)
        return assign_to_nearest((x - mean) @ axes, self.centres)[0].to(features.device)


@torch.no_grad()
def discover_classes(
    features: Tensor,
    labels: Tensor,
    *,
    start: int | None = None,
    dim: int | None = 32,
    sweeps: int = 10,
    acceptance: Literal["mh", "deterministic"] = "deterministic",
    spread: float | None = None,
    restarts: int = 10,
    seed: int = 0,
) -> Discovered:
    """The labelled classes and those that nobody has labelled, and how many there are.

    In every sweep the rows are clustered by :func:`~accord.functional.semi_supervised_kmeans` into as many clusters
    as the sweep before has left, and :func:`~accord.functional.split_merge_step` splits and merges those without
    labelled rows, until a sweep changes nothing. Where none does, the sweep of highest evidence is taken:
    ``Σ_k log α + log Γ(n_k) + log f(x_k)`` with the marginal likelihood f of a Gaussian under a Normal-inverse-Wishart
    prior and α = 1.

    Many small groups together look like one Gaussian, which no split makes likelier; from more clusters than groups
    they are found by merging. Without ``start`` the first start is therefore doubled as long as the evidence rises.
    A cluster of fewer than twelve rows is never split (``unsplittable`` counts them), and groups with fewer rows than
    ``dim`` easily pass for one: a smaller ``spread`` or ``dim`` keeps them apart.

    Args:
        features: ``(N, D)``; finite; rows are taken at unit norm.
        labels: ``(N,)`` integers, -1 for rows without label.
        start: number of clusters to start from, the labelled classes included; None for twice the labelled classes,
            at least 2, and doublings of it.
        dim: principal components to cluster in; None, or D and more, takes the rows as they are.
        sweeps: largest number of sweeps from a start; the search ends before where one changes nothing.
        acceptance: "deterministic" makes the moves that raise the likelihood, "mh" also others, by a Metropolis-
            Hastings test.
        spread: ``Ψ0 = spread · I`` and ``ν0 = D + 1`` of the prior, see :class:`~accord.functional.NIWPrior`; GPC takes
            0.005. None for the scale and degrees of freedom under which the labelled classes are likeliest (empirical
            Bayes).
        restarts: random starts of every k-means; over more than 10,000 rows fewer, where there are many clusters.
        seed: of all that is random.

    Returns:
        :class:`Discovered`.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: no row, one that is not finite, a label below -1, a start below the number of labelled classes or
            above what the rows allow, numbers below 1, an unknown acceptance.

    Source:
        Zhao et al. (2023, ICCV), Algorithm 1.

    Example:
        >>> x = torch.eye(3).repeat_interleave(20, dim=0)
        >>> x = x + torch.randn(60, 3, generator=torch.Generator().manual_seed(0)) / 20
        >>> labels = torch.full((60,), -1)
        >>> labels[:10] = 7
        >>> found = discover_classes(x, labels)
        >>> found.classes, found.known, found.sizes
        (3, 1, tensor([20, 20, 20]))
        >>> found.place(torch.tensor([[2.0, 0.0, 0.1]]))
        tensor([0])
    """
    _check(features, labels, dim, sweeps, acceptance, spread)
    x = F.normalize(as_float(features if features.device.type != "mps" else features.cpu()), dim=1)  # float64 below
    principal = principal_axes(x, dim) if dim is not None and dim < x.shape[1] else _unchanged(x)
    labels = labels.to(x.device)
    free = labels < 0
    names, known = labels[~free].unique(return_inverse=True)
    rows = _Rows((x - principal[0]) @ principal[1], free, known, len(names))
    mean = rows.x.mean(dim=0)
    prior = _likeliest_prior(rows.x[~free], known, len(names), mean) if spread is None else _weak_prior(mean, spread)
    search = _Search(rows, prior, sweeps, acceptance, restarts, seed)
    found = search.doubling() if start is None else search.from_start(start)
    return _discovered(rows, found, search.tried, names, prior, principal, features.device)


def _likeliest_prior(x: Tensor, y: Tensor, count: int, mean: Tensor) -> NIWPrior:
    """The prior around ``mean`` with ``Ψ0 = s I`` under which the classes are likeliest: s and ν0 (empirical Bayes).

    The more alike the classes scatter, the higher the ν0, and the fewer rows a class needs to stand alone. Both are of
    classes with two rows and more; where there are none, they are those of GPC.

    Args:
        x: ``(n, D)``.
        y: ``(n,)`` class of each row, below ``count``.
        count: number of classes.
        mean: ``(D,)``.

    Example:
        >>> x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> prior = _likeliest_prior(x, torch.arange(200) % 2, count=2, mean=x.mean(dim=0))
        >>> expected = prior.psi0 / (prior.nu0 - 5)
        >>> round(expected[0, 0].item(), 1)
        1.0
    """
    width = x.shape[1]
    classes = [members for members in members_of(x, y, count) if len(members) > 1]
    scatter = [ClusterStatistics.of(members).scatter for members in classes]
    total = sum(float(each.trace()) for each in scatter)
    if not total > 0:
        return _weak_prior(mean, PAPER)
    eigen = torch.linalg.eigvalsh(torch.stack(scatter)).clamp(min=0).cpu()  # (classes, D)
    sizes = torch.tensor([float(len(members)) for members in classes], dtype=torch.float64)
    within = total / (width * float((sizes - 1).sum()))
    tried = [_likeliest_scale(eigen, sizes, width + 1 + extra, within) for extra in DEGREES]
    best = max(range(len(tried)), key=lambda place: tried[place][1])
    return _weak_prior(mean, tried[best][0], width + 1 + DEGREES[best])


def _likeliest_scale(eigen: Tensor, sizes: Tensor, nu0: float, within: float) -> tuple[float, float]:
    """The scale s under which classes are likeliest for one ν0, and their log likelihood but for a constant.

    It is sought between the variance inside the classes and that at which the prior expects it.

    Args:
        eigen: ``(C, D)`` eigenvalues of the scatter of each class.
        sizes: ``(C,)`` rows of each.
        nu0: degrees of freedom.
        within: variance inside the classes.
    """
    width, nu = eigen.shape[1], nu0 + sizes

    def slope(scale: float) -> float:
        """Derivative of the log likelihood by log s, times 2."""
        return float((nu0 * width - nu * (scale / (scale + eigen)).sum(dim=1)).sum())

    low, high = math.log(within), math.log(within * (nu0 + width + 1))
    for _ in range(40):  # of likelihoods with one peak, it falls
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) > 0 else (low, middle)
    scale = math.exp((low + high) / 2)
    shift = torch.mvlgamma(nu / 2, width) - torch.mvlgamma(torch.full_like(nu, nu0 / 2), width)
    fit = nu0 * width * math.log(scale) - nu * (scale + eigen).log().sum(dim=1)
    return scale, float((shift + fit / 2).sum())


def _weak_prior(mean: Tensor, scale: float, nu0: float | None = None) -> NIWPrior:
    """GPC's prior around ``mean``, with the scale and degrees of freedom."""
    return NIWPrior.from_features(mean[None], scale, nu0=nu0)


class _Rows(NamedTuple):
    """The rows in the space of the clusters, and which of them have labels."""

    x: Tensor  # (N, d)
    free: Tensor  # (N,) bool
    y: Tensor  # (labelled rows,) from 0
    known: int

    def in_order(self, assign: Tensor) -> Tensor:
        """Clusters of the labelled and then the unlabelled rows as those of all rows in their order."""
        whole = torch.empty_like(assign)
        whole[~self.free], whole[self.free] = assign[: len(self.y)], assign[len(self.y) :]
        return whole


class _Found(NamedTuple):
    """A partition, with what led to it."""

    centres: Tensor
    assign: Tensor  # (N,)
    evidence: float
    history: tuple[int, ...] = ()
    converged: bool = False


@dataclass
class _Search:
    """Sweeps over rows from one start or several."""

    rows: _Rows
    prior: NIWPrior
    sweeps: int
    acceptance: str
    restarts: int
    seed: int

    def __post_init__(self) -> None:
        free = self.rows.free
        self.tried: list[Tried] = []
        self.x_u, self.x_l = self.rows.x[free], self.rows.x[~free]

    def doubling(self) -> _Found:
        """From twice the labelled classes, and on as long as the evidence rises by a nat."""
        most = self.rows.known + len(self.x_u)
        first = min(max(2 * self.rows.known, 2), most)
        best = self.from_start(first)
        for doubled in range(1, DOUBLINGS + 1):
            start = first * 2**doubled
            if start > most:
                break
            found = self.from_start(start)
            if found.evidence < best.evidence + 1:  # nat
                break
            best = found
        return best

    def from_start(self, start: int) -> _Found:
        """What the sweeps from one number of clusters end in, or the best of them where they do not end."""
        known = self.rows.known
        check_range(max(known, 1), known + len(self.x_u), start=start)
        rng = torch.Generator().manual_seed(self.seed)
        k, best, history, converged = start, None, list[int](), False
        for sweep in range(self.sweeps):
            centres = self._clustered(k, self.seed + sweep)
            accept: Literal["mh", "greedy"] = "mh" if self.acceptance == "mh" else "greedy"
            centres, assign, info = split_merge_step(
                self.x_u, self.x_l, self.rows.y, centres, self.prior, rng, accept, min_size=SMALLEST_HALF
            )
            k = len(centres)
            history.append(k)
            assign = self.rows.in_order(assign)
            converged = not (info.split or info.merged or info.dropped)
            evidence = self._evidence(assign, k)
            if best is None or converged or evidence > best.evidence:
                best = _Found(centres, assign, evidence)
            if converged:
                break
        assert best is not None
        self.tried.append(Tried(start, len(best.centres), best.evidence))
        return best._replace(history=tuple(history), converged=converged)

    def _clustered(self, k: int, seed: int) -> Tensor:
        """Centres ``(k, d)`` by k-means; over many rows they start on some of them."""
        x_u, x_l, y = self.x_u, self.x_l, self.rows.y
        some = max(SAMPLE, 20 * k)
        if len(x_u) <= some:
            return semi_supervised_kmeans(x_u, x_l, y, k, self.restarts, seed)[0]
        drawn = torch.randperm(len(x_u), generator=torch.Generator().manual_seed(seed))[:some].to(x_u.device)
        restarts = min(self.restarts, max(1, STARTED // k))
        start = semi_supervised_kmeans(x_u[drawn], x_l, y, k, restarts, seed, n_iter=20)[0]
        return semi_supervised_kmeans(x_u, x_l, y, k, start=start, n_iter=25)[0]

    def _evidence(self, assign: Tensor, k: int) -> float:
        """Log probability of the rows and their partition."""
        clusters = [ClusterStatistics.of(members) for members in members_of(self.rows.x, assign, k) if len(members)]
        return sum(math.lgamma(each.size) + float(self.prior.log_marginal(each)) for each in clusters)


def _discovered(
    rows: _Rows,
    found: _Found,
    tried: list[Tried],
    names: Tensor,
    prior: NIWPrior,
    principal: tuple[Tensor, Tensor],
    device: torch.device,
) -> Discovered:
    """The result, without clusters that the last assignment has left empty."""
    full, assign = found.assign.unique(return_inverse=True)
    centres = found.centres[full]
    return Discovered(
        assigned=assign.to(device),
        known=rows.known,
        classes=len(full),
        centres=centres.to(device),
        density=prototype_density(rows.x, centres, assign, tau=1.0).to(device),
        sizes=torch.bincount(assign, minlength=len(full)).to(device),
        names=names.to(device),
        history=found.history,
        converged=found.converged,
        tried=tuple(tried),
        prior=prior,
        principal=(principal[0].to(device), principal[1].to(device)),
    )


def _unchanged(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_zeros(x.shape[1]), torch.eye(x.shape[1], dtype=x.dtype, device=x.device)


def _check(
    features: Tensor, labels: Tensor, dim: int | None, sweeps: int, acceptance: str, spread: float | None
) -> None:
    check_ndim(2, features=features)
    check_shape((len(features),), labels=labels)
    check_range(1, max(len(features), 1), **{"number of rows": len(features)})
    check_finite(features=features)
    check_range(-1, max(int(labels.max()), -1), **{"smallest label": int(labels.min())})
    check_range(1, max(dim or 1, 1), dim=1 if dim is None else dim)
    check_range(1, max(sweeps, 1), sweeps=sweeps)
    check_choice(("mh", "deterministic"), acceptance=acceptance)
    if spread is not None:
        check_positive(spread=spread)
