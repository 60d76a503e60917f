"""Settings are chosen on rows and seeds of their own, with as many trials for every arm, and all of them are logged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accord.claims.record import read_records
from accord.claims.run import run_claim
from accord.claims.tune import draws, tune_claim
from accord.errors import ConfigError

SEARCH = '''
"""Two arms that search, and one that follows."""
import numpy as np
from shared.toy import pairs
from accord.claims import Arm, Claim, Measured, Question, Tuning

def measure(model, train, test):
    return {"dim": float(model.embed_corpus(test, "text").shape[1])}

def find(seed, settings, share, quick=False):
    return Measured({"dim": settings["dim"] + share}, steps=6, epochs=2)

CLAIM = Claim(
    slug="search",
    paper="Larger is larger.",
    data=pairs,
    run={
        "method": {"name": "clip"},
        "encoders": {
            "image": {"name": "tiny_vit", "options": {"size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}},
            "text": {"name": "tiny_text", "options": {"width": 16, "depth": 1, "heads": 2, "length": 8}},
        },
        "training": {"epochs": 2, "batch_size": 16, "lr": 1e-2, "accelerator": "cpu"},
    },
    arms={
        "a": Arm(search={"method.dim": [2, 4, 8]}),
        "follows": Arm({"method.temperature": 0.5}, settings_of="a"),
        "f": Arm(function=find, search={"dim": [2, 4, 8]}),
    },
    measure=measure,
    questions=[
        Question("q", "s", "a", "f", "dim", every=True),
        Question("p", "s", "follows", 0.0, "dim", every=True),
    ],
    seeds=(3,),
    tune=Tuning(trials=3, seeds=(100, 101), metric="dim", share=0.25, higher=False),
)
'''


@pytest.fixture
def search(folder: Path) -> Path:
    (folder / "search.py").write_text(SEARCH)
    return folder


def test_every_setting_covers_its_range_evenly_and_equal_searches_draw_alike() -> None:
    search = {"training.lr": (1e-4, 1e-2, "log"), "method.dim": [16, 32, 64]}
    drawn = draws(search, 6)
    assert sorted(each["method.dim"] for each in drawn) == [16, 16, 32, 32, 64, 64]
    rates = sorted(each["training.lr"] for each in drawn)
    for number, rate in enumerate(rates):
        assert 1e-4 * 100 ** (number / 6) <= rate * 1.01
        assert rate <= 1e-4 * 100 ** ((number + 1) / 6) * 1.01
    alone = draws({"training.lr": (1e-4, 1e-2, "log")}, 6)
    assert [each["training.lr"] for each in alone] == [each["training.lr"] for each in drawn]
    assert drawn == draws(search, 6)


def test_trials_are_logged_and_the_best_settings_are_run(search, monkeypatch) -> None:
    path = tune_claim("search", search, progress=False)
    log = json.loads(path.read_text())
    for name, key in (("a", "method.dim"), ("f", "dim")):
        arm = log["arms"][name]
        assert sorted(trial["settings"][key] for trial in arm["trials"]) == [2, 4, 8]
        assert all(len(trial["values"]) == 2 for trial in arm["trials"])  # one a seed
        assert arm["chosen"] == {key: 2}  # lower is better here
    assert {value for trial in log["arms"]["f"]["trials"] for value in trial["values"]} == {2.25, 4.25, 8.25}
    run_claim("search", search, progress=False)
    [record] = read_records(search / "results")
    arms = record["arms"]
    assert (arms["a"]["chosen"], arms["a"]["trials"], arms["a"]["values"]) == ({"method.dim": 2}, 3, {"dim": [2.0]})
    assert (arms["follows"]["chosen"], arms["follows"]["trials"]) == ({"method.dim": 2}, 0)
    assert arms["f"]["values"] == {"dim": [2.0]}  # no share: measured on the test rows


def test_trials_are_measured_on_held_out_training_rows_alone(search, monkeypatch) -> None:
    sizes = []

    def seen(method, rows, config, measure, **_):
        sizes.append((len(rows.fed), len(rows.train), len(rows.test)))
        assert not set(rows.train.ids) & set(rows.test.ids)
        raise KeyboardInterrupt

    monkeypatch.setattr("accord.claims.arms.train_and_measure", seen)
    with pytest.raises(KeyboardInterrupt):
        tune_claim("search", search, progress=False)
    assert sizes == [(36, 36, 12)]  # of 48 training rows; the 16 test rows are not touched


def test_a_choice_that_was_stopped_goes_on(search, monkeypatch) -> None:
    from accord.claims import arms

    calls = []
    real = arms.train_and_measure

    def counted(*args, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(arms, "train_and_measure", counted)
    with pytest.raises(KeyboardInterrupt):
        tune_claim("search", search, progress=False)
    tune_claim("search", search, progress=False)
    assert len(calls) == 6 + 1  # of six trials, of which three were kept and one was begun twice


def test_a_trial_that_diverges_is_logged_and_not_chosen(search) -> None:
    text = SEARCH.replace(
        'return {"dim": float(', 'return {"dim": float("nan") if model.method.config.dim == 2 else float('
    )
    (search / "search.py").write_text(text)
    log = json.loads(tune_claim("search", search, progress=False).read_text())
    trials = {trial["settings"]["method.dim"]: trial["values"] for trial in log["arms"]["a"]["trials"]}
    assert trials == {2: [None, None], 4: [4.0, 4.0], 8: [8.0, 8.0]}
    assert log["arms"]["a"]["chosen"] == {"method.dim": 4}


def test_nothing_is_run_before_its_settings_were_chosen_but_smoke(search) -> None:
    with pytest.raises(ConfigError, match=r"no trials of the search that arm 'a' declares: run accord claims tune sea"):
        run_claim("search", search, progress=False)
    assert run_claim("search", search, quick=True, progress=False).path is None


def test_trials_of_another_search_do_not_count(search) -> None:
    tune_claim("search", search, progress=False)
    (search / "search.py").write_text(
        SEARCH.replace('search={"method.dim": [2, 4, 8]}', 'search={"method.dim": [4, 8]}')
    )
    with pytest.raises(ConfigError, match="no trials of the search that arm 'a' declares"):
        run_claim("search", search, progress=False)


def test_a_function_that_cannot_be_told_settings_is_refused(search) -> None:
    (search / "search.py").write_text(SEARCH.replace("def find(seed, settings, share, quick=False)", "def find(seed)"))
    with pytest.raises(ConfigError, match="give it the parameters settings and share"):
        run_claim("search", search, quick=True, progress=False)


def test_a_claim_without_search_has_nothing_to_choose(folder) -> None:
    with pytest.raises(ConfigError, match="none of its arms has a search"):
        tune_claim("toy", folder, progress=False)


def test_settings_are_chosen_by_a_metric_that_is_there(search) -> None:
    (search / "search.py").write_text(SEARCH.replace('metric="dim", share', 'metric="dom", share'))
    with pytest.raises(ConfigError, match="settings are to be chosen by 'dom'; arm 'a' has dim"):
        tune_claim("search", search, progress=False)
