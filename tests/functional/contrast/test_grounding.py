"""The contrast of sentences and moments against the released values and loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional import best_moments, geodesic_contrastive_loss, geodesic_similarity, mutual_matching_loss


class Given(NamedTuple):
    """The reference batch: three films of six sentences."""

    moments: Tensor  # (V, D, P), not normalised
    sentences: Tensor  # (A, D), likewise
    owner: Tensor
    iou: Tensor
    spans: Tensor

    @property
    def unit(self) -> tuple[Tensor, Tensor]:
        return F.normalize(self.moments, dim=1), F.normalize(self.sentences, dim=1)


@pytest.fixture
def given(golden: Callable[[str], dict[str, Tensor]]) -> Given:
    read = golden("g2l")
    mask = read["cl_mask2d"]
    owner = torch.repeat_interleave(torch.arange(3), read["cl_num_sents"])
    return Given(read["cl_map2d"][:, :, mask], read["cl_sents"], owner, read["cl_iou2d"][:, mask], read["cl_moments"])


def test_mutual_matching_and_its_gradients_are_those_of_the_released_code(golden) -> None:
    read = golden("g2l")
    mask, iou = read["cl_mask2d"], read["cl_iou2d"][:, read["cl_mask2d"]]
    owner = torch.repeat_interleave(torch.arange(3), read["cl_num_sents"])
    cells, words = read["cl_map2d"].clone().requires_grad_(), read["cl_sents"].clone().requires_grad_()
    units = F.normalize(cells[:, :, mask], dim=1), F.normalize(words, dim=1)
    of_moments, of_sentences = mutual_matching_loss(*units, owner, iou, read["cl_moments"])
    torch.testing.assert_close(of_moments, read["mmn1_loss_vid"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(of_sentences, read["mmn1_loss_sent"], rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(of_moments + of_sentences, (cells, words))
    for found, name in zip(gradients, ("map", "sents"), strict=True):
        torch.testing.assert_close(found, read[f"mmn1_grad_{name}"], rtol=1e-4, atol=1e-5)


def mutual_reference(given: Given, tau: float, margin: float, top_k: int) -> tuple[float, float]:
    unit, words = (part.double() for part in given.unit)
    videos, texts = [], []
    for n in range(len(words)):
        own = unit[given.owner[n]]
        for p in given.iou[n].argsort(descending=True, stable=True)[:top_k].tolist():
            positive = math.exp((words[n] @ own[:, p] - margin) / tau)
            others = [
                math.exp(words[m] @ own[:, p] / tau)
                for m in range(len(words))
                if m != n and not (given.owner[m] == given.owner[n] and overlap(given.spans[n], given.spans[m]) >= 0.5)
            ]
            videos.append(math.log(positive + sum(others)) - math.log(positive))
            rest = sum(
                math.exp(float(words[n] @ unit[v, :, q]) / tau * (v != given.owner[n] or given.iou[n, q] < 0.5))
                for v in range(len(unit))
                for q in range(unit.shape[2])
            )
            texts.append(math.log(positive + rest + 1e-6) - math.log(positive))
    return sum(videos) / len(videos), sum(texts) / len(texts)


def overlap(a: Tensor, b: Tensor) -> float:
    both = min(a[1], b[1]) - max(a[0], b[0])
    return max(0.0, float(both / (max(a[1], b[1]) - min(a[0], b[0]))))


@pytest.mark.parametrize("top_k", [1, 3])
def test_mutual_matching_is_the_loop(given: Given, top_k: int) -> None:
    found = mutual_matching_loss(*given.unit, *given[2:], tau=0.2, margin=0.1, top_k=top_k)
    assert [float(part) for part in found] == pytest.approx(mutual_reference(given, 0.2, 0.1, top_k), rel=1e-5)


def test_sentences_of_other_processes_are_negatives(given: Given) -> None:
    unit, words = given.unit
    whole, _ = mutual_matching_loss(unit, words, *given[2:])
    own = given.owner < 2  # the last film is in another process
    parts = (given.owner[own], given.iou[own], given.spans[own])
    split, _ = mutual_matching_loss(unit, words[own], *parts, elsewhere=words[~own])
    rest = (given.owner[~own], given.iou[~own], given.spans[~own])
    other, _ = mutual_matching_loss(unit, words[~own], *rest, elsewhere=words[own])
    torch.testing.assert_close((split * own.sum() + other * (~own).sum()) / len(own), whole)


def soft_reference(given: Given, tau: float, k: int, geodesic: Tensor) -> float:
    unit, words = (part.double() for part in given.unit)
    losses = []
    for n, film in enumerate(given.owner.tolist()):
        near = [q for q in geodesic[n].argsort(descending=True, stable=True)[:k].tolist() if geodesic[n, q] > 0]
        weight = geodesic[n, near] / geodesic[n, near].sum()
        exponent = (torch.einsum("d,vdp->vp", words[n], unit) / tau).exp()
        own, iou = exponent[film], given.iou[n]
        rest = own[near].sum() + own[(iou < 0.5) & (geodesic[n] == 0)].sum()
        rest = rest + exponent.sum() - own.sum()
        losses.append(-(weight * (own[near] / rest).log()).sum())
    return float(torch.stack(losses).mean())


def test_near_moments_share_the_target_and_are_no_negatives(given: Given) -> None:
    source = best_moments(given.iou)[:, 0]
    geodesic = geodesic_similarity(given.moments.mT, source, owner=given.owner)
    loss = geodesic_contrastive_loss(given.moments, given.unit[1], given.owner, given.iou, tau=0.2, geo_topk=4)
    assert float(loss) == pytest.approx(soft_reference(given, 0.2, 4, geodesic.double()), rel=1e-5)


def official_reference(given: Given, tau: float, k: int, scale: float | None, geodesic: Tensor) -> float:
    unit, words = (part.double() for part in given.unit)
    losses = []
    for film in range(len(unit)):
        rows = [n for n, owner in enumerate(given.owner.tolist()) if owner == film]
        others = torch.cat([unit[v] for v in range(len(unit)) if v != film], dim=1)
        source = [int(given.iou[n].argmax()) for n in rows]
        cosine = torch.stack([words[n] @ others for n in rows])
        weight = cosine.softmax(dim=1) * (1000 if scale is None else scale * cosine.shape[1])
        alike = torch.stack([unit[film][:, p] @ others for p in source])
        hard = (weight > weight.mean()) * alike + (alike > alike.mean()) * weight
        for row, (n, p) in enumerate(zip(rows, source, strict=True)):
            here, near = words[n] @ unit[film], geodesic[n].argsort(descending=True, stable=True)[:k]
            harder = geodesic[n].clone()
            harder[p] = 0
            positive = geodesic[n, near] * here[near].exp()
            same = here.exp() * (1 + harder) * (unit[film][:, p] @ unit[film]).exp() * (given.iou[n] < 0.5)
            rest = sum((part / tau).exp().sum() for part in (positive, same, cosine[row] * hard[row]))
            losses.append(((rest + 1e-6).log() - positive / tau).mean())
    return float(torch.stack(losses).mean())


@pytest.mark.parametrize("scale", [0.02, None])
def test_the_released_form_is_the_loop_without_overflow(given: Given, scale: float | None) -> None:
    source = best_moments(given.iou)[:, 0]
    geodesic = geodesic_similarity(given.moments.mT, source, owner=given.owner)
    loss = geodesic_contrastive_loss(
        given.moments, given.unit[1], given.owner, given.iou, form="official", other_scale=scale
    )
    expected = official_reference(given, 0.1, 5, scale, geodesic.double())
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert scale is not None or expected > 100  # whose exponential is no float32


@pytest.mark.parametrize("form", ["soft_positive", "official"])
def test_gradients_pass_where_paths_are_known(given: Given, form) -> None:
    source = best_moments(given.iou)[:, 0]
    geodesic = geodesic_similarity(given.moments.double().mT, source, owner=given.owner)

    def loss(moments: Tensor, words: Tensor) -> Tensor:
        unit = F.normalize(words, dim=1)
        return geodesic_contrastive_loss(
            moments, unit, given.owner, given.iou.double(), form=form, tau=0.5, geodesic=geodesic
        )

    inputs = given.moments.double().requires_grad_(), given.sentences.double().requires_grad_()
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True)


def test_one_film_alone_has_no_others(given: Given) -> None:
    rows = given.owner == 0
    for form in ("soft_positive", "official"):
        loss = geodesic_contrastive_loss(
            given.moments[:1], given.unit[1][rows], given.owner[rows], given.iou[rows], form=form
        )
        assert loss.isfinite()


def test_of_equal_overlaps_the_first_is_taken() -> None:
    assert best_moments(torch.tensor([[0.1, 1.0, 1.0, 1.0]]), 2).tolist() == [[1, 2]]


def test_an_unknown_form_is_refused(given: Given) -> None:
    with pytest.raises(ValueError, match="form = 'hard': expected one of soft_positive, official"):
        geodesic_contrastive_loss(given.moments, given.unit[1], given.owner, given.iou, form="hard")  # type: ignore[arg-type]
