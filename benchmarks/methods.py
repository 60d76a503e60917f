"""All image–text methods on the same data with the same towers and budget: accuracy against step time and memory.

Emoji and their names, split by concept. The picture tower is the pretrained EfficientNet-Lite0, frozen; the text tower
is the small transformer, trained from scratch; every method runs at its defaults otherwise, but for what makes no
sense on so little data and is listed in ``CHANGES``. Accuracy is that of held-out concepts after the same number of
steps. Step time and memory come from a run of its own on fewer rows without the feature cache, the methods one after
another in every round, and are given as ratios to CLIP's of that round: some methods need token features or several
views of each picture, which a cache of pooled features hides.

    python benchmarks/methods.py [seeds]
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from record import write

SEEDS = 3
EPOCHS, BATCH = 12, 128
ROWS, TIMED_BATCH, TIMED_EPOCHS = 512, 64, 2
METHODS = (
    "clip",
    "contrastive_gap",
    "cwcl",
    "protoclip",
    "fdt",
    "filip",
    "tcl",
    "coca",
    "improved_vlp_baselines",
)
CHANGES: dict[str, dict[str, Any]] = {  # a codebook, a decoder and queries for towers of this size
    "fdt": {"num_tokens": 512, "dim": 128},
    "coca": {"queries": 16, "dim": 128},
}
MEASURES = {
    "text→image R@1": "retrieval: text→image R@1",
    "text→image R@10": "retrieval: text→image R@10",
    "image→text R@10": "retrieval: image→text R@10",
    "zero-shot top-1": "zero_shot: top-1",
}


def main(seeds: int = SEEDS) -> None:
    """Measure every method, print the rows and write ``results/methods.json``."""
    found: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    for seed in range(seeds):
        for method in METHODS:
            cost = measured("cost", method, seed)
            found[method].append({**measured("accuracy", method, seed), **cost})
            print(f"seed {seed}, {method}: {found[method][-1]}", flush=True)
    rows = [row(method, found[method], found["clip"]) for method in METHODS]
    write("methods", rows, ("accord", "torch", "timm", "lightning"))


def row(method: str, runs: list[dict[str, float]], clip: list[dict[str, float]]) -> dict[str, Any]:
    """Means over seeds, their spread, and the cost beside CLIP's."""
    record: dict[str, Any] = {"method": method, "seeds": len(runs)}
    for name in MEASURES:
        values = [run[name] for run in runs]
        record[name] = round(statistics.mean(values), 1)
        record[f"{name}, std"] = round(statistics.stdev(values), 1) if len(values) > 1 else None
    record["ms a step"] = 1000 * statistics.median(run["seconds"] for run in runs)
    for name, unit in (("step time", "seconds"), ("memory", "bytes")):
        ratios = [run[unit] / other[unit] for run, other in zip(runs, clip, strict=True)]
        record[f"{name} / clip's"] = statistics.median(ratios)
    return record


def measured(what: str, method: str, seed: int) -> dict[str, float]:
    """One measurement in a process of its own, so that memory is that of one method."""
    command = [sys.executable, __file__, what, method, str(seed)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def config(method: str, seed: int, **training: Any) -> dict[str, Any]:
    """The run that all methods share."""
    return {
        "data": {
            "source": "pack:emoji",
            "columns": {"text": ["name"], "label": "subcategory", "group": "concept"},
            "split": {"test": 0.2, "seed": seed},
        },
        "method": {"name": method, **CHANGES.get(method, {})},
        "encoders": {
            "image": {"name": "efficientnet_lite0", "freeze": "all", "options": {"size": 96}},
            "text": {"name": "tiny_text", "options": {"pool": "end"}},
        },
        "training": {"seed": seed, "batch_size": BATCH, "epochs": EPOCHS, "lr": 1e-3, "accelerator": "cpu", **training},
        "evaluate": ["retrieval", "zero_shot"],
    }


def accuracy(method: str, seed: int) -> dict[str, float]:
    """Metrics on held-out concepts."""
    from accord.data.recipe import prepare
    from accord.pipeline.config import RunConfig
    from accord.pipeline.run import fit_model
    from accord.pipeline.score import score

    run = RunConfig.parse(config(method, seed))
    prepared = prepare(run.data, quiet=True)
    with TemporaryDirectory() as folder:
        model, _ = fit_model(run, prepared, Path(folder), progress=False)
    metrics = {metric.name: metric.value for metric in score(model, prepared, run.evaluate)}
    return {name: metrics[long] for name, long in MEASURES.items()}


def cost(method: str, seed: int) -> dict[str, float]:
    """Seconds a step and the memory that training adds, without the feature cache."""
    from dataclasses import replace

    import numpy as np

    from accord.data.recipe import prepare
    from accord.pipeline.config import RunConfig
    from accord.pipeline.run import fit_model

    changes = {"epochs": TIMED_EPOCHS, "batch_size": TIMED_BATCH, "cache_features": False}
    run = RunConfig.parse(config(method, seed, **changes))
    prepared = prepare(run.data, quiet=True)
    prepared = replace(prepared, train=prepared.train.select(np.arange(ROWS)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with TemporaryDirectory() as folder:
        _, fitted = fit_model(run, prepared, Path(folder), progress=False)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": fitted.seconds / fitted.steps, "bytes": 1024.0 * grown}


if __name__ == "__main__":
    if len(sys.argv) > 2:
        task = {"accuracy": accuracy, "cost": cost}[sys.argv[1]]
        print(json.dumps(task(sys.argv[2], int(sys.argv[3]))))
    else:
        main(*map(int, sys.argv[1:]))
