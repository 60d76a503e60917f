"""A small graph of two kinds of papers, and a training on it that can be killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_parts import Killed
from torch_geometric.data import HeteroData

from accord.data.corpus import Corpus, corpus_from_graph
from accord.encoders import build_encoder
from accord.encoders.metapath import describe_metapaths
from accord.methods import DataInfo, Method, get_method
from accord.training.config import TrainingConfig
from accord.training.fit import fit

PAPERS, AUTHORS = 60, 24


def papers() -> HeteroData:
    """Papers of two kinds; authors write of one kind nine times of ten, words tell the kinds apart a little."""
    random = np.random.default_rng(0)
    kind = np.arange(PAPERS) % 2
    own = np.arange(12) % 2 == kind[:, None]
    words = random.poisson(0.4, (PAPERS, 12)) + (random.random((PAPERS, 12)) < 0.3) * own
    pairs = [(paper, author) for paper in range(PAPERS) for author in random.integers(AUTHORS, size=6)]
    kept = [(p, a) for p, a in pairs if (a % 2 == kind[p]) == (random.random() < 0.9)]
    venue = [(paper, 2 * random.integers(3) + kind[paper]) for paper in range(PAPERS)]
    graph = HeteroData(
        paper={"x": torch.from_numpy(words).float().to_sparse(), "y": torch.from_numpy(kind)},
        author={"num_nodes": AUTHORS},
        venue={"num_nodes": 6},
    )
    graph["paper", "by", "author"].edge_index = torch.tensor(kept).T
    graph["paper", "at", "venue"].edge_index = torch.from_numpy(np.array(venue)).T
    return graph


def built(name: str, graph: HeteroData, *, encoder: dict[str, Any] | None = None, **settings: Any) -> Method:
    torch.manual_seed(0)
    kind = get_method(name)
    options = {**kind.default_encoders(kind.Config.parse(settings))["graph"]["options"], **(encoder or {})}
    tower = build_encoder("graph", describe_metapaths(graph, "paper", **options), weights=False)
    return kind(settings, {"graph": tower}, DataInfo(rows=PAPERS))


def corpus_of(graph: HeteroData) -> Corpus:
    return corpus_from_graph(graph, "paper", classes=("odd", "even"))


def trained(
    name: str,
    folder: Path,
    *,
    kill_at: int | None = None,
    resume: bool = False,
    training: dict[str, Any] | None = None,
    **settings: Any,
) -> Method:
    graph = papers()
    method = built(name, graph, **settings)
    step, done = method.after_step, []

    def counted(where):
        step(where)
        done.append(where)
        if len(done) == kill_at:
            raise Killed

    method.after_step = counted  # type: ignore[method-assign]
    config = {"epochs": 6, "lr": 5e-3, "checkpoint_every": 1, "log_every": 1, "accelerator": "cpu", **(training or {})}
    fit(method, corpus_of(graph), TrainingConfig.parse(config), folder, resume=resume, progress=False)
    return method
