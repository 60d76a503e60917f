"""What the volume of a stamp's caption, picture and speech looks like, and the rows that GRAM finds by captions.

The pack must be there (``accord data get stamps``), and ``pip install accord[speech]``.

python docs/pictures/gram.py
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from mpl_toolkits.mplot3d import Axes3D
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from PIL import Image, ImageOps
from shared import save
from torch import Tensor

from accord.functional import gram_matrix, tuple_volume, volume

sys.path.insert(0, str(Path(__file__).parents[2] / "claims"))
del sys.modules["shared"]  # the claims have a package of the same name

from shared.triples import split_stamps, stamp_features, stamps  # noqa: E402
from shared.volumes import RECIPES, Data, trained  # noqa: E402

SEED, TEMPERATURE, SHOWN = 0, 0.4, 6
REACH = 0.87  # half of the space that is shown around a body
ASKED = ("A red apple.", "A Magellanic penguin.", "A fort.", "A pig.")
EXAMPLE = "A container truck."
NAMES = {"text": "caption", "image": "picture", "audio": "speech"}
COLOURS = {"text": "#4c72b0", "image": "#dd8452", "audio": "#8172b3"}
RIGHT, GREY = "#2a7f3f", "#555555"


@dataclass(frozen=True)
class Stamp:
    """One row, for people: its picture, its caption, and what is said."""

    picture: Image.Image
    caption: str
    said: str


def main() -> None:
    """Train, draw volumes on the left and what is found on the right."""
    z, rows = embedded()
    scores = volume(z["text"], z["image"], z["audio"])  # (N, N)
    figure = plt.figure(figsize=(12, 7.4))
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.75])
    captions = [row.caption for row in rows]
    example = captions.index(EXAMPLE)
    draw_bodies(left, z, rows, example, int(scores[example].argmax()))
    draw_found(right, scores, rows, [captions.index(caption) for caption in ASKED])
    own = scores.argsort(dim=1)[:, :5] == torch.arange(len(scores))[:, None]
    shares = [100 * float(own[:, :k].any(dim=1).float().mean()) for k in (1, 5)]
    print(f"{len(scores)} captions: the own row first {shares[0]:.0f} %, among the first five {shares[1]:.0f} %")
    print(save(figure, "gram"))


def embedded() -> tuple[dict[str, Tensor], list[Stamp]]:
    """Stamps that training has not seen: their embeddings, and themselves."""
    train, test = stamp_features(SEED)
    method = trained(SEED, Data(stamp_features, hidden=256, dim=64), train, RECIPES["GRAM"], TEMPERATURE)
    with torch.inference_mode():
        z = method.eval().embed(test)
    corpus = stamps().select(split_stamps(SEED)[1].numpy())
    pictures = [corpus.sample(place, fields=("image",))["image"] for place in range(len(corpus))]
    texts = zip(corpus.rows["caption"], corpus.rows["caption_fr"], strict=True)
    return z, [Stamp(picture, *text) for picture, text in zip(pictures, texts, strict=True)]


def draw_bodies(figure: SubFigure, z: Mapping[str, Tensor], rows: list[Stamp], own: int, other: int) -> None:
    """The body of a row with its own picture and with another one, and the volumes of all rows."""
    for name, words, height in (("text", rows[own].caption, 0.983), ("audio", rows[own].said, 0.953)):
        figure.text(0.03, height, f"{NAMES[name]} “{words}”", color=COLOURS[name], va="top", fontsize=9.5)
    for picture, left in ((own, 0.01), (other, 0.51)):
        vectors = {"text": z["text"][own], "audio": z["audio"][own], "image": z["image"][picture]}  # the last one up
        draw_body(figure.add_axes((left, 0.43, 0.485, 0.38), projection="3d"), vectors)
        thumb = figure.add_axes((left + 0.14, 0.78, 0.2, 0.13))
        thumb.imshow(framed(rows[picture].picture))
        thumb.set_axis_off()
        size = float(tuple_volume(*(vector[None] for vector in vectors.values())))
        figure.text(left + 0.24, 0.43, f"volume {size:.2f}", ha="center", fontsize=11)
    draw_volumes(figure.add_axes((0.12, 0.085, 0.84, 0.27)), z)


def draw_body(axes: Axes3D, vectors: Mapping[str, Tensor]) -> None:
    """Three unit vectors at the angles that they have, and the body that they span."""
    edges = torch.linalg.cholesky(gram_matrix(*(x[None] for x in vectors.values()))[0].double()).numpy()
    faces = []
    for one, another in combinations(range(3), 2):
        face = np.stack([0 * edges[one], edges[one], edges[one] + edges[another], edges[another]])
        faces += [face, face + edges[3 - one - another]]
    axes.add_collection3d(Poly3DCollection(faces, facecolor=(0.6, 0.6, 0.6, 0.12), edgecolor="#aaaaaa", linewidth=0.7))
    for name, edge in zip(vectors, edges, strict=True):
        axes.quiver(0, 0, 0, *edge, color=COLOURS[name], linewidth=2.4, arrow_length_ratio=0.1)
        axes.text(*(1.25 * edge), NAMES[name], color=COLOURS[name], fontsize=9, ha="center", va="center")
    corners = np.concatenate(faces)
    middle = (corners.max(axis=0) + corners.min(axis=0)) / 2
    axes.set(**{f"{axis}lim": (at - REACH, at + REACH) for axis, at in zip("xyz", middle, strict=True)})
    axes.set_box_aspect((1, 1, 1), zoom=1.35)
    axes.view_init(elev=18, azim=-58)
    axes.set_axis_off()


def draw_volumes(axes: Axes, z: Mapping[str, Tensor]) -> None:
    """How large the volumes are of rows, and of rows with one member of the next one."""
    bins = np.linspace(0, 1, 26)
    mixes = {"rows as they are": None, "with another speech": "audio", "with another picture": "image"}
    for (label, mixed), colour in zip(mixes.items(), (RIGHT, COLOURS["audio"], COLOURS["image"]), strict=True):
        members = [vectors.roll(1, dims=0) if name == mixed else vectors for name, vectors in z.items()]
        axes.hist(tuple_volume(*members), bins, histtype="step", linewidth=1.8, color=colour, label=label)
    axes.set_xlabel("volume")
    axes.set_ylabel("rows")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", fontsize=9)


def draw_found(figure: SubFigure, scores: Tensor, rows: list[Stamp], asked: list[int]) -> None:
    """For each caption the rows of smallest volume with it."""
    grid = figure.subplots(len(asked), SHOWN)
    for line, query in zip(grid, asked, strict=True):
        for axes, item in zip(line, scores[query].argsort().tolist(), strict=False):
            axes.imshow(framed(rows[item].picture))
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(color=RIGHT if item == query else "#cccccc", linewidth=3.5 if item == query else 0.8)
            said = fill(f"“{rows[item].said}”", 17, max_lines=2, placeholder=" …”")
            axes.set_xlabel(said, fontsize=8, color=GREY, labelpad=3)
            axes.set_title(f"{float(scores[query, item]):.2f}", fontsize=9, pad=3)
        line[0].text(0, 1.24, f"“{rows[query].caption}”", transform=line[0].transAxes, fontsize=11)
    figure.subplots_adjust(left=0.02, right=0.99, top=0.93, bottom=0.07, hspace=0.75, wspace=0.12)


def framed(picture: Image.Image) -> Image.Image:
    """The picture, as large as it fits, in the middle of a white square."""
    return ImageOps.pad(picture, (192, 192), color="white")


if __name__ == "__main__":
    main()
