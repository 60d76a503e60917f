"""How far tuples of vectors are from agreeing: the volume of the parallelotope that they span (GRAM).

GRAM (Cicchetti et al. 2025, ICLR): ``V = sqrt(det G)`` with G the Gram matrix of n vectors; 0 iff they are linearly
dependent, 1 at most for unit norm. No determinant is computed here: the volume of a tuple with an anchor is the volume
of the others times the distance of the anchor to their span, ``V_ij = Vol_j · dist(a_i, span_j)``, so that each tuple
is orthogonalised once and all anchors follow by one product per modality. Both factors lose all digits to
cancellation when vectors nearly coincide: there they are computed in float64, if the device has it.

Where vectors are dependent, to within rounding, the volume is exactly 0 and so is its gradient, one of the
subgradients of the kink that it has there. The volume does not see signs: ``x`` and ``-x`` agree perfectly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.checks import (
    as_float,
    check_choice,
    check_positive,
    check_same_shape,
    check_same_width,
    check_shape,
)
from accord.functional.engine import contrastive_loss
from accord.functional.similarity.spans import gram_cholesky, rounding, span_factors

Score = Literal["volume", "distance", "logvol"]
LOG_EPS = 1e-8  # squared length that keeps the logarithm of a volume finite


def volume(anchor: Tensor, *others: Tensor, present: Tensor | None = None) -> Tensor:
    """Volume of every anchor with every tuple of the other modalities (GRAM); small means agreement.

    Args:
        anchor: ``(B1, D)``, usually unit norm.
        others: each ``(B2, D)``; row j of all of them is one tuple.
        present: ``(B2, k)`` bool, False for a modality that a tuple lacks: its volume is that of the present ones
            with the anchor. Volumes of different numbers of vectors are of different size, see :func:`tuple_scores`.

    Returns:
        ``(B1, B2)``, at least float32.

    Raises:
        ShapeError: no other modality, or shapes that do not fit together.

    Example:
        >>> x, y, z = torch.eye(3)[:, None]
        >>> volume(torch.cat([x, y]), (x + z) / 2**0.5).round(decimals=4)
        tensor([[0.7071],
                [1.0000]])
        >>> volume(torch.cat([x, y]), y, z)
        tensor([[1.],
                [0.]])
    """
    return _scores(anchor, others, "volume", present)[0]


def span_distance(anchor: Tensor, *others: Tensor, present: Tensor | None = None) -> Tensor:
    """Distance of every anchor to the span of every tuple: the volume without the size of the tuple itself.

    A tuple whose own modalities nearly coincide has a small volume with every anchor (a hub); its distances are not
    affected.

    Args:
        anchor: ``(B1, D)``, usually unit norm.
        others: each ``(B2, D)``.
        present: ``(B2, k)`` bool, see :func:`volume`.

    Returns:
        ``(B1, B2)``, the sine of the angle between anchor and span for unit norm.

    Raises:
        ShapeError: no other modality, or shapes that do not fit together.

    Example:
        >>> x, y, z = torch.eye(3)[:, None]
        >>> span_distance((x + z) / 2**0.5, x, x + 0.1 * y).round(decimals=4)
        tensor([[0.7071]])
    """
    return _scores(anchor, others, "distance", present)[0]


def log_volume(anchor: Tensor, *others: Tensor, eps: float = LOG_EPS, present: Tensor | None = None) -> Tensor:
    """``½ log det(G + eps I)`` of every anchor with every tuple; finite where the volume is 0.

    The determinant of ``G + eps I`` is that of the Gram matrix of the vectors after each was given a coordinate of
    its own of size ``sqrt(eps)``.

    Args:
        anchor: ``(B1, D)``, usually unit norm.
        others: each ``(B2, D)``.
        eps: squared length that is added to every vector in a direction of its own.
        present: ``(B2, k)`` bool, see :func:`volume`.

    Returns:
        ``(B1, B2)``, at least ``n/2 · log(eps)``.

    Raises:
        ShapeError: no other modality, or shapes that do not fit together.
        ValueError: eps that is not finite and positive.

    Example:
        >>> log_volume(torch.eye(2)[:1], torch.eye(2), eps=1e-4).round(decimals=3)
        tensor([[-4.2590,  0.0000]])
    """
    check_positive(eps=eps)
    return _scores(anchor, others, "logvol", present, eps)[0]


def tuple_scores(anchor: Tensor, *others: Tensor, score: Score = "volume", present: Tensor | None = None) -> Tensor:
    """A score of every anchor with every tuple, small for agreement, comparable between tuples of different size.

    A volume with k vectors is a product of k sines, and the fewer there are, the larger it is; so is the distance to a
    span of fewer dimensions. Of tuples that lack some of the K modalities both are raised to the power K / k, as if the
    missing ones agreed as well as those that are there; complete tuples have their score as it is. The power is ours,
    not the paper's.

    Args:
        anchor: ``(B1, D)`` unit norm.
        others: each ``(B2, D)``.
        score: ``volume`` for :func:`volume`, ``distance`` for :func:`span_distance`, ``logvol`` for :func:`log_volume`.
        present: ``(B2, k)`` bool, see :func:`volume`.

    Returns:
        ``(B1, B2)``, at least float32.

    Raises:
        ShapeError: no other modality, or shapes that do not fit together.
        ValueError: an unknown score.

    Example:
        >>> x, y, z = torch.eye(3)[:, None]
        >>> half = (x + y) / 2**0.5
        >>> tuple_scores(x, half, z, present=torch.tensor([[True, False]]))
        tensor([[0.5000]])
    """
    check_choice(get_args(Score), score=score)
    return _equal_sized(_scores(anchor, others, score, present)[0], score, present)


def joint_scores(
    queries: Sequence[Tensor], candidates: Sequence[Tensor], score: Score = "volume", present: Tensor | None = None
) -> Tensor:
    """A score of every query with every candidate, small for agreement, where both may be tuples.

    Where one side is a single vector this is :func:`tuple_scores` with that side as anchor. Otherwise it is the volume
    of all vectors together, its logarithm, or for ``distance`` that volume over the candidate's own.

    Args:
        queries: each ``(A, D)`` unit norm; row i of all of them is one query.
        candidates: each ``(B, D)`` unit norm.
        score: see :func:`tuple_scores`.
        present: ``(B, k)`` bool, False for a vector that a candidate lacks.

    Returns:
        ``(A, B)``, at least float32.

    Raises:
        ShapeError: nothing on one side, or shapes that do not fit together.
        ValueError: an unknown score.

    Example:
        >>> x, y, z = torch.eye(3)[:, None]
        >>> joint_scores([x, y], [z, (x + z) / 2**0.5]).round(decimals=4)
        tensor([[0.]])
    """
    if len(queries) == 1:
        return tuple_scores(queries[0], *candidates, score=score, present=present)
    if len(candidates) == 1:
        return tuple_scores(candidates[0], *queries, score=score).T
    check_choice(get_args(Score), score=score)
    _check_modalities(tuple(queries), None)
    _check_modalities(tuple(candidates), present)
    check_same_width(queries=queries[0], candidates=candidates[0])
    with torch.autocast(queries[0].device.type, enabled=False):
        asked, found = (torch.stack([as_float(x) for x in side]) for side in (queries, candidates))
        wide = (-1, asked.shape[1], found.shape[1], -1)
        pairs = torch.cat([found[:, None].expand(wide), asked[:, :, None].expand(wide)]).flatten(1, 2)
        there = None
        if present is not None:
            there = F.pad(present, (0, len(queries)), value=True).repeat(asked.shape[1], 1)  # (A·B, k + q)
        edges = gram_cholesky(pairs, there, LOG_EPS if score == "logvol" else 0.0)[0]  # each past those before it
        size = edges[len(candidates) :] if score == "distance" else edges
        scores = (size.log().sum(dim=0) if score == "logvol" else size.prod(dim=0)).to(asked.dtype)
        return _equal_sized(scores.view(wide[1:3]), score, present, len(queries))


def score_and_cosine(
    anchor: Tensor, *others: Tensor, score: Score = "volume", present: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """:func:`tuple_scores`, and the cosine of every anchor with the tuple's mean direction, by the same products.

    The cosine sees what GRAM's volumes do not: whether an anchor points the way of the tuple or the other. It is ours,
    not the paper's.

    Args:
        anchor: ``(B1, D)`` unit norm.
        others: each ``(B2, D)``.
        score: see :func:`tuple_scores`.
        present: ``(B2, k)`` bool, see :func:`volume`; only what is there counts in the mean.

    Returns:
        Twice ``(B1, B2)``; a tuple without direction has cosine 0.

    Raises:
        ShapeError: no other modality, or shapes that do not fit together.
        ValueError: an unknown score.

    Example:
        >>> x, y, z = torch.eye(3)[:, None]
        >>> score_and_cosine(torch.cat([x, -x, z]), x, y)[1].round(decimals=4)
        tensor([[ 0.7071],
                [-0.7071],
                [ 0.0000]])
    """
    check_choice(get_args(Score), score=score)
    scores, products = _scores(anchor, others, score, present, products=True)
    scores = _equal_sized(scores, score, present)
    with torch.autocast(anchor.device.type, enabled=False):
        parts = [as_float(x) for x in others]
        if present is not None:
            products = products * present.T
            parts = [x * there[:, None] for x, there in zip(parts, present.T, strict=True)]
        length = torch.linalg.vector_norm(sum(parts[1:], start=parts[0]), dim=1)
        nowhere = length <= rounding(length.dtype, anchor.shape[1])
        return scores, products.sum(dim=1) / length.masked_fill(nowhere, torch.inf)


def tuple_volume(*mods: Tensor, present: Tensor | None = None) -> Tensor:
    """Volume of each tuple by itself, ``sqrt(det G_b)``: how well the modalities of one sample agree.

    Args:
        mods: each ``(B, D)``; row b of all of them is one tuple.
        present: ``(B, n)`` bool, False for a modality that a tuple lacks.

    Returns:
        ``(B,)``, at least float32.

    Raises:
        ShapeError: no tensor, or shapes that do not fit together.

    Example:
        >>> tuple_volume(torch.eye(2), torch.eye(2).flip(0)), tuple_volume(torch.eye(2), -torch.eye(2))
        (tensor([1., 1.]), tensor([0., 0.]))
    """
    _check_modalities(mods, present)
    with torch.autocast(mods[0].device.type, enabled=False):
        stacked = torch.stack([as_float(x) for x in mods])
        return gram_cholesky(stacked, present)[0].prod(dim=0).to(stacked.dtype)


def gram_matrix(*mods: Tensor) -> Tensor:
    """Inner products of the modalities of each tuple.

    Args:
        mods: each ``(B, D)``.

    Returns:
        ``(B, n, n)``.

    Raises:
        ShapeError: no tensor, or not matrices of the same shape.

    Example:
        >>> gram_matrix(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]))
        tensor([[[1.0000, 0.6000],
                 [0.6000, 1.0000]]])
    """
    _check_modalities(mods, None)
    with torch.autocast(mods[0].device.type, enabled=False):
        stacked = torch.stack([as_float(x) for x in mods], dim=1)  # (B, n, D)
        return stacked @ stacked.mT


def gram_contrastive_loss(
    anchor: Tensor,
    *others: Tensor,
    temperature: Tensor | float,
    label_smoothing: float = 0.1,
    score: Score = "volume",
    present: Tensor | None = None,
) -> Tensor:
    """Symmetric InfoNCE with minus the volume over the temperature as logits (GRAM).

    Args:
        anchor: ``(B, D)`` unit norm, often the text.
        others: each ``(B, D)`` unit norm; row i belongs to row i of ``anchor``.
        temperature: divides the volumes; a parameter in the paper (0.07 at first), to be kept above about 0.01.
        label_smoothing: share of the target that is spread evenly over all candidates.
        score: what is small for agreement, see :func:`tuple_scores`.
        present: ``(B, k)`` bool, see :func:`volume`.

    Returns:
        Scalar.

    Raises:
        ShapeError: no other modality, or shapes that do not fit together.
        ValueError: a temperature that is not finite and positive, smoothing outside [0, 1], an unknown score.

    Example:
        >>> x = torch.eye(4)
        >>> gram_contrastive_loss(x, x, x, temperature=0.07, label_smoothing=0.0).round(decimals=4)
        tensor(1.3863)
        >>> gram_contrastive_loss(x, x, x, temperature=0.07, label_smoothing=0.0, score="distance").round(decimals=4)
        tensor(0.)
    """
    check_positive(temperature=temperature)
    check_choice(get_args(Score), score=score)
    if others:
        check_shape((len(anchor), None), **{"others[0]": others[0]})
    with torch.autocast(anchor.device.type, enabled=False):
        logits = -tuple_scores(anchor, *others, score=score, present=present) / temperature
        return contrastive_loss(logits, label_smoothing=label_smoothing, direction="both")


def _scores(
    anchor: Tensor,
    others: tuple[Tensor, ...],
    score: Score,
    present: Tensor | None,
    eps: float = LOG_EPS,
    products: bool = False,
) -> tuple[Tensor, Tensor]:
    """Score ``(B1, B2)`` of every anchor with every tuple, and the inner products ``(B1, k, B2)`` if wanted."""
    _check_modalities(others, present)
    check_same_width(anchor=anchor, others=others[0])
    with torch.autocast(anchor.device.type, enabled=False):
        stacked = torch.stack([as_float(x) for x in others])
        added = eps if score == "logvol" else 0.0
        size, distance, inner = span_factors(as_float(anchor), stacked, present, added, products=products)
        if score == "volume":
            return size * distance, inner
        return distance if score == "distance" else size.log() + distance.log(), inner


def _equal_sized(scores: Tensor, score: Score, present: Tensor | None, asked: int = 1) -> Tensor:
    """Scores ``(B1, B2)`` with those of tuples that lack something brought to the size of complete ones.

    ``asked`` vectors stand beside each tuple; the volume of n vectors has n - 1 sines.
    """
    if present is None:
        return scores
    power = (present.shape[1] + asked - 1) / (present.sum(dim=1) + asked - 1).clamp(min=1)  # (B2,)
    return scores * power if score == "logvol" else scores ** power.to(scores)


def _check_modalities(mods: tuple[Tensor, ...], present: Tensor | None) -> None:
    if not mods:
        raise ShapeError("got no modality: expected at least one besides the anchor")
    check_same_shape(**{f"modality {place}": x for place, x in enumerate(mods)})
    if present is not None:
        check_shape((len(mods[0]), len(mods)), present=present)
        if present.dtype != torch.bool:
            raise ValueError(f"present has type {present.dtype}: expected bool")
