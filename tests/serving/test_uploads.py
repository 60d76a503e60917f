"""Files that visitors send: what is taken, what is made of it, and what cannot do harm."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from accord.data.modalities import get_modality
from accord.data.modalities.base import Reading
from accord.errors import DataError
from accord.serving import ServeConfig, uploads
from accord.serving.uploads import Uploads

RED = Image.new("RGB", (40, 20), (200, 10, 20))


@pytest.fixture
def kept(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path, ServeConfig(decode_seconds=60, max_pixels=4_000_000))


def encoded(image: Image.Image, kind: str = "PNG", **how: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **how)
    return stream.getvalue()


def zeros(side: int) -> bytes:
    """A PNG of zeros, which is small as a file however large it is as a picture."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packed = zlib.compressobj(1)
    block = bytes(100 * (1 + side // 8))
    rows = b"".join([packed.compress(block) for _ in range(side // 100)]) + packed.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/cron.d/x", "..\\..\\x.png", "a\x00b", "", None])
def test_a_name_decides_nothing_but_what_is_shown(kept, tmp_path, name):
    upload = kept.receive(name, encoded(RED))
    _, file = upload.as_one_of(["image"])
    assert file.resolve().is_relative_to(tmp_path)
    assert "/" not in upload.name
    assert upload.name
    assert Image.open(file).convert("RGB").getpixel((5, 5)) == (200, 10, 20)
    assert not (tmp_path / "sent").exists()


def test_what_a_file_is_is_seen_from_its_content_and_what_else_it_holds_is_gone(kept):
    secret = Image.Exif()
    secret[0x010E] = "<script>told()</script>"  # its description
    polyglot = encoded(RED, exif=secret) + b"<script>alert(1)</script>"
    upload = kept.receive("page.html", polyglot)
    assert upload.kind == "image"
    content = upload.files["image"].read_bytes()
    assert b"script" not in content
    assert content[8:12] == b"WEBP"
    for name, wrong in (("cat.png", b"<svg onload='alert(1)'/>"), ("cat.png", b"%!PS-Adobe"), ("cat.png", b"")):
        with pytest.raises(DataError, match="holds none of"):
            kept.receive(name, wrong)


def test_transparent_parts_stay_and_large_pictures_get_smaller(kept):
    clear = kept.receive("clear.png", encoded(Image.new("RGBA", (30, 30), (9, 9, 9, 0))))
    assert Image.open(clear.files["image"]).mode == "RGBA"
    wide = kept.receive("wide.jpg", encoded(Image.new("L", (3000, 500), 90), "JPEG"))
    assert max(Image.open(wide.files["image"]).size) == 2048


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_truncated_picture_is_refused_in_a_sentence(kept, tmp_path, kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8))
    content = encoded(noise, kind)
    with pytest.raises(DataError, match=r"cat\.png cannot be (taken|decoded)"):
        kept.receive("cat.png", content[: len(content) // 2])
    assert not list(tmp_path.iterdir())


def test_bombs_do_not_go_off(kept, tmp_path):
    with pytest.raises(DataError, match=r"decompression bomb|cannot be decoded"):
        kept.receive("zeros.png", zeros(50_000))
    many = [Image.new("L", (64, 64), 200 * number) for number in range(2)]
    frames = encoded(many[0], "GIF", save_all=True, append_images=(many[1], many[0]) * 1000)
    with pytest.raises(DataError, match=r"decompression bomb: 2001 frames"):
        Uploads(tmp_path, ServeConfig(decode_seconds=60, max_pixels=100_000)).receive("frames.gif", frames)
    with pytest.raises(DataError, match=r"too long|damaged"):
        kept.receive("long.flac", _silence(seconds=700))
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    shape = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999, 99999), }".ljust(117) + b"\n"
    with pytest.raises(DataError, match=r"cannot be"):
        kept.receive("large.npy", header + shape)


def _silence(seconds: int) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(seconds * 8000, np.float32), 8000, format="FLAC")
    return stream.getvalue()


def test_decoding_that_takes_too_long_is_ended(tmp_path):
    slow = Uploads(tmp_path, ServeConfig(decode_seconds=0.01))
    with pytest.raises(DataError, match=r"longer than 0\.01 seconds"):
        slow.receive("cat.png", encoded(RED))
    assert not list(tmp_path.iterdir())


def test_no_more_memory_is_taken_than_is_allowed(kept, monkeypatch):
    monkeypatch.setattr(uploads, "_MEMORY", 100 * 2**20)
    with pytest.raises(DataError, match=r"cannot be (taken|decoded)"):
        kept.receive("cat.png", encoded(Image.new("RGB", (2000, 2000))))


def test_recordings_sequences_and_animations_are_what_their_modalities_read(kept):
    stream = io.BytesIO()
    soundfile.write(stream, np.sin(np.arange(16000) / 20).astype(np.float32)[:, None].repeat(2, 1), 16000, format="OGG")
    sound = kept.receive("a.ogg", stream.getvalue())
    wave, rate = get_modality("audio").read(str(sound.files["audio"]), Reading())
    assert (sound.kind, rate, len(wave)) == ("audio", 16000, 16000)
    stream = io.BytesIO()
    np.save(stream, np.ones((5, 3)))
    steps = kept.receive("a.npy", stream.getvalue())
    assert get_modality("sequence").read(str(steps.files["sequence"]), Reading()).values.shape == (5, 3)
    frames = [Image.new("RGB", (64, 48), (number, 250 - number, 0)) for number in range(200)]
    moving = kept.receive("a.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50))
    seen = get_modality("video").read(str(moving.as_one_of(["video"])[1]), Reading())
    assert 40 <= len(seen) <= 65
    assert seen.timeline.seconds[-1] == pytest.approx(10, abs=0.5)
    assert moving.as_one_of(["image", "video"])[0] == "image"
    with pytest.raises(DataError, match=r"a\.npy is a sequence; the model takes a picture"):
        steps.as_one_of(["image", "text"])


def test_a_film_becomes_frames(kept, tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "film.mp4"), "w") as film:
        stream = film.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(100):
            picture = av.VideoFrame.from_image(Image.new("RGB", (64, 48), (2 * number, 0, 90)))
            film.mux(stream.encode(picture))
        film.mux(stream.encode())
    upload = kept.receive("film", (tmp_path / "film.mp4").read_bytes())
    seen = get_modality("video").read(str(upload.files["video"]), Reading())
    assert upload.kind == "video"
    assert seen.timeline.seconds[-1] == pytest.approx(5, abs=0.5)
    assert seen[-1].getpixel((9, 9))[0] > seen[0].getpixel((9, 9))[0] + 100


def test_the_oldest_make_room(kept, monkeypatch, tmp_path):
    monkeypatch.setattr(uploads, "MOST", 2)
    first, second = (kept.receive(name, encoded(RED)) for name in ("1.png", "2.png"))
    kept.get(first.handle)  # used more lately than the second
    third = kept.receive("3.png", encoded(RED))
    assert len(list(tmp_path.iterdir())) == 2
    assert kept.get(first.handle).name == "1.png"
    assert kept.get(third.handle).files["image"].is_file()
    for gone in (second.handle, "guessed", "../../etc/passwd"):
        with pytest.raises(DataError, match="not here any more"):
            kept.get(gone)
