"""Captions that CoCa writes for digits that it has not seen, and what the picture tells it word by word.

python docs/pictures/coca.py
"""

from __future__ import annotations

import math
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

from accord.data.loading.loader import eval_loader
from accord.functional import caption_nll
from accord.methods.image_text.coca import Coca
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig
from accord.training.artifact import Model
from accord.training.fit import fit

sys.path.append(str(Path(__file__).parents[2] / "claims" / "shared"))
from digits import PLACES, WORDS, Digits, split_digits, with_texts

RIGHT, WRONG, GREY, BLUE, ORANGE = "#2a7f3f", "#c0392b", "#444444", "#4c72b0", "#dd8452"
CELLS = [names[0] for names in PLACES]
COLOURS = {
    "white": (255, 255, 255),
    "red": (230, 60, 50),
    "green": (60, 190, 80),
    "blue": (80, 130, 255),
    "yellow": (245, 215, 60),
    "pink": (255, 120, 200),
}
TEXT = {"width": 64, "depth": 2, "heads": 4, "length": 24, "vocabulary": 400, "pool": "class"}
RUN: dict[str, Any] = {
    "data": {"source": "digit scenes"},
    "method": {"name": "coca", "dim": 64, "queries": 16},
    "encoders": {
        "image": {"name": "tiny_vit", "options": {"size": 16, "patch": 4, "width": 64, "depth": 2, "heads": 4}},
        "text": {"name": "tiny_text", "options": TEXT},
    },
    "training": {"epochs": 6, "batch_size": 32, "lr": 2e-3},
}


def main() -> None:
    """Train, caption eight scenes, and draw."""
    known, held_out = split_digits(0)
    random = np.random.default_rng(0)
    model = trained(*scenes(known, random, 4096))
    pictures, truth = scenes(held_out, random, 64)
    captions = model.caption([Image.fromarray(picture) for picture in pictures[:8]])
    figure = plt.figure(figsize=(12, 5.4))
    grid, bars = figure.subfigures(1, 2, width_ratios=[2, 1])
    for axis, picture, right, caption in zip(grid.subplots(2, 4).flat, pictures, truth, captions, strict=False):
        axis.imshow(picture, interpolation="nearest")
        axis.set_axis_off()
        write_below(axis, caption, right.split(), caption.score)
    grid.subplots_adjust(left=0.02, right=0.98, top=0.97, bottom=0.12, hspace=0.35, wspace=0.12)
    draw_words(bars.subplots(), model, pictures, truth[0])
    bars.subplots_adjust(left=0.18, right=0.97, top=0.9, bottom=0.13)
    print(save(figure, "coca"))


def trained(pictures: np.ndarray, texts: list[str]) -> Model:
    """CoCa on four thousand scenes, six times."""
    train = with_texts("digit scenes", pictures, texts)
    config = RunConfig.parse(RUN)
    method = build_method(config, train)
    with TemporaryDirectory() as folder:
        fit(method, train, config.training, Path(folder))
    return Model(method)


def scenes(digits: Digits, random: np.random.Generator, number: int) -> tuple[np.ndarray, list[str]]:
    """Pictures ``(N, 16, 16, 3)`` of one coloured digit in one of four places, and what is to be seen in each."""
    pictures, texts = np.zeros((number, 2, 8, 2, 8, 3), dtype=np.uint8), []
    for picture in pictures:
        chosen, cell, colour = (int(random.integers(size)) for size in (len(digits.labels), 4, len(COLOURS)))
        grey = digits.pixels[chosen][..., None] / 255  # (8, 8, 1)
        picture[cell // 2, :, cell % 2] = (grey * list(COLOURS.values())[colour]).round()
        texts.append(f"a {list(COLOURS)[colour]} {WORDS[digits.labels[chosen]]} {CELLS[cell]}")
    return pictures.reshape(number, 16, 16, 3), texts


def write_below(axis: Axes, caption: str, truth: list[str], score: float) -> None:
    """A caption under its picture, each word in the colour of right or wrong, and its score."""
    words = [
        TextArea(word, textprops={"color": RIGHT if place < len(truth) and word == truth[place] else WRONG, "size": 10})
        for place, word in enumerate(caption.split())
    ]
    note = TextArea(f"{100 * math.exp(score):.0f} % per token", textprops={"color": GREY, "size": 9})
    text = VPacker(children=[HPacker(children=words, sep=4), note], align="center", sep=3)
    axis.add_artist(
        AnnotationBbox(text, (0.5, -0.04), xycoords="axes fraction", box_alignment=(0.5, 1), frameon=False, pad=0)
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
