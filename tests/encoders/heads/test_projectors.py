"""Projectors: their layers, and the maps one after the other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from accord.encoders.heads import (
    DINOHead,
    MLPHead,
)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_a_projector_has_its_hidden_layers_biases_and_last_norm() -> None:
    head = MLPHead(3, 4, hidden=5, layers=2, bias=False, last_bias=True, norm_last="plain")
    kinds = [type(part).__name__ for part in head]
    assert kinds == [*["Linear", "BatchNorm1d", "ReLU"] * 2, "Linear", "BatchNorm1d"]
    assert [part.bias is not None for part in head if isinstance(part, nn.Linear)] == [False, False, True]
    assert (head[-2].in_features, head[-2].out_features, head[-1].affine) == (5, 4, False)
    assert MLPHead(3, 4, hidden=5, norm_last="affine")[-1].affine
    assert [type(part) for part in MLPHead(3, 4, layers=0)] == [nn.Linear]


def test_a_projector_is_the_maps_one_after_the_other() -> None:
    head = MLPHead(3, 4, hidden=5).double()
    x = random(6, 3)
    hidden = x @ head[0].weight.T + head[0].bias
    hidden = (hidden - hidden.mean(dim=0)) / (hidden.var(dim=0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(head(x), hidden.clamp(min=0) @ head[3].weight.T + head[3].bias)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MLPHead(2, 3, norm_last="batch"), "norm_last = 'batch'"),
        (lambda: MLPHead(2, 3, layers=-1), "layers = -1"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_head_of_dino_gives_cosines_with_directions_and_starts_small() -> None:
    torch.manual_seed(0)
    head = DINOHead(6, 4, hidden=64, bottleneck=5)
    assert [part.out_features for part in head.mlp if isinstance(part, torch.nn.Linear)] == [64, 64, 5]
    x = torch.randn(7, 6)
    narrow = torch.nn.functional.normalize(head.mlp(x), dim=1)
    for row, direction in ((0, 1), (6, 3)):
        cosine = torch.nn.functional.cosine_similarity(narrow[row], head.directions[direction], dim=0)
        torch.testing.assert_close(head(x)[row, direction], cosine)
    assert head.mlp[0].weight.std() < 0.03
    assert not head.mlp[0].bias.any()
    with torch.autocast("cpu", torch.bfloat16):
        assert head(x).dtype == torch.float32
