"""A picture of the gap: where two modalities lie, and the cosines of pairs beside those of other rows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Tensor

from accord.files import replacing

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

COLOURS = ("#4455cc", "#cc6633")
_ROWS = 2000  # of the histogram of other rows' cosines


def gap_figure(embeddings: Mapping[str, Tensor], path: Path) -> Path:
    """Draw the first two modalities: on their two main axes, and the cosines of pairs and of others.

    Args:
        embeddings: modality -> ``(N, D)`` unit norm, pairs in the same rows.
        path: PNG to write.

    Returns:
        ``path``.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), constrained_layout=True)
    draw_plane(left, embeddings)
    draw_cosines(right, embeddings)
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=120)
    plt.close(figure)
    return path


def draw_plane(axes: Axes, embeddings: Mapping[str, Tensor]) -> None:
    """Both modalities on the two main axes of all their points together."""
    sides = dict(islice(embeddings.items(), 2))
    points = torch.cat(list(sides.values())).float()
    centred = points - points.mean(dim=0)
    _, _, axis = torch.linalg.svd(centred, full_matrices=False)
    plane = np.split((centred @ axis[:2].T).numpy(), 2)
    for (name, _), at, colour in zip(sides.items(), plane, COLOURS, strict=True):
        axes.scatter(at[:, 0], at[:, 1], s=8, alpha=0.5, color=colour, label=name, linewidths=0)
    axes.set(xlabel="first main axis", ylabel="second main axis", aspect="equal")
    axes.legend(frameon=False, markerscale=2)


def draw_cosines(axes: Axes, embeddings: Mapping[str, Tensor]) -> None:
    """Histograms of the cosine of what belongs together and of what does not."""
    x, y = (rows[:_ROWS].float() for rows in islice(embeddings.values(), 2))
    cosines = x @ y.T
    others = cosines[~torch.eye(len(x), dtype=torch.bool)]
    bins = np.linspace(min(-0.2, float(cosines.min())), 1, 60).tolist()
    for name, values, colour in (("pairs", cosines.diagonal(), COLOURS[0]), ("other rows", others, "#999999")):
        axes.hist(values.numpy(), bins=bins, density=True, alpha=0.7, color=colour, label=name)
    axes.set(xlabel="cosine", yticks=[])
    axes.legend(frameon=False)
