"""InfoNCE between two sets of embeddings: symmetric, soft, continuously weighted, restricted, and pairwise.

CLIP (Radford et al. 2021, ICML; numpy-like pseudocode of Figure 3), CWCL (Srinivasa et al. 2023, NeurIPS), MCL (Zhang
et al. 2024, ECCV), MEOW (Yu and Li 2023, SDM), SigLIP (Zhai et al. 2023, Algorithm 1). All of them take unit-norm
vectors, compute in float32 at least, also under autocast, and return the mean over the batch.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.functional.checks import (
    as_float,
    check_choice,
    check_ndim,
    check_positive,
    check_same_shape,
    check_same_width,
    check_shape,
    check_share,
    logit_scale_of,
)
from accord.functional.clustering import class_means
from accord.functional.distributed import gather_features, rank, world_size
from accord.functional.engine import contrastive_loss, row_normalize
from accord.functional.tiled import (
    BLOCK_ELEMENTS,
    PairWeight,
    default_tile,
    tiled_logsumexp,
    tiled_logsumexp_both,
    tiled_pair_terms,
)


def contrastive_logits(
    image: Tensor, text: Tensor, logit_scale: Tensor | float, logit_bias: Tensor | float | None = None
) -> Tensor:
    """Scaled inner products of all pairs, in float32 even under autocast.

    Args:
        image: ``(A, D)`` unit norm.
        text: ``(B, D)`` unit norm.
        logit_scale: factor on the cosine, already exponentiated (1 / temperature).
        logit_bias: added to every logit.

    Returns:
        ``(A, B)``.

    Raises:
        ShapeError: not matrices of equal width.
        ValueError: a scale that is not finite and positive.

    Example:
        >>> contrastive_logits(torch.eye(2), torch.eye(2), 10.0)
        tensor([[10.,  0.],
                [ 0., 10.]])
    """
    check_same_width(image=image, text=text)
    check_positive(logit_scale=logit_scale)
    with torch.autocast(image.device.type, enabled=False):
        logits = logit_scale * as_float(image) @ as_float(text).T
        return logits if logit_bias is None else logits + logit_bias


def targets_from_ids(ids: Tensor, key_ids: Tensor | None = None) -> Tensor:
    """Row-stochastic targets that share the mass of a row among all keys with its id.

    With the id of a caption this removes duplicate captions from the negatives.

    Args:
        ids: ``(A,)`` integers.
        key_ids: ``(B,)`` integers of the keys, by default ``ids``.

    Returns:
        ``(A, B)`` float32; a row without any key of its id is zero.

    Example:
        >>> targets_from_ids(torch.tensor([7, 8, 7]))
        tensor([[0.5000, 0.0000, 0.5000],
                [0.0000, 1.0000, 0.0000],
                [0.5000, 0.0000, 0.5000]])
    """
    key_ids = ids if key_ids is None else key_ids
    check_ndim(1, ids=ids, key_ids=key_ids)
    return row_normalize((ids[:, None] == key_ids[None, :]).float())


def info_nce(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor | float,
    *,
    logit_bias: Tensor | float | None = None,
    ids: Tensor | None = None,
    targets: Tensor | None = None,
    targets_t2i: Tensor | None = None,
    label_smoothing: float = 0.0,
    tile: int | None = None,
) -> Tensor:
    """Symmetric InfoNCE: each image must find its text among all texts, and each text its image (CLIP).

    ``½ [mean_i CE(Z_i, i) + mean_j CE(Zᵀ_j, j)]`` with ``Z = logit_scale · image textᵀ``.

    Args:
        image: ``(B, D)`` unit norm.
        text: ``(B, D)`` unit norm; row i belongs to row i of ``image``.
        logit_scale: factor on the cosine, already exponentiated (1 / temperature).
        logit_bias: added to every logit; it cancels in a softmax and exists for one signature with
            :func:`sigmoid_contrast`.
        ids: ``(B,)`` integers; rows of equal id are positives of each other, as duplicate captions are. The targets
            of :func:`targets_from_ids` without their matrix.
        targets: ``(B, B)`` row-stochastic image→text targets instead of the identity.
        targets_t2i: ``(B, B)`` row-stochastic text→image targets; by default ``targets`` transposed, with its rows
            normalised again.
        label_smoothing: share of every target that is spread evenly over all keys.
        tile: rows of the logits held at a time; memory is then linear in B and the logits are computed again
            in the backward pass. None chooses from B; ``tile >= B`` holds the whole matrix.

    Returns:
        Scalar.

    Raises:
        ShapeError: not two matrices of the same shape, or targets that do not fit.
        ValueError: a scale that is not finite and positive, smoothing outside [0, 1], both ids and targets.

    Example:
        >>> x = F.normalize(torch.randn(4, 8), dim=1)
        >>> loss = info_nce(x, x, 100.0)
        >>> torch.isclose(loss, info_nce(x, x, 100.0, tile=2), atol=1e-5)
        tensor(True)
    """
    check_same_shape(image=image, text=text)
    check_positive(logit_scale=logit_scale)
    check_share(label_smoothing=label_smoothing)
    for name, given in {"targets": targets, "targets_t2i": targets_t2i}.items():
        if given is not None:
            check_shape((len(image), len(text)), **{name: given})
    if ids is not None:
        check_shape((len(image),), ids=ids)
        if targets is not None or targets_t2i is not None:
            raise ValueError("ids and targets both say what belongs together: expected one of them")
    tile = default_tile(len(text), text.device.type) if tile is None else tile
    if tile >= len(image):
        if ids is not None:
            targets = targets_t2i = ids[:, None] == ids
        elif targets is not None and targets_t2i is None:
            targets_t2i = row_normalize(targets.T)
        logits = contrastive_logits(image, text, logit_scale, logit_bias)
        rows = contrastive_loss(logits, targets, label_smoothing=label_smoothing)
        return (rows + contrastive_loss(logits.T, targets_t2i, label_smoothing=label_smoothing)) / 2
    if ids is None and targets is None and targets_t2i is None and not label_smoothing:
        rows, columns, own = tiled_pair_terms(image, text, logit_scale, tile=tile)
        return (rows.mean() + columns.mean()) / 2 - own.mean()
    with torch.autocast(image.device.type, enabled=False):
        image, text = as_float(image), as_float(text)
        if targets is not None and targets_t2i is None:
            targets_t2i = row_normalize(targets.T)
        rows, columns = tiled_logsumexp_both(image, text, logit_scale, tile=tile)
        wanted = [_wanted(text, targets, ids), _wanted(image, targets_t2i, ids)]
        forth = _from_levels(rows, image, text, *wanted[0], logit_scale, label_smoothing)
        return (forth + _from_levels(columns, text, image, *wanted[1], logit_scale, label_smoothing)) / 2


def indexed_nce(
    query: Tensor, key: Tensor, index: Tensor, logit_scale: Tensor | float, *, label_smoothing: float = 0.0
) -> Tensor:
    """InfoNCE in one direction: query i must find ``key[index[i]]`` among all keys.

    Args:
        query: ``(A, D)`` unit norm.
        key: ``(B, D)`` unit norm.
        index: ``(A,)`` row of the positive key.
        logit_scale: factor on the cosine (1 / temperature).
        label_smoothing: share of the target that is spread evenly over all keys.

    Returns:
        Scalar, the mean over the queries.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> indexed_nce(torch.eye(2), torch.eye(3)[:, :2], torch.tensor([0, 1]), 1e3)
        tensor(0.)
    """
    check_shape((len(query),), index=index)
    check_same_width(query=query, key=key)
    check_positive(logit_scale=logit_scale)
    if len(query) * len(key) <= BLOCK_ELEMENTS:
        logits = contrastive_logits(query, key, logit_scale)
        return F.cross_entropy(logits, index, label_smoothing=label_smoothing)
    with torch.autocast(query.device.type, enabled=False):
        query, key = as_float(query), as_float(key)
        level = tiled_logsumexp(query, key, logit_scale)
        return _from_levels(level, query, key, key[index], None, logit_scale, label_smoothing)


class ClipLoss(nn.Module):
    """Symmetric InfoNCE over the rows of all processes.

    Each process holds b of the W·b rows. With the default settings each computes its own rows' part of both
    directions, in memory linear in W·b, and after the averaging of gradients by DistributedDataParallel the
    parameters receive exactly the gradient of one process with the whole batch. The returned loss is the own
    rows' mean: average it over processes before logging, never before ``backward``.

    Args:
        local_loss: own rows against all keys, 1/W of the work; False: all rows in every process.
        gather_with_grad: keys of other processes receive gradient. Without it, and without ``local_loss``,
            the encoders' averaged gradient is 1/W of the true one.

    Raises:
        ValueError: ``local_loss`` without ``gather_with_grad``, which would train with the query half of the
            gradient.

    Example:
        >>> x = torch.eye(3)
        >>> loss = ClipLoss()(x, x, 10.0)
        >>> torch.equal(loss, info_nce(x, x, 10.0))
        True
    """

    def __init__(self, local_loss: bool = True, gather_with_grad: bool = True) -> None:
        super().__init__()
        if local_loss and not gather_with_grad:
            raise ValueError(
                "local_loss=True with gather_with_grad=False drops the gradient of the keys: "
                "set gather_with_grad=True, or local_loss=False"
            )
        self.local_loss, self.gather_with_grad = local_loss, gather_with_grad

    def forward(self, image: Tensor, text: Tensor, logit_scale: Tensor | float, ids: Tensor | None = None) -> Tensor:
        """The loss of this process.

        Args:
            image: ``(b, D)`` unit norm.
            text: ``(b, D)`` unit norm.
            logit_scale: factor on the cosine, already exponentiated.
            ids: ``(b,)`` integers; rows of equal id are positives of each other (duplicate captions).

        Returns:
            Scalar.

        Raises:
            ShapeError: shapes that do not fit together.
        """
        check_same_shape(image=image, text=text)
        check_positive(logit_scale=logit_scale)
        if ids is not None:
            check_shape((len(image),), ids=ids)
        all_ids = None if ids is None else gather_features(ids, with_grad=False)
        both = gather_features(torch.cat([image, text], dim=1), with_grad=self.gather_with_grad)
        all_image, all_text = both.chunk(2, dim=1)  # one collective instead of two
        if not self.local_loss or world_size() == 1:
            return info_nce(all_image, all_text, logit_scale, ids=all_ids)
        with torch.autocast(image.device.type, enabled=False):
            image, text, all_image, all_text = (as_float(x) for x in (image, text, all_image, all_text))
            here = slice(rank() * len(image), (rank() + 1) * len(image))
            own_text, own_image = (_wanted(keys, None, all_ids)[0][here] for keys in (all_text, all_image))
            rows, columns = tiled_logsumexp(image, all_text, logit_scale), tiled_logsumexp(text, all_image, logit_scale)
            forth = _from_levels(rows, image, all_text, own_text, None, logit_scale)
            return (forth + _from_levels(columns, text, all_image, own_image, None, logit_scale)) / 2


def sigmoid_contrast(image: Tensor, text: Tensor, logit_scale: Tensor | float, logit_bias: Tensor | float) -> Tensor:
    """Every pair is its own yes/no question, without a softmax over the batch (SigLIP, Algorithm 1).

    ``-1/B Σ_ij log σ(±Z_ij)`` with ``Z = logit_scale · image textᵀ + logit_bias``, plus on the diagonal.
    Start with ``logit_scale = 10`` and ``logit_bias = -10``, so that the many negatives begin as negatives.

    Args:
        image: ``(B, D)`` unit norm.
        text: ``(B, D)`` unit norm.
        logit_scale: factor on the cosine, already exponentiated.
        logit_bias: added to every logit.

    Returns:
        Scalar.

    Raises:
        ShapeError: not two matrices of the same shape.
        ValueError: a scale that is not finite and positive.

    Example:
        >>> round(sigmoid_contrast(torch.eye(2), torch.eye(2), 10.0, -5.0).item(), 4)
        0.0134
    """
    check_same_shape(image=image, text=text)
    logits = contrastive_logits(image, text, logit_scale, logit_bias)
    sign = 2 * torch.eye(len(logits), dtype=logits.dtype, device=logits.device) - 1
    return -F.logsigmoid(sign * logits).sum() / len(logits)


def cwcl_loss(
    trained: Tensor,
    frozen: Tensor,
    logit_scale: Tensor | float,
    *,
    weights: Tensor | None = None,
    reverse: Literal["infonce", "weighted"] = "infonce",
    reverse_weight: float = 1.0,
) -> Tensor:
    """Continuously weighted contrast: a trained row is drawn to every frozen key as much as the keys are alike (CWCL).

    ``-1/N Σ_i Σ_j (w_ij / Σ_k w_ik) log softmax_j(Z_i)`` with ``Z = logit_scale · trained frozenᵀ`` plus
    ``reverse_weight`` times the loss in which each frozen key must find its trained row. The paper's weights are
    ``w_ij = ⟨frozen_i, frozen_j⟩ / 2 + ½``; being affine they never need a matrix, so that memory is linear in N.
    The minimum of the first term is the entropy of the targets, not 0.

    Args:
        trained: ``(N, D)`` unit norm, of the encoder that learns.
        frozen: ``(N, D)`` unit norm, of the encoder that is given.
        logit_scale: factor on the cosine (1 / temperature).
        weights: ``(N, N)`` non-negative weights instead of the paper's, for example of a sharper kernel
            (:func:`accord.functional.similarity_weights`); without gradient.
        reverse: frozen→trained targets: the pair alone (``infonce``, the paper), or the transposed weights with
            their own normalisation (``weighted``).
        reverse_weight: factor of the frozen→trained term; 1 gives the paper's plain sum, not the mean.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a scale that is not finite and positive, an unknown ``reverse``.

    Example:
        >>> x = torch.eye(3)
        >>> torch.isclose(cwcl_loss(x, x, 5.0, weights=torch.eye(3)), 2 * info_nce(x, x, 5.0))
        tensor(True)
    """
    check_same_shape(trained=trained, frozen=frozen)
    check_positive(logit_scale=logit_scale)
    if weights is not None:
        check_shape((len(trained), len(trained)), weights=weights)
    check_choice(("infonce", "weighted"), reverse=reverse)
    with torch.autocast(trained.device.type, enabled=False):
        trained, frozen = as_float(trained), as_float(frozen)
        rows, columns = tiled_logsumexp_both(trained, frozen, logit_scale)
        if weights is None:
            wanted = _affine_mean(frozen, frozen)
            found = _affine_mean(frozen, trained) if reverse == "weighted" else trained
        else:
            weights = weights.detach().to(trained)
            wanted = row_normalize(weights) @ frozen
            found = row_normalize(weights.T) @ trained if reverse == "weighted" else trained
        soft = rows - logit_scale * (trained * wanted).sum(dim=1)
        back = columns - logit_scale * (frozen * found).sum(dim=1)
        return soft.mean() + reverse_weight * back.mean()


def restricted_info_nce(
    z1: Tensor, z2: Tensor, labels: Tensor, temperature: Tensor | float, *, symmetric: bool = True
) -> Tensor:
    """InfoNCE whose negatives are the rows of the anchor's own label (MCL's feature-aware negatives).

    ``-log e^{s_ii} / (e^{s_ii} + Σ_{j ≠ i, label_j = label_i} e^{s_ij})``: equals plain InfoNCE on a batch of one
    label, and 0 without gradient where all labels differ.

    Args:
        z1: ``(B, D)`` unit norm.
        z2: ``(B, D)`` unit norm; row i is the positive of row i of ``z1``.
        labels: ``(B,)`` integers, for example the clusters of all earlier stages.
        temperature: divides the cosines.
        symmetric: mean of both directions; False: ``z1`` are the anchors.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> x = torch.eye(3)
        >>> restricted_info_nce(x, x, torch.tensor([0, 1, 2]), 0.1)
        tensor(0.)
    """
    check_same_shape(z1=z1, z2=z2)
    check_shape((len(z1),), labels=labels)
    check_positive(temperature=temperature)
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = as_float(z1), as_float(z2)
        gain = (z1 * z2).sum(dim=1) / temperature

        def same(rows: slice, columns: slice) -> Tensor:
            return labels[rows, None] == labels[columns]

        if not symmetric:
            return (tiled_logsumexp(z1, z2, logit_scale_of(temperature), pair_weight=same) - gain).mean()
        rows, columns = tiled_logsumexp_both(z1, z2, logit_scale_of(temperature), pair_weight=same)
        return ((rows + columns) / 2 - gain).mean()


def weighted_infonce(
    anchor: Tensor,
    other: Tensor,
    weights: Tensor | PairWeight | None,
    tau: Tensor | float,
    include_positive: bool = False,
) -> Tensor:
    """InfoNCE whose negatives weigh differently (MEOW, AdaMEOW).

    ``mean_i [log Σ_j w_ij exp(⟨anchor_i, other_j⟩ / tau) - ⟨anchor_i, other_i⟩ / tau]``. An anchor whose weights are
    all zero contributes nothing. Shrinking all weights lowers the loss, so that a learned w needs a scale of its own.

    Args:
        anchor: ``(N, d)`` unit norm.
        other: ``(N, d)`` unit norm; row i is the positive of row i of ``anchor``.
        weights: ``(N, N)`` non-negative, with gradient; or a function of (rows, columns) that returns the *logarithm*
            of a block of them, without gradient and in memory linear in N; None: 1 for every pair but the positive.
        tau: divides the cosines.
        include_positive: give the positive weight 1, as in plain InfoNCE; else ``w_ii`` counts as it is.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> x = torch.eye(3)
        >>> plain = weighted_infonce(x, x, None, 0.5, include_positive=True)
        >>> torch.isclose(plain, info_nce(x, x, 2.0))
        tensor(True)
    """
    check_same_shape(anchor=anchor, other=other)
    check_positive(tau=tau)
    if isinstance(weights, Tensor):
        check_shape((len(anchor), len(anchor)), weights=weights)
        weights = as_float(weights)
        if include_positive:
            weights = weights.masked_fill(torch.eye(len(weights), dtype=torch.bool, device=weights.device), 1.0)
        own = torch.eye(len(anchor), dtype=torch.bool, device=anchor.device)
        heavy = weights > 0
        log_weight = torch.where(heavy, weights, 1.0).log()
        logits = contrastive_logits(anchor, other, logit_scale_of(tau))
        return contrastive_loss(logits, own, heavy, log_weight=log_weight, denominator="negatives")
    with torch.autocast(anchor.device.type, enabled=False):
        anchor, other = as_float(anchor), as_float(other)
        gain = (anchor * other).sum(dim=1) / tau
        level = tiled_logsumexp(anchor, other, logit_scale_of(tau), exclude_self=True, pair_weight=weights)
        if include_positive:
            level = torch.logaddexp(level, gain)
        there = level > -torch.inf
        return (level - gain).masked_fill(~there, 0.0).sum() / there.sum().clamp(min=1)


def multi_positive_nce(
    logits: Tensor, pos: Tensor, neg: Tensor, reduction: Literal["pair", "anchor"] = "pair"
) -> Tensor:
    """InfoNCE with several positives that never compete with each other (Hydra).

    ``l_ij = log(e^{s_ij} + Σ_{n negative} e^{s_in}) - s_ij`` for every positive j of anchor i.

    Args:
        logits: ``(B, N)`` similarity over temperature.
        pos: ``(B, N)`` bool.
        neg: ``(B, N)`` bool; pairs that are neither are ignored.
        reduction: ``pair``: mean over all positive pairs, so that an anchor counts as often as it has positives;
            ``anchor``: mean over the positives of each anchor, then over all B anchors, where one without a positive
            counts as zero.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: an unknown reduction.

    Example:
        >>> eye = torch.eye(2, dtype=torch.bool)
        >>> multi_positive_nce(torch.zeros(2, 2), eye, ~eye)
        tensor(0.6931)
    """
    check_ndim(2, logits=logits)
    check_shape(tuple(logits.shape), pos=pos, neg=neg)
    check_choice(("pair", "anchor"), reduction=reduction)
    if reduction == "pair":
        return contrastive_loss(logits, pos.bool(), neg.bool(), denominator="own", reduction="pair")
    return contrastive_loss(logits, pos.bool(), neg.bool(), denominator="own", reduction="none").mean()


def _wanted(key: Tensor, targets: Tensor | None, ids: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Mean positive key of every row ``(A, D)``, and the mass of its targets ``(A,)``, None where all have 1."""
    if targets is not None:
        targets = targets.to(key)
        return targets @ key, targets.sum(dim=1)
    if ids is None:
        return key, None
    groups, member = ids.unique(return_inverse=True)
    return class_means(key, member, len(groups))[0][member], None


def _from_levels(
    level: Tensor,
    query: Tensor,
    key: Tensor,
    wanted: Tensor,
    mass: Tensor | None,
    scale: Tensor | float,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy from log-sum-exps: ``Σ_j t_ij Z_ij`` is by linearity the logit with the mean positive key."""
    count = len(level) if mass is None else (mass > 0).sum().clamp(min=1)
    if label_smoothing:
        wanted = torch.lerp(wanted, key.mean(dim=0).expand_as(wanted), label_smoothing)
        mass = None if mass is None else torch.lerp(mass, torch.ones_like(mass), label_smoothing)
    gain = scale * (query * wanted).sum(dim=1)
    return ((level if mass is None else level * mass) - gain).sum() / count


def _affine_mean(reference: Tensor, values: Tensor) -> Tensor:
    """``Σ_j w_ij values_j / Σ_j w_ij`` with ``w = reference referenceᵀ / 2 + ½``, without the matrix w: ``(N, D)``."""
    reference = reference.detach()
    total = reference @ (reference.T @ values) + values.sum(dim=0)  # 2 Σ_j w_ij values_j
    return total / (reference @ reference.sum(dim=0) + len(reference))[:, None]
