"""Scale, queue, momentum encoder and prototypes: against loops, through checkpoints, in half precision."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from accord.encoders import build_encoder
from accord.errors import ShapeError
from accord.functional import queue_nce
from accord.functional.dense.slots import semantic_grouping
from accord.state import (
    Center,
    FeatureBank,
    FeatureQueue,
    FeatureStandardiser,
    LogitScale,
    MomentumEncoder,
    PrototypeBank,
    Prototypes,
    Temperature,
)


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


def test_an_empty_start_gives_only_what_was_enqueued_until_the_queue_is_full() -> None:
    queue = FeatureQueue(5, 3, start="zeros")
    assert queue.keys().shape == (0, 3)
    for seen in (2, 4):
        queue.enqueue(unit(2, 3, seed=seen))
        assert not queue.is_full
        assert len(queue.keys()) == seen
    queue.enqueue(unit(2, 3))
    assert queue.is_full
    assert len(queue.keys()) == 5
    torch.testing.assert_close(queue.keys().norm(dim=1), torch.ones(5))


def test_random_vectors_serve_as_keys_from_the_start_but_do_not_fill_the_queue() -> None:
    queue = FeatureQueue(4, 3)
    assert queue.keys().shape == (4, 3)
    assert not queue.is_full
    with pytest.raises(ValueError, match="start = 'ones'"):
        FeatureQueue(4, 3, start="ones")


def test_the_queue_and_the_slow_projection_are_those_of_the_released_code_of_tcl(golden) -> None:
    given_ = golden("tcl")
    for modality, tokens in (("image", "v_tokens_m"), ("text", "t_tokens_m")):
        tower = {"image": "vision", "text": "text"}[modality]
        online, old = nn.Linear(10, 8).double(), nn.Linear(10, 8).double()
        online.load_state_dict({n: given_[f"{tower}_proj_{n}"] for n in ("weight", "bias")})
        old.load_state_dict({n: given_[f"{tower}_proj_m_{n}"] for n in ("weight", "bias")})
        slow = MomentumEncoder(old, momentum=0.995)
        queue = FeatureQueue(12, 8).double()
        queue.features = given_[f"{modality}_queue"].T.clone()
        slow.update(online)  # before the momentum features are made
        queue.enqueue(slow(given_[tokens][:, 0]))
        torch.testing.assert_close(queue.features.T, given_[f"{modality}_queue_after"])
        if modality == "image":
            torch.testing.assert_close(slow.module.weight, given_["vision_proj_m_weight_after"])


def test_one_queue_per_view_holds_what_the_released_code_of_swav_holds(golden) -> None:
    given_ = golden("swav")
    before, after = given_["l_queue_filling_queue_before"], given_["l_queue_filling_queue_after"]
    z = given_["l_queue_filling_raw_embeddings"]
    queues = nn.ModuleList(FeatureQueue(24, 16, start="zeros") for _ in range(2))
    for view, queue in enumerate(queues):
        queue.enqueue(before[view, :8])
        assert not queue.is_full  # tested before the batch is pushed: the queue is not used yet
        queue.enqueue(z[8 * view : 8 * (view + 1)])
        newest_first = torch.cat([queue.keys()[8:], queue.keys()[:8]])
        torch.testing.assert_close(newest_first, after[view, :16])
        assert not after[view, 16:].any()


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


def test_the_slow_copy_drops_out_and_normalises_as_what_it_follows_and_rests_where_that_was_frozen() -> None:
    stem, block = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    stem.requires_grad_(False)
    slow = MomentumEncoder(nn.Sequential(stem, nn.Dropout(0.5), block)).eval()
    assert not any(part.training for part in slow.modules())
    slow.train()
    assert [part.training for part in slow.module] == [False, True, True]
    assert [slow.module[0][1].training, slow.module[2][1].training] == [False, True]
    assert not MomentumEncoder(nn.Linear(3, 3).requires_grad_(False)).train().module.training


def test_the_slow_copy_of_an_encoder_that_is_trained_does_not_rest() -> None:
    encoder = build_encoder("image", {"name": "tiny_resnet", "width": 8, "size": 16})
    slow = MomentumEncoder(encoder).train()
    assert all(part.training for part in slow.module.modules())
    assert not any(part.training for part in MomentumEncoder(encoder.freeze("all")).train().module.modules())


@pytest.mark.parametrize("buffers", [False, True])
def test_buffers_follow_only_when_asked(buffers: bool) -> None:
    online = nn.BatchNorm1d(2)
    slow = MomentumEncoder(online, momentum=0.5, buffers=buffers)
    online.running_mean.fill_(4.0)
    online.num_batches_tracked.fill_(7)
    slow.update(online)
    assert slow.module.running_mean.tolist() == ([2.0, 2.0] if buffers else [0.0, 0.0])
    assert slow.module.num_batches_tracked == (7 if buffers else 0)


def test_the_momentum_follows_a_cosine_that_goes_on_after_a_checkpoint() -> None:
    def schedule(k: int) -> float:
        return 1 - (1 - 0.9) * (math.cos(math.pi * min(k, 4) / 4) + 1) / 2

    online = nn.Linear(2, 2).double()
    slow = MomentumEncoder(online, momentum=0.9, total_steps=4)
    nn.init.ones_(online.weight)
    want = slow.module.weight.clone()
    for k in range(7):
        if k == 2:  # interrupted
            saved = slow.state_dict()
            slow = MomentumEncoder(online, momentum=0.9, total_steps=4).double()
            slow.load_state_dict(saved)
        assert float(slow.momentum_now()) == pytest.approx(schedule(k))
        slow.update(online)
        want = schedule(k) * want + (1 - schedule(k)) * online.weight.detach()
        torch.testing.assert_close(slow.module.weight.detach(), want, rtol=1e-6, atol=1e-6)
    assert slow.step == 7


def test_a_momentum_given_for_one_step_takes_the_place_of_the_schedule() -> None:
    online = nn.Linear(2, 2)
    slow = MomentumEncoder(online, momentum=0.9, total_steps=4)
    nn.init.ones_(online.weight)
    slow.update(online, momentum=0.0)
    torch.testing.assert_close(slow.module.weight, online.weight)
    with pytest.raises(ValueError, match=r"momentum = 2.0"):
        slow.update(online, momentum=2.0)
    with pytest.raises(ValueError, match="total_steps = 0"):
        MomentumEncoder(online, total_steps=0)


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


# -- learnable prototypes


def prototypes_step(prototypes: Prototypes, optimiser: torch.optim.Optimizer, step: int) -> None:
    optimiser.zero_grad(set_to_none=False)
    prototypes(unit(4, 3, seed=step).float()).square().sum().backward()
    prototypes.after_backward(step)
    optimiser.step()


def test_frozen_prototypes_do_not_move_by_gradient_momentum_or_decay_and_later_do() -> None:
    prototypes = Prototypes(3, 5)
    optimiser = torch.optim.SGD(prototypes.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    prototypes_step(prototypes, optimiser, 0)  # fills the momentum buffer
    start = prototypes.weight.detach().clone()
    prototypes.freeze(until_step=3)
    for step in (1, 2):
        prototypes_step(prototypes, optimiser, step)
        assert torch.equal(prototypes.weight, start)
    prototypes_step(prototypes, optimiser, 3)
    assert not torch.equal(prototypes.weight, start)


def test_prototypes_return_to_unit_length_in_place_and_score_in_single_precision() -> None:
    prototypes, z = Prototypes(3, 5), unit(4, 3).float()
    kept = prototypes.weight
    with torch.no_grad():
        kept.mul_(3.0)
    prototypes.normalize_()
    assert prototypes.weight is kept
    torch.testing.assert_close(kept.detach().norm(dim=1), torch.ones(5))
    with torch.autocast("cpu", torch.bfloat16):
        scores = prototypes(z.bfloat16())
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, z.bfloat16().float() @ kept.T)
    with pytest.raises(ShapeError, match=r"z has shape \(4, 2\): expected \(any, 3\)"):
        prototypes(z[:, :2])


# -- centre


def test_the_centre_is_that_of_the_released_code_of_slotcon(golden) -> None:
    given_ = golden("slotcon")
    center = Center(6)
    center.center = given_["full_center_before"]
    maps = torch.cat([given_["full_y1"], given_["full_y2"]])
    center.update(semantic_grouping(maps, given_["full_C_teacher_after"])[1])
    torch.testing.assert_close(center.center, given_["full_center_after"])


def test_the_centre_is_a_mean_over_rows_and_positions() -> None:
    center, dots = Center(3, momentum=0.75), torch.randn(4, 3, 2, 5)
    center.update(dots)
    center.update(dots)
    want = (1 - 0.75**2) * dots.mean(dim=(0, 2, 3))
    torch.testing.assert_close(center.center, want[None])
    flat = Center(3, momentum=0.75)
    flat.update(dots.movedim(1, -1).reshape(-1, 3))
    torch.testing.assert_close(flat.center, 0.25 * dots.mean(dim=(0, 2, 3))[None])
    flat.update(torch.zeros(0, 3))
    assert flat.center.isfinite().all()
    with pytest.raises(ShapeError, match=r"dots has shape \(4, 2\): expected \(any, 3, ...\)"):
        center.update(torch.zeros(4, 2))


# -- bank of rows


@settings(max_examples=20, deadline=None)
@given(batches=st.lists(st.lists(st.integers(-1, 5), max_size=8), max_size=5))
def test_the_bank_holds_the_last_vector_of_every_row(batches: list[list[int]]) -> None:
    bank, want = FeatureBank(6, 2).double(), {}
    for number, rows in enumerate(batches):
        z = torch.randn(len(rows), 2, generator=torch.Generator().manual_seed(number)).double()
        bank.update(torch.tensor(rows, dtype=torch.long), z)
        want |= {row: vector for row, vector in zip(rows, z, strict=True) if row >= 0}
    assert bank.seen.nonzero().flatten().tolist() == sorted(want)
    for row in range(6):
        torch.testing.assert_close(bank.read(torch.tensor([row]))[0], want.get(row, torch.zeros(2).double()))


def test_what_was_read_from_the_bank_does_not_change_with_it() -> None:
    bank, z = FeatureBank(3, 2), torch.ones(1, 2, requires_grad=True)
    before = bank.read(torch.tensor([0, 1]))
    loss = (z * before).square().sum()
    bank.update(torch.tensor([0]), z)
    loss.backward()
    assert not before.any()
    assert not bank.features.requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda bank: bank.update(torch.tensor([3]), torch.zeros(1, 2)), "largest index = 3"),
        (lambda bank: bank.update(torch.tensor([0]), torch.zeros(1, 4)), r"z has shape \(1, 4\)"),
        (lambda bank: bank.update(torch.tensor([0, 1]), torch.zeros(1, 2)), r"index has shape \(2,\)"),
        (lambda bank: bank.read(torch.tensor([-1])), "smallest index = -1"),
        (lambda bank: bank.read(torch.tensor([0.0])), "expected integers"),
        (lambda bank: FeatureBank(0, 2), "rows = 0"),
        (lambda bank: FeatureBank(2, 0), "dim = 0"),
    ],
)
def test_wrong_arguments_of_the_bank_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(FeatureBank(3, 2))


# -- all of them


def every_state() -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "scale": LogitScale(),
            "queue": FeatureQueue(5, 3),
            "slow": MomentumEncoder(nn.Linear(3, 3), total_steps=9),
            "bank": PrototypeBank(2, 3, momentum=0.9),
            "rows": FeatureBank(4, 3),
            "center": Center(3),
            "prototypes": Prototypes(3, 2),
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
    state["rows"].update(torch.tensor([seed, 0]), unit(2, 3, seed=seed))
    state["center"].update(unit(3, 3, seed=seed))


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
        assert state["rows"].features.dtype == state["center"].center.dtype == torch.float32
        assert state["prototypes"].weight.dtype == torch.float32
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


def test_a_plain_temperature_is_learnt_as_it_is_and_kept_in_its_range() -> None:
    temperature = Temperature(0.07, min=0.01, max=0.5)
    temperature().backward()
    assert temperature.value.grad == 1
    for wild, tame in ((-1.0, 0.01), (0.2, 0.2), (3.0, 0.5)):
        temperature.value.data.fill_(wild)
        temperature.clamp_()
        torch.testing.assert_close(temperature(), torch.tensor(tame))
    assert temperature.to(torch.bfloat16)().dtype == torch.float32
    with pytest.raises(ValueError, match=r"init = 0\.6: expected a temperature in"):
        Temperature(0.6)
