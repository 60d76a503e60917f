"""The rules that find and correct wrong labels, against loops and CAPro's golden step."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord import functional as AF


def unit(rows: int, dim: int = 4, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)).double(), dim=1)


@settings(max_examples=30, deadline=None)
@given(
    dist=st.lists(st.floats(0, 1), min_size=1, max_size=20),
    k=st.integers(1, 4),
    classes=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_selection_takes_the_k_nearest_rows_of_each_class(dist, k, classes, seed) -> None:
    labels = torch.randint(-1, classes, (len(dist),), generator=torch.Generator().manual_seed(seed))
    chosen = AF.select_by_text(torch.tensor(dist), labels, k, classes)
    for c in range(classes):
        rows = sorted((i for i in range(len(dist)) if labels[i] == c), key=lambda i: (torch.tensor(dist)[i], i))
        assert [i for i in rows if chosen[i]] == rows[:k]
    assert not chosen[labels < 0].any()


def test_every_class_with_rows_keeps_one_even_without_any_usable_distance() -> None:
    dist = torch.tensor([torch.nan, 0.4, torch.inf])
    chosen = AF.select_by_text(dist, torch.tensor([0, 2, 2]), k=1, num_classes=4)
    assert chosen.tolist() == [True, True, False]


def test_each_class_may_have_its_own_number() -> None:
    chosen = AF.select_by_text(torch.arange(6.0), torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([1, 2]), 2)
    assert chosen.tolist() == [True, False, False, True, True, False]


def test_bootstrap_equals_a_loop_over_the_dictionary() -> None:
    z, queue, prob = unit(3), unit(6, seed=1), torch.rand(6, 5).double().softmax(dim=1)
    got = AF.collective_bootstrap(z, queue, prob)
    for i in range(3):
        weight = [max(0.0, float(z[i] @ q)) + 1e-7 for q in queue]
        want = sum(w * p for w, p in zip(weight, prob, strict=True)) / sum(weight)
        torch.testing.assert_close(got[i], want)


def test_bootstrap_of_the_top_k_ignores_the_rest_and_a_low_temperature_copies_the_nearest() -> None:
    z, queue, prob = unit(4), unit(9, seed=1), torch.rand(9, 3).double().softmax(dim=1)
    nearest = prob[(z @ queue.T).argmax(dim=1)]
    torch.testing.assert_close(AF.collective_bootstrap(z, queue, prob, topk=1), nearest)
    torch.testing.assert_close(AF.collective_bootstrap(z, queue, prob, temperature=1e-4), nearest)
    torch.testing.assert_close(AF.collective_bootstrap(z, queue, prob, topk=9), AF.collective_bootstrap(z, queue, prob))


def test_bootstrap_of_several_labels_keeps_each_probability() -> None:
    prob = torch.tensor([[0.9, 0.8], [0.9, 0.8]])
    got = AF.collective_bootstrap(unit(2).float(), unit(2).float(), prob, multi_label=True)
    torch.testing.assert_close(got, prob)


def test_bootstrap_carries_no_gradient() -> None:
    assert not AF.collective_bootstrap(unit(2).requires_grad_(), unit(3), unit(3).exp()).requires_grad


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 8), keep_th=st.floats(0, 1), correct_th=st.floats(0, 1), seed=st.integers(0, 99))
def test_correction_follows_the_rule_row_by_row(rows, keep_th, correct_th, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    prob = (3 * torch.randn(rows, 4, generator=generator)).softmax(dim=1)
    labels = torch.randint(0, 4, (rows,), generator=generator)
    protected = torch.rand(rows, generator=generator) < 0.3
    got, keep = AF.correct_labels(prob, labels, protected, keep_th, correct_th)
    for i in range(rows):
        corrected = prob[i].max() >= correct_th and not protected[i]
        assert got[i] == (prob[i].argmax() if corrected else labels[i])
        assert keep[i] == bool(corrected or protected[i] or prob[i, labels[i]] >= keep_th)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 6), seed=st.integers(0, 99))
def test_correction_of_several_labels_follows_the_rule_entry_by_entry(rows, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    prob = (3 * torch.randn(rows, 3, generator=generator)).sigmoid()
    labels = torch.randint(0, 2, (rows, 3), generator=generator)
    protected = torch.rand(rows, generator=generator) < 0.3
    got, keep = AF.correct_labels(prob, labels, protected, keep_th=0.4, correct_th=0.9)
    for i in range(rows):
        kept = False
        for c in range(3):
            stated = prob[i, c] if labels[i, c] == 1 else 1 - prob[i, c]
            flip = 1 - stated >= 0.9 and not protected[i]
            clean = stated >= 0.4 or protected[i]
            kept |= bool(flip or clean)
            assert got[i, c] == (1 - labels[i, c] if flip else labels[i, c] if clean else -1)
        assert keep[i] == kept


def test_a_row_without_label_is_kept_only_when_the_model_is_sure() -> None:
    prob = torch.tensor([[0.9, 0.1], [0.5, 0.5]])
    labels, keep = AF.correct_labels(prob, torch.tensor([-1, -1]), torch.zeros(2, dtype=torch.bool))
    assert keep.tolist() == [True, False]
    assert labels.tolist() == [0, -1]


def test_the_keep_threshold_is_chance_by_default() -> None:
    prob = torch.tensor([[0.26, 0.24, 0.25, 0.25]]).expand(2, 4)
    _, keep = AF.correct_labels(prob, torch.tensor([0, 1]), torch.zeros(2, dtype=torch.bool))
    assert keep.tolist() == [True, False]


def test_row_weights_are_per_row_and_dropped_rows_never_count_even_when_not_finite() -> None:
    values, keep = torch.tensor([2.0, 4.0, torch.inf]), torch.tensor([True, True, False])
    assert AF.kept_mean(values, keep, torch.tensor([1.0, 3.0, 1.0])).item() == 7.0
    assert AF.kept_mean(values, torch.zeros(3, dtype=torch.bool)).item() == 0.0


def test_the_loss_of_several_labels_leaves_unknown_entries_out_and_weighs_positives() -> None:
    logits, labels = torch.tensor([[1.0, -2.0, 3.0]]), torch.tensor([[1, 0, -1]])
    want = (-2.0 * F.logsigmoid(torch.tensor(1.0)) - F.logsigmoid(torch.tensor(2.0))) / 2
    torch.testing.assert_close(AF.label_loss(logits, labels, torch.tensor([2.0, 5.0, 9.0]))[0], want)


def test_unlabelled_rows_cost_nothing() -> None:
    assert AF.label_loss(torch.randn(2, 3), torch.tensor([-1, -5])).tolist() == [0.0, 0.0]


def test_positive_weights_of_rare_classes_are_large_and_of_empty_ones_finite() -> None:
    assert AF.positive_weight(torch.tensor([0, 20, 10]), total=101).tolist()[0] == 10.0


def test_the_total_for_several_labels_equals_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, low = torch.randn(3, 4, generator=generator), torch.randn(3, 4, generator=generator)
    proto, soft = torch.randn(3, 4, 2, generator=generator), torch.rand(3, 4, generator=generator)
    labels = torch.tensor([[1, 0, -1, 0], [0, 1, 1, 0], [1, 1, 0, 0]])
    keep, weight = torch.tensor([True, True, False]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    out = {"logits": logits, "low_logits": low, "labels": labels, "keep": keep}
    terms = AF.capro_loss(out | {"bootstrap": soft, "proto_logits": proto}, beta=0.1, w_proto=0.5, pos_weight=weight)

    def binary(scores: Tensor, i: int) -> Tensor:
        known = [c for c in range(4) if labels[i, c] >= 0]
        each = [
            -weight[c] * F.logsigmoid(scores[i, c]) if labels[i, c] == 1 else -F.logsigmoid(-scores[i, c])
            for c in known
        ]
        return torch.stack(each).mean()

    def choice(i: int) -> Tensor:
        known = [c for c in range(4) if labels[i, c] >= 0]
        factor = [2.5 if labels[i, c] == 1 else 1.0 for c in known]
        each = [-f * proto[i, c].log_softmax(0)[labels[i, c]] for f, c in zip(factor, known, strict=True)]
        return torch.stack(each).mean()

    rows = [
        binary(logits, i) + 0.9 * binary(low, i) - 0.1 * (soft[i] * F.logsigmoid(low[i])).mean() + 0.5 * choice(i)
        for i in range(2)
    ]
    torch.testing.assert_close(terms["total"], torch.stack(rows).mean())
    assert set(terms) == {"classify", "low", "prototype", "total"}


def test_the_reconstruction_target_carries_no_gradient() -> None:
    feature = torch.randn(2, 3, requires_grad=True)
    out = {"logits": torch.zeros(2, 2), "low_logits": torch.zeros(2, 2), "labels": torch.tensor([0, 1])}
    out |= {"keep": torch.ones(2, dtype=torch.bool), "feature": feature}
    out |= {"reconstruction": torch.zeros(2, 3, requires_grad=True)}
    AF.capro_loss(out)["total"].backward()
    assert feature.grad is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AF.select_by_text(torch.zeros(2), torch.tensor([0, 5]), 1, 3), "largest label = 5"),
        (lambda: AF.select_by_text(torch.zeros(2), torch.tensor([0, 1]), 0, 3), "k = 0"),
        (lambda: AF.select_by_text(torch.zeros(2), torch.tensor([0]), 1, 3), r"labels has shape \(1,\)"),
        (lambda: AF.collective_bootstrap(unit(2), unit(3), unit(4)), "queue_prob has shape"),
        (lambda: AF.collective_bootstrap(unit(2), unit(3), unit(3), topk=4), r"topk = 4: expected .* \[1, 3\]"),
        (lambda: AF.correct_labels(unit(2), torch.zeros(3), torch.zeros(2)), r"labels has shape \(3,\)"),
        (lambda: AF.correct_labels(unit(2), torch.zeros(2), torch.zeros(2), correct_th=7), "correct_th = 7"),
        (lambda: AF.mixed_posterior(unit(2), unit(3)), "proto_logits has shape"),
        (lambda: AF.label_loss(unit(2), torch.zeros(2, 3)), "labels has shape"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
