"""Arms that differ in what they declare and in nothing else, trained once and kept."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import accord.claims.arms
import accord.claims.bench
import accord.claims.code
import accord.claims.measuring
from accord.claims import progress, run
from accord.claims.arms import _told
from accord.claims.bench import Bench, Done, Order, Task, carried_out
from accord.claims.load import loaded
from accord.claims.record import read_records
from accord.errors import ConfigError, DivergenceError
from accord.methods.image_text.clip import Clip
from accord.pipeline.config import RunConfig
from accord.training.fit import FitResult, fit

DEEP = ('"deep": Arm({', '"deep": Arm({"training.epochs": 3, ')
EXPECTED_STEPS = 2 * 48 // 16


class Trainings:
    """Stands in for ``fit``: counts, trains nothing, and stops where it is told to."""

    def __init__(self) -> None:
        self.count, self.stop_at = 0, -1
        self.starts: list[dict[str, torch.Tensor]] = []

    def __call__(self, method: Any, *args: Any, **options: Any) -> FitResult:
        if self.count == self.stop_at:
            raise KeyboardInterrupt
        self.count += 1
        self.starts.append({name: tensor.clone() for name, tensor in method.state_dict().items()})
        return FitResult(EXPECTED_STEPS, 1.0, 6.0)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    counted = Trainings()
    monkeypatch.setattr(accord.claims.measuring, "fit", counted)
    return counted


def measure(folder: Path, **options: Any) -> run.Report:
    return run.run_claim("toy", folder, progress=False, **options)


def test_arms_start_from_the_same_random_weights_and_from_their_own_constants(folder, trainings) -> None:
    measure(folder)
    learnt, fixed, deep, *second = trainings.starts
    assert learnt.keys() == fixed.keys()
    constants = [name for name in learnt if not torch.equal(learnt[name], fixed[name])]
    assert len(constants) == 1
    assert "scale" in constants[0]
    common = [name for name in learnt if name in deep and learnt[name].shape == deep[name].shape]
    assert any("head" in name or "project" in name for name in common)  # drawn after the part that differs
    assert all(torch.equal(learnt[name], deep[name]) for name in common)
    assert len(deep) > len(learnt)
    assert not torch.equal(learnt[common[0]], second[0][common[0]])  # another seed


def test_arms_see_the_same_rows_in_the_same_order(folder, monkeypatch) -> None:
    seen: list[list[int]] = []

    class Watched(Clip):
        name = "clip"

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.seen: list[int] = []

        def objective(self, towers: Any, batch: Any, step: Any) -> Any:
            seen[-1].extend(batch["index"].tolist())
            return super().objective(towers, batch, step)

    def watched(method: Any, *args: Any, **options: Any) -> FitResult:
        seen.append([])
        method.__class__ = Watched
        return fit(method, *args, **options)

    monkeypatch.setattr(accord.claims.measuring, "fit", watched)
    measure(folder)
    learnt, fixed, deep, other, *_ = seen
    assert len(learnt) == 96
    assert learnt == fixed == deep != other


def test_the_record_holds_what_was_declared_and_every_value(folder) -> None:
    report = measure(folder, seeds=3)
    [record] = read_records(folder / "results")
    assert record["command"] == "accord claims run toy --seeds 3"
    assert record["seeds"] == [3, 4, 5]
    assert record["arms"]["fixed"]["changes"] == {"method.temperature": 1.0, "method.learn_temperature": False}
    assert record["arms"]["learnt"]["steps"] == [EXPECTED_STEPS] * 3
    assert record["arms"]["learnt"]["epochs"] == [2] * 3
    assert record["arms"]["learnt"]["trials"] == 0
    assert record["arms"]["middle"]["of"] == ["learnt", "fixed"]
    fixed, level, middle = record["questions"]
    values = {name: record["arms"][name]["values"]["spread"] for name in ("learnt", "fixed")}
    assert fixed["method_values"] == values["learnt"]
    assert fixed["baseline_values"] == values["fixed"]
    assert (fixed["smallest"], fixed["because"]) == (1e-6, "toys are light")
    assert fixed["effect"] == pytest.approx(sum(values["learnt"]) / 3 - sum(values["fixed"]) / 3)
    assert middle["effect"] == pytest.approx(fixed["effect"] / 2)
    assert (level["answer"], level["verdict"]) == ("holds", "kept")
    assert fixed["low"] < fixed["effect"] < fixed["high"]
    [place] = record["places"]
    assert place["machine"]["cores"] >= 1
    assert "torch" in place["versions"]
    assert (report.path, report.figure) == (folder / "results" / "toy.json", folder / "results" / "toy.png")


def test_a_run_that_was_killed_goes_on_with_what_is_missing(folder, trainings) -> None:
    trainings.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        measure(folder)
    assert not (folder / "results").exists()
    trainings.stop_at = -1
    measure(folder)
    assert trainings.count == 6
    first = (folder / "results" / "toy.json").read_text()
    measure(folder)
    assert trainings.count == 6
    assert (folder / "results" / "toy.json").read_text() == first


@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ("The rest is not shown.", "Nothing more.", 0),
        ('paper="Toys differ."', 'paper="Toys are alike."', 0),
        ("FACTOR = 100", "FACTOR = 10", 3),  # measure uses it through a helper
        ("return FACTOR * float(value)", "return float(value) * FACTOR", 3),
        ('"method.temperature": 1.0', '"method.temperature": 0.5', 1),
        ('"epochs": 2', '"epochs": 1', 3),
    ],
)
def test_only_what_a_change_concerns_is_trained_again(toy, trainings, old, new, again) -> None:
    measure(toy(), seeds=1)
    before = trainings.count
    measure(toy((old, new)), seeds=1)
    assert trainings.count - before == again


MEASURED_BY_RECALL = (
    'return {"spread": helper(model.embed_corpus(test, "text").std())}',
    "from accord.evaluation.retrieval import evaluate_retrieval; "
    'return {"spread": helper(model.embed_corpus(test, "text").std())}',
)


@pytest.mark.parametrize(
    ("module", "again"),
    [
        ("accord.methods.image_text.clip", 3),
        ("accord.functional.engine", 3),
        ("accord.encoders.image", 3),
        ("accord.training.optimiser", 3),
        ("accord.data.loading.order", 3),
        ("accord.data.modalities.text", 3),
        ("accord.evaluation.retrieval", 3),  # the measure asks for it
        ("accord.evaluation.ranking", 3),  # which that imports
        ("accord.evaluation.knn", 0),
        ("accord.methods.image_text.coca", 0),
        ("accord.encoders.audio", 0),
        ("accord.claims.table", 0),
        ("accord.claims.judge", 0),
        ("accord.cli.train", 0),
    ],
)
def test_results_are_as_good_as_the_code_behind_them(toy, trainings, edited, module, again) -> None:
    folder = toy(MEASURED_BY_RECALL)
    measure(folder, seeds=1)
    before = trainings.count
    edited(module)
    measure(folder, seeds=1)
    assert trainings.count - before == again


def test_another_version_of_what_computes_is_another_result(folder, trainings, monkeypatch) -> None:
    measure(folder, seeds=1)
    monkeypatch.setitem(accord.claims.code.COMPUTE, "torch", "numpy")  # as if its version were another one
    measure(folder, seeds=1)
    assert trainings.count == 6


def test_another_number_of_threads_is_another_result(folder, trainings, monkeypatch) -> None:
    measure(folder, seeds=1)
    monkeypatch.setattr(accord.claims.arms, "THREADS", 2)
    measure(folder, seeds=1)
    assert trainings.count == 6


def test_every_arm_has_one_thread(folder, monkeypatch) -> None:
    threads = []

    def counted(*_: Any, **__: Any) -> FitResult:
        threads.append(torch.get_num_threads())
        return FitResult(EXPECTED_STEPS, 1.0, 6.0)

    monkeypatch.setattr(accord.claims.measuring, "fit", counted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        measure(folder, seeds=1)
        assert (threads, torch.get_num_threads()) == ([1, 1, 1], 2)
    finally:
        torch.set_num_threads(before)


def test_several_processes_find_the_same_with_the_same_code(folder) -> None:
    alone = {done.task: done for done in carried(folder, jobs=1)}
    for done in carried(folder, jobs=2):
        assert (done.code, done.result.metrics) == (alone[done.task].code, alone[done.task].result.metrics)


def carried(folder: Path, jobs: int) -> list[Done]:
    with loaded("toy", folder) as claim:
        arms = accord.claims.arms.Arms(claim, folder, quick=True)
        bench = Bench(arms, Order("toy", folder, quick=True))
        tasks = [Task("learnt", 3), Task("deep", 3)]
        return list(carried_out(tasks, bench, jobs, lambda _: nullcontext()))


def test_a_record_names_the_code_behind_each_arm_and_the_key_of_each_result(folder, trainings, cache) -> None:
    measure(folder)
    [record] = read_records(folder / "results")
    assert "accord.methods.image_text.clip" in record["code"]["every arm"]
    assert record["code"]["arms"] == {"learnt": {}, "fixed": {}, "deep": {}}
    keys = [key for name in ("learnt", "fixed", "deep") for key in record["arms"][name]["keys"]]
    assert {f"{key}.json" for key in keys} == {path.name for path in (cache / "claims").glob("*.json")}
    assert len(set(keys)) == 6
    assert record["arms"]["learnt"]["places"] == [0, 0]


def test_a_result_tells_where_it_was_trained_and_not_where_it_was_read_again(folder, trainings, monkeypatch) -> None:
    measure(folder, seeds=1)
    monkeypatch.setattr(accord.claims.bench, "machine", lambda: {"cores": 64})
    measure(folder)
    [record] = read_records(folder / "results")
    assert [place["machine"]["cores"] == 64 for place in record["places"]] == [False, True]
    assert record["arms"]["deep"]["places"] == [0, 1]


def test_fewer_seeds_never_replace_a_record(folder, trainings) -> None:
    measure(folder)
    path = folder / "results" / "toy.json"
    before = path.read_text()
    report = measure(folder, seeds=1)
    assert report.path is None
    assert "is of the seeds 3,4, which these are not" in report.unwritten
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("first", "then", "written"),
    [
        (None, [3, 4, 5], True),
        (None, [5, 6], False),
        (3, None, True),  # those that are declared
        ([7], [7, 8], True),
        ([7, 8], [8], False),
        (1, None, True),
    ],
)
def test_a_record_is_replaced_by_the_declared_seeds_or_by_its_own_and_more(
    folder, trainings, first, then, written
) -> None:
    measure(folder, seeds=first)
    assert (measure(folder, seeds=then).path is not None) == written
    [record] = read_records(folder / "results")
    assert record["declared_seeds"] == [3, 4]
    kept = then if written else first
    assert record["seeds"] == ([3, 4] if kept is None else [3, 4, 5] if kept == 3 else kept)


def test_a_promise_does_not_hold_on_some_of_the_seeds(folder, trainings) -> None:
    level = measure(folder, seeds=1).outcomes[1]
    assert (level.verdict, level.answer) == ("undecided", "undecided")


UNTRAINED = (
    '        "middle": Combined',
    '        "untrained": Arm(untrained=True),\n        "middle": Combined',
)


def test_an_untrained_arm_is_measured_as_it_starts(toy, trainings) -> None:
    scale = ('"scale": "toys have no floor"', '"scale": Scale("untrained", 1e9)')
    imports = ("import Arm, Claim, Combined, Question", "import Arm, Claim, Combined, Question, Scale")
    middle = ('"learnt", "middle", "spread", **ANY', '"learnt", "middle", "spread", every=True')
    measure(toy(UNTRAINED, scale, imports, middle))
    assert trainings.count == 6
    [record] = read_records(toy() / "results")
    arm = record["arms"]["untrained"]
    assert (arm["steps"], arm["epochs"], arm["untrained"]) == ([0, 0], [0, 0], True)
    floor = record["questions"][0]["floor"]
    assert floor["levels"] == [{"of": "untrained", "values": arm["values"]["spread"]}]
    assert record["questions"][0]["ceiling"]["value"] == 1e9


def test_other_rows_are_another_result(folder, trainings) -> None:
    measure(folder, seeds=1)
    source = folder / "shared" / "toy.py"
    source.write_text(source.read_text().replace("picture {number} is", "{number} is"))
    measure(folder, seeds=1)
    assert trainings.count == 6


def test_a_result_that_cannot_be_read_is_made_again(folder, trainings, cache) -> None:
    measure(folder, seeds=1)
    for file in (cache / "claims").glob("*.json"):
        file.write_text('{"metrics": ')
    measure(folder, seeds=1)
    assert trainings.count == 6


def test_a_smoke_run_writes_nothing_and_keeps_nothing(toy, cache, trainings) -> None:
    folder = toy(('"epochs": 2', '"epochs": 200'))
    report = measure(folder, quick=True)
    assert (report.path, report.figure, report.seeds) == (None, None, (3,))
    assert not (folder / "results").exists()
    assert not (cache / "claims").exists()
    measure(folder, quick=True)
    assert trainings.count == 6


def test_a_smoke_run_is_one_epoch_on_few_rows(toy, monkeypatch) -> None:
    monkeypatch.setattr(accord.claims.arms, "QUICK_TRAIN", 20)
    report = measure(toy(('"epochs": 2', '"epochs": 200')), quick=True)
    assert {result.steps for results in report.results.values() for result in results} == {2}  # of two batches


def test_settings_of_the_smoke_run_go_to_the_arms_whose_method_has_them(toy) -> None:
    folder = toy(("    seeds=(3, 4),", "    seeds=1, quick={'method.dim': 4, 'method.no_such_setting': 1},"))
    with loaded("toy", folder) as claim:
        arms = accord.claims.arms.Arms(claim, folder).smoke()
        assert arms.config("learnt", 0).method == {"name": "clip", "dim": 4}
        assert arms.config("learnt", 0).training.epochs == 1


def test_a_measure_may_be_told_of_a_smoke_run(toy, trainings) -> None:
    head = ("def measure(model, train, test):", "def measure(model, train, test, quick=False):")
    folder = toy(head, ('return {"spread"', 'return {"quick": float(quick), "spread"'))
    for quick in (True, False):
        assert measure(folder, quick=quick).results["deep"][0].metrics["quick"] == quick


def test_arms_of_unequal_steps_are_refused_before_anything_is_trained(toy, trainings) -> None:
    folder = toy(DEEP, ('"deep", 1000.0,', '"deep", "learnt",'))
    with pytest.raises(ConfigError, match=r"question 'level' differ in steps \(deep 9, learnt 6\)"):
        measure(folder, quick=True)
    assert trainings.count == 0


@pytest.mark.parametrize("equal", ["nothing", "epochs"])
def test_unequal_steps_are_allowed_where_the_question_says_what_is_equal(toy, trainings, equal) -> None:
    smaller = ('"deep": Arm({', '"deep": Arm({"training.batch_size": 8, ')
    folder = toy(smaller, ('"deep", 1000.0,', f'"deep", "learnt", equal="{equal}", metric='))
    assert measure(folder, quick=True).path is None


def test_unequal_epochs_are_refused_where_epochs_are_to_be_equal(toy, trainings) -> None:
    folder = toy(DEEP, ('"deep", 1000.0,', '"deep", "learnt", equal="epochs", metric='))
    with pytest.raises(ConfigError, match=r"differ in epochs \(deep 3, learnt 2\)"):
        measure(folder, quick=True)


def test_a_metric_that_is_no_number_stops_the_run(toy, trainings) -> None:
    with pytest.raises(DivergenceError, match="arm 'learnt', seed 3: metric 'spread' is nan"):
        measure(toy(("FACTOR = 100", 'FACTOR = float("nan")')))


def test_a_metric_may_be_missing_on_a_seed_unless_something_needs_it(toy, trainings) -> None:
    """Seed 4 calls the spread of the texts by another name."""
    other = "if model.config['training']['seed'] == 4 else"
    with pytest.raises(ConfigError, match="arm 'learnt': no metric was measured on every seed"):
        measure(toy(('return {"spread"', f'return {{"other" {other} "spread"')))
    folder = toy(('return {"spread"', f'return {{"rows": 1.0, "other" {other} "spread"'))
    with pytest.raises(ConfigError, match="arm 'middle' needs metric 'spread'; on every seed there are learnt: rows; "):
        measure(folder)
    measure(toy(('return {"spread"', f'return {{"a" {other} "b": 1.0, "spread"')))
    [record] = read_records(folder / "results")
    assert record["arms"]["learnt"]["values"].keys() == {"spread", "a", "b"}
    assert record["arms"]["learnt"]["values"]["a"] == [None, 1.0]


def test_settings_of_data_that_a_function_makes_are_refused(toy, trainings) -> None:
    folder = toy(('"fixed": Arm({', '"fixed": Arm({"data.split.test": 0.5, '))
    with pytest.raises(ConfigError, match=r"arm 'fixed': data\.split\.test changes nothing"):
        measure(folder)


FUNCTION = '''
"""A function."""
from accord.claims import Arm, Claim, Question
CALLS = []
def find(seed{quick}):
    CALLS.append({call})
    return {{"x": float(seed)}}
QUESTION = Question("q", "x > -1", "f", -1.0, "x", every=True)
CLAIM = Claim("function", "It is one.", {{"f": Arm(function=find)}}, [QUESTION], seeds=3)
'''


BOUND = '''
"""A function whose settings are bound."""
from functools import partial
from accord.claims import Arm, Claim, Question

def find(seed, settings, share=0.5):
    return {"x": settings["x"] + share}

QUESTION = Question("q", "s", "f", 0.0, "x", every=True)
CLAIM = Claim("bound", "It is one.", {"f": Arm(function=partial(find, settings={"x": 2.0}))}, [QUESTION], seeds=2)
'''


def test_a_function_that_searches_nothing_keeps_what_it_was_bound_to(folder) -> None:
    (folder / "bound.py").write_text(BOUND)
    run.run_claim("bound", folder, progress=False)
    record = read_records(folder / "results")[0]
    assert record["arms"]["f"]["values"]["x"] == [2.5, 2.5]


@pytest.mark.parametrize(("quick", "call"), [("", "seed"), (", quick=False", "(seed, quick)")])
def test_an_arm_may_be_a_function_that_is_told_of_a_smoke_run(folder, quick, call) -> None:
    (folder / "function.py").write_text(FUNCTION.format(quick=quick, call=call))
    with loaded("function", folder) as claim:
        arms = accord.claims.arms.Arms(claim, folder).smoke()
        assert arms.ready("f", accord.claims.arms.Seed(7)).run().metrics == {"x": 7.0}
        assert claim.arms["f"].function.__globals__["CALLS"] == [(7, True) if quick else 7]
    report = run.run_claim("function", folder, progress=False)
    [outcome] = report.outcomes
    assert outcome.method == (0.0, 1.0, 2.0)
    assert report.results["f"][0].steps is None


BUDGETS = """
from accord.claims import Arm, Claim, Measured, Question
def short(seed, quick=False): return Measured({{"x": 1.0}}, steps=100, epochs=2)
def long(seed, quick=False): return Measured({{"x": 2.0}}, steps=200, epochs=2)
def silent(seed): return {{"x": 3.0}}
ARMS = {{"short": Arm(function=short), "long": Arm(function=long), "silent": Arm(function=silent)}}
CLAIM = Claim("budgets", "p", ARMS, [Question("q", "s", {asked}, "x", every=True)], seeds=2)
"""


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ('"long", "short"', r"arms of question 'q' differ in steps \(long 200, short 100\)"),
        (
            '"long", "silent"',
            r"says that steps are equal, and the function of arm 'silent' tells none: return Measured",
        ),
    ],
)
def test_steps_of_functions_are_compared_like_others(folder, asked, message) -> None:
    (folder / "budgets.py").write_text(BUDGETS.format(asked=asked))
    with pytest.raises(ConfigError, match=message):
        run.run_claim("budgets", folder, progress=False)


@pytest.mark.parametrize(
    "asked", ['"long", "short", equal="epochs", metric=', '"long", "silent", equal="nothing", metric=', '"silent", 1.0']
)
def test_unequal_functions_are_compared_where_the_question_says_what_is_equal(folder, asked) -> None:
    text = BUDGETS.format(asked=asked).replace('metric=, "x"', 'metric="x"')
    (folder / "budgets.py").write_text(text)
    run.run_claim("budgets", folder, progress=False)
    [record] = read_records(folder / "results")
    assert record["arms"]["long"]["steps"] == [200, 200]
    assert record["arms"]["silent"]["steps"] == [None, None]


def test_a_smoke_run_asks_functions_only_whether_they_tell_their_steps(folder) -> None:
    (folder / "budgets.py").write_text(BUDGETS.format(asked='"long", "short"'))
    run.run_claim("budgets", folder, progress=False, quick=True)
    (folder / "budgets.py").write_text(BUDGETS.format(asked='"long", "silent"'))
    with pytest.raises(ConfigError, match="tells none"):
        run.run_claim("budgets", folder, progress=False, quick=True)


SECTION = """
from accord.claims import Arm, Claim, Question
CLAIM = Claim(
    "section", "p", {"a": Arm(), "b": Arm({"data.corruption": {"kind": "captions", "rate": 0.5}})},
    [Question("q", "s", "a", "b", "text→image R@1", every=True)],
    data={"source": "pack:emoji", "columns": {"text": ["name"]}},
)
"""


def test_a_data_section_gets_another_split_for_each_seed(folder) -> None:
    (folder / "section.py").write_text(SECTION)
    with loaded("section", folder) as claim:
        arms = accord.claims.arms.Arms(claim, folder)
        config = arms.config("b", 4)
    assert (config.data.split.seed, config.training.seed) == (4, 4)
    assert config.data.corruption is not None
    assert arms.config("a", 4).data.corruption is None


def test_progress_says_what_was_found_and_how_long_it_will_take(folder, monkeypatch, trainings) -> None:
    said = io.StringIO()
    console: Callable[..., Console] = lambda **_: Console(file=said, width=200)  # noqa: E731
    monkeypatch.setattr(progress, "Console", console)
    run.run_claim("toy", folder)
    lines = said.getvalue().splitlines()
    assert lines[0].startswith("seed 1 of 2  learnt: spread ")
    assert " left)" in lines[0]
    assert " left)" not in lines[-1]
    run.run_claim("toy", folder)
    assert "kept from an earlier run" in said.getvalue()


def test_what_is_frozen_by_default_leaves_the_keys_of_kept_results_alone():
    encoder = {"name": "tiny_vit", "options": {"size": 16}}
    run = RunConfig.parse({"data": {"source": "pictures"}, "encoders": {"image": encoder}})
    assert _told(run)["encoders"] == {"image": {**encoder, "freeze": "none", "weights": None}}
