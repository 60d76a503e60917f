"""Films: frames that are sought are those that decoding gives, few others are decoded, damage is said where it is."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from accord.data.corpus import open_corpus
from accord.data.reading import films
from accord.data.reading.films import read_film
from accord.data.reading.media import Unreadable
from accord.data.reading.video import read_video

av = pytest.importorskip("av")

FORMS: dict[str, tuple[str, str, dict[str, str]]] = {
    "h264 with frames that look ahead": ("mp4", "libx264", {"g": "12", "bf": "3"}),
    "h264 whose groups overlap": ("mkv", "libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
    "h264 of one group": ("mp4", "libx264", {"g": "250"}),
    "h264 of keys alone": ("mp4", "libx264", {"g": "1"}),
    "mpeg4": ("mp4", "mpeg4", {"g": "10", "bf": "2"}),
    "vp9": ("webm", "libvpx-vp9", {"g": "15", "cpu-used": "8"}),
    "vp8 with hidden frames": ("webm", "libvpx", {"g": "15", "auto-alt-ref": "1", "lag-in-frames": "10"}),
    "avi, without times": ("avi", "mpeg4", {"g": "10", "bf": "2"}),
}
WANTED = ([0], [59], [3, 4, 31], [11, 12, 13], [7, 22, 37, 52], list(range(60)))


def film(form: str = "h264 with frames that look ahead", count: int = 60, rate: int = 10) -> bytes:
    kind, codec, options = FORMS[form]
    stream, random = io.BytesIO(), np.random.default_rng(0)
    still = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with av.open(stream, "w", format="matroska" if kind == "mkv" else kind) as container:
        track = container.add_stream(codec, rate=rate, options=options)
        track.width, track.height, track.pix_fmt = 64, 64, "yuv420p"
        for number in range(count):
            array = np.roll(still, 2 * number, axis=1)
            array[:8] = 4 * number % 256  # the number of a frame can be seen
            container.mux(track.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(track.encode())
    return stream.getvalue()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of every film opened, how many frames were decoded."""
    counts: list[int] = []
    opened = av.open

    def counted(frames: Any) -> Any:
        for frame in frames:
            counts[-1] += 1
            yield frame

    class Wrapped:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __enter__(self) -> Wrapped:
            return self

        def __exit__(self, *_: Any) -> None:
            self.inner.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def demux(self, *streams: Any) -> Any:
            return map(Wrapped, self.inner.demux(*streams))

        def decode(self, *streams: Any) -> Any:
            return counted(self.inner.decode(*streams))

    def watched(*args: Any, **options: Any) -> Any:
        if len(args) > 1:  # to write
            return opened(*args, **options)
        counts.append(0)
        return Wrapped(opened(*args))

    monkeypatch.setattr(av, "open", watched)
    return counts


@pytest.mark.parametrize("form", FORMS)
def test_frames_that_are_sought_are_those_that_decoding_from_the_start_gives(form: str) -> None:
    content = film(form)
    for wanted in WANTED:
        sought = read_film(content, lambda _, wanted=wanted: wanted, 1.0)
        all_ = read_film(content, lambda _, wanted=wanted: wanted, 1.0, whole=True)
        assert sought.timeline == all_.timeline
        assert len(sought) == len(all_) >= len(wanted) - 1
        for one, other in zip(sought, all_, strict=True):
            assert (np.asarray(one) == np.asarray(other)).all()
        numbers = [round(float(np.asarray(frame)[:6].mean()) / 4) for frame in sought]
        assert numbers == pytest.approx(list(sought.timeline.positions), abs=2)


@pytest.mark.parametrize(
    ("form", "most"), [("h264 with frames that look ahead", 30), ("h264 of keys alone", 3), ("vp9", 40), ("mpeg4", 26)]
)
def test_few_frames_are_decoded_beside_those_wanted(form: str, most: int, decoded: list[int]) -> None:
    content = film(form, count=240)
    read_film(content, lambda _: [50, 150, 235], 1.0)
    assert decoded == [pytest.approx(3 + most / 2, abs=most / 2)]
    read_film(content, lambda _: [50, 150, 235], 1.0, whole=True)
    assert decoded[1] >= 235


