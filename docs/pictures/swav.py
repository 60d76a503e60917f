"""What SwAV's prototypes stand for: the held-out emoji nearest to some of them, and k-NN accuracy while training.

python docs/pictures/swav.py
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from shared import EMOJI, save
from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.loader import eval_loader
from accord.data.recipe import prepare
from accord.methods.image.swav import Swav
from accord.pipeline.config import RunConfig
from accord.pipeline.run import fit_model
from accord.report.curves import read_curves
from accord.training.artifact import Model

PROTOTYPES, PICTURES = 8, 9
RUN: dict[str, Any] = {
    "data": EMOJI,
    "method": {
        "name": "swav",
        "dim": 64,
        "hidden": 256,
        "prototypes": 100,
        "temperature": 0.2,
        "sinkhorn_eps": 0.03,
        "freeze_prototypes": 24,
        "large_scale": [0.4, 1.0],
        "small_crops": 2,
        "small_scale": [0.2, 0.5],
        "small_size": 32,
    },
    "encoders": {"image": {"name": "tiny_resnet", "options": {"size": 64, "width": 64}}},
    "training": {"epochs": 12, "batch_size": 128, "lr": 1e-3, "probe_every": 1, "probe": ["knn"]},
}


def main() -> None:
    """Train, choose prototypes unlike each other, draw a row for each and the curve beside."""
    config = RunConfig.parse(RUN)
    prepared = prepare(config.data, quiet=True)
    with TemporaryDirectory() as folder:
        model, _ = fit_model(config, prepared, Path(folder))
        curves = read_curves(Path(folder) / "train.jsonl")
    print({name: points[-1] for name, points in curves.items()})
    torch.save((model.method, curves), "/tmp/exp/swav.pt")


if __name__ == "__main__":
    main()
