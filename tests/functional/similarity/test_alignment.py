"""Soft alignment against explicit loops, the reference values, and its two limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import (
    cross_lingual_loss,
    late_interaction,
    soft_alignment,
    soft_alignment_pair,
    token_alignment,
)
from accord.functional.similarity import token_tiles
from functional.tester import Case, LossTester, every

N, M, DIM = 4, 3, 5


def tokens(rows: int, count: int, generator: torch.Generator) -> Tensor:
    return F.normalize(torch.randn(rows, count, DIM, generator=generator, dtype=torch.float64), dim=2)


def lengths_mask(rows: int, count: int) -> Tensor:
    """1, 2, ... valid tokens, in turn."""
    return torch.arange(count) <= (torch.arange(rows) % count)[:, None]


def reference(
    query: Tensor,
    key: Tensor,
    query_mask: Tensor | None = None,
    key_mask: Tensor | None = None,
    temperature: float = 0.2,
    mask_inner: bool = True,
) -> Tensor:
    result = []
    for i, one in enumerate(query):
        for j, other in enumerate(key):
            voters = one if query_mask is None else one[query_mask[i]]
            partners = other if key_mask is None or not mask_inner else other[key_mask[j]]
            similarity = voters @ partners.T
            weights = (similarity / temperature).exp()
            result.append(((similarity * weights).sum(dim=1) / weights.sum(dim=1)).mean())
    return torch.stack(result).view(len(query), len(key))


def both(**inputs: Any) -> Tensor:
    return torch.stack(soft_alignment_pair(**inputs, temperature=0.2))


def both_reference(first: Tensor, second: Tensor, first_mask: Tensor, second_mask: Tensor) -> Tensor:
    back = reference(second, first, second_mask, first_mask).T
    return torch.stack([reference(first, second, first_mask, second_mask), back])


def one(temperature: float = 0.2, **inputs: Any) -> Tensor:
    return soft_alignment(**inputs, temperature=temperature)


def plain(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"query": tokens(rows, N, generator), "key": tokens(rows + 1, M, generator)}


def masked(rows: int, generator: torch.Generator) -> dict[str, Any]:
    masks = {"query_mask": lengths_mask(rows, N), "key_mask": lengths_mask(rows + 1, M)}
    return plain(rows, generator) | masks


def pairs(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made = {"first": tokens(rows, N, generator), "second": tokens(rows + 1, M, generator)}
    return made | {"first_mask": lengths_mask(rows, N), "second_mask": lengths_mask(rows + 1, M)}


def parity(**inputs: Any) -> Tensor:
    return one(**inputs, mask_inner=False)


def parity_reference(**inputs: Any) -> Tensor:
    return reference(**inputs, mask_inner=False)


COLD = ({"temperature": 0.005}, {"temperature": 1e-4})
CASES = [
    Case("soft_alignment", one, reference, plain, ("query", "key"), extremes=COLD, vmap=False),
    Case("soft_alignment masked", one, reference, masked, ("query", "key"), extremes=COLD, vmap=False),
    Case("soft_alignment over padding", parity, parity_reference, masked, ("query", "key"), vmap=False),
    Case("soft_alignment_pair", both, both_reference, pairs, ("first", "second"), vmap=False),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


def test_similarities_loss_and_gradients_equal_the_reference_values(golden: Callable[[str], dict[str, Tensor]]) -> None:
    arrays = golden("cico")
    names = ("clcl_visual", "clcl_text", "clcl_text_aug", "clcl_logit_scale_log")
    leaves = [arrays[name].clone().requires_grad_() for name in names]
    video, text, changed = (F.normalize(leaf, dim=2) for leaf in leaves[:3])
    seen, said, swapped = (
        arrays["clcl_video_mask"] == 0,
        arrays["clcl_text_mask"] == 1,
        arrays["clcl_text_aug_mask"] == 1,
    )
    scale = leaves[3].exp()
    v2t = scale * soft_alignment(video, text, seen, said, mask_inner=False)
    t2v = scale * soft_alignment_pair(video, changed, seen, swapped, mask_inner=False)[1]
    loss = cross_lingual_loss(v2t, t2v)
    for got, name in ((v2t, "clcl_v2t"), (t2v, "clcl_t2v"), (loss, "clcl_loss")):
        torch.testing.assert_close(got, arrays[name], rtol=1e-5, atol=1e-5)
    wanted = [arrays[f"clcl_grad_{name}"] for name in ("visual", "text", "text_aug", "logit_scale")]
    for got, grad in zip(torch.autograd.grad(loss, leaves), wanted, strict=True):
        torch.testing.assert_close(got, grad, rtol=1e-4, atol=1e-6)


def test_towards_zero_it_is_the_best_partner_and_towards_infinity_the_mean_of_all() -> None:
    inputs = masked(5, torch.Generator().manual_seed(1))
    torch.testing.assert_close(one(1e-3, **inputs), late_interaction(**inputs), atol=1e-3, rtol=0)
    first, second, seen, said = inputs.values()
    votes = seen[:, :, None, None] & said
    products = torch.einsum("and,bmd->anbm", first, second)
    mean = torch.where(votes, products, 0).sum(dim=(1, 3)) / votes.sum(dim=(1, 3))
    torch.testing.assert_close(one(1e6, **inputs), mean, atol=1e-5, rtol=0)


def test_padding_changes_nothing_unless_the_softmax_runs_over_it() -> None:
    inputs = masked(4, torch.Generator().manual_seed(2))
    longer = torch.where(inputs["key_mask"][..., None], inputs["key"], 7.0)
    torch.testing.assert_close(one(**inputs), one(**inputs | {"key": longer}))
    assert not torch.allclose(parity(**inputs), parity(**inputs | {"key": longer}))


def test_a_side_without_tokens_scores_nothing_and_has_no_gradient() -> None:
    inputs = masked(3, torch.Generator().manual_seed(3))
    inputs["query_mask"][1] = False
    query = inputs["query"].requires_grad_()
    score = one(**inputs | {"query": query})
    assert score[1].tolist() == [0.0] * 4
    (gradient,) = torch.autograd.grad(score.sum(), query)
    assert gradient.isfinite().all()
    assert not gradient[1].any()


@pytest.mark.parametrize("size", [1, 40, 200])
def test_tiles_of_any_size_give_the_same_values_and_gradients(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    inputs = pairs(6, torch.Generator().manual_seed(4))

    def outcome() -> list[Tensor]:
        leaves = [inputs[name].clone().requires_grad_() for name in ("first", "second")]
        scores = both(**inputs | dict(zip(("first", "second"), leaves, strict=True)))
        return [scores, *torch.autograd.grad(scores.square().sum(), leaves)]

    whole = outcome()
    monkeypatch.setattr(token_tiles, "TILE_ELEMENTS", size)
    for got, want in zip(outcome(), whole, strict=True):
        torch.testing.assert_close(got, want)


def test_alignment_weights_sum_to_one_over_real_partners() -> None:
    made = torch.Generator().manual_seed(5)
    mask = lengths_mask(4, M)
    weights = token_alignment(tokens(4, N, made), tokens(4, M, made), mask)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(4, N, dtype=torch.float64))
    assert not weights.masked_select(~mask[:, None]).any()


def test_the_loss_takes_its_share_of_each_similarity() -> None:
    first, second = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(6))
    torch.testing.assert_close(cross_lingual_loss(first, second, mix=1.0), cross_lingual_loss(first, first))
    with pytest.raises(ValueError, match="mix"):
        cross_lingual_loss(first, second, mix=1.5)


def test_tokens_of_other_widths_are_refused() -> None:
    with pytest.raises(ShapeError, match="expected width 5"):
        soft_alignment(torch.ones(1, 2, 5), torch.ones(1, 2, 4))
