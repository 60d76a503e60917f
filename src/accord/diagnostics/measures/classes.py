"""``classes``: how far classes lie apart."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from accord.diagnostics.classes import class_diagnostics
from accord.diagnostics.finding import Diagnostic, Finding, Panel
from accord.diagnostics.gap import SAMPLE
from accord.diagnostics.measures import Measure, no_classes
from accord.diagnostics.panels import draw_classes
from accord.diagnostics.space import Space


def run(space: Space) -> Finding:
    """The numbers of each modality; the cosines within and between classes of each."""
    numbers: list[Diagnostic] = []
    panels: list[Panel] = []
    if space.classes is not None:
        drawn = np.random.default_rng(space.seed).permutation(space.classes.known)[:SAMPLE]
        for name, x in space.vectors.items():
            numbers += class_diagnostics(name, x, space.classes, space.groups)
            shown = partial(draw_classes, x=x[torch.from_numpy(drawn)], labels=space.classes.values[drawn], name=name)
            panels.append(shown)
    return Finding(numbers, tuple(panels))


MEASURE = Measure(
    "classes",
    says="variance between classes over that within, within-class variability of neural collapse, silhouette by class "
    "means, accuracy of the nearest class mean",
    draws="cosines of rows of one class and of different classes",
    needs="labels",
    order=40,
    lacks=no_classes,
    run=run,
)
