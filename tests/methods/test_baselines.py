from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from accord.data.corpus import corpus_from_items
from accord.errors import ConfigError
from accord.methods import DataInfo, Step, get_method
from accord.methods.abilities import Classifies
from accord.training.artifact import Model


def test_cross_entropy_is_the_loss_of_the_classifier(towers):
    method = get_method("cross_entropy")({}, towers, DataInfo(4, ("a", "b", "c")))
    batch = {"image": torch.randn(4, 3, 16, 16), "label": torch.tensor([0, 1, 2, 0])}
    torch.testing.assert_close(
        method.loss(batch, Step())["total"], F.cross_entropy(method.classify(batch), batch["label"])
    )


def test_several_labels_use_binary_cross_entropy(towers):
    method = get_method("cross_entropy")({}, towers, DataInfo(4, ("a", "b"), multi_label=True))
    batch = {"image": torch.randn(2, 3, 16, 16), "label": torch.tensor([[1, 0], [1, 1]])}
    expected = F.binary_cross_entropy_with_logits(method.classify(batch), batch["label"].float())
    torch.testing.assert_close(method.loss(batch, Step())["total"], expected)


def test_a_classifier_needs_classes(towers):
    with pytest.raises(ConfigError, match="needs labels of at least 2 classes"):
        get_method("cross_entropy")({}, towers, DataInfo(4, ("only",)))


def test_a_model_without_classifier_names_the_methods_that_have_one(towers):
    clip = Model(get_method("clip")({"dim": 8}, towers, DataInfo()))
    assert not clip.can(Classifies)
    with pytest.raises(ConfigError, match="does not classify by itself; methods that do: capro, cross_entropy"):
        clip.classify(corpus_from_items("text", ["a cat"]))


def test_an_encoder_that_gives_too_little_is_refused(towers, monkeypatch):
    method = get_method("cross_entropy")
    monkeypatch.setattr(method, "needs", {"image": frozenset({"pooled", "magic"})})
    with pytest.raises(ConfigError, match="needs magic from the image encoder"):
        method({}, towers, DataInfo(4, ("a", "b")))
