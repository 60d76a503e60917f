"""Rows as a report shows them."""

import csv
import io

import pytest
from PIL import Image

from accord.data.corpus import open_corpus
from accord.evaluation.sections import Example, Item, Retrieval
from accord.pipeline.examples import pictured


@pytest.fixture
def rows(tmp_path):
    """One row with a red picture and a blue clip."""
    Image.new("RGB", (40, 40), "red").save(tmp_path / "still.png")
    (tmp_path / "clip").mkdir()
    for frame in range(2):
        Image.new("RGB", (40, 40), "blue").save(tmp_path / "clip" / f"{frame}.png")
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image", "video", "text"], ["still.png", "clip", "a thing"]])
    return open_corpus(tmp_path, columns={"video": "video"}, quiet=True)


@pytest.mark.parametrize(("of", "colour"), [(("video",), (0, 0, 255)), (("image",), (255, 0, 0)), ((), (255, 0, 0))])
def test_a_row_is_shown_by_what_the_model_looks_at(rows, of, colour):
    section = Retrieval("", (Example(Item(row=0), (Item(row=0),)),), corpus=rows)
    (example,) = pictured(section, of).examples
    for item in (example.query, *example.hits):
        with Image.open(io.BytesIO(item.picture.data)) as shown:
            seen = shown.convert("RGB").getpixel((5, 5))
        assert all(abs(a - b) < 40 for a, b in zip(seen, colour, strict=True))
        assert item.picture.alt == "a thing"
