"""Why FDT finds a held-out emoji by its name: the concepts that picture and name share.

python docs/pictures/fdt.py
"""

from __future__ import annotations

from shared import IMAGES, train_emoji

from accord.data.recipe import Prepared
from accord.explain import draw_concepts, explain_concepts
from accord.training.artifact import Model

NAME = "red heart"


def main() -> None:
    """Train on emoji, and explain one that was held out."""
    model, prepared = trained()
    place = next(row for row, texts in enumerate(prepared.test.texts()) if texts[0] == NAME)
    picture = prepared.test.sample(place, modalities=("image",))["image"]
    print(draw_concepts(explain_concepts(model, picture, NAME, prepared.train, k=5), IMAGES / "fdt.png"))


def trained() -> tuple[Model, Prepared]:
    """Frozen patches of a pretrained network in a 4×4 grid, words from scratch."""
    method = {"name": "fdt", "num_tokens": 512, "dim": 128, "crop_scale": (0.7, 1.0), "flip": 0.0, "colours": False}
    return train_emoji(
        method,
        {
            "encoders.image": {"name": "efficientnet_lite0", "freeze": "all", "options": {"size": 128}},
            "encoders.text": {"name": "tiny_text", "options": {"width": 128, "depth": 2, "vocabulary": 2048}},
            "training.epochs": 8,
            "training.batch_size": 64,
        },
    )


if __name__ == "__main__":
    main()
