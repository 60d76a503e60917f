"""Train and ship the model ``accord.load("house")``: CoCa on the emoji that come with Accord.

    python tools/house.py

It is to search, sort and caption, and of the methods only CoCa writes captions. The picture tower is EfficientNet-Lite0
(Apache-2.0), frozen, without its classifier; the words and the decoder are trained from scratch on names and tags. A
tenth of the concepts is held out for the figures on the card; of the others, a tenth chooses among ``CANDIDATES``, and
the best is trained again on all of them. Weights are stored in half precision.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import yaml
from safetensors.torch import load_file, save_file

from accord import pipeline
from accord.data.reading.sources import read_source
from accord.data.recipe import prepare
from accord.pipeline.config import RunConfig, merged
from accord.pipeline.run import fit_model
from accord.pipeline.score import score
from accord.shipped import SHIPPED
from accord.training.artifact import CONFIG, ENCODERS, WEIGHTS

PACK = "pack:emoji"
LARGEST = 12_000_000  # bytes of the weights
RUN: dict[str, Any] = {
    "method": {"name": "coca", "dim": 128, "queries": 16, "pooler_heads": 4, "decoder_depth": 2, "decoder_heads": 4},
    "encoders": {
        "image": {"name": "efficientnet_lite0", "freeze": "all", "options": {"size": 128}},
        "text": {
            "name": "tiny_text",
            "options": {"pool": "class", "width": 128, "depth": 3, "length": 32, "vocabulary": 2048},
        },
    },
    "training": {"batch_size": 128, "lr": 1e-3, "weight_decay": 0.2},
    "evaluate": ["retrieval", "zero_shot", "captions"],
}
CANDIDATES: dict[str, dict[str, Any]] = {
    **{f"{epochs} epochs": {"training.epochs": epochs} for epochs in (5, 10, 20)},
    "10 epochs, contrast twice": {"training.epochs": 10, "method.contrastive_weight": 4.0},
    "10 epochs, gap closed": {"training.epochs": 10, "objective_add": {"contrastive_gap": {}}},
}
RECALL, PERPLEXITY = "retrieval: mean recall", "captions: perplexity"
KNOWS = """## What it knows

{rows} drawings of nine tenths of the {concepts} concepts of Unicode's emoji, in the Noto and the Twemoji style, by
their English names and tags. It has never seen a photograph and knows no word that no emoji is called by. Use it to try
Accord out, to search pictograms, or to start a training from; not to judge what Accord's methods reach on your data.

Ask it for things by the names that emoji have: `building` finds a bank, a school and a synagogue; `heart`,
`firefighter`, `o'clock`, `cat face` and `family` find what they say, mostly among drawings that it was trained on. It
is bad at kinds of things that no emoji is called by (`fruit`, `insect`, `musical instrument`, `weather`), at moods and
situations, and at a colour together with a thing (`a red fruit` finds what is round or red). Many of its captions name
other things, also for drawings that it was trained on.

The picture tower is EfficientNet-Lite0 as published (ImageNet, Apache-2.0) and was not trained further. Drawings: Noto
Emoji (Apache-2.0) and Twemoji (CC-BY 4.0); names and tags: emojibase (MIT). Stored in half precision.

## How it was chosen

By mean recall on a tenth of the training concepts; the figures below are of other concepts, which had no part in it.

| candidate | mean recall | caption perplexity |
|---|---|---|
{candidates}

"""


def main() -> None:
    """Choose, train, measure, write ``src/accord/models/house``."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table = write_table(folder / "emoji.parquet")
        found = candidates(table, folder)
        best = max(found, key=lambda name: found[name][RECALL])
        finished = pipeline.train(config=merged(run(table), CANDIDATES[best]), out=folder / "house")
        ship(finished.path, SHIPPED / "house", found, best)


def run(table: Path) -> dict[str, Any]:
    """The run on a table, a tenth of its concepts held out."""
    columns = {"image": "image", "text": ["text"], "label": "subcategory", "group": "concept"}
    return {**RUN, "data": {"source": str(table), "columns": columns, "split": {"test": 0.1}}}


def candidates(table: Path, folder: Path) -> dict[str, dict[str, float]]:
    """What each candidate reaches on a tenth of the concepts that are not held out for the figures."""
    training = prepare(RunConfig.parse(run(table)).data, quiet=True).splits.rows["train"]
    rows = datasets.Dataset.from_parquet(str(table), cache_dir=str(folder)).select(training)
    rows.to_parquet(str(folder / "training.parquet"))
    found = {}
    for name, changes in CANDIDATES.items():
        config = RunConfig.parse(merged(run(folder / "training.parquet"), changes))
        prepared = prepare(config.data, quiet=True)
        model, _ = fit_model(config, prepared, folder / name, progress=False)
        metrics = {metric.name: metric.value for metric in score(model, prepared, ["retrieval", "captions"])}
        found[name] = {metric: metrics[metric] for metric in (RECALL, PERPLEXITY)}
        print(name, found[name], flush=True)
    return found


def write_table(path: Path) -> Path:
    """The pack with two captions a row: the name, and the name with its tags."""
    rows = read_source(PACK).rows
    captions = [
        [name, f"{name}: {', '.join(tag for tag in tags if tag != name)}"]
        for name, tags in zip(rows["name"], rows["tags"], strict=True)
    ]
    kept = rows.select_columns(["image", "subcategory", "concept"]).add_column("text", captions)
    kept.cast_column("image", datasets.Image(decode=False)).to_parquet(str(path))
    return path


def ship(trained: Path, target: Path, found: dict[str, dict[str, float]], best: str) -> None:
    """Copy what loading needs, weights in half precision, and say on the card what the model knows."""
    target.mkdir(parents=True, exist_ok=True)
    tensors = load_file(trained / WEIGHTS)
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    partial = target / f".{WEIGHTS}.partial"
    save_file(half, partial, metadata={"format": "pt"})
    if partial.stat().st_size > LARGEST:
        raise SystemExit(f"{partial.stat().st_size:,} bytes: more than the {LARGEST:,} that may ship")
    os.replace(partial, target / WEIGHTS)
    config = yaml.safe_load((trained / CONFIG).read_text(encoding="utf-8"))
    source = str(config["data"]["source"])
    config["data"] = {
        "source": PACK,
        "columns": {"text": ["name"], "label": "subcategory", "group": "concept"},
        "split": {"test": 0.1},
    }
    (target / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    for name in (ENCODERS, "metrics.json"):
        shutil.copyfile(trained / name, target / name)
    listed = "\n".join(
        f"| {f'**{name}**' if name == best else name} | {values[RECALL]:.1f} % | {values[PERPLEXITY]:.0f} |"
        for name, values in found.items()
    )
    concepts = len(set(read_source(PACK).rows["concept"]))
    known = KNOWS.format(rows=f"{config['data_info']['rows']:,}", concepts=f"{concepts:,}", candidates=listed)
    card = (trained / "README.md").read_text(encoding="utf-8").replace(source, PACK)
    head, mark, rest = card.partition("## Encoders")
    (target / "README.md").write_text(f"{head}{known}{mark}{rest}", encoding="utf-8")
    print(json.dumps({"chosen": best, "bytes": (target / WEIGHTS).stat().st_size, "folder": str(target)}))


if __name__ == "__main__":
    main()
