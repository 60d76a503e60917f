from __future__ import annotations

import json

import pytest
from small import small_run

from accord import pipeline
from accord.errors import ConfigError


def train(shapes, folder, **options):
    run = small_run(shapes, training={"epochs": 3, "batch_size": 12, "lr": 3e-3, "accelerator": "cpu"})
    return pipeline.train(config=run, out=folder, progress=False, **options)


def test_an_added_objective_is_trained_logged_and_not_shipped(shapes, tmp_path):
    run = train(shapes, tmp_path / "run", objective_add=["contrastive_gap"])
    line = json.loads((tmp_path / "run" / "train.jsonl").read_text().splitlines()[-1])
    assert "contrastive_gap: alignment" in line
    assert line["total"] != line["contrastive"]
    again = pipeline.load(run.path)
    assert again.config["objective_add"] == {"contrastive_gap": {}}


def test_its_settings_are_read_and_checked(shapes, tmp_path):
    settings = {"objective_add.contrastive_gap.uniformity": -1}
    with pytest.raises(ConfigError, match=r"objective_add\.contrastive_gap\.uniformity = -1"):
        train(shapes, tmp_path / "run", settings=settings)


def test_an_unknown_objective_is_refused_before_anything_is_written(shapes, tmp_path):
    with pytest.raises(ConfigError, match="no objective 'gap'; there are: contrastive_gap, rcad"):
        train(shapes, tmp_path / "run", objective_add=["gap"])
    assert not (tmp_path / "run").exists()


def test_a_method_without_pairs_refuses_it(shapes, tmp_path):
    with pytest.raises(ConfigError, match="no pairs of embeddings"):
        pipeline.train(
            config=small_run(shapes, method="cross_entropy"),
            out=tmp_path / "run",
            objective_add=["contrastive_gap"],
            progress=False,
        )


def test_a_resumed_run_must_have_the_same_objectives(shapes, tmp_path):
    train(shapes, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"objective_add\.contrastive_gap"):
        train(shapes, tmp_path / "run", objective_add=["contrastive_gap"], resume=True)
