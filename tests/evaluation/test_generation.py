"""Things that were made, in the eyes of another model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from answering import FRAMES, SIDE, Filmer, Generator, measured, model_of, prepared, rows_of, shown
from PIL import Image

from accord.data.corpus import corpus_from_items
from accord.errors import AccordError, ConfigError
from accord.training.artifact import Model
from conftest import COLOURS, ColourModel

NAMES = list(COLOURS)
FAR = "relative Fréchet distance"


@pytest.fixture
def rows(tmp_path):
    """A picture of each colour and its name."""
    said = [{"text": f"a {name} square"} for name in NAMES]
    return prepared(rows_of(tmp_path, said, list(COLOURS.values())))


def plain(colour):
    return (torch.tensor(colour) / 255)[:, None, None].expand(3, SIDE, SIDE)


def copied(row):
    return plain(COLOURS[NAMES[row]])


def averaged(row):
    return plain(np.mean(list(COLOURS.values()), axis=0))


def test_what_is_like_the_rows_is_near_and_one_average_thing_is_as_far_as_they_lie_apart(rows):
    near, far = (measured("generation", model_of(Generator, answer), rows)[FAR] for answer in (copied, averaged))
    assert near.value == pytest.approx(0, abs=0.1)
    assert far.value == pytest.approx(100, abs=1)  # pictures are rounded to 255 steps
    assert near.chance == 100
    moved = measured("generation", model_of(Generator, lambda row: copied(row) * 0.5), rows)[FAR]
    assert near.value < moved.value < far.value


def test_training_rows_give_the_distance_that_real_things_have(rows):
    other = prepared(rows.test, rows.test.select([0, 1, 2, 0, 1, 2, 0, 1]))
    metrics = measured("generation", model_of(Generator, copied), other)
    assert metrics[FAR].value < metrics[f"{FAR} (training rows)"].value
    assert metrics[f"{FAR} (training rows)"].n == len(rows.test)


def test_a_named_model_judges_pictures_and_how_they_fit_their_texts(rows, monkeypatch):
    asked = []
    monkeypatch.setattr(Model, "beside", lambda self, name: asked.append(name) or ColourModel())
    right = measured("generation", model_of(Generator, copied), rows, encoder="clip:elsewhere")
    wrong = measured(
        "generation", model_of(Generator, lambda row: copied((row + 1) % 6)), rows, encoder="clip:elsewhere"
    )
    assert asked == ["clip:elsewhere"] * 2
    assert right[FAR].value == pytest.approx(wrong[FAR].value, abs=0.1)  # the same pictures
    fit = right["text agreement"]
    assert fit.value == pytest.approx(100, abs=1)
    assert fit.value == pytest.approx(right["text agreement (held-out rows)"].value)
    assert fit.chance < 0 < fit.low
    assert wrong["text agreement"].value < fit.value
    assert fit.unit == ""


def test_a_judge_that_embeds_no_pictures_is_refused(rows, monkeypatch):
    deaf = ColourModel()
    deaf.modalities = ("text",)
    monkeypatch.setattr(Model, "beside", lambda self, name: deaf)
    with pytest.raises(ConfigError, match=r"^generation.encoder = 'x' embeds text: name one that embeds image$"):
        measured("generation", model_of(Generator, copied), rows, encoder="x")


def test_a_judge_that_is_not_there_is_named(rows):
    with pytest.raises(AccordError, match="runs/nowhere"):
        measured("generation", model_of(Generator, copied), rows, encoder="runs/nowhere")


def test_frames_of_clips_are_compared_with_frames_and_with_the_next(tmp_path):
    said = []
    for number, name in enumerate(NAMES):
        folder = tmp_path / f"clip {number}"
        folder.mkdir()
        for frame in range(2 * FRAMES):
            Image.new("RGB", (SIDE, SIDE), COLOURS[name]).save(folder / f"{frame}.png")
        said.append({"video": folder.name})
    rows = prepared(rows_of(tmp_path, said))
    steady = measured("generation", model_of(Filmer, lambda row: copied(row).expand(FRAMES, 3, SIDE, SIDE)), rows)
    assert steady[FAR].value == pytest.approx(0, abs=0.1)
    assert steady["frame agreement"].value == pytest.approx(100)
    assert steady["frame agreement (held-out rows)"].value == pytest.approx(100)
    jumping = model_of(Filmer, lambda row: torch.stack([copied(row), copied((row + 1) % 6)]))
    assert measured("generation", jumping, rows)["frame agreement"].value < 90


def test_one_picture_has_no_spread_to_compare(rows):
    one = prepared(rows.test.select([0]))
    assert np.isnan(measured("generation", model_of(Generator, copied), one)[FAR].value)


def test_the_report_shows_what_was_made_beside_its_row(rows):
    (made,) = shown("generation", model_of(Generator, copied), rows)
    assert [example.query.row for example in made.examples] == list(range(6))
    assert all(example.hits[0].picture.data for example in made.examples)
    assert made.corpus is not None


def test_rows_have_to_hold_what_the_method_makes():
    texts = prepared(corpus_from_items("image", [b"x"]))
    with pytest.raises(ConfigError, match=r"needs rows with what the method looks at; .* --video COL"):
        measured("generation", model_of(Filmer, copied), texts)
