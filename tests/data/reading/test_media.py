from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from accord.data.reading.media import Unreadable, cell_name, cell_path, read_bytes, read_image
from data.samples import encoded, picture


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_transparent_pixels_take_the_background() -> None:
    image = Image.new("RGBA", (2, 1), (10, 20, 30, 0))
    image.putpixel((1, 0), (10, 20, 30, 255))
    found = read_image(saved(image), None, background=(200, 100, 50))
    assert [found.getpixel((x, 0)) for x in (0, 1)] == [(200, 100, 50), (10, 20, 30)]


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_other_kinds_of_transparency_take_the_background_too(mode: str) -> None:
    image = Image.new("LA", (2, 2), (0, 0)) if mode == "LA" else Image.new("P", (2, 2), 0)
    content = saved(image) if mode == "LA" else saved(image, transparency=0)
    assert read_image(content, None, background=(9, 8, 7)).getpixel((0, 0)) == (9, 8, 7)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK"])
def test_every_common_mode_becomes_rgb(mode: str) -> None:
    content = saved(picture(1).convert(mode), "TIFF")
    assert read_image(content, None).mode == "RGB"


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 32768, 65535]], dtype=np.uint16)
    found = np.asarray(read_image(saved(Image.fromarray(values)), None))
    assert found[0, :, 0].tolist() == [0, 128, 255]


def test_float_pictures_are_taken_as_shares_or_as_levels() -> None:
    shares = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    levels = Image.fromarray(np.array([[0.0, 128.0, 255.0]], dtype=np.float32))
    for image in (shares, levels):
        assert np.asarray(read_image(saved(image, "TIFF"), None))[0, :, 0].tolist() == [0, 128, 255]


def test_a_photograph_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    assert read_image(saved(Image.new("RGB", (30, 10)), "JPEG", exif=exif), None).size == (10, 30)


def test_a_cell_may_be_a_path_bytes_or_both(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(1))
    for cell in ("a.png", encoded(1), {"bytes": encoded(1), "path": "b.png"}, {"bytes": None, "path": "a.png"}):
        assert read_image(cell, tmp_path).size == (12, 10)
    assert cell_path({"bytes": b"x", "path": "b.png"}, tmp_path) is None
    assert cell_name(["frames/1.png", "frames/2.png"]) == "frames/1.png"
    assert cell_name([]) == "bytes in the row"


@pytest.mark.parametrize("cell", [None, "", {"bytes": None, "path": None}])
def test_nothing_is_called_no_value(cell: object) -> None:
    with pytest.raises(Unreadable, match="no value"):
        read_bytes(cell, None)


def test_a_folder_in_the_place_of_a_picture_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="file cannot be opened: Is a directory"):
        read_bytes(".", tmp_path)


def test_a_format_that_would_start_another_program_is_not_a_picture() -> None:
    with pytest.raises(Unreadable, match="not a picture"):
        read_image(saved(picture(1), "EPS"), None)
