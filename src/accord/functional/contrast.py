"""InfoNCE and its kin: symmetric, with several positives, with a queue, against prototypes, and pairwise.

CLIP (Radford et al. 2021, ICML; numpy-like pseudocode of Figure 3), MoCo (He et al. 2020, eq. 1), SigLIP
(Zhai et al. 2023, Algorithm 1). All of them take unit-norm vectors, compute in float32 at least, also under
autocast, and return the mean over the batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.functional.checks import (
    as_float,
    check_ndim,
    check_positive,
    check_same_shape,
    check_same_width,
    check_shape,
    check_share,
)
from accord.functional.distributed import gather_features, rank, world_size
from accord.functional.tiled import default_tile, tiled_logsumexp_both


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
    return _row_stochastic((ids[:, None] == key_ids[None, :]).float())


def info_nce(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor | float,
    *,
    logit_bias: Tensor | float | None = None,
    targets: Tensor | None = None,
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
        targets: ``(B, B)`` row-stochastic image→text targets instead of the identity; the text→image
            direction uses the transposed matrix with its rows normalised again.
        label_smoothing: share of every target that is spread evenly over all keys.
        tile: rows of the logits held at a time; memory is then linear in B and the logits are computed again
            in the backward pass. None chooses from B; ``tile >= B`` holds the whole matrix.

    Returns:
        Scalar.

    Raises:
        ShapeError: not two matrices of the same shape, or targets that do not fit.
        ValueError: a scale that is not finite and positive, smoothing outside [0, 1].

    Example:
        >>> x = F.normalize(torch.randn(4, 8), dim=1)
        >>> loss = info_nce(x, x, 100.0)
        >>> torch.isclose(loss, info_nce(x, x, 100.0, tile=2), atol=1e-5)
        tensor(True)
    """
    check_same_shape(image=image, text=text)
    check_positive(logit_scale=logit_scale)
    check_share(label_smoothing=label_smoothing)
    if targets is not None:
        check_shape((len(image), len(text)), targets=targets)
        targets = as_float(targets)
    back = None if targets is None else _row_stochastic(targets.T)
    tile = default_tile(len(text)) if tile is None else tile
    if tile >= len(image):
        logits = contrastive_logits(image, text, logit_scale, logit_bias)
        return (_cross_entropy(logits, targets, label_smoothing) + _cross_entropy(logits.T, back, label_smoothing)) / 2
    with torch.autocast(image.device.type, enabled=False):
        image, text = as_float(image), as_float(text)
        rows, columns = tiled_logsumexp_both(image, text, logit_scale, tile=tile)
        image_gain = _positive_logit(image, text, logit_scale, targets, label_smoothing)
        text_gain = _positive_logit(text, image, logit_scale, back, label_smoothing)
        return ((rows - image_gain).mean() + (columns - text_gain).mean()) / 2


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
    logits = contrastive_logits(query, key, logit_scale)
    return F.cross_entropy(logits, index, label_smoothing=label_smoothing)


