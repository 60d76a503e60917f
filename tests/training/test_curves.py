"""What loggers are given, by runs that end, resume, or start over."""

from __future__ import annotations

import csv
import sys
from types import ModuleType

import pytest
from toy_method import toy, toy_corpus

from accord.errors import ConfigError, MissingExtraError
from accord.training import curves
from accord.training.config import TrainingConfig
from accord.training.curves import Curves
from accord.training.fit import fit

CONFIG = TrainingConfig(epochs=3, batch_size=32, lr=0.01, checkpoint_every=4, log_every=3)


class Kept:
    """A logger that keeps what it is given, as a server does."""

    def __init__(self, rows):
        self.rows, self.ended, self.experiment, self.run_id = rows, [], self, "run-1"

    def log_metrics(self, metrics, step):
        self.rows.append((step, metrics))

    def save(self):
        pass

    def finalize(self, status):
        self.ended.append(status)

    def finish(self, exit_code):
        self.ended.append(exit_code)


def table(folder):
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_file_holds_the_terms_of_every_line(tmp_path, losses):
    fit(toy(), toy_corpus(), CONFIG.model_copy(update={"loggers": ("csv",)}), tmp_path, progress=False)
    lines, rows = losses(tmp_path), table(tmp_path)
    assert [int(row["step"]) for row in rows] == [line["step"] for line in lines]
    assert float(rows[0]["warm/total"]) == lines[0]["total"]
    assert rows[0]["main/total"] == ""


@pytest.mark.parametrize("started_again", [False, True])
def test_the_csv_file_of_a_run_that_was_killed_has_each_step_once(started_again, tmp_path, run_toy, run_here, losses):
    training = {**CONFIG.model_dump(mode="json"), "loggers": ["csv"]}
    assert run_toy(tmp_path, training=training, kill_at=23) == -9
    run_here(tmp_path, training=training, resume=not started_again)
    assert [int(row["step"]) for row in table(tmp_path)] == [line["step"] for line in losses(tmp_path)]


def test_a_logger_that_keeps_its_rows_is_not_given_them_again(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    given = []
    monkeypatch.setattr(curves, "_wandb", lambda folder: Kept(given))
    lines = [{"stage": "main", "epoch": 0, "step": step, "lr": 0.1, "total": 1.0 * step} for step in (3, 6, 9)]
    first = Curves(["wandb"], tmp_path)
    for line in lines[:2]:
        first.write(line)
    again = Curves(["wandb"], tmp_path, resumed=True)
    again.restore(lines[:2], kept=3)  # the checkpoint is of step 3, and step 6 is repeated
    for line in [*lines[1:], {"stage": "main", "epoch": 0, "step": 9, "probe": 2.0}]:
        again.write(line)
    assert [step for step, _ in given] == [3, 6, 9, 9]
    assert given[-1] == (9, {"epoch": 0, "main/probe": 2.0})


def test_a_resumed_run_keeps_the_name_that_its_loggers_know_it_by(tmp_path, monkeypatch):
    asked = []

    class WandbLogger(Kept):
        def __init__(self, **options):
            asked.append(options)
            super().__init__([])

    monkeypatch.setattr("lightning.pytorch.loggers.WandbLogger", WandbLogger)
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for resumed in (False, True, False):
        Curves(["wandb"], tmp_path, resumed).close("failed")
    names = [options["id"] for options in asked]
    assert names[0] == names[1] != names[2]
    assert all(options["offline"] for options in asked)


def test_mlflow_stays_in_the_folder_of_the_run_and_goes_on_under_its_number(tmp_path, monkeypatch):
    asked = []

    class MLFlowLogger(Kept):
        def __init__(self, *_, **options):
            asked.append(options)
            super().__init__([])

    monkeypatch.setattr("lightning.pytorch.loggers.MLFlowLogger", MLFlowLogger)
    monkeypatch.setitem(sys.modules, "mlflow", ModuleType("mlflow"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for resumed in (False, True):
        Curves(["mlflow"], tmp_path, resumed)
    assert [options["run_id"] for options in asked] == [None, "run-1"]
    assert asked[0]["tracking_uri"] == f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_logger_that_is_absent_names_its_extra(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    config = CONFIG.model_copy(update={"loggers": (name,)})
    with pytest.raises(MissingExtraError, match=rf'pip install "accord\[{name}\]"'):
        fit(toy(), toy_corpus(), config, tmp_path, progress=False)


def test_tensorboard_curves_are_written(tmp_path):
    pytest.importorskip("tensorboard")
    fit(toy(), toy_corpus(), CONFIG.model_copy(update={"loggers": ("tensorboard",)}), tmp_path, progress=False)
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_settings_of_older_runs_still_mean_tensorboard():
    assert TrainingConfig.parse({"tensorboard": True}).loggers == ("tensorboard",)
    assert TrainingConfig.parse({"tensorboard": False}) == TrainingConfig()
    assert TrainingConfig.parse({"tensorboard": True, "loggers": ["csv"]}).loggers == ("csv", "tensorboard")


def test_an_unknown_logger_is_refused():
    with pytest.raises(ConfigError, match=r"training\.loggers\.0 = 'excel': input should be 'csv', "):
        TrainingConfig.parse({"loggers": ["excel"]}, at="training")


def test_a_run_that_fails_says_so_to_its_loggers(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    logger = Kept([])
    monkeypatch.setattr(curves, "_wandb", lambda folder: logger)
    monkeypatch.setattr("accord.training.fit.StageModule", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(toy(), toy_corpus(), CONFIG.model_copy(update={"loggers": ("wandb",)}), tmp_path, progress=False)
    assert logger.ended == ["failed", 1]
