"""Prototypes of clusters: those of another modality's clusters, and the temperature that each is compared with.

Back-translation is ProtoCLIP's (Chen et al. 2023, TNNLS). The concentration is that of PCL (Li et al. 2021, ICLR) in
the forms of GPC (Zhao et al. 2023, ICCV) and MEOW (Yu et al. 2023, SDM). :func:`back_translate` carries gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_positive, check_range, check_same_width, check_shape
from accord.functional.clusters.k_means import class_means


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
        >>> z = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), dim=1)
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
