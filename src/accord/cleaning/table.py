"""``clean.parquet``: one row for each row that was judged, and in the file's metadata what was judged and how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from accord.cleaning.findings import Findings
from accord.data.corpus import Corpus
from accord.errors import ConfigError
from accord.files import reading, replacing
from accord.searching.rows import file_paths, label_names

CLEAN, REVIEW = "clean.parquet", "review.html"
DECIDED = "decided"  # folder of what was decided on the rows, as long as it is kept anywhere but in a browser
KEPT = (DECIDED, "cleaned.parquet", "cleaned.csv")  # what may stand beside them when a folder is written anew
_MARK = b"accord clean"  # the metadata's key
_REMEDY = "write it again with accord clean"


def clean_table(corpus: Corpus, findings: Findings, of: Collection[str] = ()) -> pa.Table:
    """What was found as a table: ``id``, ``path``, ``captions``, ``label``, ``score``, ``doubted``, ``reason``,
    ``kinds``, ``proposed_label``, ``proposed_caption``, ``nearest_id``, ``nearest_path``, ``nearest_caption``.

    Args:
        corpus: the rows.
        findings: what was found of them.
        of: media whose files come before those of others, such as what a model reads.
    """
    texts, paths = corpus.texts(), file_paths(corpus, of)
    found = [findings.found.get(row) for row in range(len(corpus))]
    nearest = [None if one is None else one.nearest for one in found]
    captions = [None if one is None or one.caption is None else texts[one.caption][0] for one in found]
    return pa.table(
        {
            "id": pa.array(corpus.ids, pa.int64()),
            "path": pa.array(paths, pa.string()),
            "captions": pa.array(texts, pa.list_(pa.string())),
            "label": pa.array(label_names(corpus), pa.string()),
            "score": pa.array(findings.score, pa.float64(), from_pandas=True),
            "doubted": pa.array(findings.doubted, pa.bool_()),
            "reason": pa.array(["" if one is None else one.reason for one in found], pa.string()),
            "kinds": pa.array([[] if one is None else list(one.kinds) for one in found], pa.list_(pa.string())),
            "proposed_label": pa.array([None if one is None else one.label or None for one in found], pa.string()),
            "proposed_caption": pa.array(captions, pa.string()),
            "nearest_id": pa.array([None if row is None else int(corpus.ids[row]) for row in nearest], pa.int64()),
            "nearest_path": pa.array([None if row is None else paths[row] for row in nearest], pa.string()),
            "nearest_caption": pa.array(
                [None if row is None or not texts[row] else texts[row][0] for row in nearest], pa.string()
            ),
        }
    )


def write_clean(folder: Path, table: pa.Table, about: dict[str, Any]) -> dict[str, Any]:
    """Write ``folder/clean.parquet``; returns ``about`` with the ``fingerprint`` that decisions name."""
    digest = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=8)
    for name in ("id", "doubted", "proposed_label", "proposed_caption"):
        digest.update(json.dumps(table[name].to_pylist()).encode())
    about = {**about, "fingerprint": digest.hexdigest()}
    with replacing(folder / CLEAN) as partial:
        pq.write_table(table.replace_schema_metadata({_MARK: json.dumps(about)}), partial, compression="zstd")
    return about


def read_clean(folder: Path) -> tuple[pa.Table, dict[str, Any]]:
    """The table of a folder, and what was judged and how.

    Raises:
        ConfigError: the folder is none that ``accord clean`` wrote.
        StorageError: the file is damaged.
    """
    path = folder / CLEAN
    if not path.is_file():
        raise ConfigError(
            f"{folder} holds no {CLEAN}: name a folder that accord clean wrote, such as runs/clean-photos"
        )
    with reading(path, _REMEDY):
        table = pq.read_table(path)
    about = (table.schema.metadata or {}).get(_MARK)
    if about is None:
        raise ConfigError(f"{path} was not written by accord clean: name another folder")
    return table, json.loads(about)


def doubted_first(table: pa.Table) -> np.ndarray:
    """Positions of the doubted rows, the surest doubt first."""
    score, doubted = table["score"].to_numpy(), table["doubted"].to_numpy()
    order = np.argsort(score, kind="stable")
    return order[doubted[order]]
