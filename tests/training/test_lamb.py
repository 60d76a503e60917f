"""The optimiser of layer-wise rates for Adam, by name, against its formula (You et al. 2020, ICLR, algorithm 2)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from accord.training.config import TrainingConfig
from accord.training.optimiser import build_optimizer

BETAS, EPS, RATE, DECAY = (0.9, 0.999), 1e-4, 0.1, 0.03


def by_hand(start: Tensor, gradients: Tensor, decay: float, adapt: bool) -> Tensor:
    weight, mean, square = start.double(), torch.zeros_like(start).double(), torch.zeros_like(start).double()
    for step, gradient in enumerate(gradients.double(), 1):
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * square + (1 - BETAS[1]) * gradient.square()
        update = mean / (1 - BETAS[0] ** step) / ((square / (1 - BETAS[1] ** step)).sqrt() + EPS) + decay * weight
        weight = weight - RATE * (weight.norm() / update.norm() if adapt else 1.0) * update
    return weight.float()


@pytest.mark.parametrize("decay", [0.0, DECAY])
def test_a_step_on_a_matrix_is_relative_to_its_norm_and_one_on_a_vector_is_adams(decay) -> None:
    torch.manual_seed(0)
    layer, gradients = nn.Linear(5, 4), 100 * torch.randn(3, 4, 6)  # no clipping of its own
    matrix, vector = layer.weight.detach().clone(), layer.bias.detach().clone()
    config = TrainingConfig(optimizer="lamb", lr=RATE, betas=BETAS, eps=EPS, weight_decay=decay)
    optimiser = build_optimizer(list(layer.named_parameters()), config)
    for gradient in gradients:
        layer.weight.grad, layer.bias.grad = gradient[:, :5].clone(), gradient[:, 5].clone()
        optimiser.step()
    expected = by_hand(matrix, gradients[:, :, :5], decay, adapt=True)
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-5, atol=1e-6)
    expected = by_hand(vector, gradients[:, :, 5], 0.0, adapt=False)
    torch.testing.assert_close(layer.bias.detach(), expected, rtol=1e-5, atol=1e-6)
