"""Train on the embeddings of one modality, use those of another: gap statistics and adapters.

CLOSE (Gu et al. 2023, ICCV, "I Can't Believe There's No Images!"). A head learns on text vectors of a joint space
and is used on image vectors; the text vectors are perturbed in training, so that the head survives the gap between
the two. Nothing here is about images and texts in particular: ``img`` is what comes at test time, ``txt`` what
there is to train on.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.errors import ShapeError
from accord.functional.checks import as_float, check_ndim, check_range, check_same_shape, check_shape
from accord.functional.clusters.k_means import class_means


class GapStats(NamedTuple):
    """How the vectors of two modalities differ over pairs.

    Args:
        mean_diff: ``(D,)`` mean of image minus text.
        cov: ``(D, D)`` unbiased covariance of image minus text.
        linear: ``(D, D)`` W and ``(D,)`` b of the least-squares map ``text Wᵀ + b ≈ image``.
        centroid_distance: scalar, norm of ``mean_diff``.
        mean_pair_cosine: scalar; :func:`noise_for_cosine` turns it into a noise level.
    """

    mean_diff: Tensor
    cov: Tensor
    linear: tuple[Tensor, Tensor]
    centroid_distance: Tensor
    mean_pair_cosine: Tensor


@torch.no_grad()
def fit_gap(img: Tensor, txt: Tensor, ridge: float = 0.0) -> GapStats:
    """Gap statistics of auxiliary pairs, which must not come from the task's images.

    Args:
        img: ``(N, D)``, normalised here, N ≥ 2.
        txt: ``(N, D)``, normalised here; row i belongs to row i of ``img``.
        ridge: penalty ``ridge ||W||²`` of the linear map, whose offset b stays free. With 0 and fewer pairs than
            dimensions the map of least norm is taken.

    Returns:
        :class:`GapStats`, without gradient.

    Raises:
        ShapeError: not two matrices of the same shape.
        ValueError: fewer than two pairs, a negative ridge.

    Example:
        >>> img, txt = torch.eye(3), torch.eye(3).roll(1, 0)
        >>> stats = fit_gap(img, txt)
        >>> weight, bias = stats.linear
        >>> torch.allclose(txt @ weight.T + bias, img, atol=1e-6), stats.mean_pair_cosine
        (True, tensor(0.))
    """
    check_same_shape(img=img, txt=txt)
    if len(img) < 2:
        raise ValueError(f"img has {len(img)} rows: expected at least 2")
    if not ridge >= 0:
        raise ValueError(f"ridge = {ridge}: expected a number ≥ 0")
    with torch.autocast(img.device.type, enabled=False):
        img, txt = (F.normalize(as_float(side), dim=1) for side in (img, txt))
        difference = img - txt
        mean_diff = difference.mean(dim=0)
        centred = difference - mean_diff
        return GapStats(
            mean_diff=mean_diff,
            cov=centred.T @ centred / (len(img) - 1),
            linear=_least_squares(txt, img, ridge),
            centroid_distance=torch.linalg.vector_norm(mean_diff),
            mean_pair_cosine=(img * txt).sum(dim=1).mean(),
        )


def noise_for_cosine(cos: float, dim: int) -> float:
    """The noise level at which a unit vector and its noisy copy have about the cosine ``cos``.

    ``w = sqrt((1 / cos² - 1) / D)``: noise of level w has the norm ``w sqrt(D)`` and stands at right angles to the
    vector. The mean cosine of the pairs (:func:`fit_gap`) is a good aim without any image task to tune on.

    Args:
        cos: aim, in (0, 1].
        dim: D.

    Returns:
        w ≥ 0.

    Raises:
        ValueError: a cosine outside (0, 1], fewer than one dimension.

    Example:
        >>> round(noise_for_cosine(0.29, 768), 2)
        0.12
    """
    if not 0 < cos <= 1:
        raise ValueError(f"cos = {float(cos)}: expected a number in (0, 1]")
    check_range(1, max(1, dim), dim=dim)
    return math.sqrt((1 / float(cos) ** 2 - 1) / dim)


def segment_mean(x: Tensor, segment: Tensor, count: int | None = None) -> Tensor:
    """Mean of the rows of each segment, in any order: several captions of an image become one vector.

    CLOSE averages the raw features and normalises afterwards, so that a caption of larger norm weighs more.

    Args:
        x: ``(M, D)``.
        segment: ``(M,)`` number of the segment of each row, from 0.
        count: number of segments B, by default the largest number plus one, which is read from the device.

    Returns:
        ``(B, D)``; zero for a segment without rows.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> segment_mean(torch.tensor([[1.0], [8.0], [3.0]]), torch.tensor([0, 1, 0]))
        tensor([[2.],
                [8.]])
    """
    check_ndim(2, x=x)
    check_shape((len(x),), segment=segment)
    if count is None:
        count = int(segment.max()) + 1 if len(segment) else 0
    return class_means(x, segment, count)[0]


class GaussianNoise(nn.Module):
    """``normalise(x + w n)`` with ``n ~ N(0, I)`` in training, the identity in evaluation (CLOSE's default).

    The noise is drawn anew for every row and step. Its norm is about ``w sqrt(D)``: choose w by the cosine, see
    :func:`noise_for_cosine`.

    Args:
        w: standard deviation of each component.
        renormalize: project back to the sphere.

    Raises:
        ValueError: a negative w.

    Example:
        >>> adapter = GaussianNoise(0.1)
        >>> adapter(torch.eye(2), noise=torch.zeros(2, 2))
        tensor([[1., 0.],
                [0., 1.]])
        >>> adapter.eval()(torch.eye(2))
        tensor([[1., 0.],
                [0., 1.]])
    """

    def __init__(self, w: float, renormalize: bool = True) -> None:
        super().__init__()
        self.w, self.renormalize = _level(w=w), renormalize

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Adapt ``x (B, D)``; ``noise (B, D)`` is a standard normal sample drawn beforehand."""
        if not self.training:
            return x
        noisy = _with_noise(as_float(x), self.w, noise)
        return F.normalize(noisy, dim=1) if self.renormalize else noisy

    def extra_repr(self) -> str:
        """The settings, as shown by ``print``."""
        return f"w={self.w}, renormalize={self.renormalize}"


class MeanShift(nn.Module):
    """Move the text vectors by the mean difference of the modalities: ``normalise(x + scale · delta + noise n)``.

    In evaluation the shift stays, without noise and without normalisation, as in CLOSE: it moves *text* vectors.
    Image vectors are never adapted; where one adapter sees both, set ``eval_too=False``.

    Args:
        delta: ``(D,)``, such as ``GapStats.mean_diff``, or a fixed random direction to test tolerance.
        scale: factor on ``delta``.
        noise: level of the Gaussian noise in training.
        eval_too: shift in evaluation; False: the identity there.

    Raises:
        ShapeError: ``delta`` is not a vector.
        ValueError: a negative noise level.

    Example:
        >>> MeanShift(torch.tensor([-1.0, 1.0])).eval()(torch.tensor([[1.0, 0.0]]))
        tensor([[0., 1.]])
    """

    delta: Tensor

    def __init__(self, delta: Tensor, scale: float = 1.0, noise: float = 0.0, *, eval_too: bool = True) -> None:
        super().__init__()
        check_ndim(1, delta=delta)
        self.register_buffer("delta", as_float(delta.detach()).clone())
        self.scale, self.noise, self.eval_too = scale, _level(noise=noise), eval_too

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Adapt ``x (B, D)``; ``noise (B, D)`` is a standard normal sample drawn beforehand."""
        if not (self.training or self.eval_too):
            return x
        x = as_float(x)
        shifted = x + self.scale * self.delta.to(x)
        return F.normalize(_with_noise(shifted, self.noise, noise), dim=1) if self.training else shifted

    def extra_repr(self) -> str:
        """The settings, as shown by ``print``."""
        return f"scale={self.scale}, noise={self.noise}, eval_too={self.eval_too}"


class LinearAdapter(nn.Module):
    """Map the text vectors to where images lie: ``normalise(x Wᵀ + b)``, with noise and normalised again.

    Args:
        W: ``(D, D)``, such as ``GapStats.linear[0]``; not trained.
        b: ``(D,)``.
        noise: level of the Gaussian noise in training.
        eval_too: map in evaluation, without noise; False: the identity there. Image vectors are never adapted.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a negative noise level.

    Example:
        >>> LinearAdapter(2 * torch.eye(2).flip(0), torch.zeros(2))(torch.tensor([[1.0, 0.0]]))
        tensor([[0., 1.]])
    """

    W: Tensor
    b: Tensor

    def __init__(self, W: Tensor, b: Tensor, noise: float = 0.0, *, eval_too: bool = True) -> None:  # noqa: N803
        super().__init__()
        check_ndim(2, W=W)
        check_shape((len(W),), b=b)
        self.register_buffer("W", as_float(W.detach()).clone())
        self.register_buffer("b", as_float(b.detach()).clone())
        self.noise, self.eval_too = _level(noise=noise), eval_too

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Adapt ``x (B, D)``; ``noise (B, D)`` is a standard normal sample drawn beforehand."""
        if not (self.training or self.eval_too):
            return x
        with torch.autocast(x.device.type, enabled=False):
            x = as_float(x)
            mapped = F.normalize(F.linear(x, self.W.to(x), self.b.to(x)), dim=1)
        return F.normalize(_with_noise(mapped, self.noise, noise), dim=1) if self.training else mapped

    def extra_repr(self) -> str:
        """The settings, as shown by ``print``."""
        return f"noise={self.noise}, eval_too={self.eval_too}"


class StructuredNoise(nn.Module):
    """Noise shaped like the gap: ``normalise(x + shift + factor · g + noise n)``, ``g ~ N(0, cov)``, in training.

    The identity in evaluation. A square root of ``cov`` is taken once, by its eigenvectors: the covariance of
    differences of unit vectors is close to singular, which a Cholesky factorisation does not survive.

    Args:
        cov: ``(D, D)``, such as ``GapStats.cov``.
        shift: ``(D,)``, such as ``GapStats.mean_diff``; None: no shift.
        factor: factor on g, 3 in the released code.
        noise: level of the additional isotropic noise.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a matrix that is no covariance, a negative noise level.

    Example:
        >>> adapter = StructuredNoise(torch.diag(torch.tensor([0.0, 1.0])))
        >>> adapter(torch.tensor([[1.0, 0.0]]), structured=torch.tensor([[0.0, 1.0]]))
        tensor([[0.3162, 0.9487]])
    """

    root: Tensor
    shift: Tensor

    def __init__(self, cov: Tensor, shift: Tensor | None = None, factor: float = 3.0, noise: float = 0.0) -> None:
        super().__init__()
        check_shape((len(cov), len(cov)), cov=cov)
        cov = as_float(cov.detach())
        shift = cov.new_zeros(len(cov)) if shift is None else as_float(shift.detach()).clone()
        check_shape((len(cov),), shift=shift)
        self.register_buffer("root", _square_root(cov))
        self.register_buffer("shift", shift)
        self.factor, self.noise = factor, _level(noise=noise)

    def forward(self, x: Tensor, noise: Tensor | None = None, structured: Tensor | None = None) -> Tensor:
        """Adapt ``x (B, D)``.

        Args:
            x: ``(B, D)`` unit norm.
            noise: ``(B, D)`` a standard normal sample drawn beforehand.
            structured: ``(B, D)`` a sample g with the covariance, drawn beforehand.
        """
        if not self.training:
            return x
        with torch.autocast(x.device.type, enabled=False):
            x = as_float(x)
            g = torch.randn_like(x) @ self.root.to(x).T if structured is None else structured.to(x)
            moved = x + self.shift.to(x) + self.factor * g
        return F.normalize(_with_noise(moved, self.noise, noise), dim=1)

    def extra_repr(self) -> str:
        """The settings, as shown by ``print``."""
        return f"factor={self.factor}, noise={self.noise}"


def _level(**values: float) -> float:
    """The one value, checked."""
    ((name, value),) = values.items()
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} = {value}: expected a finite number ≥ 0")
    return value


