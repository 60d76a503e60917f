"""Whether the cells of two pictures of one thing find each other: the two drawings of an emoji, say.

Nobody has marked which point of one drawing is which of the other. Drawings of one thing have about the same layout, so
the same place stands for the same part; about, since another hand draws the eyes a little higher.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import ImageOps
from torch import Tensor

from accord.data.augmenting.crops import centre_crop
from accord.data.corpus import Corpus, corpus_from_items
from accord.data.inputs import ImageInput
from accord.data.loading.loader import eval_loader
from accord.encoders import build_encoder
from accord.encoders.base import Encoder
from accord.errors import DataError
from accord.evaluation.metric import Metric, mean_metric, ratio_metric
from accord.methods.base import map_encoder

if TYPE_CHECKING:
    from accord.training.model import Model

NEAR = 1  # cells to any side that count as the same place
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def evaluate_correspondence(model: Model, corpus: Corpus, seed: int = 0) -> list[Metric]:
    """How often the nearest cell of another picture of the same thing lies at the same place, by cosine.

    A pair is a group of exactly two pictures; larger groups hold different things too. Cells that show mostly a
    transparent background are neither asked for nor found. Both pictures ask.

    A network can know where its cells lie, from the border of the picture or from learnt positions, and then finds
    the place without seeing the part. So the second picture is also mirrored, and the place with it, where such
    knowledge misleads; and everything is measured as well of an encoder of the same architecture with random weights.

    Args:
        model: its image encoder gives a map.
        corpus: has groups of two pictures.
        seed: of the random weights.

    Returns:
        ``same place`` and ``same place, mirrored`` (within one cell, shares of the cells asked for) and ``distance``
        (mean, of the picture's side), and the same with ``(untrained)``. Chance draws any cell that shows something.

    Raises:
        ConfigError: the image encoder gives no map.
        DataError: no group has two pictures.
    """
    encoder = map_encoder(model.method)
    corpus = corpus.having("image")
    pairs = paired_rows(corpus)
    if not len(pairs):
        raise DataError(
            f"{corpus.name}: correspondence needs pairs of pictures of the same thing, as groups of two: "
            "data.columns.group"
        )
    one, other = (corpus.select(pairs[:, side]) for side in (0, 1))
    metrics = []
    for note, maps_of in (("", model.dense_corpus), (" (untrained)", untrained(encoder, seed))):
        metrics += _metrics(maps_of, one, other, encoder.input, note)  # type: ignore[arg-type]
    return metrics


def paired_rows(corpus: Corpus) -> NDArray[np.int64]:
    """The rows ``(P, 2)`` of groups of exactly two, in order."""
    groups = corpus.groups()
    if groups is None:
        return np.empty((0, 2), dtype=np.int64)
    _, numbers, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(numbers, kind="stable")
    return np.sort(order[(counts == 2)[numbers[order]]].reshape(-1, 2), axis=1)


def untrained(encoder: Encoder, seed: int) -> Callable[[Corpus], Tensor]:
    """What gives the maps ``(N, C, h, w)`` of an encoder of the same architecture with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fresh = build_encoder("image", encoder.spec(), weights=False).eval()

    @torch.inference_mode()
    def maps_of(corpus: Corpus) -> Tensor:
        loader = eval_loader(corpus, {"image": fresh.input}, batch_size=64, modalities=("image",))
        return torch.cat([fresh(batch["image"]).grid().float() for batch in loader])

    return maps_of


def shown_cells(corpus: Corpus, spec: ImageInput, height: int, width: int) -> Tensor:
    """Which cells of each picture show mostly something ``(N, h, w)``: what does not let a background through."""
    rows = []
    for row in range(len(corpus)):
        black, white = (
            centre_crop(corpus.sample(row, ("image",), {"image": over})["image"], spec).float()
            for over in (replace(spec, background=BLACK), replace(spec, background=WHITE))
        )
        solid = ((white - black).mean(dim=0) < 128).float()  # (S, S)
        rows.append(F.adaptive_avg_pool2d(solid[None], (height, width))[0] >= 0.5)
    return torch.stack(rows)


def found_places(maps: Tensor, other: Tensor, shown: Tensor, other_shown: Tensor, mirrored: bool = False) -> Tensor:
    """Where each cell finds its nearest in the other picture, and what a guess would find.

    Args:
        maps: ``(P, C, h, w)`` features of the pictures that ask.
        other: ``(P, C, h, w)`` of their partners.
        shown: ``(P, h, w)`` bool, the cells that ask.
        other_shown: ``(P, h, w)`` bool, the cells that can be found.
        mirrored: the partners are mirrored, so a cell's place is on the other side.

    Returns:
        ``(n, 5)``, a row a cell: pair, whether the nearest is near the place, its distance over the side of the
        picture, and both as means over all cells that can be found.

    Raises:
        DataError: no pair has cells that ask and cells that can be found.

    Example:
        >>> maps = torch.eye(4).reshape(1, 4, 1, 4)  # four cells side by side, all different
        >>> everywhere = torch.ones(1, 1, 4, dtype=torch.bool)
        >>> found_places(maps, maps.roll(2, dims=3), everywhere, everywhere)[0].tolist()
        [0.0, 0.0, 0.5, 0.5, 0.375]
    """
    count, _, height, width = maps.shape
    cells = torch.cartesian_prod(torch.arange(height), torch.arange(width))  # (hw, 2)
    wanted = torch.stack([cells[:, 0], width - 1 - cells[:, 1]], dim=1) if mirrored else cells
    away = (wanted[:, None] - cells).abs()  # (hw, hw, 2)
    near = (away.amax(dim=2) <= NEAR).float()
    far = (away / torch.tensor([height, width])).norm(dim=2)
    unit, other_unit = (F.normalize(side.flatten(2), dim=1) for side in (maps, other))
    rows = []
    for pair in range(count):
        asked, able = shown[pair].flatten(), other_shown[pair].flatten()
        if not asked.any() or not able.any():
            continue
        alike = torch.einsum("ca,cb->ab", unit[pair][:, asked], other_unit[pair][:, able])
        found = alike.argmax(dim=1, keepdim=True)
        reached = [table[asked][:, able] for table in (near, far)]
        columns = [table.gather(1, found)[:, 0] for table in reached] + [table.mean(dim=1) for table in reached]
        rows.append(torch.stack([torch.full_like(columns[0], pair), *columns], dim=1))
    if not rows:
        raise DataError("correspondence: no pair has cells that show anything on both sides")
    return torch.cat(rows)


def _metrics(
    maps_of: Callable[[Corpus], Tensor], one: Corpus, other: Corpus, spec: ImageInput, note: str
) -> list[Metric]:
    """The three numbers of an encoder."""
    maps, partners = maps_of(one), maps_of(other)
    height, width = maps.shape[2:]
    shown, partly = (shown_cells(side, spec, height, width) for side in (one, other))
    reflected = maps_of(_mirrored(other, spec))
    straight, turned = (
        torch.cat(
            [
                found_places(maps, against, shown, visible, mirrored),
                found_places(against, maps, visible, shown, mirrored),
            ]
        ).numpy()
        for against, visible, mirrored in ((partners, partly, False), (reflected, partly.flip(2), True))
    )
    distances = np.stack([straight[:, 2], np.ones(len(straight))], axis=1)
    return [
        _share(f"same place{note}", straight),
        _share(f"same place, mirrored{note}", turned),
        ratio_metric(
            f"distance{note}",
            distances,
            lambda sums: 100 * sums[:, 0] / sums[:, 1],
            chance=100 * float(straight[:, 4].mean()),
            groups=straight[:, 0],
        ),
    ]


def _share(name: str, places: NDArray[np.float32]) -> Metric:
    return mean_metric(name, places[:, 1], chance=100 * float(places[:, 3].mean()), groups=places[:, 0])


def _mirrored(corpus: Corpus, spec: ImageInput) -> Corpus:
    pictures = (corpus.sample(row, ("image",), {"image": spec})["image"] for row in range(len(corpus)))
    return corpus_from_items("image", [ImageOps.mirror(picture) for picture in pictures])
