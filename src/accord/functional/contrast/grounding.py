"""Contrast of sentences and the moments of films, where only a few moments carry a sentence.

MMN (Wang et al. 2022, AAAI) takes every moment that is not annotated as a negative. G2L (Li et al. 2023, ICCV) asks
along the graph of moments how near one is to the annotated one: near ones are positives too. Moments are the cells of
a map, ``(V, D, P)`` for P cells of each of V films; the A sentences are those of all films one after the other, and
``owner`` says whose each is. Vectors have unit norm, unless it is said.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import as_float, check_choice, check_ndim, check_positive, check_range, check_shape
from accord.functional.dense.moments import temporal_iou
from accord.functional.engine import contrastive_loss, row_normalize
from accord.functional.similarity.geodesic import geodesic_similarity

GeodesicForm = Literal["soft_positive", "official"]

_LOG_EPS = math.log(1e-6)  # of what MMN and G2L add to the denominator
_OFFICIAL_SUM = 1000.0  # what the weights of other films' moments sum to in the paper's code


def best_moments(iou: Tensor, k: int = 1) -> Tensor:
    """The cells that overlap most with the moment of each sentence; of equal ones the first, on any device.

    Args:
        iou: ``(A, P)`` overlaps.
        k: how many.

    Returns:
        ``(A, k)`` int64, the best first.

    Raises:
        ShapeError: not a matrix.
        ValueError: k outside [1, P].

    Example:
        >>> best_moments(torch.tensor([[0.2, 0.9, 0.9]])).tolist()
        [[1]]
    """
    check_ndim(2, iou=iou)
    check_range(1, iou.shape[1], k=k)
    return iou.argsort(dim=1, descending=True, stable=True)[:, :k]


def mutual_matching_loss(
    moments: Tensor,
    sentences: Tensor,
    owner: Tensor,
    iou: Tensor,
    spans: Tensor,
    *,
    tau: float = 0.1,
    margin: float = 0.3,
    top_k: int = 1,
    neg_iou: float = 0.5,
    removal_iou: float = 0.5,
    elsewhere: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """A moment must find its sentence among all, and a sentence its moment among those of all films (MMN, eq. 7).

    Sentences of the same film whose moments overlap are no negatives of each other. Moments of the same film that
    overlap with the annotated one have logit 0, as in the paper's code, and so do not leave the denominator.

    Args:
        moments: ``(V, D, P)`` unit norm along D.
        sentences: ``(A, D)`` unit norm.
        owner: ``(A,)`` the film of each sentence, in [0, V).
        iou: ``(A, P)`` overlap of each cell with the sentence's moment.
        spans: ``(A, 2)`` the sentences' moments in seconds.
        tau: temperature.
        margin: subtracted from the cosine of a positive.
        top_k: how many of the cells that overlap most are positives.
        neg_iou: overlap from which cells of the same film are no negatives.
        removal_iou: overlap from which sentences of the same film are none.
        elsewhere: ``(A', D)`` sentences of other films that have no term of their own.

    Returns:
        The losses of moments that look for sentences, and of sentences that look for moments.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not positive, or top_k outside [1, P].

    Example:
        >>> moments, sentences = torch.eye(2)[None], torch.tensor([[1.0, 0.0]])  # two cells, one sentence
        >>> overlap, spans = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
        >>> mutual_matching_loss(moments, sentences, torch.tensor([0]), overlap, spans)
        (tensor(0.), tensor(0.0018))
    """
    _check(moments, sentences, owner, iou)
    check_shape((len(sentences), 2), spans=spans)
    check_positive(tau=tau)
    with torch.autocast(moments.device.type, enabled=False):
        moments, sentences = as_float(moments), as_float(sentences)
        best = best_moments(iou, top_k)
        positives = _cells(moments, owner, best)  # (A, k, D)
        same = (owner[:, None] == owner) & (temporal_iou(spans, spans) >= removal_iou)  # (A, A)
        itself = torch.eye(len(sentences), dtype=torch.bool, device=moments.device)[:, None].expand(-1, top_k, -1)
        to_sentences = contrastive_loss(
            positives @ sentences.T / tau,
            itself,
            ~same[:, None].expand_as(itself),
            extra=None if elsewhere is None else positives @ as_float(elsewhere).T / tau,
            margin=margin / tau,
            reduction="pair",
        )
        logits, own = _all_logits(moments, sentences, owner, tau)  # (A, V, P), (A, V)
        logits = logits.masked_fill(own[..., None] & (iou >= neg_iou)[:, None], 0.0)
        level = torch.logsumexp(F.pad(logits.flatten(1), (0, 1), value=_LOG_EPS), dim=1)
        found = torch.einsum("ad,akd->ak", sentences, positives) / tau
        to_moments = F.softplus(level[:, None] - (found - margin / tau)).mean()  # -log e^p / (e^p + e^level)
    return to_sentences, to_moments


def geodesic_contrastive_loss(
    moments: Tensor,
    sentences: Tensor,
    owner: Tensor,
    iou: Tensor,
    *,
    tau: float = 0.1,
    geo_k: int = 5,
    geo_topk: int = 5,
    cutoff: float = 0.5,
    neg_iou: float = 0.5,
    form: GeodesicForm = "soft_positive",
    other_scale: float | None = 0.02,
    geodesic: Tensor | None = None,
) -> Tensor:
    """A sentence must find its moment, and those that are near to it along the graph of moments (G2L).

    ``soft_positive`` is what the paper wants: the ``geo_topk`` nearest share the target by their geodesic similarity,
    and what can be reached at all is no negative. ``official`` is what its code computes: exponentials of the cosine
    enter the softmax as logits, near moments make harder negatives too, and overlapping ones keep logit 0.

    Args:
        moments: ``(V, D, P)`` not normalised: neighbours are found by Euclidean distance.
        sentences: ``(A, D)`` unit norm.
        owner: ``(A,)`` the film of each sentence, in [0, V).
        iou: ``(A, P)`` overlap of each cell with the sentence's moment.
        tau: temperature.
        geo_k: neighbours of a moment in the graph.
        geo_topk: how many of the nearest moments are positives.
        cutoff: length at which paths are cut.
        neg_iou: overlap from which cells of the same film are no negatives.
        form: which of the two.
        other_scale: ``official``: the mean weight of a moment of another film; None for weights that sum to 1,000, as
            in the paper's code, which has some 50,000 such moments.
        geodesic: ``(A, P)`` similarities to each sentence's moment, where they are known.

    Returns:
        Scalar, the mean over the sentences.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: an unknown form, or a number out of range.

    Example:
        >>> moments = torch.tensor([[[1.0, 0.9, 0.0], [0.0, 0.1, 1.0]]])  # the second cell looks like the first
        >>> sentence, overlap = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
        >>> geodesic_contrastive_loss(moments, sentence, torch.tensor([0]), overlap, geo_k=1, geo_topk=2)
        tensor(0.6935)
    """
    _check(moments, sentences, owner, iou)
    check_positive(tau=tau)
    check_choice(get_args(GeodesicForm), form=form)
    check_range(1, moments.shape[2], geo_topk=geo_topk)
    if geodesic is None:
        source = best_moments(iou)[:, 0]
        geodesic = geodesic_similarity(moments.detach().mT, source, geo_k, cutoff, owner=owner)
    with torch.autocast(moments.device.type, enabled=False):
        unit, sentences = F.normalize(as_float(moments), dim=1), as_float(sentences)
        near = geodesic.argsort(dim=1, descending=True, stable=True)[:, :geo_topk]  # (A, K)
        if form == "soft_positive":
            return _soft_positives(unit, sentences, owner, iou >= neg_iou, geodesic, near, tau)
        return _official(unit, sentences, owner, iou >= neg_iou, geodesic, near, best_moments(iou), tau, other_scale)


def _soft_positives(
    unit: Tensor, sentences: Tensor, owner: Tensor, overlaps: Tensor, geodesic: Tensor, near: Tensor, tau: float
) -> Tensor:
    """What is near shares the target; what is near or overlaps is no negative; all else is one."""
    logits, own = _all_logits(unit, sentences, owner, tau)  # (A, V, P), (A, V)
    share = row_normalize(torch.zeros_like(geodesic).scatter(1, near, geodesic.gather(1, near)))
    targets = torch.where(own[..., None], share[:, None], 0.0)
    negatives = ~own[..., None] | ~(overlaps | (geodesic > 0))[:, None]
    return contrastive_loss(logits.flatten(1), targets.flatten(1), negatives.flatten(1))


def _official(
    unit: Tensor,
    sentences: Tensor,
    owner: Tensor,
    overlaps: Tensor,
    geodesic: Tensor,
    near: Tensor,
    source: Tensor,
    tau: float,
    other_scale: float | None,
) -> Tensor:
    cosine, own = _all_logits(unit, sentences, owner, 1.0)  # (A, V, P), (A, V)
    anchor = _cells(unit, owner, source)[:, 0]  # (A, D), the annotated moments
    alike, _ = _all_logits(unit, anchor, owner, 1.0)
    row = torch.arange(len(sentences), device=owner.device)
    here, alike_here = cosine[row, owner], alike[row, owner]  # (A, P)
    positives = geodesic.gather(1, near) * here.gather(1, near).exp()
    harder = 1 + geodesic.scatter(1, source, 0.0)
    same = (here.exp() * harder * alike_here.exp()).masked_fill(overlaps, 0.0)
    rest = [same / tau, torch.full_like(positives[:, :1], _LOG_EPS)]
    if len(unit) > 1:
        rest.append(_other_films(cosine, alike, own, owner, other_scale) / tau)
    logits = positives / tau
    return contrastive_loss(logits, torch.ones_like(logits, dtype=torch.bool), extra=torch.cat(rest, dim=1))


def _other_films(cosine: Tensor, alike: Tensor, own: Tensor, owner: Tensor, other_scale: float | None) -> Tensor:
    """Similarity of each sentence to the moments of other films, weighted by how hard these are: ``(A, (V-1)·P)``."""
    films = own.shape[1]
    others = torch.arange(1, films, device=owner.device)
    others = (owner[:, None] + others) % films  # (A, V - 1)
    row = torch.arange(len(owner), device=owner.device)[:, None]
    cosine, alike = cosine[row, others].flatten(1), alike[row, others].flatten(1)
    weight = cosine.softmax(dim=1) * (_OFFICIAL_SUM if other_scale is None else other_scale * cosine.shape[1])
    hard = torch.where(weight > _film_mean(weight, own), alike, 0.0)
    return cosine * (hard + torch.where(alike > _film_mean(alike, own), weight, 0.0))


def _film_mean(values: Tensor, own: Tensor) -> Tensor:
    """For each sentence the mean ``(A, 1)`` of the rows ``(A, N)`` of all sentences of its film."""
    member = own.to(values)  # (A, V)
    films = (member.T @ values.mean(dim=1, keepdim=True)) / member.sum(dim=0)[:, None].clamp(min=1)
    return member @ films


def _all_logits(moments: Tensor, sentences: Tensor, owner: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Similarities ``(A, V, P)`` of sentences and all moments over tau; whether each film is the sentence's own."""
    films = torch.arange(len(moments), device=owner.device)
    return torch.einsum("ad,vdp->avp", sentences, moments) / tau, owner[:, None] == films


def _cells(moments: Tensor, owner: Tensor, cells: Tensor) -> Tensor:
    """The vectors ``(A, k, D)`` of cells ``(A, k)`` of the sentences' own films."""
    return moments.mT[owner[:, None], cells]


def _check(moments: Tensor, sentences: Tensor, owner: Tensor, iou: Tensor) -> None:
    check_ndim(3, moments=moments)
    check_shape((None, moments.shape[1]), sentences=sentences)
    check_shape((len(sentences),), owner=owner)
    check_shape((len(sentences), moments.shape[2]), iou=iou)
