"""Rows without a label: used by what needs none, left out by what learns from labels, never counted as a class."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from small import small_run

from accord import pipeline
from accord.data.recipe import DataConfig, prepare, restrict_classes


@pytest.fixture(scope="module")
def half(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shapes, of which every third has no label."""
    folder = tmp_path_factory.mktemp("half") / "half"
    shutil.copytree(shapes, folder)
    with (folder / "metadata.csv").open() as file:
        rows = list(csv.reader(file))
    for number, row in enumerate(rows[1:]):
        row[2] = "" if number % 4 == 0 else row[2]
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def brief(source: Path, method: str) -> dict[str, object]:
    run = small_run(source, method={"name": method})
    return {**run, "training": {**run["training"], "epochs": 2}}


def test_clip_trains_on_them_and_only_labelled_rows_are_scored(half: Path, tmp_path: Path) -> None:
    run = pipeline.train(config=brief(half, "clip"), out=tmp_path / "run", progress=False)
    counts = {metric.name: metric.n for metric in run.metrics}
    test = prepare(DataConfig.parse(brief(half, "clip")["data"]), quiet=True).test
    assert test.unlabelled > 0
    assert counts["knn: top-1"] == counts["zero_shot: top-1"] == len(test) - test.unlabelled
    assert counts["retrieval: image→text R@1"] == len(test)


def test_a_classifier_leaves_them_out_and_says_so(
    half: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = pipeline.train(config=brief(half, "cross_entropy"), out=tmp_path / "run")
    said = capsys.readouterr().err
    assert "48 rows, image=file_name text=caption label=label group=group; 12 rows have no label" in said
    assert "training rows without a label are left out: cross_entropy learns from labels" in said
    assert run.model.method.data.rows == sum(run.model.method.data.label_counts) < 36
    assert "Classes" in (run.path / "report.html").read_text() or run.metrics


def test_a_column_taken_away_by_null_is_not_guessed_again(half: Path, tmp_path: Path) -> None:
    run = brief(half, "clip")
    kept = pipeline.train(config=run, columns={"label": None}, out=tmp_path / "run", progress=False)
    assert kept.model.classes == ()
    assert not [metric.name for metric in kept.metrics if "top-1" in metric.name]
    again = pipeline.evaluate(tmp_path / "run")
    assert {metric.name for metric in again} == {metric.name for metric in kept.metrics}


def test_choosing_classes_gives_none_to_rows_without_a_label(half: Path) -> None:
    whole = prepare(DataConfig.parse({"source": str(half), "split": {"test": 0}}), quiet=True).train
    chosen = restrict_classes(whole, ["red", "green"])
    assert whole.labels is not None
    assert chosen.labels is not None
    np.testing.assert_array_equal(chosen.labels[whole.labels < 0], -1)


@pytest.mark.parametrize(
    ("column", "test", "message"),
    [
        ("constant", 0.2, r"column 'constant' puts all rows into 1 group, and 2 splits share whole groups: name anoth"),
        (None, 0.2, r"1 row cannot be shared among 2 splits: hold out none with --set data.split.test=0$"),
    ],
)
def test_too_few_groups_or_rows_to_split_are_told_with_the_column(
    tmp_path: Path, column: str | None, test: float, message: str
) -> None:
    rows = 1 if column is None else 5
    (tmp_path / "list.csv").write_text("text,constant\n" + "".join(f"words {i},x\n" for i in range(rows)))
    config = {"source": str(tmp_path / "list.csv"), "columns": {"group": column}, "split": {"test": test}}
    with pytest.raises(Exception, match=message):
        prepare(DataConfig.parse(config), quiet=True)
