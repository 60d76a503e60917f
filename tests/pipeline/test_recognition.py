"""A folder of clips through training from a CLIP, evaluation by several views and orders, and names that are new."""

from __future__ import annotations

import csv
import math

import pytest
import yaml
from PIL import Image

import tiny_bundles
from accord import pipeline
from accord.data.recipe import DataConfig, prepare
from accord.errors import DataError
from accord.pipeline.build import build_method, prepare_run
from accord.pipeline.config import RunConfig, read_config

NAMES = ("red heart", "blue fish")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Sixteen clips of six frames as folders, and a table of them."""
    home = tmp_path_factory.mktemp("clips")
    with (home / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "label"])
        for number in range(16):
            kind = number % 2
            folder = home / f"clip {number}"
            folder.mkdir()
            for frame in range(6):
                picture = Image.new("RGB", (64, 40), ((200, 30, 30), (30, 30, 200))[kind])
                picture.paste((250,) * 3, (4 * frame + number, 10, 4 * frame + number + 8, 20))
                picture.save(folder / f"{frame}.png")
            writer.writerow([folder.name, NAMES[kind]])
    return home


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiny_bundles.TOWER, "intermediate_size", 128)
        return f"clip:{tiny_bundles.save_clip(tmp_path_factory.mktemp('bundle') / 'clip')}"


@pytest.fixture(scope="module", params=["xclip", "ila"])
def run(request, clips, clip, tmp_path_factory):
    """Two clips of each class, by the settings for that."""
    settings = {"encoders.video.options.frames": 3, "data.split.test": 0.5, "data.shots": 2, "training.log_every": 1}
    settings |= {"encoders.video.options.hidden": 16} if request.param == "ila" else {}
    return pipeline.train(
        clips / "clips.csv",
        request.param,
        config="clips-few-shot",
        bundle=clip,
        out=tmp_path_factory.mktemp("runs") / request.param,
        epochs=2,
        batch_size=4,
        settings=settings,
        device="cpu",
        progress=False,
    )


def test_it_learns_from_so_many_clips_of_each_class(run):
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    assert config["data"]["shots"] == 2
    assert config["training"]["lr"] == 2e-6
    assert run.fitted.steps == 2  # an epoch of four clips is one


def test_clips_are_evaluated_by_several_views_and_orders(run):
    views = {"classification.clips": 2, "classification.crops": 3}
    several = pipeline.evaluate(run.path, tasks=["classification"], settings=views, device="cpu")
    assert several[0].name == "top-1"
    assert several[0].n == 8
    orders = pipeline.evaluate(run.path, tasks=["order"], device="cpu")
    assert [metric.name for metric in orders][:3] == [
        f"top-1, frames {how}" for how in ("as they are", "shuffled", "reversed")
    ]


def test_clips_are_sorted_by_names_that_training_has_not_met(run, clips):
    found = pipeline.zero_shot(
        run.path, [clips / "clip 0", clips / "clip 1"], ["two birds", "green leaves", "a face"], device="cpu"
    )
    assert [len(item.classes) for item in found] == [3, 3]
    for item in found:
        assert math.isclose(sum(share for _, share in item.classes), 1, abs_tol=1e-5)
    own = pipeline.zero_shot(run.path, [clips / "clip 0"], device="cpu")
    assert {name for name, _ in own[0].classes} == set(NAMES)


def test_clips_weights_stay_frozen_also_where_classes_are_rows_of_a_matrix(clips, clip):
    run = RunConfig.parse(
        {
            "data": {"source": str(clips / "clips.csv")},
            "method": {"name": "ila", "head": "linear", "clip": clip},
            "encoders": {"video": {"options": {"kind": "dense", "temporal": "mean", "hidden": 16}}},
        }
    )
    encoder = build_method(run, prepare_run(run, quiet=True).train).encoders["video"]
    assert encoder.config.kind == "dense"
    trained = {name.split(".")[3] for name, one in encoder.named_parameters() if one.requires_grad}
    assert {name.split("_")[0] for name in trained} == {"message", "temporal"}


def test_the_settings_for_a_few_clips_are_those_of_the_paper():
    values = read_config("clips-few-shot")
    assert (values["training"]["epochs"], values["training"]["lr"]) == (50, 2e-6)
    assert values["encoders"]["video"]["options"]["frames"] == 32


def test_the_rows_of_each_class_are_drawn_by_the_seed_of_the_split(clips):
    def drawn(seed, shots=3):
        split = {"test": 0.25, "seed": seed}
        rows = prepare(DataConfig(source=str(clips / "clips.csv"), shots=shots, split=split), quiet=True)
        return rows

    rows = drawn(0)
    assert [int((rows.train.labels == label).sum()) for label in (0, 1)] == [3, 3]
    assert len(rows.test) == 4
    assert rows.train.ids.tolist() == sorted(rows.train.ids) == drawn(0).train.ids.tolist()
    assert len(drawn(0, shots=99).train) == 12


def test_rows_without_labels_cannot_be_counted_by_class(clips):
    config = DataConfig(source=str(clips / "clips.csv"), columns={"label": None}, shots=2)
    with pytest.raises(DataError, match=r"data.shots = 2 needs one label a row; pass --label COL"):
        prepare(config, quiet=True)
