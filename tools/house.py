"""Train and ship the model ``accord.load("house")``: CoCa on the emoji that come with Accord.

    python tools/house.py [--epochs N]

The picture tower is EfficientNet-Lite0 (Apache-2.0), frozen, without its classifier; the words and the decoder are
trained from scratch on names and tags. A tenth of the concepts is held out for the figures on the card. Weights are
stored in half precision.
"""

from __future__ import annotations

import argparse
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
from accord.data.sources import read_source
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
    "training": {"batch_size": 128, "lr": 1e-3, "weight_decay": 0.2, "workers": 1},
    "evaluate": ["retrieval", "zero_shot", "captions"],
}
KNOWS = """## What it knows

{rows} drawings of {concepts} concepts of Unicode's emoji, in the Noto and the Twemoji style, by their English names
and tags. It has never seen a photograph and knows no word that no emoji is called by. Use it to try Accord out, to
search and caption pictograms, or to start a training from; not to judge what Accord's methods reach on your data.

The picture tower is EfficientNet-Lite0 as published (ImageNet, Apache-2.0) and was not trained further. Drawings: Noto
Emoji (Apache-2.0) and Twemoji (CC-BY 4.0); names and tags: emojibase (MIT). Stored in half precision.
"""


def main() -> None:
    """Train, measure, write ``src/accord/models/house``."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--epochs", type=int, default=40)
    epochs = options.parse_args().epochs
    with TemporaryDirectory() as folder:
        table = write_table(Path(folder) / "emoji.parquet")
        run = {
            **RUN,
            "data": {
                "source": str(table),
                "columns": {"image": "image", "text": ["text"], "label": "subcategory", "group": "concept"},
                "split": {"test": 0.1},
            },
            "training": {**RUN["training"], "epochs": epochs},
        }
        finished = pipeline.train(config=run, out=Path(folder) / "house")
        ship(finished.path, SHIPPED / "house")


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


def ship(run: Path, target: Path) -> None:
    """Copy what loading needs, weights in half precision, and say on the card what the model knows."""
    target.mkdir(parents=True, exist_ok=True)
    tensors = load_file(run / WEIGHTS)
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    partial = target / f".{WEIGHTS}.partial"
    save_file(half, partial, metadata={"format": "pt"})
    if partial.stat().st_size > LARGEST:
        raise SystemExit(f"{partial.stat().st_size:,} bytes: more than the {LARGEST:,} that may ship")
    os.replace(partial, target / WEIGHTS)
    config = yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))
    config["data"] = {
        "source": PACK,
        "columns": {"text": ["name"], "label": "subcategory", "group": "concept"},
        "split": {"test": 0.1},
    }
    (target / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    for name in (ENCODERS, "metrics.json"):
        shutil.copyfile(run / name, target / name)
    card = (run / "README.md").read_text(encoding="utf-8").replace(config_source(run), PACK)
    concepts = len(set(read_source(PACK).rows["concept"]))
    known = KNOWS.format(rows=f"{config['data_info']['rows']:,}", concepts=f"{concepts:,}")
    head, mark, rest = card.partition("## Encoders")
    (target / "README.md").write_text(f"{head}{known}\n{mark}{rest}", encoding="utf-8")
    print(json.dumps({"bytes": (target / WEIGHTS).stat().st_size, "folder": str(target)}))


def config_source(run: Path) -> str:
    """Where the run's data were."""
    return str(yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))["data"]["source"])


if __name__ == "__main__":
    main()
