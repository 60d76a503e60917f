from __future__ import annotations

import errno
import json
import logging
import math
import signal
import time

import numpy as np
import pytest
import torch
from rich.console import Console
from toy_method import BagEncoder, Toy, toy, toy_corpus

from accord.errors import ConfigError, DataError, DivergenceError, StorageError
from accord.methods.base import DataInfo, Method, Stage, Step
from accord.training.config import TrainingConfig
from accord.training.device import resolve_device
from accord.training.fit import build_trainer, fit
from accord.training.journal import Journal
from accord.training.progress import StageProgress
from accord.training.start import rows_per_step

QUICK = TrainingConfig(epochs=3, batch_size=32, lr=0.01)


class Recorder(Toy):
    """Notes learning rate and weights at every step."""

    def after_step(self, step):
        super().after_step(step)
        self.seen = [*getattr(self, "seen", []), (step, {name: p.clone() for name, p in self.named_parameters()})]


def recorded(**options):
    method = toy(**options)
    method.__class__ = Recorder
    return method


def test_training_learns(tmp_path, losses):
    config = TrainingConfig(epochs=8, batch_size=16, lr=0.02)
    method = toy()
    result = fit(method, toy_corpus(), config, tmp_path, progress=False)
    lines = losses(tmp_path)
    assert lines[-1]["ce"] < 0.7 * lines[0]["ce"]
    assert result.steps == 10 * (2 + 8 + 1) == lines[-1]["step"]
    assert result.steps_per_second == pytest.approx(result.steps / result.seconds)
    assert not method.training


def test_hooks_run_around_stages_and_epochs_with_every_row(tmp_path):
    method = toy()
    fit(method, toy_corpus(), QUICK, tmp_path, progress=False)
    assert method.calls == [
        ("before_stage", "warm", 160),
        ("before_epoch", "warm", 0, True),
        ("before_epoch", "warm", 1, False),
        ("after_stage", "warm"),
        ("before_stage", "main", 160),
        *[("before_epoch", "main", epoch, False) for epoch in range(3)],
        ("after_stage", "main"),
        ("before_stage", "tune", 160),
        ("before_epoch", "tune", 0, True),
        ("after_stage", "tune"),
    ]


def test_steps_are_counted_within_their_stage(tmp_path):
    method = recorded()
    fit(method, toy_corpus(), QUICK, tmp_path, progress=False)
    steps = [step for step, _ in method.seen]
    assert [(step.stage, step.epoch, step.index, step.total) for step in steps[8:12]] == [
        ("warm", 1, 8, 10),
        ("warm", 1, 9, 10),
        ("main", 0, 0, 15),
        ("main", 0, 1, 15),
    ]


def test_encoders_stay_put_while_frozen_and_move_afterwards(tmp_path):
    method = recorded()
    before = method.encoders["text"].table.weight.clone()
    fit(method, toy_corpus(), QUICK, tmp_path, progress=False)
    table = {(step.stage, step.index): weights["encoders.text.table.weight"] for step, weights in method.seen}
    assert torch.equal(table["warm", 4], before)
    assert not torch.equal(table["warm", 5], before)
    assert torch.equal(table["tune", 0], table["tune", 4])


def test_a_stage_trains_only_what_it_names(tmp_path):
    method = recorded()
    fit(method, toy_corpus(), QUICK, tmp_path, progress=False)
    weights = {(step.stage, step.index): weights for step, weights in method.seen}
    changed = {n for n, w in weights["tune", 4].items() if not torch.equal(w, weights["main", 14][n])}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_requires_grad_is_as_before_after_training(tmp_path):
    method = toy()
    method.logit_scale.requires_grad_(False)
    before = {name: p.requires_grad for name, p in method.named_parameters()}
    fit(method, toy_corpus(), QUICK, tmp_path, progress=False)
    assert {name: p.requires_grad for name, p in method.named_parameters()} == before
    assert method.logit_scale.item() == 2.0


def test_a_frozen_encoder_is_never_trained(tmp_path):
    method = toy()
    method.encoders["text"].freeze("all")
    before = method.encoders["text"].table.weight.clone()
    fit(method, toy_corpus(), QUICK, tmp_path, progress=False)
    assert torch.equal(method.encoders["text"].table.weight, before)


