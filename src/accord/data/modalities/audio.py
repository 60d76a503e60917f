"""Recordings: waves, of which an encoder gets log-mel spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from accord.data.draws import Draws
from accord.data.modalities.base import Modality, Reading
from accord.data.reading.audio import AUDIO_SUFFIXES, is_audio, log_mel, read_audio


class Recordings(Modality):
    """Recordings. A value is a float32 mono wave ``(S,)`` in [-1, 1] and its rate in Hz."""

    name = "audio"
    argument = "audio"
    item, items = "recording", "recordings"
    example = "cat.ogg"
    suffixes = AUDIO_SUFFIXES

    def knows(self, content: bytes) -> bool:
        """FLAC, Ogg, MP3, WAV and AIFF."""
        return is_audio(content)

    def read(self, cell: Any, reading: Reading) -> tuple[np.ndarray, int]:
        """The whole recording."""
        return read_audio(cell, reading.root)

    def blank(self, spec: Any) -> tuple[np.ndarray, int]:
        """A tenth of a second of silence."""
        return np.zeros(1600, dtype=np.float32), 16000

    def collate(
        self, field: str, values: Sequence[tuple[np.ndarray, int]], spec: Any, views: Sequence[Any], draws: Draws
    ) -> dict[str, Any]:
        """``FIELD (B, M, T)`` and ``FIELD_mask (B, T)``, padded with zeros to the longest of the batch."""
        frames = [log_mel(wave, rate, spec).T for wave, rate in values]  # (T, M)
        lengths = torch.tensor([len(row) for row in frames])
        padded = pad_sequence(frames, batch_first=True)  # (B, T, M)
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        return {field: padded.transpose(1, 2).contiguous(), f"{field}_mask": mask}


MODALITY: Modality = Recordings()
