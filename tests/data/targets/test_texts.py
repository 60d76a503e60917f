from __future__ import annotations

import csv
from pathlib import Path

import pytest

from accord.data import open_corpus
from accord.data.reading.media import Unreadable
from accord.data.targets import Canvas, Counterfactuals, HardText, TextPair


def test_a_pair_has_a_text_a_score_and_a_part() -> None:
    read = TextPair().read({"text_pair": " two ", "score": "4.5", "subset": "news"}, Canvas())
    assert (read.text, read.score, read.subset) == ("two", 4.5, "news")
    batch = TextPair().collate([read, TextPair().blank(Canvas())])
    assert batch["text_pair"] == ["two", ""]
    assert batch["score"].isnan().tolist() == [False, True]


@pytest.mark.parametrize(
    ("cells", "message"),
    [({"text_pair": 3}, "3 is no text"), ({"text_pair": "a", "score": "much"}, "expected 1 numbers")],
)
def test_cells_that_say_nothing_usable_are_named(cells, message) -> None:
    with pytest.raises(Unreadable, match=message):
        TextPair().read(cells, Canvas())


def test_a_hard_negative_is_a_text() -> None:
    assert HardText().collate([HardText().read({"hard_text": "no"}, Canvas()), ""]) == {"hard_text": ["no", ""]}


def test_a_score_that_is_no_number_makes_a_bad_row(tmp_path: Path) -> None:
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "other", "gold"], ["a b", "c", 1], ["d e", "f", "x"]])
    columns = {"text": ["text"], "text_pair": "other", "score": "gold"}
    corpus = open_corpus(tmp_path / "pairs.csv", columns=columns, max_bad=0.9, quiet=True)
    assert len(corpus) == 1
    assert corpus.left_out
    assert corpus.targets_of(0, ["text_pair"])["text_pair"].score == 1


def test_altered_captions_are_padded_to_the_row_with_most():
    reader = Counterfactuals()
    cells = {
        "counterfactuals": '["a dog sits", "a dog runs"]',
        "counterfactual_similarity": [0.5, 1],
        "counterfactual_kind": ["action", None],
    }
    batch = reader.collate([reader.read(cells, Canvas()), reader.read({"counterfactuals": []}, Canvas())])
    assert batch["counterfactuals"] == [["a dog sits", "a dog runs"], []]
    assert batch["counterfactual_kind"] == [["action", ""], []]
    assert batch["counterfactual_present"].tolist() == [[True, True], [False, False]]
    assert batch["counterfactual_similarity"][0].tolist() == [0.5, 1]
    assert batch["counterfactual_similarity"][1].isnan().all()


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"counterfactuals": ["a", " "]}, "' ' is no text"),
        ({"counterfactuals": ["a", "b"], "counterfactual_similarity": [1]}, "1 in counterfactual_similarity for 2"),
        ({"counterfactuals": ["a"], "counterfactual_kind": []}, "0 in counterfactual_kind for 1"),
    ],
)
def test_altered_captions_that_do_not_fit_what_is_said_of_them_are_refused(cells, message):
    with pytest.raises(Unreadable, match=message):
        Counterfactuals().read(cells, Canvas())
