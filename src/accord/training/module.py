"""The bridge between a method and the Lightning Trainer: one module per stage, optimised by hand.

The Trainer brings devices, precision, processes and the loop over batches. The step itself is written out here,
because gradient caching runs a batch twice and because a resumed run must repeat it bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from rich.console import Console
from torch import Tensor, nn
from torch.optim import Optimizer

from accord.data.corpus import Corpus
from accord.data.inputs import Input, VideoInput
from accord.data.loading.batches import to_device
from accord.data.loading.features import FeatureCache
from accord.data.loading.loader import EpochLoader, hook_loader, train_loader
from accord.errors import ConfigError
from accord.functional.distributed import world_size
from accord.methods.base import Batch, Method, Stage, Step, TwoTower
from accord.methods.programme import ClipsAround
from accord.training.averaging import WeightAverage
from accord.training.config import TrainingConfig
from accord.training.device import reading_workers
from accord.training.gradcache import batch_rows, cached_backward
from accord.training.identity import without
from accord.training.journal import Journal
from accord.training.optimiser import build_optimizer, schedule
from accord.training.precision import computed_in, half_precision
from accord.training.progress import StageProgress
from accord.training.seeding import seed_everything, seed_of
from accord.training.stages import NamedParameters, Position, divided, hold_encoders, settings_of
from accord.training.standing import Standing, StandingFile
from accord.training.start import rows_per_batch, sampling_of

if TYPE_CHECKING:
    from accord.training.sharding import Shards

_BEFORE_STAGE, _BEFORE_EPOCH, _STEP, _AFTER_STAGE, _COMMON = range(5)  # streams of random numbers
CONTENT = "accord"  # key of our part of a checkpoint
Probe = Callable[[Method], Mapping[str, float]]  # what is measured between epochs, by name


@dataclass(frozen=True)
class Run:
    """What all stages of a run share.

    Args:
        corpus: the training rows.
        config: the settings.
        checkpoint: path of the checkpoint.
        journal: where loss terms go.
        caches: features of frozen encoders by modality.
        console: where progress is shown, or None.
        identity: what a resumed run must share with this one.
        fixed: modalities of the encoders that no stage trains.
        probe: what is measured between epochs, or None.
    """

    corpus: Corpus
    config: TrainingConfig
    checkpoint: Path
    journal: Journal
    caches: dict[str, FeatureCache]
    console: Console | None
    identity: dict[str, Any]
    fixed: frozenset[str]
    probe: Probe | None = None


def encoder_inputs(method: Method) -> dict[str, Input]:
    """Field that rows have -> what it is prepared for, in training."""
    return {field: _around(method.inputs[field], method.clips) for field in method.reads(method.config)}


def raw_inputs(method: Method) -> dict[str, Input]:
    """Field that is wanted raw beside its features -> what it is prepared for, in training."""
    return {field: _around(spec, method.clips) for field, spec in method.raw_inputs.items()}


def _around(spec: Input, clips: ClipsAround | None) -> Input:
    """What an encoder is fed, with clips of near frames where the method wants them."""
    if clips is None or not isinstance(spec, VideoInput):
        return spec
    return replace(spec, sampling="around", span=clips.span)


class HookLoader:
    """Batches for a method's hooks, on the method's device: every row once, in order, un-augmented.

    Args:
        method: decides what batches hold.
        run: the training rows and the settings.
        place: epoch that training stands in, counted over all stages.
    """

    def __init__(self, method: Method, run: Run, place: Callable[[], int]) -> None:
        self._method, self._run, self._place, self._device = method, run, place, method.device
        self._loader = hook_loader(
            run.corpus,
            encoder_inputs(method),
            workers=reading_workers(run.config.workers, self._device, run.config.devices),
            cache=run.caches,
            targets=method.read_targets,
            raw=raw_inputs(method),
            late=self._device.type != "cpu",
        )

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            yield to_device(batch, self._device)

    def __len__(self) -> int:
        return len(self._loader)

    def episode(self) -> Iterator[Batch]:
        """The augmented batches of the current epoch, those of all processes together."""
        loader = training_loader(self._method, self._run)
        loader.load_state_dict({"epoch": self._place(), "batch": 0})
        for batch in loader:
            yield to_device(batch, self._device)
        loader.close()

    def texts(self) -> list[list[str]]:
        """The captions of every row."""
        return self._run.corpus.texts()


def training_loader(method: Method, run: Run, rank: int = 0, world_size: int = 1) -> EpochLoader:
    """The augmented batches of one process."""
    return train_loader(
        run.corpus,
        encoder_inputs(method),
        method.views,
        text_views=method.text_views,
        targets=method.read_targets,
        batch_size=rows_per_batch(method, run.corpus, run.config),
        seed=run.config.seed,
        workers=reading_workers(run.config.workers, method.device, run.config.devices),
        rank=rank,
        world_size=world_size,
        cache=run.caches,
        sampling=lambda: sampling_of(method, run.corpus, run.config),
        raw=raw_inputs(method),
        late=method.device.type != "cpu",
    )


@dataclass(frozen=True)
class Mover:
    """An optimiser of a stage, its parameters, and the settings that hold for it.

    Args:
        name: of the declared optimiser.
        parameters: those that it moves.
        config: the settings.
        optimizer: what moves them; once training runs, as the Trainer wraps it.
    """

    name: str
    parameters: NamedParameters
    config: TrainingConfig
    optimizer: Optimizer | LightningOptimizer

    @property
    def plain(self) -> Optimizer:
        """The optimiser itself, for the scaler, which writes on it what a fused one has to know."""
        held = self.optimizer
        return held.optimizer if isinstance(held, LightningOptimizer) else held

    def told(self, step: Step) -> Step:
        """The step as the method is told of it."""
        return step if self.name == step.optimiser else replace(step, optimiser=self.name)


class StageModule(LightningModule):
    """Trains one stage of a method.

    Args:
        method: what is trained.
        stage: the stage.
        trained: the parameters of the stage that require gradient.
        position: where to start; later than the stage's first step on resume.
        run: what the stages share.
        saved: the checkpoint to continue from, or None at the start of a stage.
    """

    def __init__(
        self,
        method: Method,
        stage: Stage,
        trained: NamedParameters,
        position: Position,
        run: Run,
        saved: dict[str, Any] | None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.method, self.stage, self.trained, self.position, self.shared = method, stage, trained, position, run
        self.epochs = stage.epochs or run.config.epochs
        self.average: WeightAverage | None = None
        self.shards: Shards | None = None  # made by the strategy that shards
        self._saved = saved
        self._lr = 0.0
        self._half = half_precision(run.config)

    # --- set-up, in the order in which the Trainer calls it ---

    def configure_optimizers(self) -> list[Optimizer]:
        """Optimisers and weight average of the stage, restored on resume."""
        declared, parts, config = self.stage.optimisers, divided(self.trained, self.stage), self.shared.config
        settings = [settings_of(one, config, self.stage) for one in declared]
        optimizers = [build_optimizer(part, own, self.method.group) for part, own in zip(parts, settings, strict=True)]
        together = zip(declared, parts, settings, optimizers, strict=True)
        self.movers = [Mover(one.name, part, own, optimizer) for one, part, own, optimizer in together]
        if config.ema is not None:
            self.average = WeightAverage(self.trained, config.ema)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._half is torch.float16)
        if self._saved is not None:
            for optimizer, state in zip(optimizers, self._saved["optimizer_states"], strict=True):
                optimizer.load_state_dict(self.shards.share_of_state(state, optimizer) if self.shards else state)
            if self.average is not None:
                self.average.load_state_dict(self._saved[CONTENT]["average"])
            self._scaler.load_state_dict(self._saved[CONTENT].get("loss_scale", {}))
            self._saved = None
        return optimizers

    def train_dataloader(self) -> _Batches:
        """The augmented batches of this process, those of a step together."""
        loader = training_loader(self.method, self.shared, self.trainer.global_rank, self.trainer.world_size)
        self._steps = _Batches(loader, self.shared.config.accumulate, self._next_step)
        self.total = self.epochs * len(self._steps)
        return self._steps

    def _next_step(self) -> tuple[int, int]:
        return self._epoch(), self.position.batch

    def _epoch(self) -> int:
        return self.position.epochs_before + self.position.epoch

    @property
    def step(self) -> Step:
        """The step about to be made."""
        step = self.position.step(self.stage, self.total, self.epochs)
        done = self.position.batch + 1
        line_ends = done % self.shared.config.log_every == 0 or done == len(self._steps)
        return replace(step, seed=self._common_seed(step), watched=line_ends)

    def _common_seed(self, step: Step, *batch: int) -> int:
        """Of what all processes draw alike."""
        return seed_of(self.shared.config.seed, self.position.stage, _COMMON, step.index, *batch)

    # --- the loop ---

    def on_train_start(self) -> None:
        """Run the method's hook before the stage, unless it ran before the checkpoint."""
        wrapped = self.optimizers()
        wrapped = wrapped if isinstance(wrapped, list) else [wrapped]
        self.movers = [replace(mover, optimizer=one) for mover, one in zip(self.movers, wrapped, strict=True)]
        self._rows = HookLoader(self.method, self.shared, self._epoch)
        if self.position.index == 0:
            self._hook(self.method.before_stage, _BEFORE_STAGE, self.stage)
        self.trainer.should_stop = self.method.converged  # as when the checkpoint was written
        console = self.shared.console if self.trainer.is_global_zero else None
        self._progress = StageProgress(
            self.stage.name, total=self.total, done=self.position.index, epochs=self.epochs, console=console
        )
        self._standing = self._stands()

    def _stands(self) -> StandingFile:
        """The file that says where this stage stands."""
        position, journal = self.position, self.shared.journal
        stages = len(self.method.stages)
        start = Standing(
            self.stage.name, position.stage + 1, stages, position.epoch + 1, self.epochs, position.index, self.total
        )
        return StandingFile(journal.path.parent if journal.writes else None, start)

    def on_train_epoch_start(self) -> None:
        """Freeze or free the encoders, and run the method's hook unless the epoch was under way already."""
        hold_encoders(self.trained, self.stage, self.position.epoch)
        if self.position.batch == 0:
            self._measure()
            self._hook(self.method.before_epoch, _BEFORE_EPOCH, self.step)
            if self.method.sampling is not None:  # which may have been computed just now
                _agree_on_buffers(self.method)
        self.method.train()

    def _measure(self) -> None:
        """Run the probe after every so many epochs; the end of training has its own evaluation."""
        probe, every = self.shared.probe, self.shared.config.probe_every
        if probe is not None and every and self.position.epoch and self.position.epoch % every == 0:
            self.method.eval()
            step = replace(self.step, epoch=self.position.epoch - 1)
            with self._seen_whole():
                self.shared.journal.note(step, self.position.number, lambda: probe(self.method))

    def training_step(self, batches: list[Batch], batch_idx: int) -> None:
        """One step: the gradients of all terms at the same parameters, then a step of every optimiser."""
        step = self.step
        self._seed(step)
        moving = self._moving(step)
        for mover in moving:
            self._set_lr(mover, step)
            mover.optimizer.zero_grad()
        terms = self._backward(batches, step, moving)
        terms |= self._move(moving, step)
        self.method.after_step(step)
        if self.average is not None:
            self.average.update()
        self._advance(step, terms)

    def _seen_whole(self) -> AbstractContextManager[object]:
        """Have all weights whole, while this lasts."""
        return self.shards.seen_whole() if self.shards else nullcontext()

    def _move(self, moving: list[Mover], step: Step) -> dict[str, Tensor]:
        """Let the optimisers step; returns the norms of the gradients that are clipped."""
        norms: dict[str, Tensor] = {}
        for mover in moving:
            with self.shards.beside_others() if self.shards else nullcontext():
                self._scaler.unscale_(mover.plain)
            self.method.after_backward(mover.told(step))
            if mover.config.grad_clip is not None:
                parameters = [parameter for _, parameter in mover.parameters]
                clip = self.shards.clip_grad_norm_ if self.shards else nn.utils.clip_grad_norm_
                norm = clip(parameters, mover.config.grad_clip)
                if self._scaler.is_enabled():  # an overflow is no divergence: the step is left out
                    norm = norm.nan_to_num(0.0, posinf=0.0)
                norms |= self._named(mover, {"grad_norm": norm})
            if self._scaler.is_enabled():
                self._scaler.step(mover.plain)
            else:
                mover.optimizer.step()
        self._scaler.update()
        return norms

    def _seed(self, step: Step, *batch: int) -> None:
        place = self.trainer.global_rank
        seed_everything(self.shared.config.seed, self.position.stage, _STEP, step.index, place, *batch)

    def _moving(self, step: Step) -> list[Mover]:
        """The optimisers whose turn it is."""
        moving = [mover for mover in self.movers if len(self.movers) == 1 or self.method.active(mover.told(step))]
        if not moving:
            where = f"step {step.index} of stage {step.stage!r}"
            raise ConfigError(f"method {self.method.name}: no optimiser is active at {where}; expected at least one")
        return moving

    def _set_lr(self, mover: Mover, step: Step) -> None:
        """The common schedule, and that of the groups for which the method has its own."""
        config = mover.config
        peak, warmup = config.lr * self.stage.lr_scale, round(config.warmup * step.total)
        common = peak * schedule(step.index, step.total, config)
        for group in mover.optimizer.param_groups:
            own = group["name"]
            lr = peak * self.method.lr_factor(own, mover.told(step), warmup) if own else common
            group["lr"] = lr * group.get("lr_scale", 1.0)  # an older checkpoint's group has none
        if mover is self.movers[0]:
            self._lr = common

    def _backward(self, batches: list[Batch], step: Step, moving: list[Mover]) -> dict[str, Tensor]:
        """Accumulate the mean gradient of the batches, of each optimiser's terms in its own parameters alone."""
        found: list[dict[str, Tensor]] = []
        for number, batch in enumerate(batches):
            if number:
                self._seed(step, number)
                step = replace(step, seed=self._common_seed(step, number))
            mixed = self.method.mix(batch, step)
            terms: dict[str, Tensor] = {}
            for mover in moving:
                with self._alone(mover), computed_in(self._half, self.device, keeps=self.shards is None):
                    terms |= self._named(mover, self._backward_one(mixed, mover.told(step), 1 / len(batches)))
            found.append(terms)
        return found[0] if len(found) == 1 else _means(found)

    def _named(self, mover: Mover, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms as they are logged: those of a further optimiser are called ``NAME: TERM``."""
        if mover is self.movers[0]:
            return terms
        return {f"{mover.name}: {name}": term for name, term in terms.items()}

    @contextmanager
    def _alone(self, mover: Mover) -> Iterator[None]:
        """Let only the parameters of one optimiser require gradient, where there are several."""
        if len(self.movers) == 1:
            yield
            return
        self.toggle_optimizer(mover.optimizer)
        yield
        self.untoggle_optimizer(mover.optimizer)

    def _backward_one(self, batch: Batch, step: Step, share: float) -> dict[str, Tensor]:
        """Accumulate the gradient of ``share`` times the total; returns the detached terms."""

        def weigh(total: Tensor) -> Tensor:
            scaled: Tensor = self._scaler.scale(total if share == 1 else total * share)
            return scaled

        micro_batch = self.shared.config.micro_batch
        if micro_batch and micro_batch < batch_rows(batch) and isinstance(self.method, TwoTower):
            return cached_backward(self.method, batch, step, micro_batch, self._accumulate, weigh)
        terms = self.method.loss(batch, step)
        if "total" not in terms:
            raise ConfigError(f"method {self.method.name}: loss() returned {sorted(terms)} without 'total'")
        self._accumulate(weigh(terms["total"]), True)
        return {name: term.detach() for name, term in terms.items()}

    def _accumulate(self, scalar: Tensor, synchronise: bool) -> None:
        """Back-propagate; the exchange between processes is armed by ``manual_backward`` alone."""
        with torch.autocast(scalar.device.type, enabled=False):  # each operation's types are those of its forward pass
            if synchronise:
                self.manual_backward(scalar)
            else:
                scalar.backward()

    def _advance(self, step: Step, terms: dict[str, Tensor]) -> None:
        self.position = self.position.after_step(len(self._steps))
        epoch_ends = self.position.batch == 0
        line = self.shared.journal.record(step, self.position.number, self._lr, terms, close=epoch_ends)
        if line is not None:
            self._progress.line(line, self.position.index)
            self._standing.line(line, self.position.index)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Write a checkpoint when it is due; the end of the stage writes its own."""
        position = self.position
        if position.number % self.shared.config.checkpoint_every == 0 and position.index < self.total:
            self._save()

    def on_train_epoch_end(self) -> None:
        """Report the epoch where no bar is shown, and stop where the method has converged."""
        self._progress.epoch(self.position.epoch - 1)
        self.trainer.should_stop = self.method.converged

    def on_train_end(self) -> None:
        """Put averaged weights in place, run the method's hook, and record that the stage is done."""
        self._progress.close()
        if self.average is not None:
            self.average.apply()
            self.average = None
        if self.shards is not None:
            self.shards.end()
        self._hook(self.method.after_stage, _AFTER_STAGE, self.stage)
        self.position = self.position.after_stage()
        self._save()

    def _hook(self, hook: Callable[..., None], stream: int, place: Stage | Step) -> None:
        """Call a method's hook in eval mode, with its own random numbers and a loader over all rows."""
        seed_everything(self.shared.config.seed, self.position.stage, stream, self.position.epoch)
        _agree_on_buffers(self.method)
        self.method.eval()
        with self._seen_whole():
            hook(place, self._rows)
        self._follow()

    def _follow(self) -> None:
        """Let the optimisers and the average know of parameters that a hook gave another shape."""
        changes, self.method.resized = self.method.resized, []
        own = dict(self.trained)
        changes = [change for change in changes if change.name in own]
        for change in changes:
            for mover in self.movers:
                state = mover.optimizer.state.get(own[change.name], {})
                state.update({name: change.follow(value) for name, value in state.items() if isinstance(value, Tensor)})
            if self.average is not None:
                self.average.follow(change)
        strategy = self.trainer.strategy
        if changes and isinstance(strategy, DDPStrategy) and self.shards is None:
            strategy.model = self  # its buckets have the old shapes: it is made anew
            strategy.configure_ddp()

    # --- checkpoints ---

    def _save(self) -> None:
        self.trainer.save_checkpoint(self.shared.checkpoint, weights_only=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add where training stands; the Trainer's loop counters are not needed to resume."""
        del checkpoint["loops"], checkpoint["callbacks"]
        checkpoint["state_dict"] = without(checkpoint["state_dict"], self.shared.fixed, "method.")
        average = self.average.state_dict() if self.average is not None else None
        checkpoint[CONTENT] = {
            "position": asdict(self.position),
            "identity": self.shared.identity,
            "window": self.shared.journal.state(),
            "average": self.shards.gathered(average) if self.shards else average,
            "loss_scale": self._scaler.state_dict(),
        }


class _Batches:
    """The batches of one epoch, those of a step together, from where training stands when the first is asked for.

    Args:
        loader: gives batch after batch.
        accumulate: batches of a step; what is left over at the end of an epoch is left out.
        place: epoch and step that come next.
    """

    def __init__(self, loader: EpochLoader, accumulate: int, place: Callable[[], tuple[int, int]]) -> None:
        self._loader, self._accumulate, self._place = loader, accumulate, place

    def __iter__(self) -> Iterator[list[Batch]]:
        epoch, step = self._place()
        self._loader.load_state_dict({"epoch": epoch, "batch": step * self._accumulate})
        batches = iter(self._loader)
        for _ in range(step, len(self)):
            yield list(islice(batches, self._accumulate))

    def __len__(self) -> int:
        return len(self._loader) // self._accumulate


def _means(found: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each term over the batches that have it."""
    names = dict.fromkeys(name for terms in found for name in terms)
    return {name: torch.stack([terms[name] for terms in found if name in terms]).mean() for name in names}


def _agree_on_buffers(method: Method) -> None:
    """Give all processes the first one's buffers.

    Queues and prototypes are the same everywhere, since methods gather what they take in; batch-norm statistics are
    not, and hooks would compute something else from them in each process.
    """
    if world_size() > 1:
        for buffer in method.buffers():
            dist.broadcast(buffer, src=0)
