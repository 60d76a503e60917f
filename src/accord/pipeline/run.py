"""The verbs: train, evaluate, embed. Each is one function that Python and the command line share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.leakage import warn_of_leakage
from accord.data.reading.sources import HUB, announce
from accord.data.recipe import Prepared
from accord.data.targets import TARGETS
from accord.errors import ConfigError, DataError, StorageError, listed, require
from accord.evaluation.metric import Metric
from accord.evaluation.tasks import get_task
from accord.files import write_atomically
from accord.methods import Method
from accord.methods.abilities import Embeds
from accord.pipeline.build import build_method, prepare_run, with_prepared_texts
from accord.pipeline.card import write_card
from accord.pipeline.choose import parse_run
from accord.pipeline.config import RunConfig, merged, read_config, with_encoders
from accord.pipeline.doubted import write_doubted
from accord.pipeline.folder import QUARANTINE, begin, is_run, list_for, owned, run_config
from accord.pipeline.model import Model, load
from accord.pipeline.record import METRICS, NEXT, REPORT
from accord.pipeline.rows import (
    ColumnNames,
    as_held_out,
    despite_bad_rows,
    held_out,
    open_like,
    open_rows,
    require_data,
)
from accord.pipeline.score import EVERY, score
from accord.pipeline.summary import summarise
from accord.processes import is_first_process
from accord.report.html import write_report
from accord.report.summary import RunSummary
from accord.searching.export import check_embeddings_file, write_embeddings
from accord.searching.ray_engine import embed_on_ray
from accord.shipped import is_export
from accord.training.artifact import save_model
from accord.training.onnx import OnnxModel
from accord.training.start import check_machine, check_start, check_views

if TYPE_CHECKING:
    from accord.training.fit import FitResult

ENGINES = ("plain", "ray")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Args:
        path: its directory.
        model: the trained model.
        metrics: what was measured on held-out rows.
        fitted: steps and time of training.
        next_steps: commands to try next.
        doubted: the list of training rows that the method did not believe, where it judges them.
    """

    path: Path
    model: Model
    metrics: list[Metric]
    fitted: FitResult
    next_steps: tuple[str, ...] = ()
    doubted: Path | None = None


