"""What can be judged of rows: every two modalities as pairs, labels, and what a method thinks that learnt from them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from accord.cleaning import Aspect, Finding, LabelJudge, PairJudge
from accord.cleaning.findings import label_aspect, pair_aspect
from accord.cleaning.pairs import FEWEST
from accord.data.corpus import Corpus
from accord.data.reading.cells import cells_of
from accord.data.reading.sources import announce
from accord.errors import DataError
from accord.evaluation.zero_shot import build_zero_shot_classifier
from accord.methods.abilities import JudgesRows
from accord.pipeline.build import readable
from accord.pipeline.doubted import doubted_rows
from accord.pipeline.embedded import Embedded
from accord.pipeline.model import Model
from accord.pipeline.rows import held_out

_EACH = 4  # rows of a class, in the mean, from which a column may be one of labels


def aspects_of(embedded: Embedded, data: str | Path) -> list[Aspect]:
    """Everything that can be judged of the rows.

    Raises:
        DataError: nothing can.
    """
    aspects = [*_pairs(embedded), *_labels(embedded)]
    verdict = None if embedded.model is None else _verdict(embedded, embedded.model, data)
    if verdict is not None:
        replaced = "labels" if _single_labels(embedded.corpus) is not None else None
        aspects = [_without(one, verdict.rows) if replaced in (None, one.what) else one for one in aspects]
        aspects = [*(one for one in aspects if len(one.rows)), verdict]
    if aspects:
        return aspects
    held = ", ".join(embedded.vectors) or "none"
    raise DataError(
        f"{embedded.corpus.name}: there are no pairs and no labels to judge (vectors of {held}; labels of "
        f"{len(embedded.corpus.classes)} classes; at least {FEWEST} rows): name columns of pictures, texts or labels"
    )


def _pairs(embedded: Embedded) -> list[Aspect]:
    """The pairs of every two modalities, captions second."""
    found = []
    names = sorted(embedded.vectors, key=lambda name: name == "text")
    for one, other in itertools.combinations(names, 2):
        rows = np.flatnonzero(embedded.present[one] & embedded.present[other])
        if len(rows) < FEWEST:
            continue
        part = embedded.having(one, other)  # without a copy where all have both
        judge = PairJudge(part.vectors[one], part.vectors[other])
        found.append(pair_aspect(judge, (one, other), rows, part.corpus.texts(), part.corpus.ids))
    return found


def _labels(embedded: Embedded) -> list[Aspect]:
    """The labels, where every row has at most one."""
    labels = _single_labels(embedded.corpus)
    if embedded.corpus.multi_label:
        announce(f"{embedded.corpus.name}: rows may have several labels, which are not judged")
    elif not embedded.corpus.columns.label and (named := _may_be_labels(embedded.corpus)):
        announce(
            f"no labels are judged; where a column holds some, say so: {', '.join(f'--label {it}' for it in named)}"
        )
    if labels is None or not embedded.vectors:
        return []
    names = [name for name in embedded.vectors if embedded.present[name].all()] or list(embedded.vectors)[:1]
    rows = np.flatnonzero((labels >= 0) & np.logical_and.reduce([embedded.present[name] for name in names]))
    if len(rows) < FEWEST or len(np.unique(labels[rows])) < 2:
        return []
    part = embedded.select(rows)
    words = [_class_vectors(embedded, name) for name in names]
    judge = LabelJudge([part.vectors[name] for name in names], labels[rows], len(part.corpus.classes), words)
    return [label_aspect(judge, rows, part.corpus.classes, part.corpus.ids)]


def _single_labels(corpus: Corpus) -> np.ndarray | None:
    return None if corpus.labels is None or corpus.multi_label or len(corpus.classes) < 2 else corpus.labels


def _may_be_labels(corpus: Corpus) -> list[str]:
    """Columns of texts that nothing was made of, and that say the same of many rows."""
    used = {column for _, columns in corpus.columns.items() for column in columns}
    found = []
    for name, kind in corpus.rows.features.items():
        if name not in used and getattr(kind, "dtype", "") in ("string", "large_string"):
            values = [value for value in cells_of(corpus.rows, name) if value]
            if 2 <= len(set(values)) <= len(values) / _EACH:
                found.append(name)
    return found


def _class_vectors(embedded: Embedded, modality: str) -> Tensor | None:
    """The names of the classes ``(C, D)`` in the space of a modality; None where the model reads no words."""
    model = embedded.model
    if model is None or "text" not in model.modalities:
        return None
    names = [readable(name) or name for name in embedded.corpus.classes]
    weights = build_zero_shot_classifier(lambda texts: model.embed(texts=texts), names, model.templates).T
    return weights if weights.shape[1] == embedded.vectors[modality].shape[1] else None


def _verdict(embedded: Embedded, model: Model, data: str | Path) -> Aspect | None:
    """What a method that was trained on these rows thinks of them; None where it was not, or judges none."""
    judge = JudgesRows.of(model.method)
    verdicts = None if judge is None else judge.verdicts()
    if verdicts is None:
        return None
    config = model.config.get("data", {})
    if str(data) not in (config.get("source"), config.get("location")) or config.get("corruption"):
        announce(f"{model.method.name} was trained on other rows than those of {data}: its verdicts do not count here")
        return None
    learnt = held_out(model, quiet=True).train
    found = doubted_rows(model, learnt)
    if found is None:
        announce(f"{data} has other rows than when {model.method.name} was trained: its verdicts do not count here")
        return None
    doubts = {doubt.row: doubt for doubt in found}
    score = dict(zip(learnt.ids.tolist(), verdicts.score.cpu().double().tolist(), strict=True))
    rows = np.array([row for row, number in enumerate(embedded.corpus.ids) if int(number) in score], dtype=np.int64)
    numbers = embedded.corpus.ids[rows].tolist()
    sure = np.clip([score[number] for number in numbers], 1e-6, 1 - 1e-6)
    log_odds = np.log(sure / (1 - sure))
    doubted = np.array([number in doubts for number in numbers], dtype=np.bool_)
    log_odds = np.where(doubted, np.minimum(log_odds, -1e-3), np.maximum(log_odds, 1e-3))

    def explain(place: int) -> Finding:
        doubt = doubts[numbers[place]]
        reason = f"{model.method.name}: {doubt.reason}"
        return Finding(reason, (reason,), label=doubt.proposed)

    return Aspect(
        f"rows, says {model.method.name},", rows, log_odds, explain, float(doubted.mean() if len(rows) else 0)
    )


def _without(aspect: Aspect, rows: np.ndarray) -> Aspect:
    """The aspect of the other rows."""
    places = np.flatnonzero(~np.isin(aspect.rows, rows))
    return replace(
        aspect,
        rows=aspect.rows[places],
        log_odds=aspect.log_odds[places],
        explain=lambda place: aspect.explain(int(places[place])),
    )
