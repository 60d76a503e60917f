import pytest
import torch

from accord.errors import ConfigError
from accord.evaluation.zero_shot import (
    TEMPLATES,
    build_zero_shot_classifier,
    class_examples,
    evaluate_zero_shot,
    resolve_templates,
    zero_shot,
)


def test_weights_are_the_normalised_mean_of_normalised_texts():
    vectors = {"cat": [3.0, 0.0], "a cat": [0.0, 1.0], "dog": [1.0, 0.0], "a dog": [5.0, 0.0]}
    weights = build_zero_shot_classifier(
        lambda texts: torch.tensor([vectors[text] for text in texts]), ["cat", "dog"], ("{}", "a {}")
    )
    # The long vector of "cat" must not outweigh the short one of "a cat".
    assert torch.allclose(weights, torch.tensor([[0.5**0.5, 1.0], [0.5**0.5, 0.0]]))


def test_all_texts_are_encoded_in_one_call_so_that_the_encoder_can_batch():
    calls = []

    def encode(texts):
        calls.append(texts)
        return torch.ones(len(texts), 2)

    build_zero_shot_classifier(encode, ["x", "y"], "photo")
    assert len(calls) == 1
    assert len(calls[0]) == 2 * len(TEMPLATES["photo"])


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_named_set_has_room_for_the_class_name(name):
    assert all("{}" in template for template in resolve_templates(name))


def test_a_class_name_with_braces_is_taken_literally():
    seen = []
    build_zero_shot_classifier(lambda texts: seen.extend(texts) or torch.ones(len(texts), 1), ["{0}"], ["a {}"])
    assert seen == ["a {0}"]


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [
        (["cat"], "a cat", "template 'a cat': expected {} where the class name goes"),
        (["cat"], [], "templates: none given"),
        ([], "plain", "no class names"),
    ],
)
def test_unusable_templates_and_no_classes_are_refused(names, templates, message):
    with pytest.raises(ConfigError, match=message):
        build_zero_shot_classifier(lambda texts: torch.ones(len(texts), 1), names, templates)


def test_colours_are_named_without_any_training(painted, colour_model):
    metrics = {metric.name: metric for metric in evaluate_zero_shot(colour_model, painted, "photo")}
    assert metrics["top-1"].value == 100.0
    assert metrics["top-1"].chance == pytest.approx(100 / 6)
    outcome = zero_shot(colour_model, painted, ["{} paint"])
    assert outcome.confusion.trace() == len(painted)
    assert [metric.name for metric in outcome.per_class()] == list(painted.classes)


def test_examples_of_a_class_count_like_templates_and_classes_may_have_different_numbers():
    vectors = {"weather": [1.0, 0.0], "will it rain": [0.0, 5.0], "is it cold": [0.0, 1.0], "music": [2.0, 0.0]}
    weights = build_zero_shot_classifier(
        lambda texts: torch.tensor([vectors[text] for text in texts]),
        ["weather", "music"],
        examples=[["will it rain", "is it cold"], []],
    )
    assert torch.allclose(weights, torch.tensor([[1 / 5**0.5, 1.0], [2 / 5**0.5, 0.0]]))
    with pytest.raises(ConfigError, match="examples of 1 classes, expected one list for each of the 2 classes"):
        build_zero_shot_classifier(lambda texts: torch.ones(len(texts), 1), ["a", "b"], examples=[["x"]])


def test_examples_are_the_first_different_captions_of_each_class(painted, colour_model):
    found = class_examples(painted, 2)
    assert len(found) == len(painted.classes)
    for label, texts in enumerate(found):
        mine = [texts[0] for texts, own in zip(painted.texts(), painted.labels, strict=True) if own == label]
        assert texts == list(dict.fromkeys(mine))[:2]
    metrics = {metric.name: metric for metric in evaluate_zero_shot(colour_model, painted, examples=found)}
    assert metrics["top-1"].value == 100.0
    with pytest.raises(ConfigError, match="training rows with captions and one label each"):
        class_examples(painted.select([]), 2)
