from __future__ import annotations

import io
import json
import re

import pytest
from small import small_run

from accord import pipeline
from accord.data.recipe import DataConfig, prepare
from accord.errors import ConfigError
from accord.pipeline import comparison
from accord.pipeline.config import merged, read_config, shipped

CAPRO = {
    "name": "capro",
    "dim": 8,
    "queue_size": 32,
    "few_shot": 4,
    "neighbours": 2,
    "pool": 6,
    "rerank_k1": 4,
    "rerank_k2": 2,
    "vanilla_epochs": 1,
    "prototype_epochs": 3,
    "init_epoch": 0,
    "clean_epoch": 1,
    "finetune_epochs": 1,
}


@pytest.fixture(scope="module")
def study(shapes, tmp_path_factory):
    run = small_run(shapes)
    run["data"] |= {"corruption": {"kind": "labels", "rate": 0.4}, "columns": {"label": "label", "group": "group"}}
    run["training"] |= {"epochs": 2}
    config = {
        "title": "shapes",
        "report": ["top-1", "purity of trusted rows", "purity of kept rows", "wrong labels found"],
        "run": run,
        "arms": {
            "clean": {"role": "ceiling", "changes": {"method": "cross_entropy", "data.corruption": None}},
            "noisy": {"changes": {"method": "cross_entropy"}},
            "capro": {"role": "method", "changes": {"method": CAPRO}},
        },
    }
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda *_: folder / "cache")
        return pipeline.compare(config, seeds=2, out=folder / "out", progress=False)


def test_every_arm_is_measured_on_every_seed(study):
    assert list(study.values) == ["clean", "noisy", "capro"]
    assert all(len(values["top-1"]) == 2 for values in study.values.values())
    assert "purity of trusted rows" in study.values["capro"]
    record = json.loads((study.folder / "comparison.json").read_text())
    assert record["values"]["noisy"]["top-1"] == study.values["noisy"]["top-1"]


def test_the_table_and_the_sentences_say_who_is_better(study):
    assert study.table().row_count == 3
    assert any(line.startswith("capro against noisy") for line in study.sentences())


def test_the_table_fits_a_terminal_of_80_columns(study):
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    console.print(study.table())
    text = console.export_text()
    assert "capro" in text
    assert "…" not in text


def test_a_second_comparison_does_not_overwrite_the_first(study):
    with pytest.raises(ConfigError, match="already holds a comparison"):
        pipeline.compare(study.config.model_dump(), seeds=1, out=study.folder, progress=False)


def test_a_stopped_comparison_goes_on_with_what_is_missing(study, tmp_path, monkeypatch, capsys):
    config, folder, trained = study.config.model_dump(), tmp_path / "out", []
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: tmp_path / "cache")
    measure = comparison._measure

    def stopped_at_capro(run, place, **options):
        if place.name == "capro" and len(trained) == 2:
            trained.append("stopped")
            raise KeyboardInterrupt
        trained.append(place.name)
        return measure(run, place, **options)

    monkeypatch.setattr(comparison, "_measure", stopped_at_capro)
    with pytest.raises(KeyboardInterrupt):
        pipeline.compare(config, seeds=1, out=folder)
    with pytest.raises(ConfigError, match=r"already holds a comparison: .* or to accord compare --resume"):
        pipeline.compare(config, seeds=1, out=folder)
    capsys.readouterr()
    resumed = pipeline.compare(config, seeds=1, out=folder, resume=True)
    assert trained == ["clean", "noisy", "stopped", "capro"]
    assert {arm: values["top-1"] for arm, values in resumed.values.items()} == {
        arm: values["top-1"][:1] for arm, values in study.values.items()
    }
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("seed 1 of 1  clean: top-1 ")
    assert re.fullmatch(r"arm 3 of 3: capro; about \d+ s left", lines[2])
    config["arms"]["noisy"]["changes"]["training.epochs"] = 1
    pipeline.compare(config, seeds=1, out=folder, resume=True, progress=False)
    assert trained[4:] == ["noisy"], "only what has other settings now"


def test_there_has_to_be_a_comparison_to_go_on_with(study, tmp_path):
    with pytest.raises(ConfigError, match=r"there is no comparison in .* to go on with: leave --resume out"):
        pipeline.compare(study.config.model_dump(), seeds=1, out=tmp_path / "new", resume=True, progress=False)
    assert not (tmp_path / "new").exists()


def test_a_comparison_without_a_method_is_refused(study):
    config = study.config.model_dump()
    config["arms"].pop("capro")
    with pytest.raises(ConfigError, match="exactly one arm needs role: method, got none"):
        pipeline.compare(config, seeds=1, out=study.folder / "other", progress=False)


def test_a_wrong_setting_of_the_last_arm_is_told_before_the_first_one_trains(study):
    config = study.config.model_dump()
    config["arms"]["capro"]["changes"] = {"method": {"name": "capro", "few_shots": 3}}
    folder = study.folder / "wrong"
    with pytest.raises(ConfigError, match="few_shots is not a setting"):
        pipeline.compare(config, seeds=1, out=folder, progress=False)
    assert not list(study.folder.glob("wrong*"))


def test_the_report_compares_the_arms_and_shows_doubted_rows(study):
    page = study.report.read_text()
    assert "noisy" in page
    assert "clean" in page


def test_the_first_run_of_the_method_can_be_loaded(study):
    assert pipeline.load(study.folder / "capro").classes == ("blue", "green", "red")


def test_shipped_comparison_is_complete():
    assert {"emoji-web", "emoji-clip"} <= set(shipped())
    study = read_config("emoji-web")
    queries = study["run"]["data"]["corruption"]["queries"]
    assert set(queries) == set(study["run"]["data"]["classes"]) == set(study["run"]["data"]["definitions"])


def test_emoji_web_noise_is_what_it_says():
    config = merged(read_config("emoji-web")["run"]["data"], {"split.seed": 0})
    prepared = prepare(DataConfig.parse(config), quiet=True)
    right = (prepared.train.labels == prepared.train.truth).mean()
    assert 0.44 < right < 0.50
    assert not set(prepared.train.groups()) & set(prepared.test.groups())
    assert (prepared.test.labels >= 0).all()


def test_an_unknown_configuration_lists_those_that_ship():
    with pytest.raises(ConfigError, match="emoji-web"):
        read_config("emoji-wob")
