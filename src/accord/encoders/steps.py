"""Steps as they are: features that another network has computed already, and the mix of two streams of them."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from accord.data.loading.streams import Stream
from accord.encoders.base import Encoder, Features
from accord.encoders.pooling import masked_mean
from accord.encoders.sequence import SequenceConfig
from accord.encoders.shapes import check_mask, check_shape


class StepsConfig(SequenceConfig):
    """Precomputed features of steps, as they are."""

    name: Literal["steps"] = "steps"
    streams: Literal[1, 2] = Field(1, description="2: a step is two vectors of equal width side by side, to be mixed")
    blend: float = Field(0.8, ge=0, le=1, description="share of the first of them in the mix")

    @model_validator(mode="after")
    def _halves(self) -> StepsConfig:
        if self.features % self.streams:
            raise ValueError(f"features = {self.features} are no two vectors of equal width: leave streams at 1")
        return self


class StepsEncoder(Encoder):
    """The steps themselves, without parameters; the main sequence is ``steps``.

    Two streams side by side (of CiCo, features of a network that knows nothing of these data, then of its copy that was
    adapted to them) are mixed: ``blend · first + (1 - blend) · second``.

    Args:
        config: its :class:`StepsConfig`.

    Example:
        >>> both = StepsEncoder(StepsConfig(features=2, streams=2, blend=0.75))
        >>> both(torch.tensor([[[4.0, 8.0], [0.0, 4.0]]])).tokens
        tensor([[[5.],
                 [1.]]])
    """

    modality = "sequence"
    gives = frozenset({"pooled", "tokens", "steps"})

    def __init__(self, config: StepsConfig) -> None:
        super().__init__()
        self.config, self.input = config, config.input
        self.dim = config.features // config.streams

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Steps ``(B, T, F)``; ``mask`` ``(B, T)`` is True on real ones.

        Raises:
            ShapeError: steps or mask are not of that shape.
        """
        check_shape("sequence", x, "B", "T", self.config.features)
        check_mask("sequence_mask", mask, *x.shape[:2])
        steps = x if mask is None else x.masked_fill(~mask[..., None], 0)
        if self.config.streams == 2:
            first, second = steps.chunk(2, dim=2)
            steps = torch.lerp(second, first, self.config.blend)
        return Features(masked_mean(steps, mask), streams={"steps": Stream(steps, mask)}, main="steps")

    @property
    def frozen(self) -> bool:
        """False: there is nothing that costs anything, so nothing to be computed once and stored."""
        return False

    def blocks(self) -> list[nn.Module]:
        """None."""
        return []

    def spec(self) -> dict[str, Any]:
        """The configuration."""
        return self.config.model_dump(mode="json")


def build_steps(config: StepsConfig, *, weights: Any = False, texts: Any = None) -> StepsEncoder:
    """Steps as they are; see :func:`accord.encoders.build_encoder`."""
    return StepsEncoder(config)
