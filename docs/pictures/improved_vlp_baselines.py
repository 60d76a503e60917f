"""An emoji and its name as CLIP-rocket sees them, and what its two spaces find on held-out emoji.

python docs/pictures/improved_vlp_baselines.py
"""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from PIL import Image
from shared import save, train_emoji

from accord.data.augmenting.crops import make_crop
from accord.data.augmenting.text_views import augment
from accord.data.augmenting.views import expand
from accord.data.corpus import Corpus
from accord.data.inputs import ImageInput
from accord.evaluation.retrieval import evaluate_retrieval
from accord.training.artifact import Model

NAME = "grinning cat with smiling eyes"
METHOD = {
    "name": "improved_vlp_baselines",
    "dim": 64,
    "head_width": 256,
    "strong_crop_scale": [0.3, 1.0],
    "stopwords": 0.8,
}
SMALL: dict[str, Any] = {
    "encoders": {
        "image": {"name": "efficientnet_lite0", "freeze": "all", "options": {"size": 64}},
        "text": {
            "name": "tiny_text",
            "freeze": "none",
            "options": {"width": 64, "depth": 1, "heads": 4, "length": 16, "vocabulary": 1000},
        },
    },
    "training.cached_augmentations": 2,
}
WEIGHTS = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def main() -> None:
    """Train once, draw the views on the left and the ensemble on the right."""
    model, prepared = train_emoji(METHOD, SMALL)
    figure = plt.figure(figsize=(12, 4.6), constrained_layout=True)
    left, right = figure.subfigures(1, 2, width_ratios=[1.6, 1])
    draw_views(left, model, prepared.train)
    draw_ensemble(right.subplots(), model, prepared.test)
    print(save(figure, "improved_vlp_baselines"))


def draw_views(figure: SubFigure, model: Model, corpus: Corpus) -> None:
    """The picture and its views of three epochs, with the captions that go with them."""
    row = next(place for place, texts in enumerate(corpus.texts()) if texts == [NAME])
    picture = corpus.sample(row, ("image",), (255, 255, 255), None)["image"]
    views, texts = expand(model.method.views), expand(model.method.text_views)
    axes = figure.subplots(3, 4, width_ratios=[1, 1, 1, 1])
    for epoch, line in enumerate(axes):
        show(line[0], picture, f"“{NAME}”" if epoch == 0 else "")
        line[0].set_visible(epoch == 0)
        for place, (ax, view, text) in enumerate(zip(line[1:], views, texts, strict=True)):
            crop = make_crop(picture, view, ImageInput(size=64), seed=7 * epoch + place)
            show(
                ax, Image.fromarray(crop.pixels.permute(1, 2, 0).numpy()), augment(NAME, text, seed=11 * epoch + place)
            )
            if epoch == 0:
                ax.set_title("weak" if place == 0 else f"strong {place}", fontsize=11)
    axes[0][0].set_title("the pair", fontsize=11)


def show(ax: Axes, picture: Image.Image, caption: str) -> None:
    """A picture over its caption."""
    ax.imshow(picture)
    ax.set_xlabel("\n".join(wrapped(caption)), fontsize=9)
    ax.set(xticks=[], yticks=[])


def wrapped(text: str, width: int = 20) -> list[str]:
    """Lines of at most ``width`` letters, where words allow."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def draw_ensemble(ax: Axes, model: Model, corpus: Corpus) -> None:
    """Recall by the weight of the weak views' space."""
    found: dict[str, list[float]] = {}
    for weight in WEIGHTS:
        model.method.config = model.method.config.model_copy(update={"ensemble": weight})
        fresh = Model(model.method)  # since a model keeps what it has embedded
        for metric in evaluate_retrieval(fresh, corpus):
            if metric.name.endswith("R@10"):
                found.setdefault(metric.name.removesuffix(" R@10"), []).append(metric.value)
    for direction, values in found.items():
        ax.plot(WEIGHTS, values, marker="o", label=direction)
    ax.set(xlabel="weight w of the weak views' space", ylabel="R@10 on held-out emoji, %")
    ax.set_title("w · cos(z) + (1 − w) · cos(h)", fontsize=11)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    ax.margins(y=0.3)


if __name__ == "__main__":
    main()
