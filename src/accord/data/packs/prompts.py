"""Telephone prompts: the same short messages spoken in five languages, with file names as their only words."""

from __future__ import annotations

import io
import re
import unicodedata
import wave
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from accord.data.packs.base import Archive, Pack, Reject, Row
from accord.data.packs.files import root_of
from accord.errors import DataError

VOICES: Mapping[str, str] = MappingProxyType(
    {
        "en": "en_US_f_Allison",
        "es": "es_MX_f_Allison",
        "fr": "fr_CA_f_June",
        "it": "it_IT_m_Carlo",
        "ru": "ru_RU_f_IvrvoiceRU",
    }
)
"""Language -> folder of its recordings, which names region and speaker."""

_SILENCE = "silence/"
_SOUNDS = frozenset({"beep", "beeperr", "ascending-2tone", "descending-2tone", "tt-monkeys"})  # no word is said
_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen".split()  # noqa: SIM905
_ONES += "fourteen fifteen sixteen seventeen eighteen nineteen".split()  # noqa: SIM905
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
_ORDINALS |= {"twelve": "twelfth"}
_DAYS = "sunday monday tuesday wednesday thursday friday saturday".split()  # noqa: SIM905
_MONTHS = (
    "january february march april may june july august september october november december".split()  # noqa: SIM905
)
_SPELLING = "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike".split()  # noqa: SIM905
_SPELLING += "november oscar papa quebec romeo sierra tango uniform victor whiskey xray yankee zulu".split()  # noqa: SIM905
_TIMES = frozenset("a-m p-m oclock at today tomorrow yesterday afternoon hours minutes at_s".split())  # noqa: SIM905
_SPELT = frozenset({"aa", "ww", "zed"})  # names of letters
_FAMILIES = {  # what a name outside the folders of numbers and letters begins with -> what it is about
    "agent": "call centre agent",
    "conf": "conference",
    "confbridge": "conference",
    "demo": "demonstration",
    "dictate": "dictation",
    "dir": "directory",
    "followme": "call forwarding",
    "call": "call forwarding",
    "priv": "privacy",
    "privacy": "privacy",
    "screen": "privacy",
    "queue": "waiting queue",
    "spy": "kind of line",
    "vm": "voicemail",
}
OTHER = "telephone line"
"""The category of a prompt that belongs to no family."""


def read(folder: Path, reject: Reject) -> Iterator[Row]:
    """Rows of the unpacked packages: every prompt in which something is said, by name, in the languages that have it.

    Raises:
        DataError: the folder holds no recording of any of the five languages.
    """
    root = root_of(folder, "usr/share/asterisk/sounds")
    names: dict[str, list[str]] = {}
    for language, voice in VOICES.items():
        for path in (root / voice).rglob("*.wav"):
            names.setdefault(path.relative_to(root / voice).as_posix().removesuffix(".wav"), []).append(language)
    if not names:
        raise DataError(f"{root} holds no recording (.wav) in any of the folders {', '.join(VOICES.values())}")
    for name in sorted(names):
        if not name.startswith(_SILENCE) and name not in _SOUNDS:
            row = _row(root, name, names[name], reject)
            if row:
                yield row


def _row(root: Path, name: str, languages: list[str], reject: Reject) -> Row | None:
    found: dict[str, Any] = {}
    for language in languages:
        file = f"{VOICES[language]}/{name}.wav"
        content = (root / file).read_bytes()
        fault = _fault(content)
        if fault:
            reject(file, fault)
        else:
            found[language] = {"bytes": content, "path": file}
    if not found:
        return None
    text = words_of(name)
    return {
        "id": name,
        **{f"speech_{language}": found.get(language) for language in VOICES},
        "text": text,
        "category": category_of(name),
        "concept": re.sub(r"(\D)\d+$", r"\1", text).strip(),
    }


def _fault(content: bytes) -> str | None:
    """Why a file is no recording, or None."""
    try:
        with wave.open(io.BytesIO(content)) as sound:
            return None if sound.getnframes() else "no samples: the recording is empty"
    except (wave.Error, EOFError) as error:
        return f"not a WAV file ({error or 'it ends too early'})"


