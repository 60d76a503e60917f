"""CLIP's loss against its golden, and the properties of the contrastive family."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord import functional as AF
from accord.errors import ShapeError
from accord.functional.tiled import tiled_sigmoid_sum


def unit(rows: int, dim: int = 6, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)).double(), dim=1)


def operations(value: Tensor) -> set[str]:
    """Names of the operations in the graph behind a value."""
    seen, waiting = set(), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(parent for parent, _ in node.next_functions)
    return {type(node).__name__ for node in seen}


@pytest.mark.parametrize("tile", [None, 3])
def test_info_nce_equals_the_public_clip_loss(golden, tile: int | None) -> None:
    given_ = golden("clip")
    leaves = [given_[name].clone().requires_grad_() for name in ("image", "text", "logit_scale")]
    loss = AF.info_nce(*leaves, tile=tile)
    loss.backward()
    torch.testing.assert_close(loss.detach(), given_["loss"], rtol=1e-10, atol=1e-10)
    for leaf, name in zip(leaves, ("grad_image", "grad_text", "grad_logit_scale"), strict=True):
        torch.testing.assert_close(leaf.grad, given_[name], rtol=1e-10, atol=1e-10)


def test_a_batch_above_the_dense_limit_is_tiled_and_gives_the_dense_values() -> None:
    image, text = unit(1100, 8).float(), unit(1100, 8, seed=1).float()
    results = []
    for tile in (None, 1100):
        leaves = [image.clone().requires_grad_(), text.clone().requires_grad_()]
        loss = AF.info_nce(*leaves, 50.0, tile=tile)
        loss.backward()
        results.append([loss.detach(), *(leaf.grad for leaf in leaves)])
        assert ("_TiledLogSumExpBackward" in operations(loss)) == (tile is None)
    for tiled, dense in zip(*results, strict=True):
        torch.testing.assert_close(tiled, dense, rtol=1e-5, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(2, 9), tile=st.integers(1, 9), order=st.randoms(use_true_random=False))
def test_info_nce_does_not_depend_on_the_order_of_the_pairs(rows: int, tile: int, order) -> None:
    image, text = unit(rows), unit(rows, seed=1)
    shuffled = list(range(rows))
    order.shuffle(shuffled)
    torch.testing.assert_close(
        AF.info_nce(image[shuffled], text[shuffled], 20.0, tile=tile), AF.info_nce(image, text, 20.0)
    )


@settings(max_examples=15, deadline=None)
@given(bias=st.floats(-30, 30), tile=st.sampled_from([2, 8]))
def test_a_bias_cancels_in_the_softmax_loss(bias: float, tile: int) -> None:
    image, text = unit(6), unit(6, seed=1)
    torch.testing.assert_close(
        AF.info_nce(image, text, 10.0, logit_bias=bias, tile=tile), AF.info_nce(image, text, 10.0)
    )


def test_swapping_the_modalities_changes_nothing_with_symmetric_targets() -> None:
    image, text, targets = unit(5), unit(5, seed=1), AF.targets_from_ids(torch.tensor([1, 2, 1, 3, 2]))
    torch.testing.assert_close(
        AF.info_nce(image, text, 10.0, targets=targets), AF.info_nce(text, image, 10.0, targets=targets)
    )


def test_distinct_ids_are_the_identity_and_absent_ids_an_empty_row() -> None:
    torch.testing.assert_close(AF.targets_from_ids(torch.arange(4)), torch.eye(4))
    assert AF.targets_from_ids(torch.tensor([1, 2]), torch.tensor([2, 2])).tolist() == [[0, 0], [0.5, 0.5]]


def test_a_duplicate_caption_is_no_longer_a_negative() -> None:
    image = torch.eye(3).double()[[0, 0, 1]]
    text = image.clone()  # rows 0 and 1 have the same caption
    plain = AF.info_nce(image, text, 100.0)
    aware = AF.info_nce(image, text, 100.0, targets=AF.targets_from_ids(torch.tensor([4, 4, 9])))
    gap = torch.log(torch.tensor(2.0)).double() * 2 / 3  # half of the mass on each of two equal keys: log 2 in both
    torch.testing.assert_close(plain, gap)
    torch.testing.assert_close(aware, gap)
    apart = F.normalize(text + torch.tensor([[0, 0, 0.1], [0, 0, -0.1], [0, 0, 0]]), dim=1)
    assert AF.info_nce(image, apart, 100.0, targets=AF.targets_from_ids(torch.tensor([4, 4, 9]))) <= plain


def pairs_apart(ids: Tensor) -> Tensor:
    """Which other rows stand in the softmax of each row where those of its own id are ignored."""
    return (ids[:, None] != ids) | torch.eye(len(ids), dtype=torch.bool)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("tile", [None, 2])
def test_ignored_duplicates_are_neither_positives_nor_negatives(tile: int | None, smoothing: float) -> None:
    image, text, ids = unit(5), unit(5, seed=1), torch.tensor([4, 9, 4, 4, 2])
    image.requires_grad_()
    logits = (7.0 * image @ text.T).masked_fill(~pairs_apart(ids), -torch.inf)
    expected = torch.zeros(()).double()
    for each in (logits, logits.T):
        log_p = each.log_softmax(dim=1)
        even = log_p.masked_fill(~pairs_apart(ids), 0.0).sum(dim=1) / pairs_apart(ids).sum(dim=1)
        expected = expected - ((1 - smoothing) * log_p.diagonal() + smoothing * even).mean() / 2
    given_ = {"ids": ids, "duplicates": "ignored", "label_smoothing": smoothing, "tile": tile}
    loss = AF.info_nce(image, text, 7.0, **given_)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(value, image)[0] for value in (loss, expected)))


def test_of_dropped_duplicates_the_first_stays() -> None:
    image, text, ids = unit(5), unit(5, seed=1), torch.tensor([4, 9, 4, 4, 2])
    assert AF.first_of_each(ids).tolist() == [True, True, False, False, True]
    alone = AF.info_nce(image[[0, 1, 4]], text[[0, 1, 4]], 7.0)
    for loss in (AF.info_nce, AF.ClipLoss()):
        torch.testing.assert_close(loss(image, text, 7.0, ids=ids, duplicates="dropped"), alone)


def test_targets_of_a_row_without_positives_leave_it_out_in_tiles_too() -> None:
    image, text = unit(5), unit(5, seed=1)
    targets = torch.eye(5).double()
    targets[3] = 0
    for smoothing in (0.0, 0.1):
        losses = [AF.info_nce(image, text, 9.0, targets=targets, label_smoothing=smoothing, tile=t) for t in (2, 5)]
        torch.testing.assert_close(*losses)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_many_keys_are_walked_in_tiles_with_the_same_result(monkeypatch, smoothing: float) -> None:
    query, key, index = unit(4).requires_grad_(), unit(6, seed=1), torch.tensor([5, 0, 2, 2])
    losses = []
    for limit in (0, 1 << 20):
        monkeypatch.setattr("accord.functional.contrast.pairs.BLOCK_ELEMENTS", limit)
        losses.append(AF.indexed_nce(query, key, index, 7.0, label_smoothing=smoothing))
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, query)[0] for loss in losses))


def test_constant_keys_get_no_gradient_and_change_nothing() -> None:
    query, key, scale = unit(4).requires_grad_(), unit(6, seed=1), torch.tensor(7.0).double().requires_grad_()
    weight = torch.linspace(0.5, 1.5, 4).double()
    tiled = (AF.tiled_logsumexp(query, key, scale, tile=2) * weight).sum()
    dense = (torch.logsumexp(scale * query @ key.T, dim=1) * weight).sum()
    for got, want in zip(*(torch.autograd.grad(loss, (query, scale)) for loss in (tiled, dense)), strict=True):
        torch.testing.assert_close(got, want)
    only_scale = AF.tiled_logsumexp(unit(4), key, scale, tile=2) @ weight
    torch.testing.assert_close(
        torch.autograd.grad(only_scale, scale)[0],
        torch.autograd.grad(torch.logsumexp(scale * unit(4) @ key.T, dim=1) @ weight, scale)[0],
    )


def test_indexed_nce_finds_the_named_key() -> None:
    query, key, index = unit(4), unit(6, seed=1), torch.tensor([5, 0, 2, 2])
    log_prob = (query @ key.T * 7.0).log_softmax(dim=1)
    torch.testing.assert_close(AF.indexed_nce(query, key, index, 7.0), -log_prob[range(4), index].mean())


@pytest.mark.parametrize("exclude_self", [False, True])
def test_second_derivatives_of_the_tiled_walk_are_exact(exclude_self: bool) -> None:
    leaves = [x.requires_grad_() for x in (unit(4, 3), unit(4, 3, seed=1), torch.tensor(3.0).double())]

    def walk(*inputs: Tensor) -> Tensor:
        return torch.cat(AF.tiled_logsumexp_both(*inputs, tile=2, exclude_self=exclude_self))

    assert torch.autograd.gradgradcheck(walk, leaves)
    assert torch.autograd.gradgradcheck(lambda *x: AF.tiled_logsumexp(*x, tile=3), leaves)
    assert torch.autograd.gradgradcheck(lambda *x: torch.cat(AF.tiled_pair_terms(*x, tile=3)), leaves)


def test_the_functional_gradient_of_the_tiled_loss_equals_the_ordinary_one() -> None:
    image, text = unit(5).requires_grad_(), unit(5, seed=1)
    AF.info_nce(image, text, 10.0, tile=2).backward()
    got = torch.func.grad(lambda x: AF.info_nce(x, text, 10.0, tile=2))(image.detach())
    torch.testing.assert_close(got, image.grad)


def test_cwcl_equals_the_public_reimplementation(golden) -> None:
    given_ = golden("cwcl")
    anchor, other, log_scale = (given_[name].clone().requires_grad_() for name in ("anchor", "other", "log_inv_tau"))
    reference = F.normalize(given_["ref_single"].squeeze(1), dim=1)
    loss = AF.cwcl_loss(anchor, other, log_scale.exp(), weights=reference @ reference.T / 2 + 0.5)
    loss.backward()
    close = {"rtol": 1e-6, "atol": 1e-6}  # the source's weights are in single precision
    torch.testing.assert_close(loss.detach(), given_["loss_single"], **close)
    for leaf, name in ((anchor, "anchor"), (other, "other"), (log_scale, "logtau")):
        torch.testing.assert_close(leaf.grad, given_[f"grad_{name}_single"], **close)


def test_the_paper_weights_need_no_matrix_and_give_the_same() -> None:
    trained, frozen = unit(7).requires_grad_(), unit(7, seed=1)
    linear = AF.cwcl_loss(trained, frozen, 9.0, reverse="weighted")
    dense = AF.cwcl_loss(trained, frozen, 9.0, reverse="weighted", weights=frozen @ frozen.T / 2 + 0.5)
    torch.testing.assert_close(linear, dense)
    torch.testing.assert_close(*(torch.autograd.grad(loss, trained)[0] for loss in (linear, dense)))


def test_cwcl_can_take_the_paper_weights_from_other_features_than_the_keys() -> None:
    trained, frozen, reference = unit(7).requires_grad_(), unit(7, seed=1), unit(7, 3, seed=2).requires_grad_()
    linear = AF.cwcl_loss(trained, frozen, 9.0, reference=reference)
    dense = AF.cwcl_loss(trained, frozen, 9.0, weights=reference @ reference.T / 2 + 0.5)
    torch.testing.assert_close(linear, dense)
    linear.backward()
    assert reference.grad is None
    with pytest.raises(ShapeError, match="reference"):
        AF.cwcl_loss(trained, frozen, 9.0, reference=reference[:3])
    with pytest.raises(ValueError, match="expected one of them"):
        AF.cwcl_loss(trained, frozen, 9.0, reference=reference, weights=torch.eye(7))


def test_the_weighted_direction_cannot_fall_below_the_entropy_of_its_targets(monkeypatch) -> None:
    frozen = unit(7)
    weights = frozen @ frozen.T / 2 + 0.5
    target = weights / weights.sum(dim=1, keepdim=True)
    entropy = -(target * target.log()).sum(dim=1)
    monkeypatch.setattr("accord.functional.contrast.weighted._ROWS", 3)
    for found in (AF.target_entropy(frozen), AF.target_entropy(frozen, weights=weights)):
        torch.testing.assert_close(found, entropy)
    logits = target.log().requires_grad_()  # what the weighted direction is content with
    floor = -(target * logits.log_softmax(dim=1)).sum(dim=1)
    torch.testing.assert_close(floor, entropy)
    for seed in range(5):
        loss = AF.cwcl_loss(unit(7, seed=seed), frozen, 9.0, reverse_weight=0.0)
        assert loss >= entropy.mean()


def test_info_nce_equals_the_loss_of_mcl(golden) -> None:
    given_ = {k.rsplit(".", 1)[1]: v for k, v in golden("mcl_multistage").items() if k.startswith("clip_loss")}
    leaves = [given_[name].clone().requires_grad_() for name in ("image", "text")]
    loss = AF.info_nce(*leaves, given_["logit_scale"])
    loss.backward()
    torch.testing.assert_close(loss.detach(), given_["loss"], rtol=1e-5, atol=1e-5)
    for leaf, name in zip(leaves, ("grad_image", "grad_text"), strict=True):
        torch.testing.assert_close(leaf.grad, given_[name], rtol=1e-5, atol=1e-5)


def test_restricted_negatives_are_all_of_a_pure_batch_and_none_of_a_mixed_one() -> None:
    z1, z2 = unit(5).requires_grad_(), unit(5, seed=1)
    torch.testing.assert_close(AF.restricted_info_nce(z1, z2, torch.zeros(5), 0.1), AF.info_nce(z1, z2, 10.0))
    alone = AF.restricted_info_nce(z1, z2, torch.arange(5), 0.1)
    torch.testing.assert_close(alone, torch.zeros(()).double())
    torch.testing.assert_close(torch.autograd.grad(alone, z1)[0], torch.zeros_like(z1))


def test_mixed_clusters_give_the_mean_over_pure_batches() -> None:
    z1, z2, labels = unit(6), unit(6, seed=1), torch.tensor([0, 1, 0, 1, 1, 0])
    pure = [AF.info_nce(z1[labels == c], z2[labels == c], 10.0) for c in (0, 1)]
    torch.testing.assert_close(AF.restricted_info_nce(z1, z2, labels, 0.1), torch.stack(pure).mean())


def test_an_anchor_whose_negatives_all_weigh_nothing_is_left_out() -> None:
    anchor, other = unit(4), unit(4, seed=1)
    weights = torch.ones(4, 4).double() - torch.eye(4)
    weights[2] = 0
    kept = [0, 1, 3]
    rows = [AF.weighted_infonce(anchor, other, weights.clone().fill_diagonal_(0), 0.5)]
    level = torch.logsumexp((anchor @ other.T / 0.5 + weights.log())[kept], dim=1)
    torch.testing.assert_close(rows[0], (level - (anchor * other).sum(1)[kept] / 0.5).mean())


def test_hydra_pair_mean_weighs_anchors_by_their_positives() -> None:
    logits = torch.randn(3, 4).double()
    pos = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]).bool()
    neg = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 0], [1, 1, 1, 1]]).bool()
    terms = [
        torch.logsumexp(torch.cat([logits[i, j, None], logits[i][neg[i]]]), 0) - logits[i, j]
        for i, j in ((0, 0), (0, 1), (1, 0))
    ]
    torch.testing.assert_close(AF.multi_positive_nce(logits, pos, neg), torch.stack(terms).mean())
    by_anchor = ((terms[0] + terms[1]) / 2 + terms[2]) / 3  # the third anchor counts as zero
    torch.testing.assert_close(AF.multi_positive_nce(logits, pos, neg, "anchor"), by_anchor)


def test_distilled_targets_mix_the_teacher_with_the_given_positives() -> None:
    teacher, keys, ids = unit(3), torch.cat([unit(3), unit(2, seed=1)]), torch.tensor([4, 4, 5])
    hard = AF.targets_from_ids(ids, torch.tensor([4, 4, 5, 4, -1]))
    targets = AF.distill_targets(teacher, keys, 0.1, 0.25, hard)
    wanted = 0.25 * (teacher @ keys.T / 0.1).softmax(dim=1) + 0.75 * hard
    torch.testing.assert_close(targets, wanted.double())
    assert AF.distill_targets(teacher, keys, 0.1, 0.0).tolist() == torch.eye(3, 5).tolist()


def test_one_row_without_its_class_ignores_the_tile_size() -> None:
    ids = torch.tensor([0, 0, 0, 1])

    def others(rows: slice, columns: slice) -> Tensor:
        return ids[rows, None] == ids[columns]

    for tile in (1, 2, 4, None):
        level = AF.self_logsumexp(unit(4), 3.0, pair_weight=others, tile=tile)
        assert level[:3].isfinite().all()
        assert level[3] == -torch.inf


def test_second_derivatives_of_the_symmetric_walk_are_exact() -> None:
    leaves = [unit(5, 3).requires_grad_(), torch.tensor(3.0).double().requires_grad_()]
    assert torch.autograd.gradgradcheck(lambda *x: AF.self_logsumexp(*x, tile=2), leaves)


def test_local_loss_without_gathered_gradients_is_refused() -> None:
    with pytest.raises(ValueError, match="drops the gradient of the keys"):
        AF.ClipLoss(local_loss=True, gather_with_grad=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AF.info_nce(unit(3), unit(4), 1.0), r"text has shape \(4, 6\): expected \(3, 6\)"),
        (lambda: AF.info_nce(unit(3), unit(3), float("nan")), "logit_scale = nan: expected a finite number > 0"),
        (lambda: AF.info_nce(unit(3), unit(3), 1.0, tile=0), "tile = 0"),
        (lambda: AF.info_nce(unit(3), unit(3), 1.0, label_smoothing=2), r"expected a number in \[0, 1\]"),
        (lambda: AF.info_nce(unit(3), unit(3), 1.0, targets=unit(3)), r"targets has shape \(3, 6\)"),
        (lambda: AF.info_nce(unit(3), unit(3), 1.0, ids=torch.zeros(2)), r"ids has shape \(2,\)"),
        (lambda: AF.info_nce(unit(3), unit(3), 1.0, ids=torch.zeros(3), targets=torch.eye(3)), "expected one of them"),
        (lambda: AF.info_nce(unit(3), unit(3), 1.0, ids=torch.zeros(3), duplicates="kept"), "duplicates = 'kept'"),
        (lambda: AF.info_nce(unit(3), unit(3), torch.ones(2)), r"logit_scale has shape \(2,\): expected a scalar"),
        (lambda: AF.queue_nce(unit(3), unit(3), unit(4, 5), 0.1), "queue has shape .* expected 6 columns"),
        (lambda: AF.queue_nce(unit(3), unit(3), unit(4), 0.0), "temperature = 0.0"),
        (lambda: AF.prototype_nce(unit(3), unit(4), torch.zeros(2), 0.1), r"index has shape \(2,\)"),
        (lambda: AF.tiled_logsumexp(unit(1), unit(1), 1.0, exclude_self=True), "exclude_self with 1 queries"),
        (lambda: AF.uniformity(unit(1)), "x has 1 rows"),
        (lambda: AF.cwcl_loss(unit(3), unit(3), 1.0, reverse="both"), "reverse = 'both'"),
        (lambda: AF.cwcl_loss(unit(3), unit(3), 1.0, weights=unit(3)), r"weights has shape \(3, 6\)"),
        (lambda: AF.restricted_info_nce(unit(3), unit(3), torch.zeros(2), 0.1), r"labels has shape \(2,\)"),
        (lambda: AF.weighted_infonce(unit(3), unit(3), unit(3), 0.1), r"weights has shape \(3, 6\)"),
        (lambda: AF.multi_positive_nce(unit(3), unit(3) > 0, unit(3) < 0, "mean"), "reduction = 'mean'"),
        (lambda: AF.self_logsumexp(unit(1), 1.0), "x has 1 rows"),
        (lambda: AF.contrastive_logits(unit(3)[0], unit(3), 1.0), r"image has shape \(6,\)"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_shape_error_is_an_accord_error_too() -> None:
    with pytest.raises(ShapeError):
        AF.alignment(unit(3), unit(2))


def test_cosine_similarity_ignores_the_norm_and_a_zero_row_is_similar_to_nothing() -> None:
    a = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    torch.testing.assert_close(AF.pairwise_cosine_similarity(a), torch.tensor([[0.0, 0.0], [0.0, 1.0]]))


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("exclude_self", [True, False])
def test_with_and_without_a_subtracted_maximum_the_walks_are_the_same(monkeypatch, bounded, exclude_self) -> None:
    monkeypatch.setattr("accord.functional.tiled._bounded", lambda *_: bounded)
    ids = torch.tensor([0, 1, 0, 1, 2, 0, 1])

    def same_or_next(rows: slice, columns: slice) -> Tensor:
        return (ids[rows, None] - ids[columns]).abs() < 2

    x, y, scale = (
        unit(7).requires_grad_(),
        unit(7, seed=1).requires_grad_(),
        torch.tensor(9.0).double().requires_grad_(),
    )
    levels = [
        *AF.tiled_logsumexp_both(x, y, scale, exclude_self=exclude_self, pair_weight=same_or_next, tile=3),
        AF.self_logsumexp(x, scale, pair_weight=same_or_next, tile=3),
    ]
    allowed = same_or_next(slice(None), slice(None))
    other = allowed & ~torch.eye(7, dtype=torch.bool)
    cross = (scale * x @ y.T).masked_fill(~(other if exclude_self else allowed), -torch.inf)
    within = (scale * x @ x.T).masked_fill(~other, -torch.inf)
    wanted = [cross.logsumexp(1), cross.logsumexp(0), within.logsumexp(1)]
    cotangent = torch.linspace(0.5, 1.5, 7).double()
    for got, want in zip(levels, wanted, strict=True):
        torch.testing.assert_close(got, want)
        grads = [
            torch.autograd.grad((v * cotangent).sum(), (x, y, scale), allow_unused=True, retain_graph=True)
            for v in (got, want)
        ]
        for a, b in zip(*grads, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b)


@pytest.mark.parametrize(("scale", "bounded"), [(14.3, True), (100.0, False)])
def test_a_maximum_is_subtracted_only_where_the_exponential_could_overflow(scale: float, bounded: bool) -> None:
    from accord.functional.tiled import _bounded

    assert _bounded(unit(3).float(), unit(3).float(), torch.tensor(scale), None) is bounded


def test_a_teachers_classes_share_the_target_with_the_label() -> None:
    logits, teacher = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 4, 2])
    target = 0.7 * torch.eye(5, dtype=torch.float64)[labels] + 0.3 * teacher.softmax(dim=1)
    expected = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    loss = AF.distilled_cross_entropy(logits, labels, teacher, alpha=0.3)
    torch.testing.assert_close(loss, expected)
    assert torch.autograd.grad(loss, teacher, allow_unused=True) == (None,)
    assert AF.distilled_cross_entropy(logits[:0], labels[:0], teacher[:0], alpha=0.3) == 0
    assert AF.distilled_cross_entropy(logits.bfloat16(), labels, teacher.bfloat16(), 0.3).dtype == torch.float32
    with pytest.raises(ValueError, match="alpha"):
        AF.distilled_cross_entropy(logits, labels, teacher, alpha=1.5)


@pytest.mark.parametrize("tile", [1, 3, 7])
def test_a_walk_over_yes_and_no_questions_equals_the_matrix_of_them(tile: int) -> None:
    leaves = [
        x.requires_grad_() for x in (unit(7), unit(7, seed=1), torch.tensor(9.0).double(), torch.tensor(-4.0).double())
    ]
    image, text, scale, bias = leaves
    z, own = scale * image @ text.T + bias, torch.eye(7, dtype=torch.bool)
    dense = -(F.logsigmoid(z[own]).sum() + F.logsigmoid(-z[~own]).sum())
    tiled = tiled_sigmoid_sum(*leaves, tile=tile)
    torch.testing.assert_close(tiled, dense, rtol=1e-12, atol=1e-12)
    for got, wanted in zip(*(torch.autograd.grad(3 * loss, leaves) for loss in (tiled, dense)), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-11)
    through = torch.func.grad(lambda x: tiled_sigmoid_sum(x, text, scale, bias, tile=tile))(image.detach())
    torch.testing.assert_close(3 * through, torch.autograd.grad(3 * tiled_sigmoid_sum(*leaves, tile=tile), image)[0])


def test_yes_and_no_questions_of_many_rows_make_no_matrix_of_all(monkeypatch) -> None:
    monkeypatch.setattr("accord.functional.tiled.DENSE_ROWS", 64)
    image, text = unit(600).float().requires_grad_(), unit(600, seed=1).float()
    loss = AF.sigmoid_contrast(image, text, 10.0, -10.0)
    assert "LogSigmoidBackward0" not in operations(loss)
    sign = 2 * torch.eye(600) - 1
    dense = -F.logsigmoid(sign * (10 * image @ text.T - 10)).sum() / 600
    torch.testing.assert_close(loss, dense, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(*(torch.autograd.grad(one, image)[0] for one in (loss, dense)), rtol=1e-5, atol=1e-7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert AF.sigmoid_contrast(image.bfloat16(), text.bfloat16(), 10.0, -10.0).dtype == torch.float32
