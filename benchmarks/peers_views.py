"""SwAV, PixPro and GRAM against what lightly and open_clip offer for the same work; see :mod:`versus`.

Pictures are emoji, trained on without labels from a random start and split by concept. SwAV meets lightly's SwAV at
the same settings. PixPro and PixContrast, with the paper's instance branch, meet lightly's DenseCL, which contrasts
cells and whole views as well. It takes one view of a picture as query and the other as key; ours take both as both, so
DenseCL is measured in that form, too. GRAM meets the sum of open_clip's losses over all pairs of three modalities: the
name of an emoji and two drawings of it, or the halves of one, as features of frozen encoders.

Accord's image encoder feeds its network pictures in channels-last layout, which is faster on CPUs. The peers run inside
that encoder; a second row has their time when they call the network as it is, as the libraries' examples do, and a
third one inside the encoder with Accord's treatment of freed memory as well.

    python benchmarks/peers_views.py [--seeds 3] [CONTEST ...]     # only the named contests; nothing is written then
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from itertools import combinations
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss, SwaVLoss
from lightly.models.utils import select_most_similar
from open_clip.loss import ClipLoss
from peer_methods import AsItIs, LightlyDenseCl, LightlySwav, PairwiseClip
from torch import Tensor
from versus import Contest, Side, main

from accord import functional as AF
from accord.data.augmenting.views import View
from accord.data.corpus import Corpus, open_corpus
from accord.data.loading.features import Features
from accord.data.loading.loader import eval_loader, train_loader
from accord.data.recipe import DataConfig, prepare
from accord.encoders import build_encoder
from accord.encoders.base import Encoder
from accord.encoders.heads import PixelPropagation
from accord.evaluation.knn import knn_scores
from accord.evaluation.retrieval import retrieval_metrics
from accord.methods.base import Batch, DataInfo, Method
from accord.methods.image.pixpro import Pixpro
from accord.methods.image.swav import Swav
from accord.methods.multimodal.gram import Gram
from accord.training.config import TrainingConfig

SIDE = 64  # of the pack's pictures, in pixels
RESNET = {"name": "tiny_resnet", "size": SIDE, "width": 64}
ROWS, TRIPLES = 64, 256  # rows of a batch: pictures, and triples of features
DIM, WIDTH, CELLS = 128, 512, 8  # of projections; of GRAM's; cells on a side of the network's map
SWAV: dict[str, Any] = {  # for pictures of this size, as the method's card says
    "prototypes": 100,
    "hidden": 256,
    "sinkhorn_eps": 0.03,
    "freeze_prototypes": 47,
    "large_scale": (0.4, 1.0),
    "small_crops": 2,
    "small_scale": (0.2, 0.4),
}
PIXELS: dict[str, Any] = {"dim": DIM, "hidden": 256, "crop_scale": (0.3, 1.0), "instance_weight": 1.0}
# The best of four settings each on another seed: momentum, and weight of the instances or temperature.
MOMENTUM = {"pixpro": 0.996, "pixcontrast": 0.97}
DENSECL: dict[str, Any] = {"dim": DIM, "hidden": 256, "momentum": 0.996, "temperature": 0.2}
GRAM: dict[str, Any] = {"modalities": ("text", "image", "video"), "dim": WIDTH, "matching_weight": 0.0}
PAIRWISE: dict[str, Any] = {"modalities": GRAM["modalities"], "dim": WIDTH}


def emoji(seed: int, label: str = "category") -> tuple[Corpus, Corpus]:
    """Drawings for training, and those of other concepts for testing."""
    columns = {"text": ["name"], "label": label, "group": "concept"}
    config = {"source": "pack:emoji", "columns": columns, "split": {"test": 0.2, "seed": seed}}
    prepared = prepare(DataConfig.parse(config), quiet=True)
    return prepared.train, prepared.test


class Crops:
    """Crops of emoji, and k-NN on whole ones.

    Args:
        seed: of the split, the order, the crops and the weights.
        views: the crops.
        batch_size: rows of a batch.
    """

    def __init__(self, seed: int, views: tuple[View, ...], batch_size: int) -> None:
        self.seed = seed
        self.train, self.test = emoji(seed)
        inputs = {"image": self.encoders()["image"].input}
        self.loader = train_loader(self.train, inputs, views, batch_size=batch_size, seed=seed)
        self.steps = len(self.loader)
        self.whole = [list(eval_loader(corpus, inputs, batch_size=128)) for corpus in (self.train, self.test)]

    def encoders(self) -> dict[str, Encoder]:
        """A small network with random weights."""
        torch.manual_seed(self.seed)
        return {"image": build_encoder("image", RESNET, weights=False)}

    def batches(self, epoch: int) -> Iterator[Batch]:
        """One epoch of crops."""
        self.loader.set_epoch(epoch)
        return iter(self.loader)

    @torch.no_grad()
    def score(self, method: Method) -> float:
        """Share of held-out drawings whose category their nearest training drawings name."""
        method.eval()
        known, asked = (torch.cat([method.embed(batch)["image"] for batch in part]) for part in self.whole)
        votes = knn_scores(known, self.train.labels, asked)
        return 100 * float((votes.argmax(dim=1).numpy() == self.test.labels).mean())


@cache
def frozen() -> tuple[dict[str, Encoder], dict[str, Tensor]]:
    """Encoders that are not trained, and what they make of every emoji.

    Its name, its drawings in two styles, and the upper and the lower half of the first.
    """
    image = build_encoder("image", {"name": "efficientnet_lite0", "size": SIDE}, freeze="all").eval()
    text = build_encoder("text", "minilm", freeze="all").eval()
    whole = open_corpus("pack:emoji", quiet=True)
    inputs, styles = {"image": image.input, "text": text.input}, np.array(whole.rows["style"])
    first, second = (whole.select(np.flatnonzero(styles == style)) for style in ("noto", "twemoji"))
    made: dict[str, list[Tensor]] = {name: [] for name in ("name", "drawing", "second", "upper", "lower")}
    for batch in eval_loader(first, inputs, batch_size=128):
        made["name"].append(text(batch["text"], batch["text_mask"]).pooled)
        for part, rows in (("drawing", slice(None)), ("upper", slice(SIDE // 2)), ("lower", slice(SIDE // 2, None))):
            made[part].append(image(batch["image"][:, :, rows]).pooled)
    for batch in eval_loader(second, inputs, batch_size=128, modalities=("image",)):
        made["second"].append(image(batch["image"]).pooled)
    return {"text": text, "image": image, "video": image}, {name: torch.cat(parts) for name, parts in made.items()}


class Triples:
    """Features of the name of each emoji and of two pictures, and retrieval of the pictures by the name and back.

    Args:
        seed: of the split and the order.
        pictures: which two; the second takes the place of a third modality, which is called video here.
    """

    def __init__(self, seed: int, pictures: tuple[str, str]) -> None:
        self.seed = seed
        self.frozen, found = frozen()
        columns = dict(zip(("text", "image", "video"), ("name", *pictures), strict=True))
        # The two drawings of an emoji stand together in the pack, and belong to one part as they show one concept.
        known, asked = (sorted({int(row) // 2 for row in part.ids}) for part in emoji(seed))
        self.train, self.test = (
            {name: found[column][rows] for name, column in columns.items()} for rows in (known, asked)
        )
        self.steps = len(known) // TRIPLES

    def encoders(self) -> dict[str, Encoder]:
        """The frozen encoders."""
        return dict(self.frozen)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """One epoch of features."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.train["text"]))
        for number in range(self.steps):
            rows = torch.from_numpy(order[number * TRIPLES : (number + 1) * TRIPLES])
            yield {name: Features(features[rows]) for name, features in self.train.items()}

    @torch.no_grad()
    def score(self, method: Method) -> float:
        """Mean recall at 1, 5 and 10 of held-out emoji in both directions, by the method's own score of triples."""
        z = method.eval().embed({name: Features(features) for name, features in self.test.items()})
        scores = method.score_tuples({"text": z["text"]}, {name: z[name] for name in ("image", "video")})
        found = {m.name: m.value for m in retrieval_metrics(scores, [[row] for row in range(len(scores))])}
        return found["mean recall"]


