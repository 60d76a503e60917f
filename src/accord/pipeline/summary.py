"""What a run's report shows: pictures for its retrievals, its mistakes, and the rows it did not believe."""

from __future__ import annotations

import json
import os
import platform
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import torch
from torch import Tensor

from accord import __version__
from accord.data.corpus import Corpus
from accord.data.leakage import EXAMPLES, describe_leakage, find_leakage
from accord.data.quarantine import BadRow
from accord.data.recipe import Prepared
from accord.diagnostics.measures import get_measures, measured
from accord.diagnostics.space import Space
from accord.evaluation.examples import rows_found
from accord.evaluation.metric import Metric
from accord.evaluation.tasks import get_tasks
from accord.files import reading
from accord.papers.catalogue import get_card
from accord.pipeline.card import describe_encoders
from accord.pipeline.doubted import DOUBTED, Doubt, doubted_rows
from accord.pipeline.examples import pictured, row_name, thumbnail
from accord.pipeline.folder import QUARANTINE
from accord.pipeline.score import Asked, chosen_tasks, judgement
from accord.report.curves import read_curves
from accord.report.projection import project
from accord.report.summary import (
    BothSides,
    Comparison,
    Geometry,
    Item,
    LeftOut,
    Noise,
    NoisyPair,
    Quantity,
    Retrieval,
    RunSummary,
    Section,
)
from accord.searching.rows import file_paths
from accord.training.config import TrainingConfig
from accord.training.model import Model
from accord.training.start import rows_per_step

_DOUBTS, _LEFT_OUT = 18, 10  # shown: doubted rows, rows left out
_WORDS = 6  # of a query to try, at most
_OWN = "the text beside it"  # what a pair without classes is taken to have


def summarise(
    model: Model,
    prepared: Prepared,
    metrics: Sequence[Metric],
    folder: Path,
    *,
    seconds: float,
    tasks: Asked = (),
    comparison: Comparison | None = None,
    title: str | None = None,
    lede: str = "",
    beside: Path | None = None,
) -> RunSummary:
    """Everything the report of a run says.

    Args:
        model: the trained model.
        prepared: its corpora.
        metrics: what was measured.
        folder: the run's directory, for its training log and the lists of rows in it.
        seconds: wall time of training and evaluation.
        tasks: those that were measured, as :func:`accord.pipeline.score.score` takes them.
        comparison: the method against its baselines, where that was run.
        title: headline; default method and data.
        lede: one or two sentences that say what came out.
        beside: the folder that the report is written to; None for that of the run.
    """
    log = folder / "train.jsonl"
    return RunSummary(
        title=title or f"{model.method.name} on {prepared.train.name}",
        method=model.method.name,
        lede=lede,
        card=get_card(model.method.name),
        setup=_setup(model, prepared, seconds),
        metrics=tuple(metrics),
        measured=f"one run, seed {model.config['training']['seed']}",
        comparison=comparison,
        curves=read_curves(log) if log.is_file() else {},
        sections=_sections(model, prepared, tasks),
        noise=_noise(model, prepared.train, link=_link(folder / DOUBTED, beside or folder)),
        left_out=read_left_out(folder / QUARANTINE, link=_link(folder / QUARANTINE, beside or folder)),
        both_sides=_both_sides(prepared.train, prepared.test, model.method.subjects_of(prepared.test.columns.readable)),
        next_steps=next_steps(model, prepared, folder),
    )


def next_steps(model: Model, prepared: Prepared, folder: Path) -> tuple[str, ...]:
    """Commands to try next, which run as they stand: with a query out of the held-out rows, quoted for a shell.

    Args:
        model: the trained model.
        prepared: its corpora.
        folder: the run's directory.
    """
    test = prepared.test if len(prepared.test) else prepared.train
    embeds = bool(model.modalities)  # else nothing can be searched or exported
    commands: list[tuple[str, ...]] = []
    if embeds:
        commands.append(("search", str(folder), *_query(model, test)))
    elif chosen_tasks(model, prepared):
        commands.append(("evaluate", str(folder)))
    further = [task for task in get_tasks() if task.suggested and task.fits_needs(model, prepared)]
    commands += [("evaluate", str(folder), "--task", task.name) for task in further]
    if embeds:
        commands.append(("embed", str(folder), str(model.config["data"]["source"]), "--out", "vectors.parquet"))
    return tuple(shlex.join(("accord", *words)) for words in commands)


def _query(model: Model, test: Corpus) -> tuple[str, ...]:
    """What to search for: a short caption where the model embeds words, else a file, else a row."""
    if "text" in model.modalities and test.columns.text:
        found = [captions[0] for captions in test.texts() if captions and not captions[0].startswith("-")]
        if found:
            return (next((text for text in found if 1 < len(text.split()) <= _WORDS), min(found, key=len)),)
    (file,) = file_paths(test.select([0]), model.modalities)
    return (file,) if file is not None and model.modalities[0] in test.columns.media else ("--like", str(test.ids[0]))


