"""Which encoder a run gets, how much of it is trained, and what is said about it."""

from __future__ import annotations

import pytest
from safetensors.torch import save_file
from small import small_run

from accord.data.corpus import open_corpus
from accord.encoders import build_encoder, weights
from accord.errors import ConfigError
from accord.pipeline import build
from accord.pipeline.build import build_method
from accord.pipeline.config import EncoderConfig, RunConfig, merged

TINY = {"size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}


@pytest.fixture
def corpus(shapes):
    return open_corpus(shapes, quiet=True)


@pytest.fixture
def saved(tmp_path):
    save_file(build_encoder("image", {"name": "tiny_vit", **TINY}).state_dict(), tmp_path / "model.safetensors")
    return str(tmp_path)


@pytest.fixture
def said(monkeypatch):
    """What is printed of each encoder: origin of the weights, and state."""
    lines = {}
    monkeypatch.setattr("accord.encoders.build.announce", lambda name, origin, state="": lines.update({name: state}))
    return lines


def method_of(corpus, **changes):
    return build_method(RunConfig.parse(merged(small_run("shapes"), changes)), corpus)


def test_random_weights_are_trained_and_that_is_said(corpus, said):
    method = method_of(corpus)
    assert not any(encoder.frozen for encoder in method.encoders.values())
    assert said == {
        "image encoder tiny_convnet": "trained, as random weights have to be",
        "text encoder tiny_text": "trained, as random weights have to be",
    }


def test_an_encoder_that_the_user_names_is_frozen_when_it_is_pretrained(corpus, said, saved):
    method = method_of(corpus, **{"encoders.image": {"name": "tiny_vit", "options": TINY, "weights": saved}})
    assert method.encoders["image"].frozen
    asked = "frozen, as pretrained encoders are by default (--freeze image=none trains it)"
    assert said["image encoder tiny_vit"] == asked


@pytest.mark.parametrize(
    ("freeze", "state"),
    [
        ("none", "trained, as asked"),
        (1, "trained in its last 1 of 2 blocks, as asked"),
        ("model.*,!*.norm1.*", "trained in 2 of its 19 parameters, as asked"),
        ("all", "frozen, as asked"),
    ],
)
def test_what_was_asked_is_done_and_said(corpus, said, saved, freeze, state):
    encoder = {"name": "tiny_vit", "options": TINY, "weights": saved, "freeze": freeze}
    method_of(corpus, **{"encoders.image": encoder})
    assert said["image encoder tiny_vit"] == state


def test_random_weights_that_are_frozen_all_the_same_are_pointed_out(corpus, said):
    method_of(corpus, **{"encoders.image.freeze": "all"})
    assert said["image encoder tiny_convnet"] == "frozen, as asked, though its weights are random"


def test_a_method_that_teaches_the_encoder_keeps_a_pretrained_one_trained(corpus, said, saved):
    encoder = {"name": "tiny_vit", "options": TINY, "weights": saved}
    method = method_of(corpus, **{"method": {"name": "swav"}, "encoders.image": encoder})
    assert not method.encoders["image"].frozen
    assert said["image encoder tiny_vit"] == "trained, as method swav needs"


def test_settings_without_a_name_are_for_the_usual_encoder(corpus, monkeypatch):
    usual = {"image": EncoderConfig(name="tiny_convnet", options={"size": 32, "width": 16})}
    monkeypatch.setattr(build, "default_encoders", lambda corpus: usual)
    run = small_run("shapes", encoders={"text": "tiny_text", "image": {"options": {"width": 8}, "freeze": 2}})
    image = build_method(RunConfig.parse(run), corpus).encoders["image"]
    assert image.spec() == {"name": "tiny_convnet", "size": 32, "width": 8}
    assert image.trained_part == "trained in its last 2 of 5 blocks"


def test_settings_of_a_modality_without_a_usual_encoder_ask_for_a_name(corpus):
    with pytest.raises(
        ConfigError, match=r"encoders\.graph: there is no usual one, name one with --graph-encoder NAME"
    ):
        method_of(corpus, **{"encoders.graph.options.width": 8})


def test_random_weights_from_the_settings_ask_nobody(corpus, monkeypatch):
    monkeypatch.setattr(weights, "locate", lambda *_: pytest.fail("weights were looked for"))
    encoder = {"name": "resnet18", "weights": "random", "options": {"size": 32}}
    image = method_of(corpus, **{"encoders.image": encoder}).encoders["image"]
    assert (image.pretrained, image.frozen) == (False, False)
