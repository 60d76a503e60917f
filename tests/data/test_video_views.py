"""Clips as pictures' equals: frames drawn, one crop for all of them, views, times, and what a broken film is called."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from accord.data.augmenting.views import View
from accord.data.corpus import Corpus, corpus_from_items, open_corpus
from accord.data.draws import Draws
from accord.data.inputs import ImageInput, VideoInput
from accord.data.loading.loader import eval_loader, train_loader
from accord.data.reading.frames import chosen_frames, sample_frames
from accord.data.reading.video import read_video
from data.samples import picture

RAW = ImageInput(size=16, mean=(0, 0, 0), std=(1, 1, 1))


def folder_of_frames(folder: Path, count: int, **options: Any) -> Path:
    """A clip whose frame i is the noise picture i, or with ``still`` always the same."""
    folder.mkdir(parents=True)
    for number in range(count):
        picture(0 if options.get("still") else number, size=options.get("size", (40, 30))).save(
            folder / f"{number:03d}.png"
        )
    return folder


@pytest.fixture
def clips(tmp_path: Path) -> Corpus:
    return corpus_from_items("video", [folder_of_frames(tmp_path / str(n), 24) for n in range(4)])


@pytest.fixture
def still(tmp_path: Path) -> Corpus:
    """Clips in which nothing moves: what differs between frames was done to them."""
    return corpus_from_items("video", [folder_of_frames(tmp_path / str(n), 6, still=True) for n in range(4)])


def film(count: int = 60, kind: str = "mp4", **options: str) -> bytes:
    av = pytest.importorskip("av")
    stream, noise = io.BytesIO(), np.random.default_rng(0)
    stream.name = f"film.{kind}"
    with av.open(stream, "w", format="matroska" if kind == "mkv" else kind) as container:
        track = container.add_stream("mpeg4", rate=10)
        track.width, track.height, track.pix_fmt = 64, 64, "yuv420p"
        for _ in range(count):
            frame = av.VideoFrame.from_ndarray(noise.integers(0, 256, (64, 64, 3), dtype=np.uint8), format="rgb24")
            container.mux(track.encode(frame))
        container.mux(track.encode())
    return stream.getvalue()


@pytest.mark.parametrize(("total", "wanted"), [(24, 8), (25, 8), (9, 9), (100, 3)])
def test_a_frame_is_drawn_of_each_segment_and_the_middle_one_taken_in_evaluation(total: int, wanted: int) -> None:
    bounds = np.arange(wanted + 1) * total / wanted
    spec, seen = VideoInput(frames=wanted), set()
    for row in range(50):
        drawn = np.array(chosen_frames(total, spec, Draws(seed=1, row=row, training=True)))
        assert (np.floor(bounds[:-1]) <= drawn).all()
        assert (drawn < bounds[1:]).all()
        seen.add(tuple(drawn))
    assert len(seen) > 1 or total == wanted
    assert chosen_frames(total, spec, Draws()) == sample_frames(total, wanted, "middle")[0].tolist()


def test_frames_depend_on_seed_epoch_and_row_alone() -> None:
    def drawn(seed: int, epoch: int, row: int) -> list[int]:
        return chosen_frames(100, VideoInput(frames=8), Draws(seed, epoch, row, training=True))

    assert drawn(0, 1, 2) == drawn(0, 1, 2)
    assert len({tuple(drawn(*keys)) for keys in ((0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3))}) == 4


@pytest.mark.parametrize("training", [True, False])
def test_a_dense_run_has_its_stride_and_lies_inside_the_clip(training: bool) -> None:
    spec = VideoInput(frames=4, sampling="dense", stride=3)
    runs = [chosen_frames(30, spec, Draws(row=row, training=training)) for row in range(200)]
    assert all(np.diff(run).tolist() == [3, 3, 3] for run in runs)
    starts = {run[0] for run in runs}
    assert starts == (set(range(21)) if training else {10})
    assert chosen_frames(4, spec, Draws()) == [0, 1, 2, 3]
    assert chosen_frames(8, spec, Draws()) == [0, 3, 6] or chosen_frames(8, spec, Draws())[-1] < 8


def test_clips_of_a_multiview_test_see_different_frames_of_every_segment() -> None:
    views = sample_frames(40, 5, "multiview", clips=4)
    assert views.tolist() == [[1 + v * 2 + 8 * t for t in range(5)] for v in range(4)]
    again = [sample_frames(40, 5, clips=2, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*again)
    assert sample_frames(2, 4, "middle").tolist() == [[0, 0, 1, 1]]


def test_all_frames_of_a_clip_are_cut_flipped_and_coloured_alike(still: Corpus) -> None:
    view = View(scale=(0.2, 0.5), jitter=(0.4, 0.4, 0.4, 0.1), gray=0.3, blur=0.5, lighting=0.1, rand_augment=(1, 0.5))
    batch = next(iter(train_loader(still, {"video": VideoInput(RAW, frames=4)}, (view,), batch_size=4, seed=0)))
    assert (batch["video"] == batch["video"][:, :1]).all()
    assert not (batch["video"][0] == batch["video"][1]).all(), "each clip has its own"
    assert batch["view_boxes"].shape == (4, 1, 4)
    assert batch["view_flips"].shape == (4, 1)


def test_several_views_of_clips_come_as_those_of_pictures_do(clips: Corpus) -> None:
    views = (View(count=2), View(size=8))
    batch = next(iter(train_loader(clips, {"video": VideoInput(RAW, frames=3)}, views, batch_size=4, seed=0)))
    assert [tuple(view.shape) for view in batch["video_views"]] == [(4, 3, 3, 16, 16)] * 2 + [(4, 3, 3, 8, 8)]
    assert torch.equal(batch["video"], batch["video_views"][0])
    assert batch["view_boxes"].shape == (4, 3, 4)


def test_a_clip_of_one_frame_is_cut_as_the_picture_is(tmp_path: Path) -> None:
    folder = folder_of_frames(tmp_path / "one", 1)
    views = (View(scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), lighting=0.1), View(overlap=0.5))
    pictures = corpus_from_items("image", [folder / "000.png"])
    clips = corpus_from_items("video", [folder])
    of_picture = next(iter(train_loader(pictures, {"image": RAW}, views, batch_size=1, seed=0)))
    of_clip = next(iter(train_loader(clips, {"video": VideoInput(RAW, frames=1)}, views, batch_size=1, seed=0)))
    assert torch.equal(of_clip["view_boxes"], of_picture["view_boxes"])
    for one, other in zip(of_clip["video_views"], of_picture["image_views"], strict=True):
        torch.testing.assert_close(one[:, 0], other)


def test_times_say_when_frames_are_shown(tmp_path: Path) -> None:
    stream = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), (60 * n, 0, 0)) for n in range(4)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=[100, 200, 300, 400])
    webp = io.BytesIO()
    frames[0].save(webp, "WEBP", save_all=True, append_images=frames[1:], duration=[100, 200, 300, 400])
    folder = folder_of_frames(tmp_path / "folder", 6)
    for content in (stream.getvalue(), webp.getvalue()):
        assert read_video(content, None).timeline.seconds == pytest.approx((0, 0.1, 0.3, 0.6))
    assert read_video(film(20), None, frames=4).timeline.seconds == pytest.approx((0.2, 0.7, 1.2, 1.7))
    corpus = corpus_from_items("video", [folder, webp.getvalue()])
    batch = next(iter(eval_loader(corpus, {"video": VideoInput(RAW, frames=5, rate=2.0)})))
    assert batch["video_times"].tolist()[0] == [0, 0.5, 1.5, 2.0, 2.5]
    assert batch["video_times"].tolist()[1] == pytest.approx([0, 0.1, 0.3, 0.6, 0])
    assert batch["video_mask"][1].tolist() == [True] * 4 + [False]


def test_only_the_frames_wanted_of_a_film_become_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av")
    content, opened, made = film(40), av.open, []

    class Frame:
        def __init__(self, frame: Any) -> None:
            self.frame, self.time, self.pts, self.is_corrupt = frame, frame.time, frame.pts, frame.is_corrupt

        def to_image(self) -> Image.Image:
            made.append(self.time)
            return self.frame.to_image()

    class Packet:
        def __init__(self, packet: Any) -> None:
            self.packet = packet

        def __getattr__(self, name: str) -> Any:
            return getattr(self.packet, name)

        def decode(self) -> Any:
            return map(Frame, self.packet.decode())

    class Container:
        def __init__(self, *args: Any) -> None:
            self.inner = opened(*args)

        def __enter__(self) -> Container:
            return self

        def __exit__(self, *_: Any) -> None:
            self.inner.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def demux(self, *streams: Any) -> Any:
            return map(Packet, self.inner.demux(*streams))

    monkeypatch.setattr(av, "open", Container)
    assert len(read_video(content, None, frames=4)) == 4
    assert made == pytest.approx([0.5, 1.5, 2.5, 3.5])


@pytest.mark.parametrize("kind", ["mkv", "avi"])
def test_a_film_that_breaks_half_way_is_quarantined_with_file_and_what_is_wrong(tmp_path: Path, kind: str) -> None:
    content = film(60, kind)
    (tmp_path / f"whole.{kind}").write_bytes(content)
    (tmp_path / f"broken.{kind}").write_bytes(content[: len(content) * 6 // 10])
    corpus = open_corpus(tmp_path, max_bad=0.5, quiet=True)
    assert len(corpus) == 1
    (bad,) = corpus.left_out
    assert bad.file == f"broken.{kind}"
    assert "damaged clip: breaks off after" in bad.reason


def test_a_film_with_a_hole_is_quarantined(tmp_path: Path) -> None:
    content = bytearray(film(60))
    third = len(content) // 3
    content[third : third + 3000] = b"\0" * 3000
    (tmp_path / "a.mp4").write_bytes(film(20))
    (tmp_path / "hole.mp4").write_bytes(bytes(content))
    corpus = open_corpus(tmp_path, max_bad=0.5, quiet=True)
    assert [(bad.file, bad.reason.partition(" after")[0]) for bad in corpus.left_out] == [
        ("hole.mp4", "damaged clip: breaks off")
    ]


def test_a_folder_with_a_broken_frame_is_quarantined(tmp_path: Path) -> None:
    for name in ("good", "bad"):
        folder_of_frames(tmp_path / name, 9)
    (tmp_path / "bad" / "005.png").write_bytes(b"x")
    (tmp_path / "clips.csv").write_text("video,text\ngood,good\nbad,bad\n")
    corpus = open_corpus(tmp_path / "clips.csv", max_bad=0.5, quiet=True)
    assert [bad.file for bad in corpus.left_out] == ["bad"]


def test_an_epoch_of_clips_resumes_exactly_whatever_the_workers(clips: Corpus) -> None:
    def loader(workers: int = 0) -> Any:
        spec = {"video": VideoInput(RAW, frames=3)}
        return train_loader(clips, spec, (View(),), batch_size=2, seed=5, workers=workers)

    whole = loader()
    batches = [*whole, *whole]
    resumed = loader(workers=1)
    resumed.load_state_dict({**resumed.state_dict(), **_after(loader(), 3)})
    rest = list(resumed)
    assert torch.equal(rest[0]["video"], batches[3]["video"])
    assert torch.equal(rest[0]["video_times"], batches[3]["video_times"])
    assert not torch.equal(batches[0]["video_times"].sort(0)[0], batches[2]["video_times"].sort(0)[0])


def _after(loader: Any, batches: int) -> dict[str, Any]:
    """The state of a loader after so many batches of two epochs."""
    seen = 0
    for _ in range(2):
        for _ in loader:
            seen += 1
            if seen == batches:
                state: dict[str, Any] = loader.state_dict()
                return state
    raise AssertionError


def test_a_row_is_shown_as_a_film_strip(clips: Corpus) -> None:
    strip = clips.picture(0, side=32)
    assert strip is not None
    assert strip.size == (2 * 16, 2 * 12)
    one = [read_video(clips.rows[0]["video"], None, frames=4)[n].resize((16, 12)) for n in range(4)]
    seen = np.asarray(strip.convert("L"), dtype=float)
    for place, frame in enumerate(one):
        top, left = 12 * (place // 2), 16 * (place % 2)
        part = seen[top : top + 12, left : left + 16]
        assert np.corrcoef(part.ravel(), np.asarray(frame.convert("L"), dtype=float).ravel())[0, 1] > 0.9
