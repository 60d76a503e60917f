"""PC² through the command line on a folder of pictures with captions, a part of them exchanged."""

from __future__ import annotations

import csv

import pytest
import torch
import yaml
from small import small_run

import accord
from accord.cli import app
from accord.methods.abilities import JudgesRows

PC2 = {
    "name": "pc2",
    "dim": 16,
    "sim_dim": 8,
    "classes": 4,
    "hidden": 16,
    "warmup_epochs": 1,
    "epochs": 2,
    "captions_epoch": 1,
}


@pytest.mark.parametrize("similarity", ["sgr", "cosine"])
def test_the_command_trains_it_and_lists_the_pairs_that_it_doubts(similarity, shapes, tmp_path):
    image = {"name": "tiny_vit", "options": {"size": 32, "patch": 16, "width": 32, "depth": 1, "heads": 2}}
    config = small_run(shapes, method={**PC2, "similarity": similarity})
    config["encoders"]["image"] = image
    config["data"]["corruption"] = {"kind": "captions", "rate": 0.4, "order": "any"}
    config["training"] = {"batch_size": 12, "accelerator": "cpu"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    out = tmp_path / "run"
    app(["train", "--config", str(tmp_path / "run.yaml"), "--out", str(out)], standalone_mode=False)
    model = accord.load(out)
    verdicts = JudgesRows.of(model.method).verdicts()
    assert verdicts.score.shape == (36,)
    with (out / "doubted.csv").open(newline="") as file:
        doubted = list(csv.DictReader(file))
    assert len(doubted) == int((~verdicts.kept).sum())
    assert {row["reason"] for row in doubted} <= {"image and text do not belong together"}
    assert torch.equal(verdicts.kept, verdicts.score > 0.5)
    assert "score AUROC" in (out / "metrics.json").read_text()
    assert yaml.safe_load((out / "config.yaml").read_text())["training"]["optimizer"] == "adam"
