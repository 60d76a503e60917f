"""InfoNCE between two sets of embeddings: symmetric, with soft targets, over processes, and pairwise.

CLIP (Radford et al. 2021, ICML; numpy-like pseudocode of Figure 3), SigLIP (Zhai et al. 2023, Algorithm 1). All of them
take unit-norm vectors, compute in float32 at least, also under autocast, and return the mean over the batch.
"""

from __future__ import annotations

from typing import Literal, get_args

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
)
from accord.functional.clusters.k_means import class_means
from accord.functional.distributed import gather_features, rank, world_size
from accord.functional.engine import contrastive_loss, row_normalize
from accord.functional.tiled import (
    BLOCK_ELEMENTS,
    PairWeight,
    default_tile,
    tiled_logsumexp,
    tiled_logsumexp_both,
    tiled_pair_terms,
    tiled_sigmoid_sum,
)

Duplicates = Literal["positives", "ignored", "dropped"]


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


def first_of_each(ids: Tensor) -> Tensor:
    """Which rows are the first of their id: ``(B,)`` bool.

    Args:
        ids: ``(B,)`` integers.

    Example:
        >>> first_of_each(torch.tensor([7, 8, 7]))
        tensor([ True,  True, False])
    """
    check_ndim(1, ids=ids)
    groups, member = ids.unique(return_inverse=True)
    place = torch.arange(len(ids), device=ids.device)
    first = torch.full_like(groups, len(ids)).scatter_reduce(0, member, place, "amin")
    return first[member] == place


