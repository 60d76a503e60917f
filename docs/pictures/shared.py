"""What the scripts that draw the pictures of the documentation share: a small trained model, and where pictures go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from accord.data.recipe import Prepared, prepare
from accord.pipeline.config import RunConfig, merged
from accord.pipeline.run import fit_model
from accord.training.artifact import Model

LARGE = 250_000  # bytes
IMAGES = Path(__file__).parents[1] / "methods" / "img"
EMOJI = {"source": "pack:emoji", "columns": {"text": ["name"], "group": "concept"}, "split": {"test": 0.2}}


def train_emoji(method: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> tuple[Model, Prepared]:
    """A model of emoji and their names, twenty epochs on seed 0, and the rows it was trained and tested on.

    Args:
        method: name and settings.
        changes: dotted settings of the run, such as ``{"training.epochs": 5}``.
    """
    run: dict[str, Any] = {
        "data": EMOJI,
        "method": dict(method),
        "training": {"epochs": 20, "batch_size": 128, "lr": 1e-3},
    }
    config = RunConfig.parse(merged(run, changes or {}))
    prepared = prepare(config.data, quiet=True)
    with TemporaryDirectory() as folder:
        model, _ = fit_model(config, prepared, Path(folder))
    return model, prepared


def save(figure: Figure, name: str) -> Path:
    """Write ``docs/methods/img/NAME.png``, 1200 pixels wide; in 256 colours where it would be large."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    path = IMAGES / f"{name}.png"
    figure.savefig(path, dpi=1200 / figure.get_figwidth(), facecolor="white")
    plt.close(figure)
    if path.stat().st_size > LARGE:
        Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
    return path
