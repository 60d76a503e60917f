"""Tasks are found by their files, and everything that is said of them comes from their declarations."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from accord.data.corpus import corpus_from_items
from accord.data.recipe import Prepared
from accord.data.splits import Splits
from accord.errors import ConfigError
from accord.evaluation import tasks
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Labels, Reference, Rows, Shared, main_modality
from accord.evaluation.task import Options, Task
from accord.evaluation.tasks import fitting_tasks, get_task, get_tasks, parse_options, task_names
from accord.methods.abilities import Captions, Classifies
from accord.pipeline.run import by_task
from accord.pipeline.score import EVERY, score


def model_of(*modalities, can=(), classes=()):
    subjects = modalities[:1]
    method = SimpleNamespace(name="toy", subjects=subjects, subjects_of=lambda _: subjects, encoders={})
    return SimpleNamespace(method=method, modalities=modalities, classes=classes, can=lambda ability: ability in can)


def prepared(test, train=None):
    nothing = test.select([])
    return Prepared(nothing if train is None else train, test, nothing, Splits({}))


@pytest.fixture
def labelled():
    return corpus_from_items("image", [b"x"] * 4).with_labels(np.array([0, 1, 1, 0]), classes=("cat", "dog"))


@pytest.fixture
def added(tmp_path, monkeypatch):
    """Put a file among those of the tasks; returns nothing else."""
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])

    def add(name, code):
        (tmp_path / f"{name}.py").write_text(code)

    yield add
    for name in [name for name in sys.modules if name.startswith("accord.evaluation.tasks.")]:
        if str(tmp_path) in (sys.modules[name].__file__ or ""):
            del sys.modules[name]


COUNT = '''
from pydantic import Field

from accord.evaluation.metric import Metric
from accord.evaluation.needs import Rows
from accord.evaluation.task import Options, Task


class CountOptions(Options):
    """Options of the task."""

    times: int = Field(1, ge=1, description="how often each row is counted")


def run(model, prepared, options):
    return [Metric("rows", float(options.times * len(prepared.test)), None, None, None, len(prepared.test), "")]


TASK = Task("count", measures="how many rows there are", needs=(Rows("image"),), order=5, options=CountOptions, run=run)
'''


def test_a_file_among_the_tasks_is_a_task_with_all_that_belongs_to_it(added, labelled):
    added("count", COUNT)
    assert "count" in task_names()
    rows, model = prepared(labelled), model_of("image")
    assert fitting_tasks(model, rows) == ["count"]
    assert score(model, rows, {"count": {"times": 3}}) == [Metric("rows", 12.0, None, None, None, 4, "")]
    with pytest.raises(ConfigError, match=r"^count\.times = 0: input should be greater than or equal to 1$"):
        score(model, rows, options={"count": {"times": 0}})
    texts = prepared(corpus_from_items("text", ["a", "b"]))
    with pytest.raises(ConfigError, match=r"task count does not fit: it needs rows with image; .* has text"):
        score(model, texts, ["count"])


@pytest.mark.parametrize("name", task_names())
def test_every_task_declares_what_it_measures_needs_and_takes(name):
    task = get_task(name)
    assert task.name == name
    assert task.measures
    assert task.needs
    assert all(need.words for need in (*task.needs, *task.usual))
    assert all(field.description for field in task.options.model_fields.values())
    assert task.options.parse({}) == task.options()  # everything has a default


def test_names_are_there_before_anything_heavy_is_imported():
    code = (
        "import sys; from accord.evaluation.tasks import task_names; "
        "print(len(task_names()), 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(task_names())), "False", "False"]


def test_tasks_are_run_in_their_order_unless_named(labelled):
    orders = [task.order for task in get_tasks() if task.order is not None]
    assert len(set(orders)) == len(orders)
    train = labelled.select([0, 1])
    assert fitting_tasks(model_of("image"), prepared(labelled, train)) == ["knn"]
    assert fitting_tasks(model_of("image", "text"), prepared(labelled, train)) == ["zero_shot", "knn"]
    own = model_of("image", can=[Classifies], classes=("dog", "cat"))
    assert fitting_tasks(own, prepared(labelled, train)) == ["classification"]
    other = model_of("image", can=[Classifies], classes=("dog", "emu"))
    assert fitting_tasks(other, prepared(labelled, train)) == []


@pytest.mark.parametrize(
    ("task", "model", "sentence"),
    [
        (
            "classification",
            model_of("image"),
            r"needs a method that can classify by itself; toy cannot; methods that can",
        ),
        (
            "captions",
            model_of("image", can=[Captions]),
            r"needs rows with text; .* has image; name the column with --text",
        ),
        (
            "joint",
            model_of("image", "text"),
            r"needs 3 modalities that the rows have and the model embeds; .* has image and",
        ),
        ("zero_shot", model_of("image"), r"needs a model that embeds text; the model embeds image"),
        ("linear_probe", model_of("image"), r"needs training rows with label; there are no training rows"),
        ("segmentation", model_of("image"), r"needs rows with image and mask; .* name the column with --mask COL"),
        ("correspondence", model_of("image"), r"needs an image encoder that gives a map of its cells; method toy: "),
    ],
)
def test_what_does_not_fit_says_what_is_needed_what_there_is_and_what_to_do(labelled, task, model, sentence):
    with pytest.raises(ConfigError, match=f"task {task} does not fit: it {sentence}"):
        score(model, prepared(labelled), [task])


def test_labels_have_to_be_there_and_of_two_classes(labelled):
    bare = corpus_from_items("image", [b"x"])
    assert Labels().lack(None, prepared(bare)).endswith("has none; name their column with --label COL")
    assert Labels().lack(None, prepared(labelled)) is None
    nobody = labelled.with_labels(np.full(4, -1))
    assert "0 rows with one" in Labels().lack(None, prepared(nobody))
    assert Reference("label").lack(None, prepared(labelled, nobody)).endswith("no training row with a label")


def test_rows_are_looked_at_by_what_both_they_and_the_model_have():
    texts = corpus_from_items("text", ["a"])
    model = model_of("image", "text")
    assert main_modality(model, corpus_from_items("image", [b"x"])) == "image"
    assert main_modality(model, texts) == "text"
    assert Shared().lack(model, prepared(texts)) is None
    assert "the model embeds image, text" in Shared(besides="text").lack(model, prepared(texts))
    assert Rows("text").lack(model, prepared(texts)) is None


def test_options_are_set_by_dotted_name_and_refused_by_it(labelled):
    assert parse_options("few_labels", by_task({"few_labels.per_class": [5]})["few_labels"]).per_class == (5,)
    with pytest.raises(ConfigError, match=r"^knn\.votes = 'none': input should be 'weighted' or 'majority'$"):
        parse_options("knn", {"votes": "none"})
    with pytest.raises(ConfigError, match=r"template 'stamp': expected \{\}"):
        parse_options("zero_shot", {"templates": "stamp"})
    with pytest.raises(ConfigError, match=r"^k is no option of a task: write TASK\.OPTION"):
        by_task({"k": 5})
    with pytest.raises(ConfigError, match=r"^no task 'kn'; did you mean knn"):
        score(model_of("image"), prepared(labelled), options={"kn": {"k": 3}})


def test_options_of_a_task_that_is_not_run_are_not_silently_dropped(labelled):
    rows = prepared(labelled, labelled)
    with pytest.raises(ConfigError, match=r"clustering is not run, so its options say nothing: .* --task clustering"):
        score(model_of("image"), rows, options={"clustering": {"runs": 2}})
    with pytest.raises(ConfigError, match="task captions does not fit"):
        score(model_of("image"), rows, options={"captions": {"decoding": {"method": "beam"}}})


def test_an_option_for_all_goes_to_those_that_have_it_and_gives_way_to_their_own(labelled):
    seen = {}

    class Wide(Options):
        k: int = 1

    def run(name):
        return lambda model, prepared, options: seen.setdefault(name, options) and []

    one, other = Task("one", options=Wide, run=run("one")), Task("other", run=run("other"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("accord.pipeline.score.get_task", {"one": one, "other": other}.get)
        patch.setattr("accord.evaluation.tasks.get_task", {"one": one, "other": other}.get)
        score(model_of("image"), prepared(labelled), ["one", "other"], {EVERY: {"k": 7}})
        assert seen == {"one": Wide(k=7), "other": Options()}
        seen.clear()
        score(model_of("image"), prepared(labelled), {"one": {"k": 9}}, {EVERY: {"k": 7}})
        assert seen == {"one": Wide(k=9)}


def test_a_task_of_before_its_needs_were_declared_still_fits_by_its_own_word(labelled):
    old = Task("old", fits=lambda model, prepared: "image" in model.modalities, run=lambda *_: [])
    assert old.is_usual(model_of("image"), prepared(labelled))
    assert not replace(old, fits=lambda model, prepared: False).is_usual(model_of("image"), prepared(labelled))


def test_the_documentation_tells_of_every_task_and_every_option():
    pytest.importorskip("mkdocs")
    root = Path(__file__).parents[2]
    page = (root / "docs" / "evaluation.md").read_text(encoding="utf-8")
    spec = spec_from_file_location("hooks_of_the_docs", root / "docs" / "hooks.py")
    hooks = module_from_spec(spec)
    spec.loader.exec_module(hooks)
    assert all(f"<!-- made from: {name} -->" in page for name in ("tasks", "task options"))
    listed, options = hooks.make("tasks"), hooks.make("task options")
    for task in get_tasks():
        assert f"| `{task.name}` | {task.measures} |" in listed
        assert all(f"`{task.name}.{option}`" in options for option in task.options.model_fields)
