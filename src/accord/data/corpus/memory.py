"""A corpus of what is in memory already: things of one modality, or the nodes of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np

from accord.data.columns import Columns
from accord.data.corpus.rows import Corpus
from accord.data.fields import declared
from accord.data.modalities import get_modality, modality_of
from accord.data.reading.graphs import ID
from accord.errors import DataError

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData


def corpus_from_items(modality: str, items: Sequence[Any]) -> Corpus:
    """A corpus of one modality from things in memory.

    Args:
        modality: its name.
        items: paths, encoded bytes, or things that the modality makes cells of: PIL pictures, arrays; strings for text.

    Raises:
        DataError: an item is none of these.

    Example:
        >>> corpus_from_items("text", ["a cat", "a dog"]).texts()
        [['a cat'], ['a dog']]
    """
    kind = get_modality(modality)
    if kind.medium:
        return corpus_from_fields({modality: items})
    cells = [kind.cell(item, i) for i, item in enumerate(items)]
    return Corpus(kind.items, datasets.Dataset.from_dict({modality: cells}), _only(modality), np.arange(len(items)))


def corpus_from_fields(items: Mapping[str, Sequence[Any]]) -> Corpus:
    """A corpus of rows with several media each, from things in memory.

    Args:
        items: field -> as for :func:`corpus_from_items`, of as many rows.

    Raises:
        DataError: an item is none of these, or there are not as many of each.

    Example:
        >>> corpus_from_fields({"video": ["a.mp4", "b.mp4"], "audio": ["a.wav", "b.wav"]})
        Corpus(items, 2 rows, video=video audio=audio)
    """
    counts = {len(given) for given in items.values()}
    if len(counts) > 1:
        came = ", ".join(f"{len(given)} of {field}" for field, given in items.items())
        raise DataError(f"{came}: give as many of each, since they make rows together")
    cells = {
        field: [modality_of(field).cell(item, i) for i, item in enumerate(given)] for field, given in items.items()
    }
    feature = {"bytes": datasets.Value("large_binary"), "path": datasets.Value("string")}
    rows = datasets.Dataset.from_dict(cells, features=datasets.Features(dict.fromkeys(cells, feature)))
    return Corpus("items", rows, Columns.parse({field: field for field in cells}), np.arange(len(rows)))


def _only(modality: str) -> Columns:
    return Columns.parse({modality: (modality,) if declared(modality).several else modality})


def corpus_from_graph(
    graph: HeteroData, target: str, classes: Sequence[str] | None = None, name: str = "graph"
) -> Corpus:
    """A corpus whose rows are the nodes of one type of a PyG graph.

    Args:
        graph: features ``x`` (dense or sparse), or ``num_nodes`` alone for types without; labels ``y (N,)`` of the
            target, -1 for none.
        target: the node type.
        classes: names of the labels; None takes their numbers.
        name: how to call it.

    Raises:
        DataError: there is no such node type.

    Example:
        >>> import torch
        >>> from torch_geometric.data import HeteroData
        >>> graph = HeteroData(paper={"num_nodes": 2, "y": torch.tensor([0, 1])})
        >>> corpus_from_graph(graph, "paper")
        Corpus(graph, 2 rows, graph=id)
    """
    if target not in graph.node_types:
        raise DataError(f"no node type {target!r} in the graph; there are: {', '.join(graph.node_types)}")
    count = int(graph[target].num_nodes)
    ids = np.arange(count, dtype=np.int64)
    rows = datasets.Dataset.from_dict({ID: [str(node) for node in ids]})
    corpus = Corpus(name, rows, Columns(graph=(ID,)), ids, graph=graph, target=target)
    y = graph[target].get("y")
    if y is None:
        return corpus
    named = classes or tuple(str(number) for number in range(int(y.max()) + 1))
    return corpus.with_labels(y.cpu().numpy(), classes=named)
