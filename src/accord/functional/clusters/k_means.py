"""Clusters of features: k-means in its several forms, class means, and how concentrated each cluster is.

Lloyd's k-means (1982) with the start of Arthur and Vassilvitskii (2007, SODA), its mini-batch form (Sculley 2010,
WWW), its semi-supervised form (Vaze et al. 2022, CVPR, "GCD"; Zhao et al. 2023, ICCV, GPC), the principal components
and the back-translation of ProtoCLIP (Chen et al. 2023, TNNLS), and the concentration of PCL (Li et al. 2021, ICLR) in
the forms of GPC and MEOW (Yu et al. 2023, SDM). Distances are computed in blocks, so that memory is linear in the
number of rows. Only :func:`class_means` and :func:`back_translate` carry gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

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
    check_same_width,
    check_shape,
)

Start = Literal["k-means++", "random"]

# Similarities per block: 4 MiB in float32. With it the plain product was as fast on two cores as the flat index of
# faiss from 2,000 × 10 (64-d) to 50,000 × 2,000 (128-d) rows × centroids, or faster, so faiss is not used.
BLOCK_ELEMENTS = 1 << 20


@torch.no_grad()
def kmeans(
    x: Tensor,
    k: int,
    *,
    n_iter: int = 20,
    n_redo: int = 1,
    spherical: bool = False,
    inner_product: bool = False,
    seed: int = 0,
    start: Start | Tensor = "k-means++",
) -> tuple[Tensor, Tensor, Tensor]:
    """k-means: centroids of least squared distance to their members, and who belongs to which.

    A cluster that loses all members starts again at one of the rows that lie farthest from their centroids. The
    search ends early when no row changes its cluster.

    Args:
        x: ``(N, D)``; finite.
        k: number of clusters.
        n_iter: largest number of rounds.
        n_redo: number of starts, of which the one of least inertia is kept.
        spherical: normalise the rows and, in every round, the centroids: the sum of the cosines is maximised.
        inner_product: rows belong to the centroid of largest inner product, not of least distance, and centroids stay
            the means of their members: of two in the same direction the tighter cluster draws more (MEOW).
        seed: of the random start; the same on every device.
        start: "k-means++" chooses rows far from each other, in k passes over the rows; "random" takes any k rows and
            is the choice for thousands of clusters; a ``(k, D)`` tensor holds the centroids to go on from.

    Returns:
        ``(N,)`` cluster of each row, ``(k, D)`` centroids, and the inertia: the sum of the squared distances of the
        rows, normalised if ``spherical``, to their centroids; with ``inner_product`` minus the sum of their products.

    Raises:
        ShapeError: ``x`` is not a matrix, a start of another shape.
        ValueError: a row that is not finite, k outside [1, N], fewer than one round or start.

    Example:
        >>> labels, centroids, inertia = kmeans(torch.tensor([[0.0], [1.0], [10.0], [11.0]]), k=2)
        >>> centroids.flatten().sort().values, inertia
        (tensor([ 0.5000, 10.5000]), tensor(1.))
    """
    check_ndim(2, x=x)
    check_range(1, len(x), k=k)
    check_range(1, max(n_iter, 1), n_iter=n_iter)
    check_range(1, max(n_redo, 1), n_redo=n_redo)
    if isinstance(start, Tensor):
        check_shape((k, x.shape[1]), start=start)
    else:
        check_choice(("k-means++", "random"), start=start)
    check_finite(x=x)
    with torch.autocast(x.device.type, enabled=False):
        x = F.normalize(as_float(x), dim=1) if spherical else as_float(x)

        def once(redo: int) -> tuple[Tensor, Tensor, Tensor]:
            generator = _generator(seed, redo)
            if isinstance(start, Tensor):
                first = start.to(x)
            elif start == "random":
                first = x[torch.randperm(len(x), generator=generator)[:k].to(x.device)]
            else:
                first = _spread(x, k, x[:0], generator)
            return _lloyd(x, F.normalize(first, dim=1) if spherical else first, n_iter, spherical, inner_product)

        redos = 1 if isinstance(start, Tensor) else n_redo
        return min((once(redo) for redo in range(redos)), key=lambda found: float(found[2]))


@torch.no_grad()
def mini_batch_kmeans(
    x: Tensor, k: int, *, batch_size: int = 4096, n_iter: int = 100, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """k-means that looks at a random batch in every round: for millions of rows (Sculley 2010, Algorithm 1).

    Every centroid is the mean of all rows that the batches have given it so far.

    Args:
        x: ``(N, D)``; finite.
        k: number of clusters.
        batch_size: rows per round, drawn with replacement; at least k, and at most N are used.
        n_iter: number of rounds.
        seed: of start and batches.

    Returns:
        As :func:`kmeans`; all N rows are assigned once at the end.

    Raises:
        ShapeError: ``x`` is not a matrix.
        ValueError: a row that is not finite, k outside [1, N], a batch smaller than k, fewer than one round.

    Example:
        >>> x = torch.tensor([[0.0], [10.0]]).repeat(50, 1)
        >>> labels, centroids, inertia = mini_batch_kmeans(x, k=2, batch_size=20)
        >>> centroids.flatten().sort().values
        tensor([ 0., 10.])
    """
    check_ndim(2, x=x)
    check_range(1, len(x), k=k)
    check_range(k, max(batch_size, k), batch_size=batch_size)
    check_range(1, max(n_iter, 1), n_iter=n_iter)
    check_finite(x=x)
    with torch.autocast(x.device.type, enabled=False):
        x = as_float(x)
        size, generator = min(batch_size, len(x)), _generator(seed, 0)

        def draw() -> Tensor:
            return x[torch.randint(len(x), (size,), generator=generator).to(x.device)]

        first = x[torch.randperm(len(x), generator=generator)[:size].to(x.device)]
        centroids = _spread(first, k, x[:0], generator)
        seen = x.new_zeros(k)
        for _ in range(n_iter):
            batch = draw()
            labels, _ = assign_to_nearest(batch, centroids)
            mean, count = class_means(batch, labels, k)
            seen = seen + count
            centroids = centroids + (mean - centroids) * (count / seen.clamp(min=1))[:, None]
        labels, _ = assign_to_nearest(x, centroids)
        return labels, centroids, _inertia(x, centroids, labels)


@torch.no_grad()
def semi_supervised_kmeans(
    x_u: Tensor,
    x_l: Tensor,
    y_l: Tensor,
    k: int,
    n_init: int = 10,
    seed: int = 0,
    *,
    n_iter: int = 100,
    tol: float = 1e-4,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """k-means in which some rows have a label and stay in the cluster of their class (GCD, GPC).

    The classes' means are the first centres; the others start at unlabelled rows that are far from each other and
    from the classes. Unlabelled rows go to the nearest centre, and a centre is the mean of all its members. A novel
    cluster that loses all members starts again at one of the unlabelled rows farthest from their centres.

    Args:
        x_u: ``(N_u, D)`` without label; finite.
        x_l: ``(N_l, D)`` with label; finite.
        y_l: ``(N_l,)`` integer classes; they become clusters 0 … L - 1 in ascending order.
        k: number of clusters, those of the L classes included.
        n_init: number of starts, of which the one of least inertia is kept.
        seed: of the random starts.
        n_iter: largest number of rounds.
        tol: ends the search when the square of the sum of the centres' shifts is below it.
        start: ``(k, D)`` centres to go on from, the L classes first; then nothing is random.

    Returns:
        ``(k, D)`` centres, the L classes first; ``(N_l + N_u,)`` clusters of the labelled and then the unlabelled
        rows; and the inertia over all of them.

    Raises:
        ShapeError: shapes that do not fit together, a start of another shape.
        ValueError: a row that is not finite; k below L or above L + N_u; fewer than one start or round.

    Example:
        >>> x_l, x_u = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.5], [9.0], [9.5]])
        >>> centres, labels, inertia = semi_supervised_kmeans(x_u, x_l, torch.tensor([7, 7]), k=2)
        >>> labels, centres.flatten()
        (tensor([0, 0, 0, 1, 1]), tensor([0.5000, 9.2500]))
    """
    check_same_width(x_u=x_u, x_l=x_l)
    check_shape((len(x_l),), y_l=y_l)
    check_range(1, max(n_init, 1), n_init=n_init)
    check_range(1, max(n_iter, 1), n_iter=n_iter)
    check_finite(x_u=x_u, x_l=x_l)
    classes, y = y_l.unique(return_inverse=True)
    check_range(max(len(classes), 1), len(classes) + len(x_u), k=k)
    if start is not None:
        check_shape((k, x_u.shape[1]), start=start)
    with torch.autocast(x_u.device.type, enabled=False):
        x_u, x_l = as_float(x_u), as_float(x_l).to(as_float(x_u))
        known, _ = class_means(x_l, y, len(classes))
        x = torch.cat([x_l, x_u])

        def once(redo: int) -> tuple[Tensor, Tensor, Tensor]:
            if start is None:
                centres = torch.cat([known, _spread(x_u, k - len(known), known, _generator(seed, redo))])
            else:
                centres = start.to(x_u)
            for _ in range(n_iter):
                near, distance = assign_to_nearest(x_u, centres)
                previous, centres = centres, _means_or_far(x, torch.cat([y, near]), centres, x_u, distance)
                if torch.linalg.vector_norm(centres - previous, dim=1).sum().square() < tol:
                    break
            labels = torch.cat([y, assign_to_nearest(x_u, centres)[0]])
            return centres, labels, _inertia(x, centres, labels)

        redos = n_init if k > len(known) and start is None else 1  # nothing is random without novel clusters
        return min((once(redo) for redo in range(redos)), key=lambda found: float(found[2]))


@torch.no_grad()
def halves(x: Tensor, assign: Tensor, k: int, *, n_iter: int = 20, n_redo: int = 3, seed: int = 0) -> Tensor:
    """2-means inside every cluster, of all clusters at once: which rows would make its second half.

    Args:
        x: ``(N, D)``; finite.
        assign: ``(N,)`` cluster of each row, below k.
        k: number of clusters.
        n_iter: largest number of rounds.
        n_redo: number of starts, of which each cluster keeps its own best.
        seed: of the starts; the same on every device.

    Returns:
        ``(N,)`` bool.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: fewer than one round or start.

    Example:
        >>> side = halves(torch.tensor([[0.0], [1.0], [9.0], [5.0], [5.5]]), torch.tensor([0, 0, 0, 1, 1]), k=2)
        >>> bool(side[0] == side[1]), bool(side[1] == side[2]), bool(side[3] == side[4])
        (True, False, False)
    """
    check_ndim(2, x=x)
    check_shape((len(x),), assign=assign)
    check_range(1, max(n_iter, 1), n_iter=n_iter)
    check_range(1, max(n_redo, 1), n_redo=n_redo)
    with torch.autocast(x.device.type, enabled=False):
        x = as_float(x)
        best, least = torch.zeros_like(assign, dtype=torch.bool), x.new_full((k,), torch.inf)
        for redo in range(n_redo if len(x) else 0):
            side, inertia = _halved_once(x, assign, k, n_iter, _generator(seed, redo))
            best = torch.where((inertia < least)[assign], side, best)
            least = torch.minimum(least, inertia)
        return best


def _halved_once(x: Tensor, assign: Tensor, k: int, n_iter: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """From one start: the side of each row, and the inertia ``(k,)`` of each cluster's halves."""
    noise = torch.rand(2, len(x), generator=generator).clamp_(1e-12, 1 - 1e-7).to(x)
    first = x[_best_of_each(noise[0], assign, k)]  # (k, D)
    far = (x - first[assign]).square().sum(dim=1)
    second = x[_best_of_each(far.log() - (-noise[1].log()).log(), assign, k)]  # as likely as far² says: Gumbel's trick
    pair = torch.stack([first, second], dim=1).flatten(0, 1)  # (2k, D)
    side = torch.zeros_like(assign)
    for _ in range(n_iter):
        between = pair[1::2] - pair[::2]
        middle = (between * (pair[1::2] + pair[::2])).sum(dim=1) / 2
        previous, side = side, ((x * between[assign]).sum(dim=1) > middle[assign]).long()
        mean, count = class_means(x, 2 * assign + side, 2 * k)
        pair = torch.where(count[:, None] > 0, mean, pair)
        if torch.equal(side, previous):
            break
    apart = (x - pair[2 * assign + side]).square().sum(dim=1)
    return side.bool(), apart.new_zeros(k).index_add(0, assign, apart)