def train(
    data: str | Path | None = None,
    method: str | None = None,
    *,
    config: str | Path | Mapping[str, Any] | None = None,
    encoders: Mapping[str, Any] | None = None,
    bundle: str | None = None,
    columns: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] | None = None,
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None = None,
    workers: int | None = None,
    freeze: str | int | Sequence[str] | Mapping[str, str | int | Sequence[str]] | None = None,
    weights: str | Mapping[str, str] | None = None,
    loggers: Sequence[str] = (),
    objective_add: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Run:
    """Train a method, evaluate it on held-out rows, and write the model with its card and report.

    Args:
        data: folder, CSV/JSONL/Parquet file, tar shards, ``pack:NAME`` or ``hf:NAME``.
        method: registry name; default ``"clip"`` for pictures with texts, else one that fits the data.
        config: YAML file, shipped name or mapping of a whole run; the other arguments override it.
        encoders: modality -> encoder name, or a mapping with ``name``, ``freeze`` and ``weights``.
        bundle: pretrained encoders with their joint space to start from: ``clip:FOLDER``, ``siglip:FOLDER``,
            ``open_clip:FOLDER``, or ``hf:NAME`` for the folder.
        columns: modality -> column name(s), where the guess is wrong; None for no such column.
        out: directory of the run, new or empty; default ``runs/METHOD-DATA``. Where the start fails, it is not made.
        resume: go on from the last checkpoint in ``out``.
        seed: seed of everything random but the split.
        epochs: passes over the data, for stages that do not say.
        batch_size: rows per optimiser step.
        device: kind of device; default the best there is.
        precision: arithmetic of the networks.
        workers: processes that decode and augment.
        freeze: how much of the encoders is frozen: ``"all"``, ``"none"``, how many of the last blocks are trained, or
            patterns of parameter names (``["model.blocks.*", "!*.bias"]``: frozen, but for biases); of all of them
            that have pretrained weights, or modality -> that. By default these are frozen.
        weights: modality -> path of an encoder's weights, or ``"random"``; ``"random"`` alone for all.
        loggers: where the curves go beside ``train.jsonl``: ``"csv"``, ``"tensorboard"``, ``"wandb"``, ``"mlflow"``.
        objective_add: objectives to add to the method's loss, such as ``"contrastive_gap"``.
        settings: any other setting by dotted name, e.g. ``{"method.temperature": 0.1}``.
        progress: show progress bars.

    Raises:
        ConfigError: a setting is wrong; ``data`` is a run; ``out`` is not empty and ``resume`` is off, or holds no run
            and it is on; or another process is writing there.
        DataError: the data cannot be read.
        StorageError: something cannot be written, such as on a full disk.

    Example:
        >>> run = accord.train("pack:emoji", method="clip", epochs=1)      # doctest: +SKIP
        >>> run.model.embed(texts=["a red heart"]).shape                   # doctest: +SKIP
        torch.Size([1, 512])
    """
    if data is not None and is_run(Path(data)):
        raise ConfigError(f"{data} is a run, no data: go on with it by accord train --resume --out {data}")
    if resume and out is not None and config is None:
        config = run_config(Path(out))
    changes: dict[str, Any] = {
        "data.source": None if data is None else str(data),
        "bundle": bundle,
        "training.seed": seed,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.accelerator": device,
        "training.precision": precision,
        "training.workers": workers,
        "training.loggers": listed("loggers", loggers) or None,
        **{f"encoders.{modality}": encoder for modality, encoder in (encoders or {}).items()},
        **{f"objective_add.{name}": {} for name in listed("objective_add", objective_add)},
    }
    if method is not None:
        changes["method.name"] = method
    changes = {key: value for key, value in changes.items() if value is not None}
    changes |= {f"data.columns.{modality}": column for modality, column in (columns or {}).items()}
    changes |= dict(settings or {})
    if "data.source" in changes:
        changes.setdefault("data.location", None)  # that of the source before
    run = with_encoders(parse_run(merged(read_config(config), changes), quiet=not progress), freeze, weights)
    folder = Path(out) if out is not None else default_folder(run)
    return execute(run, folder, resume=resume, progress=progress)


def execute(config: RunConfig, folder: Path, *, resume: bool = False, progress: bool = True) -> Run:
    """Run ``config`` into ``folder``; see :func:`train`.

    Of several processes of one run the first owns the folder, and evaluates; the others only train.
    """
    check_machine(config.training)
    config = config.model_copy(update={"data": config.data.located()})
    if not is_first_process():
        prepared = prepare_run(config, quiet=True)
        model, fitted = fit_model(config, prepared, folder, resume=resume, progress=False)
        return Run(folder, model, [], fitted)
    with owned(folder, data=[config.data.place], resume=resume):
        return _execute(config, folder, resume, progress)


def _execute(config: RunConfig, folder: Path, resume: bool, progress: bool) -> Run:
    listing = folder / QUARANTINE if resume else list_for(folder)
    prepared = prepare_run(config, quarantine=listing, quiet=not progress)
    if progress:
        _doubt_labels(prepared)
        warn_of_leakage(prepared.train, prepared.test)
    method, corpus = _built(config, prepared)
    check_start(method, corpus, config.training)
    if progress:
        _tell_idle_epochs(config, method)
    if not resume:
        begin(folder, config.model_dump(mode="json"), prepared.splits)
    with _told_to_resume():
        started = time.perf_counter()
        model, fitted = _fitted(config, prepared, method, corpus, folder, resume, progress)
        save_model(folder, model.method, config.model_dump(mode="json"))
        model.path = folder
        doubted = write_doubted(folder, model, prepared.train)
        metrics, summary = _evaluate(model, prepared, config, folder, started)
        write_report(summary, folder / REPORT)
        write_atomically(folder / NEXT, "".join(f"{command}\n" for command in summary.next_steps))
        write_card(folder, model, metrics, summary.both_sides.lines if summary.both_sides else ())
    return Run(folder, model, metrics, fitted, summary.next_steps, doubted)


