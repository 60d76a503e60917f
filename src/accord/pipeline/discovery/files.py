"""The folder of found classes: what may become one, and the tables in it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from accord.data.corpus import Corpus
from accord.data.reading.graphs import ID
from accord.errors import ConfigError
from accord.files import check_replaceable, replacing, write_atomically
from accord.pipeline.discovery.classes import FoundClasses
from accord.pipeline.folder import require_outside, things_in
from accord.searching.rows import file_paths, has_node_ids, label_names

ABOUT, TABLE, ROWS, PAGE = "classes.json", "classes.csv", "discovered.parquet", "discover.html"
DECIDED = "decided"  # folder of what was decided on the classes
KEPT = (DECIDED, "corrected.parquet", "corrected.csv")  # what may stand beside them when a folder is written anew
_MARK = b'"classes_in_parts": '  # in every classes.json
_HEADER = ("name", "new", "rows", "labelled", "stability", "density", "words")


def claim(out: Path, data: str | Path) -> None:
    """Refuse a folder with anything but classes that were found earlier, or one in the data.

    Raises:
        ConfigError: there are other things in it, or it lies in the data folder.
        StorageError: its ``classes.json`` is somebody else's.
    """
    require_outside(out, str(data))
    check_replaceable(out / ABOUT, _MARK, "part of classes found earlier")
    ours = (ABOUT, TABLE, ROWS, PAGE, *KEPT) if (out / ABOUT).is_file() else ()
    if found := things_in(out, ours):
        raise ConfigError(
            f"{out} holds other things than classes found earlier ({found}): name a new or an empty folder with --out"
        )


def write_tables(found: FoundClasses, corpus: Corpus, settings: dict[str, Any]) -> None:
    """Write classes and rows.

    Args:
        found: the classes; its folder is made if missing.
        corpus: the rows, with the labels that were given.
        settings: what the search was asked for.
    """
    about = {
        **settings,
        "history": list(found.history),
        "classes_in_parts": list(found.repeats),
        "classes": [
            {**vars(one), "words": [{"word": word, "score": score} for word, score in one.words]}
            for one in found.classes
        ],
    }
    write_atomically(found.path / ABOUT, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    with replacing(found.path / TABLE) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(_HEADER)
        for one in found.classes:
            stability = "" if one.stability is None else f"{one.stability:.3f}"
            words = "; ".join(f"{word} {score:.2f}" for word, score in one.words)
            kind = "new" if one.new else "known"
            table.writerow([one.name, kind, one.rows, one.labelled, stability, f"{one.density:.3f}", words])
    with replacing(found.path / ROWS) as partial:
        pq.write_table(_row_table(found, corpus), partial, compression="zstd")


def _row_table(found: FoundClasses, corpus: Corpus) -> pa.Table:
    """One row for each row of the corpus."""
    names = pa.array([one.name for one in found.classes], pa.string())
    new = pa.array([one.new for one in found.classes])
    own, other = pa.array(found.placed.classes), pa.array(found.placed.other)
    columns: dict[str, Any] = {
        "id": pa.array(corpus.ids, pa.int64()),
        **({"node": pa.array(map(str, corpus.rows[ID]), pa.string())} if has_node_ids(corpus) else {}),
        "path": pa.array(file_paths(corpus), pa.string()),
        "captions": pa.array(corpus.texts(), pa.list_(pa.string())),
        "given": pa.array(label_names(corpus), pa.string()),
        "class": names.take(own),
        "new": new.take(own),
        "margin": pa.array(found.placed.margin, pa.float32()),
        "distance": pa.array(found.placed.distance, pa.float32()),
        "next": names.take(other),
    }
    return pa.table(columns)
