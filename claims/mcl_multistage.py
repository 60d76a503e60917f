"""MCL on real 8×8 digits beside an easier feature, their colour: does a further stage learn what the first left out?

An input is a digit, noisy and with pixels left out, and a clear vector of its colour, which has nothing to do with the
digit. Two such views are contrasted by SimCLR's loss through an encoder of 8 numbers, in which colours that are told
apart easily leave little room for digits. A stage after the first sees only negatives of the anchor's cluster.

1. Digits should be read off the second stage better than off the first; in exchange it should know less of colours.
2. Three stages side by side should know digits better than three plain models side by side, which have the same size,
   start and steps, and the more so the more colours there are. Colours should stay known.
3. The stronger control is one plain encoder of 24 numbers, trained for as many steps as three stages are: it should not
   be better than MCL. It could well be, so that the gain is one at a fixed size of each stage alone.
4. Random clusters of the same sizes should give no more than plain models do.

A factor is known as well as a linear probe says on clean inputs that training has not seen. In all arms each member has
random weights of its own to start from. Floor and ceiling of digits: an untrained encoder, and inputs without colour.

    accord claims run mcl_multistage
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from shared.digits import WORDS, split_digits
from torch import Tensor, nn

from accord.claims import Arm, Claim, Combined, Measured, Question, Scale
from accord.data.inputs import ImageInput
from accord.data.loading.order import EveryRow, Known
from accord.encoders.base import Encoder, Features
from accord.evaluation.clustering import normalised_information
from accord.evaluation.linear_probe import fit_probe
from accord.functional import warmup_cosine_at
from accord.methods import DataInfo, Method, Step
from accord.methods.base import Batch
from accord.methods.multimodal.mcl_multistage import MclMultistage
from accord.methods.multimodal.multiview import MultiView

EPOCHS, BATCH, LR, WARMUP, STAGES = 60, 64, 2e-3, 0.05, 3
COLOURS = (5, 20, 40)
CODE, LOUD, BLUR, NOISE, MASKED = 16, 2.5, 0.1, 0.3, 0.3
SMALL, LARGE = 8, 24
QUICK = 128  # rows of a smoke run
SIMCLR: dict[str, Any] = {"objective": "nt_xent", "views": 2, "dim": 32, "temperature": 0.1}
DIGITS, SHADES = "digits", "colours"
FIRST, SECOND, SECOND_SHADES = "digits, first stage", "digits, second stage", "colours, second stage"
FIRST_SHADES = "colours, first stage"


class Rows(NamedTuple):
    """Clean inputs ``(N, 80)``, and both factors ``(N,)``."""

    x: Tensor
    digit: Tensor
    colour: Tensor

    def first(self, count: int | None) -> Rows:
        """The first so many, or all."""
        return Rows(*(part[:count] for part in self))


class TwoFactors(Encoder):
    """Two layers that end in a few numbers.

    Args:
        dim: how many.
    """

    modality = "image"

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.input, self.dim = ImageInput(size=8), dim
        self.layers = nn.Sequential(nn.Linear(64 + CODE, 128), nn.ReLU(), nn.Linear(128, dim))

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of ``(B, 80)``."""
        return Features(pooled=self.layers(x))

    def blocks(self) -> list[nn.Module]:
        """The two layers."""
        return [self.layers[:2], self.layers[2:]]

    def spec(self) -> dict[str, Any]:
        """The width."""
        return {"name": "two_factors", "dim": self.dim}


class Plain(MclMultistage):
    """The same stages without clusters."""

    def cluster(self, features: Tensor) -> Tensor:
        """One for all."""
        return torch.zeros(len(features), dtype=torch.int64)


class Shuffled(MclMultistage):
    """The same stages with clusters of the same sizes that mean nothing."""

    def cluster(self, features: Tensor) -> Tensor:
        """Those of the method, in random order."""
        found = super().cluster(features)
        return found[torch.randperm(len(found))]


def rows_of(seed: int, colours: int, coloured: bool = True) -> tuple[Rows, Rows]:
    """Training and test rows; each has a colour at random."""
    random = np.random.default_rng(seed)
    codes = random.standard_normal((colours, CODE))
    codes *= LOUD / np.linalg.norm(codes, axis=1, keepdims=True)
    parts = []
    for digits in split_digits(seed):
        colour = random.integers(colours, size=len(digits.labels))
        grey = digits.pixels.reshape(len(colour), -1) / 255
        x = np.concatenate([grey, codes[colour] * coloured], axis=1).astype(np.float32)
        parts.append(Rows(torch.from_numpy(x), torch.from_numpy(digits.labels), torch.from_numpy(colour)))
    return parts[0], parts[1]


