"""Discovery of classes, pairs that differ in one thing, and recalls of the released code of ProtoCLIP."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fixed import corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.recipe import Prepared
from accord.data.splits import Splits
from accord.errors import DataError
from accord.evaluation.discovery import gcd_accuracy, pair_accuracy, score_discovery
from accord.evaluation.retrieval import retrieval_metrics
from accord.evaluation.tasks import get_task
from accord.functional import discover_classes
from accord.methods.abilities import DiscoversClasses, Discovery


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


# -- classes that a method discovers


class Finder(DiscoversClasses):
    """Discovers by what rows say, and remembers which labels it was given."""

    def discover(self, embeddings, labels):
        self.given = labels
        found = discover_classes(embeddings, labels, dim=None, restarts=2)
        return Discovery(found.assigned, found.known, found.classes)


def apart(count=90):
    """Rows of three classes that lie apart, and their vectors."""
    labels = np.arange(count) % 3
    noise = torch.randn(count, 6, generator=torch.Generator().manual_seed(0))
    return corpus(labels), F.normalize(torch.eye(6)[labels] + 0.05 * noise, dim=1)


def test_labels_of_a_share_of_the_old_rows_are_given_and_only_the_others_are_scored() -> None:
    rows, vectors = apart()
    finder = Finder()
    scored = score_discovery(finder, vectors, rows, old=["a", "b"], share=0.4)
    given_ = finder.given.numpy()
    assert np.bincount(given_ + 1).tolist() == [66, 12, 12]
    assert (given_[given_ >= 0] == rows.labels[given_ >= 0]).all()
    values = {metric.name: (metric.value, metric.n) for metric in scored.metrics()}
    assert values["accuracy, all classes"] == (100.0, 66)
    assert values["accuracy, old classes"] == (100.0, 36)
    assert values["accuracy, new classes"] == (100.0, 30)
    assert values["classes found"] == values["classes there are"] == (3.0, 90)


def test_a_label_that_was_given_does_not_count_as_found() -> None:
    rows, vectors = apart()

    class Lazy(Finder):
        def discover(self, embeddings, labels):
            return Discovery(labels.clamp(min=0) * 0 + (labels < 0).long(), 1, 2)  # all others in one class

    scored = score_discovery(Lazy(), vectors, rows, old=["a"])
    assert scored.metrics()[0].value == pytest.approx(100 * 30 / 75)  # one of the new classes, and no given row


def test_rows_without_a_known_class_or_with_all_labels_given_are_refused() -> None:
    rows, vectors = apart()
    with pytest.raises(DataError, match=r"known: z; it has a, b, c.*discovery\.old"):
        score_discovery(Finder(), vectors, rows, old=["z"])
    with pytest.raises(DataError, match="lower discovery"):
        score_discovery(Finder(), vectors[:3], rows.select(range(3)), old=["a", "b", "c"])


def test_the_report_shows_the_most_typical_rows_of_new_classes() -> None:
    rows, vectors = apart()

    class Model:
        modalities, classes = ("text",), ("a",)

        def embed_corpus(self, corpus, modality):
            return vectors[torch.from_numpy(corpus.ids)]

        def able(self, ability):
            return Finder()

    task, prepared = get_task("discovery"), Prepared(rows.select([]), rows, rows.select([]), Splits({}))
    assert task.fits(Model(), prepared)
    metrics = task.run(Model(), prepared, task.options())
    assert [metric.name for metric in metrics][:1] == ["accuracy, all classes"]
    (section,) = task.shows(Model(), prepared, task.options())
    assert [example.query.text for example in section.examples] == ["class 2, 30 rows", "class 3, 30 rows"]
    for example in section.examples:
        assert len({rows.labels[hit.row] for hit in example.hits}) == 1
    Model.classes = ("z",)
    assert not task.fits(Model(), prepared)
