"""CLIP's three claims, on digit scenes: 16×16 pictures of four real digits with captions of their places.

1. Text-to-image recall ends above ten times what guessing gives, and rises with the batch size at an equal number of
   optimiser steps. It could fail because negatives are easy here: a small batch may teach as much as a large one, and
   the large one has more captions that fit several of its pictures.
2. A learnable temperature (from 0.07) ends at a higher recall than a fixed temperature of 1. It could fail because
   with a cosine in [-1, 1] and a scale of 1 the loss still ranks the pairs, only softly.
3. Two processes that score their own rows only, against the features gathered from both, end with the parameters of
   one process with the same global batch. It fails when a gradient is lost, doubled or averaged twice. The optimiser
   is SGD here: Adam's steps do not depend on the scale of the gradient and would hide just that.

    python claims/clip.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from shared.digits import digit_scenes
from shared.record import Result, paired, write
from torch import Tensor

from accord.data.corpus import Corpus
from accord.encoders import build_encoder
from accord.evaluation.metric import Metric
from accord.evaluation.retrieval import evaluate_retrieval
from accord.functional.distributed import rank
from accord.methods import DataInfo
from accord.methods.image_text.clip import Clip
from accord.training.artifact import Model
from accord.training.config import TrainingConfig
from accord.training.fit import fit

SEEDS = (0, 1, 2, 3, 4)  # the last two were added when three left the claim of the temperature undecided
STEPS, SMALL, LARGE = 256, 32, 256
RECALL = "text→image R@1"
ENCODERS = {
    "image": {"name": "tiny_vit", "size": 16, "patch": 4, "width": 64, "depth": 2, "heads": 4},
    "text": {"name": "tiny_text", "width": 64, "depth": 2, "heads": 4, "length": 24, "vocabulary": 400},
}
SHARED_STEPS, SHARED_BATCH = 20, 64  # of the runs that one and two processes make
AGREEMENT = 1e-5  # largest difference between float32 parameters that counts as none


def main() -> None:
    """Measure the claims, print and write them."""
    for result in (*recalls(), processes_agree()):
        write(result)


def recalls() -> list[Result]:
    """Recall by batch size, temperature and chance."""
    small, large, fixed, chance = f"batch {SMALL}", f"batch {LARGE}", "fixed temperature 1", "ten times chance"
    settings: dict[str, tuple[int, dict[str, Any]]] = {
        small: (SMALL, {}),
        large: (LARGE, {}),
        fixed: (LARGE, {"temperature": 1.0, "learn_temperature": False}),
    }
    values: dict[str, list[float]] = {name: [] for name in (*settings, chance)}
    seconds = dict.fromkeys(values, 0.0)
    for seed in SEEDS:
        train, test = digit_scenes(seed)
        for arm, (batch, method) in settings.items():
            start = time.perf_counter()
            metric = recall(trained(train, seed, batch, STEPS, **method), test)
            values[arm].append(metric.value)
            seconds[arm] += time.perf_counter() - start
            print(f"seed {seed}, {arm}: {metric}", flush=True)
        values[chance].append(10 * (metric.chance or 0.0))
    statements = {
        "clip_above_chance": (
            chance,
            f"After {STEPS} steps of {LARGE}, R@1 is more than ten times what guessing gives.",
        ),
        "clip_batch_size": (
            small,
            f"R@1 is higher with a batch of {LARGE} than of {SMALL} after {STEPS} steps of each.",
        ),
        "clip_temperature": (fixed, "A learnable temperature ends at a higher R@1 than a fixed temperature of 1."),
    }
    return [
        paired(
            claim,
            statement,
            f"points of {RECALL}",
            (large, values[large]),
            (other, values[other]),
            SEEDS,
            seconds[large] + seconds[other],
        )
        for claim, (other, statement) in statements.items()
    ]


def processes_agree() -> Result:
    """The largest difference that two processes make to any parameter, over all seeds."""
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            __file__,
            folder,
        ]
        subprocess.run(command, check=True, capture_output=True)
        two = [torch.load(Path(folder) / f"{seed}.pt", weights_only=True) for seed in SEEDS]
    one = [shared_run(seed, processes=1) for seed in SEEDS]
    differences = [
        max(float((mine[name] - theirs[name]).abs().max()) for name in mine)
        for mine, theirs in zip(one, two, strict=True)
    ]
    largest = max(differences)
    return Result(
        claim="clip_two_processes",
        statement="Two processes with a local loss over gathered features end with the parameters of one process: "
        f"no float32 parameter differs by {AGREEMENT:.5f} or more after {SHARED_STEPS} steps.",
        method="two processes",
        baseline="one process",
        metric="largest absolute difference of a parameter",
        effect=largest,
        low=largest,
        high=largest,
        verdict="holds" if largest < AGREEMENT else "does not hold",
        seeds=SEEDS,
        seconds=time.perf_counter() - start,
        values={"two processes": differences, "one process": [0.0] * len(SEEDS)},
    )


def one_of_two(folder: Path) -> None:
    """What each of the two processes does: train its share, and leave the parameters if it is the first."""
    for seed in SEEDS:
        parameters = shared_run(seed, processes=2)
        if rank() == 0:
            torch.save(parameters, folder / f"{seed}.pt")


def shared_run(seed: int, processes: int) -> dict[str, Tensor]:
    """The parameters after the few steps that one or two processes make together."""
    train, _ = digit_scenes(seed, train=SHARED_STEPS * SHARED_BATCH)
    training = {"devices": processes, "optimizer": "sgd", "lr": 0.05}
    return trained(train, seed, SHARED_BATCH, SHARED_STEPS, training=training).state_dict()


def trained(
    train: Corpus, seed: int, batch: int, steps: int, *, training: Mapping[str, Any] | None = None, **method: Any
) -> Clip:
    """CLIP after so many optimiser steps on batches of so many scenes."""
    torch.manual_seed(seed)
    captions = [caption for row in train.texts() for caption in row]
    towers = {
        modality: build_encoder(modality, spec, weights=False, texts=captions) for modality, spec in ENCODERS.items()
    }
    clip = Clip({"dim": 64, **method}, towers, DataInfo(rows=len(train)))
    settings = {"epochs": steps * batch // len(train), "batch_size": batch, "lr": 2e-3, "seed": seed}
    config = TrainingConfig.parse({**settings, "accelerator": "cpu", **(training or {})})
    with TemporaryDirectory() as folder:
        fit(clip, train, config, Path(folder), progress=False)
    return clip


def recall(clip: Clip, test: Corpus) -> Metric:
    """Share of captions, in percent, whose nearest picture is one that they belong to."""
    return next(metric for metric in evaluate_retrieval(Model(clip), test) if metric.name == RECALL)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one_of_two(Path(sys.argv[1]))
    else:
        main()