# -- the losses alone, on random outputs of the networks


def normal(*shape: int) -> Tensor:
    """Random numbers that receive a gradient."""
    return torch.randn(*shape, requires_grad=True)


def swav_scores() -> list[Tensor]:
    """Cosines of every crop with every prototype."""
    prototypes = F.normalize(torch.randn(SWAV["prototypes"], DIM), dim=1)
    crops = [F.normalize(torch.randn(ROWS, DIM), dim=1) for _ in range(2 + SWAV["small_crops"])]
    return [(z @ prototypes.T).requires_grad_() for z in crops]


def our_swav_alone() -> Callable[[], Tensor]:
    """Assignment and swapped prediction."""
    scores = swav_scores()
    return lambda: AF.swapped_prediction_loss(scores, eps=SWAV["sinkhorn_eps"])


def lightly_swav_alone() -> Callable[[], Tensor]:
    """The same of lightly."""
    scores, loss = swav_scores(), SwaVLoss(sinkhorn_epsilon=SWAV["sinkhorn_eps"])
    return lambda: loss(scores[:2], scores[2:]).squeeze()


def our_pixels_alone(objective: str) -> Callable[[], Tensor]:
    """The pixel loss, both ways, and agreement of the whole views."""
    maps, whole = ([normal(ROWS, DIM, *side) for _ in range(4)] for side in ((CELLS, CELLS), ()))
    corner = 0.3 * torch.rand(2, ROWS, 2)
    first, second = torch.cat([corner, corner + 0.6], dim=2)
    propagation = PixelPropagation(DIM)

    def half(q: int, k: int, at_q: Tensor, at_k: Tensor) -> Tensor:
        if objective == "pixcontrast":
            return AF.pixcontrast_loss(maps[q], maps[k].detach(), at_q, at_k) / 2
        return AF.pixpro_loss(propagation(maps[q]), maps[k].detach(), at_q, at_k)

    def loss() -> Tensor:
        instances = AF.negative_cosine(whole[0], whole[3]) + AF.negative_cosine(whole[1], whole[2])
        return half(0, 3, first, second) + half(1, 2, second, first) + instances

    return loss


