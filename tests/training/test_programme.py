"""What a method declares of its training is carried out, and resumes to the same bits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from toy_method import BagEncoder, Toy, toy, toy_corpus

from accord.config import Config
from accord.data.inputs import VideoInput
from accord.errors import ConfigError
from accord.methods.base import DataInfo, Group, Method, Stage
from accord.methods.programme import ClassBalanced, ClipsAround, Optimiser
from accord.training.artifact import _load_weights, save_model
from accord.training.config import TrainingConfig
from accord.training.fit import fit
from accord.training.module import encoder_inputs
from accord.training.optimiser import build_optimizer, parameter_groups, schedule
from accord.training.start import rows_per_step

EVERYTHING = {"epochs": 1, "batch_size": 16, "checkpoint_every": 3, "log_every": 3, "lr": 0.01, "ema": 0.9}
PLAIN = {"optimizer": "sgd", "momentum": 0, "weight_decay": 0, "warmup": 0, "schedule": "constant"}
ADVERSARIES = (Optimiser("maker", ("maker",)), Optimiser("critic", ("critic",)))


class Nothing(Config):
    """No settings."""


class Small(Method):
    """A base for methods of a few numbers: texts are read and not looked at."""

    name, Config, needs = "small", Nothing, Toy.needs

    def __init__(self) -> None:
        encoder = BagEncoder(4)
        super().__init__({}, {"text": encoder.freeze("all")}, DataInfo(rows=32))


class Adversaries(Small):
    """``maker`` wants ``critic * maker`` large, ``critic`` wants it small."""

    stages = (Stage("duel", epochs=1, optimisers=ADVERSARIES),)

    def __init__(self) -> None:
        super().__init__()
        self.maker, self.critic = nn.Parameter(torch.tensor(3.0)), nn.Parameter(torch.tensor(5.0))
        self.met: list[tuple[int, str, float, float]] = []

    def loss(self, batch, step):
        total = self.critic * self.maker
        return {"total": -total if step.optimiser == "maker" else total, "product": total}

    def after_step(self, step):
        self.met.append((step.index, step.optimiser, self.maker.item(), self.critic.item()))


def trained(method: Method, folder: Any, rows: int = 32, **settings: Any) -> Method:
    config = TrainingConfig.parse({"batch_size": 16, "accelerator": "cpu", **settings})
    fit(method, toy_corpus(rows), config, folder, progress=False)
    return method


def test_a_critic_gets_no_gradient_from_the_maker_and_the_maker_none_from_the_critic(tmp_path, losses) -> None:
    method = trained(Adversaries(), tmp_path, lr=0.1, log_every=1, **PLAIN)
    # both gradients are taken at the old weights: the maker climbs by 0.1 critic, the critic descends by 0.1 maker
    assert method.met == [
        (0, "main", pytest.approx(3.5), pytest.approx(4.7)),
        (1, "main", pytest.approx(3.97), pytest.approx(4.35)),
    ]
    first = losses(tmp_path)[0]
    assert (first["total"], first["critic: total"], first["critic: product"]) == (-15, 15, 15)


def test_an_optimiser_moves_only_when_it_is_active(tmp_path, losses) -> None:
    class Late(Adversaries):
        def active(self, step):
            return step.optimiser == "maker" or step.index >= 1

    method = trained(Late(), tmp_path, lr=0.1, log_every=1, **PLAIN)
    assert method.met[0][2:] == (pytest.approx(3.5), 5)
    assert method.met[1][3] == pytest.approx(5 - 0.35)
    assert "critic: total" not in losses(tmp_path)[0]


def test_a_step_at_which_nothing_moves_is_refused(tmp_path) -> None:
    class Asleep(Adversaries):
        def active(self, step):
            return False

    with pytest.raises(ConfigError, match="no optimiser is active at step 0 of stage 'duel'"):
        trained(Asleep(), tmp_path)


@pytest.mark.parametrize(
    ("optimisers", "sentence"),
    [
        ((Optimiser("maker", ("maker",)),), "critic belongs to none of its optimisers; expected exactly one"),
        ((Optimiser(), Optimiser()), r"has optimisers \['main', 'main'\]: expected at least one, with distinct names"),
        ((Optimiser(), Optimiser("none", ("encoders",))), "optimiser 'none' has no parameters that are trained"),
        ((Optimiser(), Optimiser("two")), "maker belongs to main and two of its optimisers"),
        ((Optimiser(lr=-1.0),), r"optimiser 'main' of stage 'duel'\.lr = -1\.0: input should be greater than 0"),
    ],
)
def test_optimisers_that_make_no_sense_are_refused(optimisers, sentence, tmp_path) -> None:
    method = Adversaries()
    method.stages = (replace(method.stages[0], optimisers=optimisers),)
    with pytest.raises(ConfigError, match=sentence):
        trained(method, tmp_path)


def test_a_stage_and_its_groups_have_learning_rates_of_their_own(tmp_path) -> None:
    class Rates(Adversaries):
        stages = (
            Stage("one", epochs=1, optimisers=(Optimiser(lr=0.2, schedule="poly", power=1.0),)),
            Stage("two", epochs=1, lr_scale=0.5),
        )

        def group(self, name):
            return Group(lr_scale=0.1 if name == "critic" else 1.0)

        def loss(self, batch, step):
            return {"total": -self.maker - self.critic}

    method = trained(Rates(), tmp_path, lr=0.1, **PLAIN)
    assert [round(maker, 6) for _, _, maker, _ in method.met] == [3.2, 3.3, 3.35, 3.4]
    assert [round(critic, 6) for *_, critic in method.met] == [5.02, 5.03, 5.035, 5.04]


def factors(**settings: Any) -> list[float]:
    config = TrainingConfig(**settings)
    return [round(schedule(step, 10, config), 4) for step in range(10)]


def test_learning_rates_fall_as_they_are_told_to() -> None:
    assert factors(warmup=0, schedule="constant") == [1] * 10
    assert factors(warmup=0.2, schedule="poly", power=1.0)[:5] == [0.5, 1, 1, 0.875, 0.75]
    assert factors(warmup=0, schedule="step", milestones=(0.3, 0.6), gamma=0.5) == [1] * 3 + [0.5] * 3 + [0.25] * 4
    plain, lifted = factors(warmup=0.1), factors(warmup=0.1, lr_floor=0.2)
    assert lifted[0] == plain[0]
    assert lifted[1:] == pytest.approx([0.2 + 0.8 * factor for factor in plain[1:]], abs=1e-4)


def test_a_schedule_or_an_optimiser_that_nobody_makes_is_no_other() -> None:
    weight = ("weight", torch.nn.Parameter(torch.zeros(2, 2)))
    with pytest.raises(AssertionError, match="linear"):
        schedule(9, 10, TrainingConfig().model_copy(update={"schedule": "linear"}))
    with pytest.raises(AssertionError, match="lion"):
        build_optimizer([weight], TrainingConfig().model_copy(update={"optimizer": "lion"}))


@pytest.mark.parametrize("milestones", [(0.5, 0.2), (0.0, 0.5), (1.5,)])
def test_milestones_are_shares_in_order(milestones) -> None:
    with pytest.raises(ConfigError, match="more than 0, less than 1, and ascending"):
        TrainingConfig.parse({"milestones": milestones}, at="training")


@pytest.mark.parametrize("micro_batch", [None, 4], ids=["whole batches", "gradient caching"])
def test_accumulated_batches_are_one_where_rows_do_not_meet(micro_batch, tmp_path) -> None:
    settings = {"epochs": 1, "batch_size": 32, "lr": 0.05, "optimizer": "sgd", "micro_batch": micro_batch}
    whole = trained(toy({"remember": False}, dropout=0.0), tmp_path / "a", 96, **settings)
    parts = trained(toy({"remember": False}, dropout=0.0), tmp_path / "b", 96, accumulate=4, **settings)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, atol=1e-6, rtol=1e-5, msg=name)


def test_batches_of_a_step_that_are_left_over_are_left_out(tmp_path) -> None:
    method = Adversaries()
    method.stages = (replace(method.stages[0], epochs=3),)
    trained(method, tmp_path, rows=26, batch_size=8, accumulate=2)  # six batches of four rows: three steps
    assert [index for index, *_ in method.met] == list(range(9))


def test_a_batch_that_does_not_divide_into_its_parts_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size = 10 does not divide among accumulate = 4"):
        TrainingConfig.parse({"batch_size": 10, "accumulate": 4}, at="training")


def test_a_batch_is_mixed_once_for_all_optimisers_and_never_in_hooks(tmp_path) -> None:
    class Mixed(Adversaries):
        mixed, seen = 0, ()

        def mix(self, batch, step):
            self.mixed += 1
            return {**batch, "share": torch.rand(())}

        def loss(self, batch, step):
            self.seen = (*self.seen, batch["share"].item())
            return super().loss(batch, step)

        def before_epoch(self, step, loader):
            assert all("share" not in batch for batch in loader)

    method = trained(Mixed(), tmp_path)
    assert method.mixed == 2
    assert method.seen[0] == method.seen[1] != method.seen[2] == method.seen[3]


def test_what_is_mixed_is_fed_to_a_frozen_encoder_instead_of_stored_features(tmp_path) -> None:
    class Mixing(Adversaries):
        mixes = ("text",)

        def mix(self, batch, step):
            return {**batch, "text": batch["text"].flip(0)}

        def loss(self, batch, step):
            assert len(self.encoders["text"](batch["text"], batch["text_mask"]).pooled) == 16
            return super().loss(batch, step)

    trained(Mixing(), tmp_path)


def test_the_rows_of_a_batch_are_those_of_the_declared_sampling(tmp_path) -> None:
    class Balanced(Adversaries):
        sampling, counts = ClassBalanced(samples=4), ()

        def loss(self, batch, step):
            self.counts = (*self.counts, tuple(batch["label"].bincount(minlength=3).tolist()))
            return super().loss(batch, step)

    method = Balanced()
    trained(method, tmp_path, rows=64, batch_size=10)
    assert rows_per_step(method, toy_corpus(64), TrainingConfig(batch_size=10)) == 8
    assert len(method.counts) == 2 * (64 // 8)
    assert {tuple(sorted(counts)) for counts in method.counts} == {(0, 4, 4)}


def test_a_method_that_follows_things_has_clips_of_near_frames() -> None:
    class Following(Adversaries):
        clips = ClipsAround(span=3)

    method = Following()
    assert encoder_inputs(method)["text"] is method.encoders["text"].input
    method.encoders["text"].input = VideoInput(frames=4)
    assert encoder_inputs(method)["text"] == VideoInput(frames=4, sampling="around", span=3)


class Rows(Small):
    """Five independent rows that move to their targets; some go after the first epoch."""

    resizable = ("rows", "goals")
    stages = (Stage("only", epochs=3),)
    prunes = True

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(5, 2))
        self.register_buffer("goals", torch.arange(10.0).view(5, 2))

    def loss(self, batch, step):
        return {"total": (self.rows - self.goals).square().sum()}

    def before_epoch(self, step, loader):
        if self.prunes and step.epoch == 1:
            for name in ("rows", "goals"):
                self.resize(name, torch.tensor([4, 1, -1]))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_rows_that_are_kept_move_on_as_if_the_others_had_never_been(optimizer, tmp_path) -> None:
    settings = {"optimizer": optimizer, "lr": 0.1, "ema": 0.9}
    pruned, whole = Rows(), Rows()
    whole.prunes = False
    trained(pruned, tmp_path / "a", **settings)
    trained(whole, tmp_path / "b", **settings)
    assert torch.equal(pruned.rows[:2], whole.rows[[4, 1]])
    assert torch.equal(pruned.rows[2], torch.zeros(2))  # new, and where it wants to be


def test_what_is_not_listed_is_not_resized(tmp_path) -> None:
    method = Rows()
    method.resizable = ("rows",)
    with pytest.raises(ConfigError, match=r"method small resizes goals: list it in Rows\.resizable"):
        trained(method, tmp_path)


def test_a_model_is_loaded_with_the_shapes_it_was_saved_with(tmp_path) -> None:
    method, fresh = trained(Rows(), tmp_path / "run"), Rows()
    save_model(tmp_path, method, {})
    _load_weights(fresh, tmp_path / "model.safetensors")
    assert torch.equal(fresh.rows, method.rows)
    assert fresh.goals.shape == (3, 2)
    assert fresh.rows.requires_grad


@pytest.mark.parametrize("kill_at", [4, 14, 27], ids=["first epoch", "after a resize", "second stage"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_killed_programme_resumes_to_the_same_bits(
    kill_at, accumulate, tmp_path, run_toy, run_here, final, losses
) -> None:
    training = {**EVERYTHING, "accumulate": accumulate}
    run_here(tmp_path / "whole", training=training, programmed=True)
    assert run_toy(tmp_path / "killed", training=training, programmed=True, kill_at=kill_at) == -9
    run_here(tmp_path / "killed", training=training, programmed=True, resume=True)
    whole, killed = final(tmp_path / "whole"), final(tmp_path / "killed")
    assert whole["centres"].shape == (7, 8)
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_two_processes_do_what_one_does(tmp_path, run_toy, run_here, final) -> None:
    training = {**EVERYTHING, "optimizer": "sgd", "accumulate": 2, "accelerator": "cpu"}
    task = {"programmed": True, "dropout": 0.0, "method": {"drop_words": False}}
    run_here(tmp_path / "one", training=training, **task)
    assert run_toy(tmp_path / "two", processes=2, training={**training, "devices": 2}, **task) == 0
    one, two = final(tmp_path / "one"), final(tmp_path / "two")
    for name, value in one.items():
        if name != "seen":  # each process counts what it sees
            torch.testing.assert_close(two[name], value, atol=1e-5, rtol=0, msg=name)


def test_a_group_has_its_share_of_the_weight_decay():
    parameters = [("one.weight", nn.Parameter(torch.zeros(2, 2))), ("two.weight", nn.Parameter(torch.zeros(2, 2)))]
    parameters.append(("two.bias", nn.Parameter(torch.zeros(2))))
    own = {"one": Group(), "two": Group(decay_scale=10.0)}
    groups = parameter_groups(parameters, 0.1, lambda name: own[name.split(".")[0]])
    assert [(group["weight_decay"], group["decays"]) for group in groups] == [(0.1, True), (1.0, True), (0.0, False)]
