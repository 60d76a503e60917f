"""Folders as ``accord clean`` and ``accord discover`` write them, of pictures and vectors that take no model."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

import accord
from accord.cleaning import Aspect, Finding, put_together
from accord.cleaning.corrections import source_digest
from accord.cleaning.review import write_review
from accord.cleaning.table import clean_table, write_clean
from accord.data.corpus import open_corpus
from accord.data.reading.sources import read_source
from accord.searching.rows import vector_column

EVIL = '<script>alert("x")</script>'
KINDS = ("another label fits better", "its caption fits other pictures better")
COLOURS = ("red", "green", "blue")


def pictures(folder: Path, count: int) -> Path:
    """A folder of one-coloured pictures, each with a caption and a label."""
    folder.mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "caption", "label"])
        for row in range(count):
            colour = COLOURS[row % 3]
            Image.new("RGB", (40, 30), colour).save(folder / f"{row}.png")
            table.writerow([f"{row}.png", EVIL if row == 0 else f"number {row}", colour])
    return folder


def cleaned(folder: Path, source: Path, doubted: int) -> Path:
    """A folder in which the first rows of the source are doubted, row 0 most, for one reason or the other in turn."""
    corpus = open_corpus(source, quiet=True)
    rows = np.arange(doubted)

    def explain(row: int) -> Finding:
        return Finding(
            f"{row} things speak for yellow",
            (KINDS[row % 2],),
            label="yellow" if row % 2 == 0 else "",
            caption=row + 1 if row % 3 == 0 else None,
            nearest=len(corpus) - 1,
        )

    found = put_together(len(corpus), [Aspect("labels", rows, -np.linspace(9, 1, doubted), explain, 0.25)])
    columns = {field: list(used) for field, used in corpus.columns.items()}
    about = {"source": str(source), "columns": columns, "vectors": [], "ids": None, "files": list(corpus.columns.files)}
    about |= {"digest": source_digest(read_source(source), about), "model": "nobody", "shares": {"labels": 0.25}}
    table = clean_table(corpus, found)
    about = write_clean(folder, table, about)
    write_review(folder, table, about, corpus, 1000)
    return folder


def many_doubts(folder: Path, count: int) -> Path:
    """A folder of doubted rows alone, whose source is gone."""
    numbers = np.arange(count)
    texts = pa.array([[f"caption {number}"] for number in numbers], pa.list_(pa.string()))
    nothing, words = pa.nulls(count, pa.string()), pa.array([f"reason {number}" for number in numbers])
    table = pa.table(
        {
            "id": numbers,
            "path": nothing,
            "captions": texts,
            "label": pa.array([COLOURS[number % 3] for number in numbers]),
            "score": np.linspace(0, 0.49, count),
            "doubted": np.ones(count, dtype=np.bool_),
            "reason": words,
            "kinds": pa.array([[KINDS[number % 2]] for number in numbers], pa.list_(pa.string())),
            "proposed_label": nothing,
            "proposed_caption": pa.array(["another"] * count),
            "nearest_id": pa.nulls(count, pa.int64()),
            "nearest_path": nothing,
            "nearest_caption": nothing,
        }
    )
    columns = {"image": ["file"], "text": ["caption"], "label": ["label"]}
    about = {"source": "/nowhere/photos", "columns": columns, "vectors": [], "ids": None, "files": [], "digest": ""}
    write_clean(folder, table, {**about, "model": "nobody", "shares": {}})
    return folder


def discovered(folder: Path, source: Path) -> Path:
    """Classes found in vectors of three tight groups, each row with a picture of the source."""
    files = sorted(source.glob("*.png"), key=lambda file: int(file.stem))
    kinds = torch.arange(len(files)) % 3
    generator = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(3, 8, generator=generator), dim=1)
    vectors = centres[kinds] + 0.05 * torch.randn(len(files), 8, generator=generator)
    table = {
        "id": pa.array(np.arange(len(files)) + 100),
        "file": [str(file) for file in files],
        "image_vector": vector_column(torch.nn.functional.normalize(vectors, dim=1)),
        "text": [COLOURS[kind] for kind in kinds.tolist()],
        "colour": ["red" if kind == 0 and row % 2 else None for row, kind in enumerate(kinds.tolist())],
    }
    path = source.parent / "vectors.parquet"
    pq.write_table(pa.table(table), path)
    accord.discover(path, "colour", out=folder, repeats=0)
    return folder