def densecl_alone(symmetric: bool = False) -> Callable[[], Tensor]:
    """Matching of the cells and both contrasts against banks."""
    cells = torch.randn(2, ROWS, CELLS**2, RESNET["width"])
    local, whole = normal(ROWS, CELLS**2, DIM), normal(ROWS, DIM)
    losses = [NTXentLoss(DENSECL["temperature"], (4096, DIM)) for _ in range(2)]

    def once() -> Tensor:
        with torch.no_grad():
            matched = select_most_similar(cells[0], cells[1], local)
        dense = losses[0](local.flatten(end_dim=1), matched.flatten(end_dim=1))
        return (losses[1](whole, whole.detach()) + dense) / 2

    return (lambda: (once() + once()) / 2) if symmetric else once


def triples() -> list[Tensor]:
    """Outputs of the projections."""
    return [normal(TRIPLES, WIDTH) for _ in range(3)]


def our_triples_alone() -> Callable[[], Tensor]:
    """The contrast of volumes."""
    z = triples()
    return lambda: AF.gram_contrastive_loss(*(F.normalize(each, dim=1) for each in z), temperature=0.07)


def pairwise_alone() -> Callable[[], Tensor]:
    """Three contrasts of cosines."""
    z, loss = triples(), ClipLoss()

    def total() -> Tensor:
        unit = [F.normalize(each, dim=1) for each in z]
        return sum((loss(a, b, 1 / 0.07) for a, b in combinations(unit, 2)), start=torch.zeros(()))

    return total


