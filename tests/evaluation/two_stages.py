"""A model of numbered items whose second stage disagrees with its first."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accord.data.loading.features import Features
from accord.data.loading.tokens import TokenRows
from accord.functional import late_interaction
from accord.methods.abilities import Rescores


class TwoStages:
    """Texts and pictures by number: random tokens, and random vectors that know nothing of them."""

    modalities = ("image", "text")

    def __init__(self, rows: int, width: int = 6) -> None:
        generator = torch.Generator().manual_seed(0)
        self.rows: dict[str, Features] = {}
        for modality, longest in (("image", 4), ("text", 3)):
            tokens = torch.nn.functional.normalize(torch.randn(rows, longest, width, generator=generator), dim=2)
            mask = torch.arange(longest) <= torch.randint(longest, (rows, 1), generator=generator)
            pooled = torch.nn.functional.normalize(torch.randn(rows, width, generator=generator), dim=1)
            self.rows[modality] = Features(pooled, tokens.half().float(), mask)
        self.asked: list[tuple[int, int, str]] = []

    def can(self, kind: type) -> bool:
        return kind is Rescores

    def tokens(self, *, images: Any = None, texts: Any = None, audio: Any = None, video: Any = None) -> TokenRows:
        modality, items = ("text", texts) if images is None else ("image", images)
        return TokenRows.of([self.rows[modality].select(torch.tensor([int(item) for item in items]))])

    def tokens_corpus(self, corpus: Any, modality: str) -> TokenRows:
        return self.tokens(**{f"{modality}s": [texts[0] for texts in corpus.texts()]})

    def embed(self, **items: Any) -> Tensor:
        return self.tokens(**items).pooled

    def embed_corpus(self, corpus: Any, modality: str) -> Tensor:
        return self.tokens_corpus(corpus, modality).pooled

    def rescore(self, query: Features, candidates: Features, modality: str) -> Tensor:
        assert query.tokens is not None
        assert candidates.tokens is not None
        self.asked.append((len(query.tokens), len(candidates.tokens), modality))
        return late_interaction(query.tokens, candidates.tokens, query.mask, candidates.mask)
