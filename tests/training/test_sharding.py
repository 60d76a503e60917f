from __future__ import annotations

import pytest
import torch
from toy_method import toy, toy_corpus
from toy_run import Toy

from accord.errors import ConfigError
from accord.methods.base import Stage
from accord.training.config import TrainingConfig
from accord.training.start import check_start

TRAINING = {"epochs": 2, "batch_size": 32, "lr": 0.01, "log_every": 2, "optimizer": "sgd", "accelerator": "cpu"}
SHARDED = {**TRAINING, "devices": 2, "strategy": "fsdp"}
EVERYTHING = {"grad_clip": 0.1, "ema": 0.9, "accumulate": 2}


@pytest.mark.parametrize(
    "changes", [{}, {"micro_batch": 4}, EVERYTHING], ids=["plain", "gradient caching", "clipped, averaged, accumulated"]
)
def test_processes_that_share_the_weights_out_equal_one(changes, tmp_path, run_toy, run_here, final, losses):
    task = {"dropout": 0.0}
    run_here(tmp_path / "one", training={**TRAINING, **changes}, **task)
    assert run_toy(tmp_path / "two", processes=2, training={**SHARDED, **changes}, **task) == 0
    one, two = final(tmp_path / "one"), final(tmp_path / "two")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=0, msg=name)
    for expected, found in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


def test_each_of_several_optimisers_moves_what_it_does_in_one_process(tmp_path, run_toy, run_here, final):
    task = {"dropout": 0.0, "programmed": True, "method": {"drop_words": False}}
    run_here(tmp_path / "one", training=TRAINING, **task)
    assert run_toy(tmp_path / "two", processes=2, training=SHARDED, **task) == 0
    one, two = final(tmp_path / "one"), final(tmp_path / "two")
    for name, value in one.items():
        if name != "seen":  # each process counts what it sees
            torch.testing.assert_close(two[name], value, atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": name} for name in ("adamw", "lamb", "lars")] + [{"precision": name} for name in ("bf16", "fp16")],
    ids=lambda changes: next(iter(changes.values())),
)
def test_weights_that_are_shared_out_move_as_those_that_are_not(changes, tmp_path, run_toy, final):
    training = {**SHARDED, "epochs": 1, "grad_clip": 1.0, **changes}
    assert run_toy(tmp_path / "fsdp", processes=2, training=training) == 0
    assert run_toy(tmp_path / "ddp", processes=2, training={**training, "strategy": "ddp"}) == 0
    sharded, usual = final(tmp_path / "fsdp"), final(tmp_path / "ddp")
    for name, value in usual.items():
        torch.testing.assert_close(sharded[name], value, atol=1e-5, rtol=0, msg=name)


def test_killed_they_resume_to_the_same_bits(tmp_path, run_toy, final):
    training = {**SHARDED, "optimizer": "adamw", "ema": 0.9, "checkpoint_every": 3}
    assert run_toy(tmp_path / "whole", processes=2, training=training) == 0
    assert run_toy(tmp_path / "killed", processes=2, kill_at=8, training=training) == -9
    assert run_toy(tmp_path / "killed", processes=2, resume=True, training=training) == 0
    whole, killed = final(tmp_path / "whole"), final(tmp_path / "killed")
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())


def test_one_process_goes_on_from_their_checkpoint_and_they_from_that_of_one(tmp_path, run_toy, final):
    alone, task = {**TRAINING, "ema": 0.9, "checkpoint_every": 3}, {"dropout": 0.0}
    shared = {**SHARDED, "ema": 0.9, "checkpoint_every": 3}
    assert run_toy(tmp_path / "whole", training=alone, **task) == 0
    for first, then in (((alone, 1), (shared, 2)), ((shared, 2), (alone, 1))):
        folder = tmp_path / first[0].get("strategy", "one")
        assert run_toy(folder, processes=first[1], kill_at=8, training=first[0], **task) == -9
        assert run_toy(folder, processes=then[1], resume=True, training=then[0], **task) == 0
        whole, changed = final(tmp_path / "whole"), final(folder)
        for name, value in whole.items():
            torch.testing.assert_close(changed[name], value, atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("tied", "method toy uses weights of an encoder's block outside of the block"),
        ("meddling", "a hook of method toy changes weights of an encoder's block"),
    ],
)
def test_a_weight_that_is_not_left_to_its_block_is_an_error_in_a_sentence(wrong, message, tmp_path, run_toy):
    run_toy(tmp_path, processes=2, wrong=wrong, training=SHARDED)
    assert message in (tmp_path / "error0").read_text()


class Sometimes(Toy):
    """Does not say that all of it is trained at every step."""

    stages = (Stage(partial=True),)


def frozen():
    method = toy()
    method.encoders["text"].freeze("all")
    return method


def sometimes():
    method = toy()
    method.__class__ = Sometimes
    return method


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (toy, {"compile": "eager"}, "strategy = fsdp: not with compile = eager"),
        (sometimes, {}, "not with method toy, of which a step of stage 'train' may leave out"),
        (frozen, {}, "method toy trains no block of an encoder"),
    ],
    ids=["compiled", "partial", "frozen"],
)
def test_what_cannot_be_shared_out_is_refused_before_training(make, changes, message):
    with pytest.raises(ConfigError, match=message):
        check_start(make(), toy_corpus(), TrainingConfig.parse({**SHARDED, **changes}))
