"""Bags of instances of which only the whole has a label: pooling, semi-bags, contrast between modalities (MACIL-SD).

Multiple-instance learning on streams of several sensors (Yu et al. 2022, ACM Multimedia). A bag, such as a film, is
scored by its surest instances; from each stream's own scores come those that show the event, those that show the
background and those of bags without an event, and the event in one stream is contrasted with the others of the opposite
stream. Instances are paired by what they show, not by when: streams may lag behind each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.checks import as_float, check_ndim, check_positive, check_range, check_shape
from accord.functional.distributed import gather_features, gather_tokens
from accord.functional.engine import contrastive_loss


def topk_mil_pool(logits: Tensor, lengths: Tensor, ratio: int = 16) -> Tensor:
    """The logit of each bag: the mean of its ``k = length // ratio + 1`` largest.

    Args:
        logits: ``(B, T)`` of the instances.
        lengths: ``(B,)`` how many of them are real; padding comes last.
        ratio: instances for each further one that counts.

    Returns:
        ``(B,)`` float32; 0 for a bag without any instance.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> topk_mil_pool(torch.tensor([[1.0, 3.0, 9.0], [1.0, 3.0, 5.0]]), torch.tensor([2, 3]), ratio=3)
        tensor([3., 4.])
    """
    check_ndim(2, logits=logits)
    check_shape((len(logits),), lengths=lengths)
    rows, held = _extreme(as_float(logits), lengths, ratio, largest=True)
    best = as_float(logits).gather(1, rows)
    return (best * held).sum(dim=1) / held.sum(dim=1).clamp(min=1)


@dataclass(frozen=True)
class SemiBags:
    """What the instances of one stream are taken for, bag by bag; K is the largest number that one bag gives.

    Args:
        event: ``(B, D)`` mean of the surest instances of each bag.
        weight: ``(B,)`` how many instances that mean is of, 0 where the bag shows no event.
        background: ``(B, K, D)`` the least sure instances of each bag.
        background_held: ``(B, K)`` bool, False for padding.
        normal: ``(B, K, D)`` the surest instances of each bag.
        normal_held: ``(B, K)`` bool, False for padding and where the bag is not one without an event.
    """

    event: Tensor
    weight: Tensor
    background: Tensor
    background_held: Tensor
    normal: Tensor
    normal_held: Tensor


def semi_bags(
    scores: Tensor, reps: Tensor, lengths: Tensor, event: Tensor, normal: Tensor | None = None, ratio: int = 16
) -> SemiBags:
    """Take the instances of one stream apart by the stream's own scores.

    Every bag gives its ``k = length // ratio + 1`` lowest as background. One with an event gives the mean of its k
    highest, with weight k: the same as k copies. One without gives the k highest themselves. Gradients flow through
    the representations, not through the choice.

    Args:
        scores: ``(B, T)`` higher where the event is likelier.
        reps: ``(B, T, D)``.
        lengths: ``(B,)`` how many instances are real; padding comes last.
        event: ``(B,)`` bool, bags that are taken to hold the event.
        normal: ``(B,)`` bool, bags that are taken to hold none; None for all others.
        ratio: instances for each further one that is taken.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> reps = torch.tensor([[[1.0], [2.0], [6.0], [4.0]]])
        >>> bags = semi_bags(reps[..., 0], reps, torch.tensor([4]), torch.tensor([True]), ratio=4)
        >>> bags.event, bags.weight, bags.background[..., 0]
        (tensor([[5.]]), tensor([2.]), tensor([[1., 2.]]))
    """
    check_ndim(3, reps=reps)
    check_shape(tuple(reps.shape[:2]), scores=scores)
    check_shape((len(reps),), lengths=lengths, event=event)
    reps = as_float(reps)
    top, held = _extreme(scores, lengths, ratio, largest=True)
    low, _ = _extreme(scores, lengths, ratio, largest=False)
    highest = reps.take_along_dim(top[..., None], dim=1)  # (B, K, D)
    count = held.sum(dim=1)
    mean = (highest * held[..., None]).sum(dim=1) / count.clamp(min=1)[:, None]
    without = ~event if normal is None else normal
    return SemiBags(
        mean,
        count.to(mean) * event,
        reps.take_along_dim(low[..., None], dim=1),
        held,
        highest,
        held & without[:, None],
    )


def gather_bags(bags: SemiBags) -> SemiBags:
    """The semi-bags of all processes, whose gradients flow back to their owners.

    Args:
        bags: those of this process.

    Returns:
        Those of all, in the order of the ranks; equal ones when not distributed.

    Example:
        >>> reps = torch.eye(2)[None]
        >>> bags = semi_bags(reps[..., 0], reps, torch.tensor([2]), torch.tensor([True]))
        >>> gather_bags(bags).event is bags.event
        True
    """
    background, background_held = gather_tokens(bags.background, bags.background_held, with_grad=True)
    normal, normal_held = gather_tokens(bags.normal, bags.normal_held, with_grad=True)
    event = gather_features(bags.event, with_grad=True)
    weight = gather_features(bags.weight, with_grad=False)
    return SemiBags(event, weight, background, background_held, normal, normal_held)


def cross_modal_instance_loss(
    scores: Mapping[str, Tensor],
    reps: Mapping[str, Tensor],
    lengths: Tensor,
    bag_prob: Tensor,
    *,
    temperature: float = 0.1,
    weight_background: float = 1.0,
    weight_normal: float = 1.0,
    ratio: int = 16,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Contrast of what is taken for the event in one modality with background and normal instances of another.

    A bag is taken to hold the event where its probability is above ½. :func:`semi_bags` of each modality, then
    :func:`instance_contrast`.

    Args:
        scores: modality -> ``(B, T)`` of its instances.
        reps: modality -> ``(B, T, D)``.
        lengths: ``(B,)`` how many instances of a bag are real.
        bag_prob: ``(B,)`` predicted probability of the event.
        temperature: divides the cosines.
        weight_background: weight of the terms against the background.
        weight_normal: weight of those against bags without an event.
        ratio: as in :func:`semi_bags`.

    Returns:
        The weighted sum, and the terms ``background`` and ``normal``; all are 0 where the batch holds no bag with the
        event or none without.

    Raises:
        ShapeError: fewer than two modalities, or shapes that do not fit together.
        ValueError: a temperature that is not positive.

    Example:
        >>> reps = {"audio": torch.eye(2).expand(2, 2, 2), "video": torch.eye(2).expand(2, 2, 2)}
        >>> scores = {name: torch.tensor([[1.0, 0.0], [0.0, 1.0]]) for name in reps}
        >>> loss, terms = cross_modal_instance_loss(scores, reps, torch.tensor([2, 2]), torch.tensor([0.9, 0.1]))
        >>> sorted(terms)
        ['background', 'normal']
    """
    event = bag_prob.detach() > 0.5
    bags = {name: semi_bags(scores[name], reps[name], lengths, event, ratio=ratio) for name in reps}
    terms = instance_contrast(bags, temperature)
    return weight_background * terms["background"] + weight_normal * terms["normal"], terms


