"""MEOW and AdaMEOW: contrast on heterogeneous graphs with meta-path contexts (Yu et al., SDM 2023 and TKDE 2024).

A coarse view (all meta-paths averaged) meets a fine one (each meta-path by itself, with what lies along it, and a
perturbed copy). Negatives do not count alike: MEOW weighs a pair of nodes by the number of clusterings that part them,
AdaMEOW by a small network that learns with the loss. Pairs are made in blocks: no N x N matrix is ever held.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord import config as settings
from accord.encoders.base import Encoder
from accord.encoders.heads import PairWeightMLP
from accord.encoders.metapath import MetaPathEncoder, MetaPathGraph, as_csr
from accord.errors import ConfigError
from accord.functional import (
    adaptive_infonce,
    assign_to_nearest,
    class_means,
    cluster_negative_weights,
    concentration,
    effective_rank,
    kmeans,
    mask_edges,
    mask_features,
    normalize_adjacency,
    proto_nce,
    weighted_infonce,
)
from accord.methods.abilities import Embeds
from accord.methods.base import Batch, DataInfo, Method, Step

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

POINTS = 4000  # nodes per cluster that k-means looks at, at most
EPOCHS = 200  # steps, where the user says nothing: ten leave a network as it began
ROWS = 16  # nodes whose learned weights are averaged for the log


class ViewsConfig(settings.Config):
    """What both methods share: the views and how they are perturbed."""

    metapaths: list[list[str]] = Field(
        default_factory=list,
        description="lists of steps such as [paper, author, paper]; empty takes all that return after two steps",
    )
    neighbours: int | list[int] = Field(50, description="nodes that a meta-path keeps, for all or for each of them")
    contexts: bool = Field(True, description="the fine view sees what lies along the meta-paths")
    feature_mask: float = Field(0.2, ge=0, lt=1, description="share of the target's features that the copy lacks")
    edge_mask: float | list[float] = Field(
        0.2, description="share of the edges that the copy of each meta-path lacks, for all or for each of them"
    )
    dim: int = Field(64, ge=1, description="size of the embedding")
    dropout: float = Field(0.2, ge=0, lt=1, description="share dropped in the linear maps")
    original_inference: bool = Field(
        False, description="embed with dropout and the perturbed copy, as the released code does"
    )


class MeowConfig(ViewsConfig):
    """Settings of :class:`Meow`; defaults lie between those that the paper takes for its data sets."""

    temperature: float = Field(0.5, gt=0, description="divides the cosines; .4 weighs negatives sharply, .9 mildly")
    clusters: list[int] = Field(
        default_factory=list,
        description="clusters of each clustering that weighs negatives; empty takes a 40th and a 13th of the nodes",
    )
    cluster_every: int = Field(1, ge=1, description="epochs between clusterings; 5 to 10 gives nearly the same")
    weights: Literal["clusters", "uniform"] = Field(
        "clusters", description="uniform: plain InfoNCE with the positive in the denominator"
    )
    prototype_weight: float = Field(1.0, ge=0, description="weight of the prototype term")
    patience: int = Field(30, ge=0, description="epochs without a lower loss after which training ends; 0 for never")


class AdaMeowConfig(ViewsConfig):
    """Settings of :class:`AdaMeow`; defaults lie between those that the paper takes for its data sets."""

    temperature: float = Field(0.9, gt=0, description="divides the cosines")
    hidden: int = Field(16, ge=1, description="hidden units of the network that weighs pairs")
    normalize_weights: bool = Field(
        False, description="scale each node's weights to the mean 1, which gives the loss a lower bound"
    )


@dataclass(frozen=True)
class Perturbed:
    """The perturbed copy of a graph: features of the target, and a graph for each meta-path, normalised."""

    features: Tensor | None
    paths: tuple[Tensor, ...]


class TwoViews(Method, Embeds):
    """What MEOW and AdaMEOW share: both views of a graph, and the embedding."""

    needs: Mapping[str, frozenset[str]] = {"graph": frozenset({"pooled", "metapaths"})}
    training_only: ClassVar[tuple[str, ...]] = ("draw",)
    config: Any
    draw: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.project = nn.Linear(self.encoder.dim, self.encoder.dim)
        self.register_buffer("draw", torch.randint(2**31, ()))  # which perturbation, once and for all
        self.share = _each(self.config.edge_mask, len(self.encoder.paths))
        self._perturbed: tuple[MetaPathGraph, Perturbed] | None = None  # of the last graph

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """The meta-path encoder with the method's settings."""
        options = {
            "paths": config.metapaths,
            "neighbours": config.neighbours,
            "contexts": config.contexts,
            "width": config.dim,
            "dropout": config.dropout,
        }
        return {"graph": {"name": "metapath", "options": options}}

    @classmethod
    def default_training(cls, config: Any) -> Mapping[str, Any]:
        """An epoch is one step, so that it takes many; MEOW ends earlier by its patience."""
        return {"epochs": EPOCHS}

    @property
    def encoder(self) -> MetaPathEncoder:
        """The encoder of graphs."""
        return self.encoders["graph"]  # type: ignore[return-value]

    def both(self, graph: HeteroData) -> tuple[Tensor, Tensor]:
        """Unit-norm projections ``(N, D)`` of all target nodes: coarse and fine."""
        seen = self.encoder.read(graph)
        hidden = self.encoder.lifted(seen)
        target = hidden[self.encoder.config.target]
        coarse = self.encoder.coarse(seen, target)
        fine = self.fused(seen, hidden)
        return tuple(F.normalize(self.project(view).tanh(), dim=1) for view in (coarse, fine))  # type: ignore[return-value]

    def fused(self, seen: MetaPathGraph, hidden: Mapping[str, Tensor]) -> Tensor:
        """The fine views of the graph and of its perturbed copy, fused ``(N, D)``."""
        name = self.encoder.config.target
        copy = self.perturbed(seen)
        masked = self.encoder.lift_features(name, copy.features)
        plain = self.encoder.fine(seen, hidden[name], hidden)
        return self.encoder.attention([*plain, *self.encoder.fine(seen, masked, hidden, copy.paths)])[0]

    @torch.inference_mode(False)
    def perturbed(self, seen: MetaPathGraph) -> Perturbed:
        """The copy of a graph without some features and edges: the same whenever it is asked for."""
        if self._perturbed is None or self._perturbed[0] is not seen:
            generator = torch.Generator().manual_seed(int(self.draw))
            x = seen.features[self.encoder.config.target]
            masked = None if x is None else mask_features(x, self.config.feature_mask, generator)
            paths = [mask_edges(edges, share, generator) for edges, share in zip(seen.counts, self.share, strict=True)]
            copy = Perturbed(
                None if masked is None else as_csr(masked),
                tuple(as_csr(normalize_adjacency(path)).to(seen.coarse.device) for path in paths),
            )
            self._perturbed = seen, copy
        return self._perturbed[1]

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The fused fine view of the batch's nodes, before the projection, unit norm."""
        graph = batch["graph"]
        if self.config.original_inference:
            seen = self.encoder.read(graph)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(self.draw))
                self.encoder.train()
                z = self.fused(seen, self.encoder.lifted(seen))
                self.encoder.eval()
        else:
            z = self.encoder(graph).pooled
        return {"graph": F.normalize(z[batch["node"]].float(), dim=1)}


