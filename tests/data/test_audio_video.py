from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from accord.data.corpus import Corpus, corpus_from_items, open_corpus
from accord.data.inputs import AudioInput, ImageInput, VideoInput
from accord.data.loading.loader import eval_loader, train_loader
from accord.data.reading import audio as audio_module
from accord.data.reading.audio import log_mel, read_audio, resample
from accord.data.reading.media import Unreadable
from accord.data.reading.video import read_video
from accord.errors import MissingExtraError

COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250), (250, 0, 250)]


def tone(seconds: float = 0.5, rate: int = 8000, pitch: float = 440.0, channels: int = 1) -> bytes:
    soundfile = pytest.importorskip("soundfile")
    wave = 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)
    stream = io.BytesIO()
    soundfile.write(stream, np.stack([wave] * channels, axis=1), rate, format="WAV")
    return stream.getvalue()


def frames(count: int = 6) -> list[Image.Image]:
    return [Image.new("RGB", (32, 32), colour) for colour in COLOURS[:count]]


def clip(kind: str, count: int = 6) -> bytes:
    """An animation, or a film, in which every frame has its own colour."""
    stream = io.BytesIO()
    if kind in ("WEBP", "GIF"):
        first, *rest = frames(count)
        first.save(stream, kind, save_all=True, append_images=rest, duration=50, lossless=True)
        return stream.getvalue()
    av = pytest.importorskip("av")
    with av.open(stream, "w", format="mp4") as container:
        track = container.add_stream("mpeg4", rate=10)
        track.width, track.height, track.pix_fmt = 32, 32, "yuv420p"
        for image in frames(count):
            container.mux(track.encode(av.VideoFrame.from_image(image)))
        container.mux(track.encode())
    return stream.getvalue()


def colours(images: Sequence[Image.Image]) -> list[int]:
    """Which of the six colours each frame has."""
    pixels = np.array([image.getpixel((16, 16)) for image in images], dtype=float)
    return [int(np.abs(np.array(COLOURS) - pixel).sum(1).argmin()) for pixel in pixels]


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "MP4"])
def test_a_clip_gives_evenly_spaced_frames(kind: str) -> None:
    content = clip(kind)
    assert colours(read_video(content, None)) == [0, 1, 2, 3, 4, 5]
    assert colours(read_video(content, None, frames=3)) == [1, 3, 5]
    assert colours(read_video(content, None, frames=8)) == [0, 1, 2, 3, 4, 5]


def test_a_folder_or_a_list_of_pictures_is_a_clip(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    for number, frame in enumerate(frames()):
        frame.save(tmp_path / "clip" / f"{number:02d}.png")
    (tmp_path / "clip" / "notes.txt").write_text("not a frame")
    assert colours(read_video("clip", tmp_path, frames=2)) == [1, 4]
    assert colours(read_video({"bytes": None, "path": "clip"}, tmp_path, frames=2)) == [1, 4]
    assert colours(read_video(["clip/05.png", "clip/00.png"], tmp_path)) == [5, 0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "zero bytes"),
        (b"no film at all", "damaged clip"),
        (clip("GIF")[:-100], "(truncated|damaged)"),
        (clip("MP4")[:200], "damaged clip"),
    ],
)
def test_a_bad_clip_is_unreadable(content: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_video(content, None)


def test_a_folder_without_pictures_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="no frames: the folder holds no pictures"):
        read_video(".", tmp_path)


def test_clips_of_different_length_make_a_batch_with_a_mask(tmp_path: Path) -> None:
    (tmp_path / "long.webp").write_bytes(clip("WEBP", 6))
    (tmp_path / "short.webp").write_bytes(clip("WEBP", 2))
    (tmp_path / "clips.csv").write_text("video,text\nlong.webp,long\nshort.webp,short\n")
    corpus = open_corpus(tmp_path / "clips.csv", quiet=True)
    assert corpus.columns.video == "video"
    spec = VideoInput(ImageInput(size=16, mean=(0, 0, 0), std=(1, 1, 1)), frames=4)
    batch = next(iter(eval_loader(corpus, {"video": spec})))
    assert batch["video"].shape == (2, 4, 3, 16, 16)
    assert batch["video_mask"].tolist() == [[True] * 4, [True, True, False, False]]
    assert not batch["video"][1, 2:].any()
    assert batch["video"][0, 0, :, 8, 8].tolist() == pytest.approx([250 / 255, 0, 0], abs=0.02)


