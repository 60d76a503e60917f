"""Without a method's name one that fits is trained; a named one that does not fit is refused with those that do."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from accord import pipeline
from accord.data.columns import Columns
from accord.data.corpus import Corpus
from accord.errors import ConfigError, DataError
from accord.methods import Method, available, get_method
from accord.pipeline.choose import fitting_method, parse_run

TINY = {"image": {"name": "tiny_convnet", "options": {"size": 32}}}
OF_PICTURES = [  # what is trained on pictures and their labels
    name
    for name, kind in ((name, get_method(name)) for name in available())
    if kind.reads(kind.Config.parse({})) == ("image",) and not kind.targets and kind.loss is not Method.loss
]
BRIEF = {"training": {"epochs": 1, "batch_size": 12, "accelerator": "cpu"}}


def corpus(*modalities: str, classes: int = 0, **further: str) -> Corpus:
    """Ten rows that have these modalities, labels of so many classes, and further columns."""
    table = {name: ["a"] * 10 for name in (*modalities, *further)}
    columns = {name: name for name in modalities} | {"text": ("text",) if "text" in modalities else ()}
    columns |= {"graph": ("graph",) if "graph" in modalities else ()}
    labels = np.arange(10) % classes if classes else None
    names = tuple(str(number) for number in range(classes))
    return Corpus("rows", datasets.Dataset.from_dict(table), Columns.parse(columns), np.arange(10), names, labels)


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        (corpus("image", "text", classes=3), {"name": "clip"}),
        (corpus("image", classes=3), {"name": "cross_entropy"}),
        (corpus("image", classes=1), {"name": "multiview_infonce"}),
        (corpus("image", classes=10), {"name": "multiview_infonce"}),  # a class per row
        (corpus("image"), {"name": "multiview_infonce"}),
        (corpus("text", "graph"), {"name": "meow"}),
        (corpus("text"), {"name": "simcse"}),
        (corpus("text", classes=3), {"name": "supcon_text"}),
        (
            corpus("video", "text"),
            {"name": "multiview_infonce", "modalities": ["video", "text"], "temperature": 0.07},
        ),
    ],
)
def test_what_a_row_has_decides(rows: Corpus, chosen: dict[str, Any]) -> None:
    assert fitting_method(rows)[0] == chosen


def test_the_choice_is_said_with_what_else_would_fit() -> None:
    assert fitting_method(corpus("image", "text"))[1] == ""
    said = fitting_method(corpus("image", classes=2, name="x"))[1]
    others = ", ".join(name for name in OF_PICTURES if name != "cross_entropy")
    assert said == (
        "rows has image and labels of 2 classes (not used so far: name): the method is cross_entropy, a classifier of "
        f"its labels; others that fit: {others} (--method NAME)"
    )


def test_what_no_method_learns_from_is_refused() -> None:
    with pytest.raises(DataError, match="rows has audio and labels of 2 classes, and no method learns from that alone"):
        fitting_method(corpus("audio", classes=2))


@pytest.fixture
def classes(shapes: Path, tmp_path: Path) -> Path:
    """The shapes in a sub-folder per colour, without words."""
    with (shapes / "metadata.csv").open() as file:
        for row in csv.DictReader(file):
            (tmp_path / "sorted" / row["label"]).mkdir(parents=True, exist_ok=True)
            shutil.copy(shapes / row["file_name"], tmp_path / "sorted" / row["label"])
    return tmp_path / "sorted"


def test_class_folders_train_a_classifier(classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = pipeline.train(classes, config=BRIEF, encoders=TINY, out=tmp_path / "run")
    assert run.model.method.name == "cross_entropy"
    assert "top-1" in {metric.name for metric in run.metrics}
    assert "sorted has image and labels of 3 classes: the method is cross_entropy" in capsys.readouterr().err


def test_a_named_method_that_lacks_something_is_refused_before_anything_is_read_or_written(
    classes: Path, tmp_path: Path
) -> None:
    (classes / "red" / "broken.png").write_bytes(b"")
    with pytest.raises(
        ConfigError,
        match=r"^method clip needs text, and sorted has image and labels of 3 classes: choose one that fits them with "
        rf"--method \({', '.join(OF_PICTURES)}\)$",
    ):
        pipeline.train(classes, "clip", config=BRIEF, encoders=TINY, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_column_that_may_be_meant_is_named(shapes: Path, tmp_path: Path) -> None:
    values = {"data": {"source": str(shapes), "columns": {"label": None, "text": None}}, "method": "cross_entropy"}
    with pytest.raises(
        ConfigError,
        match=r"needs labels of at least 2 classes, and shapes\d* has image: .*or name the column with --label COL "
        r"\(not used so far: caption, label\)$",
    ):
        parse_run(values)


def test_settings_of_the_method_go_to_the_one_chosen(shapes: Path) -> None:
    assert parse_run({"data": {"source": str(shapes)}, "method": {"dim": 16}}).method == {"name": "clip", "dim": 16}