def words_of(name: str) -> str:
    """A file name as words; those that are codes (digits, days, months, letters, ASCII codes) read out in English.

    >>> words_of("vm-mailboxfull"), words_of("digits/day-3"), words_of("digits/h-20"), words_of("digits/41")
    ('vm mailboxfull', 'wednesday', 'twentieth', 'forty one')
    >>> words_of("letters/b"), words_of("letters/ascii44"), words_of("phonetic/b_p"), words_of("dictate/play_help")
    ('letter b', 'comma', 'bravo', 'play help')
    """
    folder, _, stem = name.rpartition("/")
    if folder == "digits":
        return _number_words(stem)
    if folder == "letters" and (code := re.fullmatch(r"ascii(\d{1,3})", stem)):
        return unicodedata.name(chr(int(code[1]))).lower().replace("-", " ")
    if folder == "letters" and len(stem) == 1:
        return f"letter {stem}"
    if folder == "phonetic" and (letter := re.fullmatch(r"([a-z])_p\d?", stem)):
        return _SPELLING[ord(letter[1]) - ord("a")]
    return _plain(stem.removesuffix("_p"))


def category_of(name: str) -> str:
    """What a prompt is about, from its folder or the beginning of its name; 19 categories.

    >>> category_of("digits/day-3"), category_of("letters/ascii44"), category_of("vm-intro"), category_of("hello")
    ('weekday', 'symbol', 'voicemail', 'telephone line')
    """
    folder, _, stem = name.rpartition("/")
    if folder == "digits":
        kinds = {"day": "weekday", "mon": "month", "h": "ordinal number"}
        beginning = stem.split("-")[0]
        in_time = stem in _TIMES or beginning == "ore"
        return kinds.get(beginning) or ("time" if in_time else "symbol" if stem in ("pound", "star") else "number")
    if folder == "letters":
        return "letter" if len(stem) == 1 or stem in _SPELT else "symbol"
    if folder == "phonetic":
        return "spelling alphabet"
    return _FAMILIES.get(re.split(r"[-_]", folder or stem)[0], OTHER)


def _number_words(stem: str) -> str:
    kind, _, rest = stem.partition("-")
    if kind in ("day", "mon") and rest.isdigit():
        return (_DAYS if kind == "day" else _MONTHS)[int(rest)]
    if kind == "h" and rest:
        return _ordinal(_cardinal(int(rest)) if rest.isdigit() else rest)
    number = re.match(r"\d+", stem)
    return f"{_cardinal(int(number[0]))} {_plain(stem[number.end() :])}".strip() if number else _plain(stem)


def _cardinal(number: int) -> str:
    """A number below 1000.

    >>> _cardinal(7), _cardinal(38), _cardinal(900)
    ('seven', 'thirty eight', 'nine hundred')
    """
    if number < 20:
        return _ONES[number]
    if number >= 100:
        return f"{_ONES[number // 100]} hundred {_cardinal(number % 100) if number % 100 else ''}".strip()
    return f"{_TENS[number // 10 - 2]} {_ONES[number % 10] if number % 10 else ''}".strip()


def _ordinal(cardinal: str) -> str:
    return _ORDINALS.get(cardinal) or (f"{cardinal[:-1]}ieth" if cardinal.endswith("y") else f"{cardinal}th")


def _plain(stem: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", stem.lower()))


PACK = Pack(
    name="prompts",
    summary="631 telephone prompts spoken in five languages, with file names as noisy text",
    about=(
        "The prompts of a telephone exchange, from 'seven' to whole sentences, spoken in English (553), Spanish (512), "
        "French (546), Italian (584) and Russian (560; empty where a language lacks a prompt), one voice a language, "
        "8 kHz. Nobody wrote down what is said: the words are those of the file name, abbreviations and all ('vm "
        "mailboxfull'), with digits, days, months, letters and ASCII codes read out in English. The 19 categories "
        "(number, weekday, letter, voicemail, …) come from the folder or the beginning of the name and serve as "
        "intents. A row is one prompt in all languages, so that no prompt is on both sides of a split."
    ),
    licence="CC-BY-SA-3.0 (English, Spanish, French), CC-BY-3.0 (Italian, Russian)",
    credit=(
        "Asterisk core sounds, spoken by Allison Smith (English, Spanish), June Wallack (French), Carlo Flora "
        "(Italian) and Maxim Topal's IvrvoiceRU (Russian). Fetched, never shipped with Accord."
    ),
    origin="https://downloads.asterisk.org/pub/telephony/sounds/",
    sources=tuple(
        Archive("apt", f"asterisk-core-sounds-{language}-wav", "1.6.1-1", size, sha256)
        for language, size, sha256 in (
            ("en", 18_272_864, "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d"),
            ("es", 23_767_256, "9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903"),
            ("fr", 18_516_060, "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e"),
            ("it", 18_262_124, "5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb"),
            ("ru", 18_788_860, "ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201"),
        )
    ),
    read=read,
    schema={
        "id": "text",
        **{f"speech_{language}": "audio" for language in VOICES},
        "text": "text",
        "category": "text",
        "concept": "text",
    },
    columns={"image": None, "text": ("text",), "audio": "speech_en", "label": "category", "group": "concept"},
    expected_rows=631,
)