def _best_of_each(score: Tensor, assign: Tensor, k: int) -> Tensor:
    """The row ``(k,)`` of highest score in each cluster; any row for an empty one."""
    top = score.new_full((k,), -torch.inf).scatter_reduce(0, assign, score, "amax")
    rows = torch.arange(len(score), device=score.device).where(score == top[assign], len(score) - 1)
    return torch.full((k,), len(score) - 1, device=score.device).scatter_reduce(0, assign, rows, "amin")


@torch.no_grad()
def kmeans_plus_plus(x: Tensor, k: int, *, start: Tensor | None = None, seed: int = 0) -> Tensor:
    """k rows that are far from each other: the usual start of k-means (Arthur and Vassilvitskii 2007, SODA).

    Each next row is drawn with a probability proportional to its squared distance to the nearest centre so far. Of
    ``2 + ⌊ln k⌋`` such draws the one that lowers the total distance most is taken.

    Args:
        x: ``(N, D)``; finite.
        k: number of rows to choose.
        start: ``(j, D)`` centres that are there already and count as chosen, but are not returned.
        seed: of the draws; the same on every device.

    Returns:
        ``(k, D)``.

    Raises:
        ShapeError: not matrices of equal width.
        ValueError: a row that is not finite, k outside [0, N].

    Example:
        >>> kmeans_plus_plus(torch.tensor([[0.0], [0.0], [5.0]]), k=1, start=torch.zeros(1, 1))
        tensor([[5.]])
    """
    check_same_width(x=x, **({} if start is None else {"start": start}))
    check_range(0, len(x), k=k)
    check_finite(x=x)
    with torch.autocast(x.device.type, enabled=False):
        x = as_float(x)
        return _spread(x, k, x[:0] if start is None else as_float(start).to(x), _generator(seed, 0))


