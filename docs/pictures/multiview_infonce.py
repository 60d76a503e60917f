"""How many dimensions each loss over several views fills: spectra of digits held out, and the rank while training.

python docs/pictures/multiview_infonce.py
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from shared import save
from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.loading.loader import eval_loader
from accord.functional import effective_rank
from accord.methods.multimodal.multiview import MultiView
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig, merged
from accord.report.curves import read_curves
from accord.training.artifact import Model
from accord.training.fit import fit

sys.path.append(str(Path(__file__).parents[2] / "claims" / "shared"))
from digits import labelled_digits

DIM = 32
OBJECTIVES = {
    "nt_xent": ("NT-Xent over pairs", "#4c72b0"),
    "mv_infonce": ("MV-InfoNCE", "#dd8452"),
    "mv_dhel": ("MV-DHEL", "#2a7f3f"),
}
VIEWS = {2: "--", 4: "-"}
RUN: dict[str, Any] = {
    "data": {"source": "digits"},
    "method": {
        "name": "multiview_infonce",
        "dim": DIM,
        "temperature": 0.2,
        "crop_scale": [0.5, 1.0],
        "flip": 0.0,
        "blur": 0.2,
    },
    "encoders": {"image": {"name": "tiny_resnet", "options": {"size": 16, "width": 64}}},
    "training": {"epochs": 25, "batch_size": 128, "lr": 1e-3},
}


@dataclass(frozen=True)
class Learnt:
    """What came out: spectrum ``(D,)`` and effective rank on held-out digits, and logged (alignment, uniformity)."""

    spectrum: np.ndarray
    rank: float
    path: np.ndarray


def main() -> None:
    """Train each loss with two and with four views, and draw."""
    train, test = labelled_digits(0)
    found = {(name, views): learnt(name, views, train, test) for name in OBJECTIVES for views in VIEWS}
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    draw_spectra(left, found)
    draw_paths(right, found)
    figure.get_layout_engine().set(wspace=0.04)  # type: ignore[union-attr]
    for axis in (left, right):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    print(save(figure, "multiview_infonce"))


def learnt(objective: str, views: int, train: Corpus, test: Corpus) -> Learnt:
    """One loss, from scratch."""
    config = RunConfig.parse(merged(RUN, {"method.objective": objective, "method.views": views}))
    method = build_method(config, train)
    with TemporaryDirectory() as folder:
        fit(method, train, config.training, Path(folder), progress=False)
        curves = read_curves(next(Path(folder).rglob("train.jsonl")))
    path = np.array([[value for _, value in curves[f"train/{term}"]] for term in ("alignment", "uniformity")])
    rows = projections(Model(method), test)
    singular = torch.linalg.svdvals(rows)
    return Learnt((singular / singular[0]).numpy(), float(effective_rank(rows)), path)


@torch.inference_mode()
def projections(model: Model, corpus: Corpus) -> Tensor:
    """Unit-norm projections ``(N, D)``, what the losses compare."""
    method = model.method
    assert isinstance(method, MultiView)
    head = method.heads["image"]
    batches = eval_loader(corpus, model.inputs, batch_size=128, modalities=("image",))
    rows = torch.cat([head(method.encoders["image"](batch["image"]).pooled) for batch in batches])
    return torch.nn.functional.normalize(rows, dim=1)


def draw_spectra(axis: Axes, found: dict[tuple[str, int], Learnt]) -> None:
    """Singular values in falling order, of the largest, and what they come to as a rank."""
    for (name, views), one in found.items():
        label, colour = OBJECTIVES[name]
        text = f"{label}, {views} views: rank {one.rank:.1f}"
        axis.plot(np.arange(1, DIM + 1), one.spectrum, VIEWS[views], color=colour, linewidth=2, label=text)
    axis.set_yscale("log")
    axis.set_yticks([0.03, 0.1, 0.3, 1], ["0.03", "0.1", "0.3", "1"])
    axis.set(xlabel="dimension", ylabel="singular value, of the largest", xlim=(1, DIM), ylim=(0.02, 1.05))
    axis.set_title(f"projections of held-out digits, effective rank of {DIM}")
    axis.legend(frameon=False, loc="lower left")


def draw_paths(axis: Axes, found: dict[tuple[str, int], Learnt]) -> None:
    """Alignment and uniformity as training logged them."""
    for (name, views), one in found.items():
        axis.plot(*one.path, VIEWS[views], color=OBJECTIVES[name][1], linewidth=1.4)
        axis.plot(*one.path[:, -1], "o", color=OBJECTIVES[name][1], markersize=8)
    axis.set(xlabel="alignment: squared distance of two views", ylabel="uniformity: the lower, the more spread out")
    axis.set_title("while training; a dot is the end")


if __name__ == "__main__":
    main()
