"""Whom MEOW puts beside a package of Debian, and whom the words of its description do.

python docs/pictures/meow.py
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from shared import save
from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.recipe import prepare
from accord.pipeline.config import RunConfig
from accord.pipeline.run import fit_model

ASKED = ("gimp", "postfix", "ardour", "supertuxkart", "octave")
NEAR = 5
SAME, OTHER = "#1b7837", "#9e9e9e"
RUN = {
    "data": {
        "source": "pack:archive_tagged",
        "columns": {"graph": ["maintainer", "depends"]},
        "split": {"test": 0.0},
    },
    "method": {"name": "meow", "temperature": 0.4, "cluster_every": 5},
    "training": {"epochs": 60, "lr": 2e-3},
}


def main() -> None:
    """Train, and list the nearest packages of a few by words and by MEOW."""
    config = RunConfig.parse(RUN)
    prepared = prepare(config.data, quiet=True)
    with TemporaryDirectory() as folder:
        model, _ = fit_model(config, prepared, Path(folder))
    corpus = prepared.train
    spaces = {
        "words of the description": F.normalize(corpus.graph["row"].x.to_dense(), dim=1),
        "MEOW": model.embed_corpus(corpus, "graph"),
    }
    names, groups = np.array(corpus.rows["name"]), corpus.groups()
    found = {title: neighbours(z, groups) for title, z in spaces.items()}
    figure, axes = plt.subplots(1, 2, figsize=(12, 0.62 * len(ASKED) * NEAR / 2 + 0.6))
    for axis, (title, near) in zip(axes, found.items(), strict=True):
        share = 100 * float((corpus.labels[near] == corpus.labels[:, None]).mean())
        axis.set_title(f"nearest by {title}: {share:.0f} % of the same section", fontsize=12, loc="left")
        draw(axis, corpus, names, near)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.96, bottom=0.01, wspace=0.04)
    print(save(figure, "meow"))


def neighbours(z: Tensor, groups: np.ndarray) -> np.ndarray:
    """``(N, NEAR)`` nearest rows of other sources, ``z (N, D)`` unit norm."""
    source = torch.from_numpy(np.unique(groups, return_inverse=True)[1])
    found = []
    for rows in torch.arange(len(z)).split(512):
        cosine = (z[rows] @ z.T).masked_fill(source[rows, None] == source, -2.0)
        found.append(cosine.topk(NEAR, dim=1).indices)
    return torch.cat(found).numpy()


def draw(axis: plt.Axes, corpus: Corpus, names: np.ndarray, near: np.ndarray) -> None:
    """One block of lines for each package asked for, green where the section is the same."""
    axis.set_xlim(0, 1)
    axis.set_ylim(len(ASKED) * (NEAR + 1), 0)
    axis.axis("off")
    for number, name in enumerate(ASKED):
        row, top = int(np.flatnonzero(names == name)[0]), number * (NEAR + 1)
        axis.text(0.0, top + 0.6, f"{name}  ({corpus.classes[corpus.labels[row]]})", fontsize=10, fontweight="bold")
        for place, hit in enumerate(near[row]):
            same = corpus.labels[hit] == corpus.labels[row]
            line = f"{names[hit]}  ({corpus.classes[corpus.labels[hit]]}): {corpus.texts()[hit][0]}"
            colour = SAME if same else OTHER
            axis.text(0.02, top + 1.5 + 0.9 * place, shortened(line), fontsize=8, color=colour)


def shortened(line: str, most: int = 88) -> str:
    """A line that fits."""
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


if __name__ == "__main__":
    main()