def _tell_idle_epochs(config: RunConfig, method: Method) -> None:
    """Say where a number of epochs was set that no stage takes."""
    usual = config.kind.default_training(method.config).get("epochs", type(config.training)().epochs)
    if not method.stages or any(stage.epochs is None for stage in method.stages) or config.training.epochs == usual:
        return
    own = ", ".join(f"{stage.name} {stage.epochs}" for stage in method.stages)
    named = ", ".join(f"method.{name}" for name in type(method.config).model_fields if name.endswith("epochs"))
    announce(
        f"training.epochs={config.training.epochs} changes nothing: the stages of {method.name} have epochs of their "
        f"own ({own}), which are set by {named}"
    )


def _evaluate(
    model: Model, prepared: Prepared, config: RunConfig, folder: Path, started: float
) -> tuple[list[Metric], RunSummary]:
    """Score the trained model and sum the run up; rows that went bad meanwhile are left out, added to the list."""
    listing = folder / QUARANTINE
    try:
        metrics, prepared = despite_bad_rows(prepared, lambda rows: score(model, rows, config.evaluate), listing)
        write_metrics(folder, metrics)
        seconds = time.perf_counter() - started
        summary, _ = despite_bad_rows(
            prepared,
            lambda rows: summarise(model, rows, metrics, folder, seconds=seconds, tasks=config.evaluate),
            listing,
        )
    except (ConfigError, DataError) as error:
        raise type(error)(f"{folder} holds the trained model, but it cannot be evaluated: {error}") from None
    return metrics, summary


def fit_model(
    config: RunConfig, prepared: Prepared, folder: Path, *, resume: bool = False, progress: bool = True
) -> tuple[Model, FitResult]:
    """Build and train the method of ``config`` on ``prepared.train``."""
    method, corpus = _built(config, prepared)
    return _fitted(config, prepared, method, corpus, folder, resume, progress)


def _built(config: RunConfig, prepared: Prepared) -> tuple[Method, Corpus]:
    """The method of ``config`` and the training rows as it wants them."""
    corpus = with_prepared_texts(prepared.train, config.kind)
    method = build_method(config, corpus)
    check_views(method)
    return method, corpus


def _fitted(
    config: RunConfig,
    prepared: Prepared,
    method: Method,
    corpus: Corpus,
    folder: Path,
    resume: bool,
    progress: bool,
) -> tuple[Model, FitResult]:
    from accord.training.fit import fit  # Lightning, which takes seconds and which other verbs do without

    probe = _probe(config, prepared) if config.training.probe_every else None
    fitted = fit(method, corpus, config.training, folder, resume=resume, progress=progress, probe=probe)
    return Model(method, config=config.model_dump(mode="json"), path=folder), fitted


def _probe(config: RunConfig, prepared: Prepared) -> Callable[[Method], dict[str, float]]:
    """The configured tasks on the validation rows, or on the test rows where there are none."""
    rows = replace(prepared, test=prepared.val) if len(prepared.val) else prepared
    probe = {task: config.task_options.get(task, {}) for task in config.training.probe}

    def measure(method: Method) -> dict[str, float]:
        nonlocal rows
        model = Model(method, config=config.model_dump(mode="json"))
        metrics, rows = despite_bad_rows(rows, lambda rest: score(model, rest, probe))
        return {metric.name: metric.value for metric in metrics}

    return measure


