"""Search by vectors first and by tokens then."""

import numpy as np
import pytest
import torch

from accord.data.corpus import corpus_from_items
from accord.data.loading.tokens import TokenRows
from accord.errors import ConfigError, DataError
from accord.methods.abilities import Rescores
from accord.searching.index import Update, build_index
from accord.searching.query import search
from accord.searching.show import format_hits

COLOURS = ("red", "green", "blue", "yellow")


def shade(text):
    return int(text[-1]) if isinstance(text, str) and text[-1].isdigit() else 0


class SecondStage:
    """Every token of a row holds its vector and its shade; a row has one more token than its shade says.

    The second stage finds the shade that a text names, of which the vectors know nothing.
    """

    def can(self, kind):
        return kind is Rescores

    def tokens(self, *, images=None, texts=None, audio=None, video=None):
        pooled = self.embed(images=images, texts=texts)
        return self._rows(pooled, [shade(item) for item in (texts if images is None else images)])

    def tokens_corpus(self, corpus, modality):
        return self._rows(self.embed_corpus(corpus, modality), [shade(row[0]) for row in corpus.texts()])

    def rescore(self, query, candidates, modality):
        asked, held = query.tokens[:, 0, -1], candidates.tokens[:, 0, -1]
        return -(asked[:, None] - held).abs() + 0.01 * candidates.mask.sum(dim=1)

    @staticmethod
    def _rows(pooled, shades):
        tokens = torch.cat([pooled, torch.tensor(shades, dtype=torch.float32)[:, None]], dim=1)
        counts = torch.tensor(shades) + 1
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        return TokenRows(pooled, tokens.repeat_interleave(counts, dim=0).half(), starts)


@pytest.fixture
def model(model):
    return type("TokenModel", (SecondStage, type(model)), {})()


@pytest.fixture
def plain(model):
    """The model of the other tests, which compares vectors alone."""
    return type(model).__mro__[2]


def vector(model, colour):
    return model.embed(texts=[colour])[0]


def update(run, model, corpus, **options):
    model.embedded.clear()
    return build_index(run, model, corpus, progress=False, **options)


def test_tokens_decide_among_the_candidates_and_both_scores_are_shown(run, model, write, rows):
    index = update(run, model, write(rows))
    hits = search(index, model, "something green, shade 2", k=3, candidates=3)
    assert [hit.caption for hit in hits] == [f"a green card, shade {shade}" for shade in (2, 1, 0)]
    assert [hit.score for hit in hits] == pytest.approx([0.03, -0.98, -1.99], abs=1e-5)
    assert all(hit.cosine == pytest.approx(1, abs=0.1) for hit in hits)
    assert [column.header for column in format_hits(hits).columns][:4] == ["", "score", "cosine", "row"]


def test_all_rows_are_candidates_of_a_small_corpus(run, model, write, rows):
    hits = search(update(run, model, write(rows)), model, "a red card, shade 1", k=4)
    assert all("shade 1" in hit.caption for hit in hits)  # of every colour: the second stage alone decides
    assert len({hit.caption for hit in hits}) == 4


def test_zero_candidates_are_the_first_stage_alone(run, model, write, rows):
    index = update(run, model, write(rows))
    model.rescore = lambda *_: pytest.fail("rescored")
    hits = search(index, model, "something green, shade 2", k=3, candidates=0)
    assert all("green" in hit.caption and hit.cosine is None for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    with pytest.raises(ConfigError, match="candidates = -1"):
        search(index, model, "green", candidates=-1)


def test_a_row_that_the_first_stage_does_not_bring_is_not_found(run, model, write, rows):
    hits = search(update(run, model, write(rows)), model, "something red, shade 2", k=3, candidates=3)
    assert all("red" in hit.caption for hit in hits)


def test_pictures_among_pictures_and_vectors_are_compared_whole(run, model, write, rows, folder):
    index = update(run, model, write(rows))
    model.rescore = lambda *_: pytest.fail("rescored")
    assert search(index, model, folder / "blue1.png", k=1)[0].cosine is None
    assert search(index, model, vector(model, "red"), k=1)[0].cosine is None


def test_the_tokens_of_new_rows_are_added_and_those_of_old_ones_kept(run, model, write, rows):
    update(run, model, write(rows[:7]))
    index = update(run, model, write([("aaa.png", "a blue newcomer, shade 2", (10, 10, 250)), *rows[2:]]))
    assert index.last_update == Update(rows=11, embedded=6, removed=2, ann=False)
    held: dict[str, TokenRows] = {}

    def remember(found: TokenRows) -> torch.Tensor:
        held["rows"] = found
        return found.padded().mask.sum(dim=1).float()

    hits = index.search(vector(model, "red"), "image", k=11, rescore=remember, candidates=11)
    assert [hit.score for hit in hits] == sorted((1 + int(hit.caption[-1]) for hit in hits), reverse=True)
    corpus = write([("aaa.png", "a blue newcomer, shade 2", (10, 10, 250)), *rows[2:]])
    expected = model.tokens_corpus(corpus, "image")
    found = held["rows"]
    order = [int(np.argmin(((expected.pooled - one) ** 2).sum(dim=1))) for one in found.pooled]
    assert sorted(order) == list(range(11))
    for place, row in enumerate(order):
        assert torch.equal(
            found.values[found.starts[place] : found.starts[place + 1]],
            expected.values[expected.starts[row] : expected.starts[row + 1]],
        )


def test_each_row_is_encoded_once_for_vector_and_tokens(run, model, write, rows):
    update(run, model, write(rows))
    assert model.embedded == list(range(12))


def test_an_approximate_index_brings_the_candidates(run, model):
    corpus = corpus_from_items(
        "text", [f"a {COLOURS[row % 4]} card number {row}, shade {row % 3}" for row in range(300)]
    )
    index = update(run, model, corpus, ann=True)
    assert index.last_update.ann
    asked = model.tokens(texts=["shade 2"])
    hits = index.search(
        vector(model, "blue"),
        "text",
        k=5,
        rescore=lambda found: model.rescore(asked.padded(), found.padded(), "image")[0],
        candidates=60,
    )
    assert all("blue" in hit.caption and hit.caption.endswith("shade 2") for hit in hits)


def test_an_index_made_without_tokens_is_made_anew(run, model, plain, write, rows):
    update(run, plain(), write(rows))
    index = update(run, model, write(rows))
    assert index.last_update.embedded == 12
    assert index.holds_tokens("image")


def test_models_without_a_second_stage_keep_no_tokens(run, plain, write, rows):
    index = update(run, plain(), write(rows))
    assert not index.holds_tokens("image")
    with pytest.raises(ConfigError, match="holds no tokens of image"):
        index.search(torch.ones(3), "image", rescore=lambda found: torch.zeros(len(found)))


def test_tokens_that_are_not_finite_never_enter_the_index(run, model):
    model.tokens_corpus = lambda corpus, modality: TokenRows(
        torch.ones(1, 3), torch.full((1, 4), torch.inf, dtype=torch.float16), torch.tensor([0, 1])
    )
    with pytest.raises(DataError, match="text tokens: 1 of 1 rows are not finite"):
        update(run, model, corpus_from_items("text", ["a red card"]))


def test_an_empty_corpus_has_no_answers(run, model, write, rows):
    update(run, model, write(rows))
    index = update(run, model, write(rows).select([]))
    assert index.last_update == Update(rows=0, embedded=0, removed=12, ann=False)
    assert search(index, model, "red", k=3) == []
