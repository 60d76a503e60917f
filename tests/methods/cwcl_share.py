"""One process's share of a CWCL batch, with nothing to import that takes long: a process of its own runs it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from accord.encoders.base import Encoder, Features
from accord.methods import DataInfo, Step, get_method


class Features4(Encoder):
    """A linear layer on four numbers: light enough for a process of its own."""

    def __init__(self, modality: str) -> None:
        super().__init__()
        self.modality, self.dim, self.layer = modality, 4, nn.Linear(4, 4)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        return Features(self.layer(x))

    def blocks(self) -> list[nn.Module]:
        return [self.layer]


def share(rows: slice) -> list[Tensor]:
    """Loss terms and the gradients of what is trained, of some of the rows of one batch."""
    torch.manual_seed(0)
    encoders = {name: Features4(name) for name in ("image", "text")}
    encoders["image"].freeze("all")
    cwcl = get_method("cwcl")({"dim": 3, "kernel": "exp"}, encoders, DataInfo())
    image, text = torch.randn(2, 4, 4)
    terms = cwcl.loss({"image": image[rows], "text": text[rows]}, Step())
    terms["total"].backward()
    gradients = [parameter.grad for parameter in cwcl.parameters() if parameter.grad is not None]
    return [terms["total"].detach(), terms["kl"], terms["positives"], *gradients]


def half(rank: int) -> list[Tensor]:
    return share(slice(2 * rank, 2 * rank + 2))
