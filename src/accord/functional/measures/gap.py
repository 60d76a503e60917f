"""The gap between two modalities: measuring it, crossing it, and closing it while training.

Liang et al. (2022, NeurIPS) for its size, Schönemann (1966) for the orthogonal map across it. Closing it is InfoNCE
with terms of uniformity and alignment (Fahim et al. 2024, "It's Not a Modality Gap: Characterizing and Addressing the
Contrastive Gap"): the gap comes from the contrastive loss itself, which leaves the embeddings in a small part of the
sphere, also when both encoders see the same modality.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.errors import ShapeError
from accord.functional.checks import as_float, check_positive, check_same_shape, check_same_width, logit_scale_of
from accord.functional.contrast.pairs import info_nce
from accord.functional.measures.regularity import alignment, cross_uniformity, uniformity


def modality_gap(u: Tensor, v: Tensor) -> Tensor:
    """Distance between the centres of two modalities, ``||mean(u) - mean(v)||``.

    Args:
        u: ``(N, D)`` unit norm.
        v: ``(M, D)`` unit norm.

    Returns:
        Scalar in [0, 2].

    Raises:
        ShapeError: not matrices of equal width.

    Example:
        >>> modality_gap(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]))
        tensor(2.)
    """
    check_same_width(u=u, v=v)
    return torch.linalg.vector_norm(as_float(u).mean(dim=0) - as_float(v).mean(dim=0))


def gap_geometry(x: Tensor, y: Tensor, t: float = 2.0) -> dict[str, Tensor]:
    """Where two modalities lie and how they match, in seven numbers (Liang et al. 2022; Fahim et al. 2024).

    Args:
        x: ``(N, D)`` unit norm, N ≥ 2.
        y: ``(N, D)`` unit norm; row i belongs to row i of ``x``.
        t: sharpness of the uniformity kernel.

    Returns:
        Scalars ``centroid_distance``, ``centroid_cosine``, ``uniformity_x``, ``uniformity_y``,
        ``cross_uniformity`` (matched pairs left out), ``alignment``, ``pair_cosine``.

    Raises:
        ShapeError: not two matrices of the same shape.
        ValueError: fewer than two rows.

    Example:
        >>> numbers = gap_geometry(torch.eye(2), torch.eye(2))
        >>> numbers["centroid_distance"], numbers["pair_cosine"]
        (tensor(0.), tensor(1.))
    """
    check_same_shape(x=x, y=y)
    x, y = as_float(x), as_float(y)
    return {
        "centroid_distance": modality_gap(x, y),
        "centroid_cosine": F.cosine_similarity(x.mean(dim=0), y.mean(dim=0), dim=0),
        "uniformity_x": uniformity(x, t),
        "uniformity_y": uniformity(y, t),
        "cross_uniformity": cross_uniformity(x, y, t),
        "alignment": alignment(x, y),
        "pair_cosine": F.cosine_similarity(x, y, dim=1).mean(),
    }


@torch.no_grad()
def procrustes(x: Tensor, y: Tensor) -> Tensor:
    """The orthogonal map that brings ``x`` nearest to ``y``: ``argmin_W ||x Wᵀ - y||`` (Schönemann 1966).

    With the singular vectors of ``yᵀ x = U S Vᵀ`` it is ``W = U Vᵀ``. It may mirror; apply it as ``x @ W.T``.

    Args:
        x: ``(N, D)``.
        y: ``(N, D)``; row i belongs to row i of ``x``.

    Returns:
        ``(D, D)`` orthogonal, without gradient.

    Raises:
        ShapeError: not two matrices of the same shape.

    Example:
        >>> turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
        >>> procrustes(torch.eye(2), torch.eye(2) @ turn.T)
        tensor([[ 0., -1.],
                [ 1.,  0.]])
    """
    check_same_shape(x=x, y=y)
    with torch.autocast(x.device.type, enabled=False):
        left, _, right = torch.linalg.svd(as_float(y).T @ as_float(x))
        return left @ right


def embedding_arithmetic(image: Tensor, plus: Tensor, minus: Tensor, lam: float = 1.0) -> Tensor:
    """Change an image by words: ``image + lam (plus - minus)``, to be compared by cosine.

    Args:
        image: ``(..., D)`` unit norm.
        plus: ``(..., D)`` unit norm embedding of what should be there.
        minus: ``(..., D)`` unit norm embedding of what should not.
        lam: strength.

    Returns:
        ``(..., D)`` query, not normalised. Leave the source image out of the results.

    Raises:
        ShapeError: different widths.

    Example:
        >>> embedding_arithmetic(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]))
        tensor([0., 1.])
    """
    for name, words in (("plus", plus), ("minus", minus)):
        if words.shape[-1] != image.shape[-1]:
            raise ShapeError(f"{name} has shape {tuple(words.shape)}: expected a last size of {image.shape[-1]}")
    return as_float(image) + lam * (as_float(plus) - as_float(minus))


def gap_closing_loss(
    x: Tensor,
    y: Tensor,
    *,
    use_uniformity: bool = True,
    use_alignment: bool = True,
    use_cross: bool = False,
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
    temperature: Tensor | float = 0.01,
    t: float = 2.0,
) -> dict[str, Tensor]:
    """Symmetric InfoNCE plus terms that spread each modality and pull pairs together.

    ``L_CLIP + L_U + L_A (+ L_XU)``: ``L_U = ½ U(x) + ½ U(y)`` with :func:`uniformity`, ``L_A`` is
    :func:`alignment`, ``L_XU`` is :func:`cross_uniformity`. The default is the paper's CUA, ``use_cross=True`` its
    CUAXU, neither of the two its baseline. The extra terms are of order 1 whatever the temperature: keep it fixed,
    since a learned one changes the balance.

    Args:
        x: ``(N, D)``, normalised here; N ≥ 2 with a uniformity term.
        y: ``(N, D)``, normalised here; row i belongs to row i of ``x``.
        use_uniformity: add ``L_U``.
        use_alignment: add ``L_A``.
        use_cross: add ``L_XU``.
        weights: factors of ``L_CLIP``, ``L_U``, ``L_A``, ``L_XU``.
        temperature: divides the cosines of ``L_CLIP``.
        t: sharpness of the uniformity kernels.

    Returns:
        Scalars ``clip``, ``uniformity``, ``alignment``, ``cross_uniformity`` (those in use, unweighted) and
        ``total``, their weighted sum.

    Raises:
        ShapeError: not two matrices of the same shape.
        ValueError: a temperature or t that is not finite and positive, fewer than two rows with a uniformity term.

    Example:
        >>> {name: round(term.item(), 3) for name, term in gap_closing_loss(torch.eye(2), torch.eye(2)).items()}
        {'clip': 0.0, 'uniformity': -4.0, 'alignment': 0.0, 'total': -4.0}
    """
    check_same_shape(x=x, y=y)
    check_positive(temperature=temperature)
    x, y = (F.normalize(as_float(side), dim=1) for side in (x, y))
    terms = {"clip": info_nce(x, y, logit_scale_of(temperature))}
    if use_uniformity:
        terms["uniformity"] = (uniformity(x, t) + uniformity(y, t)) / 2
    if use_alignment:
        terms["alignment"] = alignment(x, y)
    if use_cross:
        terms["cross_uniformity"] = cross_uniformity(x, y, t)
    scale = dict(zip(("clip", "uniformity", "alignment", "cross_uniformity"), weights, strict=True))
    return {**terms, "total": torch.stack([scale[name] * term for name, term in terms.items()]).sum()}


class GapClosingLoss(nn.Module):
    """:func:`gap_closing_loss` with its settings.

    Args:
        use_uniformity: add the uniformity of each modality.
        use_alignment: add the distance of the pairs.
        use_cross: add the uniformity across the modalities.
        weights: factors of InfoNCE, uniformity, alignment and cross-uniformity.
        temperature: divides the cosines of InfoNCE; not learned.

    Raises:
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> list(GapClosingLoss(use_cross=True)(torch.eye(2), torch.eye(2)))
        ['clip', 'uniformity', 'alignment', 'cross_uniformity', 'total']
    """

    def __init__(
        self,
        use_uniformity: bool = True,
        use_alignment: bool = True,
        use_cross: bool = False,
        weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
        temperature: float = 0.01,
    ) -> None:
        super().__init__()
        check_positive(temperature=temperature)
        self.use_uniformity, self.use_alignment, self.use_cross = use_uniformity, use_alignment, use_cross
        self.weights, self.temperature = weights, temperature

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The terms and their ``total``, for ``x`` and ``y`` of ``(N, D)``."""
        return gap_closing_loss(
            x,
            y,
            use_uniformity=self.use_uniformity,
            use_alignment=self.use_alignment,
            use_cross=self.use_cross,
            weights=self.weights,
            temperature=self.temperature,
        )
