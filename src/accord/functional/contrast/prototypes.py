"""Classification among prototypes: one vector per class or cluster instead of one per sample.

CAPro's prototype term, ProtoNCE with a concentration of its own for every prototype (PCL, Li et al. 2021, ICLR,
eq. 11; GPC, MEOW), and ProtoCLIP's prototypical loss with soft targets (Chen et al. 2022). Prototypes come from
:mod:`accord.functional.clusters.k_means` or :class:`accord.state.PrototypeBank` and carry no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from accord.functional.checks import (
    as_float,
    check_positive,
    check_same_width,
    check_shape,
    logit_scale_of,
)
from accord.functional.contrast.pairs import contrastive_logits, indexed_nce
from accord.functional.engine import contrastive_loss


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
    return indexed_nce(z, prototypes, labels, logit_scale_of(temperature))


def prototype_loss(
    x: Tensor,
    student_centroids: Tensor,
    labels: Tensor,
    logit_scale: Tensor | float,
    *,
    teacher_centroids: Tensor | None = None,
    target_temperature: float | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """Classify features among clusters that the other modality made, with soft targets (ProtoCLIP).

    Cross-entropy of ``logit_scale · x student_centroidsᵀ`` with the target ``softmax(C_y Cᵀ / target_temperature)``,
    C being the teacher's centroids and y the label: clusters that lie near each other share the mass.

    Args:
        x: ``(B, D)`` unit norm.
        student_centroids: ``(K, D)``, in the space of ``x``; not normalised, as k-means and back-translation give them.
        labels: ``(B,)`` cluster of each row.
        logit_scale: factor on the inner products (1 / temperature).
        teacher_centroids: ``(K, E)``, in the space where the clusters were found; needed for soft targets.
        target_temperature: of the soft targets; None: one-hot.
        valid: ``(K,)`` bool, False for clusters that are empty. They then take no part; by default an empty cluster
            of centroid zero has logit 0 and takes its share of the softmax, as in the released code.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a scale or temperature that is not finite and positive, or soft targets without a teacher.

    Example:
        >>> centroids = torch.eye(3)
        >>> prototype_loss(centroids, centroids, torch.tensor([0, 1, 2]), 1e3)
        tensor(0.)
    """
    check_same_width(x=x, student_centroids=student_centroids)
    check_shape((len(x),), labels=labels)
    count = len(student_centroids)
    logits = contrastive_logits(x, student_centroids.detach(), logit_scale)  # (B, K)
    with torch.no_grad():
        if target_temperature is None:
            targets = torch.zeros_like(logits).scatter_(1, labels[:, None], 1.0)
        else:
            check_positive(target_temperature=target_temperature)
            if teacher_centroids is None:
                raise ValueError("target_temperature needs teacher_centroids, (K, E)")
            check_shape((count, None), teacher_centroids=teacher_centroids)
            near = contrastive_logits(teacher_centroids[labels], teacher_centroids, 1 / target_temperature)
            if valid is not None:
                near = near.masked_fill(~valid, -torch.inf)
            targets = near.softmax(dim=1).to(logits)
    if valid is None:
        return contrastive_loss(logits, targets)
    check_shape((count,), valid=valid)
    return contrastive_loss(logits, targets, valid.expand_as(logits))


def proto_nce(anchor: Tensor, assignment: Tensor, centroids: Tensor, phi: Tensor) -> Tensor:
    """Contrast with all prototypes, each with its own concentration: ``CE(anchor centroidsᵀ / phi, assignment)``.

    A loose cluster (large phi) pulls less than a tight one (PCL, eq. 11). For two views take the mean of both calls.

    Args:
        anchor: ``(N, D)`` unit norm.
        assignment: ``(N,)`` prototype of each row.
        centroids: ``(K, D)`` unit norm; a constant.
        phi: ``(K,)`` temperature of each prototype, see :func:`accord.functional.concentration`; a constant.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> proto_nce(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), torch.tensor([1.0, 1.0]))
        tensor(0.3133)
    """
    check_shape((len(anchor),), assignment=assignment)
    check_shape((len(centroids),), phi=phi)
    tempered = as_float(centroids.detach()) / as_float(phi.detach())[:, None]
    return indexed_nce(anchor, tempered, assignment, 1.0)
