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


def test_the_head_is_that_of_capro_without_a_bias_and_a_model_that_has_one_keeps_it(towers):
    data = DataInfo(4, ("a", "b", "c"), ("a", "b", "c"), label_counts=(2, 1, 1))
    method, capro = get_method("cross_entropy")({}, towers, data), get_method("capro")({}, towers, data)
    assert [name for name, part in method.classifier.named_parameters() if part.requires_grad] == [
        name for name, part in capro.classifier.named_parameters() if part.requires_grad
    ]
    capro.classifier.weight.data.copy_(method.classifier.weight)
    batch = {"image": torch.randn(4, 3, 16, 16)}
    torch.testing.assert_close(method.classify(batch), capro.classify(batch))
    method.load_state_dict(method.state_dict() | {"classifier.bias": torch.tensor([1.0, 2.0, 3.0])})
    torch.testing.assert_close(method.classify(batch), capro.classify(batch) + torch.tensor([1.0, 2.0, 3.0]))


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
    with pytest.raises(ConfigError, match="does not classify by itself; methods that do: capro, close, cross_entropy"):
        clip.classify(corpus_from_items("text", ["a cat"]))


def test_an_encoder_that_gives_too_little_is_refused(towers, monkeypatch):
    method = get_method("cross_entropy")
    monkeypatch.setattr(method, "needs", {"image": frozenset({"pooled", "magic"})})
    with pytest.raises(ConfigError, match="needs magic from the image encoder"):
        method({}, towers, DataInfo(4, ("a", "b")))
