"""The gap on held-out emoji: plain contrast, centred afterwards, and trained with the terms that close it.

python docs/pictures/contrastive_gap.py
"""

from __future__ import annotations

import torch.nn.functional as F
from matplotlib import pyplot as plt
from shared import save, train_emoji
from torch import Tensor

from accord.diagnostics import gap_metrics
from accord.diagnostics.panels import draw_cosines, draw_plane


def main() -> None:
    """Train twice, draw three columns."""
    plain = embedded({"uniformity": 0.0, "alignment": 0.0})
    columns = {
        "contrastive loss alone": plain,
        "the same, centred afterwards": {
            name: F.normalize(rows - rows.mean(dim=0), dim=1) for name, rows in plain.items()
        },
        "with uniformity and alignment": embedded({}),
    }
    figure, axes = plt.subplots(2, 3, figsize=(12, 7.2), constrained_layout=True)
    for (title, sides), (above, below) in zip(columns.items(), axes.T, strict=True):
        draw_plane(above, sides)
        draw_cosines(below, sides)
        below.set_xlim(-0.6, 1)
        gap = gap_metrics(*sides.values())
        above.set_title(
            f"{title}\ngap {gap['centroid_distance']:.2f}, separable {100 * gap['linear_separability']:.0f} %"
        )
    print(save(figure, "contrastive_gap"))


def embedded(terms: dict[str, float]) -> dict[str, Tensor]:
    """Embeddings of held-out pictures and names."""
    model, prepared = train_emoji({"name": "contrastive_gap", "dim": 128, "gap": terms})
    return {modality: model.embed_corpus(prepared.test, modality) for modality in ("image", "text")}


if __name__ == "__main__":
    main()
