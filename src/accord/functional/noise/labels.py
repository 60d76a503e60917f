"""Finding and correcting wrong labels: selection by text, collective bootstrapping, and the correction rule.

The stateless parts of CAPro (Qin et al. 2023, NeurIPS, "CAPro: Webly Supervised Learning with Cross-Modality
Aligned Prototypes"). Labels are ``(B,)`` class indices, or ``(B, C)`` multi-hot where the docstring says so;
probabilities are ``(B, C)`` in both cases.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import (
    as_float,
    check_entries,
    check_ndim,
    check_positive,
    check_range,
    check_same_shape,
    check_same_width,
    check_shape,
    check_share,
)


def select_by_text(dist: Tensor, labels: Tensor, k: int | Tensor, num_classes: int) -> Tensor:
    """The k rows of each class whose text lies nearest to the class definition (CAPro's pseudo few-shot set).

    A class with fewer than k rows is taken whole, so that every class with rows has at least one.

    Args:
        dist: ``(N,)`` distance of each row to the definition of its own label; non-finite means last.
        labels: ``(N,)`` class indices; negative rows belong to no class.
        k: rows per class, one number or ``(C,)``, at least 1.
        num_classes: C.

    Returns:
        ``(N,)`` bool; equal distances are taken in row order.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: k below 1, a label outside [.., C).

    Example:
        >>> select_by_text(torch.tensor([0.3, 0.1, 0.2, 0.9]), torch.tensor([0, 0, 0, 1]), k=2, num_classes=2)
        tensor([False,  True,  True,  True])
    """
    check_ndim(1, dist=dist)
    check_shape((len(dist),), labels=labels)
    per_class = torch.as_tensor(k, device=labels.device).expand(num_classes)
    check_entries(num_classes, label=labels)
    check_range(1, max(1, int(per_class.min())), k=int(per_class.min()))
    by_dist = dist.masked_fill(~dist.isfinite(), torch.inf).argsort(stable=True)
    order = by_dist[labels[by_dist].argsort(stable=True)]  # by class, then by distance
    ordered = labels[order]
    place = torch.arange(len(order), device=order.device) - torch.searchsorted(ordered, ordered)
    chosen = (ordered >= 0) & (place < per_class[ordered.clamp(min=0)])
    return torch.zeros_like(chosen).scatter(0, order, chosen)


def collective_bootstrap(
    z: Tensor,
    queue: Tensor,
    queue_prob: Tensor,
    *,
    topk: int | None = None,
    temperature: float | None = None,
    multi_label: bool = False,
) -> Tensor:
    """Soft labels of a batch, read from a dictionary of remembered features (CAPro's collective bootstrapping).

    ``b_i = Σ_j s_ij l_j`` with ``s_ij ∝ clamp(z_i · Q_j, 0, 1) + 1e-7`` over the dictionary.

    Args:
        z: ``(B, d)`` unit norm.
        queue: ``(K, d)`` unit norm, the state *after* the batch's keys were enqueued.
        queue_prob: ``(K, C)`` probabilities of the remembered items.
        topk: use the k most similar items only (ours: sharper, and O(k C) per row).
        temperature: weigh by ``softmax(z_i · Q_j / temperature)`` instead of linearly (ours).
        multi_label: the C probabilities of an item are independent and are not normalised to sum 1.

    Returns:
        ``(B, C)`` without gradient.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: topk outside [1, K], a temperature that is not finite and positive.

    Example:
        >>> collective_bootstrap(torch.eye(2), torch.eye(2), torch.tensor([[0.9, 0.1], [0.2, 0.8]]))
        tensor([[0.9000, 0.1000],
                [0.2000, 0.8000]])
    """
    check_same_width(z=z, queue=queue)
    check_shape((len(queue), None), queue_prob=queue_prob)
    if topk is not None:
        check_range(1, len(queue), topk=topk)
    if temperature is not None:
        check_positive(temperature=temperature)
    with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
        prob = as_float(queue_prob)
        similarity = as_float(z) @ as_float(queue).T.to(as_float(z))  # (B, K)
        if topk is not None:
            similarity, nearest = similarity.topk(topk, dim=1)
        weight = _dictionary_weight(similarity, temperature)
        mixed = weight.to(prob) @ prob if topk is None else torch.einsum("bk,bkc->bc", weight, prob[nearest])
        mixed = mixed.clamp(0, 1)
        return mixed if multi_label else mixed / mixed.sum(dim=1, keepdim=True)


def mixed_posterior(logits: Tensor, proto_logits: Tensor, alpha: float = 0.5) -> Tensor:
    """Class probabilities that the classifier and the prototypes agree on, without gradient (CAPro's ``soft_i``).

    ``alpha · softmax(logits) + (1 - alpha) · softmax(proto_logits)``; for several labels per row
    ``alpha · sigmoid(logits) + (1 - alpha) · softmax(proto_logits)[..., 1]``.

    Args:
        logits: ``(B, C)`` of the classifier.
        proto_logits: ``(B, C)``, or ``(B, C, 2)`` negative and positive prototype of each class for several
            labels.
        alpha: share of the classifier.

    Returns:
        ``(B, C)``.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: alpha outside [0, 1].

    Example:
        >>> mixed_posterior(torch.zeros(1, 2), torch.tensor([[100.0, 0.0]]))
        tensor([[0.7500, 0.2500]])
    """
    check_ndim(2, logits=logits)
    check_share(alpha=alpha)
    logits, proto_logits = as_float(logits.detach()), as_float(proto_logits.detach())
    if proto_logits.ndim == 3:
        check_shape((*logits.shape, 2), proto_logits=proto_logits)
        return alpha * logits.sigmoid() + (1 - alpha) * proto_logits.softmax(dim=-1)[..., 1]
    check_same_shape(logits=logits, proto_logits=proto_logits)
    return alpha * logits.softmax(dim=1) + (1 - alpha) * proto_logits.softmax(dim=1)


def correct_labels(
    prob: Tensor,
    labels: Tensor,
    protected: Tensor,
    keep_th: float | None = None,
    correct_th: float = 0.6,
) -> tuple[Tensor, Tensor]:
    """Correct labels that the model is sure are wrong and drop rows that fit no class (CAPro's rule).

    One label: a row is *clean* when ``prob[label] >= keep_th`` or it is protected; it is *corrected* to the
    most probable class when that class has ``prob >= correct_th`` and the row is not protected; others are
    dropped.

    Several labels (``labels`` ``(B, C)``), per entry: *clean* when the probability of its stated value is at
    least ``keep_th`` or the row is protected; *flipped* when the probability of the opposite value is at
    least ``correct_th`` and the row is not protected; others become -1 (to be ignored). A row with neither a
    clean nor a flipped entry is dropped.

    Args:
        prob: ``(B, C)`` probabilities.
        labels: ``(B,)`` class indices (negative: none), or ``(B, C)`` in {0, 1} (-1: unknown).
        protected: ``(B,)`` bool, rows whose label is trusted.
        keep_th: by default 1 / C.
        correct_th: probability from which a label is corrected.

    Returns:
        labels of the same shape, int64, and ``(B,)`` bool, True for the rows to keep.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a threshold outside [0, 1].

    Example:
        >>> prob = torch.tensor([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.5, 0.1, 0.4], [0.9, 0.1, 0.0]])
        >>> labels, keep = correct_labels(
        ...     prob, torch.tensor([0, 1, 1, 2]), torch.tensor([False, False, False, True])
        ... )
        >>> labels.tolist(), keep.tolist()
        ([0, 0, 1, 2], [True, True, False, True])
    """
    check_ndim(2, prob=prob)
    check_shape((len(prob),), protected=protected)
    keep_th = 1 / prob.shape[1] if keep_th is None else keep_th
    check_share(keep_th=keep_th, correct_th=correct_th)
    protected = protected.bool()
    if labels.ndim == 2:
        check_shape(tuple(prob.shape), labels=labels)
        return _correct_entries(prob, labels.long(), protected[:, None], keep_th, correct_th)
    check_shape((len(prob),), labels=labels)
    labels = labels.long()
    own = prob.gather(1, labels.clamp(min=0)[:, None]).squeeze(1)
    clean = ((own >= keep_th) | protected) & (labels >= 0)
    sure, best = prob.max(dim=1)
    corrected = (sure >= correct_th) & ~protected
    return torch.where(corrected, best, labels), clean | corrected


def kept_mean(values: Tensor, keep: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of per-row losses over the kept rows, each times its weight; zero when none is kept.

    Args:
        values: ``(B,)`` loss of each row.
        keep: ``(B,)`` bool.
        weight: ``(B,)`` factor of each row; the mean still divides by the number of kept rows.

    Returns:
        Scalar.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> kept_mean(torch.tensor([1.0, 3.0, 100.0]), torch.tensor([True, True, False]))
        tensor(2.)
    """
    check_ndim(1, values=values)
    check_shape((len(values),), keep=keep, **({} if weight is None else {"weight": weight}))
    weighted = values if weight is None else values * weight
    return weighted.masked_fill(~keep.bool(), 0).sum() / keep.sum().clamp(min=1)


def label_loss(logits: Tensor, labels: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """Per-row classification loss for one label or several, hard or soft.

    One label: softmax cross-entropy. Several labels: the mean over the classes of
    ``-pos_weight · y log σ(logit) - (1 - y) log σ(-logit)``, entries labelled -1 left out.

    Args:
        logits: ``(B, C)``.
        labels: ``(B,)`` class indices (negative: loss 0), or ``(B, C)`` integers in {-1, 0, 1} for several
            labels, or ``(B, C)`` floating-point class distribution for soft cross-entropy.
        pos_weight: ``(C,)`` factor of the positive part, see :func:`positive_weight`; several labels only.

    Returns:
        ``(B,)``.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> label_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        tensor([0.6931])
        >>> label_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[1, -1]]))
        tensor([0.6931])
    """
    check_ndim(2, logits=logits)
    logits = as_float(logits)
    if labels.ndim == 1:
        check_shape((len(logits),), labels=labels)
        return F.cross_entropy(logits, labels.clamp(min=-1).long(), ignore_index=-1, reduction="none")
    check_shape(tuple(logits.shape), labels=labels)
    if labels.is_floating_point():
        return F.cross_entropy(logits, labels.to(logits), reduction="none")
    known = labels >= 0
    loss = F.binary_cross_entropy_with_logits(
        logits, labels.clamp(min=0).to(logits), pos_weight=pos_weight, reduction="none"
    )
    return loss.masked_fill(~known, 0).sum(dim=1) / known.sum(dim=1).clamp(min=1)


def positive_weight(counts: Tensor, total: int) -> Tensor:
    """``sqrt((N - n_c) / n_c)``: what a positive of class c counts against a negative (CAPro).

    Args:
        counts: ``(C,)`` rows of each class; a class without rows counts as one.
        total: number of rows N.

    Returns:
        ``(C,)`` float32.

    Example:
        >>> positive_weight(torch.tensor([1, 5]), total=10)
        tensor([3., 1.])
    """
    check_ndim(1, counts=counts)
    present = counts.float().clamp(min=1)
    return ((total - present).clamp(min=0) / present).sqrt()


def capro_loss(
    out: Mapping[str, Tensor],
    beta: float = 0.1,
    w_inst: float = 1.0,
    w_rec: float = 1.0,
    w_proto: float = 1.0,
    *,
    pos_weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """The five terms of CAPro and their weighted total, for one label per row or several.

    ``L_cls + (1 - beta) L_low + beta · soft L_low + w_inst L_inst + w_rec L_rec + w_proto L_proto``; means
    over the kept rows, the instance term over all.

    Args:
        out: ``logits (B, C)``, ``low_logits (B, C)``, ``labels`` (corrected, ``(B,)`` or ``(B, C)``), ``keep
            (B,)``, and, each optional and then without its term: ``bootstrap (B, C)`` soft labels,
            ``instance_logits (B, 1+K)`` with the positive first, ``feature (B, D)`` with its
            ``reconstruction``, ``proto_logits (B, C)`` or ``(B, C, 2)``; ``weight (B,)`` of each row.
        beta: share of the bootstrapped soft label in the low-dimensional term.
        w_inst: weight of the instance term.
        w_rec: weight of the reconstruction term.
        w_proto: weight of the prototype term.
        pos_weight: ``(C,)``, several labels only.

    Returns:
        Scalars ``classify``, ``low``, ``instance``, ``reconstruct``, ``prototype`` (those present) and
        ``total``.

    Example:
        >>> out = {"logits": torch.zeros(2, 4), "low_logits": torch.zeros(2, 4)}
        >>> out |= {"labels": torch.tensor([0, 1]), "keep": torch.tensor([True, True])}
        >>> {name: round(term.item(), 4) for name, term in capro_loss(out).items()}
        {'classify': 1.3863, 'low': 1.3863, 'total': 2.7726}
    """
    check_share(beta=beta)
    labels, keep, weight = out["labels"], out["keep"], out.get("weight")
    low = label_loss(out["low_logits"], labels, pos_weight)
    if "bootstrap" in out:
        low = torch.lerp(low, _soft_loss(out["low_logits"], out["bootstrap"], labels.ndim == 2), beta)
    terms = {
        "classify": kept_mean(label_loss(out["logits"], labels, pos_weight), keep, weight),
        "low": kept_mean(low, keep, weight),
    }
    if "instance_logits" in out:
        logits = as_float(out["instance_logits"])
        own = logits.new_zeros(len(logits), dtype=torch.long)
        terms["instance"] = F.cross_entropy(logits, own)
    if "reconstruction" in out:
        error = (as_float(out["reconstruction"]) - as_float(out["feature"].detach())).square().mean(dim=1)
        terms["reconstruct"] = kept_mean(error, keep, weight)
    if "proto_logits" in out:
        terms["prototype"] = kept_mean(_proto_loss(out["proto_logits"], labels, pos_weight), keep, weight)
    scale = {"instance": w_inst, "reconstruct": w_rec, "prototype": w_proto}
    total = torch.stack([scale.get(name, 1.0) * term for name, term in terms.items()]).sum()
    return {**terms, "total": total}


def _dictionary_weight(similarity: Tensor, temperature: float | None) -> Tensor:
    if temperature is not None:
        return (similarity / temperature).softmax(dim=1)
    weight = similarity.clamp(0, 1) + 1e-7
    return weight / weight.sum(dim=1, keepdim=True)


def _correct_entries(
    prob: Tensor, labels: Tensor, protected: Tensor, keep_th: float, correct_th: float
) -> tuple[Tensor, Tensor]:
    stated = torch.where(labels == 1, prob, 1 - prob)
    known = labels >= 0
    clean = known & ((stated >= keep_th) | protected)
    flipped = known & (1 - stated >= correct_th) & ~protected
    corrected = torch.where(flipped, 1 - labels, labels.masked_fill(~clean, -1))
    return corrected, (clean | flipped).any(dim=1)


def _soft_loss(logits: Tensor, target: Tensor, multi_label: bool) -> Tensor:
    """Cross-entropy with soft labels; for several labels ``-b log σ(logit)``, positives only."""
    if multi_label:
        return -(target * F.logsigmoid(as_float(logits))).mean(dim=1)
    return label_loss(logits, target)


def _proto_loss(logits: Tensor, labels: Tensor, pos_weight: Tensor | None) -> Tensor:
    """Per-row prototype term; for several labels a two-way choice per class, entries labelled -1 left out."""
    if labels.ndim == 1:
        return label_loss(logits, labels)
    balance = 1.0 if pos_weight is None else pos_weight.mean()
    pairs = as_float(logits).flatten(0, 1)  # (B·C, 2)
    loss = F.cross_entropy(pairs, labels.flatten(), ignore_index=-1, reduction="none")
    loss = loss.view_as(labels) * torch.where(labels == 1, balance, 1.0)
    return loss.sum(dim=1) / (labels >= 0).sum(dim=1).clamp(min=1)