class Meow(TwoViews):
    """MEOW: negatives weighted by clusterings, and a prototype term.

    Batch keys: ``graph``, the whole ``HeteroData``, at every step; all its target nodes take part, as the method is
    transductive and needs no labels. ``node (B,)`` only for :meth:`embed`.

    Example:
        >>> from torch_geometric.data import HeteroData
        >>> from accord.encoders import build_encoder
        >>> from accord.encoders.metapath import describe_metapaths
        >>> graph = HeteroData(paper={"x": torch.eye(6)}, author={"num_nodes": 3})
        >>> by = torch.tensor([[0, 1, 2, 3, 4, 5, 0], [0, 0, 1, 1, 2, 2, 1]])
        >>> graph["paper", "by", "author"].edge_index = by
        >>> encoder = build_encoder("graph", describe_metapaths(graph, "paper", width=8))
        >>> meow = Meow({"clusters": [2, 3]}, {"graph": encoder}, DataInfo())
        >>> sorted(meow.loss({"graph": graph}, Step()))
        ['effective_rank', 'info', 'negatives', 'prototypes', 'total']
        >>> meow.eval().embed({"graph": graph, "node": torch.arange(2)})["graph"].shape
        torch.Size([2, 8])
    """

    name: ClassVar[str] = "meow"
    Config: ClassVar[type[settings.Config]] = MeowConfig
    training_only: ClassVar[tuple[str, ...]] = ("draw", "labels", "centroids", "best", "stale")
    labels: Tensor
    centroids: Tensor
    best: Tensor
    stale: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        nodes = self.encoder.config.size
        self.clusters = list(self.config.clusters) or [max(2, nodes // 40), max(2, nodes // 13)]
        if not 1 < min(self.clusters) <= max(self.clusters) <= nodes:
            raise ConfigError(f"method.clusters = {self.clusters}: expected 2 to {nodes}, the number of nodes")
        # Kept between clusterings, so that a resumed run goes on with them.
        self.register_buffer("labels", torch.full((len(self.clusters), nodes), -1))
        self.register_buffer("centroids", torch.zeros(sum(self.clusters), self.encoder.dim))
        self.register_buffer("best", torch.tensor(math.inf))
        self.register_buffer("stale", torch.zeros((), dtype=torch.int64))

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One epoch of the paper's algorithm."""
        cfg = self.config
        coarse, fine = self.both(batch["graph"])
        weighted = cfg.weights == "clusters"
        if (weighted or cfg.prototype_weight) and (step.epoch % cfg.cluster_every == 0 or bool(self.labels[0, 0] < 0)):
            self.cluster(fine.detach())
        info = weighted_infonce(
            coarse, fine, self._log_weight if weighted else None, cfg.temperature, include_positive=not weighted
        )
        terms = {"total": info, "info": info.detach()}
        if step.watched:
            terms["effective_rank"] = effective_rank(fine.detach())
        if weighted:
            terms["negatives"] = self._mean_weight()
        if cfg.prototype_weight:
            prototypes = self.prototype_loss(coarse, fine.detach())
            terms["total"] = info + cfg.prototype_weight * prototypes
            terms["prototypes"] = prototypes.detach()
        self._watch(terms["total"].detach())
        return terms

    @torch.no_grad()
    def cluster(self, fine: Tensor) -> None:
        """Cluster the fine view once for each number of clusters; centroids are the means of their members."""
        labels, centroids = [], []
        for number, clusters in enumerate(self.clusters):
            few = len(fine) <= POINTS * clusters
            rows = fine if few else fine[torch.randperm(len(fine), device=fine.device)[: POINTS * clusters]]
            found = kmeans(rows, clusters, n_iter=20, n_redo=5, inner_product=True, seed=number, start="random")[1]
            labels.append(assign_to_nearest(fine, found, inner_product=True)[0])
            mean, count = class_means(fine, labels[-1], clusters)
            centroids.append(torch.where(count[:, None] > 0, mean, found))
        self.labels.copy_(torch.stack(labels))
        self.centroids.copy_(torch.cat(centroids))

    def prototype_loss(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """The coarse view must find the cluster of its node, each with its own concentration; mean over clusterings."""
        losses = []
        for labels, centroids in zip(self.labels, self.centroids.split(self.clusters), strict=True):
            phi = concentration(fine, labels, centroids, self.config.temperature)
            term = proto_nce(coarse, labels, F.normalize(centroids, dim=1), phi)
            losses.append(term + math.log(len(fine) / len(centroids)))  # the constant of the paper's mean
        return torch.stack(losses).mean()

    @property
    def converged(self) -> bool:
        """Whether the loss has not fallen for ``patience`` epochs."""
        return bool(self.config.patience) and int(self.stale) >= self.config.patience

    def _watch(self, loss: Tensor) -> None:
        if self.training:
            fell = loss < self.best
            self.best = torch.where(fell, loss, self.best)
            self.stale = torch.where(fell, 0, self.stale + 1)

    def _log_weight(self, rows: slice, columns: slice) -> Tensor:
        """The logarithm ``(R, M)`` of the number of clusterings that part the nodes."""
        return cluster_negative_weights(list(self.labels), rows, columns).log()

    def _mean_weight(self) -> Tensor:
        """Mean weight of a pair: T less the chance that two nodes share a cluster."""
        shares = [torch.bincount(part).float() / len(part) for part in self.labels]
        return torch.stack([1 - share.square().sum() for share in shares]).sum()


class AdaMeow(TwoViews):
    """AdaMEOW: negatives weighted by a network of two layers that learns with the loss.

    Batch keys as for :class:`Meow`. The loss has no lower bound unless ``normalize_weights``, for pushing all weights
    to 0 lowers it: it does not say when to stop.

    Example:
        >>> from torch_geometric.data import HeteroData
        >>> from accord.encoders import build_encoder
        >>> from accord.encoders.metapath import describe_metapaths
        >>> graph = HeteroData(paper={"x": torch.eye(4)}, author={"num_nodes": 2})
        >>> graph["paper", "by", "author"].edge_index = torch.tensor([[0, 1, 2, 3], [0, 0, 1, 1]])
        >>> encoder = build_encoder("graph", describe_metapaths(graph, "paper", width=8))
        >>> sorted(AdaMeow({}, {"graph": encoder}, DataInfo()).loss({"graph": graph}, Step()))
        ['effective_rank', 'total', 'weight']
    """

    name: ClassVar[str] = "adameow"
    Config: ClassVar[type[settings.Config]] = AdaMeowConfig
    training_only: ClassVar[tuple[str, ...]] = ("draw", "weigh.")

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.weigh = PairWeightMLP(self.encoder.dim, self.config.hidden)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """One epoch of the paper's algorithm; the fine view is the anchor."""
        cfg = self.config
        coarse, fine = self.both(batch["graph"])
        parts = self.weigh.parts(fine, coarse)
        total = adaptive_infonce(fine, coarse, *parts, cfg.temperature, normalize=cfg.normalize_weights)
        terms = {"total": total}
        if step.watched:
            with torch.no_grad():
                terms["weight"] = self.weigh(fine[:ROWS], coarse).mean()
            terms["effective_rank"] = effective_rank(fine.detach())
        return terms


def _each(share: float | list[float], paths: int) -> tuple[float, ...]:
    each = [share] * paths if isinstance(share, int | float) else share
    if len(each) != paths or not all(0 <= value < 1 for value in each):
        raise ConfigError(f"method.edge_mask = {share}: expected a share in [0, 1), or one for each of {paths} paths")
    return tuple(each)
