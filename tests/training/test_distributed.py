from __future__ import annotations

import time

import pytest
import torch

TRAINING = {"epochs": 2, "batch_size": 32, "lr": 0.01, "log_every": 2, "optimizer": "sgd", "accelerator": "cpu"}


@pytest.mark.parametrize("micro_batch", [None, 4], ids=["whole share", "gradient caching"])
def test_two_processes_equal_one_with_the_same_global_batch(micro_batch, tmp_path, run_toy, run_here, final, losses):
    task = {"dropout": 0.0}
    training = {**TRAINING, "micro_batch": micro_batch}
    run_here(tmp_path / "one", training=training, **task)
    assert run_toy(tmp_path / "two", processes=2, training={**training, "devices": 2}, **task) == 0
    one, two = final(tmp_path / "one"), final(tmp_path / "two")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=0, msg=name)
    for expected, found in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


def test_two_killed_processes_resume_to_the_same_bits(tmp_path, run_toy, final):
    training = {**TRAINING, "devices": 2, "checkpoint_every": 3}
    task = {"training": training}
    assert run_toy(tmp_path / "whole", processes=2, **task) == 0
    assert run_toy(tmp_path / "killed", processes=2, kill_at=8, **task) == -9
    assert run_toy(tmp_path / "killed", processes=2, resume=True, **task) == 0
    whole, killed = final(tmp_path / "whole"), final(tmp_path / "killed")
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())


@pytest.mark.parametrize("dies", [0, 1])
def test_who_is_left_of_two_processes_ends_soon_and_says_how_to_go_on(dies, tmp_path, run_toy, final):
    task = {"training": {**TRAINING, "devices": 2, "checkpoint_every": 3}}
    started = time.monotonic()
    run_toy(tmp_path, processes=2, kill_at=5, dies=dies, **task)
    assert time.monotonic() - started < 30
    told = (tmp_path / f"error{1 - dies}").read_text()
    assert told.startswith("ProcessError: another process of this run has ended")
    assert "--resume" in told
    assert run_toy(tmp_path, processes=2, resume=True, **task) == 0
    assert final(tmp_path)


def test_a_stage_that_leaves_parameters_out_has_to_say_so(tmp_path, run_toy):
    run_toy(tmp_path, processes=2, idle=True, training={**TRAINING, "devices": 2})
    assert "declare Stage(partial=True)" in (tmp_path / "error0").read_text()
