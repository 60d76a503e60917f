"""Settings in the user's names: which is meant, and where it stands."""

from __future__ import annotations

import pytest
from small import small_run

from accord.errors import ConfigError
from accord.pipeline.config import RunConfig, brought_encoders, merged, with_encoders

RUN = small_run("pictures")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("training.epoch", "training.epoch is not a setting; did you mean training.epochs or training.epoch_rows?"),
        ("method.temprature", "method.temprature is not a setting; did you mean method.temperature"),
        ("epochs", "epochs is not a setting; did you mean training.epochs?"),
        ("temperature", "temperature is not a setting; did you mean method.temperature?"),
        ("method.lr", "method.lr is not a setting; did you mean training.lr?"),
        ("training.temperature", "training.temperature is not a setting; did you mean method.temperature?"),
        ("encoders.image.freez", "encoders.image.freez is not a setting; did you mean encoders.image.freeze?"),
        ("encoders.imag.freeze", "encoders: no modality 'imag'; did you mean image?"),
        ("data.splitt.test", "data.splitt is not a setting; did you mean data.split?"),
        ("data.split.tset", "data.split.tset is not a setting; did you mean data.split.test?"),
        ("data.corruption.rat", "data.corruption.rat is not a setting; did you mean data.corruption.rate?"),
        ("encoder.image.freeze", "encoder is not a setting; did you mean encoders?"),
        ("training.smell", "training.smell is not a setting; the settings are: training.epochs, training.epoch_rows"),
        ("method.name", "no method 2"),
    ],
)
def test_a_misspelt_setting_gets_its_neighbour(setting, says):
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse(merged(RUN, {setting: 2}))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("training.lr", -1, "training.lr = -1: input should be greater than 0"),
        ("method.temperature", -1, "method.temperature = -1: input should be greater than 0"),
        ("encoders.image.freeze", "al", "encoders.image.freeze = 'al': expected all, none, auto, or how many"),
        ("encoders.image.freeze", -1, "encoders.image.freeze = -1: expected all, none, auto, or how many"),
        ("training.devices", 5, "training: batch_size = 12 does not divide among devices = 5"),
        ("training.probe", ["knnn"], "no task 'knnn'; did you mean knn?"),
        ("evaluate", ["retreival"], "no task 'retreival'; did you mean retrieval?"),
        ("evaluate", {"retreival": {}}, "no task 'retreival'; did you mean retrieval?"),
        ("evaluate", {"knn": {"kk": 5}}, "evaluate.knn.kk is not a setting; did you mean evaluate.knn.k?"),
        ("evaluate", "knn", "evaluate = 'knn': expected a list of tasks, or tasks with their options"),
        ("evaluate", {"knn": 5}, "evaluate: expected a list of tasks, or tasks with their options"),
        ("method.name", "clop", "no method 'clop'; did you mean clip or xclip or close? There are: adameow"),
        ("objective_add.contrastiv_gap", {}, "no objective 'contrastiv_gap'; did you mean contrastive_gap?"),
    ],
)
def test_a_wrong_value_is_told_by_the_setting_that_the_user_knows(setting, value, says):
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse(merged(RUN, {setting: value}))
    assert says in str(caught.value)


def freezing(run, **wishes):
    return {modality: encoder.freeze for modality, encoder in with_encoders(run, **wishes).encoders.items()}


def test_a_wish_for_all_encoders_passes_over_those_that_start_at_random():
    run = RunConfig.parse(merged(RUN, {"encoders.image": "resnet18"}))
    assert freezing(run, freeze=2) == {"image": 2, "text": "auto"}
    assert freezing(run, freeze={"*": "none", "text": "all"}) == {"image": "none", "text": "all"}
    assert freezing(run, freeze={"text": "transformer.*, !*.bias"}) == {
        "text": ["transformer.*", "!*.bias"],
        "image": "auto",
    }


def test_a_wish_reaches_the_encoders_that_the_run_does_not_name():
    run = RunConfig.parse({"data": {"source": "pictures"}})
    wished = with_encoders(run, freeze="none", weights={"text": "random"}).encoders
    assert {name: (one.name, one.freeze, one.weights) for name, one in wished.items()} == {
        "image": (None, "none", None),
        "text": (None, "none", "random"),
    }
    assert with_encoders(run).encoders == {}


def test_a_method_says_how_it_is_trained_where_the_user_does_not():
    run = {"data": {"source": "graph"}, "method": "meow"}
    assert RunConfig.parse(run).training.epochs == 200
    assert RunConfig.parse({**run, "training": {"lr": 0.5}}).training.model_dump(include={"epochs", "lr"}) == {
        "epochs": 200,
        "lr": 0.5,
    }
    asked = RunConfig.parse({**run, "training": {"epochs": 10}})  # the usual number, but the user's own
    assert asked.training.epochs == 10
    assert RunConfig.parse(asked.model_dump()).training == asked.training
    assert RunConfig.parse({**run, "method": "swav"}).training.epochs == 10


def test_a_wish_reaches_what_a_bundle_brings_in_the_place_of_a_network_that_starts_at_random():
    alone = RunConfig.parse(merged(RUN, {"method": "swav", "encoders": {}}))
    assert freezing(alone, freeze=1) == {}
    assert freezing(alone.model_copy(update={"bundle": "clip:models/vit"}), freeze=1) == {"image": 1}


def test_a_method_may_make_an_encoder_of_one_of_the_bundles():
    run = RunConfig.parse(merged(RUN, {"method": "xclip", "encoders": {}, "bundle": "clip:models/vit"}))
    brought = brought_encoders(run, run.kind.Config.parse({}))
    assert {name: wish["name"] for name, wish in brought.items()} == {
        "image": "clip:models/vit",
        "text": "clip:models/vit",
        "video": "cross_frame:clip:models/vit",
    }
    assert freezing(run, freeze=1) == {"video": 1, "text": 1}
    assert brought_encoders(run.model_copy(update={"bundle": None}), run.kind.Config.parse({})) == {}


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"freeze": {"txt": "all"}}, "--freeze txt=all: no encoder 'txt'; did you mean text?"),
        ({"freeze": {"audio": "all"}}, "--freeze audio=all: no encoder 'audio'; there are: image, text"),
        ({"freeze": "most"}, "encoders.image.freeze = 'most': expected all, none, auto, or how many"),
        ({"weights": "mine.pt"}, "--weights mine.pt: say whose, such as --weights image=mine.pt"),
    ],
)
def test_a_wish_that_nobody_can_fulfil_is_refused(wish, says):
    run = RunConfig.parse({"data": {"source": "pictures"}})
    with pytest.raises(ConfigError) as caught:
        with_encoders(run, **wish)
    assert says in str(caught.value)


def test_tasks_stand_as_a_list_or_with_their_options():
    assert RunConfig.parse(merged(RUN, {"evaluate": ["knn"]})).task_options == {}
    assert RunConfig.parse(merged(RUN, {"evaluate.knn.k": 5})).task_options == {"knn": {"k": 5}}
    assert RunConfig.parse(merged(RUN, {"evaluate": {"retrieval": None}})).evaluate == {"retrieval": {}}