def test_the_learning_rate_warms_up_and_follows_a_cosine_in_every_stage(tmp_path, losses):
    config = TrainingConfig(epochs=2, batch_size=32, lr=0.01, warmup=0.2, log_every=1)
    fit(toy(), toy_corpus(), config, tmp_path, progress=False)
    rates = [line["lr"] for line in losses(tmp_path) if line["stage"] == "main"]
    cosine = [0.5 * (1 + math.cos(math.pi * t / 8)) for t in range(8)]
    assert rates == pytest.approx([0.005 * factor for factor in [0.5, 1.0, *cosine]])


def test_sgd_trains_too(tmp_path, losses):
    config = TrainingConfig(epochs=3, batch_size=32, lr=0.3, optimizer="sgd", grad_clip=1.0)
    fit(toy(), toy_corpus(), config, tmp_path, progress=False)
    assert losses(tmp_path)[-1]["ce"] < losses(tmp_path)[0]["ce"]
    assert all(line["grad_norm"] > 0 for line in losses(tmp_path))


def test_clipping_limits_the_gradient(tmp_path):
    config = TrainingConfig(epochs=1, batch_size=32, lr=0.1, optimizer="sgd", momentum=0, grad_clip=1e-3, warmup=0)
    method = recorded()
    start = {name: p.clone() for name, p in method.named_parameters()}
    fit(method, toy_corpus(), config.model_copy(update={"weight_decay": 0.0}), tmp_path, progress=False)
    moved = torch.cat([(w - start[n]).flatten() for n, w in method.seen[0][1].items()]).norm()
    assert moved.item() == pytest.approx(0.1 * 1e-3, rel=1e-3)


def test_averaged_weights_are_kept_at_the_end_of_a_stage(tmp_path):
    method = recorded()
    config = QUICK.model_copy(update={"ema": 0.5})
    fit(method, toy_corpus(), config, tmp_path, progress=False)
    tuned = [weights["classifier.weight"] for step, weights in method.seen if step.stage == "tune"]
    main = [weights["classifier.weight"] for step, weights in method.seen if step.stage == "main"]
    warm = [weights["classifier.weight"] for step, weights in method.seen if step.stage == "warm"]

    def averaged(start, weights):
        for number, weight in enumerate(weights, 1):
            decay = min(0.5, (1 + number) / (10 + number))
            start = decay * start + (1 - decay) * weight
        return start

    end = averaged(averaged(averaged(toy().classifier.weight, warm), main), tuned)
    torch.testing.assert_close(method.classifier.weight, end, atol=1e-6, rtol=0)


@pytest.mark.parametrize("log_every", [1, 4])
def test_a_term_that_is_not_a_number_stops_training_with_its_name(log_every, tmp_path):
    config = TrainingConfig(epochs=1, batch_size=32, log_every=log_every, checkpoint_every=1)
    with pytest.raises(DivergenceError) as caught:
        fit(toy({"poison": 6}), toy_corpus(), config, tmp_path, progress=False)
    message = str(caught.value)
    assert "stage 'warm', epoch 1, step 6 (optimiser step 7): total = nan, inst = nan; last finite values: " in message
    assert "ce = " in message
    assert "lower lr" in message
    assert "precision = 'fp32'" in message


def test_a_diverged_state_is_not_saved(tmp_path):
    config = TrainingConfig(epochs=1, batch_size=32, log_every=50, checkpoint_every=2)
    with pytest.raises(DivergenceError, match="step 3"):
        fit(toy({"poison": 3}), toy_corpus(), config, tmp_path, progress=False)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["accord"]["position"]["number"] == 2


def test_the_first_step_may_diverge_too(tmp_path):
    with pytest.raises(DivergenceError, match="none, it is the first step"):
        fit(toy({"poison": 0}), toy_corpus(), QUICK.model_copy(update={"log_every": 1}), tmp_path, progress=False)


def test_a_corpus_smaller_than_a_batch_is_a_batch(tmp_path, capsys):
    config = TrainingConfig(epochs=2, batch_size=32, accelerator="cpu")
    assert fit(toy(), toy_corpus(20), config, tmp_path).steps == 2 + 2 + 1
    assert (
        "toy has 20 training rows: every step takes 20 of them instead of 32 (--batch-size)" in capsys.readouterr().err
    )


@pytest.mark.parametrize(("rows", "devices", "fitting"), [(20, 1, 20), (37, 2, 36), (37, 4, 36), (99, 1, 32)])
def test_the_largest_batch_that_fits_is_the_same_on_every_device(rows, devices, fitting):
    config = TrainingConfig(batch_size=32 if rows == 99 else 64, devices=devices)
    assert rows_per_step(toy(), toy_corpus(rows), config) == fitting


