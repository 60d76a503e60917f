"""Asking an index: words, a file, a picture or a vector becomes one vector, and the nearest rows come back."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from accord.data.loading.tokens import TokenRows
from accord.data.modalities import get_modality, items_in_files, modality_of_file
from accord.data.reading.video import holds_pictures
from accord.errors import ConfigError, DataError, listed
from accord.evaluation.embedder import Embedder, by_joint_score, rescorer
from accord.functional.measures.gap import embedding_arithmetic
from accord.searching.index import Hit, SearchIndex

if TYPE_CHECKING:
    from PIL.Image import Image

    from accord.training.model import Model

FEWEST, FACTOR = 100, 10  # candidates of a second stage: so many at least, and so many times the answers
SAME = 1 - 1e-4  # cosine from which a row is the query itself
SCORED = 10_000  # rows up to which a joint score is taken of all


def search(
    index: SearchIndex,
    model: Embedder,
    query: str | Path | Image | Tensor | np.ndarray,
    *,
    k: int = 10,
    target: str | None = None,
    ann: bool | None = None,
    candidates: int | None = None,
    modality: str | None = None,
    labels: Collection[str] = (),
) -> list[Hit]:
    """The k rows nearest to a query of any modality that the model embeds.

    A model with a second stage scores the nearest rows once more by their tokens, if the query is of another modality
    than the rows; a query that is a vector has no tokens.

    Args:
        index: what is searched; see :func:`accord.searching.index.build_index`.
        model: the model that the index was built with.
        query: words, a path of a picture, clip or recording, a PIL image, or a vector ``(D,)``.
        k: how many answers.
        target: which modality of the rows is compared; None takes the first medium whose vectors fit the query,
            and the texts where none does.
        ann: False compares every row, even where there is an approximate index.
        candidates: how many rows the second stage scores; 0 leaves it out, None takes ten times k, at least 100.
        modality: what the query is; None for what a file of its name, or an object of its kind, usually is.
        labels: of ``index.labels``; only rows that say one of them are answers.

    Returns:
        Hits, best first.

    Raises:
        ConfigError: the query is empty, the model cannot embed it, ``target`` is not in the index, or ``candidates``
            is negative.
        DataError: there is no such file, or it is of no known kind.
    """
    if candidates is not None and candidates < 0:
        raise ConfigError(f"candidates = {candidates}: expected at least 0")
    if by_joint_score(model) and target is None and not isinstance(query, Tensor | np.ndarray):
        together = {modality or _embedded_modality(model, query): query}
        return search_jointly(index, model, together, k=k, ann=ann, candidates=candidates, labels=labels)  # type: ignore[arg-type]
    wanted = max(FEWEST, FACTOR * k) if candidates is None else candidates
    second = rescorer(model) if wanted else None
    if second is None or isinstance(query, Tensor | np.ndarray):
        vector = embed_query(model, query, modality)
        return index.search(vector, target or _default_target(index, len(vector)), k=k, ann=ann, labels=labels)
    modality = modality or _embedded_modality(model, query)
    asked = second.tokens(**_as_items(modality, query))
    target = target or _default_target(index, asked.pooled.shape[1])
    if target == modality:
        return index.search(asked.pooled[0], target, k=k, ann=ann, labels=labels)

    def rescore(rows: TokenRows) -> Tensor:
        return second.rescore(asked.padded(), rows.padded(), modality)[0]

    return index.search(asked.pooled[0], target, k=k, ann=ann, rescore=rescore, candidates=wanted, labels=labels)


def search_altered(
    index: SearchIndex,
    model: Embedder,
    query: str | Path | Image | int | None,
    *,
    plus: Sequence[str | int] = (),
    minus: Sequence[str | int] = (),
    strength: float = 1.0,
    k: int = 10,
    ann: bool | None = None,
    modality: str | None = None,
    labels: Collection[str] = (),
) -> list[Hit]:
    """The k rows nearest to a query that words and rows are added to and taken from; these are left out themselves.

    ``query + strength (sum of plus - sum of minus)``, see :func:`accord.functional.embedding_arithmetic`. It works as
    far as the two modalities share their directions, so best for a model trained with a small gap. Vectors have no
    tokens, so there is no second stage.

    Args:
        index: what is searched.
        model: the model that the index was built with; it embeds text, where there are words.
        query: words, the path of a picture, clip or recording, a PIL image, or the number of a row; None for what is
            added and taken alone.
        plus: what the answers should have besides: words, or numbers of rows.
        minus: what they should have instead no longer.
        strength: how much these count.
        k: how many answers.
        ann: False compares every row, even where there is an approximate index.
        modality: what the query is; None for what it usually is.
        labels: of ``index.labels``; only rows that say one of them are answers.

    Raises:
        ConfigError, DataError: as :func:`search` and :func:`search_like`; also words that are empty, or a model that
            embeds no text.
    """
    parts = (listed("plus", plus), listed("minus", minus))
    words = [each for part in parts for each in part if isinstance(each, str)]
    if words and ("text" not in model.modalities or not all(word.strip() for word in words)):
        raise ConfigError(f"plus and minus take words for a model that embeds text; got {words}")
    added, taken = (sum((_changing(index, model, each) for each in part), torch.zeros(())) for part in parts)
    own = torch.zeros_like(added - taken)
    if query is not None:
        own = torch.as_tensor(
            _vector_of_row(index, query)[1] if isinstance(query, int) else embed_query(model, query, modality)
        )
    zero = torch.zeros_like(own)
    asked = embedding_arithmetic(own, zero + added, zero + taken, strength)
    target = _default_target(index, len(asked))
    same = {each for each in (query, *parts[0], *parts[1]) if isinstance(each, int)}
    if query is not None:
        same |= {hit.row for hit in index.search(own, target, k=1, ann=ann) if hit.score > SAME}
    found = index.search(asked, target, k=k + len(same), ann=ann, labels=labels)
    return _ranked([hit for hit in found if hit.row not in same][:k])


def _changing(index: SearchIndex, model: Embedder, thing: str | int) -> Tensor:
    """The vector ``(D,)`` of words, also where a file is called so, or of the row of a number."""
    return torch.as_tensor(
        _vector_of_row(index, thing)[1] if isinstance(thing, int) else embed_query(model, thing, "text")
    )


def search_like(
    index: SearchIndex, row: int, *, k: int = 10, ann: bool | None = None, labels: Collection[str] = ()
) -> list[Hit]:
    """The k rows nearest to one of the index, without itself: by its medium where it has one, else by its text.

    Args:
        index: what is searched.
        row: number of the row.
        k: how many answers.
        ann: False compares every row, even where there is an approximate index.
        labels: of ``index.labels``; only rows that say one of them are answers.

    Raises:
        ConfigError: there is no such row.
        DataError: it has nothing that the model embeds.
    """
    target, vector = _vector_of_row(index, row)
    found = index.search(vector, target, k=k + 1, ann=ann, labels=labels)
    return _ranked([hit for hit in found if hit.row != row][:k])


def _vector_of_row(index: SearchIndex, row: int) -> tuple[str, np.ndarray]:
    """By what a row is compared, and its vector: of its medium where it has one, else of its text."""
    vectors = index.vectors_of(row)
    if not vectors:
        raise DataError(f"row {row} has nothing that the model embeds: take another row")
    target = next((modality for modality in vectors if modality != "text"), "text")
    return target, vectors[target]


def _ranked(hits: Sequence[Hit]) -> list[Hit]:
    return [replace(hit, rank=rank) for rank, hit in enumerate(hits, start=1)]


def search_jointly(
    index: SearchIndex,
    model: Model,
    queries: Mapping[str, str | Path | Image],
    *,
    k: int = 10,
    ann: bool | None = None,
    candidates: int | None = None,
    labels: Collection[str] = (),
) -> list[Hit]:
    """The k rows that fit several queries of different modalities together, such as words and a sound.

    Rows are scored against all queries at once by the method's score of tuples: GRAM's volume, elsewhere the mean
    cosine. Of many rows those nearest to one of the queries, or opposite to it, are scored.

    Args:
        index: what is searched, by the modalities that are not asked with.
        model: the model that the index was built with.
        queries: modality -> words, the path of a file, or a PIL image.
        k: how many answers.
        ann: False compares every row, even where there is an approximate index.
        candidates: how many of the nearest to each query are scored; None takes all of up to 10,000 rows, of more ten
            times k and at least 100.
        labels: of ``index.labels``; only rows that say one of them are answers.

    Raises:
        ConfigError: no query, or a modality that the model does not embed.
        DataError: there is no such file.
    """
    unknown = [modality for modality in queries if modality not in model.modalities]
    if unknown or not queries:
        raise ConfigError(f"queries {list(queries)}: the model embeds {', '.join(model.modalities)}")
    for modality, query in queries.items():
        if modality != "text" and isinstance(query, str | Path) and not Path(query).exists():
            raise DataError(f"there is no file {query}")
    items = {modality: _as_items(modality, query) for modality, query in queries.items()}
    vectors = {modality: model.embed(**item) for modality, item in items.items()}  # type: ignore[arg-type]  # (1, D)

    def score(rows: dict[str, Tensor], present: Tensor) -> Tensor:
        return model.score_tuples(vectors, rows, present)[0]

    few = len(index) if len(index) <= SCORED else max(FEWEST, FACTOR * k)
    wanted = few if candidates is None else candidates
    return index.joint({name: vector[0] for name, vector in vectors.items()}, score, k, wanted, ann, labels)


def embed_query(
    model: Embedder, query: str | Path | Image | Tensor | np.ndarray, modality: str | None = None
) -> Tensor | np.ndarray:
    """The vector ``(D,)`` of a query; a vector stays as it is.

    Args:
        model: what embeds it.
        query: words, a path, a PIL image, or a vector.
        modality: what it is; None for what a file of its name, or an object of its kind, usually is.

    Raises:
        ConfigError: the query is empty, or the model does not embed its modality.
        DataError: there is no such file, or it is of no known kind.
    """
    if isinstance(query, Tensor | np.ndarray):
        return query
    return model.embed(**_as_items(modality or _embedded_modality(model, query), query))[0]


def query_modality(query: str | Path | Image) -> str:
    """``"text"`` for words, otherwise what the file or object is; a folder of frames is a clip.

    A folder is meant where its path has a slash; a single word that is the name of one too is words.

    Raises:
        ConfigError: the query is empty.
        DataError: there is no such file, or it is of no known kind.

    Example:
        >>> query_modality("a red heart")
        'text'
        >>> query_modality("heart.png")
        Traceback (most recent call last):
        accord.errors.DataError: there is no file heart.png; give the path of one (...), or search by words
    """
    if not isinstance(query, str | Path):
        return "image"
    if not str(query).strip():
        raise ConfigError("the query is empty: give words, or the path of a file")
    path = Path(query)
    kind = modality_of_file(path)
    if kind is None and os.path.isdir(path) and (isinstance(query, Path) or "/" in query or os.sep in query):
        return "video"
    if isinstance(query, str) and kind is None:
        return "text"
    if not path.exists():
        raise DataError(f"there is no file {path}; give the path of one ({items_in_files()}), or search by words")
    if kind is None:
        raise DataError(f"{path} is of no known kind; expected a file of {items_in_files()}")
    return kind


def _embedded_modality(model: Embedder, query: str | Path | Image) -> str:
    modality = query_modality(query)
    if modality != "text" and isinstance(query, str | Path):
        modality = modality_of_file(Path(query), model.modalities) or modality
    if modality == "text" and "video" in model.modalities and holds_pictures(str(query)):
        raise ConfigError(f"{query} is a folder of frames too: write ./{query} for the clip, --text {query} for words")
    if modality not in model.modalities:
        raise ConfigError(
            f"the model embeds {', '.join(model.modalities)}; it cannot search by {modality}; search by a row (--like)"
        )
    return modality


def _as_items(modality: str, query: Any) -> dict[str, list[Any]]:
    return {get_modality(modality).argument: [query]}


def _default_target(index: SearchIndex, size: int) -> str:
    fitting = [modality for modality, dim in index.dims.items() if dim == size]
    if not fitting:
        raise ConfigError(f"a query of {size} numbers fits none of the index's vectors: {index.dims}")
    return next((modality for modality in fitting if modality != "text"), fitting[0])
