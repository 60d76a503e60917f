"""What CONTRIBUTING promises of every method, of every name in the registry, on rows made for what the method reads."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from contract_abilities import CHECKS, abilities
from contract_case import TRAINING, Case, Killed, killed_at, same, state_of, watched
from contract_processes import alone, command, half, shared_out, trained
from contract_rows import write_graph, write_rows
from contract_waits import waiting

from accord.data.fields import declarations
from accord.encoders.unbuilt import Unbuilt
from accord.methods import available
from accord.methods.abilities import Embeds
from accord.papers import get_card, list_cards
from accord.training.artifact import load_model, save_model
from accord.training.stages import trained_in
from two_processes import run_two_processes

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Case]]:
    folder = tmp_path_factory.mktemp("contract")
    places = write_rows(folder / "rows"), write_graph(folder / "graph")
    made: dict[str, Case] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda *_, **__: folder / "cache")
        yield lambda name: made.setdefault(name, Case(name, places, folder / name))


@pytest.fixture(params=available())
def case(request: pytest.FixtureRequest, cases: Callable[[str], Case]) -> Case:
    return cases(request.param)


@pytest.fixture
def taught(case: Case) -> Case:
    if not case.built().stages:
        pytest.skip("it is not trained")
    return case


def test_steps_move_the_parameters_and_all_numbers_stay_numbers(taught):
    trained = taught.trained
    after = state_of(trained.method)
    assert not [name for name, value in after.items() if value.is_floating_point() and value.isnan().any()]
    assert not [line for line in trained.lines if any(value != value for value in line.values())]
    vectors = [name for name in trained.learnt if after[name].ndim]  # a scale may stand at its clamp
    assert [name for name in vectors if torch.equal(trained.before[name], after[name])] == []


def test_every_parameter_that_a_stage_trains_receives_a_gradient(taught):
    method = taught.built()
    expected = set()
    for stage in method.stages:
        with trained_in(method, stage) as parameters:
            expected |= {name for name, _ in parameters}
    assert expected - taught.trained.learnt == set()


def test_what_it_can_do_it_does_as_promised(case):
    method, batch = case.trained.method.eval(), case.batch()
    for kind, check in CHECKS.items():
        able = kind.of(method)
        if able is not None:
            with torch.inference_mode():
                check(able, batch)


def test_its_answers_are_the_same_twice(case):
    method, batch = case.trained.method.eval(), case.batch()
    able = Embeds.of(method)
    with torch.inference_mode():
        first, again = (able.embed(batch), able.embed(batch)) if able else ({}, {})
    assert same(first, again) == []


def test_saved_and_loaded_it_embeds_the_same_bits(case):
    method, batch = case.trained.method, case.batch()
    save_model(case.work / "saved", method, case.run.model_dump(mode="json"))
    loaded = load_model(case.work / "saved").method
    shipped = {name for name in state_of(method) if not name.startswith(method.training_only or "\0")}
    assert [name for name in same(state_of(method), state_of(loaded)) if name in shipped] == []
    able = Embeds.of(method.eval())
    if able:
        with torch.inference_mode():
            assert same(able.embed(batch), Embeds.of(loaded).embed(batch)) == []


def test_loaded_for_some_modalities_it_embeds_them_to_the_same_bits(case):
    method, batch = case.trained.method.eval(), case.batch()
    left_out = [name for name in method.encoders if name in method.sizes_suffice]
    if not left_out:
        pytest.skip("it needs all encoders")
    save_model(case.work / "saved", method, case.run.model_dump(mode="json"))
    for modality in left_out:
        asked = {name: value for name, value in batch.items() if not name.startswith(modality)}
        others = [name for name in method.encoders if name != modality]
        part = load_model(case.work / "saved", only=others).method
        assert [name for name, encoder in part.encoders.items() if isinstance(encoder, Unbuilt)] == [modality]
        with torch.inference_mode():
            assert same(Embeds.of(method).embed(asked), Embeds.of(part).embed(asked)) == []


def test_its_state_is_tensors_under_names_that_it_declares(case):
    fresh, method = state_of(case.built()), case.trained.method
    kept = state_of(method)
    assert fresh.keys() == kept.keys()
    other = [name for name in fresh if fresh[name].shape != kept[name].shape]
    assert [name for name in other if not name.startswith(method.resizable)] == []


def test_a_killed_training_goes_on_to_the_same_bits(taught):
    trained = taught.trained
    steps, killed, resumed = len(trained.lines), taught.built(), taught.built()
    with pytest.raises(Killed), killed_at(killed, steps // 2 + 1):
        taught.fit(killed, "killed")
    lines = taught.fit(resumed, "killed", resume=True)
    assert same(state_of(trained.method), state_of(resumed)) == []
    assert lines == trained.lines


def test_bfloat16_gives_finite_losses_and_gradients(taught):
    method = taught.built()
    with watched(method) as learnt:
        lines = taught.fit(method, "bfloat16", epochs=1, precision="bf16", grad_clip=1e9)
    assert learnt
    assert not [line for line in lines if any(value != value for value in line.values())]


WAITING = {  # steps whose work hangs on what is in the batch
    "cline": "scores the vocabulary for hidden words alone",
    "declutr": "scores the vocabulary for hidden words alone",
    "label_matching": "draws among the words of the batch",
    "adameow": "keeps as many neighbours as the drawn graph has",
    "contrastive_gap": "leaves out rows with the caption of another",
    "gram": "compares the rows that have each modality",
    "hbi": "encodes the frames that each clip has",
    "hbi_answers": "encodes the frames that each clip has",
    "meow": "keeps as many neighbours as the drawn graph has",
    "slotcon": "compares the slots that are active",
    "tcl": "scores the vocabulary for hidden words alone",
    "rcad": "encodes the frames that each clip has",
    "xclip": "encodes the frames that each clip has",
    "ila": "aligns the pairs of frames that each clip has",
}


def test_a_step_does_not_wait_for_the_device(taught):
    found = list(waiting(taught))
    assert bool(found) is (taught.name in WAITING), found


@pytest.mark.parametrize("name", shared_out())
def test_two_processes_are_one_with_all_rows(name, cases):
    case = cases(name)
    if not case.built().stages:
        pytest.skip("it is not trained")
    expected = alone(case)
    assert expected
    places, cache = [str(place) for place in case.places], str(case.work.parent / "cache")
    first, second = run_two_processes(half, name, places, cache)
    means = {part: (first[part] + second[part]) / 2 for part in expected}  # as DistributedDataParallel averages
    wrong = [part for part in expected if not torch.allclose(means[part], expected[part], atol=3e-5, rtol=1e-3)]
    assert not wrong, (
        f"two processes that share the rows out have other means than one with all: {', '.join(wrong)}. A loss gathers "
        "what its rows are compared with (accord.functional.distributed), divides by counts of all processes, and "
        "draws for the rows of all (Step.generator)"
    )


# What encoders are: one that is run once a step, one that sees crops of several sizes, two with momentum copies
SHARDED = ("clip", "swav", "pixpro", "tcl")


@pytest.mark.parametrize("name", SHARDED)
def test_two_processes_that_share_the_weights_out_are_one(name, cases):
    case = cases(name)
    expected = alone(case)
    places, cache = [str(place) for place in case.places], str(case.work.parent / "cache")
    for found in run_two_processes(half, name, places, cache, True):
        losses = {part for part in expected if part.endswith(": total")}
        gradients = expected.keys() - losses
        assert len(gradients) > len(losses)
        for part in gradients:
            torch.testing.assert_close(found[part], expected[part], atol=3e-5, rtol=1e-3, msg=part)


@pytest.mark.parametrize("name", SHARDED)
def test_a_training_that_shares_the_weights_out_ends_with_those_of_one_process(name, cases, tmp_path):
    places = [str(place) for place in cases(name).places]
    training = {"optimizer": "sgd", "lr": 0.01, "epochs": 2, "grad_clip": 1.0}
    whole = trained(0, name, places, str(tmp_path / "one"), training)
    shared = {**training, "devices": 2, "strategy": "fsdp"}
    for found in run_two_processes(trained, name, places, str(tmp_path / "two"), shared, torchrun=True):
        assert found.keys() == whole.keys()
        for part, value in whole.items():
            torch.testing.assert_close(found[part], value, atol=1e-4, rtol=1e-3, msg=part, equal_nan=True)


def test_the_command_leaves_whole_weights_where_they_were_shared_out(cases, tmp_path):
    case = cases("clip")
    config, out = tmp_path / "run.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(case.run.model_dump(mode="json")))
    call = ["train", "--config", str(config), "--out", str(out), "--epochs", "1"]
    call += ["--set", "training.devices=2", "--set", "training.strategy=fsdp", "--set", "training.probe_every=1"]
    run_two_processes(command, call, str(case.work.parent / "cache"), torchrun=True)
    loaded, fresh = state_of(load_model(out).method), state_of(case.built())
    assert {name: value.shape for name, value in loaded.items()} == {name: value.shape for name, value in fresh.items()}
    blocks = [name for name in fresh if ".blocks." in name or ".layers." in name]
    assert [name for name in blocks if torch.equal(loaded[name], fresh[name])] == []


@pytest.mark.parametrize("name", shared_out())
def test_the_command_trains_it_in_two_processes_of_which_one_writes_and_speaks(name, cases, tmp_path):
    case = cases(name)
    if not case.built().stages:
        pytest.skip("it is not trained")
    config, out = tmp_path / "run.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(case.run.model_dump(mode="json")))
    call = ["train", "--config", str(config), "--out", str(out), "--epochs", "1", "--set", "training.devices=2"]
    first, second = run_two_processes(command, call, str(case.work.parent / "cache"), torchrun=True)
    assert str(out) in first
    assert second == ""
    for file in ("model.safetensors", "metrics.json", "report.html", "README.md"):
        assert (out / file).is_file()
    steps = [json.loads(line)["step"] for line in (out / "train.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


def test_it_has_a_card_a_test_of_its_own_and_a_claim(case):
    name = case.name
    assert get_card(name).slug == name
    own = re.compile(rf"""["' =]{name}["'\s:]""")
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if path.name != Path(__file__).name]
    assert any(own.search(path.read_text()) for path in tests), (
        f"no test names {name}: write tests/methods/test_{name}.py"
    )
    claims = [path.read_text() for path in (ROOT / "claims").rglob("*.py")]
    others = {slug for one in list_cards() for slug in one.baselines}
    if case.built().stages:
        assert name in others or any(own.search(text) for text in claims), (
            f"no claim measures {name}: write claims/{name}.py, or name it in the `baselines` of the card of what is "
            "measured against it"
        )


@pytest.mark.parametrize("name", available())
def test_it_says_what_it_is_and_what_its_settings_mean(name, cases):
    kind = cases(name).kind
    assert kind.name == name
    assert kind.__doc__
    assert "Batch keys" in kind.__doc__
    assert [name for name, field in kind.Config.model_fields.items() if not field.description] == []


def test_rows_have_every_column_that_is_declared_and_numbers_of_things_that_differ(cases):
    with (cases("clip").places[0] / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    missing = [field for field in declarations() if field not in rows[0] and field != "graph"]
    assert missing == [], "tests/methods/contract_rows.py makes rows for all methods: write these columns, too"
    for field in ("boxes", "moments"):
        assert {0, 1} < {len(json.loads(row[field])) for row in rows}


def test_every_ability_is_tried():
    assert set(CHECKS) == set(abilities())


def test_the_training_is_long_enough_to_be_killed():
    assert TRAINING["epochs"] > 2
