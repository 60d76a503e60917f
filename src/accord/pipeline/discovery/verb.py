"""``discover``: rows in, classes out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accord.data.corpus import Corpus, survey
from accord.data.reading.sources import absolute_source, announce
from accord.errors import ConfigError, DataError
from accord.evaluation.embedder import check_finite
from accord.functional import discover_classes
from accord.methods.abilities import DiscoversClasses
from accord.pipeline.discovery.classes import FoundClasses, Words, described, in_order, place
from accord.pipeline.discovery.files import claim, write_tables
from accord.pipeline.discovery.names import terms_of, unique_names, weighed
from accord.pipeline.discovery.sheets import write_page
from accord.pipeline.discovery.stability import Stability, find_again
from accord.pipeline.embedded import Embedded, is_embeddings_file, open_embedded
from accord.pipeline.folder import require_rows
from accord.pipeline.rows import ColumnNames

DEFAULT_MODEL = "house"
DIM = 32  # directions in which rows are clustered
STARTS, AGAIN = 10, 3  # random starts of every k-means: over all rows, and over parts of them
_NONE = (
    "no new class stands apart in these vectors: those of another model may tell classes apart, and labels for rows of "
    "some classes say how alike the rows of one are"
)
_FEWEST = 12  # rows without a label: a class of fewer than six is never split off


def discover(
    data: str | Path,
    labelled: str | None = None,
    *,
    run: str | Path | None = None,
    modality: str | None = None,
    classes: int | None = None,
    repeats: int = 5,
    out: str | Path = "discovered",
    seed: int = 0,
    columns: ColumnNames | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> FoundClasses:
    """Find the classes of rows of which some are labelled, or none: how many, which row is of which, what they show.

    Labelled rows keep their class; the others join one, or form new ones, which split and merge by how likely the rows
    are as Gaussian clusters. A run whose method discovers classes does so itself, unless ``classes`` is given. Rows
    that cannot be read are left out, and said on stderr.

    Args:
        data: a Parquet file of embeddings, or anything that a model embeds.
        labelled: column of the classes of some rows, empty in the others; None finds classes where none is known.
        run: what embeds: folder of a run, name of a model that ships, or that of a bundle; not for embeddings. None
            takes the model ``house`` where there are pictures.
        modality: what classes are found by; None for what the rows show, before text.
        classes: a first guess at how many there are, known ones included; None makes one.
        repeats: in how many parts of the rows classes are found again, to see how stable they are; 0 does without.
        out: folder to write: new, empty, or with classes that were found earlier, which are replaced.
        seed: of the random starts.
        columns: field -> column name(s), where the guess is wrong.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.
        workers: processes that decode; None for what suits the device.

    Returns:
        The classes; ``out`` holds ``discovered.parquet`` (a line a row), ``classes.csv``, ``classes.json`` and the page
        ``discover.html``.

    Raises:
        ConfigError: there is no such model, device or modality, a number is out of range, or ``out`` holds other
            things.
        DataError: the data cannot be read, all rows are labelled or none is, or they are too few.
        StorageError: a file cannot be written.
    """
    columns = _columns(columns, labelled)
    _check_numbers(classes, repeats)
    require_rows(data, "discover")
    claim(Path(out), data)
    model = _model_for(data, run, columns)
    embedded = open_embedded(data, model, columns, device=device, workers=workers)
    if model is not None and run is None:
        announce(f"no --run: embedded by the model {DEFAULT_MODEL}, which has seen drawings alone")
    modality = _modality(embedded, modality)
    embedded = _having(embedded, modality)
    labels, known = _labels(embedded.corpus, labelled)
    _check_rows(labels, known, classes)

    search = _Search(embedded.vectors[modality], labels, classes, _own_way(embedded, classes))
    assigned, history = search.all(seed)
    assigned = in_order(assigned, len(known))
    placed, centres = place(search.vectors, assigned, int(assigned.max()) + 1)
    count = len(centres)
    announce(f"{embedded.corpus.name}: {count} classes, {count - len(known)} of them new")
    if count - len(known) <= (not known):
        announce(_NONE)
    stability = Stability((None,) * count)
    if repeats:
        stability = find_again(search.part, assigned, labels, count, repeats=repeats, seed=seed, say=announce)
    names, words = _called(embedded, assigned, known, centres)

    shown = described(placed, labels, centres, names, words, stability.overlap)
    found = FoundClasses(Path(out), shown, embedded.corpus.ids, placed, history, stability.counts)
    settings = {"data": str(data), "run": model and str(model), "labelled": labelled, "modality": modality}
    columns = {field: list(used) for field, used in embedded.corpus.columns.items()}
    origin = {"source": absolute_source(data), "columns": columns}
    write_tables(found, embedded.corpus, {**settings, **origin, "guess": classes, "seed": seed})
    write_page(found, embedded.corpus, _setup(found, labels, {**settings, "seed": seed}), modality)
    return found


@dataclass(frozen=True, eq=False)
class _Search:
    """Finds classes in all rows or in some of them.

    Args:
        vectors: ``(N, D)`` unit norm.
        labels: ``(N,)`` known classes, -1 for none.
        guess: at the number of classes.
        own: the method that finds classes its own way.
    """

    vectors: Tensor
    labels: np.ndarray
    guess: int | None
    own: DiscoversClasses | None

    def all(self, seed: int) -> tuple[np.ndarray, tuple[int, ...]]:
        """The class of each row, and the number of classes after each sweep."""
        return self._found(self.vectors, torch.from_numpy(self.labels), seed, STARTS)

    def part(self, rows: np.ndarray, seed: int) -> np.ndarray:
        """Classes of these rows, under numbers of their own."""
        _, labels = np.unique(np.append(self.labels[rows], -1), return_inverse=True)
        return self._found(self.vectors[torch.from_numpy(rows)], torch.from_numpy(labels[:-1] - 1), seed, AGAIN)[0]

    def _found(self, vectors: Tensor, labels: Tensor, seed: int, starts: int) -> tuple[np.ndarray, tuple[int, ...]]:
        if self.own is not None:
            device = self.own.device  # type: ignore[attr-defined]
            own = self.own.discover(vectors.to(device), labels.to(device))
            return own.assigned.cpu().numpy(), ()
        guesses = [self.guess]
        if self.guess is None and not (labels >= 0).any():  # from the few that it begins with, all may merge into one
            guesses.append(math.isqrt(len(labels)))
        tried = [
            discover_classes(vectors, labels, start=guess, dim=DIM, restarts=starts, seed=seed) for guess in guesses
        ]
        found = max(tried, key=lambda one: max(start.evidence for start in one.tried))
        return found.assigned.cpu().numpy(), tuple(int(count) for count in found.history)


def _columns(columns: ColumnNames | None, labelled: str | None) -> dict[str, Any]:
    """The columns, that of labels among them; none is guessed, since it might hold the answer."""
    if columns and "label" in columns:
        raise ConfigError("discover: the labels are those of the column --labelled COL; leave --label out")
    return {**(columns or {}), "label": labelled}


def _check_numbers(classes: int | None, repeats: int) -> None:
    if classes is not None and classes < 1:
        raise ConfigError(f"classes = {classes}: expected at least 1")
    if repeats < 0:
        raise ConfigError(f"repeats = {repeats}: expected at least 0")


def _model_for(data: str | Path, run: str | Path | None, columns: Mapping[str, Any]) -> str | Path | None:
    """What is to embed the data; None where they are embeddings."""
    if is_embeddings_file(data):
        if run is not None:
            raise ConfigError(f"{data} holds vectors already, which no model has to make: leave --run out")
        return None
    if run is None:
        have = survey(data, columns=columns).modalities
        if "image" not in have:
            raise DataError(
                f"{data} holds {', '.join(have)} and no pictures: name the model that is to embed it with --run, such "
                "as a folder of a run or clip:FOLDER, or write its embeddings first with accord embed"
            )
        return DEFAULT_MODEL
    return run


def _modality(embedded: Embedded, modality: str | None) -> str:
    """What classes are found by."""
    there = list(embedded.vectors)
    if modality is None:
        return next((name for name in there if name != "text"), there[0])
    if modality not in there:
        raise ConfigError(f"modality = {modality!r}: {embedded.corpus.name} has vectors of {', '.join(there)}")
    return modality


def _having(embedded: Embedded, modality: str) -> Embedded:
    """The rows that have the modality; says how many have not.

    Raises:
        DataError: vectors are not finite.
    """
    check_finite(f"{modality} embeddings", embedded.vectors[modality])
    having = embedded.having(modality)
    if len(having) < len(embedded):
        announce(f"{embedded.corpus.name}: {len(embedded) - len(having):,} rows without {modality} left out")
    return having


def _labels(corpus: Corpus, labelled: str | None) -> tuple[np.ndarray, list[str]]:
    """The known class of each row ``(N,)``, -1 for none, and the names of those that have rows."""
    if labelled is None:
        return np.full(len(corpus), -1), []
    if corpus.multi_label:
        raise DataError(f"{corpus.name}: column {labelled} names several classes a row: discover takes one at most")
    given = np.full(len(corpus), -1) if corpus.labels is None else corpus.labels
    present, labels = np.unique(np.append(given, -1), return_inverse=True)
    known = [corpus.classes[place] for place in present[1:]]
    free = int((given < 0).sum())
    if not known:
        raise DataError(
            f"{corpus.name}: column {labelled} labels no row; leave --labelled out to find classes without any"
        )
    if not free:
        raise DataError(
            f"{corpus.name}: column {labelled} labels all {len(corpus):,} rows, so that there is nothing to find: "
            "leave it empty where the class is not known, or leave --labelled out to find classes among all"
        )
    announce(f"{corpus.name}: {len(corpus) - free:,} of {len(corpus):,} rows have a label; labels: {len(known)}")
    return labels[:-1] - 1, known


def _check_rows(labels: np.ndarray, known: list[str], classes: int | None) -> None:
    free = int((labels < 0).sum())
    if free < _FEWEST:
        raise DataError(
            f"only {free} row{'s have' if free > 1 else ' has'} no label: expected at least {_FEWEST}, so that they "
            "can form a class; empty more labels, or leave --labelled out to find classes among all rows"
        )
    if classes is not None and not len(known) <= classes <= len(known) + free:
        raise ConfigError(
            f"classes = {classes}: expected from {max(len(known), 1)} (known classes) to {len(known) + free} (and a "
            "class for each other row)"
        )


def _own_way(embedded: Embedded, classes: int | None) -> DiscoversClasses | None:
    """The model's method, where it finds classes and nobody guesses their number."""
    return None if embedded.model is None or classes is not None else DiscoversClasses.of(embedded.model.method)


def _called(
    embedded: Embedded, assigned: np.ndarray, known: list[str], centres: Tensor
) -> tuple[list[str], list[Words]]:
    """The name of each class, and words for it."""
    words = terms_of(embedded.corpus.texts(), assigned, len(centres))
    if embedded.model is not None and "text" in embedded.model.modalities:
        words = weighed(embedded.model, words, known, centres)
    return unique_names(known, words), words


def _setup(found: FoundClasses, labels: np.ndarray, settings: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The facts of the page."""
    given = int((labels >= 0).sum())
    made = f"by {settings['run']}" if settings["run"] else "as they are in the file"
    return {
        "Data": {
            "source": str(settings["data"]),
            "rows": f"{len(labels):,}",
            "labelled": f"{given:,} by column {settings['labelled']}" if given else "none",
        },
        "Search": {
            "vectors": f"{settings['modality']}, {made}",
            "parts": f"{len(found.repeats)}",
            "seed": str(settings["seed"]),
        },
    }
