"""From a source to a corpus: what it holds, which of its rows can be used, and a line that says so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np

from accord.data.cache import dispensable
from accord.data.check import check_media
from accord.data.columns import NONE, Columns, describe_columns, guess_columns
from accord.data.corpus.rows import Corpus
from accord.data.fields import text_fields
from accord.data.quarantine import Quarantine
from accord.data.reading.cells import EMPTY_TEXT, caption_fault, cells_of, coded_cells
from accord.data.reading.graphs import ROW, add_features, graph_of_columns
from accord.data.reading.labels import MISSING_LABEL, Labels, read_labels
from accord.data.reading.media import NO_VALUE
from accord.data.reading.sources import Source, announce, cache_folder, read_source
from accord.data.targets.base import BoxFormat
from accord.data.targets.rows import things_classes
from accord.errors import DataError

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


def open_corpus(
    source: str | Path,
    *,
    columns: Mapping[str, str | Sequence[str] | None] | None = None,
    max_bad: float = 0.2,
    check: bool = True,
    quarantine: Path | None = None,
    classes: Sequence[str] | None = None,
    incomplete: bool = False,
    target: str | None = None,
    mask_classes: Sequence[str] = (),
    box_format: BoxFormat = "xyxy",
    wanted: Collection[str] = (),
    unread: Collection[str] = (),
    quiet: bool = False,
) -> Corpus:
    """Open a source and leave out the rows that cannot be used.

    Args:
        source: a folder (with ``metadata.csv|jsonl|parquet``, class sub-folders, or a graph's ``nodes`` and ``edges``),
            a CSV, TSV, JSON Lines or Parquet file, tar shards (whose media are read where they lie), ``pack:NAME``, or
            ``hf:NAME`` of the hub.
        columns: modality -> column name(s), over what is guessed; None or ``"none"`` takes a modality out.
        max_bad: largest share of bad rows accepted, in [0, 1]. Rows with an empty media cell are left out and counted
            apart: a caption that nobody has read aloud is no damage. Rows without a label stay, with the label -1;
            where a row may have several labels, they are left out and counted apart as well.
        check: decode every picture, clip and recording once now; texts and labels are always checked.
        quarantine: where to list the bad rows; None lists them in the cache when there are any.
        classes: the classes to use, in order; a row of another class is bad. None takes those that occur.
        incomplete: keep rows that lack some of their modalities, for methods that can use them.
        target: in a folder of nodes and edges, the node type whose nodes are the rows; None decides by the labels.
        mask_classes: names of the classes in masks, by grey value from 0; a row with another value is bad.
        box_format: what the four numbers of a box are.
        wanted: fields that are guessed only where somebody wants them, such as ``boxes``.
        unread: targets that nobody reads, so that no row is left out over them.
        quiet: print nothing.

    Raises:
        DataError: the source cannot be read, a column does not exist, or too many rows are bad.

    Example:
        >>> open_corpus("pack:emoji", check=False, quiet=True)
        Corpus(pack:emoji, ... rows, image=image text=name label=subcategory group=concept)
    """
    corpus, found, labels = _unchecked(source, columns, classes, target, wanted)
    corpus = replace(corpus, columns=corpus.columns.model_copy(update=dict.fromkeys(unread)))
    graph, mapping = _graph_of(found, corpus.rows, corpus.columns), corpus.columns
    corpus = replace(corpus, max_bad=max_bad, incomplete=incomplete, graph=graph)
    corpus = replace(corpus, mask_classes=tuple(mask_classes), box_format=box_format)
    bad = _bad_rows(corpus, labels, found.bad, check=check, quiet=quiet)
    loose = found.graph.bad if found.graph else Quarantine()
    if quarantine or len(bad) or len(loose):
        listed = quarantine or cache_folder("quarantine", f"{corpus.fingerprint}.jsonl")
        with dispensable("the list of bad rows"):
            Quarantine([*bad, *loose]).write(listed)
            bad.path = loose.path = listed
    loose.enforce(max_bad, found.graph.edges if found.graph else 0)
    damaged = Quarantine(entry for entry in bad if entry.reason not in (NO_VALUE, MISSING_LABEL))
    damaged.path, empty = bad.path, len(bad) - len(damaged)
    damaged.enforce(max_bad, len(corpus) - empty)
    if len(bad):
        corpus = replace(corpus.select(np.setdiff1d(corpus.ids, [entry.row for entry in bad])), left_out=bad)
    without = f"{empty:,} rows without {_lacking(bad, mapping)}"
    if not len(corpus):
        raise DataError(f"{corpus.name} has no rows" + (f": {without}" if empty else ""))
    if not quiet:
        for line in found.notes:
            announce(line)
        listing = f", listed in {bad.path}" if bad.path else ""
        note = f"; {len(damaged)} bad row{'s' * (len(damaged) > 1)} left out{listing}" if len(damaged) else ""
        note += f"; {without} left out" if empty else ""
        note += f"; {corpus.unlabelled:,} rows have no label" if corpus.unlabelled else ""
        note += f"; {len(loose)} edges name nodes that are not there{listing}" if len(loose) else ""
        note += f"; {_graph_size(corpus.graph)}" if corpus.graph is not None else ""
        if incomplete:
            lacking = ", ".join(f"{(~there).sum():,} without {name}" for name, there in corpus.present.items())
            note += f"; of them {lacking}"
        announce(f"{corpus.name}: {len(corpus):,} rows, {describe_columns(mapping)}{note}")
    return corpus


def survey(
    source: str | Path,
    *,
    columns: Mapping[str, str | Sequence[str] | None] | None = None,
    target: str | None = None,
    wanted: Collection[str] = (),
) -> Corpus:
    """What a source holds, before any of its rows is looked at: modalities, columns and classes, bad rows included.

    Args:
        source: as for :func:`open_corpus`, and so are the others.
        columns: modality -> column name(s), over what is guessed.
        target: in a folder of nodes and edges, the node type whose nodes are the rows.
        wanted: as for :func:`open_corpus`.

    Raises:
        DataError: the source cannot be read, or a column does not exist.
    """
    return _unchecked(source, columns, None, target, wanted)[0]


def _unchecked(
    source: str | Path,
    columns: Mapping[str, str | Sequence[str] | None] | None,
    classes: Sequence[str] | None,
    target: str | None,
    wanted: Collection[str],
) -> tuple[Corpus, Source, Labels | None]:
    """All rows of a source, the bad ones among them, without its graph; where they came from; their labels."""
    found = read_source(source, target)
    mapping = guess_columns(found.rows, {**found.columns, **(columns or {})}, wanted)
    rows = undecoded(found.rows, mapping)
    labels = _labels_of(rows, mapping, classes)
    corpus = Corpus(
        name=found.name,
        rows=rows,
        columns=mapping,
        ids=np.arange(len(rows), dtype=np.int64),
        classes=labels.classes if labels else (),
        labels=labels.values if labels and labels.classes else None,
        root=found.root,
        where=found.where,
        target=found.graph.target if found.graph else ROW,
        stamp=found.stamp,
        instance_classes=things_classes(rows, mapping.instance_label) if mapping.instance_label else (),
    )
    return corpus, found, labels


def undecoded(rows: datasets.Dataset, columns: Columns) -> datasets.Dataset:
    """Media columns as stored: decoding is ours, so that one bad row is one bad row."""
    for column in columns.files:
        feature = rows.features[column]
        if isinstance(feature, datasets.Image | datasets.Audio | datasets.Video):
            rows = rows.cast_column(column, type(feature)(decode=False))
    return rows


def _labels_of(rows: datasets.Dataset, columns: Columns, classes: Sequence[str] | None) -> Labels | None:
    if not columns.label:
        return None
    feature = rows.features[columns.label]
    inner = getattr(feature, "feature", feature)
    names = inner.names if isinstance(inner, datasets.ClassLabel) else None
    values, place = _distinct(rows, columns.label)
    if names is None and classes is not None and all(isinstance(value, int | None) for value in values):
        numbers = {str(value) for value in values if value is not None}
        names = None if numbers <= set(classes) else list(classes)  # 0, 1, 2 ... index the given classes
    found = read_labels(values, names, classes)
    return found if place is None else found.at(place)


def _distinct(rows: datasets.Dataset, column: str) -> tuple[list[Any], np.ndarray | None]:
    """The different cells of a column, and which one each row has; cells that are lists one by one."""
    kind = rows.features[column]
    if not len(rows) or not isinstance(kind, datasets.Value | datasets.ClassLabel) or kind.dtype == "null":
        return list(cells_of(rows, column)), None
    packed = coded_cells(rows, column)
    values = [*packed.dictionary.to_pylist(), None]
    return values, packed.indices.fill_null(len(values) - 1).to_numpy()


def _graph_of(found: Source, rows: datasets.Dataset, columns: Columns) -> HeteroData | None:
    """The graph that came with the source, or the one that its columns make."""
    if found.graph is not None:
        add_features(found.graph.graph, found.graph.target, rows, columns)
        return found.graph.graph
    return graph_of_columns(rows, columns) if columns.graph else None


def _graph_size(graph: HeteroData) -> str:
    nodes = ", ".join(f"{graph[name].num_nodes:,} {name}" for name in graph.node_types)
    edges = ", ".join(f"{graph[name].edge_index.shape[1]:,} {'-'.join(name)}" for name in graph.edge_types)
    return f"nodes: {nodes}; edges: {edges}"


def _lacking(bad: Quarantine, columns: Columns) -> str:
    """What rows that are left out without being damaged do not have."""
    reasons = {entry.reason for entry in bad}
    label = [f"a label (--label {NONE} keeps them)"] if MISSING_LABEL in reasons else []
    return " or ".join([*(columns.media if NO_VALUE in reasons else ()), *label])


def _bad_rows(
    corpus: Corpus, labels: Labels | None, unread: Mapping[int, str], *, check: bool, quiet: bool
) -> Quarantine:
    reasons = dict(labels.bad) if labels else {}
    if not corpus.multi_label:  # -1 says that there is none
        reasons = {row: reason for row, reason in reasons.items() if reason != MISSING_LABEL}
    if corpus.columns.text:
        faults = enumerate(map(caption_fault, corpus.said()))
        anything = np.logical_or.reduce(list(corpus.present.values()))
        optional = (corpus.incomplete or corpus.graph is not None) & anything
        reasons |= {row: fault for row, fault in faults if fault and not (fault == EMPTY_TEXT and optional[row])}
    for field in [field for field in text_fields() if field != "text" and getattr(corpus.columns, field)]:
        for row, texts in enumerate(corpus.said(field)):
            if fault := caption_fault(texts):
                reasons.setdefault(row, f"{field}: {fault}")
    reasons |= unread
    bad = Quarantine()
    for position, reason in sorted(reasons.items()):
        bad.add(position, corpus.where, reason)
    if check:
        readable = corpus.select(np.setdiff1d(corpus.ids, list(reasons))) if reasons else corpus
        for entry in check_media(readable, quiet=quiet):
            bad.add(entry.row, entry.file, entry.reason)
    return bad
