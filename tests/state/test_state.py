"""Scale, queue, momentum encoder and prototypes: against loops, through checkpoints, in half precision."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from accord.errors import ShapeError
from accord.functional import queue_nce
from accord.state import FeatureQueue, FeatureStandardiser, LogitScale, MomentumEncoder, PrototypeBank


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double(), dim=-1)


# -- scale


def test_the_clamp_holds_the_parameter_itself() -> None:
    scale = LogitScale(max=100.0)
    for value, clamped in ((9.0, math.log(100)), (-3.0, 0.0), (2.0, 2.0)):
        scale.log_scale.data.fill_(value)
        scale.clamp_()
        assert scale.log_scale.item() == pytest.approx(clamped)
    assert LogitScale()().item() == pytest.approx(1 / 0.07)


def test_the_scale_learns_through_its_logarithm() -> None:
    scale = LogitScale(init=10.0)
    scale().backward()
    assert scale.log_scale.grad.item() == pytest.approx(10.0, rel=1e-5)


@pytest.mark.parametrize("arguments", [{"init": 0.5}, {"init": 200.0}, {"max": float("inf")}])
def test_a_scale_outside_its_clamp_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected a"):
        LogitScale(**arguments)


# -- queue


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 7), batches=st.lists(st.integers(0, 16), max_size=6))
def test_the_queue_holds_the_last_vectors_whatever_the_batch_sizes(size: int, batches: list[int]) -> None:
    queue, everything = FeatureQueue(size, 3).double(), torch.empty(0, 3).double()
    for number, count in enumerate(batches):
        z = unit(count, 3, seed=number)
        queue.enqueue(5 * z, ids=torch.arange(len(everything), len(everything) + count))
        everything = torch.cat([everything, z])
    seen = len(everything)
    for number in range(max(0, seen - size), seen):
        torch.testing.assert_close(queue.features[number % size], everything[number])
        assert queue.ids[number % size] == number
    assert queue.pointer == seen % size
    assert (queue.ids >= 0).sum() == min(seen, size)
    torch.testing.assert_close(queue.features.norm(dim=1), torch.ones(size).double())


def test_logits_of_the_old_queue_can_be_back_propagated_after_enqueuing() -> None:
    queue, z = FeatureQueue(4, 3).double(), unit(2, 3).requires_grad_()
    loss = queue_nce(z, unit(2, 3, seed=1), queue.features, 0.1)
    queue.enqueue(z)
    loss.backward()
    assert z.grad.isfinite().all()
    assert not queue.features.requires_grad


def test_a_seeded_queue_is_reproducible() -> None:
    first, second = (FeatureQueue(4, 3, torch.Generator().manual_seed(1)) for _ in range(2))
    torch.testing.assert_close(first.features, second.features)


# -- momentum encoder


def test_the_slow_copy_moves_by_its_share_and_is_never_trained() -> None:
    online = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    slow = MomentumEncoder(online, momentum=0.9)
    before = [parameter.clone() for parameter in slow.parameters()]
    with torch.no_grad():
        for parameter in online.parameters():
            parameter.add_(torch.randn_like(parameter))
    slow.update(online)
    for old, now, target in zip(before, slow.parameters(), online.parameters(), strict=True):
        torch.testing.assert_close(now, 0.9 * old + 0.1 * target)
    slow.update(online, momentum=0.0)
    torch.testing.assert_close(slow.module[0].weight, online[0].weight)
    assert not any(parameter.requires_grad for parameter in slow.parameters())
    assert not slow(torch.randn(4, 3, requires_grad=True)).requires_grad


@pytest.mark.parametrize("buffers", [False, True])
def test_buffers_follow_only_when_asked(buffers: bool) -> None:
    online = nn.BatchNorm1d(2)
    slow = MomentumEncoder(online, momentum=0.5, buffers=buffers)
    online.running_mean.fill_(4.0)
    online.num_batches_tracked.fill_(7)
    slow.update(online)
    assert slow.module.running_mean.tolist() == ([2.0, 2.0] if buffers else [0.0, 0.0])
    assert slow.module.num_batches_tracked == (7 if buffers else 0)


def test_another_module_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="differs from the copied one in bias"):
        MomentumEncoder(nn.Linear(2, 2)).update(nn.Linear(2, 2, bias=False))


# -- prototypes


def sequential(prototypes: Tensor, z: Tensor, y: Tensor, momentum: float) -> Tensor:
    """The loop of the released code."""
    prototypes = prototypes.clone()
    for vector, label in zip(z, y, strict=True):
        if label >= 0:
            prototypes[label] = momentum * prototypes[label] + (1 - momentum) * vector
    return F.normalize(prototypes, dim=1)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(0, 12), momentum=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_the_closed_form_equals_the_sequential_loop(rows: int, momentum: float, seed: int) -> None:
    bank = PrototypeBank(4, 3, momentum).double()
    bank.init_from(unit(8, 3, seed=seed + 1), torch.arange(8) % 3)
    before = bank.prototypes
    z = unit(rows, 3, seed=seed)
    y = torch.randint(-1, 3, (rows,), generator=torch.Generator().manual_seed(seed))
    bank.update(z, y)
    torch.testing.assert_close(bank.prototypes, sequential(before, z, y, momentum))
    assert not bank.prototypes[3].any()
    assert bank.initialised.tolist() == [True, True, True, False]


def test_the_start_is_the_normalised_mean_and_absent_classes_stay() -> None:
    bank = PrototypeBank(3, 2)
    bank.init_from(torch.tensor([[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]), torch.tensor([1, 1, -1]))
    torch.testing.assert_close(bank.prototypes, torch.tensor([[0.0, 0.0], [0.5**0.5, 0.5**0.5], [0.0, 0.0]]))
    bank.init_from(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert bank.initialised.tolist() == [True, True, False]


def test_a_class_that_first_appears_in_an_update_starts_there() -> None:
    bank = PrototypeBank(2, 2, momentum=0.99)
    bank.update(torch.tensor([[0.6, 0.8]]), torch.tensor([1]))
    torch.testing.assert_close(bank.prototypes[1], torch.tensor([0.6, 0.8]))


def test_several_labels_are_one_bank_per_class_and_value() -> None:
    bank = PrototypeBank(3, 2, momentum=0.8, multi_label=True).double()
    z, y = unit(5, 3, 2), torch.tensor([[1, 0, -1], [1, 1, -1], [0, 1, -1], [1, 0, -1], [0, 0, -1]])
    bank.init_from(z, y)
    before = bank.prototypes
    bank.update(z, y)
    for c in range(3):
        torch.testing.assert_close(bank.prototypes[c], sequential(before[c], z[:, c], y[:, c], 0.8))
    assert bank.initialised.tolist() == [[True, True], [True, True], [False, False]]
    logits = bank.logits(z, 0.5)
    torch.testing.assert_close(logits[1, 0, 1], z[1, 0] @ bank.prototypes[0, 1] / 0.5)


def test_gradient_flows_to_the_features_only_and_survives_an_update() -> None:
    bank, z = PrototypeBank(2, 3).double(), unit(4, 3).requires_grad_()
    bank.init_from(unit(2, 3), torch.tensor([0, 1]))
    loss = bank.logits(z, 0.1).logsumexp(dim=1).sum()
    bank.update(z, torch.tensor([0, 1, 1, 0]))
    loss.backward()
    assert z.grad.abs().sum() > 0
    assert not bank.prototypes.requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda bank: bank.update(unit(2, 3), torch.tensor([0, 2])), "largest entry of y = 2"),
        (lambda bank: bank.update(unit(2, 4), torch.tensor([0, 1])), r"z has shape \(2, 4\): expected \(any, 3\)"),
        (lambda bank: bank.update(unit(2, 3), torch.tensor([0.0, 1.0])), "expected integers"),
        (lambda bank: bank.logits(unit(2, 3), 0.0), "temperature = 0.0"),
        (lambda bank: PrototypeBank(0, 3), "num_classes = 0"),
        (lambda bank: PrototypeBank(2, 3, momentum=1.1), "momentum = 1.1"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(PrototypeBank(2, 3))


# -- all of them


def every_state() -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "scale": LogitScale(),
            "queue": FeatureQueue(5, 3),
            "slow": MomentumEncoder(nn.Linear(3, 3)),
            "bank": PrototypeBank(2, 3, momentum=0.9),
        }
    )


def advance(state: nn.ModuleDict, seed: int) -> None:
    online = nn.Linear(3, 3)
    with torch.no_grad():
        online.weight.fill_(seed)
        online.bias.fill_(-seed)
    state["queue"].enqueue(unit(3, 3, seed=seed), torch.arange(3) + 10 * seed)
    state["slow"].update(online)
    state["bank"].update(unit(3, 3, seed=seed), torch.tensor([0, 1, 1]))


def test_a_checkpoint_holds_everything_that_the_next_step_needs() -> None:
    first, second = every_state(), every_state()
    advance(first, 1)
    second.load_state_dict(first.state_dict())
    for state in (first, second):
        advance(state, 2)
    for (name, got), want in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(got, want), name


def test_half_precision_leaves_the_averages_in_full_precision() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        state = every_state().to(dtype)
        assert state["queue"].features.dtype == torch.float32
        assert state["bank"].prototypes.dtype == torch.float32
        assert state["scale"].log_scale.dtype == torch.float32
        z = unit(3, 3).to(dtype)
        state["queue"].enqueue(z)
        state["bank"].update(z, torch.tensor([0, 1, 1]))
        assert state["bank"].logits(z, 0.1).dtype == torch.float32


def test_a_thousand_small_steps_in_bfloat16_still_move_the_prototype() -> None:
    bank = PrototypeBank(1, 2, momentum=0.999).to(torch.bfloat16)
    bank.init_from(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    for _ in range(1000):
        bank.update(torch.tensor([[0.0, 1.0]], dtype=torch.bfloat16), torch.tensor([0]))
    assert bank.prototypes[0, 1] > 0.7


# -- standardiser


def test_standardised_features_have_zero_mean_and_unit_variance_and_a_constant_one_is_only_shifted() -> None:
    features = 3 + 2 * torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    features[:, 3] = 7.0
    standardise = FeatureStandardiser(4)
    torch.testing.assert_close(standardise(features), features)  # nothing before it is fitted
    standardise.fit(features)
    deviation, mean = torch.std_mean(standardise(features), dim=0, correction=0)
    torch.testing.assert_close(mean, torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(deviation, torch.tensor([1.0, 1.0, 1.0, 0.0]), atol=1e-5, rtol=0)


def test_the_standardiser_keeps_its_statistics_in_full_precision() -> None:
    features = 100 + torch.rand(64, 2, generator=torch.Generator().manual_seed(0))
    standardise = FeatureStandardiser(2)
    standardise.fit(features)
    standardise.to(torch.bfloat16)
    assert standardise.mean.dtype == torch.float32
    torch.testing.assert_close(standardise.mean, features.mean(dim=0))
    assert standardise(features.bfloat16()).dtype == torch.bfloat16
    with pytest.raises(ShapeError, match="features"):
        standardise.fit(torch.zeros(3, 5))
