"""Blending the parameters of one module into those of another, both of which are trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from accord.state import ema_blend


def parts() -> tuple[nn.ModuleDict, nn.ModuleDict]:
    torch.manual_seed(0)
    target = nn.ModuleDict(
        {"enter": nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}), "head": nn.Linear(2, 1)}
    )
    return target, nn.ModuleDict({"fc": nn.Linear(2, 2), "head": nn.Linear(2, 1)})


def test_parts_are_blended_under_their_other_names_and_the_rest_stays() -> None:
    target, source = parts()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    kept = {name: value.clone() for name, value in source.state_dict().items()}
    ema_blend(target, source, 0.9, {"enter.a": "fc", "head": "head"})
    after = target.state_dict()
    wanted = 0.9 * before["enter.a.weight"] + 0.1 * kept["fc.weight"]
    torch.testing.assert_close(after["enter.a.weight"], wanted)
    torch.testing.assert_close(after["head.bias"], 0.9 * before["head.bias"] + 0.1 * kept["head.bias"])
    assert torch.equal(after["enter.b.weight"], before["enter.b.weight"])
    assert all(torch.equal(value, kept[name]) for name, value in source.state_dict().items())


def test_both_go_on_learning() -> None:
    target, source = parts()
    ema_blend(target["head"], source["head"], torch.tensor(0.5))
    assert all(parameter.requires_grad for parameter in (*target.parameters(), *source.parameters()))


def test_what_the_source_lacks_is_named_and_a_momentum_beyond_one_refused() -> None:
    target, source = parts()
    with pytest.raises(ValueError, match=r"no parameter enter\.a\.bias, enter\.a\.weight"):
        ema_blend(target, source, 0.9, {"enter.a": "enter.a"})
    with pytest.raises(ValueError, match="momentum"):
        ema_blend(target, source, 1.5)
