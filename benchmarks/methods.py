"""All image–text methods on the same data with the same towers and budget: accuracy against step time and memory.

Emoji and their names, split by concept. The picture tower is the pretrained EfficientNet-Lite0, frozen; the text tower
is the small transformer, trained from scratch; every method runs at its defaults otherwise, but for what makes no
sense on so little data and is listed in ``CHANGES``. Accuracy is that of held-out concepts after the same number of
steps. Step time and memory come from runs of their own on fewer rows without the feature cache, the methods one after
another in every round, and are given as ratios to CLIP's of that round: some methods need token features or several
views of each picture, which a cache hides. What was measured is kept, so that a run that was stopped goes on.

    python benchmarks/methods.py [seeds]
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from matplotlib.figure import Figure
from record import write

from accord import __version__
from accord.claims.imports import closure
from accord.claims.store import key_of
from accord.data.reading.sources import cache_folder
from accord.methods import Paired, get_method, get_methods

SEEDS = 3
EPOCHS, BATCH = 12, 128
ROWS, TIMED_BATCH, TIMED_EPOCHS = 512, 64, 2
CHANGES: dict[str, dict[str, Any]] = {  # sizes and averages for a few thousand rows, as the methods' cards advise
    "fdt": {"num_tokens": 512, "dim": 128},
    "coca": {"queries": 16, "dim": 128},
    "tcl": {"fusion_depth": 2, "momentum": 0.99},
}
MEASURES = {
    "mean recall": "retrieval: mean recall",
    "text→image R@1": "retrieval: text→image R@1",
    "text→image R@10": "retrieval: text→image R@10",
    "image→text R@10": "retrieval: image→text R@10",
    "zero-shot top-1": "zero_shot: top-1",
}


def main(seeds: int = SEEDS) -> None:
    """Measure every method, print the rows, write ``results/methods.json`` and draw ``results/methods.png``."""
    methods = image_text_methods()
    tasks = [(method, seed) for seed in range(seeds) for method in methods]
    costs = {task: measured("cost", *task) for task in tasks}  # one at a time: they are timed
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(tasks, pool.map(lambda task: measured("accuracy", *task), tasks), strict=True))
    runs = {method: [{**found[method, seed], **costs[method, seed]} for seed in range(seeds)] for method in methods}
    rows = [row(method, runs[method], runs["clip"]) for method in methods]
    path = write("methods", rows, ("accord", "torch", "timm", "lightning"))
    draw(rows, path.with_suffix(".png"))


def image_text_methods() -> list[str]:
    """CLIP, and all other methods that learn from pairs of a picture and a text alone."""
    pairs = [kind for kind in get_methods() if issubclass(kind, Paired) and not kind.learns_labels]
    names = [kind.name for kind in pairs if set(kind.reads(kind.Config.parse({}))) == {"image", "text"}]
    return ["clip", *(name for name in names if name != "clip")]


def row(method: str, runs: list[dict[str, float]], clip: list[dict[str, float]]) -> dict[str, Any]:
    """Means over seeds, their spread, and the cost beside CLIP's."""
    record: dict[str, Any] = {"method": method, "seeds": len(runs)}
    for name in MEASURES:
        values = [run[name] for run in runs]
        record[name] = round(statistics.mean(values), 1)
        record[f"{name}, std"] = round(statistics.stdev(values), 1) if len(values) > 1 else None
    record["ms a step"] = round(1000 * statistics.median(run["seconds"] for run in runs))
    for name, unit in (("step time", "seconds"), ("memory", "bytes")):
        ratios = [run[unit] / other[unit] for run, other in zip(runs, clip, strict=True)]
        record[f"{name} / clip's"] = round(statistics.median(ratios), 2)
    return record


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Recall with its spread over seeds, against step time; a dot's area is memory beside CLIP's."""
    figure = Figure(figsize=(7.5, 4.5), dpi=110, layout="constrained")
    axes = figure.subplots()
    for one in rows:
        x, y = one["step time / clip's"], one["mean recall"]
        axes.errorbar(x, y, yerr=one["mean recall, std"] or 0, color="#9a9a9a", linewidth=1)
        axes.scatter(x, y, s=60 * one["memory / clip's"], color="#3949ab", alpha=0.75, zorder=2)
        axes.annotate(one["method"], (x, y), xytext=(8, 5), textcoords="offset points", fontsize=8)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("time of a step / CLIP's (log scale); area: memory / CLIP's")
    axes.set_ylabel("mean recall of held-out concepts, %")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, facecolor="white")


def measured(what: str, method: str, seed: int) -> dict[str, float]:
    """One measurement in a process of its own, so that memory is that of one method; kept once it is made."""
    facts = {
        "what": what,
        "run": config(method, seed),
        "accord": __version__,
        "rows": [ROWS, TIMED_BATCH, TIMED_EPOCHS],
    }
    code = closure([kind.__module__ for kind in get_method(method).__mro__] + ["accord.pipeline.run"])
    kept = cache_folder("benchmarks", key_of({**facts, "code": code}) + ".json")
    if not kept.exists():
        command = [sys.executable, __file__, what, method, str(seed)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(done.stdout.splitlines()[-1], encoding="utf-8")
    found = json.loads(kept.read_text(encoding="utf-8"))
    print(f"{what}, seed {seed}, {method}: {found}", flush=True)
    return found


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
