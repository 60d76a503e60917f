"""A method of the registry as small as it gets, built from what it declares, on rows that hold what it reads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accord.config import Config
from accord.data.corpus import Corpus
from accord.data.fields import declarations, declared, read_by
from accord.data.loading.loader import eval_loader
from accord.data.targets import TARGETS, fields_of
from accord.errors import ConfigError
from accord.methods import Method, get_method
from accord.pipeline.build import build_method, prepare_run, with_prepared_texts
from accord.pipeline.config import RunConfig
from accord.training.config import TrainingConfig
from accord.training.fit import fit
from accord.training.start import check_views

SMALL = 8  # the largest number that a setting is left at
_VIT = {"size": 32, "patch": 8, "width": 16, "depth": 1, "heads": 2}
TINY: Mapping[str, Sequence[dict[str, Any]]] = {  # modality -> small encoders, the first that does is taken
    "image": (
        {"name": "tiny_vit", "options": _VIT},
        {"name": "tiny_resnet", "options": {"size": 32, "width": 16}},
        {"name": "image_mae", "options": _VIT},
    ),
    "text": ({"name": "tiny_text", "options": {"width": 16, "depth": 1, "heads": 2}},),
    "video": (
        {"name": "frames", "options": {"frames": 4, "image": {"name": "tiny_vit", **_VIT}}},
        {"name": "alignment", "options": {**_VIT, "hidden": 16, "frames": 4}},
        {"name": "video_mae", "options": {**_VIT, "frames": 4}},
    ),
    "audio": ({"name": "tiny_audio", "options": {"width": 16, "depth": 1, "heads": 2, "seconds": 0.5}},),
    "sequence": ({"name": "tiny_sequence", "options": {"width": 16, "depth": 1, "heads": 2}},),
    "graph": (),  # what a method of graphs takes by itself is as small as its settings
}
TRAINING = {"epochs": 3, "batch_size": 8, "lr": 1e-3, "checkpoint_every": 2, "log_every": 1, "accelerator": "cpu"}


class Killed(BaseException):
    """What a kill looks like from inside."""


@dataclass(frozen=True, eq=False)
class Case:
    """One method and the rows that it is tried on.

    Args:
        name: the method's name.
        places: the folder of rows, and that of the graph.
        work: where it may write.
    """

    name: str
    places: tuple[Path, Path]
    work: Path

    @cached_property
    def kind(self) -> type[Method]:
        """The class."""
        return get_method(self.name)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its settings with small sizes."""
        return small_settings(self.kind.Config)

    @cached_property
    def run(self) -> RunConfig:
        """A run with the first tiny encoders that the method and its views can live with."""
        parsed = self.kind.Config.parse(self.settings)
        reads = self.kind.reads(parsed)
        rows, graph = self.places
        fields = {*said_of_rows(), *reads, *fields_of(self.kind.targets)}
        columns = {field: field if field in fields else None for field in declarations()}
        data: dict[str, Any] = {"source": str(rows), "columns": columns, "split": {"test": 0.25}}
        if "graph" in reads:
            data = {"source": str(graph), "columns": {"label": "label"}, "split": {"test": 0.25}}
        run = {"data": data, "method": {"name": self.name, **self.settings}, "training": TRAINING}
        reasons = []
        for encoders in encoder_choices(self.kind, parsed):
            config = RunConfig.parse({**run, "encoders": encoders})
            try:
                check_views(build_method(config, with_prepared_texts(prepare_run(config, quiet=True).train, self.kind)))
            except ConfigError as error:
                reasons.append(str(error))
            else:
                return config
        raise AssertionError(f"no encoder of TINY suits method {self.name}: {'; '.join(reasons)}")

    @cached_property
    def corpus(self) -> Corpus:
        """The training rows as the method wants them."""
        return with_prepared_texts(prepare_run(self.run, quiet=True).train, self.kind)

    def built(self) -> Method:
        """The method, always with the same weights."""
        return build_method(self.run, self.corpus)

    def fit(self, method: Method, part: str, *, resume: bool = False, **training: Any) -> list[dict[str, Any]]:
        """Train it by its own stages, if any; returns the lines of ``train.jsonl``, without the time that they took."""
        config = TrainingConfig.parse({**TRAINING, **training})
        folder = self.work / part
        fit(method, self.corpus, config, folder, resume=resume, progress=False)
        log = folder / "train.jsonl"
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
        return [{name: value for name, value in line.items() if name != "rows_per_second"} for line in lines]

    @cached_property
    def trained(self) -> Trained:
        """The method after a short training, and what was seen of it."""
        method = self.built()
        before = state_of(method)
        with watched(method) as learnt:
            lines = self.fit(method, "trained")
        return Trained(method, before, frozenset(learnt), lines)

    def batch(self) -> dict[str, Any]:
        """Four rows as they are shown to a finished model, with all that it has an encoder for, and its targets."""
        method, rows = self.trained.method, self.corpus.select(range(4))
        if "graph" not in method.needs:  # where training reads no texts, a finished model may be given some
            held = {field: (field,) if declared(field).several else field for field in method.needs}
            rows = replace(rows, columns=rows.columns.model_copy(update=held))
        loader = eval_loader(rows, method.inputs, batch_size=4, targets=self.kind.targets, raw=method.raw_inputs)
        return next(iter(loader))


