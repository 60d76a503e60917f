"""What G2L and MMN make of scenes that a sentence is true of and that nobody annotated, on films they have not seen.

Films, network and settings are those of the claim.

python docs/pictures/g2l.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from numpy.typing import NDArray
from shared import of_claim, save, train_arm
from shared.films import CLIPS, OCCURRENCES, SpokenDigits, digit_films
from torch import Tensor

from accord.data.corpus import Corpus
from accord.functional import best_moments, geodesic_similarity, moment_iou_map, temporal_iou
from accord.methods.base import Batch
from accord.methods.video.grounding import asked_of, own_cosines
from accord.training.artifact import Model

CLAIM = of_claim("g2l")
OWN, OTHER, FOUND = "#0072b2", "#e69f00", "#d55e00"
NAMES = {OWN: "annotated", OTHER: "true as well", FOUND: "likeliest"}
SEED, MAP, LEVELS = 0, "Greys", Normalize(0, 1)
TITLES = ("G2L: near along the graph of moments", "MMN: cosine with the sentence", "G2L: cosine with the sentence")


@dataclass(frozen=True)
class Found:
    """A sentence of a film, the span where it is annotated, others where it is true, and what a model makes of it."""

    film: int
    text: str
    own: Tensor
    others: Tensor
    cosines: Tensor  # (P,) with all moments
    nearness: Tensor  # (P,) of all moments to the annotated one, along the graph
    answer: Tensor
    right: float  # overlap of the answer with the best true scene

    @property
    def scenes(self) -> list[tuple[list[float], str]]:
        """Where the sentence is true, in colours."""
        return [(self.own.tolist(), OWN), *((span, OTHER) for span in self.others.tolist())]


def main() -> None:
    """Train both, choose sentences, draw three maps of each."""
    train, test = digit_films(SEED, CLAIM.REPEATS)
    models = [train_arm(CLAIM, name, train, SEED, {"text": SpokenDigits()}) for name in (CLAIM.MMN, CLAIM.G2L)]
    for model in models:
        print({name: round(value, 2) for name, value in CLAIM.measure(model, train, test).items()})
    mmn, g2l = (found(model, test) for model in models)
    cells = models[0].method.get_buffer("cells")  # (P, 2)
    repeated = [(one, other) for one, other in zip(mmn, g2l, strict=True) if len(one.others)]
    maps = [moment_iou_map(one.others, CLIPS, float(CLIPS))[:, cells[:, 0], cells[:, 1] - 1] for _, one in repeated]
    reached = [one.nearness > 0 for _, one in repeated]
    near = np.mean([there[best_moments(iou)[:, 0]].float().mean() for there, iou in zip(reached, maps, strict=True)])
    every = torch.stack(reached).float().mean()
    print(f"{len(repeated)} sentences; the graph reaches {near:.2f} of their other scenes, {every:.2f} of all moments")
    chosen = [(one, other) for one, other in repeated if other.right >= 0.7 and one.right < 0.5]
    missed = sum(one.right >= 0.7 and other.right < 0.5 for one, other in repeated)
    print(f"{len(chosen)} that G2L alone finds, {missed} that MMN alone finds")
    print(save(draw(test, cells, chosen[:2]), "g2l"))


@torch.inference_mode()
def found(model: Model, test: Corpus) -> list[Found]:
    """All sentences, in order."""
    g2l: Any = model.method

    def read(batch: Batch) -> list[Found]:
        asked, moments = asked_of(batch, g2l.device), g2l.moments(batch)
        cosines = own_cosines(g2l.sentences(asked.texts).contrast, moments.contrast, asked.owner)
        source, cfg = best_moments(g2l.overlaps(asked, batch["duration"]))[:, 0], g2l.config
        near = geodesic_similarity(moments.contrast.mT, source, cfg.geo_k, cfg.geo_cutoff, owner=asked.owner)
        answers = torch.cat([answer.spans[:, 0] for answer in g2l.find_moments(batch, most=1)])
        films = batch["index"][asked.owner].tolist()
        scenes = [torch.tensor(spans) for film in batch["index"].tolist() for spans in test.rows[OCCURRENCES][film]]
        others = [spans[(spans != own).any(dim=1)] for spans, own in zip(scenes, asked.spans, strict=True)]
        right = [float(temporal_iou(*pair).max()) for pair in zip(answers[:, None], scenes, strict=True)]
        parts = zip(films, asked.texts, asked.spans, others, cosines, near, answers, right, strict=True)
        return [Found(*each) for each in parts]

    return [one for part in model.over_batches(test, read, targets=("moments",)) for one in part]


def draw(test: Corpus, cells: Tensor, chosen: list[tuple[Found, Found]]) -> Figure:
    """For each sentence its film, and below the graph of moments and the cosines of both models."""
    figure = plt.figure(figsize=(12, 3.55 * len(chosen)))
    for part, (mmn, g2l) in zip(figure.subfigures(len(chosen), 1, squeeze=False)[:, 0], chosen, strict=True):
        draw_film(part.add_axes((0.16, 0.785, 0.75, 0.175)), test, g2l)
        part.text(0.015, 0.93, f"“{g2l.text.split()[0]}”", fontsize=17, va="center")
        for line, (colour, name) in enumerate(NAMES.items()):
            part.text(0.016, 0.865 - 0.05 * line, name, color=colour, fontsize=10, va="center", weight="bold")
        for number, (title, one) in enumerate(zip(TITLES, (g2l, mmn, g2l), strict=True)):
            axis = part.add_axes((0.01 + 0.31 * number, 0.01, 0.29, 0.68))
            draw_moments(axis, cells, one.cosines if number else one.nearness, one, answered=number > 0)
            axis.set_title(title, fontsize=11.5)
        part.colorbar(ScalarMappable(LEVELS, MAP), cax=part.add_axes((0.94, 0.1, 0.011, 0.5)), label="similarity")
    return figure


def draw_film(axis: Axes, test: Corpus, one: Found) -> None:
    """The clips of a film as a strip, the scenes of which the sentence is true in frames."""
    for place, clip in enumerate(np.array(test.rows["sequence"][one.film])):
        axis.imshow(clip.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1.1, extent=(place, place + 1, 0, 1))
    for (start, end), colour in one.scenes:
        axis.add_patch(Rectangle((start, 0), end - start, 1, fill=False, edgecolor=colour, linewidth=3.5, zorder=3))
    axis.set(xlim=(-0.05, CLIPS + 0.05), ylim=(-0.05, 1.05), aspect="equal")
    axis.axis("off")


def draw_moments(axis: Axes, cells: Tensor, values: Tensor, one: Found, answered: bool) -> None:
    """A cell for each moment, above its middle and as high as it is long: true scenes framed, the answer marked."""
    every = [diamond(start, end) for start, end in cells.tolist()]
    axis.add_collection(
        PolyCollection(every, array=values.numpy(), cmap=MAP, norm=LEVELS, edgecolors="#d5d5d5", lw=0.4)
    )
    for (start, end), colour in one.scenes:
        axis.add_patch(Polygon(diamond(start, end), fill=False, edgecolor=colour, linewidth=2.5, zorder=3))
        axis.add_patch(Rectangle((start + 0.05, -1.15), end - start - 0.1, 0.4, color=colour))
    if answered:
        start, end = one.answer.tolist()
        axis.plot((start + end) / 2, (end - start - 1) / 2, "x", color=FOUND, markersize=9, mew=2.4, zorder=4)
        axis.add_patch(Rectangle((start + 0.05, -1.7), end - start - 0.1, 0.4, color=FOUND))
    axis.set(xlim=(-0.3, CLIPS + 0.3), ylim=(-1.8, 8.1), aspect="equal")
    axis.axis("off")


def diamond(start: float, end: float) -> NDArray[np.float64]:
    """The corners of the cell of a moment."""
    middle, height = (start + end) / 2, (end - start - 1) / 2
    return np.array([(middle - 0.5, height), (middle, height - 0.5), (middle + 0.5, height), (middle, height + 0.5)])


if __name__ == "__main__":
    main()