def test_all_frames_are_decoded_once(decoded: list[int]) -> None:
    assert len(read_film(film(), lambda total: list(range(total)), 1.0)) == 60
    assert decoded == [60]


def test_where_seeking_lands_elsewhere_the_film_is_decoded_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    content = film()
    expected = read_film(content, lambda _: [20, 40], 1.0)
    monkeypatch.setattr(films, "_runs", lambda wanted, index: [(index.keys[-1], wanted[-1])])
    found = read_film(content, lambda _: [20, 40], 1.0)
    assert found.timeline == expected.timeline
    assert all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(found, expected, strict=True))


def test_a_film_with_a_hole_is_refused_as_a_whole_and_read_elsewhere(tmp_path: Path) -> None:
    content = bytearray(film("mpeg4"))
    middle = len(content) // 2
    content[middle : middle + 3000] = b"\0" * 3000
    (tmp_path / "good.mp4").write_bytes(film("mpeg4"))
    (tmp_path / "hole.mp4").write_bytes(bytes(content))
    corpus = open_corpus(tmp_path, max_bad=0.5, quiet=True)
    (bad,) = corpus.left_out
    assert (bad.row, bad.file) == (1, "hole.mp4")
    frame, second = _where(bad.reason)
    assert 10 <= frame <= 35
    assert second == pytest.approx((frame - 1) / 10, abs=0.11)
    assert len(read_film(bytes(content), lambda _: [2, 5], 1.0)) == 2, "what lies before it can be read"
    with pytest.raises(Unreadable, match=r"breaks off after frame \d+ of 60 \(\d\.\d s\)"):
        read_film(bytes(content), lambda _: [2, int(frame) + 1], 1.0)


def _where(reason: str) -> tuple[int, float]:
    """Frame and second of a reason."""
    words = reason.split()
    return int(words[words.index("frame") + 1]), float(words[words.index("s):") - 1].strip("("))


@pytest.mark.parametrize("kind", ["gif", "webp", "webm", "mkv", "mp4", "avi", "frames"])
def test_every_kind_of_clip_opens_in_a_corpus_with_its_frames(tmp_path: Path, kind: str) -> None:
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250), (250, 0, 250)]
    pictures = [Image.new("RGB", (32, 32), colour) for colour in colours]
    place = tmp_path / ("clip" if kind == "frames" else f"clip.{kind}")
    if kind == "frames":
        place.mkdir()
        for number, picture in enumerate(pictures):
            picture.save(place / f"{number}.png")
    elif kind in ("gif", "webp"):
        pictures[0].save(place, save_all=True, append_images=pictures[1:], duration=100, lossless=True)
    else:
        codec = {"webm": "libvpx-vp9", "mkv": "libx264", "mp4": "libx264", "avi": "mpeg4"}[kind]
        with av.open(str(place), "w") as container:
            track = container.add_stream(codec, rate=10)
            track.width, track.height, track.pix_fmt = 32, 32, "yuv420p"
            for picture in pictures:
                container.mux(track.encode(av.VideoFrame.from_image(picture)))
            container.mux(track.encode())
    (tmp_path / "rows.csv").write_text(f"video,text\n{place.name},colours\n")
    corpus = open_corpus(tmp_path / "rows.csv", quiet=True)
    assert corpus.columns.video == "video"
    clip = corpus.sample(0)["video"]
    seen = [np.abs(np.array(colours) - frame.getpixel((16, 16))).sum(axis=1).argmin() for frame in clip]
    assert seen == list(range(6))
    assert clip.timeline.seconds == pytest.approx([n if kind == "frames" else n / 10 for n in range(6)])


def test_a_broken_frame_of_a_folder_or_an_animation_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(5):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(folder / f"{number}.png")
    (folder / "3.png").write_bytes(b"x")
    with pytest.raises(Unreadable, match=r"not a picture.* \(frame 4 of 5\)"):
        read_video("folder", tmp_path)
    stream, noise = io.BytesIO(), np.random.default_rng(0)
    pictures = [Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(5)]
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:], duration=200)
    with pytest.raises(Unreadable, match=r"\(frame 5 of 5, 0\.8 s\)"):
        read_video(stream.getvalue()[:-300], None)
