"""``clean``: which rows of a data set are wrong, and what would be right; and the table without what was wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from accord.cleaning import Finding, LabelJudge, PairJudge
from accord.cleaning.corrections import Corrected, source_digest, write_corrected
from accord.cleaning.findings import Aspect, Findings, label_aspect, pair_aspect, put_together
from accord.cleaning.labels import FEWEST
from accord.cleaning.review import write_review
from accord.cleaning.table import CLEAN, REVIEW, clean_table, write_clean
from accord.data.corpus import Corpus, survey
from accord.data.reading.sources import announce, read_source
from accord.errors import ConfigError, DataError
from accord.evaluation.zero_shot import build_zero_shot_classifier
from accord.methods import get_method, named_with
from accord.methods.abilities import Embeds, JudgesRows
from accord.pipeline.build import readable
from accord.pipeline.doubted import doubted_rows
from accord.pipeline.embedded import Embedded, holds_vectors, is_embeddings_file, open_embedded
from accord.pipeline.folder import require_outside, things_in
from accord.pipeline.model import Model, load
from accord.pipeline.rows import ColumnNames, held_out, open_like
from accord.pipeline.run import train

HOUSE = "house"
_MODEL = "model"  # the folder of a run that was made for it


@dataclass(frozen=True)
class Cleaned:
    """What was found.

    Args:
        path: the folder.
        table: ``clean.parquet``, see :func:`accord.cleaning.table.clean_table`.
        shares: what was judged -> estimated share of wrong rows, NaN where nothing tells right from wrong.
        review: the page on which to decide.
    """

    path: Path
    table: pa.Table
    shares: Mapping[str, float]
    review: Path

    @property
    def doubted(self) -> int:
        """How many rows are doubted."""
        return int(np.sum(self.table["doubted"].to_numpy()))

    def sentences(self) -> list[str]:
        """What came out, for people."""
        lines = [f"{len(self.table):,} rows judged, {self.doubted:,} doubted"]
        for what, share in self.shares.items():
            told = (
                "nothing tells right ones from wrong" if math.isnan(share) else f"about {100 * share:.0f} % look wrong"
            )
            lines.append(f"{what}: {told}")
        return lines


def clean(
    data: str | Path,
    run: str | Path | None = None,
    *,
    method: str | None = None,
    out: str | Path | None = None,
    columns: ColumnNames | None = None,
    settings: Mapping[str, Any] | None = None,
    review: int = 1000,
    device: str = "auto",
    workers: int | None = None,
    progress: bool = True,
) -> Cleaned:
    """Judge every pair and every label of a data set, and write what is doubted with reasons and proposals.

    The data are not changed. Rows that cannot be read are left out, and said on stderr.

    Args:
        data: what :func:`accord.train` takes, or a Parquet file with vectors, such as ``accord embed`` writes.
        run: the model by whose embeddings rows are judged: folder of a run, name of a model that ships, or a bundle.
            None takes the vectors of ``data`` where it has some, else the model ``house``. What a run of a method that
            judges rows thinks of its own data counts before embeddings.
        method: instead of ``run``, such a method, which is trained on ``data`` first.
        out: folder to write, new or of an earlier ``clean``; default ``runs/clean-DATA``.
        columns: field -> column name(s) of ``data``, where the guess is wrong.
        settings: of the training, as :func:`accord.train` takes them.
        review: how many doubted rows the review page shows.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.
        workers: processes that decode; None for what suits the device.
        progress: say what is being done.

    Raises:
        ConfigError: run and method are both given, the method judges no rows, or ``out`` holds something else.
        DataError: the data cannot be read, or hold neither pairs nor labels that can be judged.

    Example:
        >>> accord.clean("photos.csv", "clip:models/vit-b-32").doubted      # doctest: +SKIP
        17
    """
    folder = Path(out) if out is not None else _default_folder(data)
    _check(data, run, method, folder, settings)
    if method is not None:
        run = _trained(data, method, folder, columns, settings, device, workers, progress)
    if run is None and not is_embeddings_file(data):
        run = _usual_model(data, columns)
    embedded = _opened(data, run, columns, device, workers)
    findings = put_together(len(embedded), _aspects(embedded, data))
    return _written(folder, data, run, embedded, findings, review)


def apply_decisions(
    folder: str | Path, decisions: str | Path | Mapping[int, str] | None = None, *, out: str | Path
) -> Corrected:
    """Write a new table of the rows that :func:`clean` judged, with what was accepted; the source stays as it is.

    Args:
        folder: what :func:`clean` wrote.
        decisions: file that the review page saved, or row -> ``accept``, ``reject`` or ``drop``; rows that it does not
            name stay. None accepts all proposals, and drops doubted rows for which nothing is proposed.
        out: ``.parquet`` or ``.csv`` file to write.

    Raises:
        ConfigError: the folder is none of ``clean``, or the decisions were made on another.
        DataError: the source has changed since.
        StorageError: ``out`` is another file already.
    """
    said = Path(decisions) if isinstance(decisions, str | Path) else decisions
    return write_corrected(Path(folder), said, Path(out))


# ---- before ----------------------------------------------------------------------------------------------------------


def _default_folder(data: str | Path) -> Path:
    name = str(data).removeprefix("pack:").rstrip("/").replace(":", "-")
    return Path("runs") / f"clean-{Path(name).stem or 'data'}"


def _check(
    data: str | Path, run: str | Path | None, method: str | None, folder: Path, settings: Mapping[str, Any] | None
) -> None:
    """Refuse before anything is read what cannot be meant."""
    if run is not None and method is not None:
        raise ConfigError(f"run {run} and method {method}: give one; a method is trained anew")
    if settings and method is None:
        raise ConfigError("settings are those of a training: name its method too, such as --method capro")
    if method is not None and not issubclass(get_method(method), JudgesRows):
        raise ConfigError(f"method {method} does not {JudgesRows.does}; methods that do: {named_with(JudgesRows)}")
    require_outside(folder, str(data))
    ours = (CLEAN, REVIEW, _MODEL)
    if others := things_in(folder, ours):
        raise ConfigError(f"{folder} is not empty (it holds {others}): name a new folder with --out")


def _usual_model(data: str | Path, columns: ColumnNames | None) -> str:
    """The model that ships, for data with something that it reads.

    Raises:
        DataError: they have nothing of that kind.
    """
    found = survey(data, columns=columns).modalities
    if not {"image", "text"} & set(found):
        raise DataError(
            f"{data} has {', '.join(found) or 'no medium'}: name the model that is to judge it with --run, such as the "
            "folder of a run, or a method that learns from it with --method"
        )
    announce(f"judged by {HOUSE}, a small model that knows drawings; name a better one with --run, such as clip:FOLDER")
    return HOUSE


def _trained(
    data: str | Path,
    method: str,
    folder: Path,
    columns: ColumnNames | None,
    settings: Mapping[str, Any] | None,
    device: str,
    workers: int | None,
    progress: bool,
) -> Path:
    """The folder of a run of the method on all rows."""
    place = folder / _MODEL
    wanted: dict[str, Any] = {"data.split.test": 0.0, **(settings or {})}
    if device != "auto":
        wanted["training.accelerator"] = device
    train(data, method, columns=columns, out=place, settings=wanted, workers=workers, progress=progress)
    return place


def _opened(
    data: str | Path, run: str | Path | None, columns: ColumnNames | None, device: str, workers: int | None
) -> Embedded:
    """The rows with their vectors, captions as the source has them; without vectors where the model makes none."""
    model = None if run is None else load(run, device, workers)
    if model is not None and not model.can(Embeds):
        return Embedded(replace(open_like(model, data, columns), captions=None), {}, {}, model)
    embedded = open_embedded(data, run, columns, device=device, workers=workers)
    return replace(embedded, corpus=replace(embedded.corpus, captions=None))


# ---- judging ---------------------------------------------------------------------------------------------------------


def _aspects(embedded: Embedded, data: str | Path) -> list[Aspect]:
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
        part = embedded.select(rows)
        judge = PairJudge(part.vectors[one], part.vectors[other])
        found.append(pair_aspect(judge, (one, other), rows, part.corpus.texts(), part.corpus.ids))
    return found


def _labels(embedded: Embedded) -> list[Aspect]:
    """The labels, where every row has at most one."""
    labels = _single_labels(embedded.corpus)
    if embedded.corpus.multi_label:
        announce(f"{embedded.corpus.name}: rows may have several labels, which are not judged")
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
    learnt = held_out(model).train
    doubts = {doubt.row: doubt for doubt in doubted_rows(model, learnt) or ()}
    score = dict(zip(learnt.ids.tolist(), verdicts.score.cpu().double().tolist(), strict=True))
    rows = np.array([row for row, number in enumerate(embedded.corpus.ids) if int(number) in score], dtype=np.int64)
    numbers = embedded.corpus.ids[rows].tolist()
    sure = np.clip([score[number] for number in numbers], 1e-6, 1 - 1e-6)
    log_odds = np.log(sure / (1 - sure))
    doubted = np.array([number in doubts for number in numbers], dtype=np.bool_)
    log_odds = np.where(doubted, np.minimum(log_odds, -1e-3), np.maximum(log_odds, 1e-3))

    def explain(place: int) -> Finding:
        doubt = doubts[numbers[place]]
        return Finding(f"{model.method.name}: {doubt.reason}", label=doubt.proposed)

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


# ---- writing ---------------------------------------------------------------------------------------------------------


def _written(
    folder: Path, data: str | Path, run: str | Path | None, embedded: Embedded, findings: Findings, most: int
) -> Cleaned:
    corpus, of = embedded.corpus, tuple(embedded.vectors)
    table = clean_table(corpus, findings, of)
    shares = {what: None if math.isnan(share) else share for what, share in findings.shares.items()}
    about = {**_about(data, corpus, run is None), "model": str(run or "its vectors"), "shares": shares}
    about = write_clean(folder, table, about)
    page = write_review(folder, table, about, corpus, most, of)
    return Cleaned(folder, table, findings.shares, page)


def _about(data: str | Path, corpus: Corpus, vectors: bool) -> dict[str, Any]:
    """Where the rows come from, so that they are found again: the source, its columns, and what it says now."""
    place = str(Path(data).expanduser().absolute()) if Path(data).expanduser().exists() else str(data)
    columns = {field: list(used) for field, used in corpus.columns.items()}
    about: dict[str, Any] = {"source": place, "columns": columns, "vectors": [], "ids": None}
    about["files"] = list(corpus.columns.files)
    if vectors:
        about |= _as_stored(Path(place), columns, corpus.columns.media)
    return {**about, "digest": source_digest(read_source(place), about)}


def _as_stored(path: Path, columns: Mapping[str, Sequence[str]], media: Collection[str]) -> dict[str, Any]:
    """The columns of a file of embeddings as they are called there; those of vectors apart."""
    schema = pq.read_schema(path)
    if (schema.metadata or {}).get(b"accord"):
        own = {"text": ["captions"], **{medium: ["path"] for medium in media}}
        columns = {field: own.get(field, used) for field, used in columns.items()}
    numbered = "id" in schema.names and pa.types.is_integer(schema.field("id").type)
    vectors = [field.name for field in schema if holds_vectors(field.type)]
    return {"columns": columns, "vectors": vectors, "ids": "id" if numbered else None, "files": []}