def evaluate(
    run: str | Path,
    data: str | Path | None = None,
    tasks: Sequence[str] = (),
    templates: str | Path | None = None,
    candidates: int | None = None,
    examples: int = 0,
    *,
    settings: Mapping[str, Any] | None = None,
    columns: ColumnNames | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> list[Metric]:
    """Score a run on its own held-out rows, or on other data.

    Rows that cannot be read are left out, and said on stderr.

    Args:
        run: folder of a run, name of a model that ships, or that of a bundle.
        data: other data; None takes the run's held-out rows.
        tasks: of :func:`accord.evaluation.tasks.task_names`; empty takes all that fit.
        templates: file of prompt templates for ``zero_shot``, one a line, with ``{}``.
        candidates: how many items a second stage scores for each query; 0 leaves it out. None takes 128 of
            ``retrieval`` and leaves out that of ``joint``.
        examples: captions of training rows that count as further texts of their class in ``zero_shot``.
        settings: any option of a task that is run by its dotted name, e.g. ``{"knn.k": 5}``.
        columns: modality -> column name(s) of ``data``, where the guess is wrong.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.
        workers: processes that decode; None for what suits the device.

    Returns:
        The metrics, each with its interval and chance level.

    Raises:
        ConfigError: a task or option does not exist, a task does not fit, none fits, ``columns`` without ``data``, or
            no such device.
        DataError: the data cannot be read.
    """
    tasks = listed("tasks", tasks)
    require_data(data, columns)
    model = load(run, device, workers)
    read = {field for name in tasks for field in get_task(name).reads} if tasks else TARGETS
    asked = [name for name in TARGETS if name in read] if tasks else []
    prepared = held_out(model) if data is None else as_held_out(open_like(model, data, columns, read, asked))
    common = {"templates": read_templates(templates), "candidates": candidates, "examples": examples or None}
    options = {EVERY: {name: value for name, value in common.items() if value is not None}, **by_task(settings or {})}
    metrics, rows = despite_bad_rows(prepared, lambda rows: score(model, rows, tasks, options))
    if not metrics:
        raise ConfigError(_nothing_to_measure(model, rows.test))
    return metrics


def by_task(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Task -> its options, from dotted names.

    Raises:
        ConfigError: a name is not that of a task and one of its options.

    Example:
        >>> by_task({"knn.k": 5, "captions.decoding.method": "beam"})
        {'knn': {'k': 5}, 'captions': {'decoding': {'method': 'beam'}}}
    """
    wrong = next((name for name in settings if "." not in name), None)
    if wrong is not None:
        raise ConfigError(f"{wrong} is no option of a task: write TASK.OPTION, such as zero_shot.examples")
    return merged({}, settings)


def _nothing_to_measure(model: Model, test: Corpus) -> str:
    """Why no task fits, in words."""
    if not len(test):
        return "there is nothing to measure on: no rows were held out; name other data"
    labels = f"labels of {len(test.classes)} classes" if test.labels is not None else "no labels"
    embeds = ", ".join(model.modalities) or "nothing"
    return (
        f"there is nothing to measure: {test.name} has {', '.join(test.modalities)} and {labels}, the model embeds "
        f"{embeds}; name data with labels or with what the model compares, or a task with --task"
    )


def embed(
    run: str | Path,
    data: str | Path,
    out: str | Path = "embeddings.parquet",
    *,
    engine: Literal["plain", "ray"] = "plain",
    workers: int | None = None,
    columns: ColumnNames | None = None,
    device: str = "auto",
) -> Path:
    """Write the embeddings of every row of ``data`` as Parquet, one column per modality; returns the file.

    Rows that cannot be read are left out, and said on stderr; the column ``id`` tells which are there.

    Args:
        run: folder of a run or of an ONNX export, or name of a model that ships, or of a bundle.
        data: what to embed.
        out: the file; earlier embeddings there are replaced, nothing else.
        engine: ``plain`` embeds in this process, ``ray`` in several; see :mod:`accord.searching.ray_engine`.
        workers: how many processes: with ``ray`` those that embed, None for two; else those that decode, None for what
            suits the device.
        columns: modality -> column name(s), where the guess is wrong.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``; an export runs on the CPU.

    Raises:
        ConfigError: an unknown engine, ``workers`` is less than 1, a model that embeds nothing, or no such device.
        DataError: ``data`` cannot be read, or has nothing that the model embeds.
        MissingExtraError: the engine is ``ray``, and Ray is not installed.
        StorageError: ``out`` is there and holds something else than embeddings, or cannot be written.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine = {engine!r}: expected one of {', '.join(ENGINES)}")
    if engine == "ray":
        require("ray", "ray")  # before the data are read
    check_embeddings_file(Path(out), data)
    exported = is_export(run)
    if exported and device not in ("auto", "cpu"):
        raise ConfigError(f"--device {device}: an export runs on the CPU; leave it out")
    model = OnnxModel(Path(run)) if exported else load(run, "cpu" if engine == "ray" else device, workers)
    if isinstance(model, Model):
        model.able(Embeds)
    corpus = open_like(model, data, columns) if isinstance(model, Model) else open_rows(data, columns=columns)
    present = [name for name in model.modalities if getattr(corpus.columns, name)]
    if not present:
        have, wanted = ", ".join(corpus.modalities), ", ".join(model.modalities)
        raise DataError(f"{corpus.name} has {have}, and the model embeds {wanted}: there is nothing to embed")

    def vectors_of(rows: Corpus) -> dict[str, Tensor]:
        if engine == "ray":
            return embed_on_ray(run, rows, data, present, 2 if workers is None else workers, device)
        return {name: model.embed_corpus(rows, name) for name in present}

    vectors, embedded = despite_bad_rows(corpus, vectors_of)
    return write_embeddings(Path(out), embedded, vectors)


def write_metrics(folder: Path, metrics: Sequence[Metric]) -> None:
    """``metrics.json``: name -> value, interval, chance level, number of items."""
    record = {metric.name: {k: v for k, v in metric.to_dict().items() if k != "name"} for metric in metrics}
    write_atomically(folder / METRICS, json.dumps(record, indent=2))


def default_folder(config: RunConfig) -> Path:
    """``runs/METHOD-DATA``."""
    source = Path(config.data.source.removeprefix("pack:").removeprefix(HUB)).name or "data"
    return Path("runs") / f"{config.kind.name}-{source.split('.')[0]}"


def _doubt_labels(prepared: Prepared) -> None:
    """Warn of labels that are different in every row: names or numbers of rows, of which no class can be learnt."""
    parts = [part.labels for part in (prepared.train, prepared.val, prepared.test) if part.labels is not None]
    labels = [label for values in parts if values.ndim == 1 for label in values.tolist() if label >= 0]
    if len(labels) > 1 and len(set(labels)) == len(labels):
        column = prepared.train.columns.label
        announce(
            f"{prepared.train.name}: column {column!r} gives each of its {len(labels):,} rows a class of its own, from "
            "which no class can be learnt: if it holds no labels, name another with --label COL"
        )


@contextmanager
def _told_to_resume() -> Iterator[None]:
    """Say of a full disk that nothing is lost."""
    try:
        yield
    except StorageError as error:
        raise StorageError(f"{error}; then the same command with --resume goes on from the last checkpoint") from error


def read_templates(path: str | Path | None) -> list[str] | None:
    """The prompt templates of a file, None for none.

    Raises:
        ConfigError: a line has no ``{}``, or there is no line.
    """
    if path is None:
        return None
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    wrong = next((line for line in lines if "{}" not in line), None)
    if wrong is not None or not lines:
        raise ConfigError(f"{path}: every prompt template needs {{}} for the class name; got {wrong!r}")
    return lines
