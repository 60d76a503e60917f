"""Settings of CLOSE, its frozen space, which is that of any model that embeds, and what moves text vectors in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.inputs import TextInput
from accord.errors import ConfigError
from accord.functional import GapStats, GaussianNoise, LinearAdapter, MeanShift, StructuredNoise
from accord.methods.abilities import Embeds
from accord.methods.base import Batch, DataInfo, Method
from accord.methods.registry import get_method

Head = Literal["classification", "entailment", "answers", "captions"]
NOISE = {"classification": 0.08, "entailment": 0.08, "answers": 0.04, "captions": 0.12}  # at the paper's 768 dimensions
NOISE_OTHERS, NOISE_DIM = 0.04, 768


class SpaceConfig(settings.Config):
    """What rebuilds the model whose space it is, but for its weights."""

    method: str = Field("bundle", description="its method")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of that")
    facts: dict[str, Any] = Field(default_factory=dict, description="what it knew of its training data")

    @property
    def kind(self) -> type[Method]:
        """The method's class."""
        return get_method(self.method)

    @property
    def wants(self) -> Mapping[str, frozenset[str]]:
        """What it wants of which encoder."""
        return self.kind.wants(self.kind.Config.parse(self.settings))


class CloseConfig(settings.Config):
    """Settings of :class:`Close`; defaults from the paper, whose language model is a pretrained T5-base."""

    head: Head = Field(
        "classification",
        description="what is learnt: classes of texts; whether a premise entails input_text (its label); answers to "
        "the question in input_text; captions",
    )
    adapter: Literal["noise", "shift", "linear", "cov", "random", "none"] = Field(
        "noise",
        description="what moves text vectors in training: noise alone; the mean shift, the linear map or the "
        "covariance of the gap that pairs show, each with noise; a random fixed shift with noise; nothing",
    )
    noise: float | None = Field(
        None,
        ge=0,
        description="standard deviation of the noise in each dimension; none takes what gives a text and its copy the "
        "mean cosine of the pairs, or without pairs the paper's for this head, brought to the size of the space",
    )
    shift_scale: float = Field(1.0, ge=0, description="factor on the shift; of random: its length")
    cov_factor: float = Field(3.0, ge=0, description="factor on the noise of the covariance")
    ridge: float = Field(0.0, ge=0, description="penalty of the linear map")
    texts: Literal["one", "mean"] = Field(
        "one",
        description="what stands in a picture's place: one caption of a row, drawn each epoch, or the mean of all",
    )
    targets: Literal["same", "others"] = Field(
        "same", description="captions to be written: the one that stands in the picture's place, or the row's others"
    )
    reads_input: bool = Field(False, description="captions: read input_text as well, such as a news article")
    hidden: int = Field(256, ge=0, description="classification: width of the hidden layer; 0 for a linear head")
    prefix: int = Field(4, ge=1, description="pseudo tokens that a vector becomes")
    constant: int = Field(0, ge=0, description="learned tokens before them")
    width: int = Field(256, ge=1, description="width of the language model's tokens")
    depth: int = Field(3, ge=1, description="its layers, of the encoder and of the decoder")
    heads: int = Field(4, ge=1, description="its attention heads")
    space: SpaceConfig = Field(
        default_factory=SpaceConfig, description="whose space it is; filled in from the run's space or bundle"
    )

    @property
    def reads_words(self) -> bool:
        """Whether ``input_text`` is read."""
        return self.head in ("entailment", "answers") or (self.head == "captions" and self.reads_input)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width = {self.width} is no multiple of heads = {self.heads}")
        if self.targets == "others" and self.texts == "mean":
            raise ValueError("targets = others leaves out the caption that is read; with texts = mean all are")
        return self


def space_of(model: Method) -> SpaceConfig:
    """The space of a model.

    Args:
        model: what embeds texts and something else.

    Raises:
        ConfigError: it does not.

    Example:
        >>> from accord.encoders import build_encoder
        >>> from accord.methods.pretrained.bundle import JointSpace
        >>> blind = JointSpace({"modalities": ["text"]}, {"text": build_encoder("text", "tiny_text", texts=["a"])},
        ...                    DataInfo())
        >>> space_of(blind)
        Traceback (most recent call last):
        accord.errors.ConfigError: space: method bundle embeds text; expected texts and ...
    """
    able = Embeds.of(model)
    embeds = () if able is None else able.embeds
    if "text" not in embeds or len(embeds) < 2:
        raise ConfigError(
            f"space: method {model.name} embeds {', '.join(embeds) or 'nothing'}; expected texts and something that "
            "they describe, such as the run of clip, house, or clip:FOLDER"
        )
    facts = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(model.data).items()}
    return SpaceConfig(method=model.name, settings=model.config.model_dump(mode="json"), facts=facts)


