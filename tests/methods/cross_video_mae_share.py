"""CrossVideoMAE in two processes with all that is off by default; a file of its own, since each process imports it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accord.encoders import build_encoder
from accord.methods import DataInfo, Method, Step, get_method
from accord.training.batch_norm import share_batch_norm

ROWS = 6
SMALL = {"size": 16, "patch": 4, "width": 16, "depth": 1, "heads": 2}
SETTINGS = {
    **{"video_ratio": 0.95, "image_ratio": 0.5, "stills": 4, "hidden": 16, "dim": 8, "predict_frames": 4},
    **{"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2, "distillation": 1.0, "normalise_prototypes": True},
}


def small(shared: bool = False) -> tuple[Method, dict[str, Any]]:
    """The method, the same in all processes, and the batch of all rows."""
    torch.manual_seed(0)
    towers = {name: build_encoder(name, {"name": f"{name}_mae", **SMALL}) for name in ("video", "image")}
    method = get_method("cross_video_mae")(SETTINGS, towers, DataInfo())
    if shared:
        share_batch_norm(method)
    return method, {"video_views": list(torch.randn(2, ROWS, 8, 3, 16, 16))}


def share_of(rank: int | None) -> dict[str, Tensor]:
    """Terms and gradients of a process with half of the rows; of one with all for None."""
    method, batch = small(shared=rank is not None)
    own = batch if rank is None else {name: [view.chunk(2)[rank] for view in batch[name]] for name in batch}
    terms = method.loss(own, Step(seed=3))
    terms["total"].backward()
    gradients = {name: one.grad for name, one in method.named_parameters() if one.grad is not None}
    return {**{name: value.detach() for name, value in terms.items()}, **gradients}
