"""What clusters of names look like in pictures: the held-out emoji that are nearest to back-translated prototypes.

python docs/pictures/protoclip.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from shared import save, train_emoji
from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.loading.loader import eval_loader, train_loader
from accord.methods import Episode
from accord.methods.image_text.protoclip import ProtoClip
from accord.training.module import encoder_inputs

EPISODES, BATCH = 12, 128
CLUSTERS, PICTURES, NAMES = 6, 7, 3


def main() -> None:
    """Train, choose clusters of different things, draw a row for each."""
    model, prepared = train_emoji(
        {"name": "protoclip", "dim": 128, "head_hidden": 512, "flip": 0.0, "clusters": 200},
        {"training.grad_clip": 10.0, "training.epochs": EPISODES, "training.cached_augmentations": 2},
    )
    method = model.method
    assert isinstance(method, ProtoClip)
    prototypes = F.normalize(method.clusters["text"].prototypes("image"), dim=1)  # (K, d)
    nearest = prototypes @ pictures(method, prepared.test).T  # (K, held-out pictures)
    members = names(method, prepared.train)
    figure, axes = plt.subplots(CLUSTERS, 1 + PICTURES, figsize=(12, 7.2), width_ratios=[3.2] + [1] * PICTURES)
    near = nearest.topk(PICTURES, dim=1).values.mean(dim=1)
    for row, cluster in zip(axes, different(prototypes, members, near), strict=True):
        row[0].text(1, 0.5, "\n".join(members[cluster][:NAMES]), ha="right", va="center", fontsize=11)
        for axis, place in zip(row[1:], nearest[cluster].topk(PICTURES).indices.tolist(), strict=True):
            axis.imshow(prepared.test.sample(place, fields=("image",))["image"])
        for axis in row:
            axis.axis("off")
    axes[0][0].set_title("names in one cluster", fontsize=12, loc="right", fontweight="bold")
    axes[0][1].set_title("held-out pictures nearest to its prototype", fontsize=12, loc="left", fontweight="bold")
    figure.subplots_adjust(left=0.01, right=0.99, top=0.95, bottom=0.01, wspace=0.12, hspace=0.12)
    print(save(figure, "protoclip"))


@torch.inference_mode()
def pictures(method: ProtoClip, corpus: Corpus) -> Tensor:
    """Unit-norm features ``(N, d)`` of pictures in the space of the prototypes."""
    loader = eval_loader(corpus, {"image": encoder_inputs(method)["image"]})
    pooled = (method.encoders["image"](batch["image"]).pooled for batch in loader)
    return torch.cat([F.normalize(method.heads["image"](method.projections["image"](rows)), dim=1) for rows in pooled])


def names(method: ProtoClip, train: Corpus) -> list[list[str]]:
    """Different names of the rows of each cluster of the last episode."""
    inputs = {"text": encoder_inputs(method)["text"]}
    loader = train_loader(train, inputs, batch_size=BATCH, seed=0, sampling=Episode)
    loader.set_epoch(EPISODES - 1)
    rows = torch.cat([batch["index"] for batch in loader])
    texts, labels = train.texts(), method.clusters["text"].labels[: len(rows)]
    found = [sorted({texts[row][0] for row in rows[labels == cluster].tolist()}, key=len) for cluster in range(200)]
    return found


def different(prototypes: Tensor, members: list[list[str]], near: Tensor) -> list[int]:
    """Clusters unlike each other, of those of enough names the third with the nearest pictures.

    The next is always the one farthest from those taken.
    """
    named = torch.tensor([len(found) >= NAMES for found in members])
    allowed = named & (near >= near[named].quantile(2 / 3))
    taken = [int(near.masked_fill(~allowed, -1.0).argmax())]
    while len(taken) < CLUSTERS:
        likeness = (prototypes @ prototypes[taken].T).amax(dim=1).masked_fill(~allowed, 2.0)
        taken.append(int(likeness.argmin()))
    return taken


if __name__ == "__main__":
    main()
