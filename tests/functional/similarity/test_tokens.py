"""Late interaction against explicit loops, the reference values, and the properties that the paper names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.similarity import token_tiles
from accord.functional.similarity.tokens import (
    info_nce_from_similarity,
    late_interaction,
    late_interaction_pair,
    select_tokens,
    word_patch_alignment,
)
from functional.tester import Case, LossTester, every

N, M, DIM = 4, 3, 5


def tokens(rows: int, count: int, generator: torch.Generator, dim: int = DIM) -> Tensor:
    return F.normalize(torch.randn(rows, count, dim, generator=generator, dtype=torch.float64), dim=2)


def lengths_mask(rows: int, count: int) -> Tensor:
    """1, 2, ... valid tokens, in turn."""
    return torch.arange(count) <= (torch.arange(rows) % count)[:, None]


def reference(
    query: Tensor,
    key: Tensor,
    query_mask: Tensor | None = None,
    key_mask: Tensor | None = None,
    reduce: str = "mean",
    softmax_temperature: float | None = None,
) -> Tensor:
    result = []
    for i, one in enumerate(query):
        for j, other in enumerate(key):
            voters = one if query_mask is None else one[query_mask[i]]
            chosen = other if key_mask is None else other[key_mask[j]]
            similarity = voters @ chosen.T
            if softmax_temperature is None:
                best = similarity.max(dim=1).values
            else:
                best = softmax_temperature * (similarity / softmax_temperature).exp().sum(dim=1).log()
            result.append(best.mean() if reduce == "mean" else best.sum())
    return torch.stack(result).view(len(query), len(key))


def both(**inputs: Any) -> Tensor:
    return torch.cat([s.flatten() for s in late_interaction_pair(**inputs)])


def both_reference(image_tokens: Tensor, text_tokens: Tensor, text_mask: Tensor, image_mask: Tensor) -> Tensor:
    i2t = reference(image_tokens, text_tokens, image_mask, text_mask)
    t2i = reference(text_tokens, image_tokens, text_mask, image_mask)
    return torch.cat([i2t.flatten(), t2i.flatten()])


def symmetric_reference(s_i2t: Tensor, s_t2i: Tensor, logit_scale: Tensor) -> Tensor:
    loss = s_i2t.new_zeros(())
    for similarity in (s_i2t, s_t2i):
        for i, row in enumerate(logit_scale * similarity):
            shifted = row - row.max()
            loss = loss - (shifted[i] - shifted.exp().sum().log()) / len(similarity) / 2
    return loss


def plain(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"query": tokens(rows, N, generator), "key": tokens(rows + 1, M, generator)}


def masked(rows: int, generator: torch.Generator) -> dict[str, Any]:
    masks = {"query_mask": lengths_mask(rows, N), "key_mask": lengths_mask(rows + 1, M)}
    return plain(rows, generator) | masks


def pairs(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made = {"image_tokens": tokens(rows, N, generator), "text_tokens": tokens(rows, M, generator)}
    return made | {"text_mask": lengths_mask(rows, M), "image_mask": lengths_mask(rows, N)}


def matrices(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made = {name: torch.rand(rows, rows, generator=generator, dtype=torch.float64) for name in ("s_i2t", "s_t2i")}
    return made | {"logit_scale": torch.tensor(9.0, dtype=torch.float64)}


CASES = [
    Case("late_interaction", late_interaction, reference, plain, ("query", "key"), vmap=False),
    Case("late_interaction masked", late_interaction, reference, masked, ("query", "key"), vmap=False),
    Case(
        "late_interaction sum",
        lambda **inputs: late_interaction(**inputs, reduce="sum"),
        lambda **inputs: reference(**inputs, reduce="sum"),
        masked,
        ("query", "key"),
        vmap=False,
    ),
    Case(
        "late_interaction soft",
        lambda softmax_temperature=0.2, **inputs: late_interaction(**inputs, softmax_temperature=softmax_temperature),
        lambda **inputs: reference(**inputs, softmax_temperature=0.2),
        masked,
        ("query", "key"),
        extremes=({"softmax_temperature": 0.005}, {"softmax_temperature": 1e-4}),
        vmap=False,
    ),
    Case("late_interaction_pair", both, both_reference, pairs, ("image_tokens", "text_tokens"), vmap=False),
    Case(
        "info_nce_from_similarity",
        info_nce_from_similarity,
        symmetric_reference,
        matrices,
        ("s_i2t", "s_t2i", "logit_scale"),
        extremes=({"logit_scale": 200.0}, {"logit_scale": 1e4}),
    ),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


# -- reference values


def leaves(arrays: dict[str, Tensor], *names: str) -> list[Tensor]:
    return [arrays[name].clone().requires_grad_() for name in names]


def close(got: Tensor | None, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-7)


def test_masked_similarities_equal_the_reference_values(golden: Callable[[str], dict[str, Tensor]]) -> None:
    arrays = golden("filip")
    image, text = (F.normalize(arrays[name], dim=2) for name in ("img_tokens", "txt_tokens"))
    mask = torch.arange(text.shape[1]) < arrays["lengths"][:, None]
    scale = 1 / 0.07
    for got, name in zip(late_interaction_pair(image, text, mask), ("sim_i2t", "sim_t2i"), strict=True):
        close(scale * got, arrays[name])
    close(scale * late_interaction(image, text, key_mask=mask), arrays["sim_i2t"])
    close(scale * late_interaction(text, image, query_mask=mask), arrays["sim_t2i"])


def test_masked_loss_equals_the_reference_in_its_own_direction(golden: Callable[[str], dict[str, Tensor]]) -> None:
    """The public code normalises the images' scores over images as well; the paper's direction is the default."""
    arrays = golden("filip")
    raw = leaves(arrays, "img_tokens", "txt_tokens")
    mask = torch.arange(raw[1].shape[1]) < arrays["lengths"][:, None]
    i2t, t2i = late_interaction_pair(*(F.normalize(x, dim=2) for x in raw), mask)
    loss = info_nce_from_similarity(i2t.T, t2i, 1 / 0.07)
    loss.backward()
    close(loss.detach(), arrays["masked_loss"])
    close(raw[0].grad, arrays["masked_grad_img"])
    close(raw[1].grad, arrays["masked_grad_txt"])
    assert round(info_nce_from_similarity(i2t, t2i, 1 / 0.07).item(), 4) == 1.6374


def test_keys_chosen_by_the_own_partner_equal_the_reference(golden: Callable[[str], dict[str, Tensor]]) -> None:
    arrays = golden("filip")
    raw = leaves(arrays, "img_tokens", "txt_tokens")
    log_scale = torch.tensor(1 / 0.07, dtype=torch.float64).log().requires_grad_()
    image, text = (F.normalize(x, dim=2) for x in raw)
    image_keys, text_keys = (
        x.take_along_dim(select_tokens(x, other, 3, "sum", "pair")[0][..., None], dim=1)
        for x, other in ((image, text), (text, image))
    )
    i2t, t2i = late_interaction(image, text_keys), late_interaction(text, image_keys)
    loss = info_nce_from_similarity(i2t, t2i, log_scale.exp())
    loss.backward()
    close(log_scale.exp().detach() * i2t.detach(), arrays["topk3_i2t"])
    close(log_scale.exp().detach() * t2i.detach(), arrays["topk3_t2i"])
    close(loss.detach(), arrays["topk3_loss"])
    close(raw[0].grad, arrays["topk3_grad_img"])
    close(raw[1].grad, arrays["topk3_grad_txt"])
    close(log_scale.grad, arrays["topk3_grad_logscale"])


# -- tiles


@pytest.mark.parametrize("soft", [None, 0.3])
@pytest.mark.parametrize("limit", [1, 30, 100])
def test_tiles_of_any_size_give_the_same_values_and_gradients(
    monkeypatch: pytest.MonkeyPatch, limit: int, soft: float | None
) -> None:
    inputs = masked(6, torch.Generator().manual_seed(0))
    results = []
    for size in (1 << 20, limit):
        monkeypatch.setattr(token_tiles, "TILE_ELEMENTS", size)
        query, key = leaves(inputs, "query", "key")
        value = late_interaction(query, key, inputs["query_mask"], inputs["key_mask"], softmax_temperature=soft)
        value.pow(2).sum().backward()
        results.append((value.detach(), query.grad, key.grad))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("limit", [1, 30, 100])
def test_both_directions_from_tiles_equal_each_direction_by_itself(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    inputs = pairs(6, torch.Generator().manual_seed(1))
    image, text = leaves(inputs, "image_tokens", "text_tokens")
    masks = inputs["image_mask"], inputs["text_mask"]
    separate = late_interaction(image, text, *masks), late_interaction(text, image, *masks[::-1])
    monkeypatch.setattr(token_tiles, "TILE_ELEMENTS", limit)
    together = late_interaction_pair(image, text, masks[1], masks[0])
    torch.testing.assert_close(together, separate)
    grads = [torch.autograd.grad((s[0].sin().sum() + s[1].cos().sum()), (image, text)) for s in (together, separate)]
    torch.testing.assert_close(*grads)


def test_second_derivatives_are_those_of_the_dense_form() -> None:
    inputs = pairs(3, torch.Generator().manual_seed(2))
    image, text = leaves(inputs, "image_tokens", "text_tokens")

    def curved(image: Tensor, text: Tensor) -> Tensor:
        return both(image_tokens=image, text_tokens=text, text_mask=inputs["text_mask"]).pow(3)

    assert torch.autograd.gradgradcheck(curved, (image, text))


def test_what_is_kept_for_the_backward_is_a_small_part_of_all_token_similarities() -> None:
    generator = torch.Generator().manual_seed(3)
    image, text = (tokens(64, 32, generator, dim=8).float().requires_grad_() for _ in range(2))
    kept: dict[int, int] = {}

    def note(x: Tensor) -> Tensor:
        kept[x.data_ptr()] = x.numel() * x.element_size()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        late_interaction_pair(image, text)
    assert sum(kept.values()) < 64 * 64 * 32 * 32 * 4 / 10


def test_without_gradient_no_partner_is_remembered_and_the_values_are_the_same() -> None:
    inputs = pairs(5, torch.Generator().manual_seed(4))
    image, text = leaves(inputs, "image_tokens", "text_tokens")
    with torch.no_grad():
        quiet = late_interaction_pair(image, text, inputs["text_mask"])
    torch.testing.assert_close(quiet, late_interaction_pair(image, text, inputs["text_mask"]))


# -- properties


@given(seed=st.integers(0, 1000), soft=st.sampled_from([None, 0.1]))
@settings(max_examples=20, deadline=None)
def test_the_order_of_tokens_does_not_matter(seed: int, soft: float | None) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = masked(5, generator)
    query_order, key_order = torch.randperm(N, generator=generator), torch.randperm(M, generator=generator)
    shuffled = {name: x[:, query_order if name.startswith("query") else key_order] for name, x in inputs.items()}
    torch.testing.assert_close(
        late_interaction(**shuffled, softmax_temperature=soft), late_interaction(**inputs, softmax_temperature=soft)
    )


@given(seed=st.integers(0, 1000), more=st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_padding_neither_votes_nor_is_chosen(seed: int, more: int) -> None:
    inputs = pairs(4, torch.Generator().manual_seed(seed))
    padded = {
        "text_tokens": F.pad(inputs["text_tokens"], (0, 0, 0, more), value=10.0),
        "text_mask": F.pad(inputs["text_mask"], (0, more), value=False),
    }
    torch.testing.assert_close(late_interaction_pair(**(inputs | padded)), late_interaction_pair(**inputs))


def test_padding_does_not_win_where_all_valid_words_score_below_zero() -> None:
    patch, word = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[-0.6, 0.8], [0.0, 0.0]]])
    i2t, t2i = late_interaction_pair(patch, word, torch.tensor([[True, False]]))
    assert i2t.item() == t2i.item() == pytest.approx(-0.6)


def test_the_gradient_reaches_the_winning_partner_only() -> None:
    key = torch.tensor([[[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]], requires_grad=True)
    late_interaction(torch.tensor([[[1.0, 0.0]]]), key).sum().backward()
    assert key.grad is not None
    assert key.grad.tolist() == [[[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]]
    late_interaction(torch.tensor([[[1.0, 0.0]]]), key, softmax_temperature=0.5).sum().backward()
    assert (key.grad[..., 0] > 0).all()


def test_the_soft_maximum_lies_above_the_maximum_and_meets_it_at_low_temperature() -> None:
    inputs = masked(5, torch.Generator().manual_seed(5))
    hard = late_interaction(**inputs)
    assert (late_interaction(**inputs, softmax_temperature=0.5) >= hard - 1e-12).all()
    torch.testing.assert_close(late_interaction(**inputs, softmax_temperature=1e-4), hard, atol=2e-4, rtol=0)


def test_the_two_directions_are_not_transposes_and_one_token_each_is_the_cosine() -> None:
    inputs = pairs(5, torch.Generator().manual_seed(6))
    i2t, t2i = late_interaction_pair(**inputs)
    assert not torch.allclose(i2t, t2i.T)
    image, text = inputs["image_tokens"][:, :1], inputs["text_tokens"][:, :1]
    for similarity in (late_interaction_pair(image, text)[0], late_interaction_pair(image, text)[1].T):
        torch.testing.assert_close(similarity, image[:, 0] @ text[:, 0].T)


@pytest.mark.parametrize("soft", [None, 0.1])
def test_a_side_without_valid_tokens_has_similarity_zero_and_no_gradient(soft: float | None) -> None:
    query, key = (tokens(3, N, torch.Generator().manual_seed(i)).float().requires_grad_() for i in range(2))
    query_mask, key_mask = torch.ones(3, N, dtype=torch.bool), torch.ones(3, N, dtype=torch.bool)
    query_mask[0], key_mask[1] = False, False
    value = late_interaction(query, key, query_mask, key_mask, softmax_temperature=soft)
    value.sum().backward()
    assert (value[0] == 0).all()
    assert (value[:, 1] == 0).all()
    assert (value[1:, [0, 2]] != 0).all()
    assert (query.grad[0] == 0).all()
    assert (key.grad[1] == 0).all()
    assert query.grad.isfinite().all()
    i2t, t2i = late_interaction_pair(query, key, key_mask, query_mask)
    assert (i2t[0] == 0).all()
    assert (t2i[1] == 0).all()
    assert (t2i[:, 0] == 0).all()


# -- selection and alignment


def test_tokens_are_kept_by_their_best_match_in_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(7)
    query, key, mask = tokens(5, 8, generator), tokens(6, M, generator), lengths_mask(6, M)
    words = key[mask]
    wanted = torch.stack([(x @ words.T).max(dim=1).values.topk(2).indices for x in query])
    for limit in (1 << 20, 40):
        monkeypatch.setattr(token_tiles, "TILE_ELEMENTS", limit)
        index, valid = select_tokens(query, key, 0.25, key_mask=mask)
        torch.testing.assert_close(index, wanted)
        assert valid.all()


@pytest.mark.parametrize(("rule", "scope"), [("max", "pair"), ("sum", "pair"), ("sum", "batch")])
def test_every_rule_and_scope_ranks_tokens_as_the_loop_does(rule: str, scope: str) -> None:
    generator = torch.Generator().manual_seed(8)
    query, key, mask = tokens(5, 8, generator), tokens(5, M, generator), lengths_mask(5, M)
    for i, chosen in enumerate(select_tokens(query, key, 3, rule, scope, key_mask=mask)[0]):
        similarity = query[i] @ (key[mask] if scope == "batch" else key[i][mask[i]]).T
        score = similarity.max(dim=1).values if rule == "max" else similarity.sum(dim=1)
        torch.testing.assert_close(chosen, score.topk(3).indices)


def test_padding_is_taken_last_and_marked() -> None:
    query = torch.tensor([[[0.1], [0.9], [0.5]], [[0.1], [0.9], [0.5]]])
    mask = torch.tensor([[True, False, True], [True, False, False]])
    index, valid = select_tokens(query, torch.ones(2, 1, 1), 2, query_mask=mask)
    assert index.tolist() == [[2, 0], [0, 1]]
    assert valid.tolist() == [[True, True], [True, False]]


def test_a_share_is_one_of_each_samples_own_tokens_rounded_up() -> None:
    query = torch.rand(4, 12, 1, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([12, 7, 1, 0])
    mask = torch.arange(12) < lengths[:, None]
    for keep, wanted in {0.5: [6, 4, 1, 0], 0.25: [3, 2, 1, 0], 0.1: [2, 1, 1, 0], 1.0: [12, 7, 1, 0]}.items():
        index, valid = select_tokens(query, torch.ones(1, 1, 1), keep, query_mask=mask)
        assert valid.sum(dim=1).tolist() == wanted
        for row, count in enumerate(wanted):
            best = query[row, : lengths[row], 0].argsort(descending=True)[:count]
            assert index[row][valid[row]].tolist() == best.tolist()
    assert select_tokens(query[:, :10], torch.ones(1, 1, 1), 0.7)[1].sum(dim=1).tolist() == [7] * 4  # 7.000000000000001


def test_keeping_all_tokens_changes_nothing() -> None:
    inputs = masked(5, torch.Generator().manual_seed(9))
    index, mask = select_tokens(inputs["key"], inputs["query"], 1.0, query_mask=inputs["key_mask"])
    chosen = inputs["key"].take_along_dim(index[..., None], dim=1)
    torch.testing.assert_close(
        late_interaction(inputs["query"], chosen, inputs["query_mask"], mask), late_interaction(**inputs)
    )


def test_words_find_their_patch_in_the_own_image_and_padding_finds_none() -> None:
    image = torch.eye(4).repeat(2, 1, 1)
    text = torch.stack([torch.eye(4)[[2, 0]], torch.eye(4)[[3, 1]]])
    mask = torch.tensor([[True, True], [True, False]])
    assert word_patch_alignment(image, text, mask).tolist() == [[2, 0], [3, -1]]


# -- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: late_interaction(torch.ones(2, 3), torch.ones(2, 3, 4)), "query has shape"),
        (lambda: late_interaction(torch.ones(2, 3, 5), torch.ones(2, 3, 4)), "key has shape .*: expected width 5"),
        (lambda: late_interaction(torch.ones(2, 0, 4), torch.ones(2, 3, 4)), "query has shape .*: expected at least"),
        (lambda: late_interaction(torch.ones(2, 3, 4), torch.ones(2, 3, 4), torch.ones(2, 2).bool()), "query_mask"),
        (lambda: late_interaction_pair(torch.ones(2, 3, 4), torch.ones(2, 3, 4), torch.ones(2, 9).bool()), "text_mask"),
        (lambda: info_nce_from_similarity(torch.ones(2, 2), torch.ones(3, 3), 1.0), "s_t2i has shape"),
        (lambda: select_tokens(torch.ones(2, 3, 4), torch.ones(1, 3, 4), 1, scope="pair"), "key has shape"),
        (lambda: word_patch_alignment(torch.ones(2, 3, 4), torch.ones(1, 3, 4)), "text_tokens has shape"),
    ],
)
def test_a_wrong_shape_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 4}, "keep = 4: expected an integer in"),
        ({"keep": 1.5}, r"keep = 1.5: expected a share"),
        ({"keep": 1, "rule": "mean"}, "rule = 'mean': expected one of max, sum"),
        ({"keep": 1, "scope": "all"}, "scope = 'all': expected one of batch, pair"),
        ({"keep": 1, "query_mask": torch.ones(2, 3)}, "mask of query has type"),
    ],
)
def test_a_wrong_selection_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select_tokens(torch.ones(2, 3, 4), torch.ones(2, 3, 4), **options)


def test_a_wrong_reduction_or_temperature_is_refused() -> None:
    x = torch.ones(2, 3, 4)
    with pytest.raises(ValueError, match="reduce = 'max': expected one of mean, sum"):
        late_interaction(x, x, reduce="max")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="softmax_temperature = 0"):
        late_interaction(x, x, softmax_temperature=0.0)
