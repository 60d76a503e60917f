"""Freezing by names of parameters, and adapters, which are trained whatever is frozen."""

import copy

import pytest
import torch
from torch import nn

from accord.encoders import Encoder, Features, build_encoder
from accord.encoders.freezing import frozen_names, parse_freeze
from accord.errors import ConfigError
from accord.pipeline.config import EncoderConfig

VIT = {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 2, "heads": 2}


class Adapted(Encoder):
    """A pretrained network with an adapter after its first part."""

    modality = "image"
    adapters = ("message.*",)

    def __init__(self):
        super().__init__()
        self.dim = 4
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.message = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
        self.weights_from = "path pretrained"

    def encode(self, x, mask=None):
        return Features(self.message(self.body(x.mean((2, 3)))))

    def blocks(self):
        return [self.body, self.message]

    def spec(self):
        return {"name": "adapted"}


def trained(encoder):
    return {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}


def test_what_a_pattern_names_is_frozen_and_what_follows_an_exclamation_mark_is_trained():
    encoder = build_encoder("image", VIT, freeze=["model.blocks.*", "!*.bias"])
    names = [name for name, _ in encoder.named_parameters()]
    assert trained(encoder) == {n for n in names if not n.startswith("model.blocks.") or n.endswith(".bias")}
    assert not encoder.frozen
    assert encoder.trained_part == f"trained in {len(trained(encoder))} of its {len(names)} parameters"


def test_patterns_of_what_is_trained_alone_freeze_everything_else():
    encoder = build_encoder("image", VIT, freeze=["!model.blocks.1.*"])
    assert trained(encoder)
    assert all(name.startswith("model.blocks.1.") for name in trained(encoder))


def test_everything_named_is_as_good_as_all():
    encoder = build_encoder("image", VIT, freeze=["model.*"]).train()
    assert encoder.frozen
    assert not encoder.training
    assert encoder.trained_part == "frozen"


def test_a_pattern_that_names_nothing_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"freeze = '!model\.block\.0\.norm1\.weight': no parameter of the image"):
        build_encoder("image", VIT, freeze=["model.*", "!model.block.0.norm1.weight"])
    with pytest.raises(ConfigError, match=r"they are called such as a\.first, c\.third, d\.fourth"):
        frozen_names(["visual.*"], ["a.first", "b.second", "c.third", "d.fourth"], "image")


def test_frozen_modules_rest_and_trained_ones_do_not():
    encoder = build_encoder("image", "resnet10t", weights=False, freeze=["model.*", "!model.layer4.*"]).train()
    modes = {name: module.training for name, module in encoder.named_modules()}
    assert not modes["model.conv1"]
    assert not modes["model.layer3.0.bn1"]
    assert modes["model.layer4.0.bn1"]
    before = copy.deepcopy(encoder.state_dict())
    encoder(torch.rand(4, 3, 32, 32))
    moved = {n for n, value in encoder.state_dict().items() if not torch.equal(value, before[n])}
    assert moved
    assert all(name.startswith("model.layer4.") for name in moved)


@pytest.mark.parametrize("freeze", ["all", 0, "auto", ["*"], ["message.0.*", "body.*"]])
def test_adapters_are_trained_whatever_is_frozen(freeze):
    encoder = Adapted().freeze(freeze).train()
    assert trained(encoder) == {"message.0.weight", "message.0.bias"}
    assert not encoder.frozen  # so its features are not computed once and kept
    assert encoder.trained_part == "trained in 2 of its 6 parameters" or freeze == 0
    assert [part.training for part in encoder.body] == [False] * 3
    assert [part.training for part in encoder.message] == [True, True]
    encoder(torch.rand(3, 3, 4, 4)).pooled.sum().backward()
    assert encoder.message[0].weight.grad is not None
    assert encoder.body[0].weight.grad is None


def test_adapters_inside_a_frozen_block_are_found():
    encoder = Adapted()
    encoder.adapters = ("body.0.bias",)
    encoder.freeze("all").train()
    assert trained(encoder) == {"body.0.bias"}
    assert not encoder.body[1].training
    assert not encoder.message.training


def test_adapters_of_the_image_encoder_are_those_of_its_clips(monkeypatch):
    monkeypatch.setattr("accord.encoders.image.TimmEncoder.adapters", ("model.norm.*",))
    video = build_encoder("video", {"name": "frames", "image": VIT}, freeze="all")
    assert trained(video) == {"image.model.norm.weight", "image.model.norm.bias"}


def test_without_adapters_nothing_of_a_frozen_encoder_is_trained_after_a_change_of_mind():
    encoder = build_encoder("image", VIT, freeze=["!*.bias"]).freeze("all")
    assert encoder.frozen
    assert trained(encoder.freeze("none")) == {name for name, _ in encoder.named_parameters()}
    assert encoder.trained_part == "trained"


def test_a_configuration_takes_patterns_as_a_list_or_as_one_text():
    wished = ["model.blocks.*", "!*.bias"]
    assert EncoderConfig.parse({"freeze": "model.blocks.*, !*.bias"}).freeze == wished
    assert EncoderConfig.parse({"freeze": wished}).model_dump(mode="json")["freeze"] == wished
    assert parse_freeze(["positions"]) == ["positions"]


@pytest.mark.parametrize("wrong", ["positions", "", [], ["!"], ["a", 3], 1.5, True, None, "model.*,,"])
def test_what_is_neither_a_word_nor_a_number_nor_a_pattern_is_refused(wrong):
    with pytest.raises(ValueError, match=r"expected all, none, auto, or how many .* such as 'model\.blocks"):
        parse_freeze(wrong)
