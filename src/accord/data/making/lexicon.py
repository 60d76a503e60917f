"""The lexicon of the caption editor: which verbs and nouns may take each other's places, and how they are inflected.

They are read from ``data/words/actions.txt``, which says how it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

Frame = Literal["i", "t", "n"]
Form = Literal["base", "s", "ing", "past", "participle", "one", "many"]
VERB_FORMS: tuple[Form, ...] = ("base", "s", "ing", "past", "participle")
NOUN_FORMS: tuple[Form, ...] = ("one", "many")
FRAMES: dict[str, Frame] = {"i": "i", "t": "t", "n": "n"}
_WORDS = Path(__file__).parents[1] / "words"
_SHORT = re.compile(r"[^aeiou]*(?:qu)?[aeiou][bdfghjklmnpqrstvz]")  # one syllable whose last letter is doubled


Key = tuple[Frame, str]


@dataclass(frozen=True)
class Lexicon:
    """Words by class.

    Args:
        classes: frame and name -> its words.
        others: frame and name -> classes of the same frame whose words fit as well.
        verbs: verb -> past, participle and -ing, where no rule makes them.
        plurals: noun -> its plural, where no rule makes it; empty for none.
        same: word -> words that mean much the same.
    """

    classes: Mapping[Key, tuple[str, ...]]
    others: Mapping[Key, tuple[str, ...]]
    verbs: Mapping[str, tuple[str, ...]]
    plurals: Mapping[str, str]
    same: Mapping[str, frozenset[str]]

    @cached_property
    def forms(self) -> dict[str, list[tuple[str, Form]]]:
        """A word as it may stand in a caption -> the words and forms that it may be.

        >>> lexicon().forms["hits"], lexicon().forms["women"]
        ([('hit', 's')], [('woman', 'many')])
        """
        found: dict[str, list[tuple[str, Form]]] = {}
        for (frame, _), words in self.classes.items():
            for word in words:
                for form in NOUN_FORMS if frame == "n" else VERB_FORMS:
                    known = found.setdefault(self.inflect(word, form), [])
                    if (word, form) not in known:
                        known.append((word, form))
        return found

    def fitting(self, word: str, frame: Frame) -> list[str]:
        """The words that may take the place of one and mean something else.

        >>> fitting = lexicon().fitting("walk", "i")
        >>> "crawl" in fitting, "stroll" in fitting, lexicon().fitting("sit", "t")
        (True, False, [])
        """
        own = [key for key, words in self.classes.items() if key[0] == frame and word in words]
        names = [name for key in own for name in (key[1], *self.others[key])]
        found = dict.fromkeys(other for name in names for other in self.classes[frame, name])
        same = self.same.get(word, frozenset())
        return [other for other in found if other != word and other not in same]

    def inflect(self, word: str, form: Form) -> str:
        """A form of a word, a particle behind it; empty for a plural that there is none of.

        >>> [lexicon().inflect("pick_up", form) for form in ("s", "ing", "past")]
        ['picks up', 'picking up', 'picked up']
        >>> lexicon().inflect("lie", "ing"), lexicon().inflect("scrub", "past"), lexicon().inflect("church", "many")
        ('lying', 'scrubbed', 'churches')
        """
        if form in ("one", "many"):
            return word if form == "one" else self.plurals.get(word, _with_s(word))
        stem, *particle = word.split("_")
        return " ".join([self._inflected(stem, form), *particle])

    def _inflected(self, verb: str, form: Form) -> str:
        known = self.verbs.get(verb, ())
        if form == "ing":
            return known[2] if len(known) > 2 else _with_ing(verb)
        if form in ("past", "participle"):
            return known[form == "participle"] if known else _with_ed(verb)
        return _with_s(verb) if form == "s" else verb


@cache
def lexicon() -> Lexicon:
    """The lexicon that ships."""
    classes: dict[Key, tuple[str, ...]] = {}
    others: dict[Key, tuple[str, ...]] = {}
    verbs: dict[str, tuple[str, ...]] = {}
    plurals: dict[str, str] = {}
    same: dict[str, frozenset[str]] = {}
    for head, lines in _sections("actions.txt"):
        words = tuple(word for line in lines for word in line)
        if head == "forms":
            verbs |= {verb: tuple(forms) for verb, *forms in lines}
        elif head == "same":
            for line in lines:
                same |= {word: same.get(word, frozenset()) | frozenset(line) for word in line}
        elif head == "plurals":
            plurals |= dict(lines)
        elif head == "no plural":
            plurals |= dict.fromkeys(words, "")
        else:
            name, frame, *more = head.replace("+", " ").split()
            key: Key = (FRAMES[frame], name)
            classes[key], others[key] = words, tuple(more)
    return Lexicon(classes, others, verbs, plurals, same)


@cache
def word_list(name: str) -> frozenset[str]:
    """The words of a list in ``data/words/grammar.txt``.

    >>> "the" in word_list("determiners")
    True
    """
    return frozenset(
        word for head, lines in _sections("grammar.txt") for line in lines if head == name for word in line
    )


def _sections(file: str) -> Iterator[tuple[str, list[list[str]]]]:
    """Heads of a file, and the words in their lines."""
    head, lines = "", list[list[str]]()
    for line in (_WORDS / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            if head:
                yield head, lines
            head, lines = line.strip("[]"), []
        elif line and not line.startswith("#"):
            lines.append(line.split())
    yield head, lines


def _with_s(word: str) -> str:
    if re.search(r"(s|x|z|ch|sh)$", word):
        return f"{word}es"
    return f"{word[:-1]}ies" if re.search(r"[^aeiou]y$", word) else f"{word}s"


def _with_ing(word: str) -> str:
    if word.endswith("ie"):
        return f"{word[:-2]}ying"
    if re.search(r"[^eyo]e$", word):
        return f"{word[:-1]}ing"
    return f"{_doubled(word)}ing"


def _with_ed(word: str) -> str:
    if word.endswith("e"):
        return f"{word}d"
    return f"{word[:-1]}ied" if re.search(r"[^aeiou]y$", word) else f"{_doubled(word)}ed"


def _doubled(word: str) -> str:
    return word + word[-1] if _SHORT.fullmatch(word) else word