@torch.no_grad()
def assign_to_nearest(x: Tensor, centroids: Tensor, *, inner_product: bool = False) -> tuple[Tensor, Tensor]:
    """The nearest centroid of every row, in memory linear in N.

    Args:
        x: ``(N, D)``.
        centroids: ``(k, D)``.
        inner_product: the centroid of largest inner product instead of least distance.

    Returns:
        ``(N,)`` number of the centroid, the first of equals; and ``(N,)`` squared distance to it, or inner product.

    Raises:
        ShapeError: not matrices of equal width.
        ValueError: no centroid.

    Example:
        >>> labels, distance = assign_to_nearest(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [4.0], [9.0]]))
        >>> labels, distance.round(decimals=4)
        (tensor([0, 1]), tensor([1., 1.]))
    """
    check_same_width(x=x, centroids=centroids)
    check_range(1, max(len(centroids), 1), **{"number of centroids": len(centroids)})
    with torch.autocast(x.device.type, enabled=False):
        x = as_float(x)
        centroids = as_float(centroids).to(x)
        best = x.new_empty(len(x))
        labels = torch.empty(len(x), dtype=torch.long, device=x.device)
        if inner_product:
            for rows in _blocks(len(x), len(centroids)):
                best[rows], labels[rows] = (x[rows] @ centroids.T).max(dim=1)
            return labels, best
        centre = centroids.mean(dim=0)  # distances do not change, and a common offset costs no digits
        centroids = centroids - centre
        half = centroids.square().sum(dim=1) / 2
        for rows in _blocks(len(x), len(centroids)):
            part = x[rows] - centre
            least, labels[rows] = torch.addmm(half, part, centroids.T, alpha=-1).min(dim=1)
            best[rows] = (part.square().sum(dim=1) + 2 * least).clamp_(min=0)
        return labels, best