def _setup(model: Model, prepared: Prepared, seconds: float) -> dict[str, dict[str, str]]:
    data, training = model.config["data"], model.config["training"]
    corruption = data.get("corruption")
    return {
        "Data": {
            "source": data["source"],
            "training rows": f"{len(prepared.train):,}",
            "held-out rows": f"{len(prepared.test):,}" if len(prepared.test) else "none",
            **({"kept apart": _kept_apart(prepared.test)} if len(prepared.test) else {}),
            **({"classes": str(len(prepared.train.classes))} if prepared.train.classes else {}),
            **({"controlled noise": corruption["kind"]} if corruption else {}),
        },
        "Encoders": describe_encoders(model),
        "Training": {
            "seed": str(training["seed"]),
            "batch": _rows_per_step(model, prepared.train),
            "learning rate": f"{training['lr']:g}",
            "time": f"{seconds:.0f} s",
        },
        "Machine": {
            "processor": f"{platform.machine()}, {os.cpu_count()} cores"
            + (f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""),
            "versions": f"accord {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        },
    }


def _rows_per_step(model: Model, train: Corpus) -> str:
    """The rows of a step, and what was asked for where there were fewer."""
    config = TrainingConfig.parse(model.config["training"])
    rows = rows_per_step(model.method, train, config)
    return f"{rows} ({config.batch_size} asked for)" if rows < config.batch_size else str(rows)


def _kept_apart(test: Corpus) -> str:
    """What held-out rows do not share with training rows."""
    if test.columns.group:
        return f"by column {test.columns.group}: none of it in common with training"
    return "row by row (no --group)"


def _noise(model: Model, train: Corpus, link: str) -> Noise | None:
    doubts = doubted_rows(model, train)
    if doubts is None:
        return None
    corrected = sum(bool(one.proposed) for one in doubts)
    return Noise(
        rows=len(train),
        dropped=len(doubts) - corrected,
        corrected=corrected,
        metrics=tuple(judgement(model, train)),
        pairs=tuple(_noisy_pair(one, train, model.method.subjects) for one in doubts[:_DOUBTS]),
        link=link,
    )


def _noisy_pair(doubt: Doubt, train: Corpus, of: Collection[str]) -> NoisyPair:
    return NoisyPair(
        picture=thumbnail(train, doubt.position, of),
        text=doubt.text,
        web_label=doubt.label or _OWN,
        judged_label=doubt.proposed or None,
        true_label=_truth(train, doubt.position),
        score=doubt.score,
        where=row_name(train, doubt.position),
    )


def _truth(train: Corpus, row: int) -> str | None:
    """The true label, or whether the text is the row's own; None where that is not known."""
    if train.truth is None:
        return None
    if train.labels is None or train.multi_label:
        return _OWN if train.truth[row] else "that of another row"
    return (*train.classes, "none of the classes")[train.truth[row]]  # -1 is the last


def read_left_out(path: Path, link: str) -> LeftOut | None:
    """The rows that the quarantine lists; None without any.

    Args:
        path: of ``quarantine.jsonl``.
        link: how the page that shows them refers to it.

    Raises:
        StorageError: the file is damaged.
    """
    if not path.is_file():
        return None
    with reading(path, "delete it"):
        rows = [BadRow(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line]
    if not rows:
        return None
    reasons = Counter(row.reason.partition(":")[0] for row in rows)
    return LeftOut(
        dict(reasons.most_common()), tuple((bad.row, bad.file, bad.reason) for bad in rows[:_LEFT_OUT]), link
    )


def _both_sides(train: Corpus, test: Corpus, of: Collection[str]) -> BothSides | None:
    """What held-out rows have in common with training rows; None where that is nothing."""
    if not len(train) or not len(test):
        return None
    leakage = find_leakage(train, test)
    if not leakage:
        return None
    lines = [*describe_leakage(leakage, train, test), *([leakage.sampled] if leakage.sampled else [])]
    pairs = tuple(
        (_shown(test, twin.held_out, "held out", of), _shown(train, twin.training, "trained on", of))
        for twin in leakage.pictures[:EXAMPLES]
    )
    return BothSides(tuple(_sentence(line) for line in lines), pairs)


def _sentence(line: str) -> str:
    return line[0].upper() + line[1:] + ("" if line.endswith("…") else ".")


def _shown(corpus: Corpus, row: int, side: str, of: Collection[str]) -> Item:
    position = corpus.position_of(row)
    return Item(thumbnail(corpus, position, of), f"{side}: {row_name(corpus, position)}")


def _link(file: Path, beside: Path) -> str:
    return quote(os.path.relpath(file, beside).replace(os.sep, "/"))


def _sections(model: Model, prepared: Prepared, tasks: Asked) -> tuple[Section, ...]:
    """What the tasks that ran show, and how embeddings lie; rows and those near them where no task shows examples."""
    sections: list[Section] = []
    for task, options in chosen_tasks(model, prepared, tasks):
        for section in task.shows(model, prepared, options) if task.shows is not None else ():
            taken = section.title in [other.title for other in sections]
            sections.append(replace(section, title=f"{section.title}, {task.name}") if taken else section)
    if not any(isinstance(section, Retrieval) for section in sections):
        sections[:0] = _nearest(model, prepared.test)
    shown = (pictured(section, model.method.subjects) for section in sections)
    return (*shown, *_geometry(model, prepared.test))


def _nearest(model: Model, test: Corpus) -> list[Section]:
    modality = next((name for name in model.modalities if name != "text" and name in test.modalities), None)
    found = None if modality is None else rows_found(model, test, modality)
    return [] if found is None else [found]


def _geometry(model: Model, test: Corpus) -> list[Section]:
    present = [name for name in model.modalities if name in test.modalities]
    test = test.having(*present)
    if not present or len(test) < 3:
        return []
    embeddings: dict[str, Tensor] = {name: model.embed_corpus(test, name) for name in present}
    shown = [measure for measure in get_measures() if measure.in_report]
    numbers = tuple(
        Quantity(item.name, item.value, item.meaning) for item in measured(shown, Space(embeddings)).numbers
    )
    return [Geometry(numbers, project({name: rows.numpy() for name, rows in embeddings.items()}))]
