"""``probe``: how embeddings lie and what they tell, of a model's rows or of a file of embeddings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accord.data.corpus import Corpus
from accord.data.reading.cells import cells_of
from accord.data.reading.sources import announce
from accord.diagnostics import Diagnostic, Factor, Space
from accord.diagnostics.figure import check_figure, draw_figure
from accord.diagnostics.finding import Finding
from accord.diagnostics.measures import Measure, get_measure, get_measures, measured
from accord.errors import ConfigError, DataError, listed, no_such
from accord.evaluation.classification import scored_rows
from accord.files import FIGURE, check_replaceable, write_atomically
from accord.pipeline.embedded import TABLES, Embedded, open_embedded
from accord.pipeline.model import Model
from accord.pipeline.rows import ColumnNames, require_data

_MARK = '"accord": "probe"'  # in every file of numbers


def probe(
    run: str | Path,
    data: str | Path | None = None,
    figure: str | Path | None = None,
    *,
    measures: Sequence[str] = (),
    factors: Sequence[str] = (),
    json_file: str | Path | None = None,
    columns: ColumnNames | None = None,
    seed: int = 0,
    device: str = "auto",
    workers: int | None = None,
) -> list[Diagnostic]:
    """Measure a space of embeddings: spread, gap, separability of classes, neighbours, and what is suppressed.

    Rows that cannot be read are left out, and said on stderr, as are measures that do not fit.

    Args:
        run: folder of a run, name of a model that ships, or that of a bundle; or a Parquet file with vectors.
        data: what to embed; None takes the run's held-out rows. A file of vectors takes none.
        figure: where to draw what was measured (PNG, SVG or PDF), or None.
        measures: of :func:`accord.diagnostics.measures.measure_names`; empty takes all that fit.
        factors: columns that say more of the rows, for a linear probe each; numbers of more than 20 kinds are cut
            into fifths.
        json_file: where to write the numbers, or None.
        columns: field -> column name(s) of the rows, where the guess is wrong.
        seed: of what is drawn: rows where there are many, splits, starts of clusters.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.
        workers: processes that decode; None for what suits the device.

    Raises:
        ConfigError: the model embeds nothing; there is no such measure or device; a measure that was asked for, or all,
            do not fit the rows; there is nothing to draw.
        DataError: the data cannot be read, or a factor is no column with at least two values.
        StorageError: ``figure`` or ``json_file`` is a file of another kind.
    """
    _check_files(figure, json_file)
    wanted: dict[str, Any] = {"measures": listed("measures", measures), "factors": listed("factors", factors)}
    found = open_probed(run, data, columns=columns, device=device, workers=workers, **wanted)
    outcome = look_at(found, seed=seed, **wanted)
    for reason, names in outcome.unfit.items():
        announce(f"not measured: {', '.join(names)}: {reason}")
    if figure is not None:
        draw_figure(outcome.finding.panels, Path(figure))
    if json_file is not None:
        _write(Path(json_file), str(run), found, outcome.finding.numbers)
    return outcome.finding.numbers


def open_probed(
    run: str | Path | Model,
    data: str | Path | None = None,
    *,
    measures: Sequence[str] = (),
    factors: Sequence[str] = (),
    columns: ColumnNames | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> Embedded:
    """The rows that :func:`look_at` measures, with their vectors; what would be refused there is so before any is made.

    Args:
        run: as for :func:`probe`, or a model that is open.

    The other arguments, and what is raised, are those of :func:`probe`.
    """
    chosen = [get_measure(name) for name in measures]

    def fits(corpus: Corpus, modalities: Sequence[str]) -> None:
        blank = {name: torch.empty(len(corpus), 0) for name in modalities}
        _check(chosen, Space(blank, _classes(corpus), _factors(corpus, factors)))

    if not isinstance(run, Model) and Path(run).suffix.lower() in TABLES and Path(run).is_file():
        if data is not None:
            raise ConfigError(f"{run} holds the vectors of its own rows: leave {data} out, or name a model to embed it")
        return open_embedded(run, None, columns, check=fits)
    require_data(data, columns)
    return open_embedded(data, run, columns, device=device, workers=workers, check=fits)


@dataclass(frozen=True)
class Probed:
    """What measures found in rows with vectors.

    Args:
        rows: those that have vectors of all modalities, which were looked at.
        finding: numbers, and the panels of the figure.
        unfit: why some measures did not fit -> which; empty where measures were asked for.
    """

    rows: Embedded
    finding: Finding
    unfit: Mapping[str, Sequence[str]]


def look_at(embedded: Embedded, *, measures: Sequence[str] = (), factors: Sequence[str] = (), seed: int = 0) -> Probed:
    """Measure rows with vectors.

    Args:
        embedded: the rows; those without a modality are left out, and said on stderr.
        measures: what to measure; empty takes all that fit.
        factors: columns that say more of the rows.
        seed: of what is drawn.

    Raises:
        ConfigError: a measure that was asked for does not fit.
        DataError: a factor is no column with at least two values.
    """
    chosen, rows = [get_measure(name) for name in measures], _whole(embedded)
    space = _space(rows, factors, seed)
    _check(chosen, space)
    return Probed(rows, measured(chosen or get_measures(), space), {} if chosen else _unfit(space))


def _check_files(figure: str | Path | None, json_file: str | Path | None) -> None:
    if figure is not None:
        check_figure(Path(figure))
        check_replaceable(Path(figure), FIGURE, "figure of Accord")
    if json_file is not None:
        check_replaceable(Path(json_file), _MARK.encode(), "file of numbers of accord probe")


def _check(measures: Sequence[Measure], space: Space) -> None:
    """Refuse measures that were asked for and do not fit."""
    for measure in measures:
        measure.check(space)


def _whole(embedded: Embedded) -> Embedded:
    """The rows that have all of the modalities; says how many have not."""
    whole = embedded.having(*embedded.vectors)
    if len(whole) < len(embedded):
        lacking = len(embedded) - len(whole)
        announce(f"{embedded.corpus.name}: {lacking:,} rows without one of {', '.join(embedded.vectors)} left out")
    return whole


def _space(embedded: Embedded, factors: Sequence[str], seed: int) -> Space:
    corpus = embedded.corpus
    return Space(embedded.vectors, _classes(corpus), _factors(corpus, factors), corpus.groups(), seed)


def _classes(corpus: Corpus) -> Factor | None:
    """The class of each row, the true one where it is known; None without labels, or with several a row."""
    if corpus.labels is None or corpus.multi_label:
        return None
    rows, labels = scored_rows(corpus)
    values = np.full(len(corpus), -1, dtype=np.int64)
    values[rows] = labels
    return Factor(values, corpus.classes)


def _factors(corpus: Corpus, names: Sequence[str]) -> dict[str, Factor]:
    """The factors in these columns.

    Raises:
        DataError: there is no such column, or it holds no factor.
    """
    known = corpus.rows.column_names
    if unknown := [name for name in names if name not in known]:
        raise DataError(f"{corpus.name}: {no_such('column', unknown[0], known)}")
    return {name: Factor.of(cells_of(corpus.rows, name), name) for name in names}


def _unfit(space: Space) -> dict[str, list[str]]:
    """What the rows would need -> the measures that they do not allow."""
    lacking: dict[str, list[str]] = {}
    for measure in get_measures():
        if reason := measure.lacks(space):
            lacking.setdefault(reason, []).append(measure.name)
    return lacking


def _write(path: Path, run: str, embedded: Embedded, numbers: Sequence[Diagnostic]) -> None:
    """The numbers as JSON: what was probed, and one entry a number."""
    about = {"accord": "probe", "of": run, "rows": embedded.corpus.name, "count": len(embedded)}
    text = json.dumps(about | {"numbers": [number.to_dict() for number in numbers]}, indent=2, ensure_ascii=False)
    write_atomically(path, f"{text}\n")