def class_means(features: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Mean of the rows of each class.

    Args:
        features: ``(N, D)``; carries gradient.
        labels: ``(N,)`` class indices below k; rows of a negative label belong to no class.
        k: number of classes.

    Returns:
        ``(k, D)`` means, zero for a class without rows, and ``(k,)`` number of rows, as floating-point numbers.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a negative number of classes.

    Example:
        >>> class_means(torch.tensor([[1.0], [3.0], [8.0]]), torch.tensor([1, 1, -1]), k=2)
        (tensor([[0.],
                [2.]]), tensor([0., 2.]))
    """
    check_ndim(2, features=features)
    check_shape((len(features),), labels=labels)
    check_range(0, max(k, 0), k=k)
    with torch.autocast(features.device.type, enabled=False):
        features = as_float(features)
        slot = labels.where(labels >= 0, k)  # slot k takes the rows without class
        counts = features.new_zeros(k + 1).index_add(0, slot, features.new_ones(len(features)))[:k]
        total = features.new_zeros(k + 1, features.shape[1]).index_add(0, slot, features)[:k]
        return total / counts.clamp(min=1)[:, None], counts


def back_translate(features: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Prototypes of one modality for the clusters of another (ProtoCLIP's prototypical back-translation).

    The centroids of text clusters lie in the cone of the texts, where images cannot reach them. The mean of the
    *images* whose texts form a cluster is the same group seen from the side of the images.

    Args:
        features: ``(N, D)`` of the student's modality, row i paired with the clustered item i.
        labels: ``(N,)`` cluster of the teacher's item; negative belongs to none.
        k: number of clusters.

    Returns:
        ``(k, D)`` prototypes, not normalised and zero for an empty cluster, and the ``(k,)`` sizes of the clusters:
        ``sizes > 0`` tells which prototypes a loss may use.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a negative number of clusters.

    Source:
        Chen et al. (2023, TNNLS, "ProtoCLIP").

    Example:
        >>> prototypes, sizes = back_translate(torch.eye(2), torch.tensor([1, 1]), k=3)
        >>> prototypes[1], sizes > 0
        (tensor([0.5000, 0.5000]), tensor([False,  True, False]))
    """
    return class_means(features, labels, k)


@torch.no_grad()
def principal_components(x: Tensor, dim: int) -> Tensor:
    """The rows in the ``dim`` directions in which they vary most: fewer dimensions to cluster in.

    From the exact eigenvectors of the covariance, which is D × D however many rows there are.

    Args:
        x: ``(N, D)``; finite.
        dim: how many directions, at most D.

    Returns:
        ``(N, dim)`` coordinates with mean zero, the direction of the largest variance first.

    Raises:
        ShapeError: ``x`` is not a matrix.
        ValueError: a row that is not finite, dim outside [1, D].

    Example:
        >>> principal_components(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), dim=1).abs()
        tensor([[1.],
                [1.]])
    """
    mean, axes = principal_axes(x, dim)
    with torch.autocast(x.device.type, enabled=False):
        return (as_float(x) - mean) @ axes


@torch.no_grad()
def principal_axes(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Mean and directions of :func:`principal_components`, by which other rows are placed beside these.

    Args:
        x: ``(N, D)``; finite.
        dim: how many directions, at most D.

    Returns:
        ``(D,)`` mean and ``(D, dim)`` orthonormal axes: the coordinates of a row are ``(row - mean) @ axes``.

    Raises:
        ShapeError: ``x`` is not a matrix.
        ValueError: a row that is not finite, dim outside [1, D].

    Example:
        >>> mean, axes = principal_axes(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), dim=1)
        >>> mean, axes.abs()
        (tensor([2., 5.]), tensor([[1.],
                [0.]]))
    """
    check_ndim(2, x=x)
    check_range(1, x.shape[1], dim=dim)
    check_finite(x=x)
    with torch.autocast(x.device.type, enabled=False):
        x = as_float(x)
        mean = x.mean(dim=0)
        x = x - mean
        axes = torch.linalg.eigh((x.T @ x).double().cpu()).eigenvectors  # ascending; on the CPU: not all have float64
        return mean, axes[:, -dim:].flip(1).to(x)


@torch.no_grad()
def prototype_density(x: Tensor, centres: Tensor, assign: Tensor, tau: float) -> Tensor:
    """Temperature of each prototype from how tightly its members lie (PCL's concentration, as in GPC).

    ``φ_k = mean_i ‖x_i - c_k‖ / log(n_k + 10)`` over the n_k members of cluster k; clusters of at most one member
    get the largest φ; all are clipped to the 10th and 90th percentile and scaled to the mean ``tau``.

    Args:
        x: ``(N, D)``.
        centres: ``(K, D)`` means, before any normalisation.
        assign: ``(N,)`` cluster of each row; negative belongs to none.
        tau: mean of the temperatures.

    Returns:
        ``(K,)`` positive; ``tau`` everywhere if no cluster has extent.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: tau that is not finite and positive, no centre.

    Source:
        Li et al. (2021, ICLR), concentration estimation; Zhao et al. (2023, ICCV).

    Example:
        >>> x = torch.tensor([[0.0], [2.0], [10.0], [16.0]])
        >>> prototype_density(x, torch.tensor([[1.0], [13.0]]), torch.tensor([0, 0, 1, 1]), tau=0.2)
        tensor([0.1200, 0.2800])
    """
    return _density(x, centres, assign, tau, smoothing=10, inner_product=False)


@torch.no_grad()
def concentration(z: Tensor, assignment: Tensor, centroids: Tensor, tau: float) -> Tensor:
    """Temperature of each prototype, from inner products (MEOW's form of PCL's concentration).

    ``φ_k = mean_i √max(z_i · c_k, 0) / log(n_k + 5)``, and then as :func:`prototype_density`: clusters of at most one
    member get the largest φ, all are clipped to the 10th and 90th percentile and scaled to the mean ``tau``.

    Args:
        z: ``(N, D)`` unit norm.
        assignment: ``(N,)`` cluster of each row; negative belongs to none.
        centroids: ``(K, D)`` means of the members, *not* normalised.
        tau: mean of the temperatures.

    Returns:
        ``(K,)`` positive; ``tau`` everywhere if no cluster has a member with a positive product.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: tau that is not finite and positive, no centroid.

    Source:
        Yu et al. (2023, SDM).

    Example:
        >>> z = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), dim=1)
        >>> centroids, _ = class_means(z, torch.tensor([0, 0, 1]), k=2)
        >>> concentration(z, torch.tensor([0, 0, 1]), centroids, tau=0.4)  # one member only: the largest
        tensor([0.4000, 0.4000])
    """
    return _density(z, centroids, assignment, tau, smoothing=5, inner_product=True)


def _density(x: Tensor, centres: Tensor, assign: Tensor, tau: float, smoothing: int, inner_product: bool) -> Tensor:
    check_same_width(x=x, centres=centres)
    check_shape((len(x),), assign=assign)
    check_positive(tau=tau)
    check_range(1, max(len(centres), 1), **{"number of centres": len(centres)})
    with torch.autocast(x.device.type, enabled=False):
        x = as_float(x)
        own = as_float(centres).to(x)[assign.clamp(min=0)]
        # members may point away from their raw mean: such a product counts as 0
        spread = (x * own).sum(dim=1).clamp(min=0).sqrt() if inner_product else torch.linalg.vector_norm(x - own, dim=1)
        mean, count = class_means(spread[:, None], assign, len(centres))
        phi = mean[:, 0] / (count + smoothing).log()
        phi = torch.where(count > 1, phi, phi.masked_fill(count <= 1, 0).max())
        low, high = torch.quantile(phi, phi.new_tensor([0.1, 0.9]))
        phi = phi.clamp(low, high)
        average = phi.mean()
        phi = torch.where(average > 0, tau * phi / average, tau)
        return phi.clamp(min=tau * torch.finfo(phi.dtype).eps)  # logits are divided by it


def _lloyd(
    x: Tensor, centroids: Tensor, n_iter: int, spherical: bool, inner_product: bool
) -> tuple[Tensor, Tensor, Tensor]:
    labels, distance = _nearest(x, centroids, inner_product)
    for _ in range(n_iter):
        centroids = _means_or_far(x, labels, centroids, x, distance)
        if spherical:
            centroids = F.normalize(centroids, dim=1)
        previous = labels
        labels, distance = _nearest(x, centroids, inner_product)
        if torch.equal(labels, previous):
            break
    return labels, centroids, distance.sum() if inner_product else _inertia(x, centroids, labels)


def _nearest(x: Tensor, centroids: Tensor, inner_product: bool) -> tuple[Tensor, Tensor]:
    """:func:`assign_to_nearest`, whose second value grows with how far a row is also for inner products."""
    labels, value = assign_to_nearest(x, centroids, inner_product=inner_product)
    return labels, -value if inner_product else value


def _means_or_far(x: Tensor, labels: Tensor, centroids: Tensor, free: Tensor, distance: Tensor) -> Tensor:
    """Means of the members; empty clusters take those rows of ``free`` with the largest ``distance``, each another."""
    mean, count = class_means(x, labels, len(centroids))
    if not len(free):
        return mean
    far = free[distance.topk(min(len(centroids), len(free))).indices]
    empty = count == 0
    place = (empty.cumsum(dim=0) - 1).clamp(0, len(far) - 1)
    return torch.where(empty[:, None], far[place], mean)


def _spread(x: Tensor, k: int, start: Tensor, generator: torch.Generator) -> Tensor:
    """k rows of ``x`` by k-means++ with several draws each, given the centres ``start``."""
    draws = 2 + int(math.log(max(k, 1)))
    nearest = assign_to_nearest(x, start)[1] if len(start) else None  # (N,) to the centres so far
    centred = x - x.mean(dim=0)
    square = centred.square().sum(dim=1)
    chosen = torch.empty(k, dtype=torch.long, device=x.device)
    for step in range(k):
        mass = (torch.ones_like(square) if nearest is None else nearest).double().cumsum(dim=0)
        point = torch.rand(draws, dtype=torch.float64, generator=generator).to(x.device) * mass[-1]
        candidate = torch.searchsorted(mass, point, right=True).clamp(max=len(x) - 1)
        distance = torch.addmm(square[:, None] + square[candidate], centred, centred[candidate].T, alpha=-2)
        distance.clamp_(min=0)  # (N, draws)
        if nearest is not None:
            distance = torch.minimum(distance, nearest[:, None])
        best = distance.sum(dim=0).argmin()
        nearest = distance[:, best].contiguous()
        chosen[step] = candidate[best]
    return x[chosen]


def _inertia(x: Tensor, centroids: Tensor, labels: Tensor) -> Tensor:
    """From differences, not from products: exact also when the clusters are tight."""
    parts = [(x[rows] - centroids[labels[rows]]).square().sum() for rows in _blocks(len(x), x.shape[1])]
    return torch.stack(parts).sum()


def _blocks(rows: int, width: int) -> Iterator[slice]:
    """Slices of rows such that ``rows in slice × width`` stays below ``BLOCK_ELEMENTS``."""
    step = max(1, BLOCK_ELEMENTS // max(1, width))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _generator(seed: int, redo: int) -> torch.Generator:
    """On the CPU, so that every device draws the same numbers."""
    return torch.Generator().manual_seed(seed + 7919 * redo)
