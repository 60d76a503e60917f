"""Retrieval and zero-shot classification by a model with a second stage."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from two_stages import TwoStages

from accord.data.columns import Columns
from accord.data.corpus import corpus_from_items
from accord.errors import ConfigError, DataError
from accord.evaluation import retrieval, zero_shot
from accord.evaluation.retrieval import evaluate_retrieval, rank_queries, rerank_queries, retrieval_metrics
from accord.evaluation.zero_shot import class_scores

ROWS = 30


@pytest.fixture
def model():
    return TwoStages(ROWS)


@pytest.fixture
def corpus():
    """Each row's picture and text are its number."""
    found = corpus_from_items("text", [str(row) for row in range(ROWS)])
    return replace(found, columns=Columns(image="text", text=("text",)))


def by_name(metrics):
    return {metric.name: metric.value for metric in metrics}


def scores(model, query, other):
    return model.rescore(model.rows[query], model.rows[other], query)


def test_with_all_candidates_each_direction_is_ranked_by_its_own_score(model, corpus):
    found = by_name(evaluate_retrieval(model, corpus, candidates=ROWS))
    own = [[row] for row in range(ROWS)]
    for query, other in (("image", "text"), ("text", "image")):
        rank = rank_queries(scores(model, query, other), own).rank
        for k in (1, 5, 10):
            assert found[f"{query}→{other} R@{k}"] == pytest.approx(100 * (rank <= k).mean())
        assert found[f"{query}→{other} median rank"] == np.median(rank)


def test_the_first_stage_alone_stands_beside(model, corpus):
    found = by_name(evaluate_retrieval(model, corpus))
    first = by_name(
        retrieval_metrics((model.rows["image"].pooled, model.rows["text"].pooled), [[i] for i in range(30)])
    )
    beside = {name.removesuffix(" (first stage)"): v for name, v in found.items() if name.endswith("(first stage)")}
    assert set(beside) == {name for name in first if "R@" in name or name == "rsum"}
    assert all(value == first[name] for name, value in beside.items())
    assert next(iter(found)) == "image→text R@1"
    assert found["rsum"] == pytest.approx(sum(v for name, v in found.items() if "R@" in name and "stage" not in name))


def test_without_candidates_a_model_is_scored_like_any_other(model, corpus):
    found = evaluate_retrieval(model, corpus, candidates=0)
    assert not [metric.name for metric in found if "stage" in metric.name]
    assert model.asked == []
    with pytest.raises(ConfigError, match="candidates = -1"):
        evaluate_retrieval(model, corpus, candidates=-1)


@pytest.mark.parametrize("candidates", [1, 4, 29])
def test_two_stage_ranks_equal_sorting_by_hand(model, candidates, monkeypatch):
    monkeypatch.setattr(retrieval, "_CELLS", 7 * ROWS)  # blocks of queries
    first = model.rows["text"].pooled @ model.rows["image"].pooled.T
    second = scores(model, "text", "image")
    correct = [[row, (row + 7) % ROWS] for row in range(ROWS)]
    found = rerank_queries(first, correct, lambda query, items: second[query, items], candidates)
    for query in range(ROWS):
        order = first[query].argsort(descending=True).tolist()
        head = sorted(order[:candidates], key=lambda item: -float(second[query, item]))
        places = [place for place, item in enumerate(head + order[candidates:], 1) if item in correct[query]]
        assert found.rank[query] == min(places)


def test_no_more_than_the_candidates_are_scored_one_query_at_a_time(model, corpus):
    evaluate_retrieval(model, corpus, candidates=5)
    assert set(model.asked) == {(1, 5, "image"), (1, 5, "text")}
    assert len(model.asked) == 2 * ROWS


def test_what_the_first_stage_misses_stands_behind_the_candidates_even_where_it_collapsed():
    first = torch.ones(1, 6)
    missed = next(item for item in range(6) if item not in first.topk(3).indices)
    found = rerank_queries(first, [[missed]], lambda query, items: torch.zeros(len(items)), candidates=3)
    assert found.rank.tolist() == [4]
    assert found.tied.tolist() == [True]


def test_ties_among_the_candidates_are_reported():
    first = torch.tensor([[0.9, 0.8, 0.1]])
    assert rerank_queries(first, [[0]], lambda query, items: torch.zeros(len(items)), candidates=2).tied.tolist() == [
        True
    ]
    assert rerank_queries(first, [[0]], lambda query, items: -items.float(), candidates=2).tied.tolist() == [False]


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(DataError, match="scores of the second stage: 2 of 2 rows are not finite"):
        rerank_queries(torch.eye(2), [[0], [1]], lambda query, items: torch.full((2,), torch.nan))


def test_a_class_is_scored_by_the_mean_similarity_of_its_prompts(model, corpus, monkeypatch):
    monkeypatch.setattr(zero_shot, "_ROWS", 7)
    monkeypatch.setattr(zero_shot, "_PROMPTS", 4)
    labelled = corpus.with_labels(np.arange(ROWS) % 3, classes=["0", "1", "2"])
    found = class_scores(model, labelled, labelled.classes, ["{}", "1{}", "2{}"])
    pairs = scores(model, "image", "text")  # the texts are numbers: class 1 is called 1, 11 and 21
    expected = torch.stack([(pairs[:, c] + pairs[:, 10 + c] + pairs[:, 20 + c]) / 3 for c in range(3)], dim=1)
    torch.testing.assert_close(found, expected)
    assert max(rows for rows, _, _ in model.asked[:-1]) == 7
