import io
from functools import partial

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from accord.searching.index import Hit
from accord.searching.show import _fit, _font, contact_sheet, format_hits


def thumbnail(colour, size=(40, 20)):
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, format="WEBP", lossless=True)
    return stream.getvalue()


@pytest.fixture
def hits():
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)] * 3
    return [
        Hit(
            rank,
            1 - rank / 20,
            row=rank * 7,
            captions=(f"caption {rank}", "second"),
            picture=partial(thumbnail, colour),
        )
        for rank, colour in enumerate(colours, start=1)
    ]


def test_the_sheet_shows_every_picture_in_order(hits, tmp_path):
    path = contact_sheet(hits, tmp_path / "new" / "sheet.png", columns=4, title="what was asked")
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert [child.name for child in path.parent.iterdir()] == ["sheet.png"]
    assert sheet.shape[1] == 20 + 4 * (192 + 20)
    for channel in range(3):  # 3 pictures of each pure colour, each 192 x 96
        others = [c for c in range(3) if c != channel]
        pure = (sheet[..., channel] > 230) & (sheet[..., others] < 30).all(axis=-1)
        assert pure.sum() == pytest.approx(3 * 192 * 96, rel=0.03)
    middle = 20 + 36 + 96  # below title and gap
    assert [sheet[middle, 20 + 96 + 212 * column].argmax() for column in range(4)] == [0, 1, 2, 0]


def test_hits_without_pictures_and_no_hits_still_make_a_sheet(tmp_path):
    contact_sheet([Hit(1, 0.5, 0, captions=("only words",))], tmp_path / "one.png")
    contact_sheet([], tmp_path / "none.png", title="nothing found")
    assert Image.open(tmp_path / "one.png").size[0] == 232
    assert Image.open(tmp_path / "none.png").size[0] > 0


def test_a_long_caption_is_broken_and_cut_to_its_width():
    font = _font(13)
    lines = _fit("a very long caption " * 20, font, 192, lines=2)
    assert len(lines) == 2
    assert all(font.getlength(line) <= 192 for line in lines)
    assert lines[1].endswith("…")
    assert _fit("short", font, 192, lines=2) == ["short"]
    assert _fit("x" * 300, font, 100)[0].endswith("…")
    assert _fit("", font, 100) == [""]


def test_the_table_prints_captions_literally_and_leaves_empty_columns_out(hits):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(format_hits([*hits[:1], Hit(2, 0.25, 8, captions=("[bold] is not markup",))], title="q"))
    text = console.export_text()
    assert "[bold] is not markup" in text
    assert "caption 1 · second" in text
    assert "0.950" in text
    assert "file" not in text
    assert "class" not in text
