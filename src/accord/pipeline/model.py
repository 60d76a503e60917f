"""A trained model as a user holds it: one that embeds, captions and classifies, and also searches.

Search stands above training in the house, so the model that training knows cannot search; this one, made from it, can.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from accord.encoders.unbuilt import Unbuilt
from accord.errors import ConfigError
from accord.methods.abilities import Embeds
from accord.pipeline.asking import Question, ask
from accord.pipeline.rows import ColumnNames, despite_bad_rows, open_like, own_data, require_data
from accord.searching.index import Hit, build_index
from accord.searching.query import query_modality
from accord.searching.rows import row_named
from accord.training.device import resolve_device
from accord.training.model import Model as TrainedModel
from accord.training.named import named_model


def load(path: str | Path, device: str = "auto", workers: int | None = None) -> Model:
    """The model of a finished run, one that ships with Accord (``"house"``), or a bundle (``"clip:FOLDER"``).

    Args:
        path: folder of a run, name of a model that ships, or that of a bundle that was trained elsewhere:
            ``clip:``, ``siglip:`` or ``open_clip:``, and a folder or ``hf:NAME``.
        device: ``"auto"`` for the best there is, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        workers: processes that decode what is read of many rows; None for what suits the device.

    Raises:
        AccordError: ``path`` is not a finished run; names what is missing.
        ConfigError: there is no such model, or this machine has no such device.
    """
    return _load(path, device, workers)


def _load(path: str | Path, device: str, workers: int | None, only: Collection[str] | None = None) -> Model:
    """:func:`load`; with ``only``, what embeds other modalities is loaded when it is asked to."""
    loaded = named_model(path, resolve_device(device), only)
    model = Model(loaded.method, config=loaded.config, path=loaded.path)
    model.workers = workers
    return model


class Model(TrainedModel):
    """A trained model, see :class:`accord.training.model.Model`, that also searches."""

    def _check(self, modality: str) -> None:
        super()._check(modality)
        if self.path is not None and isinstance(dict(self.method.encoders.items()).get(modality), Unbuilt):
            self.method = named_model(self.path, self.method.device).method

    def search(
        self,
        query: str | Path | None = None,
        data: str | Path | None = None,
        k: int = 10,
        *,
        ann: bool | None = None,
        candidates: int | None = None,
        plus: Sequence[str] = (),
        minus: Sequence[str] = (),
        strength: float = 1.0,
        together: Mapping[str, str | Path] | None = None,
        like: str | None = None,
        labels: Sequence[str] = (),
        columns: ColumnNames | None = None,
    ) -> list[Hit]:
        """The ``k`` rows of ``data`` nearest to words, a file, several things together, or one of the rows.

        The index is kept in the folder of the run and grows with new files.

        Args:
            query: words, or the path of a picture, clip or recording.
            data: what to search; None takes the run's own data. A bundle has none.
            k: number of hits.
            ann: approximate search; None decides by size.
            candidates: for a method with a second stage, how many rows it scores; 0 leaves it out, None decides by
                ``k``.
            plus: words for what the answers should show besides; with them or ``minus`` there is no second stage.
            minus: words for what they should not show any more; a row is changed as a query is.
            strength: how much these words count.
            together: instead of ``query``, modality -> words or a file, such as
                ``{"text": "a dog", "audio": "bark.wav"}``.
            like: instead of ``query``, a row of the data, such as a node of a graph, by its number or by what one of
                its columns says; there is no second stage.
            labels: names of classes; an answer has one of them.
            columns: modality -> column name(s) of ``data``, where the guess is wrong.

        Raises:
            ConfigError: not one of ``query``, ``together`` and ``like``, what the model cannot embed, or a model that
                has no folder.
            DataError: there is no such file or row, or several rows say that.

        Example:
            >>> model = accord.load("house")                                # doctest: +SKIP
            >>> model.search("a red heart", "pack:emoji", k=3)[0].caption   # doctest: +SKIP
            'red heart'
        """
        question = Question(query, together or {}, like, plus, minus, strength, labels)
        if self.path is None:
            raise ConfigError("search: the model has no folder to keep an index in; load it from that of its run")
        self.able(Embeds)
        require_data(data, columns)
        folder = self.path
        corpus = open_like(self, own_data(self).place if data is None else data, columns)
        if like is not None:
            question = replace(question, like=row_named(corpus, like))
        index, _ = despite_bad_rows(corpus, lambda rows: build_index(folder, self, rows, ann=ann))
        return ask(index, self, question, k, classes=corpus.classes, ann=ann, candidates=candidates)


def search(
    run: str | Path,
    query: str | None = None,
    data: str | Path | None = None,
    k: int = 10,
    ann: bool | None = None,
    candidates: int | None = None,
    plus: Sequence[str] = (),
    minus: Sequence[str] = (),
    strength: float = 1.0,
    together: Mapping[str, str | Path] | None = None,
    like: str | None = None,
    labels: Sequence[str] = (),
    *,
    columns: ColumnNames | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> list[Hit]:
    """The ``k`` rows of ``data`` nearest to words, to a picture, to several things together, or to one of the rows.

    Args:
        run: folder of a run, name of a model that ships, or that of a bundle.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.
        workers: processes that decode; None for what suits the device.

    The other arguments, and what is raised, are those of :meth:`accord.pipeline.model.Model.search`.
    """
    changes: dict[str, Any] = {
        "like": like,
        "labels": labels,
        "plus": plus,
        "minus": minus,
        "strength": strength,
        "together": together,
    }
    words = any(isinstance(one, str) for one in (*plus, *minus))
    model = _load(run, device, workers, only=_asked_with(query, together or {}, words))
    return model.search(query, data, k, ann=ann, candidates=candidates, columns=columns, **changes)


def _asked_with(query: str | Path | None, together: Mapping[str, Any], words: bool) -> set[str]:
    """The modalities of what is asked, which a search over an index that is there has to embed; none for a row."""
    found = {*together, *(["text"] if words else [])}
    return found if query is None else {*found, query_modality(query)}