class Space(nn.Module):
    """A model that embeds, frozen and never in training mode, on encoders that belong to somebody else.

    Args:
        config: what it is.
        encoders: modality -> encoder; they are frozen here.

    Raises:
        ConfigError: it does not embed texts and something else.
    """

    def __init__(self, config: SpaceConfig, encoders: nn.ModuleDict) -> None:
        super().__init__()
        for encoder in encoders.values():
            encoder.freeze("all")  # type: ignore[operator]
        self.method = config.kind(config.settings, dict(encoders.items()), DataInfo.parse(config.facts))  # type: ignore[arg-type]
        space_of(self.method)
        # Seen and not owned: the weights of encoders are saved once, under the name of who owns them.
        del self.method.encoders
        object.__setattr__(self.method, "encoders", encoders)
        self.requires_grad_(False).train(False)
        self.dim = self._measured()

    @property
    def able(self) -> Embeds:
        """The model as one that embeds."""
        able = Embeds.of(self.method)
        assert able is not None  # checked when it was built
        return able

    @property
    def embeds(self) -> tuple[str, ...]:
        """Modalities."""
        return tuple(self.able.embeds)

    @property
    def media(self) -> tuple[str, ...]:
        """Modalities besides text."""
        return tuple(name for name in self.embeds if name != "text")

    @property
    def training_only(self) -> tuple[str, ...]:
        """Name prefixes of what the model needs for training alone."""
        return tuple(f"method.{name}" for name in self.method.training_only)

    def train(self, mode: bool = True) -> Space:
        """Stays as it is used."""
        return super().train(False)

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Unit norm ``{modality: (B, D)}``, float32, without gradient."""
        return self._without_gradient(self.able.embed, batch)

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """The same with the lengths that they had, where the model knows them."""
        return self._without_gradient(self.able.vectors, batch)

    def load(self, model: Method) -> None:
        """Take the weights of a model of the same kind, but for the encoders and what only training needs."""
        own = self.method.state_dict()
        state = {name: value for name, value in model.state_dict().items() if name in own}
        self.method.reshape(state)
        self.method.load_state_dict(state)

    def _without_gradient(self, work: Any, batch: Batch) -> dict[str, Tensor]:
        held = {name: value for name, value in batch.items() if value is not None}
        device = next(self.method.encoders.parameters()).device.type
        with torch.no_grad(), torch.autocast(device, enabled=False):
            return {name: vectors.float() for name, vectors in work(held).items()}

    def _measured(self) -> int:
        """Size of its vectors, of a text."""
        fed = self.method.inputs["text"]
        assert isinstance(fed, TextInput)
        ids, mask = fed.tokenizer(["a"])
        device = next(self.method.encoders.parameters()).device
        return self.embed({"text": ids.to(device), "text_mask": mask.to(device)})["text"].shape[1]


def usual_noise(config: CloseConfig, dim: int) -> float:
    """The paper's level for a task, brought from 768 dimensions to others at the same cosine of a text and its copy.

    >>> usual_noise(CloseConfig(head="captions"), 768), usual_noise(CloseConfig(head="captions"), 192)
    (0.12, 0.24)
    """
    usual = NOISE_OTHERS if config.targets == "others" else NOISE[config.head]
    return usual * math.sqrt(NOISE_DIM / dim)


def build_adapter(config: CloseConfig, dim: int, noise: float, gap: GapStats | None = None) -> nn.Module:
    """What moves text vectors ``(B, D)`` in training.

    Args:
        config: which, and its factors.
        dim: D.
        noise: level of the noise.
        gap: what pairs show; None where there were none, or where it will be loaded.
    """
    if config.adapter == "none":
        return GaussianNoise(0.0)
    if config.adapter == "noise":
        return GaussianNoise(noise)
    if config.adapter == "random":
        return MeanShift(nn.functional.normalize(torch.randn(dim), dim=0), config.shift_scale, noise)
    empty = torch.zeros(dim, dim)
    shift = torch.zeros(dim) if gap is None else gap.mean_diff
    if config.adapter == "shift":
        return MeanShift(shift, config.shift_scale, noise)
    if config.adapter == "linear":
        return LinearAdapter(*((empty, shift) if gap is None else gap.linear), noise)
    return StructuredNoise(empty if gap is None else gap.cov, config.shift_scale * shift, config.cov_factor, noise)
