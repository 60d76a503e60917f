"""Indices that stay open between requests, the latest few, and follow what other processes make of them.

An index is opened, and made where there is none, as a job beside the pages. A search takes what its index has become
meanwhile, while those that have begun go on with what they began with.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.loading.tokens import TokenRows
from accord.errors import AccordError, ConfigError, StorageError, no_such
from accord.methods import get_method
from accord.methods.abilities import Ability, Embeds
from accord.pipeline.asking import Question, ask, counted_classes
from accord.pipeline.model import Model
from accord.pipeline.rows import despite_bad_rows, open_like, own_data
from accord.searching.hit import Hit
from accord.searching.index import SearchIndex, build_index
from accord.searching.rows import file_stamp
from accord.serving.jobs import Job, Jobs
from accord.training.artifact import CONFIG, WEIGHTS

if TYPE_CHECKING:
    from accord.serving.workshop import Models

OWN = ""  # the data that a model was trained on
_KEPT = 8  # open indices
_NONE = slice(0)


@dataclass
class Progress:
    """How far an index is: rows that were embedded, of those there are."""

    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Searchable:
    """Data with the index of a model, open.

    Args:
        model: its name.
        data: the name of the data, :data:`OWN` for the model's own.
        title: what to call them.
        modalities: what the model embeds.
        index: the index.
        stamp: of the model's weights.
        reopen: opens the rows anew.
    """

    model: str
    data: str
    title: str
    modalities: tuple[str, ...]
    index: SearchIndex
    stamp: str
    reopen: Callable[[], Corpus] = field(repr=False)
    _rows: list[Corpus] = field(repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def rows(self) -> Corpus:
        """The rows, as the index has them."""
        with self._lock:
            if self.index.corpus != self._rows[-1].fingerprint:
                self._rows[:] = [self.reopen()]
            return self._rows[-1]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self._rows[-1].classes

    def counted(self, chosen: Sequence[str] = ()) -> dict[str, int]:
        """Class -> how many rows have it, first those that are ``chosen``."""
        counts = counted_classes(self.index, self.classes)
        return {name: counts[name] for name in sorted(counts, key=lambda name: name not in chosen)}

    def ask(self, model: Model, question: Question, k: int, *, pictures: slice = _NONE, **how: Any) -> list[Hit]:
        """What answers a question, see :func:`accord.pipeline.asking.ask`; pictures of some of it are read at once."""
        try:
            return self._asked(model, question, k, pictures, how)
        except (StorageError, RuntimeError):
            if not self.index.refresh():  # no other process has taken files away meanwhile
                raise
            return self._asked(model, question, k, pictures, how)

    def _asked(self, model: Model, question: Question, k: int, pictures: slice, how: Mapping[str, Any]) -> list[Hit]:
        hits = ask(self.index, model, question, k, classes=self.classes, **how)
        for hit in hits[pictures]:
            hit.thumbnail  # noqa: B018  read while the files are there
        return hits


class Searches:
    """The open indices of an application.

    Args:
        models: what they are made with.
        jobs: where they are made.
        data: names of data that any model can be asked for.
    """

    def __init__(self, models: Models, jobs: Jobs, data: Sequence[str]) -> None:
        self._models, self._jobs, self._data = models, jobs, tuple(data)
        self._open: OrderedDict[tuple[str, str], Searchable] = OrderedDict()
        self._lock = threading.Lock()
        self.progress: dict[str, Progress] = {}

    def data(self) -> list[str]:
        """Names of what can be searched: first what each model was trained on."""
        return [OWN, *self._data]

    def models(self) -> list[str]:
        """Names of the models that embed anything."""
        return [name for name in self._models.names() if _may_embed(self._models.source(name))]

    def get(self, model: str, data: str = OWN) -> Searchable | Job:
        """The open index of data for a model, as it is now; or the job that opens it, also if that has failed.

        Raises:
            ConfigError: there is no such model, or no such data.
        """
        stamp = self._stamp(model, data)
        with self._lock:
            found = self._open.get((model, data))
            if found is not None and found.stamp == stamp:
                self._open.move_to_end((model, data))
        if found is not None and found.stamp == stamp:
            found.index.refresh()
            return found
        job = self._opening(model, data)
        if job.state in ("done", "failed"):  # and what it opened has made room, or is that of older weights
            self._jobs.forget(_key(model, data))
        return self._opening(model, data) if job.state == "done" else job

    def job(self, model: str, data: str = OWN) -> Job:
        """The job that opens an index.

        Raises:
            ConfigError: there is no such model, data or job.
        """
        self._stamp(model, data)
        return self._jobs.get(_key(model, data))

    def update(self, model: str, data: str = OWN) -> Job:
        """Look for rows that are new, changed or gone; what is open is used until that is done.

        Raises:
            ConfigError: there is no such model, or no such data.
        """
        self._stamp(model, data)
        self._jobs.forget(_key(model, data))
        return self._opening(model, data)

    def _opening(self, model: str, data: str) -> Job:
        """The job that opens an index, begun where it is not; one that has failed stays so until it is forgotten."""
        key = _key(model, data)
        with suppress(ConfigError):
            return self._jobs.get(key)
        title = f"Opening {data} for {model}" if data else f"Opening the data of {model}"
        return self._jobs.start(key, title, partial(self._make, model, data))

    def _stamp(self, model: str, data: str) -> str:
        """What tells a model from itself before it was trained again."""
        if data not in self.data():
            raise ConfigError(no_such("data", data, self._data))
        return file_stamp(Path(self._models.source(model)) / WEIGHTS)

    def _make(self, name: str, data: str) -> None:
        """Open rows and index, and keep them."""
        stamp = self._stamp(name, data)
        with self._models.using(name) as model:
            model.able(Embeds)
            if model.path is None:
                raise ConfigError(f"{name} has no folder to keep an index in")
            place = data or own_data(model).place
        folder, modalities = model.path, model.modalities
        reopen = partial(open_like, model, place)
        progress = self.progress[_key(name, data)] = Progress()
        embedder: Any = _InTurns(self._models, name, modalities, progress)

        def build(rows: Corpus) -> SearchIndex:
            progress.total = len(rows) * sum(part in rows.modalities for part in modalities)
            return build_index(folder, embedder, rows, progress=False)

        index, rows = despite_bad_rows(reopen(), build)
        index.refresh()
        if len(rows):
            index.vectors_of(int(rows.ids[0]))  # so that the first visitor does not wait for the table
        opened = Searchable(name, data, rows.name, modalities, index, stamp, reopen, [rows])
        with self._lock:
            self._open[name, data] = opened
            self._open.move_to_end((name, data))
            while len(self._open) > _KEPT:
                self._open.popitem(last=False)


class _InTurns:
    """A model that makes way for searches between the blocks of rows that it embeds for an index."""

    def __init__(self, models: Models, name: str, modalities: tuple[str, ...], progress: Progress) -> None:
        self._models, self._name, self.modalities, self._progress = models, name, modalities, progress

    def can(self, kind: type[Ability]) -> bool:
        """Whether it has this ability."""
        with self._models.using(self._name) as model:
            return model.can(kind)

    def embed_corpus(self, corpus: Corpus, modality: str) -> Tensor:
        """Vectors of some rows."""
        with self._models.using(self._name) as model:
            found = model.embed_corpus(corpus, modality)
        self._progress.done += len(corpus)
        return found

    def tokens_corpus(self, corpus: Corpus, modality: str) -> TokenRows:
        """Vectors and tokens of some rows."""
        with self._models.using(self._name) as model:
            found = model.tokens_corpus(corpus, modality)
        self._progress.done += len(corpus)
        return found


def _key(model: str, data: str) -> str:
    return f"search {model} {data}"


def _may_embed(source: str) -> bool:
    """Whether a model embeds anything, as far as its folder tells; what is wrong with it shows when it is opened."""
    config = Path(source) / CONFIG
    return _embeds(config, file_stamp(config)) if config.is_file() else True


@lru_cache(maxsize=256)
def _embeds(config: Path, stamp: str) -> bool:
    try:
        name = yaml.load(config.read_text(encoding="utf-8"), yaml.CSafeLoader)["method"]["name"]
        return issubclass(get_method(name), Embeds)
    except (AccordError, OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return True
