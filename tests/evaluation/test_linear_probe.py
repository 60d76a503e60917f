import numpy as np
import pytest
import torch

from accord.errors import DataError, ShapeError
from accord.evaluation import linear_probe
from accord.evaluation.linear_probe import evaluate_linear_probe, fit_probe


def blobs(per_class, spread, seed=0, dim=6):
    rng = torch.Generator().manual_seed(seed)
    centres = torch.eye(dim)[:3] * 4
    labels = torch.arange(3).repeat_interleave(per_class)
    return centres[labels] + spread * torch.randn(len(labels), dim, generator=rng), labels.numpy()


def test_separable_classes_are_separated():
    train, labels = blobs(30, 0.4)
    test, truth = blobs(50, 0.4, seed=1)
    probe = fit_probe(train, labels)
    assert (probe.logits(test).argmax(dim=1).numpy() == truth).all()


def test_the_fit_is_a_stationary_point_of_the_stated_objective():
    x, labels = blobs(20, 2.0)
    probe = fit_probe(x, labels, strengths=(0.5,))
    weight, bias = probe.weight.clone().requires_grad_(), probe.bias.clone().requires_grad_()
    z = (x - probe.mean) / probe.scale
    loss = torch.nn.functional.cross_entropy(z @ weight + bias, torch.from_numpy(labels))
    (loss + weight.square().sum() / (2 * 0.5 * len(x))).backward()
    assert weight.grad.abs().max() < 1e-4
    assert bias.grad.abs().max() < 1e-4


def test_useless_features_choose_strong_regularisation_and_clean_ones_weak():
    noise = torch.randn(120, 40, generator=torch.Generator().manual_seed(2))
    random_labels = np.arange(120) % 3
    clean, labels = blobs(40, 0.2)
    assert fit_probe(noise, random_labels).strength < fit_probe(clean, labels).strength


def test_scale_and_offset_of_the_embeddings_do_not_matter():
    x, labels = blobs(20, 1.0)
    plain = fit_probe(x, labels, strengths=(1.0,)).logits(x)
    moved = 100 * x + 7
    assert torch.allclose(plain, fit_probe(moved, labels, strengths=(1.0,)).logits(moved), atol=1e-2)


def test_inner_validation_holds_whole_groups_out():
    """Every row has an identical twin: without groups the twins leak and the weakest regularisation looks best."""
    rng = torch.Generator().manual_seed(3)
    base = torch.randn(40, 60, generator=rng)
    twins, labels = torch.cat([base, base, base]), np.tile(np.arange(40) % 2, 3)
    leaking = fit_probe(twins, labels)
    honest = fit_probe(twins, labels, groups=np.tile(np.arange(40), 3))
    assert honest.strength < leaking.strength


def test_multi_hot_labels_give_independent_classifiers():
    x, labels = blobs(30, 0.3)
    target = np.stack([labels == 0, labels != 1], axis=1).astype(np.uint8)
    assert ((fit_probe(x, target).logits(x) > 0).numpy() == target).all()


def test_a_single_group_cannot_be_split_and_takes_the_middle_strength():
    x, labels = blobs(5, 0.3)
    assert fit_probe(x, labels, strengths=(0.1, 1.0, 10.0), groups=["one"] * 15).strength == 1.0


@pytest.mark.parametrize(("few", "threads"), [(1 << 25, {1}), (0, {2})])
def test_little_work_takes_one_thread_and_leaves_the_others_as_they_were(monkeypatch, few, threads):
    seen = []
    original = linear_probe._loss
    monkeypatch.setattr(linear_probe, "FEW", few)
    monkeypatch.setattr(linear_probe, "_loss", lambda *x: seen.append(torch.get_num_threads()) or original(*x))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fit_probe(torch.eye(4), [0, 0, 1, 1], strengths=(1.0,))
        assert set(seen) == threads
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_sizes_and_nan_are_checked():
    with pytest.raises(ShapeError, match=r"shape \(2, 2\) for 3 labels"):
        fit_probe(torch.eye(2), [0, 1, 1])
    with pytest.raises(DataError, match="not finite"):
        fit_probe(torch.eye(2) / 0, [0, 1])


def test_a_probe_on_one_half_of_a_corpus_classifies_the_other(painted, colour_model):
    odd, even = painted.select(range(1, 24, 2)), painted.select(range(0, 24, 2))
    found = {metric.name: metric.value for metric in evaluate_linear_probe(colour_model, odd, even)}
    assert found["top-1"] == 100.0
