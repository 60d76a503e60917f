"""What can be known to go wrong before the first step: found out before a run takes its folder and reads on."""

from __future__ import annotations

from dataclasses import replace

import torch

from accord.data.augmenting.views import expand
from accord.data.corpus import Corpus
from accord.data.inputs import ImageInput
from accord.data.loading.order import Known, Repeated, Sampling, usual
from accord.encoders.base import Encoder
from accord.errors import ConfigError, DataError, no_such, require
from accord.methods.base import Method, TwoTower
from accord.training.config import TrainingConfig
from accord.training.device import resolve_device
from accord.training.precision import half_precision
from accord.training.stages import check_stages, settings_of


def check_machine(config: TrainingConfig) -> None:
    """Refuse what this machine does not have.

    Raises:
        ConfigError: there is no such device, there are too few, or it cannot compute as is asked.
        MissingExtraError: the package of a logger is not installed.
    """
    kind = resolve_device(config.accelerator, "training.accelerator").type
    if kind == "cuda" and config.devices > torch.cuda.device_count():
        raise ConfigError(f"training.devices = {config.devices}: torch finds {torch.cuda.device_count()} cuda devices")
    half_precision(config)
    if config.compile is not None and config.compile not in (known := torch.compiler.list_backends(())):
        raise ConfigError(no_such("backend", config.compile, known))
    for name in config.loggers:
        if name != "csv":  # Lightning's own
            require(name, name)


def check_start(method: Method, corpus: Corpus, config: TrainingConfig) -> None:
    """Refuse what the first step would fail at.

    Raises:
        ConfigError: the method's stages, their optimisers, ``micro_batch`` or ``strategy`` do not fit.
        DataError: there are too few rows for a step.
    """
    stages = check_stages(method)
    for stage in stages:
        for optimiser in stage.optimisers:
            settings_of(optimiser, config, stage)
    if not stages:
        return
    _check_micro_batch(method, config)
    if config.strategy == "fsdp":
        from accord.training.sharding import check_sharding

        check_sharding(method, stages, config)
    rows_per_step(method, corpus, config)


@torch.inference_mode()
def check_views(method: Method) -> None:
    """Show the image encoder an empty picture of each size that views have besides its own.

    Raises:
        ConfigError: it cannot take one of them.
    """
    encoder = dict(method.encoders.items()).get("image")
    if not isinstance(encoder, Encoder) or not isinstance(encoder.input, ImageInput):
        return
    side, training = encoder.input.size, encoder.training
    for size in {view.size or side for view in expand(method.views)} - {side}:
        try:
            encoder.eval()(torch.zeros(2, 3, size, size, device=method.device))
        except Exception as error:  # whatever the layers of an architecture say of a picture that does not fit them
            own = f", or {remedy}" if (remedy := method.one_size(side)) else ""
            raise ConfigError(
                f"method {method.name} shows the image encoder crops of {size} pixels, which it cannot take "
                f"({str(error).splitlines()[0]}): take an encoder of any size, such as --image-encoder tiny_resnet{own}"
            ) from error
        finally:
            encoder.train(training)


def rows_per_step(method: Method, corpus: Corpus, config: TrainingConfig) -> int:
    """Rows of an optimiser step: those of its batches together.

    Raises:
        DataError: see :func:`rows_per_batch`.
        ConfigError: likewise.
    """
    return rows_per_batch(method, corpus, config) * config.accumulate


def rows_per_batch(method: Method, corpus: Corpus, config: TrainingConfig) -> int:
    """Rows of the global batch: what the settings say, or what an epoch has where that is less, as a sampling cuts it.

    All rows where a graph is trained on as a whole. Each device gets the same number.

    Raises:
        DataError: a device would get fewer than two rows, which cannot be told apart from anything.
        ConfigError: the batches that the method declares do not divide among the devices.
    """
    if "graph" in method.needs:
        return len(corpus)
    sampling, known = sampling_of(method, corpus, config), Known.of(corpus)
    wanted, rows = config.batch_size // config.accumulate, sampling.rows_per_epoch(known) // config.accumulate
    fitting = min(wanted, rows - rows % config.devices)
    if fitting < min(wanted, 2 * config.devices):
        raise DataError(
            f"{corpus.name} has {len(corpus)} training rows, which is too few to train on with "
            f"{config.devices} devices of at least two rows each"
        )
    taken = sampling.rows_per_batch(fitting, known)
    if taken % config.devices:
        raise ConfigError(
            f"method {method.name} draws batches of {taken} rows, which do not divide among devices = "
            f"{config.devices}: choose another batch_size"
        )
    return taken


def sampling_of(method: Method, corpus: Corpus, config: TrainingConfig) -> Sampling:
    """How the rows of an epoch are drawn now: as the method declares, else all, or as many as the settings say.

    A method that declares copies of rows has them of those.

    Raises:
        ConfigError: both say how many rows an epoch has.
    """
    sampling = method.sampling
    if isinstance(sampling, Repeated):
        return replace(sampling, of=usual(corpus, config.epoch_rows))
    if sampling is not None and config.epoch_rows is not None:
        raise ConfigError(
            f"training.epoch_rows = {config.epoch_rows}: method {method.name} draws its epochs itself, so leave it out"
        )
    return sampling or usual(corpus, config.epoch_rows)


def _check_micro_batch(method: Method, config: TrainingConfig) -> None:
    """Refuse gradient caching for a method whose loss needs more than the towers' outputs."""
    if config.micro_batch is not None and not isinstance(method, TwoTower):
        raise ConfigError(
            f"micro_batch = {config.micro_batch}: method {method.name} looks at its batch as a whole; "
            "set micro_batch = None and a smaller batch_size"
        )
