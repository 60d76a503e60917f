"""The scores of captions."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.text import bleu_score

from accord.data.corpus import corpus_from_items
from accord.encoders.generation import Caption, CaptionFit
from accord.errors import DataError, ShapeError
from accord.evaluation.captions import Cider, caption_metrics, evaluate_captions, rouge_l, words

REFERENCES = [
    ["a red fish swims in the blue sea", "fish in the sea"],
    ["a blue bird flies", "the bird sits on a tree"],
    ["two cats sleep here"],
    ["a cat and a dog play in the sun"],
]
CAPTIONS = ["a red fish swims in the sea", "a blue bird sits on a tree here", "two cats", "a dog"]


def values(captions, references=REFERENCES):
    return {metric.name: metric for metric in caption_metrics(captions, references)}


@pytest.mark.parametrize("n", [1, 4])
def test_bleu_is_that_of_torchmetrics(n):
    expected = 100 * float(bleu_score(CAPTIONS, REFERENCES, n_gram=n))
    assert values(CAPTIONS)[f"BLEU-{n}"].value == pytest.approx(expected, rel=1e-5)


def test_rouge_l_weighs_recall_more_than_precision():
    caption, reference = words("a red fish swims"), words("a fish swims fast today")
    precision, recall = 3 / 4, 3 / 5
    expected = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert rouge_l(caption, [reference]) == pytest.approx(expected)
    assert rouge_l(caption, [words("one two"), caption]) == 1
    assert rouge_l(caption, [words("one two")]) == 0
    assert rouge_l((), [caption]) == 0


def test_cider_d_is_the_papers_formula():
    references = [[words("a cat sits")], [words("a dog runs away")]]
    caption = words("a cat cat runs")
    weight = {word: math.log(2) for word in ("cat", "sits", "dog", "runs", "away")} | {"a": 0.0}
    one = {"a": weight["a"], "cat": 2 * weight["cat"], "runs": weight["runs"]}
    other = {word: weight[word] for word in ("a", "cat", "sits")}
    dot = min(one["cat"], other["cat"]) * other["cat"]  # a repeated word counts as often as the reference has it
    unigram = dot / (math.hypot(*one.values()) * math.hypot(*other.values()))
    rare = math.log(2)
    bigram = rare * rare / (math.hypot(rare, rare, rare) * math.hypot(rare, rare))  # "a cat" alone is shared
    expected = 10 * math.exp(-1 / (2 * 36)) * (unigram + bigram) / 4
    assert Cider(references)([caption, words("x")], references)[0] == pytest.approx(100 * expected)


def test_a_perfect_caption_has_the_highest_scores():
    found = values([row[0] for row in REFERENCES], [[row[0]] for row in REFERENCES])
    assert {name: round(metric.value, 6) for name, metric in found.items()} == {
        "BLEU-1": 100,
        "BLEU-4": 100,
        "ROUGE-L": 100,
        "CIDEr-D": 1000,
    }


def test_chance_is_what_the_captions_of_other_pictures_score():
    names = [f"{first} {second} fish swims" for first in ("red", "blue", "old", "big") for second in "abcdefgh"]
    found = values(names, [[name] for name in names])
    assert found["BLEU-1"].value == 100
    assert 45 < found["BLEU-1"].chance < 70
    assert found["CIDEr-D"].chance < 300
    same = values(["a fish"] * 5, [["a fish"]] * 5)
    assert same["ROUGE-L"].value == same["ROUGE-L"].chance == 100


def test_intervals_hold_the_value_and_short_captions_have_no_bleu_4():
    found = values(CAPTIONS)
    assert all(metric.low <= metric.value <= metric.high for metric in found.values())
    short = values(["a fish"] * 4)
    assert np.isnan(short["BLEU-4"].value)
    assert short["BLEU-1"].value > 0


def test_one_picture_alone_can_be_scored():
    assert values(["a red fish"], [["a red fish"]])["ROUGE-L"].value == 100


@pytest.mark.parametrize(
    ("captions", "references", "error", "message"),
    [
        (["a"], [], ShapeError, "references has 0 entries: expected one per caption"),
        ([], [], DataError, "there are no captions to score"),
        (["a"], [[]], ShapeError, r"references\[0\] is empty"),
    ],
)
def test_what_cannot_be_scored_is_named(captions, references, error, message):
    with pytest.raises(error, match=message):
        caption_metrics(captions, references)


class Writer:
    """Says "a COLOUR square" of every picture in turn."""

    def __init__(self, texts, vocabulary=50):
        self.texts = texts
        tokenizer = type("Tokenizer", (), {"vocabulary": vocabulary})()
        self.inputs = {"text": type("Input", (), {"tokenizer": tokenizer})()}

    def caption_corpus(self, corpus, *, decoding):
        assert decoding == {"method": "greedy"}
        return [Caption(text, -1.0) for text in self.texts]

    def read_captions(self, corpus):
        count = torch.full((len(corpus),), 4)
        return CaptionFit(nll=count * math.log(2.0), right=count - 1, tokens=count)


def test_a_model_is_scored_on_what_it_writes_and_on_what_it_predicts(painted):
    model = Writer([texts[0] for texts in painted.texts()])
    found = {metric.name: metric for metric in evaluate_captions(model, painted)}
    assert found["BLEU-1"].value == 100
    assert found["BLEU-1"].chance < 80
    assert found["token accuracy"].value == pytest.approx(75)
    assert found["token accuracy"].chance == 2
    assert found["perplexity"].value == pytest.approx(2)
    assert found["perplexity"].chance == 50
    assert found["perplexity"].n == len(painted)


def test_data_without_captions_are_refused(painted):
    bare = corpus_from_items("image", [painted.sample(0)["image"]])
    with pytest.raises(DataError, match="has no captions to compare with"):
        evaluate_captions(Writer([]), bare)