class ClipLoss(nn.Module):
    """Symmetric InfoNCE over the rows of all processes.

    Each process holds b of the W·b rows. With the default settings each computes its ``(b, W·b)`` part of
    both directions, and after the averaging of gradients by DistributedDataParallel the parameters receive
    exactly the gradient of one process with the whole batch. The returned loss is the own rows' mean: average
    it over processes before logging, never before ``backward``.

    Args:
        local_loss: own rows against all keys, O(b·W·b) memory; False: the whole matrix in every process.
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
        if ids is not None:
            check_shape((len(image),), ids=ids)
        all_ids = None if ids is None else gather_features(ids, with_grad=False)
        both = gather_features(torch.cat([image, text], dim=1), with_grad=self.gather_with_grad)
        all_image, all_text = both.chunk(2, dim=1)  # one collective instead of two
        if not self.local_loss or world_size() == 1:
            targets = None if all_ids is None else targets_from_ids(all_ids)
            return info_nce(all_image, all_text, logit_scale, targets=targets)
        if ids is None or all_ids is None:
            positive = torch.arange(len(image), device=image.device) + rank() * len(image)
        else:
            positive = targets_from_ids(ids, all_ids)
        image_logits = contrastive_logits(image, all_text, logit_scale)  # (b, W·b)
        text_logits = contrastive_logits(text, all_image, logit_scale)
        return (F.cross_entropy(image_logits, positive) + F.cross_entropy(text_logits, positive)) / 2


def queue_logits(query: Tensor, key: Tensor, queue: Tensor, temperature: Tensor | float) -> Tensor:
    """Logits of each query against its own key (column 0) and against a queue of negatives (MoCo, eq. 1).

    Args:
        query: ``(B, d)`` unit norm.
        key: ``(B, d)`` unit norm, row i the positive of query i.
        queue: ``(K, d)`` unit norm.
        temperature: divides the cosines.

    Returns:
        ``(B, 1 + K)``.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> queue_logits(torch.eye(2), torch.eye(2), torch.eye(2)[:1], 0.5)
        tensor([[2., 2.],
                [2., 0.]])
    """
    check_same_shape(query=query, key=key)
    check_same_width(query=query, queue=queue)
    check_positive(temperature=temperature)
    with torch.autocast(query.device.type, enabled=False):
        query, key, queue = as_float(query), as_float(key), as_float(queue)
        own = (query * key).sum(dim=1, keepdim=True)
        return torch.cat([own, query @ queue.T], dim=1) / temperature


def queue_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: Tensor | float) -> Tensor:
    """InfoNCE whose negatives come from a queue only (MoCo, eq. 1; CAPro's instance loss).

    Args:
        query: ``(B, d)`` unit norm.
        key: ``(B, d)`` unit norm, row i the positive of query i; usually without gradient.
        queue: ``(K, d)`` unit norm, the state *before* the keys are enqueued.
        temperature: divides the cosines.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> queue_nce(torch.eye(2), torch.eye(2), -torch.eye(2), 0.01)
        tensor(0.)
    """
    logits = queue_logits(query, key, queue, temperature)
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


def prototype_nce(z: Tensor, prototypes: Tensor, labels: Tensor, temperature: Tensor | float) -> Tensor:
    """Cross-entropy of the label among prototypes: ``CE(z prototypesᵀ / T, labels)`` (CAPro's ``L_proto``).

    Args:
        z: ``(B, d)`` unit norm.
        prototypes: ``(C, d)`` unit norm, usually without gradient.
        labels: ``(B,)`` class indices.
        temperature: divides the cosines.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a temperature that is not finite and positive.

    Example:
        >>> prototype_nce(torch.eye(2), torch.eye(2), torch.tensor([0, 1]), 0.01)
        tensor(0.)
    """
    check_positive(temperature=temperature)
    return indexed_nce(z, prototypes, labels, 1 / temperature)


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


def _cross_entropy(logits: Tensor, targets: Tensor | None, label_smoothing: float) -> Tensor:
    wanted = torch.arange(len(logits), device=logits.device) if targets is None else targets.to(logits)
    return F.cross_entropy(logits, wanted, label_smoothing=label_smoothing)


def _positive_logit(
    query: Tensor, key: Tensor, scale: Tensor | float, targets: Tensor | None, label_smoothing: float
) -> Tensor:
    """``Σ_j t_ij Z_ij`` without Z: by linearity the logit of query i with its mean positive key. ``(B,)``."""
    wanted = key if targets is None else targets.to(key) @ key
    if label_smoothing:
        wanted = torch.lerp(wanted, key.mean(dim=0).expand_as(wanted), label_smoothing)
    return scale * (query * wanted).sum(dim=1)


def _row_stochastic(weights: Tensor) -> Tensor:
    total = weights.sum(dim=1, keepdim=True)
    return weights / total.masked_fill(total == 0, 1)
