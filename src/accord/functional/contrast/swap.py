"""Views that predict each other's balanced assignment, and contrast over several views of a pair.

Swapped prediction (SwAV; Caron et al. 2020, NeurIPS, eq. 1 and 2, with multi-crop as in section 3.2), its form without
prototypes where the other modality's batch takes their place (SwALIP), and contrast over weak and strong views
(CLIP-rocket); the last two from Fini et al. (2023, TMLR, "Improved baselines for vision-language pre-training").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import as_float, check_ndim, check_positive, check_range, check_same_shape, check_shape
from accord.functional.clusters.assignment import sinkhorn
from accord.functional.contrast.pairs import info_nce
from accord.functional.engine import contrastive_loss


def swapped_prediction_loss(
    scores: Sequence[Tensor],
    assign_views: Sequence[int] = (0, 1),
    temperature: Tensor | float = 0.1,
    eps: float = 0.05,
    n_iters: int = 3,
    queue_scores: Sequence[Tensor] | None = None,
) -> Tensor:
    """Every view must predict the assignments of the others to prototypes (SwAV, eq. 1 and 2).

    ``mean_{i ∈ A} mean_{v ≠ i} mean_b [-Σ_k q_i[b,k] log softmax_k(s_v[b,k] / T)]`` with ``q_i`` the equal partition of
    :func:`~accord.functional.sinkhorn`, without gradient; v runs over all other views, small crops included.
    With ``assign_views=(0, 1)`` and two modalities instead of two crops it is SwALIP's first version.

    Args:
        scores: for each of V views ``(B, K)`` cosines with the prototypes.
        assign_views: A, the views that are assigned; the large crops.
        temperature: T of the prediction, not part of the assignment; a tensor receives its gradient.
        eps: entropic regularisation of the assignment; not part of the prediction.
        n_iters: Sinkhorn rounds.
        queue_scores: for each of A, in its order, ``(m, K)`` cosines of a queue that take part in the assignment, as
            the queue was before this batch; give them only once the queue is full.

    Returns:
        Scalar. A value that stays at ``log K`` means that training has not started; one near 0 with few prototypes in
        use is a collapse.

    Raises:
        ShapeError: scores of different shapes.
        ValueError: fewer than two views, a view to assign that does not exist or comes twice, a temperature that is
            not finite and positive, or queue scores for another number of views.

    Example:
        >>> swapped_prediction_loss([torch.zeros(2, 4), torch.zeros(2, 4), torch.zeros(2, 4)])  # log K
        tensor(1.3863)
    """
    _check_views(scores, assign_views, queue_scores)
    check_positive(temperature=temperature)
    queues = [None] * len(assign_views) if queue_scores is None else queue_scores
    with torch.no_grad():
        assigned = {
            view: sinkhorn(scores[view], eps, n_iters, queue) for view, queue in zip(assign_views, queues, strict=True)
        }
    return assigned_prediction_loss(scores, assigned, temperature)


def assigned_prediction_loss(
    scores: Sequence[Tensor], assigned: Mapping[int, Tensor], temperature: Tensor | float = 0.1
) -> Tensor:
    """Every view must predict what the others were assigned to, whatever assigned them (SwAV, eq. 1).

    :func:`swapped_prediction_loss` without its assignment, for those who look at the assignment as well.

    Args:
        scores: for each of V views ``(B, K)`` cosines with the prototypes.
        assigned: view -> ``(B, K)`` shares of each row, which sum to 1 and are constants.
        temperature: divides the scores; a tensor receives its gradient.

    Returns:
        Scalar: ``mean_{i ∈ A} mean_{v ≠ i} mean_b [-Σ_k q_i[b,k] log softmax_k(s_v[b,k] / T)]``.

    Raises:
        ShapeError: shapes that differ.
        ValueError: fewer than two views, no assigned view or one that does not exist, a temperature that is not finite
            and positive.

    Example:
        >>> assigned_prediction_loss([torch.zeros(2, 4), torch.zeros(2, 4)], {0: torch.full((2, 4), 0.25)})  # log K
        tensor(1.3863)
    """
    _check_views(scores, tuple(assigned), None)
    check_same_shape(scores=scores[0], **{f"assigned[{view}]": each for view, each in assigned.items()})
    check_positive(temperature=temperature)
    with torch.autocast(scores[0].device.type, enabled=False):
        scores = [as_float(each) for each in scores]
        assigned = {view: as_float(each).detach() for view, each in assigned.items()}
        everything = sum(assigned.values(), start=torch.zeros_like(scores[0]))
        total = scores[0].new_zeros(())
        for view, each in enumerate(scores):  # one softmax a view, against the sum of all that it must predict
            others = [q for of, q in assigned.items() if of != view]
            if others:
                wanted = everything if view not in assigned else sum(others[1:], start=others[0])
                total = total + contrastive_loss(each / temperature, wanted, reduction="sum")
    return total / (len(assigned) * (len(scores) - 1) * len(scores[0]))


def swap_assignment_loss(
    sim_views: Tensor,
    scale: Tensor | float,
    back_views: Tensor | None = None,
    eps: float = 0.05,
    n_iters: int = 3,
) -> Tensor:
    """Each pair of views must predict the balanced matching of the pairs in which both views differ (SwALIP).

    ``½ mean_ab [CE(scale · A_ab, Q_ab) + CE(scale · T_ab, R_ab)]``, with ``A_ab`` the cosines of view a of the images
    with view b of the texts, and ``T_ab`` those of view a of the texts with view b of the images. ``Q_ab`` is the mean
    of ``sinkhorn(A_a'b')`` over all a' ≠ a and b' ≠ b, ``R_ab`` likewise of T, both without gradient. The paper has
    two views, so that the mean has one member; it weighs this loss by 0.2.

    Args:
        sim_views: ``(n, n, B, M)`` cosines, ``[a, b]`` is A_ab; M = B in one process.
        scale: factor on the cosines, already exponentiated; a tensor receives its gradient.
        back_views: ``(n, n, B, M)`` T; by default ``T_ab = A_ba`` transposed, which needs all keys in this process.
        eps: entropic regularisation of the assignment.
        n_iters: Sinkhorn rounds.

    Returns:
        Scalar.

    Raises:
        ShapeError: not ``(n, n, B, M)``, or not square without ``back_views``.
        ValueError: fewer than two views, a scale that is not finite and positive.

    Example:
        >>> swap_assignment_loss(torch.zeros(2, 2, 3, 3), 10.0)
        tensor(1.0986)
    """
    check_ndim(4, sim_views=sim_views)
    n, rows = len(sim_views), sim_views.shape[2]
    check_shape((n, n, rows, rows if back_views is None else None), sim_views=sim_views)
    check_range(2, max(n, 2), **{"number of views": n})
    check_positive(scale=scale)
    back = sim_views.transpose(0, 1).mT if back_views is None else back_views
    check_shape(tuple(sim_views.shape), back_views=back)
    with torch.autocast(sim_views.device.type, enabled=False):
        forth, back = (
            contrastive_loss(scale * sims, _other_assignments(sims.detach(), eps, n_iters))
            for sims in (as_float(sim_views), as_float(back))
        )
        return (forth + back) / 2


def cross_view_nce(
    global_pair: tuple[Tensor, Tensor],
    local_images: Sequence[Tensor],
    local_texts: Sequence[Tensor],
    scale: Tensor | float,
    local_scale: Tensor | float,
    eps: float = 0.1,
) -> dict[str, Tensor]:
    """InfoNCE of one weakly augmented pair and of all pairs of n strongly augmented views (CLIP-rocket).

    ``(global + n · local) / (1 + n)``, where ``local`` is the mean over the n² pairs of an image view and a text view;
    all symmetric as in :func:`~accord.functional.info_nce`. The paper's "sum" aggregation is twice this. In
    several processes give it the rows of all of them (:func:`accord.functional.distributed.gather_features`).

    Args:
        global_pair: ``(B, D)`` images and texts of the weak views, any norm.
        local_images: n times ``(B, D')``, any norm.
        local_texts: n times ``(B, D')``, any norm.
        scale: factor on the cosines of the weak views, already exponentiated.
        local_scale: factor on the cosines of the strong views.
        eps: label smoothing of the strong views only.

    Returns:
        ``total``, ``global`` and ``local``, scalars.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: no strong view or different numbers of them, a scale that is not finite and positive, smoothing
            outside [0, 1].

    Example:
        >>> x = torch.eye(3)
        >>> cross_view_nce((x, x), [x, x], [x, x], 1e3, 1e3, eps=0.0)["total"]
        tensor(0.)
    """
    n = len(local_images)
    if n == 0 or n != len(local_texts):
        raise ValueError(f"{n} local_images and {len(local_texts)} local_texts: expected equal numbers ≥ 1")
    image, text = (_unit(x) for x in global_pair)
    images, texts = [_unit(x) for x in local_images], [_unit(x) for x in local_texts]
    weak = info_nce(image, text, scale)
    strong = [info_nce(a, b, local_scale, label_smoothing=eps) for a in images for b in texts]
    local = torch.stack(strong).mean()
    return {"total": (weak + n * local) / (1 + n), "global": weak, "local": local}


def _other_assignments(sims: Tensor, eps: float, n_iters: int) -> Tensor:
    """For each ``[a, b]`` the mean assignment of all pairs of views that share neither a nor b."""
    with torch.no_grad():
        q = torch.stack([sinkhorn(each, eps, n_iters) for each in sims.flatten(0, 1)]).view_as(sims)
        other = (1 - torch.eye(len(q), dtype=q.dtype, device=q.device)) / (len(q) - 1)
        return torch.einsum("ax,by,xyij->abij", other, other, q)


def _unit(x: Tensor) -> Tensor:
    check_ndim(2, embedding=x)
    with torch.autocast(x.device.type, enabled=False):
        return F.normalize(as_float(x), dim=1)


def _check_views(scores: Sequence[Tensor], assign_views: Sequence[int], queue_scores: Sequence[Tensor] | None) -> None:
    check_range(2, max(len(scores), 2), **{"number of views": len(scores)})
    check_same_shape(**{f"scores[{view}]": each for view, each in enumerate(scores)})
    if not assign_views or len(set(assign_views)) < len(assign_views):
        raise ValueError(f"assign_views = {tuple(assign_views)}: expected different views, at least one")
    for view in assign_views:
        check_range(0, len(scores) - 1, assign_views=view)
    if queue_scores is not None:
        if len(queue_scores) != len(assign_views):
            raise ValueError(f"{len(queue_scores)} queue_scores: expected {len(assign_views)}, one per assigned view")
        check_shape((None, scores[0].shape[1]), **{f"queue_scores[{i}]": each for i, each in enumerate(queue_scores)})
