"""Joint retrieval: directions, and the matching head as a second stage."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset

from accord.data.columns import Columns
from accord.data.corpus import Corpus
from accord.data.loading.features import Features
from accord.data.loading.tokens import TokenRows
from accord.errors import ConfigError, DataError
from accord.evaluation.joint import evaluate_joint
from accord.methods.abilities import RescoresTuples

ROWS = 12


class ByText(RescoresTuples):
    """A method whose matching head reads texts beside all else; what it says stands in :class:`Shifted`."""

    anchor, embed, token_features, rescore_tuples = "text", None, None, None


class Shifted:
    """Its scores prefer the row after the right one, its head the right one; embeddings hold the row's number."""

    modalities = ("image", "text", "audio")
    method: object = ByText()

    def embed_corpus(self, corpus, modality):
        return torch.arange(float(len(corpus)))[:, None]

    def tokens_corpus(self, corpus, modality):
        number = self.embed_corpus(corpus, modality)
        return TokenRows.of([Features(number, number[:, None])])

    def score_tuples(self, queries, candidates, present=None):
        (query, *_), (candidate, *_) = queries.values(), candidates.values()
        return -((candidate.T - query - 1) % ROWS)

    def rescore_tuples(self, anchor, others):
        assert set(others) == {"image", "audio"}
        ours, theirs = anchor.tokens[:, 0, 0], (others["image"].tokens + others["audio"].tokens)[:, 0, 0] / 2
        return -(ours - theirs).abs()


@pytest.fixture
def corpus():
    names = [str(row) for row in range(ROWS)]
    rows = Dataset.from_dict({"image": names, "caption": names, "sound": names})
    columns = Columns(image="image", text=["caption"], audio="sound")
    return Corpus("numbers", rows, columns, torch.arange(ROWS).numpy())


def values(model, corpus, **options):
    return {metric.name: metric.value for metric in evaluate_joint(model, corpus, **options)}


def test_the_head_reorders_what_volumes_found_between_its_anchor_and_all_others(corpus):
    found = values(Shifted(), corpus, candidates=ROWS)
    assert {name: value for name, value in found.items() if "re-ranked" in name and "R@1 " in name} == {
        "text→image+audio R@1 (re-ranked)": 100.0,
        "image+audio→text R@1 (re-ranked)": 100.0,
    }
    assert {value for name, value in found.items() if name.endswith("R@1")} == {0.0}


def test_what_the_first_stage_does_not_bring_the_head_cannot_find(corpus):
    # the right row is the last of all in the first stage
    assert values(Shifted(), corpus, candidates=ROWS - 1)["text→image+audio R@10 (re-ranked)"] == 0.0


def test_without_a_head_or_candidates_there_is_one_stage(corpus):
    plain = Shifted()
    plain.method = None
    assert values(plain, corpus, candidates=ROWS) == values(Shifted(), corpus)
    assert not any("re-ranked" in name for name in values(Shifted(), corpus))


def test_a_head_that_wants_a_modality_that_rows_lack_is_left_out(corpus):
    wide = Shifted()
    wide.modalities = ("image", "text", "audio", "video")
    assert not any("re-ranked" in name for name in values(wide, corpus, candidates=ROWS))


def test_bad_input_is_named(corpus):
    with pytest.raises(ConfigError, match="candidates = -1"):
        evaluate_joint(Shifted(), corpus, candidates=-1)
    two = Shifted()
    two.modalities = ("image", "text")
    with pytest.raises(DataError, match="expected three modalities"):
        evaluate_joint(two, corpus)
