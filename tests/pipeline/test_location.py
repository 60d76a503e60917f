"""A run finds its data from any folder, and says what to do when they have moved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from small import small_run

from accord import pipeline
from accord.data.recipe import DataConfig
from accord.errors import DataError


@pytest.fixture
def moved(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on ``pictures`` by a relative path, seen from another folder."""
    shutil.copytree(shapes, tmp_path / "pictures")
    monkeypatch.chdir(tmp_path)
    run = small_run(Path("pictures"))
    pipeline.train(config={**run, "training": {**run["training"], "epochs": 2}}, out="run", progress=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "run"


def test_search_evaluation_and_resuming_work_from_another_folder(moved: Path) -> None:
    assert yaml.safe_load((moved / "config.yaml").read_text())["data"]["location"] == str(moved.parent / "pictures")
    assert len(pipeline.search(moved, "a red circle", k=3)) == 3
    before = (moved / "metrics.json").read_bytes()
    assert pipeline.evaluate(moved)
    pipeline.train(out=moved, resume=True, progress=False)
    assert (moved / "metrics.json").read_bytes() == before


def test_data_that_moved_are_asked_for_by_name(moved: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").rename(tmp_path / "photos")
    with pytest.raises(DataError, match=r"no longer at .*/pictures: give their new place with --data \(search, expl"):
        pipeline.search(moved, "a red circle")
    assert len(pipeline.search(moved, "a red circle", data=tmp_path / "photos", k=3)) == 3
    config = yaml.safe_load((moved / "config.yaml").read_text())
    config["data"]["source"] = str(tmp_path / "photos")
    (moved / "config.yaml").write_text(yaml.safe_dump(config))
    assert pipeline.evaluate(moved)


def test_data_that_moved_with_the_run_are_found(moved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pictures").rename(tmp_path / "elsewhere" / "pictures")
    assert len(pipeline.search(moved, "a red circle", k=3)) == 3


def test_a_source_that_is_named_anew_is_not_that_of_the_location(tmp_path: Path, shapes: Path) -> None:
    (tmp_path / "old").mkdir()
    config = DataConfig(source="new", location=str(tmp_path / "old"))
    assert config.place == "new"
    assert config.located().location is None
    assert DataConfig(source="pack:emoji").located().location is None


def test_data_that_are_gone_are_asked_for_in_the_folder_of_the_training_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"the data of this run are no longer at .*/gone: give their new place"):
        _ = DataConfig(source="gone", location=str(tmp_path / "gone")).place


def test_a_run_from_before_locations_were_kept_reads_its_source() -> None:
    assert DataConfig.parse({"source": "pictures"}).place == "pictures"
