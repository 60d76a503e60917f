"""Wrong labels, found from embeddings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made import average_precision, labelled

from accord.cleaning.labels import LabelJudge


@pytest.mark.parametrize(("share", "classes"), [(0.1, 5), (0.3, 5), (0.2, 2)])
def test_wrong_labels_are_found_and_the_right_ones_proposed(share, classes) -> None:
    vectors, given, right = labelled(classes=classes, wrong=share)
    judge = LabelJudge([vectors], given, classes)
    wrong, doubted = given != right, judge.clean < 0.5
    assert average_precision(-judge.log_odds, wrong) > 0.95
    assert judge.share == pytest.approx(share, abs=0.06)
    assert (wrong & doubted).sum() > 0.85 * wrong.sum()
    assert (wrong & doubted).sum() > 0.85 * doubted.sum()
    assert (judge.best == right)[wrong & doubted].mean() > 0.9


def test_of_clean_labels_hardly_any_is_doubted() -> None:
    vectors, given, _ = labelled(wrong=0)
    assert (LabelJudge([vectors], given, 5).clean < 0.5).mean() < 0.02


def test_labels_that_lean_to_the_next_class_are_found() -> None:
    vectors, _, right = labelled()
    given, moved = right.copy(), np.random.default_rng(1).permutation(300)[:60]
    given[moved] = (given[moved] + 1) % 5
    judge = LabelJudge([vectors], given, 5)
    assert average_precision(-judge.log_odds, given != right) > 0.95


def test_embeddings_that_know_nothing_doubt_nothing() -> None:
    vectors = F.normalize(torch.randn(200, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    judge = LabelJudge([vectors], np.random.default_rng(0).integers(0, 3, 200), 3)
    assert not judge.telling
    assert (judge.clean == 0.5).all()


def test_names_that_say_nothing_do_no_harm_and_names_that_do_help() -> None:
    vectors, given, right = labelled(count=60, wrong=0.3)
    centres = torch.stack([vectors[right == one].mean(dim=0) for one in range(5)])
    noise = F.normalize(torch.randn(5, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    plain, misled, told = (
        average_precision(-LabelJudge([vectors], given, 5, [names]).log_odds, given != right)
        for names in (None, noise, F.normalize(centres, dim=1))
    )
    assert misled > plain - 0.1
    assert told >= plain - 0.01


def test_several_modalities_are_asked_together() -> None:
    vectors, given, right = labelled(count=200, wrong=0.3)
    blurred = F.normalize(vectors + 0.5 * torch.randn(200, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    alone = average_precision(-LabelJudge([blurred], given, 5).log_odds, given != right)
    assert average_precision(-LabelJudge([blurred, vectors], given, 5).log_odds, given != right) > alone


def test_the_same_thing_under_another_label_and_the_nearest_of_a_class_are_named() -> None:
    vectors, given, right = labelled(count=80, wrong=0)
    doubled = torch.cat([vectors, vectors[:1]])
    judge = LabelJudge([doubled], np.append(given, (given[0] + 1) % 5), 5)
    assert judge.contradicts(80) == 0
    near = judge.like(80, int(right[0]))
    assert near is not None
    assert judge.labels[near] == right[0]
