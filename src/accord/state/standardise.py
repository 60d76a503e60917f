"""Zero mean and unit variance for the features of a frozen encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from accord.functional.checks import check_ndim, check_shape
from accord.state.base import FullPrecisionState


class FeatureStandardiser(FullPrecisionState):
    """Standardise each feature by its mean and standard deviation over the training rows (z-score).

    Features pooled after a rectifier are all positive, so that any two of them have a cosine near 1 and a random
    projection sees one point. A trained encoder learns its way out of this; on a frozen one, the layer before the
    head has to do it, as the affine-free batch norm of linear probing does (He et al. 2022, "Masked Autoencoders
    Are Scalable Vision Learners", appendix A). Here the statistics are exact and do not depend on the batch. Until
    :meth:`fit` is called, features pass unchanged.

    Args:
        dim: width D.

    Example:
        >>> standardise = FeatureStandardiser(2)
        >>> standardise.fit(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
        >>> standardise(torch.tensor([[3.0, 6.0]]))
        tensor([[1., 1.]])
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Take the statistics of ``features (N, D)``; one that does not vary is only shifted.

        Raises:
            ShapeError: not ``(N, D)``.
        """
        check_ndim(2, features=features)
        check_shape((None, len(self.mean)), features=features)
        deviation, mean = torch.std_mean(features.to(self.mean), dim=0, correction=0)
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(deviation > 0, deviation, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Standardised ``features (B, D)``, in their own type."""
        return ((features - self.mean) / self.scale).to(features.dtype)