def test_a_recording_is_one_float_wave(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(tone(channels=2))
    wave, rate = read_audio("a.wav", tmp_path)
    assert (wave.shape, wave.dtype, rate) == ((4000,), np.float32, 8000)
    assert np.abs(wave).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "zero bytes"), (b"no sound at all", "damaged recording"), (tone(seconds=0), "no samples")],
)
def test_a_bad_recording_is_unreadable(content: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_audio(content, None)


def test_samples_that_are_not_numbers_are_unreadable() -> None:
    soundfile = pytest.importorskip("soundfile")
    stream = io.BytesIO()
    soundfile.write(stream, np.full(100, np.nan), 8000, format="WAV", subtype="FLOAT")
    with pytest.raises(Unreadable, match="samples are not finite"):
        read_audio(stream.getvalue(), None)


@pytest.mark.parametrize(("rate", "target"), [(8000, 16000), (44100, 16000), (16000, 16000)])
def test_resampling_keeps_length_and_pitch(rate: int, target: int) -> None:
    wave = np.sin(2 * np.pi * 440 * np.arange(rate) / rate).astype(np.float32)
    found = resample(wave, rate, target)
    assert len(found) == target
    assert np.abs(np.fft.rfft(found)).argmax() == 440


def test_the_spectrogram_is_whispers() -> None:
    transformers = pytest.importorskip("transformers")
    wave = np.random.default_rng(0).normal(size=8000).astype(np.float32) * 0.1
    reference = transformers.WhisperFeatureExtractor(feature_size=80)
    expected = reference(wave, sampling_rate=16000, padding=False, return_tensors="np")["input_features"][0]
    torch.testing.assert_close(log_mel(wave, 16000, AudioInput()), torch.from_numpy(expected), atol=2e-4, rtol=0)


def test_recordings_of_different_length_make_a_batch_with_a_mask() -> None:
    corpus = corpus_from_items("audio", [tone(0.5), tone(0.2), tone(5.0)])
    spec = AudioInput(mels=20, seconds=1.0)
    batch = next(iter(train_loader(corpus, {"audio": spec}, batch_size=3, seed=0)))
    order = batch["index"].tolist()
    assert batch["audio"].shape == (3, 20, 100)
    assert [batch["audio_mask"][order.index(row)].sum().item() for row in range(3)] == [50, 20, 100]
    assert not batch["audio"][order.index(1), :, 20:].any()


def test_a_very_short_recording_gives_one_window() -> None:
    assert log_mel(np.zeros(10, dtype=np.float32), 16000, AudioInput()).shape == (80, 2)


def test_a_missing_extra_stops_with_its_name_instead_of_quarantining_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(module: str, extra: str) -> Any:
        raise MissingExtraError(f'{module} is not installed: pip install "accord[{extra}]"')

    (tmp_path / "a.wav").write_bytes(tone())
    monkeypatch.setattr(audio_module, "require", absent)
    with pytest.raises(MissingExtraError, match=r'pip install "accord\[audio\]"'):
        open_corpus(tmp_path, quiet=True)


def test_a_folder_of_recordings_is_a_corpus(tmp_path: Path) -> None:
    for name in ("low/a.wav", "high/b.wav", "high/bad.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(tone() if "bad" not in name else b"RIFF")
    corpus: Corpus = open_corpus(tmp_path, max_bad=0.5, quiet=True)
    assert (len(corpus), corpus.classes, corpus.modalities) == (2, ("high", "low"), ("audio",))
