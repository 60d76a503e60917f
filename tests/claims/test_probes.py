"""A probe of few labels does not hang on which labels were drawn."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from accord.data.corpus import corpus_from_items
from accord.evaluation.few_labels import few_of_each
from accord.evaluation.linear_probe import fit_probe

CLAIMS = Path(__file__).parents[2] / "claims"


class Fixed:
    """Embeds a corpus as given."""

    def __init__(self, vectors):
        self.vectors = torch.nn.functional.normalize(vectors, dim=1)

    def embed_corpus(self, corpus, modality):
        return self.vectors[torch.from_numpy(corpus.ids)]


def probes():
    """``shared.probes`` without its name among the imported modules."""
    spec = importlib.util.spec_from_file_location("probes_of_claims", CLAIMS / "shared" / "probes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_accuracy_of_a_few_labels_is_the_mean_of_ten_draws(tmp_path):
    torch.manual_seed(0)
    labels = np.arange(240) % 3
    model = Fixed(torch.eye(3)[labels].repeat(1, 4) + 1.2 * torch.randn(240, 12))
    rows = corpus_from_items("image", [tmp_path] * 240).with_labels(labels, classes=("a", "b", "c"))
    train, test = rows.select(np.arange(150)), rows.select(np.arange(150, 240))
    drawn = []
    for draw in range(10):
        chosen = few_of_each(train.labels, 3, draw)
        known = model.embed_corpus(train, "image")[chosen]
        probe = fit_probe(known, train.labels[chosen], 3, strengths=(1.0, 10.0, 100.0))
        drawn.append(
            float((probe.logits(model.embed_corpus(test, "image")).argmax(dim=1).numpy() == test.labels).mean())
        )
    assert len(set(drawn)) > 3
    assert probes().few_label_accuracy(model, train, test, per_class=3) == pytest.approx(100 * np.mean(drawn), abs=1e-3)
