"""The verbs: train, load, evaluate, embed, search. Each is one function that Python and the command line share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from accord.data.corpus import Corpus, open_corpus
from accord.data.leakage import warn_of_leakage
from accord.data.recipe import Prepared, prepare
from accord.data.splits import Splits
from accord.errors import ConfigError, DataError, require
from accord.evaluation.metric import Metric
from accord.files import write_atomically
from accord.methods import Method, get_method
from accord.pipeline.build import build_method, with_prepared_texts
from accord.pipeline.card import write_card
from accord.pipeline.config import RunConfig, merged, read_config
from accord.pipeline.doubted import write_doubted
from accord.pipeline.score import score
from accord.pipeline.summary import QUARANTINE, summarise
from accord.report.html import write_report
from accord.search.export import write_embeddings
from accord.search.index import Hit, build_index
from accord.search.query import search as query_index
from accord.search.query import search_altered, search_jointly, search_like
from accord.search.ray_engine import embed_on_ray
from accord.search.rows import row_named
from accord.shipped import run_folder
from accord.training.artifact import CONFIG, Model, load_model, save_model
from accord.training.fit import FitResult, fit
from accord.training.onnx import OnnxModel, is_export

METRICS, REPORT, SPLITS = "metrics.json", "report.html", "splits.json"
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
    columns: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    objective_add: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Run:
    """Train a method, evaluate it on held-out rows, and write the model with its card and report.

    Args:
        data: folder, CSV/JSONL/Parquet file, tar shards, ``pack:NAME`` or hub name.
        method: registry name; default ``"clip"``.
        config: YAML file, shipped name or mapping of a whole run; the other arguments override it.
        encoders: modality -> encoder name, or a mapping with ``name``, ``freeze`` and ``weights``.
        columns: modality -> column name(s), where the guess is wrong.
        out: directory of the run; default ``runs/METHOD-DATA``.
        resume: go on from the last checkpoint in ``out``.
        seed: seed of everything random but the split.
        epochs: passes over the data, for stages that do not say.
        batch_size: rows per optimiser step.
        objective_add: objectives to add to the method's loss, such as ``"contrastive_gap"``.
        settings: any other setting by dotted name, e.g. ``{"method.temperature": 0.1}``.
        progress: show progress bars.

    Raises:
        ConfigError: a setting is wrong, or ``out`` holds a run and ``resume`` is off.
        DataError: the data cannot be read.

    Example:
        >>> run = accord.train("pack:emoji", method="clip", epochs=1)      # doctest: +SKIP
        >>> run.model.embed(texts=["a red heart"]).shape                   # doctest: +SKIP
        torch.Size([1, 512])
    """
    if resume and out is not None and (Path(out) / CONFIG).is_file() and config is None:
        config = {key: value for key, value in read_config(Path(out) / CONFIG).items() if key != "data_info"}
    changes: dict[str, Any] = {
        "data.source": None if data is None else str(data),
        "training.seed": seed,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        **{f"encoders.{modality}": encoder for modality, encoder in (encoders or {}).items()},
        **{f"data.columns.{modality}": column for modality, column in (columns or {}).items()},
        **{f"objective_add.{name}": {} for name in objective_add},
    }
    if method is not None:
        changes["method.name"] = method
    changes = {key: value for key, value in changes.items() if value is not None} | dict(settings or {})
    run = RunConfig.parse(merged(read_config(config), changes))
    folder = Path(out) if out is not None else default_folder(run)
    return execute(run, folder, resume=resume, progress=progress)


def execute(config: RunConfig, folder: Path, *, resume: bool = False, progress: bool = True) -> Run:
    """Run ``config`` into ``folder``; see :func:`train`."""
    _claim(folder, config, resume)
    prepared = prepare(config.data, quarantine=folder / QUARANTINE, quiet=not progress)
    prepared.splits.save(folder / SPLITS)
    if progress and len(prepared.test):
        warn_of_leakage(prepared.train, prepared.test)
    started = time.perf_counter()
    model, fitted = fit_model(config, prepared, folder, resume=resume, progress=progress)
    save_model(folder, model.method, config.model_dump(mode="json"))
    model.path = folder
    metrics = score(model, prepared, config.evaluate)
    write_metrics(folder, metrics)
    doubted = write_doubted(folder, model, prepared.train)
    summary = summarise(model, prepared, metrics, folder, seconds=time.perf_counter() - started)
    write_report(summary, folder / REPORT)
    write_card(folder, model, metrics, summary.both_sides.lines if summary.both_sides else ())
    return Run(folder, model, metrics, fitted, summary.next_steps, doubted)


def fit_model(
    config: RunConfig, prepared: Prepared, folder: Path, *, resume: bool = False, progress: bool = True
) -> tuple[Model, FitResult]:
    """Build and train the method of ``config`` on ``prepared.train``."""
    corpus = with_prepared_texts(prepared.train, get_method(config.method.get("name", "clip")))
    method = build_method(config, corpus)
    probe = _probe(config, prepared) if config.training.probe_every else None
    fitted = fit(method, corpus, config.training, folder, resume=resume, progress=progress, probe=probe)
    return Model(method, config=config.model_dump(mode="json"), path=folder), fitted


def _probe(config: RunConfig, prepared: Prepared) -> Callable[[Method], dict[str, float]]:
    """The configured tasks on the validation rows, or on the test rows where there are none."""
    rows = replace(prepared, test=prepared.val) if len(prepared.val) else prepared

    def measure(method: Method) -> dict[str, float]:
        model = Model(method, config=config.model_dump(mode="json"))
        return {metric.name: metric.value for metric in score(model, rows, config.training.probe)}

    return measure


def load(path: str | Path, device: str = "cpu") -> Model:
    """The model of a finished run, or one that ships with Accord (``"house"``).

    Raises:
        AccordError: ``path`` is not a finished run; names what is missing.
    """
    return load_model(run_folder(path), device)


def evaluate(
    run: str | Path,
    data: str | Path | None = None,
    tasks: Sequence[str] = (),
    templates: str | Path | None = None,
    candidates: int | None = None,
    examples: int = 0,
) -> list[Metric]:
    """Score a run on its own held-out rows, or on other data.

    Args:
        run: the run's directory.
        data: other data; None takes the run's held-out rows.
        tasks: of ``retrieval zero_shot classification knn linear_probe captions joint segmentation few_labels
            clustering``; empty takes all that fit.
        templates: file of prompt templates for ``zero_shot``, one a line, with ``{}``.
        candidates: how many items a second stage scores for each query; 0 leaves it out. None takes 128 of
            ``retrieval`` and leaves out that of ``joint``.
        examples: captions of training rows that count as further texts of their class in ``zero_shot``.

    Returns:
        The metrics, each with its interval and chance level.
    """
    model = load_model(run_folder(run))
    prepared = held_out(model) if data is None else _as_test(model, open_like(model, data))
    read = read_templates(templates)
    return score(model, prepared, tasks, templates=read, candidates=candidates, examples=examples)


def embed(
    run: str | Path,
    data: str | Path,
    out: str | Path = "embeddings.parquet",
    *,
    engine: Literal["plain", "ray"] = "plain",
    workers: int = 2,
) -> Path:
    """Write the embeddings of every row of ``data`` as Parquet, one column per modality; returns the file.

    Args:
        run: folder of a run or of an ONNX export, or name of a model that ships.
        data: what to embed.
        out: the file.
        engine: ``plain`` embeds in this process, ``ray`` in several; see :mod:`accord.search.ray_engine`.
        workers: how many processes, with ``ray``.

    Raises:
        ConfigError: an unknown engine, or ``workers`` is less than 1.
        DataError: ``data`` cannot be read, or has nothing that the model embeds.
        MissingExtraError: the engine is ``ray``, and Ray is not installed.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine = {engine!r}: expected one of {', '.join(ENGINES)}")
    if engine == "ray":
        require("ray", "ray")  # before the data are read
    exported = is_export(Path(run))
    folder = Path(run) if exported else run_folder(run)
    model = OnnxModel(folder) if exported else load_model(folder)
    corpus = open_like(model, data) if isinstance(model, Model) else open_corpus(data, quiet=True)
    present = [name for name in model.modalities if getattr(corpus.columns, name)]
    if not present:
        have, wanted = ", ".join(corpus.modalities), ", ".join(model.modalities)
        raise DataError(f"{corpus.name} has {have}, and the model embeds {wanted}: there is nothing to embed")
    vectors = (
        embed_on_ray(folder, corpus, data, present, workers)
        if engine == "ray"
        else {name: model.embed_corpus(corpus, name) for name in present}
    )
    return write_embeddings(Path(out), corpus, vectors)


