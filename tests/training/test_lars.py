"""The optimiser of layer-wise rates that timm brings, against the LARS of the released code of SlotCon."""

from __future__ import annotations

import torch
from timm.optim import Lars
from torch import Tensor

ETA, DECAY, RATE, MOMENTUM = 1e-3, 0.01, 0.5, 0.9


def three_steps(given: dict[str, Tensor], decay_first: bool) -> tuple[Tensor, Tensor]:
    weight, bias = given["lars_w0"].clone().requires_grad_(), given["lars_b0"].clone().requires_grad_()
    groups = [
        {"params": [weight], "weight_decay": 0.0 if decay_first else DECAY, "always_adapt": True},
        {"params": [bias]},  # neither decayed nor adapted
    ]
    optimiser = Lars(groups, lr=RATE, momentum=MOMENTUM, trust_coeff=ETA)
    for step in range(3):
        weight.grad, bias.grad = given["lars_gw"][step].clone(), given["lars_gb"][step].clone()
        if decay_first:
            weight.grad.add_(weight.detach(), alpha=DECAY)
        optimiser.step()
    return weight.detach(), bias.detach()


def test_timm_takes_the_steps_of_slotcon_when_decay_is_added_to_the_gradient_first(golden) -> None:
    given = golden("slotcon")
    weight, bias = three_steps(given, decay_first=True)
    torch.testing.assert_close(weight, given["lars_w3"], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(bias, given["lars_b3"], rtol=1e-6, atol=1e-7)


def test_its_own_decay_divides_by_the_sum_of_norms_as_swav_does_and_so_differs_a_little(golden) -> None:
    given = golden("slotcon")
    weight, bias = three_steps(given, decay_first=False)
    want, buffer = given["lars_w0"].double(), torch.zeros(5, 4).double()
    for gradient in given["lars_gw"].double():
        rate = ETA * want.norm() / (gradient.norm() + DECAY * want.norm() + 1e-8)
        buffer = MOMENTUM * buffer + rate * (gradient + DECAY * want)
        want = want - RATE * buffer
    torch.testing.assert_close(weight, want.float(), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(bias, given["lars_b3"], rtol=1e-6, atol=1e-7)
    moved = (given["lars_w3"] - given["lars_w0"]).norm()
    difference = (weight - given["lars_w3"]).norm() / moved
    assert 1e-4 < difference < 0.05
