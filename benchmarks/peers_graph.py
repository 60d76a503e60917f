"""MEOW and AdaMEOW against GRACE, the contrast of graphs that PyGCL's examples begin with; see :mod:`versus`.

PyGCL itself needs DGL, torch-scatter and torch-sparse, of which there are no builds for current torch; GRACE is written
here with PyG's parts as PyGCL's example puts them together: two graph convolutions, two views with a share of edges and
features dropped in every step, and InfoNCE with the other nodes of both views as negatives, N x N at once. It takes the
union of the graphs of the meta-paths, which has all edges that MEOW sees but knows nothing of their kinds.

    python benchmarks/peers_graph.py [--seeds 3]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch_geometric.nn import GCNConv
from torch_geometric.utils import dropout_edge
from versus import Contest, Side, main

from accord import config as settings
from accord.data.corpus import Corpus, open_corpus
from accord.data.splits import split
from accord.encoders import build_encoder
from accord.encoders.base import Encoder
from accord.encoders.metapath import describe_metapaths
from accord.evaluation.knn import knn_scores
from accord.methods.base import Batch, DataInfo, Method, Step
from accord.methods.graph.meow import AdaMeow, Meow
from accord.training.config import TrainingConfig

WIDTH, NEIGHBOURS, EPOCHS = 64, 50, 40
SHARED = {"neighbours": NEIGHBOURS, "dim": WIDTH, "temperature": 0.4}
MEOW = {**SHARED, "cluster_every": 5, "patience": 0}


class GraceConfig(settings.Config):
    """Settings of :class:`Grace`, as in PyGCL's example."""

    drop_edges: float = Field(0.3, ge=0, lt=1, description="share of the edges that a view lacks")
    drop_features: float = Field(0.3, ge=0, lt=1, description="share of the features that a view lacks")
    temperature: float = Field(0.4, gt=0, description="divides the cosines")


class Grace(Method):
    """GRACE (Zhu et al., 2020) on the graph that all meta-paths make together."""

    name: ClassVar[str] = "grace"
    Config: ClassVar[type[settings.Config]] = GraceConfig
    needs: Mapping[str, frozenset[str]] = {"graph": frozenset({"pooled", "metapaths"})}
    config: GraceConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.reader: Any = self.encoders["graph"].requires_grad_(False)  # only for features and best neighbours
        name = self.reader.config.target
        self.first, self.second = GCNConv(self.reader.config.nodes[name], WIDTH), GCNConv(WIDTH, WIDTH)
        self.activation = nn.PReLU()
        self.project = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ELU(), nn.Linear(WIDTH, WIDTH))

    def inputs(self, graph: Any) -> tuple[Tensor, Tensor]:
        """Dense features and the edges of all meta-paths."""
        seen = self.reader.read(graph)
        edges = seen.coarse.to_sparse_coo().coalesce().indices()
        return seen.features[self.reader.config.target].to_dense(), edges

    def encode(self, x: Tensor, edges: Tensor) -> Tensor:
        """Two graph convolutions."""
        return self.second(self.activation(self.first(x, edges)), edges)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Two views, InfoNCE between and within them, both ways."""
        x, edges = self.inputs(batch["graph"])
        views = []
        for _ in range(2):
            kept = torch.rand(x.shape[1]) >= self.config.drop_features
            views.append(self.encode(x * kept, dropout_edge(edges, p=self.config.drop_edges)[0]))
        one, other = (F.normalize(self.project(view), dim=1) for view in views)
        total = (self.contrast(one, other) + self.contrast(other, one)) / 2
        return {"total": total}

    def contrast(self, anchor: Tensor, other: Tensor) -> Tensor:
        """Cross-entropy of the own node among all of the other view and the rest of the own one."""
        logits = torch.cat([anchor @ other.T, (anchor @ anchor.T).fill_diagonal_(-torch.inf)], dim=1)
        return F.cross_entropy(logits / self.config.temperature, torch.arange(len(anchor)))

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The encoder's vectors, unit norm."""
        return {"graph": F.normalize(self.encode(*self.inputs(batch["graph"])), dim=1)[batch["node"]]}


class Packages:
    """Packages of Debian with tags, linked by maintainers and dependencies; tags themselves nearly name the section."""

    steps = 1

    def __init__(self, seed: int) -> None:
        self.seed = seed
        columns = {"graph": ["maintainer", "depends"]}
        self.corpus: Corpus = open_corpus("pack:archive_tagged", columns=columns, quiet=True)
        self.parts = split(self.corpus.groups(), self.corpus.labels, {"test": 0.2}, seed).rows

    def encoders(self) -> dict[str, Encoder]:
        """The encoder of meta-paths, with the seed's first weights."""
        torch.manual_seed(self.seed)
        spec = describe_metapaths(self.corpus.graph, self.corpus.target, width=WIDTH, neighbours=NEIGHBOURS)
        return {"graph": build_encoder("graph", spec, weights=False)}

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The whole graph, once."""
        yield {"graph": self.corpus.graph, "node": torch.arange(len(self.corpus))}

    @torch.no_grad()
    def score(self, method: Method) -> float:
        """k-NN accuracy of the sections of held-out packages, none of a source that votes."""
        z = method.eval().embed(next(self.batches(0)))["graph"]
        known, asked = (torch.from_numpy(self.parts[name]) for name in ("train", "test"))
        labels = np.asarray(self.corpus.labels)
        scores = knn_scores(z[known], labels[known], z[asked], num_classes=len(self.corpus.classes))
        return 100 * float((scores.argmax(dim=1).numpy() == labels[asked]).mean())


def method(kind: type[Method], config: Mapping[str, Any]) -> Callable[[Mapping[str, Encoder]], Method]:
    """Builds a method around given encoders."""
    return lambda encoders: kind(dict(config), encoders, DataInfo())


CONTESTS = (
    Contest(
        f"packages, 5,706 nodes, two meta-paths, k={NEIGHBOURS}",
        Packages,
        "k-NN, section of new sources, %",
        TrainingConfig(epochs=EPOCHS, lr=2e-3),
        (
            Side("meow", method(Meow, MEOW), ours=True),
            Side("adameow", method(AdaMeow, SHARED), ours=True),
            Side("GRACE, with PyG", method(Grace, {})),
            Side("GRACE, memory kept as by ours", method(Grace, {}), trained=False, keeps=True),
        ),
    ),
)

if __name__ == "__main__":
    main("peers_graph", CONTESTS, ("accord", "torch", "torch-geometric"), (__doc__ or "").partition("\n")[0])
