"""k-means in its several forms: centroids, class means, and the nearest of them.

Lloyd's k-means (1982), its semi-supervised form (Vaze et al. 2022, CVPR, "GCD"; Zhao et al. 2023, ICCV, GPC), and the
principal components that it may be done in. Distances are computed in blocks, so that memory is linear in the number of
rows. Only :func:`class_means` carries gradient.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import (
    as_float,
    check_choice,
    check_finite,
    check_ndim,
    check_range,
    check_same_width,
    check_shape,
)
from accord.functional.clusters.axes import principal_axes
from accord.functional.clusters.blocks import blocks_of, inertia_of
from accord.functional.clusters.starts import far_rows, seeded

Start = Literal["k-means++", "random"]


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
            generator = seeded(seed, redo)
            if isinstance(start, Tensor):
                first = start.to(x)
            elif start == "random":
                first = x[torch.randperm(len(x), generator=generator)[:k].to(x.device)]
            else:
                first = far_rows(x, k, None, generator)
            return _lloyd(x, F.normalize(first, dim=1) if spherical else first, n_iter, spherical, inner_product)

        redos = 1 if isinstance(start, Tensor) else n_redo
        return min((once(redo) for redo in range(redos)), key=lambda found: float(found[2]))


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
                far = assign_to_nearest(x_u, known)[1] if len(known) else None
                centres = torch.cat([known, far_rows(x_u, k - len(known), far, seeded(seed, redo))])
            else:
                centres = start.to(x_u)
            for _ in range(n_iter):
                near, distance = assign_to_nearest(x_u, centres)
                previous, centres = centres, _means_or_far(x, torch.cat([y, near]), centres, x_u, distance)
                if torch.linalg.vector_norm(centres - previous, dim=1).sum().square() < tol:
                    break
            labels = torch.cat([y, assign_to_nearest(x_u, centres)[0]])
            return centres, labels, inertia_of(x, centres, labels)

        redos = n_init if k > len(known) and start is None else 1  # nothing is random without novel clusters
        return min((once(redo) for redo in range(redos)), key=lambda found: float(found[2]))


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
        far = assign_to_nearest(x, start)[1] if start is not None and len(start) else None
        return far_rows(x, k, far, seeded(seed))


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
            for rows in blocks_of(len(x), len(centroids)):
                best[rows], labels[rows] = (x[rows] @ centroids.T).max(dim=1)
            return labels, best
        centre = centroids.mean(dim=0)  # distances do not change, and a common offset costs no digits
        centroids = centroids - centre
        half = centroids.square().sum(dim=1) / 2
        for rows in blocks_of(len(x), len(centroids)):
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
    return labels, centroids, distance.sum() if inner_product else inertia_of(x, centroids, labels)


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