def instance_contrast(bags: Mapping[str, SemiBags], temperature: float = 0.1) -> dict[str, Tensor]:
    """InfoNCE between the events of every ordered pair of modalities; negatives are of the modality that answers.

    Each event of one modality has that of the same bag in another as its positive. Its negatives are all background
    instances of the other modality in ``background``, and all instances of bags without an event in ``normal``. Bags
    weigh by the number of instances that their event is a mean of. Terms are sums over the pairs.

    Args:
        bags: modality -> its semi-bags, of the same bags.
        temperature: divides the cosines.

    Returns:
        ``background`` and ``normal``, scalars; 0 where there is no bag with an event, or none without.

    Raises:
        ShapeError: fewer than two modalities, or representations of different widths.
        ValueError: a temperature that is not positive.

    Example:
        >>> reps = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
        >>> sure = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> bags = semi_bags(sure, reps, torch.tensor([2, 2]), torch.tensor([True, False]))
        >>> instance_contrast({"audio": bags, "video": bags}, temperature=0.5)["normal"]
        tensor(0.2539)
    """
    check_positive(temperature=temperature)
    if len(bags) < 2:
        raise ShapeError(f"instance_contrast: {len(bags)} modality came, expected two at least")
    found: dict[str, list[Tensor]] = {kind: [] for kind in ("background", "normal")}
    for asks, answers in permutations(bags.values(), 2):
        for kind, terms in found.items():
            terms.append(_against(asks, answers, getattr(answers, kind), getattr(answers, f"{kind}_held"), temperature))
    return {kind: torch.stack(terms).sum() for kind, terms in found.items()}


def snippets_to_frames(scores: Tensor, repeat: int = 16) -> Tensor:
    """The scores of snippets as those of their frames: each is repeated.

    Args:
        scores: ``(..., T)``.
        repeat: frames of a snippet.

    Returns:
        ``(..., T · repeat)``.

    Raises:
        ValueError: fewer than one frame.

    Example:
        >>> snippets_to_frames(torch.tensor([0.0, 1.0]), 3)
        tensor([0., 0., 0., 1., 1., 1.])
    """
    check_range(1, max(repeat, 1), repeat=repeat)
    return scores.repeat_interleave(repeat, dim=-1)


def _extreme(scores: Tensor, lengths: Tensor, ratio: int, largest: bool) -> tuple[Tensor, Tensor]:
    """Places ``(B, K)`` of the largest or smallest scores of each bag, and which of them count ``(B, K)``.

    K is what a bag without padding gives, so that no shape hangs on lengths.
    """
    check_range(1, max(ratio, 1), ratio=ratio)
    width = scores.shape[1]
    most = min(width // ratio + 1, width)
    real = torch.arange(width, device=scores.device) < lengths[:, None]
    beyond = -torch.inf if largest else torch.inf
    places = as_float(scores.detach()).masked_fill(~real, beyond).topk(most, dim=1, largest=largest).indices
    count = torch.minimum(lengths // ratio + 1, lengths)
    return places, torch.arange(most, device=scores.device) < count[:, None]


def _against(asks: SemiBags, answers: SemiBags, negatives: Tensor, held: Tensor, temperature: float) -> Tensor:
    """One term: events of the asking modality, each against its own of the other and all the negatives of the other."""
    with torch.autocast(asks.event.device.type, enabled=False):
        query, key = (F.normalize(as_float(bags.event), dim=1) for bags in (asks, answers))
        own = (query * key).sum(dim=1, keepdim=True) / temperature  # (B, 1)
        others = query @ F.normalize(as_float(negatives).flatten(0, 1), dim=1).mT / temperature  # (B, B · K)
        others = others.masked_fill(~held.flatten(), -torch.inf)
        right = torch.ones_like(own, dtype=torch.bool)
        each = contrastive_loss(own, right, extra=others, denominator="own", reduction="none")  # (B,)
        there = (asks.weight > 0).any() & answers.normal_held.any()
        return (each * asks.weight).sum() / asks.weight.sum().clamp(min=1) * there
