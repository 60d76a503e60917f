import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.errors import DataError, ShapeError
from accord.evaluation import retrieval
from accord.evaluation.retrieval import (
    chance_median_rank,
    chance_recall,
    distinct_texts,
    evaluate_retrieval,
    invert,
    rank_queries,
    retrieval_metrics,
    retrieve_examples,
)


def by_name(metrics):
    return {metric.name: metric for metric in metrics}


def brute_force_ranks(scores, correct):
    return [
        1 + sum(score > max(row[c] for c in right) for score in row) for row, right in zip(scores, correct, strict=True)
    ]


@pytest.fixture
def captioned():
    """40 images with 1 to 5 captions each, noisy copies of the image in 8 dimensions."""
    rng = torch.Generator().manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(40, 8, generator=rng), dim=1)
    img2txt, owner = [], []
    for image in range(40):
        count = 1 + image % 5
        img2txt.append(list(range(len(owner), len(owner) + count)))
        owner += [image] * count
    texts = images[owner] + 0.5 * torch.randn(len(owner), 8, generator=rng)
    return images, torch.nn.functional.normalize(texts, dim=1), img2txt


def test_ranks_with_several_captions_equal_brute_force(captioned):
    images, texts, img2txt = captioned
    scores = images @ texts.T
    assert rank_queries(scores, img2txt).rank.tolist() == brute_force_ranks(scores.tolist(), img2txt)
    back = invert(img2txt, len(texts))
    assert rank_queries(scores.T, back).rank.tolist() == brute_force_ranks(scores.T.tolist(), back)


def test_blocks_and_embeddings_give_the_ranks_of_the_whole_matrix(captioned, monkeypatch):
    images, texts, img2txt = captioned
    whole = rank_queries(images @ texts.T, img2txt)
    monkeypatch.setattr(retrieval, "_CELLS", 3 * len(texts))
    blocked = rank_queries((images, texts), img2txt)
    assert (blocked.rank == whole.rank).all()


def test_recalls_median_mean_and_rsum_equal_their_definitions(captioned):
    images, texts, img2txt = captioned
    scores = images @ texts.T
    found = by_name(retrieval_metrics((images, texts), img2txt))
    there = np.array(brute_force_ranks(scores.tolist(), img2txt))
    again = np.array(brute_force_ranks(scores.T.tolist(), invert(img2txt, len(texts))))
    recalls = [100 * (ranks <= k).mean() for ranks in (there, again) for k in (1, 5, 10)]
    names = [f"{way} R@{k}" for way in ("image→text", "text→image") for k in (1, 5, 10)]
    assert [found[name].value for name in names] == pytest.approx(recalls)
    assert found["image→text median rank"].value == np.median(there)
    assert found["mean recall"].value == pytest.approx(np.mean(recalls))
    assert found["rsum"].value == pytest.approx(sum(recalls))
    for metric in found.values():
        assert metric.low <= metric.value <= metric.high


def test_items_that_score_the_same_do_not_push_a_query_down_but_are_reported():
    outcome = rank_queries(torch.tensor([[0.5, 0.5, 0.5], [0.1, 0.2, 0.9]]), [[1], [2]])
    assert outcome.rank.tolist() == [1, 1]
    assert outcome.tied.tolist() == [True, False]


def test_a_collapsed_model_is_given_away_by_its_ties():
    collapsed = torch.ones(6, 4) / 2
    found = by_name(retrieval_metrics((collapsed, collapsed), [[i] for i in range(6)]))
    assert found["image→text R@1"].value == 100.0
    assert found["image→text tied queries"].value == 100.0


def test_two_captions_of_one_image_that_tie_are_no_tie_with_a_wrong_item():
    assert rank_queries(torch.tensor([[0.5, 0.5, 0.1]]), [[0, 1]]).tied.tolist() == [False]


def test_a_caption_listed_twice_counts_once():
    assert not rank_queries(torch.tensor([[0.5, 0.4]]), [[0, 0]]).tied[0]


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10_000), st.data())
def test_ranks_do_not_depend_on_monotone_scores_or_on_order(size, seed, data):
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.integers(0, 6, size=(size, size)).astype(np.float32))
    correct = [[int(rng.integers(size))] for _ in range(size)]
    expected = rank_queries(scores, correct)
    stretched = rank_queries(scores.exp() * 3 - 1, correct)
    order = data.draw(st.permutations(range(size)))
    place = {item: position for position, item in enumerate(order)}
    permuted = rank_queries(scores[:, list(order)], [[place[right[0]]] for right in correct])
    for other in (stretched, permuted):
        assert (other.rank == expected.rank).all()
        assert (other.tied == expected.tied).all()


