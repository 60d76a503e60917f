"""TCL in two processes; a file of its own, since each process imports it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accord.encoders import build_encoder
from accord.methods import DataInfo, Step, get_method

ROWS = 4
WORDS = ["a red ball", "a blue cup", "the green tree", "one yellow star"]
SETTINGS = {
    "dim": 8,
    "queue_size": 12,
    "text_dropout": 0,
    "itm_weight": 0,
    "mlm_weight": 0,
    "lmi_weight": 0,
}  # what pairs all rows


def share_of(rank: int, settings: dict[str, Any], rows: int = ROWS // 2) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Loss, gradients and text queue of a process with ``rows`` of the rows, after a teacher that is not the model."""
    torch.manual_seed(0)
    image = build_encoder("image", {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2})
    text = {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2, "pool": "mean"}
    towers = {"image": image, "text": build_encoder("text", text, texts=WORDS)}
    tcl = get_method("tcl")({**SETTINGS, **settings}, towers, DataInfo(rows=120))
    with torch.no_grad():
        for parameter in tcl.momentum.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    ids, mask = towers["text"].input.tokenizer(WORDS)  # type: ignore[union-attr]
    own = slice(rank * rows, (rank + 1) * rows)
    views = [view[own] for view in torch.randn(2, ROWS, 3, 16, 16)]
    index = torch.tensor([0, 1, 0, 3])[own]  # two captions of one picture, in different processes
    batch = {"image": views[0], "image_views": views, "text": ids[own], "text_mask": mask[own], "index": index}
    total = tcl.loss(batch, Step(epoch=1))["total"]
    total.backward()
    gradients = {name: parameter.grad for name, parameter in tcl.named_parameters() if parameter.grad is not None}
    return total.detach(), gradients, tcl.queues["text"].features.clone()
