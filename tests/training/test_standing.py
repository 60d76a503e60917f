"""What ``progress.json`` says while training runs, when it was stopped, and when it is done."""

from __future__ import annotations

import json

import pytest
from toy_method import toy, toy_corpus

from accord.errors import StorageError
from accord.training import standing
from accord.training.config import TrainingConfig
from accord.training.fit import fit
from accord.training.standing import STANDING, Standing, StandingFile, read_standing

CONFIG = TrainingConfig(epochs=2, batch_size=16, lr=0.01, accelerator="cpu", log_every=2, checkpoint_every=3)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(standing, "_PAUSE", 0.0)


def test_a_finished_training_says_so(tmp_path):
    assert read_standing(tmp_path) is None
    method = toy()
    fit(method, toy_corpus(), CONFIG, tmp_path, progress=False)
    found = read_standing(tmp_path)
    assert found.done
    assert found.stage == method.stages[-1].name
    assert found.number == found.stages == len(method.stages)
    assert (found.step, found.seconds_left) == (found.steps, 0.0)
    assert found.rows_per_second > 0


def test_a_stopped_training_says_where_and_goes_on_from_there(tmp_path):
    class Stopped(Exception):
        pass

    def stop(step):
        if step.stage == "main" and step.index == 12:
            raise Stopped

    method = toy()
    method.after_step = stop
    with pytest.raises(Stopped):
        fit(method, toy_corpus(), CONFIG, tmp_path, progress=False)
    stopped = read_standing(tmp_path)
    assert (stopped.stage, stopped.number, stopped.epoch, stopped.step) == ("main", 2, 2, 12)
    assert 0 < stopped.seconds_left < 60
    assert not stopped.done

    seen = []
    method = toy()
    method.after_step = lambda step: seen.append(read_standing(tmp_path))
    fit(method, toy_corpus(), CONFIG, tmp_path, resume=True, progress=False)
    assert seen[0].step == 10  # where the last checkpoint of 30 steps stands
    assert read_standing(tmp_path).done


def test_it_is_not_written_more_often_than_once_a_second(tmp_path, monkeypatch):
    monkeypatch.setattr(standing, "_PAUSE", 1000.0)
    file = StandingFile(tmp_path, Standing("train", 1, 1, 1, 2, 0, 20))
    file.line({"epoch": 0, "rows_per_second": 1.0}, 10)
    assert read_standing(tmp_path).step == 0
    file.line({"epoch": 1, "rows_per_second": 1.0}, 20)  # but the end always is
    assert read_standing(tmp_path).step == 20


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / STANDING).write_text(json.dumps({"stage": "train"}))
    with pytest.raises(StorageError, match=r"progress\.json is damaged"):
        read_standing(tmp_path)
