"""Where FILIP sees the digits that a caption names, on scenes of digits that it has not seen.

python docs/pictures/filip.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from matplotlib import pyplot as plt
from shared import save

from accord.data.corpus import Corpus
from accord.explaining import explain_words
from accord.explaining.figure import draw_word
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig
from accord.training.artifact import Model
from accord.training.fit import fit

sys.path.append(str(Path(__file__).parents[2] / "claims" / "shared"))
from digits import WORDS, digit_scenes

SCENES, MAPS = 3, 4
RUN: dict[str, Any] = {
    "data": {"source": "digit scenes"},
    "method": {"name": "filip", "dim": 64, "keep": 1.0},
    "encoders": {
        "image": {"name": "tiny_vit", "options": {"size": 16, "patch": 4, "width": 64, "depth": 2, "heads": 4}},
        "text": {
            "name": "tiny_text",
            "options": {"width": 64, "depth": 2, "heads": 4, "length": 24, "vocabulary": 400},
        },
    },
    "training": {"epochs": 12, "batch_size": 64, "lr": 1e-3},
}


def main() -> None:
    """Train, and draw a row for each of some held-out scenes: the scene, and the map of each digit's word."""
    train, test = digit_scenes(0)
    model = trained(train)
    figure, axes = plt.subplots(SCENES, 1 + MAPS, figsize=(12, 2.75 * SCENES), layout="constrained")
    for row, place in zip(axes, full_captions(test), strict=True):
        caption = test.texts()[place][0]
        picture = test.sample(place, fields=("image",))["image"]
        found = explain_words(model, picture, caption)
        row[0].imshow(picture)
        row[0].set_title(broken(caption), fontsize=9.5, loc="left")
        row[0].axis("off")
        for axis, word in zip(row[1:], (word for word in found.maps if word.word in WORDS), strict=True):
            draw_word(axis, picture, word)
    print(save(figure, "filip"))


def trained(train: Corpus) -> Model:
    """FILIP with all tokens in its loss, from scratch."""
    config = RunConfig.parse(RUN)
    method = build_method(config, train)
    with TemporaryDirectory() as folder:
        fit(method, train, config.training, Path(folder))
    return Model(method)


def full_captions(corpus: Corpus) -> list[int]:
    """The first scenes whose caption names four different digits."""
    named = [[word for word in texts[0].split() if word in WORDS] for texts in corpus.texts()]
    return [place for place, words in enumerate(named) if len(words) == len(set(words)) == MAPS][:SCENES]


def broken(caption: str) -> str:
    """A caption in lines of at most two of its parts."""
    parts = caption.split(" and ")
    return " and\n".join(" and ".join(parts[start : start + 2]) for start in range(0, len(parts), 2))


if __name__ == "__main__":
    main()
