"""A tower over steps that are features already: projected, given positions, a transformer, projected again."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from accord.encoders.transformer import Transformer
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

    Example:
        >>> StepTower(6, 4, steps=9, width=8, depth=1, heads=2)(torch.zeros(2, 5, 6)).shape
        torch.Size([2, 5, 4])
    """

    def __init__(self, d_in: int, d: int, steps: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.enter = nn.Linear(d_in, width, bias=False)
        self.positions = nn.Parameter(width**-0.5 * torch.randn(steps, width))
        self.norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, depth, heads)
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
