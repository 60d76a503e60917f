"""Sounds under the actions of a story: a tone for each action, or recordings; one wave a story."""

from __future__ import annotations

import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accord.data.corpus import Corpus
from accord.data.making.actions import ACTIONS
from accord.data.making.folders import own_seed
from accord.data.reading.audio import read_audio, resample
from accord.data.reading.media import Unreadable
from accord.errors import DataError

RATE = 16_000  # samples a second
LOWEST, STEPS = 250.0, 4  # Hz of the first action's tone, and how many of them make an octave
FADE = 0.005  # seconds in which a sound begins and ends
Sounds = Mapping[str, Sequence[np.ndarray]]
"""Action -> waves ``(S,)`` float32 of which one is drawn each time; an action that is absent is silent."""


@dataclass(frozen=True)
class Sounding:
    """When something is to be heard, in seconds, and the action that it is the sound of."""

    action: str
    start: float
    length: float


def tones(seconds: float = 10.0) -> Sounds:
    """A tone of its own for each action, as long as any is going to last.

    >>> [round(len(found[0]) / RATE) for found in tones(2.0).values()] == [2] * len(ACTIONS)
    True
    """
    times = np.arange(round(seconds * RATE)) / RATE
    pitches = {action: LOWEST * 2 ** (place / STEPS) for place, action in enumerate(ACTIONS)}
    return {action: [(0.5 * np.sin(2 * np.pi * pitch * times)).astype(np.float32)] for action, pitch in pitches.items()}


def sounds_of(corpus: Corpus, seed: int = 0) -> Sounds:
    """Recordings for the actions: those of the class that is called as the action is, or where no class is, one each.

    Args:
        corpus: has recordings.
        seed: decides which action gets which, where no class says it.

    Raises:
        DataError: there are no recordings, too few, or one that cannot be read.
    """
    column = corpus.columns.audio
    if column is None:
        raise DataError(f"{corpus.name}: no recordings; name their column as data of sounds, or give a folder of them")
    cells = corpus.rows[column]
    named = {action: corpus.classes.index(action) for action in ACTIONS if action in corpus.classes}
    if named and corpus.labels is not None:
        rows = {action: np.flatnonzero(corpus.labels == number).tolist() for action, number in named.items()}
    else:
        order = np.random.default_rng(own_seed(seed, len(cells))).permutation(len(cells)).tolist()
        if len(order) < len(ACTIONS):
            raise DataError(
                f"{corpus.name}: {len(order)} recordings for {len(ACTIONS)} actions; give as many, or put them into "
                f"folders called {', '.join(ACTIONS)}"
            )
        rows = {action: [order[place]] for place, action in enumerate(ACTIONS)}
    return {action: [_wave(corpus, cells[row]) for row in found] for action, found in rows.items()}


def _wave(corpus: Corpus, cell: object) -> np.ndarray:
    try:
        return resample(*read_audio(cell, corpus.root), RATE)
    except Unreadable as error:
        raise DataError(f"{corpus.name}: a recording cannot be used ({error})") from None


def soundtrack(
    soundings: Sequence[Sounding], seconds: float, sounds: Sounds, random: np.random.Generator
) -> tuple[np.ndarray, list[list[float]]]:
    """The wave of a story, and from when to when each sound is heard.

    Args:
        soundings: what is heard when; a recording that is longer is cut.
        seconds: length of the whole.
        sounds: waves of each action.
        random: which of them.

    Returns:
        ``(S,)`` float32, and start and end in seconds of each that there is.

    Example:
        >>> heard = soundtrack([Sounding("left", 1.0, 0.5)], 2.0, tones(), np.random.default_rng(0))
        >>> heard[1], [bool(part.any()) for part in np.split(heard[0], 4)]
        ([[1.0, 1.5]], [False, False, True, False])
    """
    whole, spans = np.zeros(round(seconds * RATE), dtype=np.float32), []
    for sounding in soundings:
        waves = sounds.get(sounding.action, ())
        first = round(sounding.start * RATE)
        if not waves or first >= len(whole):
            continue
        own = waves[int(random.integers(len(waves)))][: round(sounding.length * RATE)][: len(whole) - first]
        whole[first : first + len(own)] += _faded(own)
        spans.append([round(first / RATE, 4), round((first + len(own)) / RATE, 4)])
    return np.clip(whole, -1, 1), spans


def _faded(own: np.ndarray) -> np.ndarray:
    """Without a click at its ends."""
    ramp = np.linspace(0, 1, min(round(FADE * RATE), len(own) // 2), endpoint=False, dtype=np.float32)
    faded = own.copy()
    faded[: len(ramp)] *= ramp
    faded[len(faded) - len(ramp) :] *= ramp[::-1]
    return faded


def write_wave(path: Path, samples: np.ndarray) -> None:
    """Write a wave ``(S,)`` in [-1, 1] as a WAV file of 16 bits."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
