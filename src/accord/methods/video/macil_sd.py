"""MACIL-SD: Modality-Aware Contrastive Instance Learning with Self-Distillation (Yu et al., ACM Multimedia 2022).

A recording is a bag of steps with one label: something happens in it, or nothing does. Streams of several sensors read
each other through one shared layer of cross-attention; the surest steps, by the sum of the streams' logits, decide what
the bag is called. What each stream takes for the event is contrasted with background and normal steps of the others,
which may show the same event earlier or later. Beside it a network of one stream alone is trained on the same labels,
and after every epoch its weights are blended into those that it shares with the large one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor, nn

from accord import config as settings
from accord.data.fields import encoded_fields, read_by
from accord.data.inputs import SequenceInput
from accord.data.loading.streams import Stream
from accord.encoders.base import Encoder
from accord.encoders.heads.instances import InstanceStreams, ScoredBags
from accord.encoders.pooling import pooled_onto
from accord.encoders.sequence import StepProjectionEncoder
from accord.errors import ConfigError, no_such
from accord.functional import (
    SemiBags,
    cosine_momentum,
    gather_bags,
    instance_contrast,
    linear_ramp,
    semi_bags,
    warmup_cosine_at,
)
from accord.methods.abilities import Ability, Classifies, ScoresMoments, Timeline
from accord.methods.base import Batch, DataInfo, Group, Method, Optimiser, Stage, Step
from accord.methods.timelines import spans_of
from accord.state import ema_blend

EXPERTS = "experts"  # the optimiser of the networks of one stream
IN_TIME = {"video": "frames", "audio": "steps", "sequence": "steps"}  # modality -> the stream that lies in time
NOTHING = ("normal", "background", "none", "nothing", "no", "negative", "false", "0")


def _in_time(field: str) -> str:
    known = [name for name in encoded_fields() if read_by(name) in IN_TIME]
    if field not in known:
        raise ValueError(f"expected one of {', '.join(known)}")
    return field


Timed = Annotated[str, AfterValidator(_in_time)]


class MacilSDConfig(settings.Config):
    """Settings of :class:`MacilSD`; defaults from the paper's released code."""

    modalities: tuple[Timed, ...] = Field(
        ("sequence", "second_sequence"),
        min_length=2,
        description="the streams; the steps of the first are scored, and the others are brought to them",
    )
    background: str | None = Field(
        None, description="the class of rows in which nothing happens; None for one called normal, none, 0, …"
    )
    dim: int = Field(128, gt=0, description="width of the network; a multiple of heads")
    heads: int = Field(4, gt=0, description="attention heads")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of what attention and MLP add that is dropped")
    ratio: int = Field(16, ge=1, description="steps of a row for each further one that decides what it is called")
    mask_keys: bool = Field(True, description="hide padding from attention; the released code reads it")
    temperature: float = Field(0.1, gt=0, description="divides the cosines of the contrast")
    background_weight: float = Field(
        1.5, ge=0, description="weight of the contrast with the background, at its highest"
    )
    normal_weight: float = Field(1.5, ge=0, description="weight of that with rows without an event")
    ramp: float = Field(0.1, ge=0, description="how much both weights grow in ramp_steps steps")
    ramp_steps: int = Field(154, ge=1, description="steps of an epoch of the paper")
    contrast_start: float = Field(0.0, ge=0, lt=1, description="share of the steps before the weights begin to grow")
    bag_type: Literal["prediction", "label", "both"] = Field(
        "prediction",
        description="what says that a row holds the event: the prediction, the label, or both, so that rows with the "
        "label that are not recognised give background alone",
    )
    experts: tuple[Timed, ...] | None = Field(
        None, description="modalities with a network of their own, whose weights are blended in; None for the first"
    )
    momentum: float = Field(
        0.91, ge=0, le=1, description="share of its own weights that it keeps after the first epoch"
    )
    expert_lr: float = Field(0.2, gt=0, description="learning rate of these networks over that of the rest")
    horizon: float = Field(1.2, ge=1, description="length of the cosine of the learning rate over that of training")

    @model_validator(mode="after")
    def _experts_among_different_modalities(self) -> Self:
        if len(set(self.modalities)) < len(self.modalities):
            raise ValueError(f"modalities = {self.modalities}: each once")
        unknown = set(self.experts or ()) - set(self.modalities)
        if unknown:
            raise ValueError(f"experts = {self.experts}: {sorted(unknown)[0]!r} is not among the modalities")
        if self.dim % self.heads:
            raise ValueError(f"heads = {self.heads} must divide dim = {self.dim}")
        return self


