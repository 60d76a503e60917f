"""FILIP in two processes whose captions have different lengths; a file of its own, since each process imports it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accord.encoders import build_encoder
from accord.methods import DataInfo, Method, Step, get_method

ROWS = 4
CHOICES = ("negatives", "positives", "ignored")
WORDS = ["a cup", "the green tree by the house", "one yellow star over the sea and the hills", "a cup"]


def small(duplicates: str) -> tuple[Method, dict[str, Any]]:
    """The method, the same in all processes, and the batch of all rows."""
    torch.manual_seed(0)
    image = build_encoder("image", {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2})
    text = build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=WORDS)
    filip = get_method("filip")({"dim": 8, "duplicates": duplicates}, {"image": image, "text": text}, DataInfo())
    ids, mask = text.input.tokenizer(WORDS)  # type: ignore[union-attr]
    return filip, {"image": torch.randn(ROWS, 3, 16, 16), "text": ids, "text_mask": mask}


def share_of(rank: int) -> dict[str, tuple[Tensor, dict[str, Tensor], int]]:
    """Of each choice for rows with the same caption, loss, gradients and length of the captions of a process with half
    of the rows, padded to its own longest."""
    found = {}
    for choice in CHOICES:
        filip, batch = small(choice)
        own = {name: value.chunk(2)[rank] for name, value in batch.items()}
        longest = int(own["text_mask"].sum(dim=1).max())
        own |= {name: own[name][:, :longest] for name in ("text", "text_mask")}
        total = filip.loss(own, Step())["total"]
        total.backward()
        gradients = {name: parameter.grad for name, parameter in filip.named_parameters() if parameter.grad is not None}
        found[choice] = total.detach(), gradients, longest
    return found
