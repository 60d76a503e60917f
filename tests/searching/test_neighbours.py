import numpy as np
import pytest

from accord.searching.neighbours import Neighbours, lists_for, unit


@pytest.fixture(scope="module")
def vectors():
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((60, 24))
    points = centres.repeat(50, axis=0) + 0.8 * draw.standard_normal((3000, 24))
    return points.astype(np.float32)


@pytest.fixture
def approximate(vectors):
    index = Neighbours.approximate(vectors[::2], lists_for(len(vectors)))
    index.add(np.arange(3000) + 5, vectors)
    index.look_into_enough([vectors[:64]])
    return index


def brute(vectors, query, k):
    cosines = unit(vectors) @ unit(query[None])[0]
    order = np.argsort(-cosines, kind="stable")[:k]
    return order, cosines[order]


def recall(index, vectors, queries, **how):
    found = [np.isin(brute(vectors, query, 10)[0] + 5, index.search(query, 10, **how)[0]).mean() for query in queries]
    return float(np.mean(found))


def test_few_lists_hold_nearly_all_neighbours_and_all_lists_every_one(approximate, vectors):
    asked = vectors[1::37] + 0.1
    assert recall(approximate, vectors, asked) > 0.97
    assert recall(approximate, vectors, asked, exact=True) == 1
    assert approximate.lists > 1
    ids, cosines = approximate.search(vectors[3], 4, exact=True)
    expected = brute(vectors, vectors[3], 4)
    assert ids.tolist() == (expected[0] + 5).tolist()
    assert cosines == pytest.approx(expected[1], abs=1e-5)


def test_more_lists_are_looked_into_where_the_questions_are_of_another_kind(vectors):
    index = Neighbours.approximate(vectors, 50)
    index.add(np.arange(3000) + 5, vectors)
    index.look_into_enough([vectors[:64]])
    own = recall(index, vectors, vectors[:64])
    others = np.random.default_rng(1).standard_normal((128, 24)).astype(np.float32)
    before = recall(index, vectors, others[64:])
    index.look_into_enough([vectors[:64], others[:64]])
    assert before < 0.97 < recall(index, vectors, others[64:])
    assert recall(index, vectors, vectors[:64]) >= own


def test_what_was_removed_is_not_found_and_what_came_is(approximate, vectors, tmp_path):
    approximate.remove(np.array([5, 7]))
    approximate.add(np.array([9999]), vectors[:1])
    approximate.save(tmp_path / "saved")
    for index in (approximate, Neighbours.open(tmp_path / "saved")):
        assert len(index) == 2999
        assert index.search(vectors[0], 1)[0].tolist() == [9999]
        assert not {5, 7} & set(index.search(vectors[0], 3000, exact=True)[0].tolist())


def test_a_file_says_how_many_lists_to_look_into(approximate, vectors, tmp_path):
    approximate.save(tmp_path / "saved")
    opened = Neighbours.open(tmp_path / "saved")
    for query in vectors[:20]:
        assert opened.search(query, 10)[0].tolist() == approximate.search(query, 10)[0].tolist()


def test_fewer_than_asked_for_are_answered_and_none_of_none(vectors):
    index = Neighbours.exact(24)
    assert index.search(vectors[0], 3)[0].tolist() == []
    index.add(np.array([4, 2]), vectors[:2])
    assert index.search(vectors[0], 3)[0].tolist() == [4, 2]


def test_length_does_not_matter(vectors):
    index = Neighbours.exact(24)
    index.add(np.arange(10), vectors[:10] * np.arange(1, 11)[:, None])
    assert index.search(1000 * vectors[2], 1)[1] == pytest.approx([1.0], abs=1e-6)


@pytest.mark.parametrize("kind", ["exact", "approximate"])
def test_of_some_rows_the_nearest_are_found_however_few_they_are(kind, approximate, vectors):
    index = approximate
    if kind == "exact":
        index = Neighbours.exact(24)
        index.add(np.arange(3000) + 5, vectors)
    for some in (np.arange(0, 3000, 7), np.arange(2990, 3000), np.array([17])):
        ids, cosines = index.search(vectors[40], 12, among=some + 5)
        expected = brute(vectors[some], vectors[40], 12)
        assert ids.tolist() == (some[expected[0]] + 5).tolist()
        assert cosines == pytest.approx(expected[1], abs=1e-5)
    assert not len(index.search(vectors[40], 12, among=np.empty(0, np.int64))[0])
