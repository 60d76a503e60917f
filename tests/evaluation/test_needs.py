"""What is measured where nobody names a modality: what the model looks at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixed import Fixed, corpus

from accord.data.corpus import corpus_from_items
from accord.errors import ConfigError
from accord.evaluation.clustering import evaluate_clustering
from accord.evaluation.few_labels import evaluate_few_labels
from accord.evaluation.knn import evaluate_knn
from accord.evaluation.linear_probe import evaluate_linear_probe
from accord.evaluation.needs import beside_text, main_modality
from accord.evaluation.retrieval import evaluate_retrieval
from accord.evaluation.zero_shot import class_scores, evaluate_zero_shot, zero_shot


class Seeing(Fixed):
    """Embeds a corpus as given, by one modality alone, and texts by number."""

    def __init__(self, vectors: torch.Tensor, *modalities: str) -> None:
        super().__init__(vectors)
        self.modalities, self.asked = modalities, []

    def embed_corpus(self, corpus, modality):
        self.asked.append(modality)
        return super().embed_corpus(corpus, modality)

    def embed(self, *, texts):
        return self.vectors[torch.tensor([int(text) for text in texts])]


def clips(count: int, classes: int):
    """Clips that are never opened, with their numbers for captions."""
    rows = corpus_from_items("video", [f"{number}.mp4" for number in range(count)])
    rows = rows.with_labels(np.arange(count) % classes, classes=[str(number) for number in range(classes)])
    return rows.with_texts([[str(number)] for number in range(count)])


@pytest.mark.parametrize(
    "measure",
    [
        lambda model, rows: evaluate_clustering(model, rows, runs=1),
        lambda model, rows: evaluate_knn(model, rows, k=2),
        lambda model, rows: evaluate_linear_probe(model, rows, rows),
        lambda model, rows: evaluate_few_labels(model, rows, rows, per_class=(3,), draws=1),
    ],
)
def test_rows_of_words_are_measured_by_their_words(measure):
    model = Seeing(torch.eye(3).repeat(8, 1) + 0.01 * torch.randn(24, 3), "text")
    assert measure(model, corpus([0, 1, 2] * 8))[0].value > 90
    assert set(model.asked) == {"text"}


@pytest.mark.parametrize(
    "measure",
    [
        lambda model, rows: evaluate_retrieval(model, rows),
        lambda model, rows: evaluate_zero_shot(model, rows),
        lambda model, rows: zero_shot(model, rows),
        lambda model, rows: class_scores(model, rows, rows.classes),
    ],
)
def test_clips_are_what_a_model_of_clips_compares_with_texts(measure):
    model = Seeing(torch.eye(12), "text", "video")
    measure(model, clips(12, 3))
    assert set(model.asked) == {"video"}


def test_a_modality_that_the_rows_have_comes_first_and_texts_are_compared_with_something():
    both = Seeing(torch.eye(3), "image", "video", "text")
    assert main_modality(both, clips(3, 3)) == beside_text(both, clips(3, 3)) == "video"
    assert main_modality(both, corpus([0, 1, 2])) == "text"
    assert beside_text(both, corpus([0, 1, 2])) == "image"
    with pytest.raises(ConfigError, match="the model embeds text, with nothing to compare texts with"):
        evaluate_retrieval(Seeing(torch.eye(3), "text"), clips(3, 3))
