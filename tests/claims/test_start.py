from __future__ import annotations

import torch
from torch import nn

from accord.claims.start import random_tensors, share


def net(seed: int, width: int = 4, constant: float = 1.0) -> nn.ModuleDict:
    torch.manual_seed(seed)
    parts = nn.ModuleDict({"first": nn.Linear(3, width, bias=False), "last": nn.Linear(4, 2, bias=False)})
    parts.register_buffer("scale", torch.tensor([constant, constant]))
    return parts


def test_only_what_is_drawn_counts_as_random() -> None:
    assert random_tensors(net(0), net(1)) == {"first.weight", "last.weight"}


def test_what_agrees_in_name_and_shape_comes_from_the_arm_before() -> None:
    one, other, pool = net(0), net(5, width=6, constant=2.0), {}
    own = other["first"].weight.clone()
    share(one, {"first.weight", "last.weight"}, pool)
    share(other, {"first.weight", "last.weight"}, pool)
    assert torch.equal(other["last"].weight, one["last"].weight)
    assert torch.equal(other["first"].weight, own)
    assert other.scale.tolist() == [2.0, 2.0]


def test_a_third_arm_takes_what_only_the_second_has() -> None:
    one, two, three, pool = net(0), net(1, width=6), net(2, width=6), {}
    for arm in (one, two, three):
        share(arm, {"first.weight", "last.weight"}, pool)
    assert torch.equal(three["first"].weight, two["first"].weight)


def test_a_momentum_copy_follows_what_it_copies() -> None:
    one, other, pool = net(0), net(5), {}
    other["momentum"] = nn.Linear(3, 4, bias=False)
    other["momentum"].load_state_dict(other["first"].state_dict())
    share(one, {"first.weight", "last.weight"}, pool)
    share(other, {"first.weight", "last.weight", "momentum.weight"}, pool)
    assert torch.equal(other["momentum"].weight, one["first"].weight)
