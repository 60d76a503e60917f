"""PC² on digits whose captions say how each one is written, a share of them exchanged among the pictures.

Two towers of perceptrons, compared by cosine; two networks in all arms, and the same warm-up and steps. *Hard triplet*
takes all pairs for right, with the full margin; *NCR* divides the rows and shrinks margins; classification adds PC²'s
classes without names, and PC² borrows captions besides. Test pairs are right.

1. Dividing the rows and shrinking margins finds far more than hard triplets, which learn from wrong pairs above all.
2. The networks tell wrong pairs from right ones by their losses. Hard ones are left: a wrong caption may fit.
3. PC² should not lose against NCR. It could: a borrowed caption describes another picture, and here captions are a
   picture's own, while the paper's describe what several pictures show.
4. What classification and borrowing bring by themselves.
5. Where all captions are right, PC² should lose nothing against hard triplets. It could, since a part of the rows is
   always taken for wrong.

    accord claims run pc2
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from shared.encoders import DigitEncoder
from shared.layouts import Pairs, WordBag, layout_digits
from sklearn.metrics import roc_auc_score
from torch import nn

from accord.claims import Arm, Claim, Measured, Question, Scale
from accord.data.loading.order import Known
from accord.evaluation.retrieval import rank_queries
from accord.methods import DataInfo
from accord.methods.base import Loader, Stage, Step
from accord.methods.noisy.pc2 import Pc2
from accord.training.config import TrainingConfig
from accord.training.optimiser import build_optimizer, schedule
from accord.training.stages import divided, settings_of

WARMUP, EPOCHS, BORROWED = 5, 20, 10
METHOD: dict[str, Any] = {
    "similarity": "cosine",
    "dim": 64,
    "classes": 32,
    "hidden": 64,
    "warmup_epochs": WARMUP,
    "epochs": EPOCHS,
    "captions_epoch": BORROWED,
    "lr_epochs": 14,
    "crop_scale": (1.0, 1.0),
}
BATCH, LR = 128, 1e-3
RSUM, AUC = "rsum", "AUC"
SHARES = {"40 %": 0.4, "60 %": 0.6, "right captions": 0.0}


class Undivided(Pc2):
    """All pairs are right, at every time."""

    def divide(self, step: Step, loader: Loader) -> None:
        """Not at all."""


def variant(kind: type[Pc2], wrong: float, *, trained: bool = True, **settings: Any) -> Callable[..., Measured]:
    """An arm: a method trained on pairs of which a share is wrong."""

    def run(seed: int, quick: bool = False) -> Measured:
        train, test = layout_digits(seed, wrong)
        few = {"warmup_epochs": 1, "epochs": 1, "captions_epoch": 0} if quick else {}
        train, test = (train.first(128), test.first(60)) if quick else (train, test)
        torch.manual_seed(seed)
        towers = {"image": DigitEncoder(), "text": WordBag()}
        method = kind({**METHOD, **settings, **few}, towers, DataInfo(rows=len(train)))
        steps = epochs = 0
        for stage in method.stages if trained else ():
            steps += fitted(method, stage, train, seed, epochs)
            epochs += stage.epochs or 0
        return Measured(measure(method.eval(), train, test), steps=steps, epochs=epochs)

    return run


def fitted(method: Pc2, stage: Stage, rows: Pairs, seed: int, before: int) -> int:
    """Train one stage as it declares it, after so many epochs of others; returns its steps."""
    usual = TrainingConfig.parse({**method.default_training(method.config), "lr": LR, "batch_size": BATCH})
    own = {one.name: settings_of(one, usual, stage) for one in stage.optimisers}
    parts = divided(list(method.named_parameters()), stage)
    movers = {name: build_optimizer(part, own[name]) for name, part in zip(own, parts, strict=True)}
    known, epochs = Known(len(rows)), stage.epochs or 0
    size = min(BATCH, len(rows) // 2)
    count = method.sampling.rows_per_epoch(known) // size
    for epoch in range(epochs):
        step = Step(stage.name, epoch, epoch * count, epochs * count, epochs, seed=1000 * seed + before + epoch)
        method.eval().before_epoch(step, rows)
        method.train()
        for number, drawn in enumerate(method.sampling.draw(known, size, count, seed, before + epoch)):
            for name, part in zip(movers, parts, strict=True):
                told = replace(step, index=step.index + number, optimiser=name)
                if method.active(told):
                    batch = rows.rows(torch.from_numpy(drawn.rows))
                    for group in movers[name].param_groups:
                        group["lr"] = LR * schedule(told.index, told.total, own[name])
                    movers[name].zero_grad()
                    method.loss(batch, told)["total"].backward()
                    nn.utils.clip_grad_norm_([parameter for _, parameter in part], own[name].grad_clip or 0.0)
                    movers[name].step()
    return epochs * count


@torch.inference_mode()
def measure(method: Pc2, train: Pairs, test: Pairs) -> dict[str, float]:
    """The sum of six recalls on right pairs, and how well a pair's probability tells right ones from wrong ones."""
    vectors = method.embed(test.rows(torch.arange(len(test))))
    own = [[row] for row in range(len(test))]
    ways = (("image", "text"), ("text", "image"))
    ranks = [rank_queries((vectors[asked], vectors[given]), own).rank for asked, given in ways]
    found = {RSUM: sum(100 * float((rank <= k).mean()) for rank in ranks for k in (1, 5, 10))}
    verdicts = method.verdicts()
    if verdicts is not None and not train.right.all():
        found[AUC] = float(roc_auc_score(train.right, verdicts.score.numpy()))
    return found


