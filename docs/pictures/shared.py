"""What the scripts that draw the pictures of the documentation share: a small trained model, and where pictures go."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib
import torch

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from accord.data.corpus import Corpus
from accord.data.recipe import Prepared, prepare
from accord.encoders import build_encoder
from accord.encoders.base import Encoder
from accord.functional import warmup_cosine_at
from accord.methods import get_method
from accord.methods.base import Batch, Method, Step
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig, merged
from accord.pipeline.run import fit_model
from accord.training.artifact import Model
from accord.training.fit import fit

LARGE = 250_000  # bytes
IMAGES = Path(__file__).parents[1] / "methods" / "img"
CLAIMS = Path(__file__).parents[2] / "claims"
__path__ = [str(CLAIMS / "shared")]  # a claim finds there what it imports as shared.NAME
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


def of_claim(slug: str) -> Any:
    """The module of a claim, for its data and what it trains."""
    spec = spec_from_file_location(f"claim_{slug}", CLAIMS / f"{slug}.py")
    assert spec is not None  # it ends in .py
    assert spec.loader is not None
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def train_rows(run: Mapping[str, Any], train: Corpus, given: Mapping[str, Encoder] | None = None) -> Model:
    """A model by the settings of a run, trained on these rows, with the encoders that are given as they are."""
    config = RunConfig.parse(run)
    method = build_method(config, train, given)
    with TemporaryDirectory() as folder:
        fit(method, train, config.training, Path(folder), progress=False)
    return Model(method)


def train_arm(
    claim: Any, arm: str, train: Corpus, seed: int = 0, encoders: Mapping[str, Encoder] | None = None
) -> Model:
    """A model of an arm of a claim that changes a common run.

    Args:
        claim: the module of the claim.
        arm: its name.
        train: its training rows.
        seed: of its training.
        encoders: those that no settings make.
    """
    changes = {**claim.CLAIM.arms[arm].changes, "data": {"source": train.name}, "training.seed": seed}
    return train_rows(merged(claim.CLAIM.run, changes), train, encoders)


def clip_classifier(claim: Any, method: str, tower: Mapping[str, Any], **settings: Any) -> Method:
    """A classifier of clips over one of the towers that the claim on ILA compares, at random start."""
    text = build_encoder("text", {"name": "tiny_text", "width": 32, "depth": 1, "heads": 2}, texts=claim.ACTIONS)
    encoders = {"text": text, "video": build_encoder("video", {**claim.SIZES, **tower}, weights=False, freeze="none")}
    return get_method(method)({**claim.UNMIXED, **settings}, encoders, claim.DATA)


def train_steps(method: Method, batches: Iterator[Batch], steps: int, lr: float) -> Method:
    """Train in place by AdamW on as many batches, and return the method, ready for use."""
    moved = [parameter for parameter in method.train().parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(moved, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)
    for index in range(steps):
        step = Step(index=index, total=steps)
        optimiser.param_groups[0]["lr"] = warmup_cosine_at(index, steps // 6, steps, base=lr)
        optimiser.zero_grad()
        method.loss(next(batches), step)["total"].backward()
        optimiser.step()
        method.after_step(step)
    return method.eval()


def save(figure: Figure, name: str) -> Path:
    """Write ``docs/methods/img/NAME.png``, 1200 pixels wide; in 256 colours where it would be large."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    path = IMAGES / f"{name}.png"
    figure.savefig(path, dpi=1200 / figure.get_figwidth(), facecolor="white")
    plt.close(figure)
    if path.stat().st_size > LARGE:
        Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)
    return path
