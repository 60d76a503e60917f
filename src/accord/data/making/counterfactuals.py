"""Altered captions: the same sentence in which something else is done, somewhere else, or to something else.

Rules and a small lexicon (:mod:`accord.data.making.lexicon`) find the words that say what is done and put others of the
same class and form in their place, so that the sentence stays one. What is not certain to be a verb is left alone: some
captions have no altered version. A language model of the user's own may write them instead: see :class:`Writer`.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Literal, Protocol, get_args

from accord.data.making.grammar import Place, find_directions, find_nouns, find_verbs
from accord.data.making.lexicon import lexicon

Kind = Literal["action", "direction", "object"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_RARE = 0.01  # captions that say a word which none of them says
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)?")


@dataclass(frozen=True)
class Altered:
    """An altered caption, and what was altered in it."""

    text: str
    kind: str


class Writer(Protocol):
    """What writes altered captions instead of the rules: a model that fills masks, or one that follows instructions.

    A package offers one by the entry point ``accord.writers``. What comes back as it was, twice or empty is dropped,
    and so is what only says the same in other words, where likeness is measured.
    """

    def __call__(self, captions: Sequence[str], count: int) -> Sequence[Sequence[str]]:
        """At most ``count`` altered versions of each caption, in which another action takes place."""
        ...


def counterfactuals(
    caption: str,
    *,
    kinds: Sequence[Kind] = ("action",),
    count: int = 10,
    seed: int = 0,
    usual: Mapping[str, int] | None = None,
) -> list[Altered]:
    """Altered versions of a caption, each with one change, by rules.

    Args:
        caption: one sentence in English.
        kinds: what is changed: ``action``, the verb; ``direction``, such as left or into; ``object``, a noun. Of
            several they take turns.
        count: how many at most.
        seed: of what is drawn where there are more; the same caption gives the same ones.
        usual: how often captions say each word, see :func:`usual_words`: the oftener, the likelier it is put in. Rare
            words would tell altered captions from true ones. None draws all alike.

    Returns:
        No two alike and none like the caption; none where nothing was recognised.

    Example:
        >>> found = counterfactuals("A man is playing a guitar.", count=2)
        >>> all(new.text.startswith("A man is ") and new.text.endswith("ing a guitar.") for new in found)
        True
        >>> [new.text for new in counterfactuals("the dot moves left", kinds=("direction",))]
        ['the dot moves right']
    """
    generator = random.Random(f"{seed} {caption}")
    turns = zip_longest(*[_of_kind(caption, kind, generator, usual) for kind in kinds])
    return sound(caption, (new for turn in turns for new in turn if new is not None))[:count]


def sound(caption: str, altered: Iterable[Altered]) -> list[Altered]:
    """Those that are texts, differ from the caption and from each other, whatever their capitals and spaces.

    >>> [new.text for new in sound("A dog", [Altered("a  dog", "object"), Altered("a cat ", "object")])]
    ['a cat']
    """
    known = {"", _plain(caption)}
    kept = []
    for new in altered:
        plain = _plain(new.text)
        if plain not in known:
            known.add(plain)
            kept.append(Altered(" ".join(new.text.split()), new.kind))
    return kept


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def usual_words(captions: Iterable[str]) -> Counter[str]:
    """How often captions say each verb and noun of the lexicon.

    >>> usual_words(["a man walks", "the man is walking a dog"]).most_common(2)
    [('man', 2), ('walk', 2)]
    """
    return Counter(
        place.word
        for caption in captions
        for kind in ("object", "action")
        for place in _places(caption, kind, list(_WORD.finditer(caption)))
    )


def _places(caption: str, kind: str, matches: Sequence[re.Match[str]]) -> list[Place]:
    """Where something of a kind can be changed; places count words."""
    words = [match[0].lower() for match in matches]
    after = [caption[match.end() : later.start()] for match, later in pairwise(matches)]
    breaks = [gap.strip() != "" for gap in after]  # a comma or another sentence
    return {"action": find_verbs, "direction": find_directions, "object": find_nouns}[kind](words, breaks)


def _of_kind(caption: str, kind: Kind, generator: random.Random, usual: Mapping[str, int] | None) -> Iterator[Altered]:
    """All changes of a kind: one at each place in turn, in random order."""
    matches = list(_WORD.finditer(caption))
    choices = [(place, _drawn(place, generator, usual)) for place in _places(caption, kind, matches)]
    generator.shuffle(choices)
    for turn in zip_longest(*(new for _, new in choices)):
        for (place, _), text in zip(choices, turn, strict=True):
            if text is not None:
                start, end = matches[place.start].start(), matches[place.stop - 1].end()
                yield Altered(_put(caption, start, end, text), kind)


def _drawn(place: Place, generator: random.Random, usual: Mapping[str, int] | None) -> list[str]:
    """What may stand there instead, in random order: drawn one after the other, each as likely as it is usual."""
    if place.frame is None:
        return list(place.instead)
    known = lexicon()
    words = [other for other in known.fitting(place.word, place.frame) if not (place.whole and "_" in other)]
    weights = {other: 1.0 if usual is None else usual.get(other, 0) + _RARE for other in words}
    drawn = sorted(words, key=lambda other: generator.expovariate(weights[other]))  # the first of exponential clocks
    return [text for text in dict.fromkeys(known.inflect(other, place.form) for other in drawn) if text]


def _put(caption: str, start: int, end: int, text: str) -> str:
    """The caption with a text in the place of some characters; capitals and a or an follow it."""
    before, old = caption[:start], caption[start:end]
    text = text[0].upper() + text[1:] if old[0].isupper() else text
    article = re.search(r"\b(an?)(\s+)$", before, re.IGNORECASE)
    if article and old[:1].lower() != text[:1].lower():
        new = "an" if text[0].lower() in "aeio" else "a"
        new = new.capitalize() if article[1][0].isupper() else new
        before = before[: article.start()] + new + article[2]
    return before + text + caption[end:]