def test_one_row_is_too_few(tmp_path):
    with pytest.raises(DataError, match="toy has 1 training rows, which is too few to train on"):
        fit(toy(), toy_corpus(1), QUICK, tmp_path, progress=False)


def test_a_table_of_curves_on_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    journal = Journal(tmp_path / "train.jsonl", window=1, batch_size=1)
    monkeypatch.setattr("pathlib.Path.open", full)
    with pytest.raises(StorageError, match=r"train\.jsonl cannot be written: the disk is full"):
        journal.record(Step(), 1, 0.1, {"total": torch.ones(())})


@pytest.mark.parametrize(
    ("stages", "sentence"),
    [
        ((), r"declares stages \[\]: expected at least one"),
        ((Stage("a"), Stage("a")), r"\['a', 'a'\]: expected at least one, with distinct names"),
        ((Stage("a", epochs=0),), "stage 'a' has epochs = 0: expected at least 1"),
        ((Stage("a", train=("clasifier",)),), "stage 'a' trains 'clasifier', which names no parameter; the parts are"),
        ((Stage("a", train=("encoders",)),), "stage 'a' has nothing to train: unfreeze an encoder"),
    ],
)
def test_stages_that_make_no_sense_are_refused(stages, sentence, tmp_path):
    method = toy()
    method.encoders["text"].freeze("all")
    method.stages = stages
    with pytest.raises(ConfigError, match=sentence):
        fit(method, toy_corpus(), QUICK, tmp_path, progress=False)


def test_a_method_without_stages_stays_as_it_is(tmp_path):
    class Still(Method):
        name, Config, needs, stages = "still", Toy.Config, Toy.needs, ()

    method = Still({}, {"text": BagEncoder()}, DataInfo())
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    assert fit(method, toy_corpus(), QUICK, tmp_path, progress=False).steps == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items())
    assert not method.training


def test_a_trained_method_lies_where_it_was_trained(tmp_path, monkeypatch):
    """The Trainer leaves it on the processor, where evaluation would then run without a word."""
    method, moved = toy(), []
    to = method.to
    monkeypatch.setattr(method, "to", lambda device: moved.append(device) or to(device))
    fit(method, toy_corpus(), QUICK, tmp_path, progress=False)
    assert moved == [resolve_device(QUICK.accelerator)]


def test_a_method_without_total_is_named(tmp_path):
    class Aimless(Method):
        name, Config, needs = "aimless", Toy.Config, Toy.needs

        def loss(self, batch, step):
            return {"ce": torch.zeros(())}

    method = Aimless({}, {"text": BagEncoder()}, DataInfo())
    with pytest.raises(ConfigError, match=r"method aimless: loss\(\) returned \['ce'\] without 'total'"):
        fit(method, toy_corpus(), QUICK, tmp_path, progress=False)


def test_training_without_a_terminal_prints_one_line_per_epoch(tmp_path, capsys):
    fit(toy(), toy_corpus(), QUICK, tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        *["warm: epoch 1/2", "warm: epoch 2/2"],
        *[f"main: epoch {epoch}/3" for epoch in (1, 2, 3)],
        "tune: epoch 1/1",
    ]
    assert all("total " in line and "rows/s" in line for line in lines)


def test_training_without_progress_prints_nothing(tmp_path, capfd, recwarn):
    fit(toy(), toy_corpus(), QUICK, tmp_path, progress=False)
    assert capfd.readouterr() == ("", "")
    assert not [warning for warning in recwarn if "lightning" in str(warning.filename)]


def test_a_terminal_shows_a_bar_with_terms_throughput_and_time_left():
    console = Console(force_terminal=True, width=160, record=True)
    progress = StageProgress("main", total=20, done=5, epochs=2, console=console)
    line = {"stage": "main", "epoch": 1, "step": 30, "lr": 0.1, "total": 1.5, "rows_per_second": 2000.0}
    progress.line(line, 15)
    progress.close()
    text = console.export_text()
    for part in ("main", "epoch 2/2", "15/20", "total 1.500", "2,000 rows/s"):
        assert part in text


