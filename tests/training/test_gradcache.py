from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from toy_method import BagEncoder, toy, toy_corpus

from accord.data.loading.features import Features, Stream
from accord.data.loading.loader import train_loader
from accord.errors import ConfigError, ShapeError
from accord.methods.base import Step
from accord.training.config import TrainingConfig
from accord.training.fit import fit
from accord.training.gradcache import cached_backward, micro_batches


def plain_backward(scalar, synchronise):
    scalar.backward()


def gradients(method):
    return {name: p.grad for name, p in method.named_parameters() if p.grad is not None}


@pytest.fixture
def batch():
    inputs = {"text": BagEncoder().input}
    return next(iter(train_loader(toy_corpus(), inputs, batch_size=32, seed=0)))


@pytest.mark.parametrize("micro_batch", [1, 5, 16])
@pytest.mark.parametrize("stage", ["warm", "main"])
def test_gradients_equal_those_of_the_whole_batch(micro_batch, stage, batch):
    whole, cached = toy(dropout=0.0).double(), toy(dropout=0.0).double()
    terms = whole.loss(batch, Step(stage))
    terms["total"].backward()
    found = cached_backward(cached, batch, Step(stage), micro_batch, plain_backward)
    for name, term in terms.items():
        torch.testing.assert_close(found[name], term.detach(), atol=1e-10, rtol=0)
    expected = gradients(whole)
    assert expected.keys() == gradients(cached).keys()
    for name, gradient in gradients(cached).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-10, rtol=0)


def test_gradients_equal_those_of_the_whole_batch_in_single_precision(batch):
    whole, cached = toy(dropout=0.0), toy(dropout=0.0)
    whole.loss(batch, Step())["total"].backward()
    cached_backward(cached, batch, Step(), 8, plain_backward)
    for name, gradient in gradients(cached).items():
        torch.testing.assert_close(gradient, gradients(whole)[name], atol=1e-5, rtol=0)


def test_dropout_masks_repeat_in_the_second_pass(batch):
    method = toy(dropout=0.5)
    passes = []
    towers = method.towers
    method.towers = lambda part: passes.append(towers(part)) or passes[-1]
    cached_backward(method, batch, Step(), 8, plain_backward)
    first, second = passes[:4], passes[4:]
    for before, after in zip(first, second, strict=True):
        assert torch.equal(before["z"], after["z"])
    assert not torch.equal(first[0]["h"] == 0, first[1]["h"] == 0)


def test_with_dropout_the_gradient_is_that_of_the_masks_drawn(batch):
    """Finite differences of the loss along one weight, with the masks of the same seed."""
    method = toy({"remember": False}, dropout=0.3).double()
    weight = method.classifier.weight

    def loss():
        torch.manual_seed(3)
        for parameter in method.parameters():
            parameter.grad = None
        return cached_backward(method, batch, Step(), 8, plain_backward)["total"].item()

    loss()
    slope, step = weight.grad[0, 0].item(), 1e-6
    weight.data[0, 0] += step
    up = loss()
    weight.data[0, 0] -= 2 * step
    down = loss()
    assert slope == pytest.approx((up - down) / (2 * step), abs=1e-6)


def test_a_queue_is_filled_once(batch):
    whole, cached = toy(dropout=0.0), toy(dropout=0.0)
    whole.loss(batch, Step())
    cached_backward(cached, batch, Step(), 8, plain_backward)
    assert cached.pointer == whole.pointer
    torch.testing.assert_close(cached.queue, whole.queue)


def test_batch_norm_records_each_row_once(batch):
    method = toy()
    method.projector[2] = nn.BatchNorm1d(16, momentum=None)
    cached_backward(method, batch, Step(), 8, plain_backward)
    assert method.projector[2].num_batches_tracked == 4
    assert method.projector[2].track_running_stats


