"""Fingerspelled words: letters of the pack fingerspelling one after the other, with when each is shown."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np

from accord.data.packs.base import Pack, Reject, Row
from accord.data.packs.fingerspelling import CREDIT, LANGUAGES, LICENCE, ORIGIN, SOURCES, STEPS, letters, npy
from accord.errors import DataError

EACH = 40  # words of a language
LENGTHS = range(3, 8)  # letters of a word
SEED = 0


def read(folder: Path, reject: Reject) -> Iterator[Row]:
    """Rows of an unpacked package: words of every language that has their letters.

    Raises:
        DataError: the list of recordings is missing, or there are too few letters for any word.
    """
    alphabets: dict[str, dict[str, np.ndarray]] = {}
    for one in letters(folder, reject):
        alphabets.setdefault(one.language, {}).setdefault(one.letter, one.steps)
    words = [word for word in _words() if len(word) in LENGTHS]
    order = np.random.default_rng(SEED).permutation(len(words))
    found = False
    for number, (language, alphabet) in enumerate(sorted(alphabets.items())):
        fitting = [words[place] for place in order if set(words[place].upper()) <= set(alphabet)]
        # languages share half of their words with the next one
        start = number * EACH // 2
        for word in fitting[start : start + EACH] or fitting[:EACH]:
            found = True
            yield _row(word, language, alphabet)
    if not found:
        raise DataError(f"{folder}: no language has the letters of a word")


def _row(word: str, language: str, alphabet: dict[str, np.ndarray]) -> Row:
    parts = [alphabet[letter] for letter in word.upper()]
    ends = np.cumsum([len(part) for part in parts]) / STEPS
    return {
        "id": f"{language}/{word}",
        "sequence": npy(np.concatenate(parts), f"{language}/{word}"),
        "word": word,
        "language": LANGUAGES.get(language, language),
        "moments": [[round(float(s), 4), round(float(e), 4)] for s, e in zip([0.0, *ends], ends, strict=False)],
        "moment_text": list(word.upper()),
        "duration": round(float(ends[-1]), 4),
    }


def _words() -> list[str]:
    """English words of letters alone, in alphabetical order."""
    path = resources.files("accord.data.words") / "synonyms.json.gz"
    known = json.loads(gzip.decompress(path.read_bytes()))
    return sorted(word for word in known if word.isascii() and word.isalpha() and word.islower())


PACK = Pack(
    name="fingerspelled",
    summary="words spelled letter by letter in 16 sign languages, with when each letter is shown",
    about=(
        "English words of 3 to 7 letters, 40 in each sign language that has their letters, put together from the "
        "recordings of the pack fingerspelling without transitions, so that what is spelled and when is exact: moments "
        "are the letters. Half of a language's words are spelled in the next one as well. Split by word; the "
        "recordings of letters are the same on both sides, as there is one of each a language."
    ),
    licence=LICENCE,
    credit=CREDIT,
    origin=ORIGIN,
    sources=SOURCES,
    read=read,
    schema={
        "id": "text",
        "sequence": "sequence",
        "word": "text",
        "language": "text",
        "moments": "spans",
        "moment_text": "texts",
        "duration": "number",
    },
    columns={"image": None, "text": ("word",), "sequence": "sequence", "label": None, "group": "word"},
    expected_rows=640,
    options=(
        '--method gram --set \'method.modalities=["text","sequence"]\' '
        "--set encoders.sequence.options.seconds_per_step=0.04"
    ),
)
