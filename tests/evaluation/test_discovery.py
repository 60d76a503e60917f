"""Discovery of classes, pairs that differ in one thing, and recalls of the released code of ProtoCLIP."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.evaluation.discovery import gcd_accuracy, pair_accuracy
from accord.evaluation.retrieval import retrieval_metrics


def test_accuracy_is_that_of_the_released_code(golden) -> None:
    given_ = {name.removeprefix("gcd_accuracy."): value.numpy() for name, value in golden("gpc_gcd").items()}
    for protocol in ("v1", "v2"):
        got = gcd_accuracy(given_["in.y_true"], given_["in.y_pred"], given_["in.old_mask"], protocol)
        assert list(got) == ["all", "old", "new"]
        assert list(got.values()) == pytest.approx(given_[f"out.{protocol}"].tolist())


@settings(max_examples=30, deadline=None)
@given(pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_accuracy_is_the_best_over_all_permutations(pairs: list[tuple[int, int]]) -> None:
    truth, cluster = (np.array(column) for column in zip(*pairs, strict=True))
    best = max(np.mean(truth == np.array(order)[cluster]) for order in permutations(range(4)))
    old = truth < 2
    assert gcd_accuracy(truth, cluster, old)["all"] == pytest.approx(best)
    separate = [
        max(np.sum(truth[part] == np.array(order)[cluster[part]]) for order in permutations(range(4)))
        for part in (old, ~old)
    ]
    assert gcd_accuracy(truth, cluster, old, "v1")["all"] == pytest.approx(sum(separate) / len(truth))


def test_the_separate_protocol_lets_one_cluster_serve_two_classes() -> None:
    truth, cluster, old = [0, 0, 1, 1], [0, 0, 0, 0], [True, True, False, False]
    assert gcd_accuracy(truth, cluster, old)["all"] == 0.5
    assert gcd_accuracy(truth, cluster, old, "v1") == {"all": 1.0, "old": 1.0, "new": 1.0}


def test_names_of_clusters_and_classes_do_not_matter_and_their_numbers_may_differ() -> None:
    rng = np.random.default_rng(0)
    truth, cluster = rng.integers(0, 4, 50), rng.integers(0, 9, 50)
    old = truth < 2
    want = gcd_accuracy(truth, cluster, old)
    assert gcd_accuracy(100 - 7 * truth, -cluster, old) == want
    assert gcd_accuracy(torch.from_numpy(truth), torch.from_numpy(cluster), torch.from_numpy(old)) == want
    assert gcd_accuracy(truth, truth, old) == {"all": 1.0, "old": 1.0, "new": 1.0}


def test_a_part_without_samples_has_no_accuracy() -> None:
    for protocol in ("v1", "v2"):
        got = gcd_accuracy([0, 1], [1, 0], [True, True], protocol)
        assert (got["all"], got["old"]) == (1.0, 1.0)
        assert math.isnan(got["new"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [0], [True, False]), r"y_pred has shape \(1,\): expected \(2,\)"),
        (([], [], []), r"y_true has shape \(0,\)"),
        (([0], [0], [True], "v3"), "protocol = 'v3'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gcd_accuracy(*arguments)


# -- pairs


def test_a_pair_counts_only_when_both_statements_find_their_image() -> None:
    img, txt = torch.randn(40, 2, 5), torch.randn(40, 2, 5)
    right = 0
    for images, texts in zip(img, txt, strict=True):
        cosine = torch.nn.functional.cosine_similarity(texts[:, None], images[None], dim=2)
        right += int(cosine[0, 0] > cosine[0, 1] and cosine[1, 1] > cosine[1, 0])
    assert pair_accuracy(img, txt) == pytest.approx(right / 40)
    assert pair_accuracy(3 * img, 0.1 * txt) == pytest.approx(right / 40)
    assert pair_accuracy(img, img) == 1.0


def test_a_model_that_sees_no_difference_scores_nothing() -> None:
    assert pair_accuracy(torch.ones(3, 2, 4), torch.randn(3, 2, 4)) == 0.0
    assert pair_accuracy(torch.randn(3, 2, 4), torch.ones(3, 2, 4)) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pair_accuracy(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2)), r"img has shape \(1, 3, 2\)"),
        (lambda: pair_accuracy(torch.zeros(1, 2, 2), torch.zeros(2, 2, 2)), r"txt has shape \(2, 2, 2\)"),
        (lambda: pair_accuracy(torch.zeros(0, 2, 2), torch.zeros(0, 2, 2)), "at least one pair"),
        (lambda: pair_accuracy(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), 0.0), "scale = 0.0"),
    ],
)
def test_wrong_arguments_of_pairs_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# -- retrieval with several captions


def test_recalls_with_three_captions_an_image_are_those_of_the_released_code(golden) -> None:
    given_ = golden("protoclip")
    captions = [[3 * image + caption for caption in range(3)] for image in range(10)]
    got = {metric.name: metric.value for metric in retrieval_metrics(given_["ret_scores"], captions)}
    names = [f"{side} R@{k}" for side in ("image→text", "text→image") for k in (1, 10, 5)]
    want = given_["ret_metrics"].tolist()
    assert [got[name] for name in names] == pytest.approx(want[:3] + want[4:])
    assert got["mean recall"] == pytest.approx(want[3])
