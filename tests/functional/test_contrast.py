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


def test_the_functional_gradient_of_the_tiled_loss_equals_the_ordinary_one() -> None:
    image, text = unit(5).requires_grad_(), unit(5, seed=1)
    AF.info_nce(image, text, 10.0, tile=2).backward()
    got = torch.func.grad(lambda x: AF.info_nce(x, text, 10.0, tile=2))(image.detach())
    torch.testing.assert_close(got, image.grad)


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
        (lambda: AF.info_nce(unit(3), unit(3), torch.ones(2)), r"logit_scale has shape \(2,\): expected a scalar"),
        (lambda: AF.queue_nce(unit(3), unit(3), unit(4, 5), 0.1), "queue has shape .* expected 6 columns"),
        (lambda: AF.queue_nce(unit(3), unit(3), unit(4), 0.0), "temperature = 0.0"),
        (lambda: AF.prototype_nce(unit(3), unit(4), torch.zeros(2), 0.1), r"index has shape \(2,\)"),
        (lambda: AF.tiled_logsumexp(unit(1), unit(1), 1.0, exclude_self=True), "exclude_self with 1 queries"),
        (lambda: AF.uniformity(unit(1)), "x has 1 rows"),
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