KINDS: dict[str, tuple[type[Pc2], dict[str, Any], str]] = {
    "hard triplet": (Undivided, {"captions": False, "classification": False}, "all pairs taken for right"),
    "NCR": (Pc2, {"captions": False, "classification": False}, "rows divided by losses, margins shrunk"),
    "classified": (Pc2, {"captions": False}, "classes without names, and oscillation, besides"),
    "PC²": (Pc2, {}, "captions borrowed besides"),
}


def arms() -> Iterator[tuple[str, Arm]]:
    """Every kind at every share of wrong captions; where all are right, two of them."""
    for where, wrong in SHARES.items():
        for name, (kind, settings, note) in KINDS.items():
            if wrong or name in ("hard triplet", "PC²"):
                yield f"{name}, {where}", Arm(function=variant(kind, wrong, **settings), note=note)
    yield "untrained", Arm(function=variant(Pc2, 0.0, trained=False), note="random weights")


def finds(name: str, statement: str, method: str, baseline: str, where: str, **more: Any) -> Question:
    """That one arm finds more than another; where half of the pairs are wrong ten points of 600 are little."""
    how = {
        "smallest": 10.0,
        "because": "the arms of one seed differ by as much when the other network starts elsewhere",
    }
    return Question(name, statement, f"{method}, {where}", f"{baseline}, {where}", RSUM, **{**how, **more})


def questions() -> Iterator[Question]:
    """The same ones at both shares, and that of right captions."""
    for where in ("40 %", "60 %"):
        among = f"Where {where} of the captions are wrong,"
        yield finds(
            f"robust, {where}",
            f"{among} dividing the rows and shrinking margins finds 50 points of rsum more than hard triplets.",
            "NCR",
            "hard triplet",
            where,
            margin=50.0,
        )
        yield Question(
            f"detection, {where}",
            f"{among} PC²'s probability tells right pairs from wrong ones with an AUC above 0.75.",
            f"PC², {where}",
            0.75,
            AUC,
            unit="of AUC",
            smallest=0.02,
            because="a hundredth more or less changes no decision about a row",
        )
        yield Question(
            f"detection against NCR, {where}",
            f"{among} it tells them apart as well as NCR's.",
            f"PC², {where}",
            f"NCR, {where}",
            AUC,
            unit="of AUC",
            smallest=0.02,
            because="a hundredth more or less changes no decision about a row",
            expects="equivalent",
        )
        yield finds(
            f"against NCR, {where}",
            f"{among} PC² loses less than 20 points of rsum against NCR.",
            "PC²",
            "NCR",
            where,
            margin=-20.0,
        )
        yield finds(
            f"borrowed captions, {where}",
            f"{among} mismatched pictures that borrow captions bring more than mismatched pictures left out.",
            "PC²",
            "classified",
            where,
        )
        yield finds(
            f"classification, {where}",
            f"{among} classification without names, and margins that its oscillation corrects, find more.",
            "classified",
            "NCR",
            where,
        )
    yield finds(
        "right captions",
        "Where all captions are right, PC² loses less than 20 points of rsum against hard triplets.",
        "PC²",
        "hard triplet",
        "right captions",
        margin=-20.0,
    )


CLAIM = Claim(
    slug="pc2",
    kind_of_data="composed",
    paper="Pairs that do not belong together are found by their losses and by predictions that waver; pictures among "
    "them learn from a caption that they borrow from a pair which is classified alike.",
    arms=dict(arms()),
    seeds=8,
    scales={RSUM: Scale(floor="untrained", ceiling="hard triplet, right captions"), AUC: Scale(0.5, 1.0)},
    questions=list(questions()),
    tuning="Margin, entropy, thresholds and clipping are the paper's. Learning rate, epochs and sizes follow from a "
    "thousand pairs, by trials of the arms on seed 200, which is no seed of the record, for arms that still find wrong "
    "pairs at the end; they are the same for all.",
)
