"""A task of a new kind is one file: it is run, set, refused, reported and completed like those that are there."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from accord import pipeline
from accord.errors import ConfigError
from accord.pipeline.rows import held_out

COLUMNS = {name: name for name in ("moments", "moment_text", "duration")}
ENTRY_POINTS = """
[accord.tasks]
starts = momentlab:STARTS
[accord.methods]
finder = momentlab:Finder
[accord.encoders]
transcript = momentlab:build
"""


@pytest.fixture(scope="module", autouse=True)
def momentlab(tmp_path_factory):
    """The package of tests/pipeline/moments_plugin.py, laid out as an installer does."""
    site = tmp_path_factory.mktemp("site")
    (site / "momentlab.py").write_text((Path(__file__).parent / "moments_plugin.py").read_text())
    info = site / "momentlab-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: momentlab\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        yield
    sys.modules.pop("momentlab", None)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Ten seconds each, three of them loud; of every fourth a third of that is said to be it."""
    rows = []
    for number in range(24):
        start = 1 + number % 6
        words = ["loud" if start <= second < start + 3 else "quiet" for second in range(10)]
        said = [start, start + 3] if number % 4 else [start + 2, start + 3]
        row = {"text": " ".join(words), "moments": [said], "moment_text": ["it is loud"], "duration": 10.0}
        rows.append(json.dumps(row))
    file = tmp_path_factory.mktemp("data") / "recordings.jsonl"
    file.write_text("\n".join(rows))
    return file


@pytest.fixture(scope="module")
def run(recordings, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("found")
        patch.setattr("platformdirs.user_cache_path", lambda *_: folder / "cache")
        return pipeline.train(
            recordings,
            "finder",
            encoders={"text": "transcript"},
            columns=COLUMNS,
            epochs=1,
            batch_size=8,
            device="cpu",
            settings={"data.split.test": 0.5},
            out=folder / "run",
            progress=False,
        )


def test_it_is_measured_after_training_and_shown_in_the_report(run):
    names = [metric.name for metric in run.metrics if metric.name.startswith("starts: ")]
    assert names == ["starts: starts within 3 s", "starts: starts within 2 s", "starts: starts within 1 s"]
    assert run.metrics[0].name == names[0]
    assert run.metrics[0].value == 100
    page = (run.path / "report.html").read_text()
    assert '<section id="starts"' in page
    assert "found, seconds 2" in page


def test_it_is_asked_for_by_name_with_its_options(run):
    exact = pipeline.evaluate(run.path, tasks=["starts"], settings={"starts.within": [2, 0.5]})
    assert [metric.name for metric in exact] == ["starts within 2 s", "starts within 0.5 s"]
    test = held_out(run.model).test
    right = sum(row % 4 != 0 for row in test.ids)
    assert exact[1].value == pytest.approx(100 * right / len(test))


def test_options_can_stand_in_the_configuration_of_a_run(recordings, tmp_path):
    config = {
        "data": {"columns": COLUMNS},
        "encoders": {"text": "transcript"},
        "training": {"epochs": 2, "batch_size": 8, "accelerator": "cpu", "probe_every": 1, "probe": ["starts"]},
        "evaluate": {"starts": {"within": [0.5]}},
    }
    again = pipeline.train(recordings, "finder", config=config, out=tmp_path / "run", progress=False)
    assert [metric.name for metric in again.metrics] == ["starts within 0.5 s"]
    assert "starts within 0.5 s" in (tmp_path / "run" / "train.jsonl").read_text()
    config["evaluate"] = {"starts": {"withn": [0.5]}}
    with pytest.raises(ConfigError, match=r"^evaluate\.starts\.withn is not a setting; did you mean"):
        pipeline.train(recordings, "finder", config=config, out=tmp_path / "wrong", progress=False)


def test_it_says_what_data_it_needs(run, tmp_path):
    bare = tmp_path / "bare.jsonl"
    bare.write_text("\n".join(json.dumps({"text": f"loud quiet {number}"}) for number in range(4)))
    sentence = r"task starts does not fit: it needs rows with moments and moment_text; .* --moments COL"
    with pytest.raises(ConfigError, match=sentence):
        pipeline.evaluate(run.path, bare, tasks=["starts"])


def test_a_model_that_embeds_nothing_says_so_where_vectors_are_needed(run):
    with pytest.raises(ConfigError, match="finder does not embed anything"):
        pipeline.probe(run.path)
    with pytest.raises(ConfigError, match=r"task joint does not fit: .* and the model embeds nothing"):
        pipeline.evaluate(run.path, tasks=["joint"])
