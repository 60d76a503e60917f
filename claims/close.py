"""CLOSE on digits: a head that learns from captions and is asked about pictures, in the space of a small CLIP.

A space of 32 dimensions is trained on 900 digits, each with a caption that names the digit (in nine cases of ten), how
much ink it has, to which side and to which end it leans, and two words that mean nothing. Its towers have one hidden
layer. Heads learn from the captions of 450 other digits and are asked about 350 pictures; 97 pairs say how the
modalities lie apart. What there is without noise is the baseline, a head that learns from the pictures of the same 450
digits the ceiling.

1. Noise helps: its level comes from the mean cosine of the pairs. It could fail because that noise is longer than the
   vector itself. Half the level is asked as well, since the rule counts what is noise in captions as gap.
2. More than half of what training on pictures brings is reached without any.
3. The mean shift alone gives less than noise; noise of the shape of the gap gives as much as noise alike in all
   directions.
4. Who chooses the noise on texts chooses none.
5. A decoder that writes the caption's words gains as the classifier does.

    accord claims run close
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from shared.digits import WORDS, split_digits
from torch import Tensor, nn

from accord.claims import Arm, Claim, Combined, Measured, Question, Scale
from accord.data.inputs import ImageInput, TextInput
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.encoders.generation import Decoding
from accord.encoders.tokenizer import JsonTokenizer, train_bpe
from accord.functional import info_nce, noise_for_cosine
from accord.methods.base import DataInfo, Step
from accord.methods.multimodal.close import Close
from accord.state import LogitScale

INK, SIDES, ENDS = ("faint", "plain", "heavy"), ("left", "right"), ("upper", "lower")
FILLERS = (
    "paper",
    "school",
    "letter",
    "archive",
    "cheque",
    "notebook",
    "form",
    "card",
    "page",
    "desk",
    "stamp",
    "list",
)
KEPT = 0.9  # share of the captions that name the digit
SPACE_ROWS, HEAD_ROWS, PAIRS = 900, 450, 97
HIDDEN, DIM, LENGTH = 128, 32, 12
SPACE_STEPS, BATCH, LR = 160, 128, 3e-3
EPOCHS = {"classification": 120, "captions": 40}


@dataclass(frozen=True)
class Rows:
    """Digits with captions.

    Args:
        image: ``(N, 3, 8, 8)``.
        captions: N texts.
        said: ``(N, 4)`` numbers of the digit, its ink, side and end.
    """

    image: Tensor
    captions: list[str]
    said: Tensor

    def part(self, rows: slice) -> Rows:
        """Some of them."""
        return Rows(self.image[rows], self.captions[rows], self.said[rows])


@dataclass(frozen=True)
class World:
    """A trained space, and the vectors in it of what heads learn from and are asked about.

    Args:
        encoders: of pictures and of texts.
        vectors: part -> ``(N, D)``, of ``pairs``, ``head`` and ``test`` by ``image`` or ``text``.
        rows: part -> rows.
    """

    encoders: dict[str, Encoder]
    vectors: dict[tuple[str, str], Tensor]
    rows: dict[str, Rows]


class InkTower(Encoder):
    """One hidden layer on the grey values, and a linear map into the space."""

    modality = "image"

    def __init__(self) -> None:
        super().__init__()
        self.input = ImageInput(size=8, mean=(0.5,) * 3, std=(0.5,) * 3)
        self.dim = DIM
        self.layers = nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, DIM, bias=False))

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of pictures ``(B, 3, 8, 8)``, whose channels are equal."""
        return Features(pooled=self.layers(x[:, 0].flatten(1)))

    def blocks(self) -> list[nn.Module]:
        """The layers, as one."""
        return [self.layers]

    def spec(self) -> dict[str, Any]:
        """Nothing but the name."""
        return {"name": "ink_tower"}


