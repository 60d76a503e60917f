"""Heads on pairs: against released code and dense tables, in any chunk."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from accord.encoders.heads import (
    LabelMatcher,
    PairGate,
    PairWeightMLP,
    pairs,
)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_the_gate_is_that_of_the_released_code(golden) -> None:
    prefix = "feature_filter_gate.in.w."
    given = golden("hydra_pairs")
    gate = PairGate(4, dim=12, embed=8, hidden=16)
    weights = {name.removeprefix(prefix).replace("__", "."): v for name, v in given.items() if name.startswith(prefix)}
    gate.load_state_dict(weights, strict=False)
    got = gate(given["feature_filter_gate.in.y1"], given["feature_filter_gate.in.y2"])
    torch.testing.assert_close(got, given["feature_filter_gate.out.gate"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fuse", ["mean", "product"])
def test_the_gate_does_not_depend_on_the_order_of_the_labels(fuse: str) -> None:
    gate = PairGate(6, dim=3, embed=4, hidden=5, fuse=fuse).double()
    y1, y2 = torch.randint(6, (7,)), torch.randint(6, (7,))
    first = gate(y1, y2)
    torch.testing.assert_close(first, gate(y2, y1))
    assert ((first > 0) & (first < 1)).all()


def test_the_product_gate_is_the_product_of_the_gates_of_its_labels() -> None:
    gate = PairGate(6, dim=3, embed=4, hidden=5, fuse="product").eval()
    both = gate(torch.tensor([1]), torch.tensor([4]))
    own = [gate(torch.tensor([label]), torch.tensor([label])).sqrt() for label in (1, 4)]
    torch.testing.assert_close(both, own[0] * own[1])


def dense_label_scores(matcher: LabelMatcher, x: Tensor, labels: Tensor) -> Tensor:
    rows = []
    for vector in x:
        row = []
        for label in labels:
            left, right = matcher.input(vector), matcher.label(label)
            joint = left.tanh() * right.tanh() if matcher.form == "gile" else (left + right).tanh()
            row.append(matcher.out(joint))
        rows.append(torch.cat(row))
    return torch.stack(rows)


def dense_weights(module: PairWeightMLP, zf: Tensor, zc: Tensor) -> Tensor:
    return module.out(module.inner(zf[:, None] + zc).tanh()).squeeze(-1).sigmoid()


@pytest.mark.parametrize("chunk", [1, 1 << 22])
@pytest.mark.parametrize("form", ["gile", "concat"])
def test_labels_are_scored_as_one_by_one_in_any_chunk(monkeypatch, form: str, chunk: int) -> None:
    monkeypatch.setattr(pairs, "CHUNK_ELEMENTS", chunk)
    matcher = LabelMatcher(4, 3, joint=5, form=form).double()
    x, labels = random(6, 4).requires_grad_(), random(7, 3).requires_grad_()
    inputs = (x, labels, *matcher.parameters())
    got, want = matcher(x, labels), dense_label_scores(matcher, x, labels)
    torch.testing.assert_close(got, want)
    weight = random(6, 7)
    for mine, theirs in zip(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((want * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_a_concatenating_matcher_is_a_two_layer_network_on_both_vectors() -> None:
    matcher = LabelMatcher(4, 3, joint=5, form="concat").double()
    network = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    network[0].weight.data = torch.cat([matcher.input.weight, matcher.label.weight], dim=1).detach()
    network[0].bias.data, network[2] = matcher.input.bias.detach(), matcher.out
    x, labels = random(2, 4), random(3, 3)
    want = [[network(torch.cat([a, b])).item() for b in labels] for a in x]
    torch.testing.assert_close(matcher(x, labels), torch.tensor(want, dtype=torch.float64))


@pytest.mark.parametrize("chunk", [1, 40, 1 << 22])
def test_pair_weights_equal_the_dense_table_in_any_chunk(monkeypatch, chunk: int) -> None:
    monkeypatch.setattr(pairs, "CHUNK_ELEMENTS", chunk)
    module = PairWeightMLP(4, hidden=3).double()
    zf, zc = random(6, 4).requires_grad_(), random(7, 4).requires_grad_()
    inputs = (zf, zc, *module.parameters())
    got, want = module(zf, zc), dense_weights(module, zf, zc)
    torch.testing.assert_close(got, want)
    weight = random(6, 7)
    for mine, theirs in zip(
        torch.autograd.grad((got * weight).sum(), inputs),
        torch.autograd.grad((want * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(module(zf[2:4], zc), want[2:4])  # a block of rows


class LargestTensor(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes the largest number of elements that any operation returns."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.numel())
        return out


def test_pair_weights_never_hold_the_hidden_layer_of_all_pairs(monkeypatch) -> None:
    monkeypatch.setattr(pairs, "CHUNK_ELEMENTS", 16 * 200 * 2)
    module, z = PairWeightMLP(8), torch.randn(200, 8, requires_grad=True)
    with LargestTensor() as seen:
        module(z, z).sum().backward()
    assert seen.largest == 200 * 200  # 640,000 with the hidden layer


def test_pair_scores_are_single_precision_under_autocast_and_accept_no_rows() -> None:
    module, z = PairWeightMLP(4), torch.randn(5, 4)
    with torch.autocast("cpu", torch.bfloat16):
        got = module(z, z)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, module(z, z), rtol=0.02, atol=0.02)
    assert module(z[:0], z).shape == (0, 5)
    assert module(z, z[:0]).shape == (5, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PairGate(2, 3, fuse="sum"), "fuse = 'sum'"),
        (lambda: PairGate(2, 3)(torch.tensor([0]), torch.tensor([0, 1])), r"y2 has shape \(2,\): expected \(1,\)"),
        (lambda: LabelMatcher(2, 3, 4, form="sum"), "form = 'sum'"),
        (lambda: LabelMatcher(2, 3, 4)(torch.zeros(1, 2), torch.zeros(1, 2)), "labels has shape"),
        (lambda: PairWeightMLP(2)(torch.zeros(1, 2), torch.zeros(1, 3)), "zc has shape"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("kind", ["gumbel", "stochastic"])
def test_a_gate_is_drawn_in_training_alone_by_the_given_generator(kind: str) -> None:
    gate = PairGate(6, dim=3, embed=4, hidden=5, kind=kind)
    y1, y2 = torch.randint(6, (64,)), torch.randint(6, (64,))
    draws = [gate.drawn(y1, y2, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0][0], draws[1][0])
    assert not torch.equal(draws[0][0], draws[2][0])
    torch.testing.assert_close(draws[0][1], draws[2][1])
    assert all(((part >= 0) & (part <= 1)).all() for part in draws[0])
    gate.eval()
    assert torch.equal(gate(y1, y2), gate(y1, y2))


def test_a_stochastic_gate_is_open_as_often_as_its_chance_says() -> None:
    gate = PairGate(4, dim=5, embed=4, hidden=5, kind="stochastic")
    y = torch.tensor([0, 1, 2, 3]).repeat(500)
    with torch.no_grad():
        drawn, chance = gate.drawn(y, y, torch.Generator().manual_seed(0))
    opened = (drawn > 0).float().view(500, 4, 5).mean(dim=0)
    torch.testing.assert_close(opened, chance[:4], atol=0.07, rtol=0)


def test_what_a_gate_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="kind = 'hard'"):
        PairGate(4, dim=3, kind="hard")
    with pytest.raises(ValueError, match="fuse = 'sum'"):
        PairGate(4, dim=3, fuse="sum")
