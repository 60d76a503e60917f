"""One process's share of a batch of PC² that borrows captions, with nothing to import that takes long."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from accord.data.inputs import ImageInput
from accord.encoders.base import Encoder, Features
from accord.methods import DataInfo, Step, get_method

SMALL = {"dim": 6, "sim_dim": 5, "classes": 4, "hidden": 8, "captions_epoch": 0}
BORROWS = Step("divided", index=2, total=8, epochs=2, optimiser="first")


class Numbers(Encoder):
    """A linear layer on rows of four numbers: light enough for a process of its own."""

    gives = frozenset({"pooled", "tokens"})

    def __init__(self, modality: str) -> None:
        super().__init__()
        self.modality, self.dim, self.layer = modality, 4, nn.Linear(4, 4)
        self.input = ImageInput(size=4)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        tokens = self.layer(x[:, 0] if x.ndim == 4 else x)  # pictures of 4×4 have four tokens
        return Features(tokens.mean(dim=1), tokens, mask)

    def blocks(self) -> list[nn.Module]:
        return [self.layer]


def small(rows: int = 8, **settings: Any) -> Any:
    """PC² on :class:`Numbers`, always with the same weights."""
    torch.manual_seed(0)
    encoders = {name: Numbers(name) for name in ("image", "text")}
    return get_method("pc2")({**SMALL, **settings}, encoders, DataInfo(rows=rows))


def batch(rows: int = 8) -> dict[str, Tensor]:
    """Pictures of four tokens and captions of three to five."""
    torch.manual_seed(1)
    mask = torch.arange(5) < torch.randint(3, 6, (rows, 1))
    text = torch.randn(rows, 5, 4)
    return {"image": torch.randn(rows, 3, 4, 4), "text": text, "text_mask": mask, "index": torch.arange(rows)}


def share(rows: slice, **settings: Any) -> dict[str, Tensor]:
    """Loss terms, the gradients, and the bank, of some of the rows of one batch that borrows."""
    from accord.training.batch_norm import share_batch_norm

    pc2 = small(**settings)
    share_batch_norm(pc2)
    with patch("torch.nn.functional.dropout", lambda x, *_, **__: x):
        terms = pc2.loss({name: value[rows] for name, value in batch().items()}, BORROWS)
    terms["total"].backward()
    found = {name: p.grad for name, p in pc2.named_parameters() if p.grad is not None}
    return {**found, "total": terms["total"].detach(), "fit": terms["fit"], "bank": pc2.banks[0].features}


def half(rank: int, settings: dict[str, Any]) -> dict[str, Tensor]:
    """The share of one of two processes."""
    return share(slice(4 * rank, 4 * rank + 4), **settings)
