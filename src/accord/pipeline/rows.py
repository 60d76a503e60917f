"""The rows that a verb works on: the run's own or others, opened as the run opened its own.

No verb leaves a row or a file out without a word, and none puts another in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from accord.data.check import check_media
from accord.data.corpus import Corpus, corpus_from_items, open_corpus
from accord.data.modalities import get_modality
from accord.data.quarantine import Quarantine, RowError
from accord.data.reading.media import IMAGE_SUFFIXES, NO_VALUE
from accord.data.reading.sources import announce, cache_folder
from accord.data.reading.video import holds_pictures
from accord.data.recipe import DataConfig, Prepared
from accord.data.splits import Splits
from accord.data.targets import TARGETS, fields_of
from accord.errors import ConfigError, DataError
from accord.pipeline.build import prepare_run, with_prepared_texts
from accord.pipeline.config import RunConfig, wanted_fields
from accord.pipeline.folder import SPLITS
from accord.training.model import Model

T = TypeVar("T")
Rows = TypeVar("Rows", Corpus, Prepared)
ColumnNames = Mapping[str, str | Sequence[str] | None]  # modality -> column name(s), over what is guessed


def held_out(model: Model, quiet: bool = False) -> Prepared:
    """The corpora of the run that made ``model``, split as it was trained.

    Rows that have gone bad since are left out, and said on stderr.

    Args:
        model: the model.
        quiet: say nothing of them, where the same rows have been opened before.

    Raises:
        ConfigError: the model was not trained here, so that it has none.
        DataError: the data cannot be read, or lack rows of the run.
    """
    own_data(model)
    config = RunConfig.parse({key: value for key, value in model.config.items() if key != "data_info"})
    saved = None if model.path is None else model.path / SPLITS
    splits = Splits.load(saved) if saved is not None and saved.is_file() else None
    prepared = prepare_run(config, quiet=True, splits=splits)
    if not quiet:
        say_left_out(prepared)
    return prepared


def own_data(model: Model) -> DataConfig:
    """What the model was trained on.

    Raises:
        ConfigError: it was not trained here.
    """
    if "data" not in model.config:
        name = model.config.get("bundle", "the model")
        raise ConfigError(f"{name} was not trained here, so it has no data of its own: name DATA, such as pack:emoji")
    return DataConfig.parse(model.config["data"])


def as_held_out(corpus: Corpus) -> Prepared:
    """Other rows in the place of the run's held-out ones, without any to learn from."""
    empty = corpus.select([])
    return Prepared(train=empty, test=corpus, val=empty, splits=Splits({"test": corpus.ids}))


def open_like(
    model: Model,
    data: str | Path,
    columns: ColumnNames | None = None,
    targets: Collection[str] = (),
    asked: Collection[str] = (),
) -> Corpus:
    """Open ``data`` with the columns given, and those of the run where it is the run's own data.

    Rows that cannot be used are left out, and said on stderr.

    Args:
        model: the model.
        data: the rows.
        columns: over those that are guessed or the run's.
        targets: those that are read, if the rows have them; no row is left out over others, unless ``columns`` name
            them.
        asked: those among them whose columns are looked for by their names, as the method's own are.

    Raises:
        DataError: the data cannot be read, a column does not exist, or too many rows are bad.
    """
    wanted = model.config.get("data", {})
    own = wanted.get("columns", {}) if str(data) in (wanted.get("source"), wanted.get("location")) else {}
    options = {
        name: wanted[name]
        for name in ("incomplete", "target", "max_bad", "box_format", "mask_classes")
        if name in wanted
    }
    unread = set(TARGETS) - {*targets, *(columns or {})}
    fields = (*wanted_fields(type(model.method), model.method.config, unread), *fields_of(asked))
    corpus = open_rows(data, columns={**own, **(columns or {})}, wanted=fields, unread=unread, **options)
    return with_prepared_texts(corpus, type(model.method))


