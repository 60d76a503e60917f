"""What a run's report shows: pictures for its retrievals, its mistakes, and the rows it did not believe."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from accord import __version__
from accord.data.corpus import Corpus
from accord.data.quarantine import RowError
from accord.data.recipe import Prepared
from accord.diagnostics.gap import embedding_diagnostics
from accord.evaluation.classification import Classification, labelled_rows, score_classes
from accord.evaluation.metric import Metric
from accord.evaluation.retrieval import retrieve_examples
from accord.methods.base import Verdicts
from accord.papers.catalogue import get_card
from accord.pipeline.score import judgement
from accord.report.curves import read_curves
from accord.report.projection import project
from accord.report.summary import (
    ClassRow,
    Comparison,
    Confusion,
    Example,
    Geometry,
    Item,
    Noise,
    NoisyPair,
    Picture,
    Quantity,
    RunSummary,
)
from accord.training.artifact import Model

_EXAMPLES, _HITS, _PAIRS, _PER_CLASS = 6, 6, 18, 4


def summarise(
    model: Model,
    prepared: Prepared,
    metrics: Sequence[Metric],
    folder: Path,
    *,
    seconds: float,
    comparison: Comparison | None = None,
    title: str | None = None,
    lede: str = "",
) -> RunSummary:
    """Everything the report of a run says.

    Args:
        model: the trained model.
        prepared: its corpora.
        metrics: what was measured.
        folder: the run's directory, for its training log.
        seconds: wall time of training and evaluation.
        comparison: the method against its baselines, where that was run.
        title: headline; default method and data.
        lede: one or two sentences that say what came out.
    """
    labelled = labelled_rows(prepared.test)
    outcome = _classification(model, labelled)
    log = folder / "train.jsonl"
    return RunSummary(
        title=title or f"{model.method.name} on {prepared.train.name}",
        method=model.method.name,
        lede=lede,
        card=get_card(model.method.name),
        setup=_setup(model, prepared, seconds),
        metrics=tuple(metrics),
        comparison=comparison,
        curves=read_curves(log) if log.is_file() else {},
        examples=tuple(_retrievals(model, prepared.test)),
        confusion=_confusion(outcome),
        classes=tuple(_class_rows(outcome, labelled)) if outcome else (),
        noise=_noise(model, prepared.train),
        geometry=_geometry(model, prepared.test),
        next_steps=_next_steps(model, folder),
    )


def _setup(model: Model, prepared: Prepared, seconds: float) -> dict[str, dict[str, str]]:
    data, training = model.config["data"], model.config["training"]
    corruption = data.get("corruption")
    encoders = {
        modality: f"{model.config['encoders'].get(modality, {}).get('name', 'default')}, {encoder.weights_from}, "
        f"{'frozen' if encoder.frozen else 'trained'}"
        for modality, encoder in model.method.encoders.items()
    }
    return {
        "Data": {
            "source": data["source"],
            "training rows": f"{len(prepared.train):,}",
            "held-out rows": f"{len(prepared.test):,}, no concept in common with training",
            "classes": str(len(prepared.train.classes)),
            "controlled noise": corruption["kind"] if corruption else "none",
        },
        "Encoders": encoders,
        "Training": {
            "seed": str(training["seed"]),
            "batch": str(training["batch_size"]),
            "learning rate": f"{training['lr']:g}",
            "time": f"{seconds:.0f} s",
        },
        "Machine": {
            "processor": f"{platform.machine()}, {os.cpu_count()} cores"
            + (f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""),
            "versions": f"accord {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
        },
    }


def _classification(model: Model, test: Corpus) -> Classification | None:
    if not model.method.classifies or test.labels is None or test.multi_label or not len(test):
        return None
    logits = model.classify(test)
    return None if logits is None else score_classes(logits, test.labels, test.classes, test.groups())


def _confusion(outcome: Classification | None) -> Confusion | None:
    return None if outcome is None else Confusion(tuple(outcome.classes), outcome.confusion.tolist())


def _class_rows(outcome: Classification, test: Corpus) -> Iterator[ClassRow]:
    for metric in outcome.per_class():
        index = outcome.classes.index(metric.name)
        mine = np.flatnonzero(outcome.labels == index)
        right = mine[outcome.predicted[mine] == index][:_PER_CLASS]
        wrong = mine[outcome.predicted[mine] != index][:_PER_CLASS]
        yield ClassRow(
            name=metric.name,
            accuracy=metric.value,
            n=len(mine),
            right=tuple(picture for row in right if (picture := _picture(test, row, metric.name)) is not None),
            wrong=tuple(
                Item(_picture(test, row, metric.name), text=outcome.classes[outcome.predicted[row]]) for row in wrong
            ),
        )


def _retrievals(model: Model, test: Corpus) -> Iterator[Example]:
    """Words to pictures where the model embeds words, else pictures to pictures."""
    test = test.having("image", *(["text"] if "text" in model.modalities else []))
    if "image" not in model.modalities or len(test) <= _HITS:
        return
    gallery = model.embed_corpus(test, "image")
    rows = np.random.default_rng(0).permutation(len(test))[:_EXAMPLES]
    by_text = "text" in model.modalities and bool(test.columns.text)
    queries = model.embed_corpus(test.select(rows), "text") if by_text else gallery[torch.from_numpy(rows)]
    scores, hits = retrieve_examples(queries, gallery, k=_HITS if by_text else _HITS + 1)
    for row, row_hits, row_scores in zip(rows, hits.tolist(), scores.tolist(), strict=True):
        query = Item(text=_text(test, row)) if by_text else Item(_picture(test, row), text=_text(test, row))
        found = [(hit, value) for hit, value in zip(row_hits, row_scores, strict=True) if by_text or hit != row]
        items = [
            Item(_picture(test, hit), text=_text(test, hit), score=value, correct=_related(test, row, hit))
            for hit, value in found[:_HITS]
        ]
        yield Example(query, tuple(items))


def _related(corpus: Corpus, query: int, hit: int) -> bool:
    """Whether a hit is right: of the same class where labels are known, of the same concept where groups are."""
    groups = corpus.groups()
    if groups is not None and corpus.labels is None:
        return bool(groups[query] == groups[hit])
    if corpus.labels is not None and not corpus.multi_label:
        return query == hit or bool(corpus.labels[query] == corpus.labels[hit] >= 0)
    return query == hit


def _noise(model: Model, train: Corpus) -> Noise | None:
    verdicts = model.method.verdicts()
    if verdicts is None or train.labels is None or train.multi_label or len(train) != len(verdicts.kept):
        return None
    kept = verdicts.kept.cpu().numpy()
    judged = train.labels if verdicts.label is None else verdicts.label.cpu().numpy()
    changed = kept & (judged != train.labels)
    return Noise(
        rows=len(train),
        dropped=int((~kept).sum()),
        corrected=int(changed.sum()),
        metrics=tuple(judgement(model, train)),
        pairs=tuple(_noisy_pairs(verdicts, judged, kept, train)),
    )


def _noisy_pairs(verdicts: Verdicts, judged: np.ndarray, kept: np.ndarray, train: Corpus) -> Iterator[NoisyPair]:
    """Doubted rows, a fixed random draw of both the dropped and the corrected."""
    assert train.labels is not None
    names = (*train.classes, "none of the classes")  # -1 is the last
    order = np.random.default_rng(0).permutation(len(train))
    changed = [row for row in order if kept[row] and judged[row] != train.labels[row]][: _PAIRS // 2]
    dropped = [row for row in order if not kept[row]][: _PAIRS - len(changed)]
    for row in [*changed, *dropped]:
        yield NoisyPair(
            picture=_picture(train, row),
            text=_text(train, row),
            web_label=names[train.labels[row]],
            judged_label=names[judged[row]] if kept[row] else None,
            true_label=None if train.truth is None else names[train.truth[row]],
            score=float(verdicts.score[row]),
        )


def _geometry(model: Model, test: Corpus) -> Geometry | None:
    present = [name for name in model.modalities if getattr(test.columns, name)]
    test = test.having(*present)
    if not present or len(test) < 3:
        return None
    embeddings: dict[str, Tensor] = {name: model.embed_corpus(test, name) for name in present}
    numbers = tuple(Quantity(item.name, item.value, item.meaning) for item in embedding_diagnostics(embeddings))
    return Geometry(numbers, project({name: rows.numpy() for name, rows in embeddings.items()}))


def _next_steps(model: Model, folder: Path) -> tuple[str, ...]:
    commands = [
        f"accord evaluate {folder} --task linear_probe",
        f"accord embed {folder} {model.config['data']['source']}",
    ]
    if "text" in model.modalities:
        commands.insert(0, f'accord search {folder} "a red heart"')
    return (*commands, f"accord train YOUR_FOLDER --method {model.method.name}")


def _picture(corpus: Corpus, row: int, alt: str = "") -> Picture | None:
    if not corpus.columns.image:
        return None
    try:
        image = corpus.sample(int(row), modalities=("image",))["image"]
    except RowError:  # went bad since it was checked: the report does without it
        return None
    return Picture.of(image, alt or _text(corpus, row) or f"row {row}", side=96)


def _text(corpus: Corpus, row: int) -> str:
    captions = corpus.select([row]).texts()[0]
    return captions[0] if captions else ""