def test_recall_never_falls_with_k():
    scores = torch.randn(30, 30, generator=torch.Generator().manual_seed(1))
    found = by_name(retrieval_metrics(scores, [[i] for i in range(30)], ks=(1, 2, 5, 10, 30)))
    recalls = [found[f"image→text R@{k}"].value for k in (1, 2, 5, 10, 30)]
    assert recalls == sorted(recalls)
    assert recalls[-1] == 100.0


def test_chance_is_what_random_embeddings_reach():
    rng = torch.Generator().manual_seed(0)
    img2txt = [[3 * i, 3 * i + 1, 3 * i + 2] for i in range(400)]
    sides = (torch.randn(400, 16, generator=rng), torch.randn(1200, 16, generator=rng))
    found = by_name(retrieval_metrics(sides, img2txt, ks=(10, 100)))
    for name in ("image→text R@100", "text→image R@100", "image→text median rank", "text→image median rank"):
        assert found[name].value == pytest.approx(found[name].chance, rel=0.2)
    assert found["rsum"].chance == pytest.approx(sum(m.chance for n, m in found.items() if "R@" in n))


def test_chance_levels_of_known_cases():
    assert chance_recall([1], 1000, 1) == pytest.approx(0.1)
    assert chance_recall([5], 1000, 1) == pytest.approx(0.5)
    assert chance_recall([2], 4, 2) == pytest.approx(100 * (1 - 1 / 6))
    assert chance_recall([1], 5, 10) == 100.0
    assert chance_median_rank([1], 101) == 51


def test_resampling_keeps_the_twins_of_a_group_together():
    rng = torch.Generator().manual_seed(3)
    images = torch.randn(30, 4, generator=rng)
    texts = images + 1.5 * torch.randn(30, 4, generator=rng)
    single = by_name(retrieval_metrics(images @ texts.T, [[i] for i in range(30)]))["rsum"]
    one_group = by_name(retrieval_metrics(images @ texts.T, [[i] for i in range(30)], groups=["all"] * 30))["rsum"]
    assert one_group.low == one_group.high == pytest.approx(single.value)
    assert single.low < single.high


def test_examples_are_the_best_scores_of_every_block(monkeypatch):
    rng = torch.Generator().manual_seed(4)
    queries, gallery = torch.randn(9, 5, generator=rng), torch.randn(20, 5, generator=rng)
    monkeypatch.setattr(retrieval, "_CELLS", 40)
    scores, positions = retrieve_examples((queries, gallery), k=3)
    expected = (queries @ gallery.T).topk(3)
    assert torch.allclose(scores, expected.values)
    assert torch.equal(positions, expected.indices)
    assert retrieve_examples((queries, gallery), k=99)[0].shape == (9, 20)


def test_examples_come_in_the_order_of_the_second_stage():
    first = torch.tensor([[0.9, 0.8, 0.1], [0.1, 0.2, 0.3]])
    scores, positions = retrieve_examples(first, 2, lambda query, items: -items.float(), candidates=2)
    assert positions.tolist() == [[0, 1], [1, 2]]
    assert scores.tolist() == [[0, -1], [-1, -2]]


def test_rows_that_share_a_caption_are_all_correct_for_it():
    texts, img2txt = distinct_texts([["cat"], ["cat", "kitten"], ["dog"]])
    assert texts == ["cat", "kitten", "dog"]
    assert invert(img2txt, 3) == [[0, 1], [1], [2]]


@pytest.mark.parametrize(
    ("sim", "img2txt", "error", "message"),
    [
        (torch.eye(2), [[0], []], ShapeError, "query 1 has no correct item"),
        (torch.eye(2), [[0]], ShapeError, "listed for 1 queries, scores are for 2"),
        (torch.eye(2), [[0], [7]], ShapeError, "names item 7; expected positions from 0 to 1"),
        ((torch.eye(2), torch.eye(3)), [[0], [1]], ShapeError, r"\(2, 2\) and \(3, 3\)"),
        (torch.tensor([[float("nan"), 0.0], [0.0, 1.0]]), [[0], [1]], DataError, "1 of 2 rows are not finite"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_a_sentence(sim, img2txt, error, message):
    with pytest.raises(error, match=message):
        retrieval_metrics(sim, img2txt)


def test_evaluation_of_a_corpus_uses_all_captions(painted, colour_model):
    found = by_name(evaluate_retrieval(colour_model, painted))
    assert found["image→text R@1"].value == 100.0
    assert found["text→image R@1"].value == 100.0
    assert found["text→image R@1"].n == len({text for texts in painted.texts() for text in texts})


def test_a_corpus_without_captions_is_refused(painted, colour_model):
    bare = painted.with_texts([[]] * len(painted))
    with pytest.raises(DataError, match="has no captions"):
        evaluate_retrieval(colour_model, bare)
