"""Abilities: what a method can do besides being trained is asked of its classes, and of its settings."""

import pytest
import torch

from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.methods import DataInfo, get_method, named_with
from accord.methods.abilities import Ability, Captions, Classifies, Embeds, Rescores, Segments, Tracks
from accord.methods.base import Method
from accord.training.artifact import Model


@pytest.fixture
def towers():
    texts = ["a red square", "a blue circle"]
    return {"image": build_encoder("image", "tiny_vit"), "text": build_encoder("text", "tiny_text", texts=texts)}


def test_a_method_has_the_abilities_of_its_classes_and_no_other(towers):
    filip = get_method("filip")({"dim": 8}, towers, DataInfo())
    assert Embeds.of(filip) is filip is Rescores.of(filip)
    assert Classifies.of(filip) is None


def test_settings_can_take_an_ability_away(towers):
    tcl = get_method("tcl")({"dim": 8, "itm_weight": 0.0}, towers, DataInfo())
    assert isinstance(tcl, Rescores)
    assert Rescores.of(tcl) is None
    assert Embeds.of(tcl) is tcl


def test_an_ability_is_had_whole_or_not_at_all(towers):
    class Half(Method, Segments):
        name, Config, needs = "half", get_method("clip").Config, {"image": frozenset({"pooled"})}

    with pytest.raises(TypeError, match=r"abstract method '?segment"):
        Half({}, towers, DataInfo())


def test_methods_with_an_ability_are_found_in_the_registry():
    assert named_with(Captions) == "close, coca"
    assert named_with(Tracks) == "none so far"


def test_every_ability_says_in_words_what_it_does():
    for kind in Ability.__subclasses__():
        assert kind.does.split()[0].islower()
        assert kind.__doc__


def test_logits_are_of_the_scale_that_a_method_has_learnt_and_else_of_the_largest(towers):
    clip = get_method("clip")({"temperature": 0.05}, towers, DataInfo())
    swav = get_method("swav")({"dim": 8, "hidden": 8, "prototypes": 4}, towers, DataInfo())
    assert clip.cosine_scale == pytest.approx(20)
    assert swav.cosine_scale == 100
    assert Model(clip).logit_scale == pytest.approx(20)
    assert (clip.cosine_bias, clip.templates, Model(clip).templates) == (None, (), "plain")


class Silent(Method):
    """Trains, and can do nothing besides."""

    name, Config, needs = "silent", get_method("clip").Config, {"image": frozenset({"pooled"})}


def test_a_model_without_vectors_is_a_model_and_says_so_when_asked_for_them(towers):
    model = Model(Silent({}, towers, DataInfo()))
    assert model.modalities == ()
    with pytest.raises(ConfigError, match="method silent does not embed anything; methods that do: adameow"):
        model.embed(texts=["a cat"])


class FromNames(Silent):
    """Its texts are the names of the classes."""

    name, needs = "from_names", {"image": frozenset({"pooled"}), "text": frozenset({"pooled"})}

    @classmethod
    def reads(cls, config):
        return ("image",)


def test_what_rows_must_hold_may_be_less_than_there_are_encoders(towers):
    from accord.training.module import encoder_inputs

    method = FromNames({}, towers, DataInfo())
    assert set(method.encoders) == {"image", "text"}
    assert set(encoder_inputs(method)) == {"image"}
    assert method.subjects == ("image",)
    assert torch.device("cpu") == method.device