class WordTower(Encoder):
    """One hidden layer on the words that occur, and a linear map into the space."""

    modality = "text"

    def __init__(self, tokenizer: str) -> None:
        super().__init__()
        self.input = TextInput(JsonTokenizer(tokenizer))
        self.dim, self.text = DIM, tokenizer
        self.words = nn.Embedding(JsonTokenizer(tokenizer).vocabulary, HIDDEN)
        self.last = nn.Linear(HIDDEN, DIM, bias=False)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of texts ``(B, L)``, in whatever order their words stand."""
        seen = self.words(x) if mask is None else self.words(x) * mask[..., None]
        return Features(pooled=self.last(F.relu(seen.sum(dim=1))))

    def blocks(self) -> list[nn.Module]:
        """The table of words."""
        return [self.words]

    def spec(self) -> dict[str, Any]:
        """Its tokenizer."""
        return {"name": "word_tower", "tokenizer": self.text}


@cache
def world(seed: int, quick: bool = False) -> World:
    """The space of a seed, and all vectors in it."""
    rows = described(seed)
    first, second, third = SPACE_ROWS, SPACE_ROWS + HEAD_ROWS, SPACE_ROWS + HEAD_ROWS + PAIRS
    parts = {
        "space": rows.part(slice(first)),
        "head": rows.part(slice(first, second)),
        "pairs": rows.part(slice(second, third)),
        "test": rows.part(slice(third, None)),
    }
    torch.manual_seed(seed)
    encoders = {"image": InkTower(), "text": WordTower(train_bpe(rows.captions, vocabulary=400, length=LENGTH))}
    teach(encoders, parts["space"], 5 if quick else SPACE_STEPS)
    with torch.no_grad():
        vectors = {
            (name, modality): vectors
            for name, part in parts.items()
            for modality, vectors in embedded(encoders, part).items()
        }
    return World(encoders, vectors, parts)


def described(seed: int) -> Rows:
    """All digits in an order of the seed, with captions."""
    random = np.random.default_rng(seed)
    parts = split_digits(0)
    pixels, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("pixels", "labels"))
    order = random.permutation(len(labels))
    pixels, labels = pixels[order].astype(np.float64), labels[order]
    ink = pixels.mean(axis=(1, 2))
    bins = np.searchsorted(np.quantile(ink, [1 / 3, 2 / 3]), ink)
    right = pixels[:, :, 4:].sum(axis=(1, 2)) > pixels[:, :, :4].sum(axis=(1, 2))
    low = pixels[:, 4:].sum(axis=(1, 2)) > pixels[:, :4].sum(axis=(1, 2))
    said = np.stack([labels, bins, right, low], axis=1).astype(np.int64)
    captions = []
    for digit, much, side, end in said:
        named = WORDS[digit] if random.random() < KEPT else ""
        beside = random.choice(FILLERS, 2, replace=False)
        captions.append(" ".join([named, INK[much], SIDES[side], ENDS[end], *beside]).strip())
    grey = torch.from_numpy(pixels / 127.5 - 1).float()
    return Rows(grey[:, None].expand(-1, 3, -1, -1), captions, torch.from_numpy(said))


def teach(encoders: Mapping[str, Encoder], rows: Rows, steps: int) -> None:
    """Contrast pictures with captions, as CLIP does."""
    scale = LogitScale()
    parameters = [parameter for part in (*encoders.values(), scale) for parameter in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.01)
    ids, mask = encoders["text"].input.tokenizer(rows.captions)  # type: ignore[union-attr]
    for _ in range(steps):
        chosen = torch.randperm(len(ids))[:256]
        image = F.normalize(encoders["image"].encode(rows.image[chosen]).pooled, dim=1)
        text = F.normalize(encoders["text"].encode(ids[chosen], mask[chosen]).pooled, dim=1)
        optimizer.zero_grad()
        info_nce(image, text, scale()).backward()
        optimizer.step()
        scale.clamp_()
    for encoder in encoders.values():
        encoder.freeze("all")


def embedded(encoders: Mapping[str, Encoder], rows: Rows) -> dict[str, Tensor]:
    """Vectors of pictures and captions, as long as they are."""
    ids, mask = encoders["text"].input.tokenizer(rows.captions)  # type: ignore[union-attr]
    return {
        "image": encoders["image"].encode(rows.image).pooled,
        "text": encoders["text"].encode(ids, mask).pooled,
    }


def learnt(seed: int, settings: Mapping[str, Any], level: float, source: str, quick: bool) -> tuple[Close, int]:
    """A head after its training, and the number of steps.

    Args:
        seed: of the space, of the weights and of the order.
        settings: of the method.
        level: factor on the level of noise that the pairs give.
        source: what it learns from, ``text`` or, for the ceiling, ``image``.
        quick: the least that runs.
    """
    there = world(seed, quick)
    pairs = {name: F.normalize(there.vectors["pairs", name], dim=1) for name in ("image", "text")}
    if level != 1.0:
        cosine = float((pairs["image"] * pairs["text"]).sum(dim=1).mean())
        settings = {**settings, "noise": level * noise_for_cosine(cosine, DIM)}
    torch.manual_seed(seed)
    close = Close({"hidden": 64, **settings}, there.encoders, DataInfo(classes=WORDS))
    close.fit_pairs(pairs)
    rows, vectors = there.rows["head"], there.vectors["head", source]
    epochs = 1 if quick else EPOCHS[close.config.head]
    ids, mask = there.encoders["text"].input.tokenizer(rows.captions)  # type: ignore[union-attr]
    order = torch.Generator().manual_seed(seed)
    batches = [part for _ in range(epochs) for part in torch.randperm(len(vectors), generator=order).split(BATCH)]
    trained = [parameter for parameter in close.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LR, betas=(0.9, 0.999), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, len(batches))
    close.train()
    for number, chosen in enumerate(batches):
        optimizer.zero_grad()
        place = torch.arange(len(chosen))
        batch = {"text": Features(vectors[chosen]), "label": rows.said[chosen, 0]}
        batch |= {"text_raw": ids[chosen], "text_raw_mask": mask[chosen]}
        batch |= {"text_raw_row": place, "text_raw_drawn": place}
        close.loss(batch, Step(seed=seed * 100_003 + number))["total"].backward()
        optimizer.step()
        schedule.step()
    return close.eval(), len(batches)


def classifier(
    seed: int, settings: Mapping[str, Any], level: float = 1.0, source: str = "text", quick: bool = False
) -> Measured:
    """Accuracy, in percent, on pictures and on captions that no head has seen."""
    close, steps = learnt(seed, settings, level, source, quick)
    there = world(seed, quick)
    label = there.rows["test"].said[:, 0]
    with torch.inference_mode():
        found = {
            name: 100
            * float((close.classify({part: Features(there.vectors["test", part])}).argmax(1) == label).float().mean())
            for name, part in (("top-1", "image"), ("top-1 of captions", "text"))
        }
    return Measured(found, steps=steps)


def writer(
    seed: int, settings: Mapping[str, Any], level: float = 1.0, source: str = "text", quick: bool = False
) -> Measured:
    """Share, in percent, of digits, ink, sides and ends that are written as they are."""
    small = {"head": "captions", "width": 32, "depth": 1, "heads": 2}
    close, steps = learnt(seed, {**small, **settings}, level, source, quick)
    there = world(seed, quick)
    pictures = {"image": Features(there.vectors["test", "image"][: 20 if quick else None])}
    written = close.caption(pictures, Decoding(method="greedy", max_tokens=LENGTH - 1))
    right = [
        [names[int(number)] in text.split() for names, number in zip((WORDS, INK, SIDES, ENDS), said, strict=True)]
        for text, said in zip(written, there.rows["test"].said, strict=False)
    ]
    return Measured({"right words": 100 * float(np.mean(right))}, steps=steps)


def arm(note: str, *, level: float = 1.0, source: str = "text", task: Any = classifier, **settings: Any) -> Arm:
    """A head by its settings."""
    return Arm(function=partial(task, settings=settings, level=level, source=source), note=note)


POINTS = {"smallest": 1.0, "because": "three or four of the 350 pictures are then told right that were not"}

CLAIM = Claim(
    slug="close",
    kind_of_data="composed",
    paper="What is learnt from the text vectors of a contrastive model serves its picture vectors as well, if noise "
    "moves the texts in training.",
    arms={
        "noise": arm("at the mean cosine of pairs"),
        "half the level": arm("half of that", level=0.5),
        "no noise": arm("texts as they are", adapter="none"),
        "noise .05": arm("a fixed level", noise=0.05),
        "noise .1": arm("a fixed level", noise=0.1),
        "noise .2": arm("a fixed level", noise=0.2),
        "noise .3": arm("a fixed level", noise=0.3),
        "mean shift": arm("moved by the mean difference, without noise", adapter="shift", noise=0.0),
        "covariance": arm("noise with three times the covariance of the gap", adapter="cov", noise=0.0),
        "covariance, once": arm("noise with its covariance as it is", adapter="cov", noise=0.0, cov_factor=1.0),
        "pictures": arm("the same head on pictures of the same digits", adapter="none", source="image"),
        "words, noise": arm("a decoder, at the mean cosine of pairs", task=writer),
        "words, no noise": arm("a decoder, texts as they are", task=writer, adapter="none"),
        "words, pictures": arm("a decoder on pictures", task=writer, adapter="none", source="image"),
        "half way": Combined(("no noise", "pictures"), lambda low, high: {"top-1": (low["top-1"] + high["top-1"]) / 2}),
        "best level": Combined(
            ("noise .05", "noise .1", "noise .2", "noise .3"),
            lambda *levels: {"top-1": max(found["top-1"] for found in levels)},
            note="chosen on the pictures that it is measured on",
        ),
    },
    seeds=10,
    scales={
        "top-1": Scale(floor=10.0, ceiling="pictures"),
        "top-1 of captions": Scale(floor=10.0, ceiling=100.0),
        "right words": Scale(floor=100 * (1 / 10 + 1 / 3 + 1 / 2 + 1 / 2) / 4, ceiling=100.0),
    },
    questions=[
        Question(
            "noise",
            "With noise at the mean cosine of pairs it is right on pictures more often than without noise.",
            method="noise",
            baseline="no noise",
            metric="top-1",
            **POINTS,
        ),
        Question(
            "half the level",
            "With half of that noise it is right more often than without.",
            method="half the level",
            baseline="no noise",
            metric="top-1",
            **POINTS,
        ),
        Question(
            "half of the gap",
            "Noise closes more than half of the gap to a head that has learnt from pictures.",
            method="noise",
            baseline="half way",
            metric="top-1",
            **POINTS,
        ),
        Question(
            "rule",
            "The level that pairs give loses less than two points against the best of four, chosen on the pictures "
            "that they are measured on.",
            method="noise",
            baseline="best level",
            metric="top-1",
            margin=-2.0,
            **POINTS,
        ),
        Question(
            "mean shift",
            "Moved by the mean difference alone, without noise, it is right more often than not moved at all.",
            method="mean shift",
            baseline="no noise",
            metric="top-1",
            **POINTS,
        ),
        Question(
            "noise beyond the shift",
            "Noise gives more than the mean shift does.",
            method="noise",
            baseline="mean shift",
            metric="top-1",
            **POINTS,
        ),
        Question(
            "covariance",
            "Noise with the covariance of the gap is as good as noise alike in all directions.",
            method="covariance",
            baseline="noise",
            metric="top-1",
            expects="equivalent",
            **POINTS,
        ),
        Question(
            "covariance, once",
            "So it is without the factor 3 of the released code.",
            method="covariance, once",
            baseline="noise",
            metric="top-1",
            expects="equivalent",
            **POINTS,
        ),
        Question(
            "on texts",
            "On captions it is right more often without noise: who chooses by texts chooses none.",
            method="no noise",
            baseline="noise",
            metric="top-1 of captions",
            **POINTS,
        ),
        Question(
            "words",
            "A decoder with noise writes more words that are true of the picture than one without.",
            method="words, noise",
            baseline="words, no noise",
            metric="right words",
            smallest=1.0,
            because="of a hundred words one more is true",
        ),
    ],
    tuning="Nothing was tuned: one rate and one length for all arms. The level of the noise is that of the pairs.",
)