class MacilSD(Method, ScoresMoments, Classifies):
    """MACIL-SD over any encoders that give steps in time.

    Batch keys: the modalities, their masks and times; ``label (B,)`` or ``(B, C)``. The streams of a row last equally
    long, whatever their numbers of steps. Encoders that are trained have a copy in the network of their stream.

    Example:
        >>> from accord.encoders import build_encoder
        >>> spec = {"name": "step_projection", "features": 5, "width": 8}
        >>> encoders = {name: build_encoder("sequence", spec) for name in ("sequence", "second_sequence")}
        >>> method = MacilSD({"dim": 8}, encoders, DataInfo(classes=("fight", "normal")))
        >>> batch = {"sequence": torch.zeros(2, 6, 5), "second_sequence": torch.zeros(2, 3, 5)}
        >>> sorted(method.loss({**batch, "label": torch.tensor([0, 1])}, Step()))
        ['background', 'bags', 'contrast_weight', 'normal', 'total']
        >>> method.event, method.score_moments(batch)[0].scores.shape
        ('fight', torch.Size([6]))
    """

    name: ClassVar[str] = "macil_sd"
    learns_labels: ClassVar[bool] = True
    training_only: ClassVar[tuple[str, ...]] = ("experts.",)
    Config: ClassVar[type[settings.Config]] = MacilSDConfig
    needs: Mapping[str, frozenset[str]] = {}
    config: MacilSDConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        cfg = self.config
        self.nothing = _nothing(data.classes, cfg.background)
        self.lacks: frozenset[type[Ability]] = frozenset(() if len(data.classes) == 2 else (Classifies,))
        self.network = self._network(cfg.modalities)
        self.experts = nn.ModuleDict({name: self._expert(name) for name in self.taught})

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """Steps in time of each modality."""
        return {name: frozenset({IN_TIME[read_by(name)]}) for name in config.modalities}

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """One linear layer on features that are given, which the network then reads as they are; for sound a small
        network to train."""
        layer = {"name": "step_projection", "options": {"width": config.dim, "length": 200, "whole": True}}
        usual: dict[str, Mapping[str, Any]] = {"sequence": layer, "audio": {"name": "tiny_audio"}}
        return {name: usual[read_by(name)] for name in config.modalities if read_by(name) in usual}

    @classmethod
    def default_training(cls, config: Any) -> Mapping[str, Any]:
        """Those of the released code."""
        usual = {"epochs": 50, "batch_size": 128, "lr": 4e-4, "optimizer": "adam", "weight_decay": 0.0}
        return {**usual, "betas": (0.9, 0.999), "eps": 1e-8, "warmup": 0.0}

    # --- training ---

    @property
    def taught(self) -> tuple[str, ...]:
        """The modalities with a network of their own."""
        return self.config.modalities[:1] if self.config.experts is None else self.config.experts

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One, in which the networks of single streams have an optimiser of their own."""
        own = (Optimiser(EXPERTS, parameters=("experts.",)),) if self.taught else ()
        return (Stage(optimisers=(Optimiser(), *own)),)

    def group(self, name: str) -> Group:
        """All follow one cosine, the networks of single streams lower."""
        return Group("all", lr_scale=self.config.expert_lr if name.startswith("experts.") else 1.0)

    def lr_factor(self, group: str, step: Step, warmup: int) -> float:
        """A cosine that training ends before: ``horizon`` times as long."""
        return warmup_cosine_at(step.index, warmup, round(self.config.horizon * step.total), base=1.0)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """``L_bags + λ_b L_background + λ_n L_normal``; of the networks of single streams ``L_bags`` of each."""
        happens = self._happens(batch["label"])
        if step.optimiser == EXPERTS:
            losses = {
                name: self._bag_loss(expert(batch, self.towers[name]), happens) for name, expert in self.experts.items()
            }
            terms = {f"{name}_bags": loss.detach() for name, loss in losses.items()}
            return {"total": torch.stack(list(losses.values())).sum(), **terms}
        found, cfg = self.scored(batch), self.config
        bags = self._bag_loss(found, happens)
        contrast = instance_contrast(self._semi_bags(found, happens), cfg.temperature)
        weights = self._ramped(cfg.background_weight, step), self._ramped(cfg.normal_weight, step)
        total = bags + weights[0] * contrast["background"] + weights[1] * contrast["normal"]
        terms = {"bags": bags, **contrast, "contrast_weight": bags.new_full((), max(weights))}
        return {"total": total, **{name: term.detach() for name, term in terms.items()}}

    def after_step(self, step: Step) -> None:
        """At the end of an epoch, blend the networks of single streams in, one after the other.

        The optimiser's averages stay as they are, and those networks receive nothing.
        """
        if (step.index + 1) % max(1, step.total // step.epochs):
            return
        momentum = cosine_momentum(step.epoch, step.epochs, self.config.momentum)
        for name, expert in self.experts.items():
            assert isinstance(expert, Expert)
            parts = {part: part for part in (f"entries.{name}", "layer", "head")}
            ema_blend(self.network, expert.network, momentum, parts)
            if expert.encoder is not None:
                ema_blend(self.towers[name], expert.encoder, momentum)

    def _ramped(self, maximum: float, step: Step) -> float:
        cfg = self.config
        return linear_ramp(step.index - round(cfg.contrast_start * step.total), cfg.ramp / cfg.ramp_steps, maximum)

    def _bag_loss(self, found: ScoredBags, happens: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(found.bag, happens.float())

    def _semi_bags(self, found: ScoredBags, happens: Tensor) -> dict[str, SemiBags]:
        """Of each stream by its own scores, those of all processes."""
        event, normal = found.bag.detach() > 0, None
        if self.config.bag_type != "prediction":
            event, normal = happens if self.config.bag_type == "label" else happens & event, ~happens
        of_stream = (
            semi_bags(found.streams[name], reps, found.lengths, event, normal, self.config.ratio)
            for name, reps in found.reps.items()
        )
        return dict(zip(found.reps, map(gather_bags, of_stream), strict=True))

    def _happens(self, label: Tensor) -> Tensor:
        """``(B,)`` bool, whether a row has a class besides that of nothing."""
        if label.ndim == 1:
            return label != self.nothing
        others = torch.arange(label.shape[1], device=label.device) != self.nothing
        return ((label > 0) & others).any(dim=1)

    # --- use ---

    @property
    def event(self) -> str:
        """The class of what happens, or "event" where there are several."""
        others = [name for place, name in enumerate(self.data.classes) if place != self.nothing]
        return others[0] if len(others) == 1 else "event"

    def classify(self, batch: Batch) -> Tensor:
        """Logits ``(B, 2)``: that of what happens, and 0 for that nothing does."""
        bag = self.scored(batch).bag
        return torch.stack([bag.new_zeros(len(bag)) if place == self.nothing else bag for place in range(2)], dim=1)

    def score_moments(self, batch: Batch) -> list[Timeline]:
        """Probability of the event in each step of the first stream."""
        streams = self._streams(batch)
        found, first = self._read(streams), self.config.modalities[0]
        fed, stream = self.inputs[first], streams[first]
        given = isinstance(fed, SequenceInput)  # whose seconds are those at which steps begin
        alone = fed.seconds_per_step if isinstance(fed, SequenceInput) else 1.0
        times = stream.times
        if times is None:
            times = torch.arange(stream.values.shape[1]).expand(stream.values.shape[:2])
        timelines = []
        for row, count in enumerate(found.lengths.tolist()):
            spans = spans_of(times[row, :count].float(), centred=not given, alone=alone)
            steps, *own = (logits[row, :count].sigmoid() for logits in (found.steps, *found.streams.values()))
            timelines.append(Timeline(spans.to(steps), steps, dict(zip(found.streams, own, strict=True))))
        return timelines

    def scored(self, batch: Batch) -> ScoredBags:
        """Logits and representations of all steps, and the logit of each row."""
        return self._read(self._streams(batch))

    def _streams(self, batch: Batch) -> dict[str, Stream]:
        return {name: _steps(name, self.towers[name], batch) for name in self.config.modalities}

    def _read(self, streams: Mapping[str, Stream]) -> ScoredBags:
        """What the network makes of all streams, those after the first on the steps of the first."""
        mask = streams[self.config.modalities[0]].real()
        steps = {
            name: pooled_onto(stream.values, stream.mask, mask) if place else stream.values
            for place, (name, stream) in enumerate(streams.items())
        }
        found: ScoredBags = self.network(steps, mask)
        return found

    @property
    def towers(self) -> dict[str, Encoder]:
        """The encoders by modality."""
        return dict(self.encoders.items())  # type: ignore[arg-type]

    def _network(self, names: Sequence[str]) -> InstanceStreams:
        cfg = self.config
        widths = {name: _width(self.towers[name], name, cfg.dim) for name in names}
        return InstanceStreams(widths, cfg.dim, cfg.heads, cfg.dropout, cfg.ratio, cfg.mask_keys)

    def _expert(self, name: str) -> Expert:
        encoder = self.towers[name]
        return Expert(name, self._network([name]), None if encoder.frozen else deepcopy(encoder))


class Expert(nn.Module):
    """The network of one stream, with an encoder of its own where encoders learn: nothing is trained by two losses.

    Args:
        name: of the stream.
        network: of that stream alone.
        encoder: its own, or None to take the method's.
    """

    def __init__(self, name: str, network: InstanceStreams, encoder: Encoder | None) -> None:
        super().__init__()
        self.name, self.network, self.encoder = name, network, encoder

    def forward(self, batch: Batch, encoder: Encoder) -> ScoredBags:
        """What it makes of its stream; ``encoder`` is the method's."""
        stream = _steps(self.name, self.encoder or encoder, batch)
        found: ScoredBags = self.network({self.name: stream.values}, stream.real())
        return found