def search(
    run: str | Path,
    query: str | None = None,
    data: str | Path | None = None,
    k: int = 10,
    ann: bool | None = None,
    candidates: int | None = None,
    plus: Sequence[str] = (),
    minus: Sequence[str] = (),
    strength: float = 1.0,
    together: Mapping[str, str | Path] | None = None,
    like: str | None = None,
) -> list[Hit]:
    """The ``k`` rows of ``data`` nearest to words, to a picture, to several things together, or to one of the rows.

    Args:
        run: the run's directory; the index is kept in it and grows with new files.
        query: words, or the path of an image.
        data: what to search; None takes the run's own data.
        k: number of hits.
        ann: approximate search; None decides by size.
        candidates: for a method with a second stage, how many rows it scores; 0 leaves it out, None decides by ``k``.
        plus: words for what the answers should show besides; with them or ``minus`` there is no second stage.
        minus: words for what they should not show any more.
        strength: how much these words count.
        together: instead of ``query``, modality -> words or a file, such as ``{"text": "a dog", "audio": "bark.wav"}``.
        like: instead of ``query``, a row of the data, such as a node of a graph, by its number or by what one of its
            columns says; there is no second stage.

    Raises:
        ConfigError: not one of ``query``, ``together`` and ``like``, or what the model cannot embed.
        DataError: there is no such file or row, or several rows say that.
    """
    if (query is not None) + bool(together) + (like is not None) != 1:
        raise ConfigError("search: give either a query, a row, or several things of different modalities together")
    if like is not None and (plus or minus):
        raise ConfigError("search: plus and minus change a query, not a row")
    folder = run_folder(run)
    model = load_model(folder)
    source = model.config["data"]["source"] if data is None else data
    corpus = open_like(model, source)
    row = None if like is None else row_named(corpus, like)
    index = build_index(folder, model, corpus, ann=ann)
    if row is not None:
        return search_like(index, row, k=k, ann=ann)
    if query is None:
        return search_jointly(index, model, together or {}, k=k, ann=ann, candidates=candidates)
    if plus or minus:
        return search_altered(index, model, query, plus=plus, minus=minus, strength=strength, k=k, ann=ann)
    return query_index(index, model, query, k=k, ann=ann, candidates=candidates)


