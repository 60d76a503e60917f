"""Scoring a classifier on data whose classes are not numbered as those that it was trained on."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from accord.data.corpus import corpus_from_items
from accord.errors import ConfigError, DataError
from accord.evaluation.task import Options
from accord.evaluation.tasks import fitting_tasks, get_task
from accord.methods.abilities import Classifies
from accord.pipeline.rows import as_held_out
from accord.pipeline.score import score


def classifier(logits):
    """A model of the classes cat, dog and owl, and what it says of four rows."""
    return SimpleNamespace(
        method=SimpleNamespace(name="toy", subjects=("image",), subjects_of=lambda _: ("image",)),
        can=lambda kind: kind is Classifies,
        modalities=("image",),
        classes=("cat", "dog", "owl"),
        classify=lambda corpus: logits,
    )


def labelled(labels, classes):
    return corpus_from_items("image", [b"x"] * 4).with_labels(np.array(labels), classes=classes)


SAYS = torch.eye(3)[[1, 2, 2, 1]]  # dog, owl, owl, dog


def test_classes_are_compared_by_name_whatever_their_numbers():
    other = labelled([0, 1, 1, 0], ("dog", "owl"))
    top = next(item for item in score(classifier(SAYS), as_held_out(other)) if item.name == "top-1")
    assert top.value == 100
    several = labelled([[1, 0], [0, 1], [0, 1], [1, 0]], ("dog", "owl"))
    found = {item.name: item.value for item in score(classifier(SAYS), as_held_out(several), ["classification"])}
    assert found["mAP"] == 100


def test_a_class_that_the_model_does_not_know_is_named():
    other = labelled([0, 1, 1, 0], ("dog", "emu"))
    with pytest.raises(DataError, match=r"1 classes that the model was not trained on \(the first: 'emu'\)"):
        score(classifier(SAYS), as_held_out(other), ["classification"])


def test_rows_of_none_of_the_classes_are_told_by_low_confidence():
    sure, unsure = 9.0 * torch.eye(3), torch.zeros(1, 3)
    model = classifier(torch.cat([sure, unsure]))
    rows = as_held_out(labelled([0, 1, 2, -1], ("cat", "dog", "owl")))
    (separation,) = score(model, rows, ["open_set"])
    assert (separation.name, separation.value) == ("known against unknown AUROC", 100)
    (curves,) = get_task("open_set").shows(model, rows, Options())
    assert set(curves.lines) == {"known rows right", "unknown rows rejected"}
    assert "open_set" not in fitting_tasks(model, rows)
    with pytest.raises(ConfigError, match="needs rows of none of the classes; every row of items has one"):
        score(model, as_held_out(labelled([0, 1, 2, 0], ("cat", "dog", "owl"))), ["open_set"])
