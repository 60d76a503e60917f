from __future__ import annotations

import pytest

from accord import pipeline
from accord.errors import ConfigError, DataError


def test_a_class_that_is_only_named_is_found(trained, shapes):
    files = [shapes / f"{number:02}.png" for number in range(12)]
    found = pipeline.zero_shot(trained.path, files, ["a red square", "a green square", "a blue square"])
    colours = ["red", "green", "blue"]
    right = sum(item.classes[0][0] == f"a {colours[number % 3]} square" for number, item in enumerate(found))
    assert right >= 8  # 4 by chance
    assert [item.file for item in found] == files
    assert sum(share for _, share in found[0].classes) == pytest.approx(1, abs=1e-5)
    assert found[0].classes[0][1] >= found[0].classes[1][1]


def test_a_folder_stands_for_its_pictures(trained, shapes):
    assert len(pipeline.zero_shot(trained.path, [shapes], ["red", "green"])) == 48


def test_templates_are_filled(trained, shapes, tmp_path):
    (tmp_path / "t.txt").write_text("a {} square\na {} circle\n")
    plain = pipeline.zero_shot(trained.path, [shapes / "00.png"], ["red", "green"])
    filled = pipeline.zero_shot(trained.path, [shapes / "00.png"], ["red", "green"], tmp_path / "t.txt")
    assert plain[0].classes != filled[0].classes


@pytest.mark.parametrize(
    ("items", "classes", "error", "message"),
    [
        (["00.png"], ["red"], ConfigError, "at least two"),
        (["none.png"], ["red", "green"], DataError, "there is no file"),
        (["metadata.csv"], ["red", "green"], ConfigError, "cannot sort files of kind unknown"),
        (["00.png", "metadata.csv"], ["red", "green"], ConfigError, "several kinds"),
    ],
)
def test_wrong_input_is_told(trained, shapes, items, classes, error, message):
    with pytest.raises(error, match=message):
        pipeline.zero_shot(trained.path, [shapes / item for item in items], classes)
