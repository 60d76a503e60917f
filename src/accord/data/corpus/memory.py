"""A corpus of what is in memory already: things of one modality, or the nodes of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np

from accord.data.columns import Columns
from accord.data.corpus.rows import Corpus
from accord.data.fields import declared
from accord.data.modalities import get_modality
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
    cells = [kind.cell(item, i) for i, item in enumerate(items)]
    if not kind.medium:
        return Corpus(kind.items, datasets.Dataset.from_dict({modality: cells}), _only(modality), np.arange(len(items)))
    feature = {"bytes": datasets.Value("large_binary"), "path": datasets.Value("string")}
    rows = datasets.Dataset.from_dict({modality: cells}, features=datasets.Features({modality: feature}))
    return Corpus("items", rows, _only(modality), np.arange(len(items)))


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
