"""A made graph of papers, authors and subjects in which links say more about a paper's class than its words do.

Who wrote a paper and what it is filed under are drawn around its class. Of its words some are likelier in a class, the
others are the same everywhere: a network that keeps all of them as they are, as an untrained one does, keeps mostly
noise. What the making knows is the ceiling, words alone and links at random are the settings beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import HeteroData

from accord.data.corpus import Corpus, corpus_from_graph

CLASSES = ("algebra", "biology", "chemistry", "drama", "economics", "folklore")
PAPERS, AUTHORS, SUBJECTS, WORDS, TOPICAL = 900, 120, 24, 2000, 300  # of the words so many belong to a class
WRITTEN, FILED, LENGTH = 3, 2, 20  # authors, subjects and words of a paper
OWN = {"author": 0.75, "subject": 0.65}  # share of links that lead to the class's own; the others lead anywhere
SHARE, LIFT = 0.6, 3.0  # of a paper's words, how many belong to classes; and how much likelier a class's own are in it


@dataclass(frozen=True)
class Made:
    """What was drawn.

    Args:
        labels: ``(N,)`` class of each paper.
        words: ``(N, WORDS)`` counts.
        links: type -> ``(N, count)`` counts of links to each node of that type.
        likely: ``(N, C)`` log-probability of each class given words and links, by the probabilities that were used.
    """

    labels: NDArray[np.int64]
    words: NDArray[np.int64]
    links: dict[str, NDArray[np.int64]]
    likely: NDArray[np.float64]


def made(seed: int, linked: bool = True) -> Made:
    """Draw papers; not ``linked``, they have as many links, which lead anywhere."""
    random, count = np.random.default_rng(seed), len(CLASSES)
    labels = random.permutation(np.arange(PAPERS) % count)
    common = np.full((count, WORDS - TOPICAL), (1 - SHARE) / (WORDS - TOPICAL))
    chances = np.hstack([SHARE * _chances(TOPICAL, LIFT / (LIFT + count - 1)), common])
    words = np.stack([random.multinomial(LENGTH, chances[label]) for label in labels])
    likely, links = words @ np.log(chances).T, {}
    for kind, number, degree in (("author", AUTHORS, WRITTEN), ("subject", SUBJECTS, FILED)):
        chances = _chances(number, OWN[kind] + (1 - OWN[kind]) / count if linked else 1 / count)
        links[kind] = np.stack([random.multinomial(degree, chances[label]) for label in labels])
        likely = likely + links[kind] @ np.log(chances).T
    return Made(labels, words, links, likely)


def papers(seed: int, linked: bool = True) -> tuple[Corpus, Corpus]:
    """The papers as a graph; one half gives labels, the other is scored."""
    drawn = made(seed, linked)
    words, labels = torch.from_numpy(drawn.words), torch.from_numpy(drawn.labels)
    graph = HeteroData(paper={"x": words.float().to_sparse(), "y": labels})
    for kind, counts in drawn.links.items():
        graph[kind].num_nodes = counts.shape[1]
        graph["paper", "to", kind].edge_index = torch.from_numpy(np.stack(np.nonzero(counts)))
    corpus = corpus_from_graph(graph, "paper", classes=CLASSES)
    order = np.random.default_rng(seed).permutation(PAPERS)
    return corpus.select(np.sort(order[: PAPERS // 2])), corpus.select(np.sort(order[PAPERS // 2 :]))


unlinked = partial(papers, linked=False)


class Vectors:
    """An embedder of rows whose vectors are known.

    Args:
        rows: ``(N, D)``, one vector of each paper.
    """

    modalities = ("graph",)

    def __init__(self, rows: Tensor) -> None:
        self.rows = torch.nn.functional.normalize(rows.float(), dim=1)

    def embed_corpus(self, corpus: Corpus, modality: str) -> Tensor:
        """The vectors of the corpus's rows."""
        return self.rows[torch.from_numpy(corpus.ids)]


def _chances(count: int, own: float) -> NDArray[np.float64]:
    """``(C, count)`` chances of each thing in each class; things are shared out, and a class prefers its own."""
    mine = np.arange(count) % len(CLASSES) == np.arange(len(CLASSES))[:, None]
    each = count / len(CLASSES)
    return np.where(mine, own / each, (1 - own) / (count - each))