def test_frozen_towers_leave_the_gradient_of_the_objective(batch):
    whole, cached = toy(dropout=0.0), toy(dropout=0.0)
    synchronised = []
    for method in (whole, cached):
        method.encoders["text"].freeze("all")
        method.projector.requires_grad_(False)
    whole.loss(batch, Step())["total"].backward()

    def backward(scalar, synchronise):
        synchronised.append(synchronise)
        scalar.backward()

    cached_backward(cached, batch, Step(), 8, backward)
    assert synchronised == [True]
    torch.testing.assert_close(cached.classifier.weight.grad, whole.classifier.weight.grad)


def test_processes_exchange_gradients_with_the_last_micro_batch_only(batch):
    synchronised = []

    def backward(scalar, synchronise):
        synchronised.append(synchronise)
        scalar.backward()

    cached_backward(toy(), batch, Step(), 8, backward)
    assert synchronised == [False, False, False, False, True]


def test_half_precision_weights_are_cast_anew_for_the_second_pass(batch):
    whole, cached = toy(dropout=0.0), toy(dropout=0.0)
    for method, run in ((whole, None), (cached, 8)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if run is None:
                total = method.loss(batch, Step())["total"]
            else:
                cached_backward(method, batch, Step(), run, plain_backward)
        if run is None:
            total.backward()
    for name, gradient in gradients(cached).items():
        assert gradient.abs().sum() > 0, name
        torch.testing.assert_close(gradient, gradients(whole)[name], atol=0.02, rtol=0.05)


def test_batches_are_cut_with_all_they_hold():
    batch = {
        "image_views": [torch.arange(5), torch.arange(5) * 10],
        "image": Features(torch.eye(5), streams={"map4": Stream.of_map(torch.ones(5, 1, 2, 2))}),
        "names": list("abcde"),
        "nested": {"x": torch.arange(5)},
        "absent": None,
        "text_views": [(torch.arange(10).view(5, 2), torch.ones(5, 2) > 0)] * 5,  # as many views as rows
        "instance_text": [["a"], [], ["b", "c"], [], []],
        "instance_text_views": [[["a"], [], ["b", "c"], [], []], [[], ["d"], [], [], ["e"]]],
    }
    first, second, third = micro_batches(batch, 2)
    assert first["image_views"][1].tolist() == [0, 10]
    assert second["image"].pooled.shape == (2, 5)
    assert second["image"].stream("map4").map().shape == (2, 1, 2, 2)
    assert third["names"] == ["e"]
    assert third["nested"]["x"].tolist() == [4]
    assert third["absent"] is None
    assert len(second["text_views"]) == 5
    assert [part.tolist() for part in second["text_views"][4]] == [[[4, 5], [6, 7]], [[True, True]] * 2]
    assert second["instance_text"] == [["b", "c"], []]
    assert first["instance_text_views"] == [[["a"], []], [[], ["d"]]]


@pytest.mark.parametrize(("value", "came"), [(torch.zeros(3), r"shape \(3,\)"), (7, "int")])
def test_what_cannot_be_cut_is_named(value, came):
    with pytest.raises(ShapeError, match=rf"batch\['odd'\]: {came} cannot be cut .* of 5 rows"):
        list(micro_batches({"label": torch.zeros(5), "odd": value}, 2))


def test_training_with_micro_batches_equals_training_without(tmp_path):
    trained = []
    for micro_batch in (None, 8):
        method = toy(dropout=0.0)
        config = TrainingConfig(epochs=1, batch_size=32, micro_batch=micro_batch, optimizer="sgd", lr=0.1)
        fit(method, toy_corpus(), config, tmp_path, progress=False)
        trained.append(copy.deepcopy(method.state_dict()))
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, atol=1e-5, rtol=0)


def test_micro_batches_are_refused_where_rows_interact(tmp_path):
    from accord.methods.base import Method

    method = toy()
    method.__class__ = type("Whole", (Method,), {"name": "whole"})
    with pytest.raises(ConfigError, match="micro_batch = 8: method whole looks at its batch as a whole"):
        fit(method, toy_corpus(), TrainingConfig(batch_size=32, micro_batch=8), tmp_path, progress=False)
