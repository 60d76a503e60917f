"""Transformers over steps that are features already: a tower between projections, and one that is added to them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from accord.encoders.transformer import ActivationName, Transformer
from accord.functional.checks import check_range, check_shape


class StepTower(nn.Module):
    """The video tower of CiCo (Cheng et al. 2023, CVPR): tokens of another space, one for each step.

    Its class token, which nothing attends to and no similarity reads, is left out.

    Args:
        d_in: width of a step.
        d: width of the tokens that come out.
        steps: the most there are, each with a learned position.
        width: of the transformer.
        depth: its blocks.
        heads: its attention heads; divide ``width``.
        activation: inside its MLPs.

    Example:
        >>> StepTower(6, 4, steps=9, width=8, depth=1, heads=2)(torch.zeros(2, 5, 6)).shape
        torch.Size([2, 5, 4])
    """

    def __init__(
        self, d_in: int, d: int, steps: int, width: int, depth: int, heads: int, activation: ActivationName = "gelu"
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(d_in, width, bias=False)
        self.positions = nn.Parameter(width**-0.5 * torch.randn(steps, width))
        self.norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, depth, heads, activation=activation)
        self.leave = nn.Linear(width, d, bias=False)
        nn.init.normal_(self.leave.weight, std=width**-0.5)

    def forward(self, steps: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(B, N, d_in)`` to ``(B, N, d)``.

        Args:
            steps: ``(B, N, d_in)``, N at most the number of positions.
            mask: ``(B, N)`` bool, False for padding, which is not attended to; each row has a real step.

        Raises:
            ShapeError: steps of another width.
            ValueError: more of them than there are positions.
        """
        check_shape((None, None, self.enter.in_features), steps=steps)
        check_range(0, len(self.positions), number_of_steps=steps.shape[1])
        tokens = self.norm(self.enter(steps) + self.positions[: steps.shape[1]])
        return self.leave(self.last_norm(self.transformer(tokens, mask)))


class AddedSteps(nn.Module):
    """The sequence head of CLIP4Clip: what a transformer with learned positions reads in steps, added to them.

    Args:
        dim: width D of a step.
        steps: the most there are, each with a position.
        depth: blocks of the transformer.
        heads: its attention heads; divide ``dim``.
        activation: inside its MLPs.

    Example:
        >>> AddedSteps(8, steps=6, depth=1, heads=2)(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, dim: int, steps: int, depth: int, heads: int, activation: ActivationName = "quick_gelu") -> None:
        super().__init__()
        self.positions = nn.Parameter(0.01 * torch.randn(steps, dim))  # as CLIP's text tower has them
        self.transformer = Transformer(dim, depth, heads, activation=activation)

    def forward(self, steps: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(B, N, D)`` to the same.

        Args:
            steps: ``(B, N, D)``, N at most the number of positions.
            mask: ``(B, N)`` bool, False for padding, which is not attended to; each row has a real step.

        Raises:
            ShapeError: steps of another width.
            ValueError: more of them than there are positions.
        """
        check_shape((None, None, self.positions.shape[1]), steps=steps)
        check_range(0, len(self.positions), number_of_steps=steps.shape[1])
        return steps + self.transformer(steps + self.positions[: steps.shape[1]], mask)
