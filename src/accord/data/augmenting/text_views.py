"""Augmented views of a caption, declared by a method and made by the data layer: cut, edited, hidden in places.

The edits are those of EDA (Wei and Zou 2019, EMNLP), of which a view makes one, as CLIP-rocket does (Fini et al. 2023,
TMLR), and CLINE's words of another meaning (Wang et al. 2021, ACL); Mirror-BERT hides characters (Liu et al. 2021,
EMNLP). Synonyms come from a table that ships with Accord, from the user's own, or from a function: nothing is fetched.
"""

from __future__ import annotations

import gzip
import html
import json
import random
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from accord.errors import ConfigError, DataError

Synonyms = Callable[[str], Sequence[str] | None]
Rewrite = Callable[[str, int], str]  # of a text and a seed

HIDDEN = "\ue000"  # stands for a hidden span until a tokenizer puts its mask token there
_HIDE_FROM = 30  # characters, below which nothing is hidden

SHIPPED = Path(__file__).parents[1] / "words" / "synonyms.json.gz"  # made by tools/words/synonyms.py
_FUNCTION_WORDS = (
    "a about above after again all also am an and any are as at be because been before being below between both but "
    "by can could did do does doing down during each few for from further had has have having he her here hers him his "
    "how i if in into is it its itself just me more most my no nor not now of off on once only or other our ours out "
    "over own same she should so some such than that the their theirs them then there these they this those through "
    "to too under until up very was we were what when where which while who whom why will with would you your "
    "yours"
)
STOP_WORDS = frozenset(_FUNCTION_WORDS.split())
_PUNCTUATED = re.compile(r"(\W*)(.*?)(\W*)", re.DOTALL)


@dataclass(frozen=True)
class TextView:
    """One kind of augmented view of a caption.

    First it is rewritten, then stop-words go, then all but a stretch of it, then at most one edit is made: which one is
    drawn with the probabilities of ``synonym``, ``antonym``, ``swap`` and ``delete``; at last characters are hidden. A
    step that would leave no word is skipped.

    Args:
        caption: which of a row's: ``drawn`` for this view, the ``same`` as that of ``batch["text"]``, or an ``other``
            one, where there are several.
        stopwords: probability of leaving out English stop-words.
        synonym: probability that the edit replaces words by synonyms.
        antonym: probability that it replaces words by ones of another meaning.
        swap: probability that the edit exchanges places of words.
        delete: probability that the edit leaves out words.
        strength: share of the words that are replaced or exchanged, at least one; probability of each to be left out.
        keep: share of the words in the stretch that is kept.
        hide: characters in a row that are hidden behind a mask token, of texts of thirty and more.
        clean: resolve HTML entities, lower-case and join white space first.
        synonyms: where synonyms come from: None for the English table that ships with Accord, a JSON file
            ``{"word": ["synonym", ...]}`` (may be ``.gz``), or a function of a lower-case word, such as a
            dictionary's ``get``.
        antonyms: likewise words of another meaning; None for any words of the table of synonyms.
        rewrite: makes another text of a text and a seed first, such as a translation there and back.
        count: how many such views.

    Raises:
        ConfigError: a probability outside [0, 1], or edits whose probabilities sum to more than 1.
    """

    caption: Literal["drawn", "same", "other"] = "drawn"
    stopwords: float = 0.0
    synonym: float = 0.0
    antonym: float = 0.0
    swap: float = 0.0
    delete: float = 0.0
    strength: float = 0.1
    keep: float = 1.0
    hide: int = 0
    clean: bool = False
    synonyms: str | Synonyms | None = None
    antonyms: str | Synonyms | None = None
    rewrite: Rewrite | None = None
    count: int = 1

    def __post_init__(self) -> None:
        for name in ("stopwords", "synonym", "antonym", "swap", "delete", "strength", "keep"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"TextView.{name} = {getattr(self, name)}: expected a probability in [0, 1]")
        edits = self.synonym + self.swap + self.delete + self.antonym
        if edits > 1 + 1e-9:
            raise ConfigError(
                f"TextView: synonym + swap + delete + antonym = {edits:g}; one edit is made, so their sum is at most 1"
            )