def _with_noise(x: Tensor, level: float, noise: Tensor | None) -> Tensor:
    if noise is None:
        return x + level * torch.randn_like(x) if level else x
    if noise.shape != x.shape:
        raise ShapeError(f"noise has shape {tuple(noise.shape)}: expected {tuple(x.shape)}, the shape of x")
    return x + level * noise.to(x)


def _least_squares(x: Tensor, y: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """W and b of ``min Σ ||W x_i + b - y_i||² + ridge ||W||²``, of least norm where they are not unique."""
    mean_x, mean_y = x.mean(dim=0), y.mean(dim=0)
    left, spectrum, right = torch.linalg.svd(x - mean_x, full_matrices=False)
    noticeable = spectrum > spectrum.amax() * max(x.shape) * torch.finfo(x.dtype).eps
    inverse = torch.where(noticeable, spectrum / (spectrum.square() + ridge), 0)
    weight = (right.T * inverse @ (left.T @ (y - mean_y))).T
    return weight, mean_y - weight @ mean_x


def _square_root(cov: Tensor) -> Tensor:
    """R with ``R Rᵀ = cov``."""
    spectrum, vectors = torch.linalg.eigh(cov)
    tolerance = 1e-4 * float(spectrum.abs().max()) if len(spectrum) else 0.0
    if not torch.allclose(cov, cov.T, atol=tolerance) or float(spectrum.min()) < -tolerance:
        raise ValueError("cov: expected a covariance, that is a symmetric matrix without negative eigenvalues")
    return vectors * spectrum.clamp(min=0).sqrt()