def open_rows(data: str | Path, **options: Any) -> Corpus:
    """As :func:`accord.data.open_corpus`, but of what happens only left-out rows are said on stderr."""
    corpus = open_corpus(data, **options, quiet=True)
    say_left_out(corpus)
    return corpus


def require_data(data: str | Path | None, columns: ColumnNames | None) -> None:
    """Refuse columns where no data are named: those of the run's own data stand in its configuration.

    Raises:
        ConfigError: there are columns, but no data.
    """
    if columns and data is None:
        raise ConfigError(
            f"columns ({', '.join(columns)}) are those of other data: name DATA too; the run's own are in its config"
        )


def say_left_out(rows: Corpus | Prepared) -> None:
    """How many rows of the source are not there, most often why, and where they are listed."""
    if len(rows.left_out):
        name = rows.name if isinstance(rows, Corpus) else rows.test.name
        announce(f"{name}: {rows.left_out.sentence(kept=len(rows))}")


def despite_bad_rows(rows: Rows, work: Callable[[Rows], T], listing: Path | None = None) -> tuple[T, Rows]:
    """What ``work`` makes of the rows; where one has gone bad since they were checked, of the others.

    Then all rows are decoded anew, and what is left out is said on stderr.

    Args:
        rows: a corpus, or those of a run.
        work: raises :class:`~accord.data.quarantine.RowError` where a row cannot be read.
        listing: where to list what is left out; None lists it in the cache.

    Returns:
        What was made, and the rows that it was made of.

    Raises:
        DataError: too many rows have gone bad.
    """
    try:
        return work(rows), rows
    except RowError:
        rest = rows.readable()
    corpus = rows if isinstance(rows, Corpus) else rows.test
    left_out = rest.left_out
    left_out.write(listing or cache_folder("quarantine", f"{corpus.fingerprint}.jsonl"))
    damaged = Quarantine(bad for bad in left_out if bad.reason != NO_VALUE)
    damaged.path = left_out.path
    damaged.enforce(corpus.max_bad, len(rest) + len(damaged))
    announce(f"{corpus.name} has changed: {left_out.sentence(kept=len(rest))}")
    return work(rest), rest


def readable_files(modality: str, files: Sequence[Path]) -> tuple[Corpus, list[Path]]:
    """The files that can be read, as a corpus and by path; each of the others is said on stderr, with the reason.

    Raises:
        DataError: none can be read.
    """
    corpus, kept = readable_items(corpus_from_items(modality, files))
    return corpus, [files[place] for place in kept]


def readable_items(corpus: Corpus) -> tuple[Corpus, list[int]]:
    """The rows of a corpus of files that can be read, and their places; each of the others is said on stderr.

    Raises:
        DataError: none can be read.
    """
    bad = {entry.row: entry for entry in check_media(corpus, quiet=True)}
    for entry in bad.values():
        announce(f"{entry.file} left out: {entry.reason}")
    kept = [place for place in range(len(corpus)) if place not in bad]
    if not kept:
        first = next(iter(bad.values()))
        raise DataError(f"none of {len(corpus)} files can be read: {first.file} is the first ({first.reason})")
    return corpus.select(np.array(kept)), kept


def media_files(path: Path, field: str) -> Iterator[Path]:
    """The file or folder of frames itself, or the media in a folder and below, by name.

    Raises:
        DataError: there is nothing there.
    """
    kind = get_modality(field)
    if path.is_file() or (field == "video" and holds_pictures(path) and not _holds_animations(path)):
        yield path
        return
    if not path.is_dir():
        raise DataError(f"there is no {path}: give {kind.items}, or a folder that holds some")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in kind.suffixes | kind.also)
    if not found:
        raise DataError(f"{path} holds no {kind.items}, in no folder below either")
    yield from found


def _holds_animations(folder: Path) -> bool:
    """Whether pictures in a folder are clips by themselves, and so no frames of one."""
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in IMAGE_SUFFIXES:
            with suppress(OSError), Image.open(file) as image:
                return getattr(image, "is_animated", False)
    return False
