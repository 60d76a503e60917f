"""The graph encoder of MEOW: a coarse view over the mean of all meta-paths, a fine one over each with its context.

Both views go through one GCN. What a graph's meta-paths need (counts, best neighbours, contexts) is computed when the
graph is first seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from weakref import ref

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord.config import Config
from accord.data.augmenting.metapaths import path_contexts, path_neighbours, read_metapath, shortest_metapaths
from accord.data.inputs import GraphInput
from accord.encoders.base import Encoder, Features
from accord.encoders.heads import MetaPathContext, SemanticAttention, SharedGCN
from accord.errors import ConfigError, ShapeError
from accord.functional import normalize_adjacency, row_normalize_features

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

Relation = tuple[str, str, str]


class MetaPathConfig(Config):
    """A graph network over meta-paths."""

    name: Literal["metapath"] = "metapath"
    nodes: dict[str, int] = Field(description="width of the features of each node type, or its nodes where it has none")
    bare: list[str] = Field(default_factory=list, description="node types without features")
    edges: list[Relation] = Field(description="relations (source type, name, destination type)")
    target: str = Field(description="node type whose nodes are encoded")
    size: int = Field(gt=0, description="number of its nodes")
    paths: list[list[str]] = Field(
        default_factory=list, description="meta-paths as lists of steps; empty takes all of two steps"
    )
    neighbours: int | list[int] = Field(50, description="nodes kept by each meta-path, for all or for each of them")
    contexts: bool = Field(True, description="the fine view sees what lies along the paths")
    width: int = Field(64, gt=0, description="width of a node's vector")
    dropout: float = Field(0.2, ge=0, lt=1, description="share dropped in every linear map")


@dataclass(frozen=True)
class MetaPathGraph:
    """What the encoder needs of a graph, on its device.

    Args:
        features: node type -> ``(N_t, F_t)`` rows of sum 1, dense or sparse; None for a type without features.
        paths: for each meta-path the normalised graph of its best neighbours, sparse ``(N, N)``.
        counts: the same before normalisation.
        coarse: the mean of the normalised graphs.
        contexts: for each meta-path, sparse ``(N, M)`` with the node type for each position on the way.
    """

    features: dict[str, Tensor | None]
    paths: tuple[Tensor, ...]
    counts: tuple[Tensor, ...]
    coarse: Tensor
    contexts: tuple[tuple[tuple[str, Tensor], ...], ...]


class MetaPathEncoder(Encoder):
    """One vector per node of the target type: ``pooled`` is ``(number of target nodes, D)``, the fused fine view.

    ``h^t = ELU(W_t x)`` for every type t; the fine view of meta-path p is ``GCN(h + contexts of p, A_p)``, the coarse
    one ``GCN(h, mean of all A_p)`` with the same GCN; the fine views are fused by semantic attention.

    Args:
        config: its :class:`MetaPathConfig`.

    Raises:
        ConfigError: a meta-path is none of the graph, or not one number of neighbours for each.
    """

    modality = "graph"
    gives = frozenset({"pooled", "metapaths"})

    def __init__(self, config: MetaPathConfig) -> None:
        super().__init__()
        steps = config.paths or shortest_metapaths(config.edges, config.target)
        self.paths = tuple(read_metapath(path, config.edges, config.target) for path in steps)
        self.config = config.model_copy(update={"paths": steps})
        self.neighbours = _each(config.neighbours, len(self.paths))
        self.dim = config.width
        self.input = GraphInput(dict(config.nodes), tuple(config.edges), config.target)
        used = {config.target, *(name for path in self.paths for name in path.between)}
        self.types = tuple(sorted(used))
        self.lift = nn.ModuleList(nn.Linear(config.nodes[name], config.width) for name in self.types)
        self.context = nn.ModuleList(
            MetaPathContext(config.width, len(path.between), config.dropout) for path in self.paths
        )
        self.gcn = SharedGCN(config.width, dropout=config.dropout)
        self.attention = SemanticAttention(config.width, config.dropout)
        self.dropout = nn.Dropout(config.dropout)
        self._seen: tuple[ref[HeteroData], MetaPathGraph] | None = None  # of the last graph

    def encode(self, x: HeteroData, mask: Tensor | None = None) -> Features:
        """The fused fine view of all target nodes of a graph; graphs have no mask.

        Raises:
            ShapeError: a node type is missing, or its features have another width than configured.
        """
        seen = self.read(x)
        hidden = self.lifted(seen)
        return Features(pooled=self.attention(self.fine(seen, hidden[self.config.target], hidden))[0])

    @torch.inference_mode(False)  # training may go on with what evaluation was the first to read
    def read(self, graph: HeteroData) -> MetaPathGraph:
        """Counts, best neighbours and contexts of a graph; remembered until another one comes.

        Raises:
            ShapeError: a node type is missing, or its features have another width than configured.
        """
        device = self.gcn.weight1.device
        if self._seen is None or self._seen[0]() is not graph:
            count = int(graph[self.config.target].num_nodes) if self.config.target in graph.node_types else 0
            if count != self.config.size:
                raise ShapeError(
                    f"graph[{self.config.target!r}] has {count} nodes: expected {self.config.size}; the encoder knows "
                    "the graph that it was trained on"
                )
            features = {name: self._features(graph, name) for name in self.types}
            counts = tuple(path_neighbours(graph, path, k) for path, k in zip(self.paths, self.neighbours, strict=True))
            paths = tuple(normalize_adjacency(matrix) for matrix in counts)
            coarse = sum(paths[1:], paths[0]).coalesce() / len(paths)
            contexts = tuple(
                tuple(zip(path.between, path_contexts(graph, path), strict=True)) if self.config.contexts else ()
                for path in self.paths
            )
            self._seen = ref(graph), _ready(MetaPathGraph(features, paths, counts, coarse, contexts), device)
        if self._seen[1].coarse.device != device:
            self._seen = ref(graph), _ready(self._seen[1], device)
        return self._seen[1]

    def lifted(self, graph: MetaPathGraph) -> dict[str, Tensor]:
        """Hidden vectors ``(N_t, D)`` of every node type on the meta-paths."""
        return {name: self.lift_features(name, graph.features[name]) for name in self.types}

    def lift_features(self, name: str, features: Tensor | None) -> Tensor:
        """``ELU(W x + b)`` with dropout; without features the nodes' own columns of W."""
        layer: Any = self.lift[self.types.index(name)]
        with torch.autocast(layer.weight.device.type, enabled=False):  # sparse products have no half precision
            product = layer.weight.T if features is None else features @ layer.weight.T
            return F.elu(self.dropout(product + layer.bias))

    def coarse(self, graph: MetaPathGraph, target: Tensor) -> Tensor:
        """The coarse view ``(N, D)`` of hidden target nodes."""
        return self.gcn(target, graph.coarse)

    def fine(
        self,
        graph: MetaPathGraph,
        target: Tensor,
        hidden: Mapping[str, Tensor],
        paths: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """The fine view of each meta-path, ``(N, D)`` with rows of unit norm.

        Args:
            graph: what was read of the graph.
            target: hidden target nodes, perhaps of perturbed features.
            hidden: hidden nodes of all types, for the contexts.
            paths: graphs to take instead of those of the meta-paths, perhaps perturbed.
        """
        views = []
        for aggregate, adjacency, around in zip(self.context, paths or graph.paths, graph.contexts, strict=True):
            near = [(matrix, hidden[name]) for name, matrix in around]
            views.append(F.normalize(self.gcn(aggregate(target, near) if near else target, adjacency), dim=1))
        return views

    def _features(self, graph: HeteroData, name: str) -> Tensor | None:
        width, bare = self.config.nodes[name], name in self.config.bare
        came = graph[name].get("x") if name in graph.node_types else None
        if bare and came is None and name in graph.node_types and int(graph[name].num_nodes) == width:
            return None
        if bare or came is None or came.ndim != 2 or came.shape[1] != width:
            there = "is missing" if name not in graph.node_types else f"has {graph[name].num_nodes} nodes"
            what = f"has features of shape {tuple(came.shape)}" if came is not None else there
            wanted = f"{width} nodes without features" if bare else f"features of shape (nodes, {width})"
            raise ShapeError(
                f"graph[{name!r}] {what}: expected {wanted}; the encoder knows the graph that it was trained on"
            )
        return row_normalize_features(came)

    def blocks(self) -> list[nn.Module]:
        """Type transforms, contexts, GCN, attention."""
        return [self.lift, self.context, self.gcn, self.attention]

    def spec(self) -> dict[str, Any]:
        """The configuration."""
        return self.config.model_dump(mode="json")


def describe_metapaths(data: HeteroData, target: str, **options: Any) -> dict[str, Any]:
    """The spec of a meta-path encoder for a graph.

    Args:
        data: the graph; node types may have features ``x``.
        target: node type to encode.
        options: further settings of :class:`MetaPathConfig`.

    Example:
        >>> from torch_geometric.data import HeteroData
        >>> graph = HeteroData(paper={"x": torch.zeros(3, 4)}, author={"num_nodes": 2})
        >>> graph["paper", "by", "author"].edge_index = torch.tensor([[0], [1]])
        >>> describe_metapaths(graph, "paper")["bare"]
        ['author']
    """
    bare = [name for name in data.node_types if data[name].get("x") is None]
    nodes = {
        name: int(data[name].num_nodes) if name in bare else int(data[name].x.shape[1]) for name in data.node_types
    }
    edges = [tuple(relation) for relation in data.edge_types]
    size = int(data[target].num_nodes)
    found = {"nodes": nodes, "bare": bare, "edges": edges, "target": target, "size": size}
    config = MetaPathConfig.parse({**found, **options}, at="encoders.graph.options")
    return config.model_dump(mode="json")


def build_metapath(config: MetaPathConfig, *, weights: Any = False, texts: Any = None) -> MetaPathEncoder:
    """A graph network over meta-paths with random weights; see :func:`accord.encoders.build_encoder`."""
    return MetaPathEncoder(config)


def as_csr(matrix: Tensor) -> Tensor:
    """A sparse matrix in the layout whose products are fastest; a dense one as it is."""
    if matrix.layout == torch.strided:
        return matrix
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return matrix.to_sparse_csr()


def _each(neighbours: int | list[int], paths: int) -> tuple[int, ...]:
    each = [neighbours] * paths if isinstance(neighbours, int) else neighbours
    if len(each) != paths or min(each) < 1:
        raise ConfigError(f"neighbours = {neighbours}: expected a number ≥ 1, or one for each of {paths} meta-paths")
    return tuple(each)


def _ready(graph: MetaPathGraph, device: torch.device) -> MetaPathGraph:
    """On a device; what is multiplied with in CSR."""
    features = {name: None if x is None else as_csr(x.to(device)) for name, x in graph.features.items()}
    contexts = tuple(tuple((name, as_csr(matrix.to(device))) for name, matrix in path) for path in graph.contexts)
    return replace(
        graph,
        features=features,
        paths=tuple(as_csr(matrix.to(device)) for matrix in graph.paths),
        coarse=as_csr(graph.coarse.to(device)),
        contexts=contexts,
    )