def _steps(name: str, encoder: Encoder, batch: Batch) -> Stream:
    """The stream in time that an encoder makes of a field of the batch."""
    features = encoder(batch[name], batch.get(f"{name}_mask"), times=batch.get(f"{name}_times"))
    return features.stream(IN_TIME[read_by(name)])


def _width(encoder: Encoder, name: str, dim: int) -> int | None:
    """Width of an encoder's steps; None where it is no more than the layer by which they enter the network."""
    width = encoder.stream_dim(IN_TIME[read_by(name)])
    return None if isinstance(encoder, StepProjectionEncoder) and width == dim else width


def _nothing(classes: Sequence[str], named: str | None) -> int:
    """Which class is that of rows in which nothing happens.

    Raises:
        ConfigError: there are fewer than two classes, or not this one.

    Example:
        >>> _nothing(("fight", "Normal"), None), _nothing(("calm", "fight"), None), _nothing(("a", "b"), "b")
        (1, 0, 1)
    """
    if len(classes) < 2:
        raise ConfigError(f"method macil_sd needs labels of at least 2 classes, got {len(classes)}")
    if named is not None:
        if named not in classes:
            raise ConfigError(f"method.background = {named!r}: {no_such('class', named, classes)}")
        return classes.index(named)
    return next((place for place, name in enumerate(classes) if name.lower() in NOTHING), 0)
