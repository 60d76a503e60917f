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
from accord.training.artifact import Model
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


def crops(rows: int = 5) -> dict[str, Any]:
    """Two overlapping crops of each picture, some of them mirrored."""
    torch.manual_seed(1)
    boxes = torch.tensor([[[0.0, 0.0, 0.8, 0.8], [0.2, 0.1, 1.0, 0.9]]]).repeat(rows, 1, 1)
    flips = torch.tensor([[False, True], [False, False], [True, True], [True, False], [False, False]])[:rows]
    return {"image_views": list(torch.randn(2, rows, 3, 32, 32)), "view_boxes": boxes, "view_flips": flips}


def moved(method: Method) -> Method:
    """The same method with a teacher that differs from it."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in method.teacher.parameters():  # type: ignore[union-attr, operator]
            parameter += 0.1 * torch.randn_like(parameter)
    return method


def told_apart(method: Method) -> float:
    """Share of pictures whose nearest one has their colour; 0.25 by chance."""
    corpus = pictures()
    z = Model(method).embed_corpus(corpus, "image")
    torch.testing.assert_close(z.norm(dim=1), torch.ones(len(z)))
    nearest = (z @ z.T).fill_diagonal_(-2).argmax(dim=1).numpy()
    return float((corpus.labels[nearest] == corpus.labels).mean())
