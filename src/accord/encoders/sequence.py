"""Sequence encoders of precomputed features of steps, such as snippets or poses: a transformer, or one linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import SequenceInput
from accord.data.loading.streams import Stream
from accord.encoders.base import Encoder, Features
from accord.encoders.pooling import masked_mean
from accord.encoders.shapes import check_mask, check_shape
from accord.encoders.stages import longest_stack, stages_around
from accord.encoders.transformer import Transformer, sinusoids
from accord.errors import ConfigError

if TYPE_CHECKING:
    from accord.data.corpus import Corpus


class SequenceConfig(Config):
    """How the steps of a sequence are read."""

    features: int = Field(gt=0, description="width of a step, as it stands in the data")
    length: int = Field(64, gt=0, description="steps that a sequence is brought to")
    sampling: Literal["uniform", "slots", "window"] = Field(
        "uniform", description="how: steps evenly spaced, means of equal spans, or a run of steps"
    )
    seconds_per_step: float = Field(1.0, gt=0, description="seconds from one step to the next")
    unit_norm: bool = Field(False, description="make each step a vector of length 1")
    whole: bool = Field(False, description="keep all steps of a sequence outside of training, however many")

    @property
    def input(self) -> SequenceInput:
        """What an encoder with these settings is fed."""
        return SequenceInput(
            self.features, self.length, self.sampling, self.seconds_per_step, self.unit_norm, self.whole
        )


class TinySequenceConfig(SequenceConfig):
    """A small transformer over the steps of a sequence."""

    name: Literal["tiny_sequence"] = "tiny_sequence"
    width: int = Field(128, gt=0, multiple_of=2, description="width of a token; a multiple of heads")
    depth: int = Field(2, gt=0, description="number of blocks")
    heads: int = Field(4, gt=0, description="attention heads")


class TinySequenceEncoder(Encoder):
    """Each step normalised and projected, a transformer over them, their mean; the main sequence is ``steps``.

    Args:
        config: its :class:`TinySequenceConfig`.

    Raises:
        ConfigError: heads do not divide the width.

    Example:
        >>> import torch
        >>> encoder = TinySequenceEncoder(TinySequenceConfig(features=5, width=16))
        >>> encoder(torch.zeros(2, 7, 5)).pooled.shape
        torch.Size([2, 16])
    """

    modality = "sequence"
    gives = frozenset({"pooled", "tokens", "steps", "layers"})

    def __init__(self, config: TinySequenceConfig) -> None:
        super().__init__()
        if config.width % config.heads:
            raise ConfigError(f"tiny_sequence: heads = {config.heads} must divide width = {config.width}")
        self.config = config
        self.dim = config.width
        self.input = config.input
        self.enter = nn.Sequential(nn.LayerNorm(config.features), nn.Linear(config.features, config.width))
        self.transformer = Transformer(config.width, config.depth, config.heads)
        self.layer_norm = nn.LayerNorm(config.width)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of steps ``(B, T, F)``; ``mask`` ``(B, T)`` is True on real ones.

        Raises:
            ShapeError: steps or mask are not of that shape.
        """
        check_shape("sequence", x, "B", "T", self.config.features)
        check_mask("sequence_mask", mask, *x.shape[:2])
        steps = self.enter(x if mask is None else x.masked_fill(~mask[..., None], 0))
        steps = steps + sinusoids(steps.shape[1], self.dim, x.device).to(steps.dtype)
        steps = self.layer_norm(self.transformer(steps, mask))
        return Features(masked_mean(steps, mask), streams={"steps": Stream(steps, mask)}, main="steps")

    def blocks(self) -> list[nn.Module]:
        """The projection, then the transformer's blocks."""
        return stages_around(self, longest_stack(self))

    def spec(self) -> dict[str, Any]:
        """The configuration."""
        return self.config.model_dump(mode="json")


class StepProjectionConfig(SequenceConfig):
    """One linear layer on each step of a sequence."""

    name: Literal["step_projection"] = "step_projection"
    width: int = Field(128, gt=0, description="width of a step after it")


class StepProjectionEncoder(Encoder):
    """Each step through one linear layer, and their mean: for features of a network that has seen enough.

    Args:
        config: its :class:`StepProjectionConfig`.

    Example:
        >>> import torch
        >>> encoder = StepProjectionEncoder(StepProjectionConfig(features=5, width=16))
        >>> encoder(torch.zeros(2, 7, 5)).stream("steps").values.shape
        torch.Size([2, 7, 16])
    """

    modality = "sequence"
    gives = frozenset({"pooled", "tokens", "steps"})

    def __init__(self, config: StepProjectionConfig) -> None:
        super().__init__()
        self.config, self.dim, self.input = config, config.width, config.input
        self.project = nn.Linear(config.features, config.width)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of steps ``(B, T, F)``; ``mask`` ``(B, T)`` is True on real ones.

        Raises:
            ShapeError: steps or mask are not of that shape.
        """
        check_shape("sequence", x, "B", "T", self.config.features)
        check_mask("sequence_mask", mask, *x.shape[:2])
        steps = self.project(x if mask is None else x.masked_fill(~mask[..., None], 0))
        return Features(masked_mean(steps, mask), streams={"steps": Stream(steps, mask)}, main="steps")

    def blocks(self) -> list[nn.Module]:
        """The layer."""
        return [self.project]

    def spec(self) -> dict[str, Any]:
        """The configuration."""
        return self.config.model_dump(mode="json")


def build_step_projection(
    config: StepProjectionConfig, *, weights: Any = False, texts: Any = None
) -> StepProjectionEncoder:
    """One linear layer with random weights; see :func:`accord.encoders.build_encoder`."""
    return StepProjectionEncoder(config)


def build_tiny_sequence(config: TinySequenceConfig, *, weights: Any = False, texts: Any = None) -> TinySequenceEncoder:
    """A small transformer with random weights; see :func:`accord.encoders.build_encoder`."""
    return TinySequenceEncoder(config)


def describe_steps(corpus: Corpus, field: str, **options: Any) -> dict[str, Any]:
    """Settings of an encoder for a field of these rows: how wide a step is, they say."""
    width = corpus.sample(0, (field,))[field].values.shape[1]
    return {"features": width, **options}
