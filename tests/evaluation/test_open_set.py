import numpy as np
import pytest
import torch

from accord.errors import DataError
from accord.evaluation.open_set import open_set_sweep


def test_sweep_equals_its_definition_at_every_threshold():
    rng = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(80, 4, generator=rng)
    labels = np.array([-1, 0, 1, 2] * 20)
    sweep = open_set_sweep(logits, labels)
    assert (len(sweep.thresholds), sweep.thresholds[0], sweep.thresholds[-1]) == (100, 0.01, 0.99)
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    for position in (0, 40, 99):
        accepted = (confidence >= sweep.thresholds[position]).numpy()
        known = labels >= 0
        right = accepted & (predicted.numpy() == labels)
        assert sweep.known[position] == pytest.approx(100 * right[known].mean())
        assert sweep.unknown[position] == pytest.approx(100 * (~accepted)[~known].mean())


def test_a_higher_threshold_rejects_more_and_accepts_less():
    rng = torch.Generator().manual_seed(1)
    sweep = open_set_sweep(torch.randn(60, 5, generator=rng), np.arange(60) % 6 - 1)
    assert (np.diff(sweep.unknown) >= 0).all()
    assert (np.diff(sweep.known) <= 0).all()
    assert sweep.at(0.01) == (sweep.known[0], sweep.unknown[0])


def test_uninformative_confidence_separates_at_chance():
    rng = torch.Generator().manual_seed(2)
    separation = open_set_sweep(torch.randn(2000, 3, generator=rng), np.arange(2000) % 4 - 1).separation
    assert separation.low < 50 < separation.high
    assert separation.chance == 50


@pytest.mark.parametrize("labels", [[0, 1], [-1, -1]])
def test_it_needs_known_and_unknown_rows(labels):
    with pytest.raises(DataError, match="rows labelled -1"):
        open_set_sweep(torch.eye(2), labels)