def info_nce(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor | float,
    *,
    logit_bias: Tensor | float | None = None,
    ids: Tensor | None = None,
    duplicates: Duplicates = "positives",
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
        ids: ``(B,)`` integers, equal for rows that belong together, as those with the same caption do.
        duplicates: what other rows of the same id are: ``positives``, the targets of :func:`targets_from_ids` without
            their matrix; ``ignored``, neither positives nor negatives; ``dropped``: of each id only the first row is
            in the batch.
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
        ValueError: a scale that is not finite and positive, smoothing outside [0, 1], both ids and targets, an unknown
            choice for duplicates.

    Example:
        >>> x = F.normalize(torch.randn(4, 8), dim=1)
        >>> loss = info_nce(x, x, 100.0)
        >>> torch.isclose(loss, info_nce(x, x, 100.0, tile=2), atol=1e-5)
        tensor(True)
    """
    check_same_shape(image=image, text=text)
    check_positive(logit_scale=logit_scale)
    check_share(label_smoothing=label_smoothing)
    check_choice(get_args(Duplicates), duplicates=duplicates)
    for name, given in {"targets": targets, "targets_t2i": targets_t2i}.items():
        if given is not None:
            check_shape((len(image), len(text)), **{name: given})
    if ids is not None:
        check_shape((len(image),), ids=ids)
        if targets is not None or targets_t2i is not None:
            raise ValueError("ids and targets both say what belongs together: expected one of them")
        if duplicates == "dropped":
            first = first_of_each(ids)
            image, text, ids = image[first], text[first], None
    tile = default_tile(len(text), text.device.type) if tile is None else tile
    if tile >= len(image):
        negatives = None
        if ids is not None and duplicates == "ignored":
            negatives = ids[:, None] != ids
        elif ids is not None:
            targets = targets_t2i = ids[:, None] == ids
        elif targets is not None and targets_t2i is None:
            targets_t2i = row_normalize(targets.T)
        logits = contrastive_logits(image, text, logit_scale, logit_bias)
        rows = contrastive_loss(logits, targets, negatives, label_smoothing=label_smoothing)
        return (rows + contrastive_loss(logits.T, targets_t2i, negatives, label_smoothing=label_smoothing)) / 2
    if ids is None and targets is None and targets_t2i is None and not label_smoothing:
        rows, columns, own = tiled_pair_terms(image, text, logit_scale, tile=tile)
        return (rows.mean() + columns.mean()) / 2 - own.mean()
    with torch.autocast(image.device.type, enabled=False):
        image, text = as_float(image), as_float(text)
        if targets is not None and targets_t2i is None:
            targets_t2i = row_normalize(targets.T)
        others = None if ids is None or duplicates != "ignored" else _apart_or_own(ids, ids)
        rows, columns = tiled_logsumexp_both(image, text, logit_scale, pair_weight=others, tile=tile)
        if others is not None and ids is not None:
            forth = _from_levels(rows, image, text, text, None, logit_scale, label_smoothing, ids)
            return (forth + _from_levels(columns, text, image, image, None, logit_scale, label_smoothing, ids)) / 2
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

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        logit_scale: Tensor | float,
        ids: Tensor | None = None,
        duplicates: Duplicates = "positives",
    ) -> Tensor:
        """The loss of this process.

        Args:
            image: ``(b, D)`` unit norm.
            text: ``(b, D)`` unit norm.
            logit_scale: factor on the cosine, already exponentiated.
            ids: ``(b,)`` integers, equal for rows of all processes that belong together (duplicate captions).
            duplicates: what other rows of the same id are, see :func:`info_nce`.

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
        if not self.local_loss or world_size() == 1 or (all_ids is not None and duplicates == "dropped"):
            return info_nce(all_image, all_text, logit_scale, ids=all_ids, duplicates=duplicates)
        with torch.autocast(image.device.type, enabled=False):
            image, text, all_image, all_text = (as_float(x) for x in (image, text, all_image, all_text))
            here = slice(rank() * len(image), (rank() + 1) * len(image))
            others = None
            if all_ids is not None and duplicates == "ignored":
                others, all_ids = _apart_or_own(all_ids[here], all_ids, here.start), None
            own_text, own_image = (_wanted(keys, None, all_ids)[0][here] for keys in (all_text, all_image))
            rows = tiled_logsumexp(image, all_text, logit_scale, pair_weight=others)
            columns = tiled_logsumexp(text, all_image, logit_scale, pair_weight=others)
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
    check_positive(logit_scale=logit_scale)
    return tiled_sigmoid_sum(image, text, logit_scale, logit_bias) / len(image)


def _wanted(key: Tensor, targets: Tensor | None, ids: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Mean positive key of every row ``(A, D)``, and the mass of its targets ``(A,)``, None where all have 1."""
    if targets is not None:
        targets = targets.to(key)
        return targets @ key, targets.sum(dim=1)
    if ids is None:
        return key, None
    groups, member = ids.unique(return_inverse=True)
    return class_means(key, member, len(groups))[0][member], None


def _apart_or_own(ids: Tensor, key_ids: Tensor, start: int = 0) -> PairWeight:
    """Pairs of different ids, and of a row with its own key; row i is that of key ``start + i``."""

    def counts(rows: slice, columns: slice) -> Tensor:
        place = torch.arange(len(key_ids), device=ids.device)
        own = place[start : start + len(ids)][rows, None] == place[columns]
        return own | (ids[rows, None] != key_ids[columns])

    return counts


def _from_levels(
    level: Tensor,
    query: Tensor,
    key: Tensor,
    wanted: Tensor,
    mass: Tensor | None,
    scale: Tensor | float,
    label_smoothing: float = 0.0,
    ignored: Tensor | None = None,
) -> Tensor:
    """Cross-entropy from log-sum-exps: ``Σ_j t_ij Z_ij`` is by linearity the logit with the mean positive key.

    Smoothing spreads over all keys, or over those that are not of the same ``ignored (B,)`` id as the row's own.
    """
    count = len(level) if mass is None else (mass > 0).sum().clamp(min=1)
    if label_smoothing:
        even = key.mean(dim=0).expand_as(wanted) if ignored is None else _mean_of_candidates(key, ignored)
        wanted = torch.lerp(wanted, even, label_smoothing)
        mass = None if mass is None else torch.lerp(mass, torch.ones_like(mass), label_smoothing)
    gain = scale * (query * wanted).sum(dim=1)
    return ((level if mass is None else level * mass) - gain).sum() / count


def _mean_of_candidates(key: Tensor, ids: Tensor) -> Tensor:
    """Mean of each row's own key and of those of other ids ``(B, D)``."""
    groups, member = ids.unique(return_inverse=True)
    size = torch.bincount(member, minlength=len(groups))[member, None]
    same = key.new_zeros(len(groups), key.shape[1]).index_add(0, member, key)[member]
    return (key.sum(dim=0) - same + key) / (len(key) - size + 1)
