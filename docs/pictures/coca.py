"""Captions that CoCa writes for scenes of digits that it has not seen, and what the picture tells it word by word.

python docs/pictures/coca.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, HPacker, TextArea, VPacker
from PIL import Image
from shared import save
from torch import Tensor

from accord.data.loader import eval_loader
from accord.functional import caption_nll
from accord.methods.image_text.coca import Coca
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig
from accord.training.artifact import Model
from accord.training.fit import fit

sys.path.append(str(Path(__file__).parents[2] / "claims" / "shared"))
from digits import PLACES, WORDS, Digits, split_digits, with_texts

RIGHT, WRONG, GREY, BLUE, ORANGE = "#2a7f3f", "#c0392b", "#444444", "#4c72b0", "#dd8452"
CELLS = {names[0]: cell for cell, names in enumerate(PLACES)}
TEXT = {"width": 64, "depth": 2, "heads": 4, "length": 24, "vocabulary": 400, "pool": "class"}
RUN: dict[str, Any] = {
    "data": {"source": "digit scenes"},
    "method": {"name": "coca", "dim": 64, "queries": 16},
    "encoders": {
        "image": {"name": "tiny_vit", "options": {"size": 16, "patch": 4, "width": 64, "depth": 2, "heads": 4}},
        "text": {"name": "tiny_text", "options": TEXT},
    },
    "training": {"epochs": 8, "batch_size": 32, "lr": 2e-3},
}


def main() -> None:
    """Train, caption eight scenes, and draw."""
    known, held_out = split_digits(0)
    random = np.random.default_rng(0)
    model = trained(known, random)
    pictures, labels = scenes(held_out, random, 64)
    captions = model.caption([Image.fromarray(picture) for picture in pictures[:8]])
    figure = plt.figure(figsize=(12, 6.4))
    grid, bars = figure.subfigures(1, 2, width_ratios=[1.9, 1])
    for axis, picture, truth, caption in zip(grid.subplots(2, 4).flat, pictures, labels, captions, strict=False):
        axis.imshow(picture, cmap="gray", interpolation="nearest")
        axis.set_axis_off()
        write_below(axis, coloured(caption, truth))
    grid.subplots_adjust(left=0.02, right=0.98, top=0.97, bottom=0.17, hspace=0.55, wspace=0.12)
    draw_words(bars.subplots(), model, pictures, describe(labels[0], random))
    bars.subplots_adjust(left=0.22, right=0.97, top=0.9, bottom=0.1)
    print(save(figure, "coca"))


def trained(digits: Digits, random: np.random.Generator) -> Model:
    """CoCa on four thousand scenes, eight times."""
    pictures, labels = scenes(digits, random, 4096)
    train = with_texts("digit scenes", pictures, [describe(row, random) for row in labels])
    config = RunConfig.parse(RUN)
    method = build_method(config, train)
    with TemporaryDirectory() as folder:
        fit(method, train, config.training, Path(folder))
    return Model(method)


def scenes(digits: Digits, random: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures ``(N, 16, 16)`` of four digits each, and the digits ``(N, 4)`` in them."""
    chosen = random.integers(len(digits.labels), size=(number, 4))
    cells = digits.pixels[chosen].reshape(number, 2, 2, 8, 8)
    return cells.transpose(0, 1, 3, 2, 4).reshape(number, 16, 16), digits.labels[chosen]


def describe(labels: np.ndarray, random: np.random.Generator) -> str:
    """A caption that names the digits of all cells, in any order."""
    return " and ".join(f"{PLACES[cell][0]} {WORDS[labels[cell]]}" for cell in random.permutation(4))


def coloured(caption: str, truth: np.ndarray) -> list[tuple[str, str]]:
    """The words of a caption, each place and its digit in the colour of right or wrong."""
    words = caption.split()
    colours = [GREY] * len(words)
    for number, word in enumerate(words[2:]):
        place = f"{words[number]} {words[number + 1]}"
        if word in WORDS and place in CELLS:
            right = truth[CELLS[place]] == WORDS.index(word)
            colours[number : number + 3] = [RIGHT if right else WRONG] * 3
    return list(zip(words, colours, strict=True))


def write_below(axis: Axes, words: list[tuple[str, str]]) -> None:
    """The words under a picture, broken into lines before each "and"."""
    lines: list[list[tuple[str, str]]] = [[]]
    for word, colour in words:
        if word == "and":
            lines.append([])
        lines[-1].append((word, colour))
    rows = [
        HPacker(children=[TextArea(word, textprops={"color": colour, "size": 10}) for word, colour in line], sep=3)
        for line in lines
        if line
    ]
    text = VPacker(children=rows, align="center", sep=1)
    axis.add_artist(
        AnnotationBbox(text, (0.5, -0.03), xycoords="axes fraction", box_alignment=(0.5, 1), frameon=False, pad=0)
    )


def draw_words(axis: Axes, model: Model, pictures: np.ndarray, caption: str) -> None:
    """How hard each word of the first picture's caption is with it, and on average with the other pictures."""
    nats = surprise(model, pictures, caption)  # (N, L)
    places = np.arange(nats.shape[1])
    axis.barh(places - 0.2, nats[0], 0.4, color=BLUE, label="its own picture")
    axis.barh(places + 0.2, nats[1:].mean(dim=0), 0.4, color=ORANGE, label="other pictures")
    axis.set_yticks(places, [*caption.split(), "(end)"])
    axis.invert_yaxis()
    axis.set_xlabel("surprise at the word, nats")
    axis.set_title("The first picture's caption, read with…", fontsize=11)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower right")


@torch.inference_mode()
def surprise(model: Model, pictures: np.ndarray, caption: str) -> Tensor:
    """Nats of each word ``(N, L)`` of one caption with each picture."""
    coca = model.method
    assert isinstance(coca, Coca)
    corpus = with_texts("scenes", pictures, [caption] * len(pictures))
    batch = next(iter(eval_loader(corpus, model.inputs)))
    tokens = [coca.tokenizer.decode([index]) for index in batch["text"][0].tolist()]
    assert tokens[1:-1] == caption.split(), "each word of the scenes is one token"
    return caption_nll(coca.logits(coca.read(batch), coca.look(batch)[0]), batch["text"], pad_id=-1)[:, :-1]


if __name__ == "__main__":
    main()
