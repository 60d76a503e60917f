"""What the frozen side thinks of ten classes, and what three text encoders learnt of it.

python docs/pictures/cwcl.py
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from shared import save
from torch import Tensor

from accord.data.corpus import Corpus
from accord.methods import DataInfo, get_method
from accord.training.artifact import Model
from accord.training.config import TrainingConfig
from accord.training.fit import fit

sys.path.insert(0, str(Path(__file__).parents[2] / "claims"))
del sys.modules["shared"]  # the claims have a package of the same name

from shared.digits import WORDS, split_digits  # noqa: E402
from shared.words import PhraseEncoder, PrincipalDigits, class_phrases, described_digits  # noqa: E402

SEEDS = range(5)
TRAINING = {"epochs": 75, "batch_size": 512, "weight_decay": 0.0, "warmup": 0.0}
SIDES = {  # title -> kernel and rate, as the claim's search chose it
    "texts, locked tuning (LiT)": ("none", 1e-3),
    "texts, affine weights": ("affine", 1e-2),
    "texts, exp weights": ("exp", 3e-3),
}


@dataclass(frozen=True)
class Learnt:
    """What came out, as means over seeds: similarities of the classes ``(10, 10)`` on both sides."""

    given: Tensor
    taught: Tensor


def main() -> None:
    """Train all on every seed, draw four matrices."""
    found = {title: learnt(*side) for title, side in SIDES.items()}
    figure, axes = plt.subplots(1, 4, figsize=(13, 4.2), constrained_layout=True)
    draw(axes[0], next(iter(found.values())).given, "frozen pictures")
    for axis, (title, side) in zip(axes[1:], found.items(), strict=True):
        draw(axis, side.taught, title)
        axis.set_yticks([])
    figure.colorbar(axes[3].images[0], ax=axes, shrink=0.7, label="cosine of two classes")
    print(save(figure, "cwcl"))


def learnt(kernel: str, rate: float) -> Learnt:
    """A text encoder from digits with one phrase each, on each seed."""
    outcomes = [outcome(seed, kernel, rate) for seed in SEEDS]
    return Learnt(*(torch.stack([pair[side] for pair in outcomes]).mean(dim=0) for side in (0, 1)))


def outcome(seed: int, kernel: str, rate: float) -> tuple[Tensor, Tensor]:
    """Similarities on both sides of one seed."""
    train, test = described_digits(seed)
    model = trained(seed, kernel, rate, train)
    pictures, labels = model.embed_corpus(test, "image"), torch.as_tensor(test.labels)
    phrases = torch.stack([model.embed(texts=class_phrases(number)) for number in range(30)])  # (30, 10, D)
    given = similarities(torch.stack([pictures[labels == label].mean(dim=0) for label in range(10)]))
    return given, similarities(phrases.mean(dim=0))


def trained(seed: int, kernel: str, rate: float, train: Corpus) -> Model:
    """CWCL between frozen components of digits and phrases."""
    torch.manual_seed(seed)
    towers = {"image": PrincipalDigits(split_digits(seed)[0].pixels), "text": PhraseEncoder()}
    method = get_method("cwcl")({"kernel": kernel, "centre": "both", "crop_scale": [1.0, 1.0]}, towers, DataInfo())
    with TemporaryDirectory() as folder:
        fit(method, train, TrainingConfig.parse({**TRAINING, "seed": seed, "lr": rate}), Path(folder), progress=False)
    return Model(method)


def similarities(rows: Tensor) -> Tensor:
    """Cosines of all pairs of rows."""
    unit = F.normalize(rows, dim=1)
    return unit @ unit.T


def draw(axis: Axes, matrix: Tensor, title: str) -> None:
    """One matrix with the classes' names."""
    axis.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    axis.set_xticks(range(10), WORDS, rotation=60, ha="right")
    axis.set_yticks(range(10), WORDS)
    axis.set_title(title)


if __name__ == "__main__":
    main()
