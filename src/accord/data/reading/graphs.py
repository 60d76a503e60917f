"""Typed graphs around the rows of a corpus: from a folder of nodes and edges, from columns that name things, or given.

The rows are the nodes of one type, the *target*. Where nodes have texts their features are counts of words, where they
have numbers these, and else none: an encoder then learns a vector for each of them.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import torch
from torch import Tensor

from accord.data.columns import Columns, guess_columns
from accord.data.fields import declarations
from accord.data.quarantine import Quarantine
from accord.data.reading.cells import cells_of
from accord.data.reading.tables import TABLES, read_table
from accord.errors import DataError, require

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

NODES, EDGES, ID = "nodes", "edges", "id"
ROW = "row"  # node type of the rows of a table
MAX_WORDS = 2000
_WORD = re.compile(r"[^\W_]{2,}")


@dataclass(frozen=True)
class GraphFolder:
    """What a folder of nodes and edges holds.

    Args:
        graph: all nodes and edges; the target is without features, since what its columns are is yet to be settled.
        rows: the table of the target's nodes, in the order of the graph.
        target: the node type whose nodes are the rows.
        columns: which of its columns is what.
        bad: edges that name nodes which are not there.
        edges: how many edges were read.
    """

    graph: HeteroData
    rows: datasets.Dataset
    target: str
    columns: dict[str, str | Sequence[str] | None]
    bad: Quarantine = field(default_factory=Quarantine)
    edges: int = 0


def is_graph_folder(folder: Path) -> bool:
    """Whether a folder holds a graph: ``edges/SOURCE__RELATION__DESTINATION.csv`` and perhaps ``nodes/TYPE.csv``."""
    return (folder / EDGES).is_dir()


def read_graph_folder(folder: Path, target: str | None = None) -> GraphFolder:
    """Read ``nodes/TYPE.csv`` (column ``id``) and ``edges/SOURCE__RELATION__DESTINATION.csv`` (two columns of ids).

    A node type without a table of its own is made of the ids that its edges name. Tables may be CSV, TSV, JSON Lines or
    Parquet.

    Args:
        folder: the folder.
        target: the type whose nodes are the rows; None takes the one that has labels, or the only one with a table.

    Raises:
        DataError: a file is not named or filled as it should be, an id occurs twice, or the target is not clear.
    """
    tables = {path.stem: read_table(path).rows for path in _tables(folder / NODES)}
    index = {name: _numbered(table, folder / NODES / name) for name, table in tables.items()}
    bad, links, count = Quarantine(), {}, 0
    for path in _tables(folder / EDGES):
        relation = tuple(path.stem.split("__"))
        if len(relation) != 3 or not all(relation):
            raise DataError(f"{path}: expected a name such as paper__written_by__author{path.suffix}")
        ends = _ends(read_table(path).rows, path)
        links[relation] = _numbers_of(ends, relation, index, set(tables), path.name, bad)
        count += len(ends[0])
    if not links:
        raise DataError(f"{folder / EDGES} holds no table of edges such as paper__written_by__author.csv")
    chosen = _target(target, tables, index)
    rows = tables.get(chosen)
    if rows is None:
        rows = datasets.Dataset.from_dict({ID: list(index[chosen])})
    mapping = _columns(rows)
    graph = require("torch_geometric.data", "graph").HeteroData()
    for name, numbers in index.items():
        graph[name].num_nodes = len(numbers)
        if name in tables and name != chosen:
            add_features(graph, name, tables[name], _columns(tables[name]))
    for relation, (source, destination) in links.items():
        graph[relation].edge_index = torch.from_numpy(np.stack([source, destination]))
    suggested: dict[str, str | Sequence[str] | None] = {
        "graph": ID,
        "text": mapping.text or None,
        "label": mapping.label,
        "group": mapping.group,
    }
    return GraphFolder(graph, rows, chosen, suggested, bad, count)


def graph_of_columns(rows: datasets.Dataset, columns: Columns) -> HeteroData:
    """The graph that columns of a table make: a node for each row, and one for each thing that a column names.

    The rows are of type ``"row"``; every column is a node type and the relation to it. A cell holds one name or a list.

    Raises:
        DataError: a column holds something else.

    Example:
        >>> table = datasets.Dataset.from_dict({"title": ["a", "b"], "author": [["x", "y"], ["y"]]})
        >>> graph = graph_of_columns(table, Columns(graph=("author",)))
        >>> graph["row", "author", "author"].edge_index
        tensor([[0, 0, 1],
                [0, 1, 1]])
    """
    graph = require("torch_geometric.data", "graph").HeteroData()
    graph[ROW].num_nodes = len(rows)
    add_features(graph, ROW, rows, columns)
    for column in columns.graph:
        cells = [_names_in(cell, column) for cell in cells_of(rows, column)]
        numbers = {name: number for number, name in enumerate(sorted({name for cell in cells for name in cell}))}
        source = np.repeat(np.arange(len(cells)), [len(cell) for cell in cells])
        destination = np.array([numbers[name] for cell in cells for name in cell], dtype=np.int64)
        graph[column].num_nodes = len(numbers)
        graph[ROW, column, column].edge_index = torch.from_numpy(np.stack([source, destination]))
    return graph


def add_features(graph: HeteroData, name: str, table: datasets.Dataset, columns: Columns) -> None:
    """Give the nodes of a type what their table says: words of its texts, and numbers in columns of no other use."""
    parts = []
    if columns.text:
        cells = zip(*(table[column] for column in columns.text), strict=True)
        parts.append(bag_of_words([" ".join(_words_in(row)) for row in cells]))
    taken = {column for _, used in columns.items() for column in used} | {ID}
    numbers = [column for column in table.column_names if column not in taken and _is_number(table.features[column])]
    if numbers:
        values = np.stack([np.array(table[column], dtype=np.float32) for column in numbers], axis=1)
        parts.append(torch.from_numpy(np.nan_to_num(values)).to_sparse_coo())
    parts = [part for part in parts if part.shape[1]]
    if parts:
        graph[name].x = torch.cat(parts, dim=1).coalesce()


def bag_of_words(texts: Sequence[str], most: int = MAX_WORDS) -> Tensor:
    """How often each word stands in each text: sparse ``(N, W)`` float32.

    The W words are the most frequent of those that stand in at least two texts and in at most half of them.

    Example:
        >>> bag_of_words(["red car", "red bus", "blue bus", "a boat", "green"]).to_dense()
        tensor([[0., 1.],
                [1., 1.],
                [1., 0.],
                [0., 0.],
                [0., 0.]])
    """
    found = [Counter(_WORD.findall(text.lower())) for text in texts]
    spread = Counter(word for words in found for word in words)
    usual = [(-count, word) for word, count in spread.items() if 2 <= count <= max(2, len(texts) / 2)]
    place = {word: column for column, word in enumerate(sorted(word for _, word in sorted(usual)[:most]))}
    entries = [
        (row, place[word], count)
        for row, words in enumerate(found)
        for word, count in sorted(words.items())
        if word in place
    ]
    index = torch.tensor([entry[:2] for entry in entries], dtype=torch.int64).reshape(-1, 2).T
    value = torch.tensor([entry[2] for entry in entries], dtype=torch.float32)
    return torch.sparse_coo_tensor(index, value, (len(texts), len(place)), check_invariants=True).coalesce()


def graph_digest(graph: HeteroData) -> str:
    """Hash of the node types, features and edges of a graph."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(graph.node_types):
        digest.update(f"{name} {graph[name].num_nodes};".encode())
        for part in _parts(graph[name].get("x")):
            digest.update(part.contiguous().numpy().tobytes())
    for relation in sorted(graph.edge_types):
        digest.update(f"{relation};".encode())
        digest.update(graph[relation].edge_index.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _parts(x: Tensor | None) -> list[Tensor]:
    if x is None:
        return []
    if x.layout == torch.strided:
        return [x.detach().cpu()]
    entries = x.detach().cpu().to_sparse_coo().coalesce()
    return [entries.indices(), entries.values()]


def _tables(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in TABLES)
    twice = [path for path in found if sum(other.stem == path.stem for other in found) > 1]
    if twice:
        raise DataError(f"{twice[0].parent}: {twice[0].name} and {twice[1].name} both describe {twice[0].stem}")
    return found


def _numbered(table: datasets.Dataset, where: Path) -> dict[str, int]:
    if ID not in table.column_names:
        raise DataError(f"{where}: no column 'id'; the columns are: {', '.join(table.column_names)}")
    numbers: dict[str, int] = {}
    for row, value in enumerate(table[ID]):
        if value is None or str(value) in numbers:
            what = "has no id" if value is None else f"repeats the id {str(value)!r} of row {numbers[str(value)]}"
            raise DataError(f"{where}: row {row} {what}; ids must be there and differ")
        numbers[str(value)] = row
    return numbers


def _ends(table: datasets.Dataset, path: Path) -> tuple[list[Any], list[Any]]:
    """The two columns of ids: ``source`` and ``target``, or the first two."""
    names = table.column_names
    if len(names) < 2:
        raise DataError(f"{path}: expected two columns of ids, found: {', '.join(names)}")
    first, second = ("source", "target") if {"source", "target"} <= set(names) else names[:2]
    return list(table[first]), list(table[second])


def _numbers_of(
    ends: tuple[list[Any], list[Any]],
    relation: tuple[str, ...],
    index: dict[str, dict[str, int]],
    listed: set[str],
    file: str,
    bad: Quarantine,
) -> tuple[np.ndarray, np.ndarray]:
    """Node numbers of the edges; ids of types without a table are numbered as they come."""
    kept: list[tuple[int, int]] = []
    sides = (relation[0], relation[2])
    for row, pair in enumerate(zip(*ends, strict=True)):
        numbers: list[int] = []
        for name, value in zip(sides, pair, strict=True):
            known = index.setdefault(name, {})
            if value is None:
                bad.add(row, file, f"no {name}")
            elif name in listed and str(value) not in known:
                bad.add(row, file, f"no such {name}: {str(value)!r} is not in nodes/{name}")
            else:
                numbers.append(known.setdefault(str(value), len(known)))
        if len(numbers) == 2:
            kept.append((numbers[0], numbers[1]))
    found = np.array(kept, dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _target(wanted: str | None, tables: Mapping[str, datasets.Dataset], index: Mapping[str, Any]) -> str:
    if wanted is not None:
        if wanted not in index:
            raise DataError(f"data.target: no node type {wanted!r}; there are: {', '.join(sorted(index))}")
        return wanted
    labelled = [name for name, table in tables.items() if _columns(table).label]
    candidates = labelled or list(tables)
    if len(candidates) != 1:
        those = f"{' and '.join(labelled)} have labels" if labelled else f"there are: {', '.join(sorted(index))}"
        raise DataError(f"which nodes are to be learned? {those}; name a type with --set data.target=TYPE")
    return candidates[0]


def _columns(table: datasets.Dataset) -> Columns:
    """Text, label and group of a table of nodes; it may have none of them."""
    bare = {field: None for field, made in declarations().items() if made.files}
    return guess_columns(table, {**bare, "graph": [name for name in (ID,) if name in table.column_names]})


def _is_number(feature: Any) -> bool:
    return isinstance(feature, datasets.Value) and feature.dtype.startswith(("int", "uint", "float", "bool"))


def _words_in(cells: Iterable[Any]) -> Iterable[str]:
    for cell in cells:
        yield from (str(item) for item in (cell if isinstance(cell, list) else [cell]) if item is not None)


def _names_in(cell: Any, column: str) -> list[str]:
    """The things that a cell names, each once."""
    items = cell if isinstance(cell, list) else [cell]
    if any(isinstance(item, dict | list | bytes) for item in items):
        raise DataError(f"column {column!r} holds more than names: the cells of a graph's column are names or lists")
    return sorted({str(item).strip() for item in items if item is not None} - {""})


__all__ = [
    "GraphFolder",
    "add_features",
    "bag_of_words",
    "graph_digest",
    "graph_of_columns",
    "is_graph_folder",
    "read_graph_folder",
]
