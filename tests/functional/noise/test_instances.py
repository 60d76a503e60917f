"""Bags of instances: pooling, semi-bags, and the contrast between modalities."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.noise.instances import (
    SemiBags,
    cross_modal_instance_loss,
    instance_contrast,
    semi_bags,
    snippets_to_frames,
    topk_mil_pool,
)
from functional.tester import Case, LossTester, every

LENGTHS = (9, 5, 8, 1, 7, 6, 9)
RATIO = 4


def lengths(rows: int) -> Tensor:
    return torch.tensor(LENGTHS[:rows])


# -- references: with loops, copies and explicit probabilities, as the paper's algorithm is written


def pool_reference(logits: Tensor, lengths: Tensor, ratio: int) -> Tensor:
    rows = zip(logits, lengths.tolist(), strict=True)
    return torch.stack([row[:n].sort(descending=True).values[: min(n, n // ratio + 1)].mean() for row, n in rows])


def nce_reference(queries: list[Tensor], keys: list[Tensor], negatives: list[Tensor], temperature: float) -> Tensor:
    losses = []
    for query, key in zip(queries, keys, strict=True):
        own = (F.cosine_similarity(query, key, dim=0) / temperature).exp()
        others = [(F.cosine_similarity(query, other, dim=0) / temperature).exp() for other in negatives]
        losses.append(-(own / (own + torch.stack(others).sum())).log())
    return torch.stack(losses).mean()


def contrast_reference(
    audio: Tensor, video: Tensor, hears: Tensor, sees: Tensor, lengths: Tensor, prob: Tensor, ratio: int
) -> Tensor:
    sets: dict[tuple[str, str], list[Tensor]] = {}
    for name, scores, reps in (("a", hears, audio), ("v", sees, video)):
        for row, n in enumerate(lengths.tolist()):
            k = min(n, n // ratio + 1)
            order = scores[row, :n].argsort()
            sets.setdefault((name, "background"), []).extend(reps[row, order[:k]])
            highest = reps[row, order.flip(0)[:k]]
            copies = [highest.mean(dim=0)] * k if prob[row] > 0.5 else list(highest)
            sets.setdefault((name, "event" if prob[row] > 0.5 else "normal"), []).extend(copies)
    total = 0.0 * (audio.sum() + video.sum())
    if len(sets) < 6:
        return total
    for asks, answers in (("a", "v"), ("v", "a")):
        for weight, kind in ((2.0, "background"), (3.0, "normal")):
            terms = nce_reference(sets[asks, "event"], sets[answers, "event"], sets[answers, kind], 0.5)
            total = total + weight * terms
    return total


def contrast(**inputs: Any) -> Tensor:
    names = {"a": ("hears", "audio"), "v": ("sees", "video")}
    return cross_modal_instance_loss(
        {name: inputs[scores] for name, (scores, _) in names.items()},
        {name: inputs[reps] for name, (_, reps) in names.items()},
        inputs["lengths"],
        inputs["prob"],
        temperature=0.5,
        weight_background=2.0,
        weight_normal=3.0,
        ratio=inputs["ratio"],
    )[0]


def make_pool(rows: int, generator: torch.Generator) -> dict[str, Any]:
    logits = torch.randn(rows, 9, generator=generator, dtype=torch.float64)
    return {"logits": logits, "lengths": lengths(rows), "ratio": RATIO}


def make_contrast(rows: int, generator: torch.Generator) -> dict[str, Any]:
    reps = torch.randn(2, rows, 9, 4, generator=generator, dtype=torch.float64)
    ranks = torch.stack([torch.randperm(9, generator=generator) for _ in range(2 * rows)]).double()
    return {
        "audio": reps[0],
        "video": reps[1],
        "hears": ranks[:rows],
        "sees": ranks[rows:],
        "lengths": lengths(rows),
        "prob": torch.tensor([0.9, 0.1, 0.8, 0.5, 0.6, 0.2, 0.3][:rows]),
        "ratio": RATIO,
    }


CASES = [
    Case("topk_mil_pool", topk_mil_pool, pool_reference, make_pool, ("logits",), vmap=False),
    Case(
        "cross_modal_instance_loss",
        contrast,
        contrast_reference,
        make_contrast,
        ("audio", "video"),
        fewest=2,
        fixed=("hears", "sees", "prob"),
        vmap=False,
    ),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_it_is_the_reference_and_keeps_the_promises(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


class TestGolden:
    def test_contrast_and_its_gradients(self, golden) -> None:
        given = golden("macil_sd")
        reps = {name: given[f"cmal_{name}_rep"].clone().requires_grad_() for name in ("audio", "visual")}
        scores = {name: given[f"cmal_{name}_scores"] for name in reps}
        loss, terms = cross_modal_instance_loss(
            scores,
            reps,
            given["cmal_seq_len"],
            given["cmal_bag_prob"],
            weight_background=1.5,
            weight_normal=1.5,
        )
        parts = given["cmal_losses"]
        assert terms["background"].item() + terms["normal"].item() == pytest.approx(parts.sum().item(), rel=1e-5)
        grads = torch.autograd.grad(loss, list(reps.values()))
        for name, grad in zip(reps, grads, strict=True):
            torch.testing.assert_close(grad, given[f"cmal_grad_{name}"], rtol=1e-4, atol=1e-6)

    def test_pooled_probability(self, golden) -> None:
        given = golden("macil_sd")
        logits = given["mil_av_logits"].squeeze(-1)
        weight = given["mil_w"].clone().requires_grad_()
        fused = (given["mil_audio"] + given["mil_visual"]) @ weight[0] + 2 * given["mil_b"]
        torch.testing.assert_close(fused, logits, rtol=1e-4, atol=1e-5)
        pooled = topk_mil_pool(fused, given["mil_seq_len"])
        torch.testing.assert_close(pooled.sigmoid(), given["mil_bag_prob"], rtol=1e-4, atol=1e-5)
        loss = F.binary_cross_entropy_with_logits(pooled, given["mil_label"])
        torch.testing.assert_close(loss, given["mil_bce"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.autograd.grad(loss, weight)[0], given["mil_grad_w"], rtol=1e-4, atol=1e-5)

    def test_schedule_of_the_self_distillation(self, golden) -> None:
        from accord.functional import cosine_momentum

        given = golden("macil_sd")
        found = torch.stack([cosine_momentum(int(epoch), 50, 0.91) for epoch in given["sched_epoch"]])
        torch.testing.assert_close(found, given["sched_m"])


class TestSemiBags:
    def bags(self, event: list[bool], count: list[int], **options: Any) -> SemiBags:
        reps = torch.arange(12.0).view(len(event), -1, 1)
        return semi_bags(reps[..., 0], reps, torch.tensor(count), torch.tensor(event), ratio=2, **options)

    def test_padding_is_never_taken(self) -> None:
        bags = self.bags([True, False], [3, 2])
        assert bags.background[bags.background_held][:, 0].tolist() == [0.0, 1.0, 6.0, 7.0]
        assert bags.normal[bags.normal_held][:, 0].tolist() == [7.0, 6.0]
        assert bags.weight.tolist() == [2.0, 0.0]
        assert bags.event[0].item() == 1.5

    def test_a_bag_without_instances_gives_none(self) -> None:
        bags = self.bags([True, False], [0, 2])
        assert bags.weight.tolist() == [0.0, 0.0]
        assert not bags.background_held[0].any()
        assert topk_mil_pool(torch.ones(1, 3), torch.tensor([0])).tolist() == [0.0]

    def test_a_bag_of_neither_kind_gives_background_alone(self) -> None:
        bags = self.bags([True, False], [3, 2], normal=torch.tensor([False, False]))
        assert not bags.normal_held.any()
        assert bags.background_held[1].any()

    def test_gradients_reach_what_was_chosen_and_no_score(self) -> None:
        reps, scores = torch.randn(2, 4, 3).requires_grad_(), torch.randn(2, 4).requires_grad_()
        bags = semi_bags(scores, reps, torch.tensor([4, 4]), torch.tensor([True, False]))
        grad = torch.autograd.grad(bags.event.sum() + bags.background.sum(), [reps, scores], allow_unused=True)
        assert grad[0].count_nonzero() > 0
        assert grad[1] is None


class TestContrast:
    def case(self, **changes: Any) -> dict[str, Any]:
        return {**make_contrast(5, torch.Generator().manual_seed(0)), **changes}

    @pytest.mark.parametrize("prob", [0.1, 0.9])
    def test_without_both_kinds_of_bags_it_is_nothing_and_stays_differentiable(self, prob: float) -> None:
        inputs = self.case(prob=torch.full((5,), prob))
        inputs["audio"].requires_grad_()
        loss = contrast(**inputs)
        assert loss.item() == 0
        assert torch.autograd.grad(loss, inputs["audio"])[0].abs().sum() == 0

    def test_three_modalities_are_the_sum_over_their_pairs(self) -> None:
        inputs = self.case()
        event = inputs["prob"] > 0.5

        def bags(reps: Tensor, scores: Tensor) -> SemiBags:
            return semi_bags(scores, reps, inputs["lengths"], event)

        a, b = bags(inputs["audio"], inputs["hears"]), bags(inputs["video"], inputs["sees"])
        c = bags(inputs["video"].flip(1), inputs["hears"])
        together = instance_contrast({"a": a, "b": b, "c": c})
        pairs = [instance_contrast(dict(enumerate(pair))) for pair in ((a, b), (a, c), (b, c))]
        for kind, value in together.items():
            torch.testing.assert_close(value, torch.stack([pair[kind] for pair in pairs]).sum())

    def test_one_modality_is_refused(self) -> None:
        bags = semi_bags(torch.ones(1, 2), torch.ones(1, 2, 3), torch.tensor([2]), torch.tensor([True]))
        with pytest.raises(ShapeError, match="1 modality came, expected two"):
            instance_contrast({"audio": bags})


def test_frames_repeat_their_snippet() -> None:
    assert snippets_to_frames(torch.tensor([[0.25, 0.5]]), 2).tolist() == [[0.25, 0.25, 0.5, 0.5]]
    with pytest.raises(ValueError, match="repeat"):
        snippets_to_frames(torch.ones(2), 0)