def view_of(x: Tensor) -> Tensor:
    """A noisy digit without some of its pixels, and a little noise on the colour."""
    grey, code = x.split([64, CODE], dim=1)
    grey = (grey + NOISE * torch.randn_like(grey)) * (torch.rand_like(grey) > MASKED)
    return torch.cat([grey, code + BLUR * torch.randn_like(code)], dim=1)


class Clean:
    """All rows in order, as hooks see them."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Batch]:
        yield {"image": self.rows.x, "index": torch.arange(len(self.rows.x))}

    def episode(self) -> Iterator[Batch]:
        """They are not augmented."""
        return iter(self)

    def texts(self) -> list[list[str]]:
        """There are none."""
        return []


def outcome(
    seed: int,
    colours: int,
    kind: type[MclMultistage] = MclMultistage,
    *,
    dim: int = SMALL,
    alone: bool = False,
    trained: bool = True,
    coloured: bool = True,
    quick: bool = False,
) -> Measured:
    """Train three stages, or one model for as many steps, and measure what it knows of both factors."""
    train, test = (rows.first(QUICK if quick else None) for rows in rows_of(seed, colours, coloured))
    torch.manual_seed(seed)
    facts, towers = DataInfo(rows=len(train.x), classes=WORDS), {"image": TwoFactors(dim)}
    method: Method = MultiView(SIMCLR, towers, facts)
    if not alone:
        config = {"base": "multiview_infonce", "base_settings": SIMCLR, "stages_after": STAGES - 1}
        method = kind({**config, "order": "proportional"}, towers, facts)
        for part in (*method.copies, *method.each[1:]):
            part.apply(_anew)
    epochs = (1 if quick else EPOCHS) * (STAGES if alone else 1)
    steps = fitted(method, train, epochs if trained else 0, seed)
    return Measured(measure(method.eval(), train, test), steps)


def _anew(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.BatchNorm1d):
        module.reset_parameters()


def fitted(method: Method, rows: Rows, epochs: int, seed: int) -> int:
    """Train in place, stage after stage, with Adam and the usual schedule; returns the number of steps."""
    known, count = Known(len(rows.x)), len(rows.x) // BATCH
    total, done = epochs * count, 0
    for number, stage in enumerate(method.stages):
        method.eval().before_stage(stage, Clean(rows))
        names = stage.train or ("",)
        trained = [parameter for name, parameter in method.named_parameters() if name.startswith(names)]
        optimizer = torch.optim.Adam([one for one in trained if one.requires_grad], lr=LR, fused=True)
        method.train()
        for epoch in range(epochs):
            drawn = (method.sampling or EveryRow()).draw(known, BATCH, count, seed, number * epochs + epoch)
            for place, batch in enumerate(drawn):
                index = epoch * count + place
                step = Step(stage.name, epoch, index, total, epochs, seed=index, watched=False)
                optimizer.param_groups[0]["lr"] = warmup_cosine_at(index, round(WARMUP * total), total, base=LR)
                optimizer.zero_grad()
                chosen = torch.from_numpy(batch.rows)
                views = [view_of(rows.x[chosen]) for _ in range(2)]
                method.loss({"image_views": views, "index": chosen}, step)["total"].backward()
                optimizer.step()
                method.after_step(step)
                done += 1
    return done


@torch.inference_mode()
def measure(method: Any, train: Rows, test: Rows) -> dict[str, float]:
    """What probes read off all vectors, and off those of the first two stages; what the clusters are."""
    found = {DIGITS: _known(method, train, test, "digit"), SHADES: _known(method, train, test, "colour")}
    if isinstance(method, MclMultistage):
        for number, names in enumerate(((FIRST, FIRST_SHADES), (SECOND, SECOND_SHADES))):
            for name, factor in zip(names, ("digit", "colour"), strict=True):
                found[name] = _known(method.each[number], train, test, factor)
        for number, clusters in enumerate(method.found):
            for factor in ("digit", "colour"):
                found[f"NMI of clusters {number + 1} and {factor}s"] = _information(clusters, getattr(train, factor))
    return found


def _known(method: Any, train: Rows, test: Rows, factor: str) -> float:
    """Accuracy in percent of a probe of one factor, on the vectors as they are."""
    known, asked = (method.vectors({"image": rows.x})["image"] for rows in (train, test))
    labels, truth = getattr(train, factor), getattr(test, factor)
    with torch.inference_mode(False):
        probe = fit_probe(known.clone(), labels.numpy(), strengths=(100.0,), num_classes=int(labels.max()) + 1)
    return 100 * float((probe.logits(asked).argmax(dim=1) == truth).float().mean())


def _information(clusters: Tensor, factor: Tensor) -> float:
    table = np.zeros((1, int(clusters.max()) + 1, int(factor.max()) + 1))
    np.add.at(table[0], (clusters.numpy(), factor.numpy()), 1)
    return float(normalised_information(table)[0])


def arms() -> Iterator[tuple[str, Arm]]:
    """MCL, plain models and one large model at every number of colours; the null control at the largest."""
    for colours in COLOURS:
        yield f"MCL, {colours}", Arm(function=partial(outcome, colours=colours))
        yield f"plain, {colours}", Arm(function=partial(outcome, colours=colours, kind=Plain))
        yield (
            f"large, {colours}",
            Arm(function=partial(outcome, colours=colours, dim=LARGE, alone=True), note="24 numbers, all steps"),
        )
    yield f"random clusters, {COLOURS[-1]}", Arm(function=partial(outcome, colours=COLOURS[-1], kind=Shuffled))
    yield (
        "untrained",
        Arm(function=partial(outcome, colours=COLOURS[-1], trained=False), note="random weights"),
    )
    yield (
        "no colours",
        Arm(function=partial(outcome, colours=COLOURS[-1], kind=Plain, coloured=False), note="digits are all there is"),
    )


def knows(name: str, statement: str, method: str, baseline: str, metric: str = DIGITS, **more: Any) -> Question:
    """A question to a probe."""
    because = "another draw of the test rows moves it by a point and a half"
    return Question(name, statement, method, baseline, metric, **{"smallest": 2.0, "because": because, **more})


def gain(mcl: Mapping[str, float], plain: Mapping[str, float]) -> dict[str, float]:
    """How much more MCL knows of digits than plain models do."""
    return {DIGITS: mcl[DIGITS] - plain[DIGITS]}


def questions() -> Iterator[Question]:
    """Those of every number of colours, then those of one."""
    for colours in COLOURS:
        yield knows(
            f"second stage, {colours} colours",
            f"With {colours} colours, digits are read off the second stage better than off the first.",
            f"MCL, {colours}",
            f"MCL, {colours}",
            SECOND,
            baseline_metric=FIRST,
        )
        yield knows(
            f"against plain models, {colours} colours",
            f"With {colours} colours, three stages know digits better than three plain models of that size and steps.",
            f"MCL, {colours}",
            f"plain, {colours}",
        )
        yield knows(
            f"against one large model, {colours} colours",
            f"With {colours} colours, three stages know digits better than one plain model of their size and steps.",
            f"MCL, {colours}",
            f"large, {colours}",
        )
    few, many = COLOURS[0], COLOURS[-1]
    yield knows(
        "gain grows",
        f"What stages know more of digits than plain models is more with {many} colours than with {few}.",
        f"gain, {many}",
        f"gain, {few}",
        scale="a difference of differences has no level that somebody reaches",
    )
    yield knows(
        "forgets colours",
        f"With {many} colours, the first stage knows colours better than the second.",
        f"MCL, {many}",
        f"MCL, {many}",
        FIRST_SHADES,
        baseline_metric=SECOND_SHADES,
    )
    yield knows(
        "keeps colours",
        f"With {many} colours, all stages together lose less than a point of colours against plain models.",
        f"MCL, {many}",
        f"plain, {many}",
        SHADES,
        margin=-1.0,
        smallest=1.0,
        because="a point is five of the test rows",
    )
    yield knows(
        "random clusters",
        f"With {many} colours, random clusters of the same sizes are no better than plain models.",
        f"random clusters, {many}",
        f"plain, {many}",
        expects="equivalent",
    )


CLAIM = Claim(
    slug="mcl_multistage",
    kind_of_data="composed",
    paper="Contrast learns the easiest features that tell negatives apart and suppresses others; trained again among "
    "negatives that share what is known, it learns these, and the vectors of all stages together know both.",
    arms={
        **dict(arms()),
        **{f"gain, {each}": Combined((f"MCL, {each}", f"plain, {each}"), gain) for each in (COLOURS[0], COLOURS[-1])},
    },
    seeds=8,
    scales={
        **dict.fromkeys((DIGITS, SECOND), Scale("untrained", "no colours")),
        **dict.fromkeys((SHADES, FIRST_SHADES), Scale(0.0, 100.0)),
    },
    questions=list(questions()),
    tuning="Nothing was searched for: sizes, temperature, rate and length are the same for all arms. Each arm of three "
    "stages takes as many steps as the large model.",
)
