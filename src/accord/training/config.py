"""How long, how fast and on what a method is trained: the settings that do not depend on the method.

The defaults are the small-CPU profile of CLIP (Radford et al. 2021, with a learning rate and a batch that fit
two cores); what a method's paper asks for instead stands on its card, as its recipe, and is passed in.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from accord.config import Config, OptimizerName, ScheduleName

# What may change between a run and its resumption without changing the result that is computed.
_MACHINE = frozenset({"workers", "compile", "checkpoint_every", "devices", "accelerator", "strategy", "log_every"})
_WATCHED = frozenset({"probe_every", "probe", "loggers"})
_LATER = frozenset(  # first runs had none
    {"accumulate", "schedule", "lr_floor", "power", "milestones", "gamma", "share_batch_norm", "epoch_rows"}
)

LoggerName = Literal["csv", "tensorboard", "wandb", "mlflow"]


class TrainingConfig(Config):
    """Settings of :func:`accord.training.fit.fit`.

    Example:
        >>> TrainingConfig(epochs=3).batch_size
        128
        >>> TrainingConfig.parse({"lr": 0}, at="training")
        Traceback (most recent call last):
        accord.errors.ConfigError: training.lr = 0: input should be greater than 0
        >>> TrainingConfig.parse({"batch_size": 100, "devices": 3}, at="training")
        Traceback (most recent call last):
        accord.errors.ConfigError: training: batch_size = 100 does not divide among devices = 3
    """

    epochs: int = Field(10, ge=1, description="passes over the training rows, for stages that do not say")
    epoch_rows: int | None = Field(
        None,
        ge=1,
        description="rows of an epoch, where all are too many: the next epoch goes on with those that have not come",
    )
    batch_size: int = Field(128, ge=1, description="rows of one optimiser step, over all devices together")
    micro_batch: int | None = Field(
        None, ge=1, description="rows forwarded at once on one device (gradient caching); None forwards all"
    )
    accumulate: int = Field(
        1, ge=1, description="batches of one optimiser step, each with a loss of its own; their gradients are averaged"
    )
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(
        0.1, ge=0, description="decay of the matrices; vectors, positions and learned queries have none"
    )
    betas: tuple[float, float] = Field(
        (0.9, 0.98), description="averaging of gradient and square in AdamW, Adam and LAMB, in [0, 1)"
    )
    eps: float = Field(1e-6, gt=0, description="denominator offset of AdamW, Adam, RMSprop and LAMB")
    optimizer: OptimizerName = Field(
        "adamw",
        description="AdamW, Adam (whose decay is part of the gradient), SGD with momentum, RMSprop, or LARS and LAMB: "
        "SGD and AdamW whose step on a matrix is relative to its norm",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD and LARS")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of a stage's steps with rising learning rate")
    schedule: ScheduleName = Field("cosine", description="how the learning rate goes on after that")
    lr_floor: float = Field(0.0, ge=0, lt=1, description="share of the peak at which cosine and poly end")
    power: float = Field(0.9, gt=0, description="poly: exponent of the share of steps that is left")
    milestones: tuple[float, ...] = Field(
        (0.6, 0.8), description="step: shares of a stage's steps after which the learning rate drops, in (0, 1)"
    )
    gamma: float = Field(0.1, gt=0, lt=1, description="step: factor of each drop")
    grad_clip: float | None = Field(None, gt=0, description="largest gradient norm, or None for no clipping")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="arithmetic of the networks; auto is bf16 on CUDA cards that have it, else fp32; fp16, with a "
        "scaled loss, is for those that have not",
    )
    compile: str | None = Field(
        None, description="backend by which torch.compile compiles the encoders, such as inductor, or None for none"
    )
    ema: float | None = Field(None, gt=0, lt=1, description="decay of the averaged weights that are kept, or None")
    seed: int = Field(0, ge=0, description="seed of data order, augmentation and dropout")
    workers: int | None = Field(
        None,
        ge=0,
        description="processes that decode and augment, per device; null is none on a CPU, and what there are for each "
        "device, at most 8, on others",
    )
    checkpoint_every: int = Field(500, ge=1, description="optimiser steps between checkpoints")
    log_every: int = Field(10, ge=1, description="optimiser steps averaged in one line of train.jsonl")
    probe_every: int | None = Field(
        None, ge=1, description="epochs between measurements of held-out rows during training, or None for none"
    )
    probe: tuple[str, ...] = Field(
        ("knn", "linear_probe"), description="tasks that are measured then, as in accord evaluate --task"
    )
    devices: int = Field(1, ge=1, description="processes, one per device")
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="kind of device")
    strategy: Literal["auto", "ddp", "fsdp"] = Field(
        "auto",
        description="auto is ddp as soon as there are two devices; fsdp shards the blocks of trained encoders",
    )
    share_batch_norm: bool = Field(
        True, description="batch norm over the rows of all devices, as one device would; else each over its own"
    )
    loggers: tuple[LoggerName, ...] = Field(
        (), description="where the curves go beside train.jsonl: csv, and tensorboard, wandb, mlflow by their extras"
    )
    cache_features: bool = Field(True, description="compute the features of frozen encoders once and store them")
    cached_augmentations: int = Field(
        4, ge=1, description="augmented copies of an image stored for a frozen encoder, for each of the method's views"
    )

    @model_validator(mode="before")
    @classmethod
    def _tensorboard_is_a_logger(cls, values: Any) -> Any:
        """Runs of before there were several say ``tensorboard: true``."""
        if not isinstance(values, dict) or "tensorboard" not in values:
            return values
        rest = {name: value for name, value in values.items() if name != "tensorboard"}
        named = [*rest.get("loggers", ()), *(["tensorboard"] if values["tensorboard"] else [])]
        return rest | {"loggers": list(dict.fromkeys(named))}

    @field_validator("betas")
    @classmethod
    def _betas_below_one(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("both should be at least 0 and less than 1")
        return betas

    @field_validator("milestones")
    @classmethod
    def _milestones_in_order(cls, milestones: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < share < 1 for share in milestones) or list(milestones) != sorted(set(milestones)):
            raise ValueError("all should be more than 0, less than 1, and ascending")
        return milestones

    @model_validator(mode="after")
    def _rows_divide(self) -> TrainingConfig:
        if self.batch_size % self.devices:
            raise ValueError(f"batch_size = {self.batch_size} does not divide among devices = {self.devices}")
        if self.batch_size % (self.accumulate * self.devices):
            among = f"accumulate = {self.accumulate}" + (f" x devices = {self.devices}" if self.devices > 1 else "")
            raise ValueError(f"batch_size = {self.batch_size} does not divide among {among}")
        return self

    def decisive(self) -> dict[str, object]:
        """The settings that a resumed run must share with the run it continues.

        Those that there were not always are left out at their defaults, which are what was done before.

        >>> "workers" in TrainingConfig().decisive()
        False
        >>> [name for name in TrainingConfig(schedule="poly").decisive() if name in ("schedule", "power")]
        ['schedule']
        """
        usual = {name for name in _LATER if getattr(self, name) == type(self).model_fields[name].default}
        return self.model_dump(mode="json", exclude=set(_MACHINE | _WATCHED) | usual)