def test_lightning_is_left_as_it_was_found(tmp_path):
    chatter, interrupt = logging.getLogger("lightning.pytorch"), signal.getsignal(signal.SIGINT)
    level = chatter.level
    fit(toy(), toy_corpus(), QUICK, tmp_path, progress=False)
    assert (chatter.level, signal.getsignal(signal.SIGINT)) == (level, interrupt)


def test_ctrl_c_remains_a_keyboard_interrupt(tmp_path):
    method = toy()
    method.after_step = lambda step: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(method, toy_corpus(), QUICK, tmp_path, progress=False)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_seed_decides_the_run(tmp_path):
    def weights(seed):
        method = toy()
        fit(method, toy_corpus(), QUICK.model_copy(update={"seed": seed}), tmp_path, progress=False)
        return method.classifier.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_half_precision_trains(tmp_path, losses):
    fit(toy(), toy_corpus(), QUICK.model_copy(update={"precision": "bf16"}), tmp_path, progress=False)
    assert np.isfinite([line["total"] for line in losses(tmp_path)]).all()


def test_a_trainer_is_built_quickly(tmp_path):
    build_trainer(QUICK, tmp_path, 1, Stage())
    start = time.perf_counter()
    build_trainer(QUICK, tmp_path, 1, Stage())
    assert time.perf_counter() - start < 0.3


def test_the_log_has_one_line_per_window_and_epoch(tmp_path):
    fit(toy(), toy_corpus(), QUICK.model_copy(update={"log_every": 2}), tmp_path, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["stage"] == "warm"] == [2, 4, 5, 7, 9, 10]
    assert list(lines[0]) == ["stage", "epoch", "step", "lr", "total", "ce", "inst", "rows_per_second"]
    assert "proto" in lines[6]


def test_lars_trains_with_steps_relative_to_the_weights(tmp_path, losses):
    config = TrainingConfig(epochs=6, batch_size=32, lr=10.0, optimizer="lars", weight_decay=1e-6)
    fit(toy(), toy_corpus(), config, tmp_path, progress=False)
    assert losses(tmp_path)[-1]["ce"] < 0.9 * losses(tmp_path)[0]["ce"]


def test_a_probe_is_measured_between_epochs_and_joins_the_log(tmp_path, losses):
    config = QUICK.model_copy(update={"probe_every": 2})
    seen = []

    def probe(method):
        seen.append(method.training)
        return {"knn: top-1": 50.0 + len(seen)}

    with_probe, without = toy(), toy()
    fit(with_probe, toy_corpus(), config, tmp_path / "a", progress=False, probe=probe)
    fit(without, toy_corpus(), QUICK, tmp_path / "b", progress=False)
    notes = [line for line in losses(tmp_path / "a") if "lr" not in line]
    assert [(line["stage"], line["epoch"], line["step"]) for line in notes] == [("main", 1, 20)]
    assert notes[0]["knn: top-1"] == 51
    assert seen == [False]
    assert all(
        torch.equal(one, other) for one, other in zip(with_probe.parameters(), without.parameters(), strict=True)
    )


def test_a_probe_that_is_in_the_log_is_not_measured_again_on_resume(tmp_path):
    config = TrainingConfig(epochs=3, batch_size=32, probe_every=1, checkpoint_every=5)
    count = 0

    def probe(method):
        nonlocal count
        count += 1
        return {"knn": float(count)}

    class Once(Toy):
        @property
        def stages(self):
            return (Stage("only"),)

        def after_step(self, step):
            if step.index == 5 and count == 1:
                raise KeyboardInterrupt

    def method():
        made = toy()
        made.__class__ = Once
        return made

    with pytest.raises(KeyboardInterrupt):
        fit(method(), toy_corpus(), config, tmp_path, progress=False, probe=probe)
    count = 10
    fit(method(), toy_corpus(), config, tmp_path, resume=True, progress=False, probe=probe)
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [(line["step"], line["knn"]) for line in lines if "knn" in line] == [(5, 1.0), (10, 11.0)]


def test_a_single_row_that_batch_norm_cannot_normalise_is_a_sentence(tmp_path, monkeypatch):
    norm, loss = torch.nn.BatchNorm1d(3), Toy.loss
    monkeypatch.setattr(Toy, "loss", lambda self, *args: (norm(torch.ones(1, 3)), loss(self, *args))[1])
    with pytest.raises(ConfigError, match="batch norm has a single row to normalise: let a step have two rows"):
        fit(toy(), toy_corpus(), QUICK, tmp_path, progress=False)
