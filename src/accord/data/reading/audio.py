"""Recordings: waves through soundfile, resampled, and their log-mel spectrograms as Whisper takes them."""

from __future__ import annotations

import io
from functools import lru_cache
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accord.data.inputs import AudioInput
from accord.data.reading.media import Unreadable, read_bytes
from accord.errors import require

AUDIO_SUFFIXES = frozenset(".wav .flac .ogg .mp3 .opus .aiff .aif .au".split())  # noqa: SIM905


def read_audio(cell: Any, root: Path | None) -> tuple[np.ndarray, int]:
    """A recording as float32 mono wave ``(S,)`` in [-1, 1] and its rate in Hz.

    Raises:
        Unreadable: nothing there, damaged, or a format that libsndfile does not know.
        MissingExtraError: soundfile is not installed.
    """
    content = read_bytes(cell, root)
    soundfile = require("soundfile", "audio")
    try:
        wave, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)  # (S, channels)
    except (soundfile.SoundFileError, RuntimeError, TypeError) as error:
        raise Unreadable(f"damaged recording: {error}") from None
    if not len(wave):
        raise Unreadable("no samples: the recording is empty")
    if not np.isfinite(wave).all():
        raise Unreadable("damaged recording: samples are not finite")
    return wave.mean(axis=1), int(rate)


def is_audio(content: bytes) -> bool:
    """Whether a file with these first bytes is a recording.

    >>> is_audio(b"RIFF....WAVEfmt"), is_audio(b"hello")
    (True, False)
    """
    return content.startswith((b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"FORM")) or (content[:4], content[8:12]) == (
        b"RIFF",
        b"WAVE",
    )


def resample(wave: np.ndarray, rate: int, target: int) -> np.ndarray:
    """The wave at another rate (polyphase filter), float32 ``(S * target / rate,)``.

    >>> resample(np.zeros(8000, dtype=np.float32), 8000, 16000).shape
    (16000,)
    """
    if rate == target:
        return wave
    from scipy.signal import resample_poly

    shared = gcd(rate, target)
    return resample_poly(wave, target // shared, rate // shared).astype(np.float32)


def log_mel(wave: np.ndarray, rate: int, spec: AudioInput) -> Tensor:
    """Log-mel spectrogram, one frame every ``spec.hop`` samples, cut to ``spec.seconds``.

    Hann window, Slaney mel filters, base-10 logarithm, floored 80 dB under the maximum and scaled by
    ``(x + 4) / 4``: the input of Whisper (Radford et al. 2022), so that its encoder can be used.

    Args:
        wave: float32 ``(S,)``.
        rate: its rate in Hz.
        spec: bands, window, hop and length.

    Returns:
        ``(M, T)`` float32, at least one frame.

    Example:
        >>> log_mel(np.zeros(16000, dtype=np.float32), 16000, AudioInput()).shape
        torch.Size([80, 100])
    """
    samples = resample(wave, rate, spec.sample_rate)[: int(spec.seconds * spec.sample_rate)]
    short = spec.window - len(samples)
    signal = torch.from_numpy(np.pad(samples, (0, max(short, 0))).copy())
    window = torch.hann_window(spec.window)
    spectrum = torch.stft(signal, spec.window, spec.hop, window=window, return_complex=True)  # (F, T + 1)
    power = spectrum[:, :-1].abs().square()
    mel = _filters(spec.window, spec.mels, spec.sample_rate) @ power  # (M, T)
    decibel = mel.clamp(min=1e-10).log10()
    return (decibel.clamp(min=decibel.max().item() - 8.0) + 4.0) / 4.0


@lru_cache(maxsize=8)
def _filters(window: int, mels: int, rate: int) -> Tensor:
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(1 + window // 2, mels, 0.0, rate / 2, rate, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(bank.T.copy()).float()  # (M, F)
