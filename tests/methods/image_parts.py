"""Pictures of a few kinds, and a short training that can be killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from accord.data.columns import Columns
from accord.data.corpus import Corpus, corpus_from_items
from accord.encoders import build_encoder
from accord.encoders.base import Encoder
from accord.methods import DataInfo, Method, get_method
from accord.training.config import TrainingConfig
from accord.training.fit import fit

COLOURS = np.array([[220, 30, 30], [30, 30, 220], [30, 180, 30], [220, 220, 30]])
TRAINING = {"epochs": 3, "batch_size": 8, "lr": 5e-3, "checkpoint_every": 2, "log_every": 1, "accelerator": "cpu"}


class Killed(BaseException):
    """What a kill looks like from inside."""


def tiny(size: int = 32, width: int = 16) -> dict[str, Encoder]:
    torch.manual_seed(0)
    return {"image": build_encoder("image", {"name": "tiny_resnet", "size": size, "width": width})}


def pictures(rows: int = 24, side: int = 32) -> Corpus:
    """Noisy pictures of four colours, the kind being the label."""
    random = np.random.default_rng(0)
    kinds = random.integers(4, size=rows)
    pixels = COLOURS[kinds][:, None, None] + random.integers(-25, 25, (rows, side, side, 3))
    found = corpus_from_items("image", [Image.fromarray(each.clip(0, 255).astype(np.uint8)) for each in pixels])
    corpus = Corpus("pictures", found.rows, Columns(image="image"), np.arange(rows))
    return corpus.with_labels(kinds, truth=kinds, classes=("red", "blue", "green", "yellow"))


def built(name: str, encoders: dict[str, Encoder] | None = None, rows: int = 24, **settings: Any) -> Method:
    torch.manual_seed(0)
    return get_method(name)(settings, encoders or tiny(), DataInfo(rows=rows))


def trained(
    name: str,
    folder: Path,
    *,
    kill_at: int | None = None,
    resume: bool = False,
    training: dict[str, Any] | None = None,
    **settings: Any,
) -> Method:
    method = built(name, **settings)
    step, done = method.after_step, []

    def counted(where):
        step(where)
        done.append(where)
        if len(done) == kill_at:
            raise Killed

    method.after_step = counted  # type: ignore[method-assign]
    fit(
        method,
        pictures(),
        TrainingConfig.parse({**TRAINING, **(training or {})}),
        folder,
        resume=resume,
        progress=False,
    )
    return method