def held_out(model: Model) -> Prepared:
    """The corpora of the run that made ``model``, split as it was trained."""
    config = RunConfig.parse({key: value for key, value in model.config.items() if key != "data_info"})
    return prepare(config.data, quiet=True)


def write_metrics(folder: Path, metrics: Sequence[Metric]) -> None:
    """``metrics.json``: name -> value, interval, chance level, number of items."""
    record = {metric.name: {k: v for k, v in metric.to_dict().items() if k != "name"} for metric in metrics}
    write_atomically(folder / METRICS, json.dumps(record, indent=2))


def default_folder(config: RunConfig) -> Path:
    """``runs/METHOD-DATA``."""
    source = Path(config.data.source.removeprefix("pack:")).name or "data"
    return Path("runs") / f"{config.method.get('name', 'clip')}-{source.split('.')[0]}"


def _claim(folder: Path, config: RunConfig, resume: bool) -> None:
    """Write the configuration first, so that an interrupted run says what it was."""
    if (folder / CONFIG).exists() and not resume:
        raise ConfigError(f"{folder} already holds a run: pass --resume to go on, or another --out")
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / CONFIG).exists():
        write_atomically(folder / CONFIG, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))


def open_like(model: Model, data: str | Path) -> Corpus:
    """Open ``data`` with the columns of the run where it has them."""
    wanted = model.config.get("data", {})
    columns = wanted.get("columns", {}) if str(data) == wanted.get("source") else {}
    options = {"incomplete": wanted.get("incomplete", False), "target": wanted.get("target")}
    corpus = open_corpus(data, columns=columns, **options, quiet=True)
    return with_prepared_texts(corpus, type(model.method))


def _as_test(model: Model, corpus: Corpus) -> Prepared:
    empty = corpus.select([])
    return Prepared(train=empty, test=corpus, val=empty, splits=Splits({"test": corpus.ids}))


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
