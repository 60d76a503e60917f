"""Graph encoder for typed nodes and edges: relational mean aggregation (GraphSAGE per relation) in PyG.

A layer adds to node v of type t: ``GELU(LN_t(Σ_r SAGE_r(h_v, mean of h_u over neighbours u by r)))``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import GraphInput
from accord.encoders.base import Encoder, Features
from accord.encoders.stages import longest_stack, stages_around
from accord.errors import ConfigError, ShapeError, require

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

Relation = tuple[str, str, str]


class HeteroConfig(Config):
    """A graph network over typed nodes and edges."""

    name: Literal["hetero"] = "hetero"
    nodes: dict[str, int] = Field(description="width of the features of each node type")
    edges: list[Relation] = Field(description="relations (source type, name, destination type)")
    target: str = Field(description="node type whose nodes are encoded")
    width: int = Field(128, gt=0, description="width of a node's vector")
    depth: int = Field(2, gt=0, description="message passing steps")


class HeteroEncoder(Encoder):
    """One vector per node of the target type; ``pooled`` is ``(number of target nodes, D)``.

    A layer holds only the relations that lead, in the steps that remain, to the target type.

    Args:
        config: its :class:`HeteroConfig`.

    Raises:
        ConfigError: target or a relation names an unknown node type, or no relation reaches the target.
        MissingExtraError: PyG is not installed.
    """

    modality = "graph"
    gives = frozenset({"pooled"})

    def __init__(self, config: HeteroConfig) -> None:
        super().__init__()
        _check(config)
        self.config = config
        self.dim = config.width
        self.input = GraphInput(dict(config.nodes), tuple(config.edges), config.target)
        plan = _plan(config)
        used = {name for relations in plan for source, _, to in relations for name in (source, to)}
        self.lift = _by_type({name: nn.Linear(config.nodes[name], config.width) for name in sorted(used)})
        self.layers = nn.ModuleList(HeteroLayer(relations, config.width) for relations in plan)
        self.final = nn.LayerNorm(config.width)

    def encode(self, x: HeteroData, mask: Tensor | None = None) -> Features:
        """Vectors of all target nodes of a (batched or sampled) ``HeteroData``; graphs have no mask.

        Raises:
            ShapeError: a node type is missing, or its features have another width than configured.
        """
        hidden = {name: lift(self._features(x, name)) for name, lift in self.lift.items()}  # (nodes, D) each
        edges = {relation: x[relation].edge_index for relation in x.edge_types}
        for layer in self.layers:
            hidden = layer(hidden, edges)
        return Features(pooled=self.final(hidden[self.config.target]))

    def _features(self, x: HeteroData, name: str) -> Tensor:
        came = getattr(x[name], "x", None) if name in x.node_types else None
        width = self.config.nodes[name]
        if came is None or came.ndim != 2 or came.shape[1] != width:
            what = "is missing" if came is None else f"has shape {tuple(came.shape)}"
            raise ShapeError(f"graph[{name!r}].x {what}: expected (nodes, {width})")
        return came

    def blocks(self) -> list[nn.Module]:
        """The linear inputs of the node types, then the layers."""
        return stages_around(self, longest_stack(self))

    def spec(self) -> dict[str, Any]:
        """The configuration."""
        return self.config.model_dump(mode="json")


class HeteroLayer(nn.Module):
    """One step of message passing, with a residual per destination type.

    Args:
        relations: those it holds.
        width: width of a node's vector.
    """

    def __init__(self, relations: Sequence[Relation], width: int) -> None:
        super().__init__()
        sage = require("torch_geometric.nn", "graph").SAGEConv
        self.convs = _by_type({relation: sage((width, width), width) for relation in relations})
        self.norms = _by_type({to: nn.LayerNorm(width) for to in sorted({to for _, _, to in relations})})

    def forward(self, hidden: dict[str, Tensor], edges: dict[Relation, Tensor]) -> dict[str, Tensor]:
        """Node vectors ``(nodes, D)`` by type, to the same; a type that receives nothing stays as it is."""
        messages: dict[str, Tensor] = {}
        for relation, conv in self.convs.items():
            source, _, to = relation
            if relation in edges:
                message = conv((hidden[source], hidden[to]), edges[relation])
                messages[to] = messages[to] + message if to in messages else message
        return hidden | {to: hidden[to] + F.gelu(self.norms[to](message)) for to, message in messages.items()}


def describe_graph(data: HeteroData, target: str, **options: Any) -> dict[str, Any]:
    """The spec of a graph encoder for graphs like ``data``.

    Args:
        data: a graph with features ``x`` on every node type.
        target: node type to encode.
        options: further settings of :class:`HeteroConfig`.

    Returns:
        What :func:`accord.encoders.build_encoder` takes for modality ``"graph"``.

    Raises:
        ConfigError: a node type has no features.

    Example:
        >>> import torch
        >>> from torch_geometric.data import HeteroData
        >>> graph = HeteroData(paper={"x": torch.zeros(3, 4)})
        >>> graph["paper", "cites", "paper"].edge_index = torch.tensor([[0], [1]])
        >>> describe_graph(graph, "paper")["nodes"]
        {'paper': 4}
    """
    bare = [name for name in data.node_types if getattr(data[name], "x", None) is None]
    if bare:
        raise ConfigError(f"graph: node types without features x: {', '.join(bare)}; give each a matrix (nodes, D)")
    nodes = {name: int(data[name].x.shape[1]) for name in data.node_types}
    facts = {"nodes": nodes, "edges": list(data.edge_types), "target": target}
    config = HeteroConfig.parse({**facts, **options}, at="encoders.graph.options")
    return config.model_dump(mode="json")


def build_hetero(config: HeteroConfig, *, weights: Any = False, texts: Any = None) -> HeteroEncoder:
    """A graph network with random weights; see :func:`accord.encoders.build_encoder`."""
    return HeteroEncoder(config)


def _by_type(modules: Mapping[Any, nn.Module]) -> Any:
    """PyG's dict of modules, whose keys may hold dots or be called ``keys``, as torch's may not."""
    return require("torch_geometric.nn.module_dict", "graph").ModuleDict(modules)


def _check(config: HeteroConfig) -> None:
    named = {config.target} | {end for source, _, to in config.edges for end in (source, to)}
    unknown = sorted(named - set(config.nodes))
    if unknown:
        raise ConfigError(f"hetero: no node type {', '.join(unknown)}; there are: {', '.join(sorted(config.nodes))}")
    if not any(to == config.target for _, _, to in config.edges):
        raise ConfigError(f"hetero: no relation leads to target {config.target!r}; add its reverse to the graph")


def _plan(config: HeteroConfig) -> list[list[Relation]]:
    """The relations of each layer, from input to output: those whose result can still reach the target."""
    plan: list[list[Relation]] = []
    wanted = {config.target}
    for _ in range(config.depth):
        relations = [relation for relation in config.edges if relation[2] in wanted]
        plan.insert(0, relations)
        wanted |= {source for source, _, _ in relations}
    return plan
