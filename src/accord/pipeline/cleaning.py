"""``clean``: which rows of a data set are wrong, and what would be right; and the table without what was wrong."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from accord.cleaning.corrections import Corrected, Decision, source_digest, write_corrected
from accord.cleaning.findings import Findings, put_together
from accord.cleaning.review import write_review
from accord.cleaning.table import CLEAN, KEPT, REVIEW, clean_table, write_clean
from accord.data.corpus import Corpus, survey
from accord.data.reading.sources import absolute_source, announce, read_source
from accord.errors import ConfigError, DataError
from accord.methods import get_method, named_with
from accord.methods.abilities import Embeds, JudgesRows
from accord.pipeline.aspects import aspects_of
from accord.pipeline.embedded import Embedded, holds_vectors, is_embeddings_file, open_embedded
from accord.pipeline.folder import require_outside, require_rows, things_in
from accord.pipeline.model import load
from accord.pipeline.rows import ColumnNames, open_like
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
    findings = put_together(len(embedded), aspects_of(embedded, data))
    return _written(folder, data, run, embedded, findings, review)


def apply_decisions(
    folder: str | Path, decisions: str | Path | Mapping[int, Decision] | None = None, *, out: str | Path
) -> Corrected:
    """Write a new table of the rows that :func:`clean` judged, with what was accepted; the source stays as it is.

    Args:
        folder: what :func:`clean` wrote.
        decisions: file that the review page saved, or row -> ``accept``, ``reject``, ``drop``, or what is right, such
            as ``{"caption": "a dog"}``; rows that it does not name stay. None accepts all proposals, and drops doubted
            rows for which nothing is proposed.
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
    require_rows(data, "clean")
    require_outside(folder, str(data))
    ours = (CLEAN, REVIEW, _MODEL, *(KEPT if (folder / CLEAN).is_file() else ()))
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
    place = absolute_source(data)
    columns = {field: list(used) for field, used in corpus.columns.items()}
    about: dict[str, Any] = {"source": place, "columns": columns, "vectors": [], "ids": None}
    about["files"] = list(corpus.columns.files)
    if vectors:
        about |= _as_stored(Path(place), columns, corpus.columns.media)
    return {**about, "digest": source_digest(read_source(place, without=about["vectors"]), about)}


def _as_stored(path: Path, columns: Mapping[str, Sequence[str]], media: Collection[str]) -> dict[str, Any]:
    """The columns of a file of embeddings as they are called there; those of vectors apart."""
    schema = pq.read_schema(path)
    if (schema.metadata or {}).get(b"accord"):
        own = {"text": ["captions"], **{medium: ["path"] for medium in media}}
        columns = {field: own.get(field, used) for field, used in columns.items()}
    numbered = "id" in schema.names and pa.types.is_integer(schema.field("id").type)
    vectors = [field.name for field in schema if holds_vectors(field.type)]
    return {"columns": columns, "vectors": vectors, "ids": "id" if numbered else None, "files": []}
