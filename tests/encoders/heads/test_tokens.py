"""Heads on tokens: against released code, and with padding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from accord.encoders.heads import (
    AttentionalPooler,
    PrefixProjector,
    QueryMLP,
    prepend,
)
from accord.errors import ShapeError


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_the_query_map_normalises_maps_activates_normalises_and_maps() -> None:
    head, x = QueryMLP(6, 4).double(), random(2, 3, 6)
    standard = (x - x.mean(-1, keepdim=True)) / (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    hidden = standard @ head[1].weight.T + head[1].bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    hidden = (hidden - hidden.mean(-1, keepdim=True)) / (hidden.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(head(x), hidden @ head[4].weight.T + head[4].bias)


def test_the_pooler_is_that_of_the_released_code(golden) -> None:
    given = {name.removeprefix("pool_cap_"): value for name, value in golden("coca").items()}
    pooler = AttentionalPooler(16, 12, n_queries=5, n_heads=4).double()
    pooler.load_state_dict(
        {
            "query": given["query"],
            "query_norm.weight": given["lnq_w"],
            "query_norm.bias": given["lnq_b"],
            "context_norm.weight": given["lnk_w"],
            "context_norm.bias": given["lnk_b"],
            "attention.q_proj_weight": given["q_w"],
            "attention.k_proj_weight": given["k_w"],
            "attention.v_proj_weight": given["v_w"],
            "attention.in_proj_bias": given["in_b"],
            "attention.out_proj.weight": given["o_w"],
            "attention.out_proj.bias": given["o_b"],
        }
    )
    torch.testing.assert_close(pooler(given["x"]), given["out"])
    torch.testing.assert_close(pooler(given["x"], torch.ones(3, 9, dtype=torch.bool)), given["out"])


def test_padding_is_not_attended_to_and_a_row_without_tokens_is_zero_with_finite_gradients() -> None:
    pooler, tokens = AttentionalPooler(8, 6, 3, 2).double(), random(3, 5, 6).requires_grad_()
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool()
    pooled = pooler(tokens, mask)
    torch.testing.assert_close(pooled[1:2], pooler(tokens[1:2, :2]))
    assert not pooled[2].any()
    pooled.square().sum().backward()
    assert tokens.grad.isfinite().all()
    assert not tokens.grad[1, 2:].any()
    assert not tokens.grad[2].any()


def test_the_pooler_is_blind_to_the_order_of_tokens() -> None:
    pooler, tokens = AttentionalPooler(8, 8, 3, 2).double(), random(2, 5, 8)
    torch.testing.assert_close(pooler(tokens), pooler(tokens[:, torch.randperm(5)]))


def test_the_prefix_holds_constant_tokens_then_those_of_the_embedding() -> None:
    projector, z = PrefixProjector(4, 6, n_tokens=3, n_constant=2), torch.randn(2, 4)
    prefix = projector(z)
    assert prefix.shape == (2, 5, 6)
    assert torch.equal(prefix[0, :2], prefix[1, :2])
    torch.testing.assert_close(prefix[:, 2:].flatten(1), projector.project(z))
    assert PrefixProjector(4, 6)(z).shape == (2, 4, 6)


def test_prepending_extends_the_mask_in_its_own_type_and_works_without_text() -> None:
    prefix, embeds = torch.randn(2, 3, 4), torch.randn(2, 2, 4)
    tokens, mask = prepend(prefix, embeds, torch.tensor([[1, 0], [1, 1]]))
    assert torch.equal(tokens, torch.cat([prefix, embeds], dim=1))
    assert mask.tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    tokens, mask = prepend(prefix)
    assert torch.equal(tokens, prefix)
    assert mask.dtype == torch.bool
    assert mask.all()
    with pytest.raises(ShapeError, match=r"embeds has shape \(2, 2, 5\)"):
        prepend(prefix, torch.randn(2, 2, 5))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AttentionalPooler(4, 3, 0, 1), "n_queries = 0"),
        (lambda: AttentionalPooler(4, 3, 1, 1)(torch.zeros(2, 5, 4)), r"tokens has shape \(2, 5, 4\)"),
        (lambda: AttentionalPooler(4, 3, 1, 1)(torch.zeros(2, 5, 3), torch.zeros(2, 4)), "mask has shape"),
        (lambda: PrefixProjector(2, 3, n_tokens=0), "n_tokens = 0"),
        (lambda: PrefixProjector(2, 3)(torch.zeros(2, 3)), r"z has shape \(2, 3\)"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