# -- contests


def built(kind: type[Method], config: Any, plain: bool = False) -> Callable[[Mapping[str, Encoder]], Method]:
    """Builds a method, with the network as it is or inside our encoder."""

    def build(encoders: Mapping[str, Encoder]) -> Method:
        given = {name: AsItIs(encoder) for name, encoder in encoders.items()} if plain else encoders
        return kind(config, given, DataInfo())

    return build


def crops(kind: type[Method], config: Any) -> Callable[[int], Crops]:
    """Data of a seed, with the crops that a method wants."""

    def data(seed: int) -> Crops:
        encoder = build_encoder("image", RESNET, weights=False)
        return Crops(seed, kind(config, {"image": encoder}, DataInfo()).views, ROWS)

    return data


def training(epochs: int, rows: int) -> TrainingConfig:
    """AdamW with warm-up and cosine."""
    return TrainingConfig(epochs=epochs, batch_size=rows)


K_NN, RECALL = "k-NN, category of new concepts, %", "mean recall, name ↔ pictures, %"
CONTESTS = (
    Contest(
        f"SwAV, 2 + 2 crops, B={ROWS}",
        crops(Swav, SWAV),
        K_NN,
        training(3, ROWS),
        (
            Side("swav", built(Swav, SWAV), ours=True, alone=our_swav_alone),
            Side("lightly SwAV", built(LightlySwav, SWAV), alone=lightly_swav_alone),
            Side("lightly SwAV, network as it is", built(LightlySwav, SWAV, plain=True), trained=False),
            Side("lightly SwAV, memory kept as by ours", built(LightlySwav, SWAV), trained=False, keeps=True),
        ),
    ),
    Contest(
        f"cells and whole views, B={ROWS}",
        crops(Pixpro, PIXELS),
        K_NN,
        training(3, ROWS),
        (
            *(
                Side(
                    objective,
                    built(Pixpro, {**PIXELS, "objective": objective, "momentum": momentum}),
                    ours=True,
                    alone=partial(our_pixels_alone, objective),
                )
                for objective, momentum in MOMENTUM.items()
            ),
            Side("lightly DenseCL", built(LightlyDenseCl, DENSECL), alone=densecl_alone),
            Side("lightly DenseCL, network as it is", built(LightlyDenseCl, DENSECL, plain=True), trained=False),
            Side("lightly DenseCL, memory kept as by ours", built(LightlyDenseCl, DENSECL), trained=False, keeps=True),
            Side(
                "lightly DenseCL, both ways",
                built(LightlyDenseCl, {**DENSECL, "symmetric": True}),
                alone=partial(densecl_alone, symmetric=True),
                trained=False,
            ),
            Side(
                "lightly DenseCL, both ways, memory kept as by ours",
                built(LightlyDenseCl, {**DENSECL, "symmetric": True}),
                trained=False,
                keeps=True,
            ),
        ),
    ),
    *(
        Contest(
            f"name and {what}, frozen encoders, B={TRIPLES}, D={WIDTH}",
            partial(Triples, pictures=pictures),
            RECALL,
            training(20, TRIPLES),
            (
                Side("gram", built(Gram, GRAM), ours=True, alone=our_triples_alone),
                Side("gram, cosine_weight 1", built(Gram, {**GRAM, "cosine_weight": 1.0}), ours=True),
                Side("open_clip, sum over pairs", built(PairwiseClip, PAIRWISE), alone=pairwise_alone),
                Side("open_clip, memory kept as by ours", built(PairwiseClip, PAIRWISE), trained=False, keeps=True),
            ),
        )
        for what, pictures in (("two drawings", ("drawing", "second")), ("two halves", ("upper", "lower")))
    ),
)

if __name__ == "__main__":
    packages = ("accord", "torch", "timm", "lightly", "open_clip_torch")
    main("peers_views", CONTESTS, packages, (__doc__ or "").partition("\n")[0])