def augment(text: str, view: TextView, seed: int) -> str:
    """One augmented caption.

    Args:
        text: the caption.
        view: what to do.
        seed: decides everything random.

    Raises:
        DataError: the view's file of synonyms cannot be read.

    Example:
        >>> augment("a photo of the big car", TextView(stopwords=1.0), seed=0)
        'photo big car'
        >>> augment("photo big car", TextView(synonym=1.0, strength=1.0), seed=0)
        'photograph large automobile'
        >>> augment("the", TextView(stopwords=1.0), seed=0)
        'the'
    """
    generator = random.Random(seed)
    if view.rewrite is not None:
        text = view.rewrite(text, seed)
    if view.clean:
        text = " ".join(html.unescape(text).lower().split())
    words = text.split()
    if generator.random() < view.stopwords:
        words = [word for word in words if _bare(word) not in STOP_WORDS] or words
    if view.keep < 1:
        words = _stretch(words, view.keep, generator)
    edited = _edit(words, view, generator) or words
    text = text if edited == text.split() else " ".join(edited)
    return _hidden(text, view.hide, generator) if view.hide else text


def synonyms_of(source: str | Synonyms | None = None) -> Synonyms:
    """The function that gives the synonyms of a lower-case word.

    Args:
        source: see :class:`TextView`.

    Raises:
        DataError: the file cannot be read or is no mapping of words to lists of words.

    Example:
        >>> synonyms_of()("car")
        ['auto', 'automobile', 'motorcar']
    """
    if source is None:
        source = str(SHIPPED)
    return _table(source).get if isinstance(source, str) else source


def _edit(words: list[str], view: TextView, generator: random.Random) -> list[str]:
    """The words after the edit that is drawn."""
    chance = generator.random()
    if chance < view.synonym:
        return _replaced(words, view, synonyms_of(view.synonyms), generator)
    chance -= view.synonym
    if chance < view.swap:
        return _swapped(words, view.strength, generator)
    if chance < view.swap + view.delete:
        return [word for word in words if generator.random() >= view.strength]
    if chance < view.swap + view.delete + view.antonym:
        known = _any_word if view.antonyms is None else synonyms_of(view.antonyms)
        return _replaced(words, view, known, generator)
    return words


def _stretch(words: list[str], share: float, generator: random.Random) -> list[str]:
    """Words in a row, one at least."""
    count = max(1, round(share * len(words)))
    start = generator.randrange(max(1, len(words) - count + 1))
    return words[start : start + count]


def _hidden(text: str, count: int, generator: random.Random) -> str:
    """The text with :data:`HIDDEN` in the place of some characters."""
    if len(text) < max(_HIDE_FROM, count):
        return text
    start = generator.randrange(len(text) - count + 1)
    return text[:start] + HIDDEN + text[start + count :]


def _replaced(words: list[str], view: TextView, known: Synonyms, generator: random.Random) -> list[str]:
    bare = [_bare(word) for word in words]
    found = {place: known(word) or () for place, word in enumerate(bare) if word and word not in STOP_WORDS}
    places = [place for place, others in found.items() if others]
    out = list(words)
    for place in generator.sample(places, min(len(places), _share(words, view.strength))):
        out[place] = _in_place_of(words[place], generator.choice(found[place]))
    return out


def _swapped(words: list[str], strength: float, generator: random.Random) -> list[str]:
    out = list(words)
    if len(out) > 1:
        for _ in range(_share(words, strength)):
            first, second = generator.sample(range(len(out)), 2)
            out[first], out[second] = out[second], out[first]
    return out


def _any_word(word: str) -> Sequence[str]:
    """Words of another meaning than a word: all that the table of synonyms has, in all likelihood."""
    return _vocabulary()


@cache
def _vocabulary() -> tuple[str, ...]:
    return tuple(_table(str(SHIPPED)))


def _share(words: Sequence[str], strength: float) -> int:
    return max(1, int(strength * len(words)))


def _bare(word: str) -> str:
    """Lower-case, without the punctuation around it."""
    return _parts(word)[1].lower()


def _in_place_of(word: str, other: str) -> str:
    """``other`` with the punctuation and the capital of ``word``."""
    before, bare, after = _parts(word)
    return before + (other.capitalize() if bare[:1].isupper() else other) + after


def _parts(word: str) -> tuple[str, str, str]:
    match = _PUNCTUATED.fullmatch(word)
    assert match is not None  # the pattern takes any string
    return match[1], match[2], match[3]


@cache
def _table(path: str) -> dict[str, list[str]]:
    try:
        data = Path(path).expanduser().read_bytes()
        table: Any = json.loads(gzip.decompress(data) if path.endswith(".gz") else data)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise DataError(f"synonyms {path} cannot be read: {error}") from None
    sound = isinstance(table, dict) and all(
        isinstance(others, list) and all(isinstance(other, str) for other in others) for others in table.values()
    )
    if not sound:
        raise DataError(f'synonyms {path}: expected a JSON object of lists, such as {{"car": ["auto", "automobile"]}}')
    return table