def said_of_rows() -> set[str]:
    """The columns that are neither read by a modality nor by a target, such as labels: every method gets them."""
    said = {field for field, made in declarations().items() if made.modality is None}
    return said - set(fields_of(TARGETS))


@dataclass(frozen=True)
class Trained:
    """A method after a short training.

    Args:
        method: the method.
        before: its parameters and buffers as they were.
        learnt: names of the parameters that received a gradient.
        lines: what was logged.
    """

    method: Method
    before: dict[str, Tensor]
    learnt: frozenset[str]
    lines: list[dict[str, Any]]


def small_settings(config: type[Config]) -> dict[str, Any]:
    """The settings of a configuration that have to change for all whole numbers in it to be small.

    An epoch at which something begins becomes the second, stages last two; a number that the configuration does not
    accept when it is small, or not together with the others, stays as it is.
    """
    changes: dict[str, Any] = {}
    smaller = dict(_smaller(config))
    for _ in range(2):  # what is refused at first may fit when the others are small
        for name in [name for name in smaller if name not in changes]:
            with suppress(ConfigError):
                config.parse({**changes, name: smaller[name]})
                changes[name] = smaller[name]
    return changes


def _smaller(config: type[Config]) -> Iterator[tuple[str, int]]:
    for name, field in config.model_fields.items():
        default = field.get_default(call_default_factory=True)
        words = set(name.split("_"))
        most = 2 if "epochs" in words else 1 if words & {"epoch", "starts"} else SMALL
        if isinstance(default, int) and not isinstance(default, bool) and default > most:
            yield name, most


def encoder_choices(kind: type[Method], parsed: Config) -> Iterator[dict[str, Any]]:
    """Encoders to try: tiny ones, with the options and the freezing that the method asks for itself."""
    wishes = kind.default_encoders(parsed)
    wanted = [field for field in kind.wants(parsed) if TINY[read_by(field)]]
    for number in range(max([1, *(len(TINY[read_by(field)]) for field in wanted)])):
        chosen = {}
        for modality in wanted:
            fitting = TINY[read_by(modality)]
            tiny = fitting[min(number, len(fitting) - 1)]
            wish = dict(wishes.get(modality, {}))
            same = wish.get("name") == tiny["name"]
            options = {**(wish.get("options", {}) if same else {}), **tiny["options"]}
            freeze = "all" if modality in kind.locks(parsed) else wish.get("freeze", "auto")
            chosen[modality] = {**tiny, "options": options, "freeze": freeze}
        yield chosen


@contextmanager
def killed_at(method: Method, step: int) -> Iterator[None]:
    """Die after an optimiser step, before anything of it is written."""
    after, done = method.after_step, []

    def counted(where: Any) -> None:
        after(where)
        done.append(where)
        if len(done) == step:
            raise Killed

    method.after_step = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        del method.after_step


@contextmanager
def watched(method: Method) -> Iterator[set[str]]:
    """Names of the parameters that receive a gradient which is not zero."""
    seen: set[str] = set()

    def note(name: str) -> Any:
        def hook(parameter: Tensor) -> None:
            if parameter.grad is not None and bool((parameter.grad != 0).any()):
                seen.add(name)

        return hook

    hooks = [
        parameter.register_post_accumulate_grad_hook(note(name))
        for name, parameter in method.named_parameters()
        if parameter.requires_grad
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def state_of(method: Method) -> dict[str, Tensor]:
    """All parameters and buffers as they are now."""
    return {name: tensor.detach().clone() for name, tensor in method.state_dict().items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    """Names of what differs, be it a bit."""
    return [name for name in {**first, **second} if not _equal(first.get(name), second.get(name))]


def _equal(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return False
    return first.shape == second.shape and torch.equal(first.nan_to_num(), second.nan_to_num())
