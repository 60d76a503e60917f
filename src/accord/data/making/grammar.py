"""Where a caption says what is done, in which direction, and with what: rules on words, without a parser.

A form such as "plays" or "building" may be a verb or a noun. It is taken for a verb where the words around it leave no
doubt, and otherwise left alone: a caption less is better than a sentence that is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from accord.data.making.lexicon import Form, Frame, lexicon, word_list

_BE = word_list("be")
_HAVE = word_list("have")
_DETERMINERS = word_list("determiners")
_PREPOSITIONS = word_list("prepositions")
_JOINING = word_list("joining")
_MODALS = word_list("modals")
_TO = word_list("to")
_SUBJECTS = word_list("subjects")
_PLURALS = word_list("plurals")
_ADVERBS = word_list("adverbs")
_ADJECTIVES = word_list("adjectives")
_CLAUSES = word_list("clauses")
_PRONOUNS = word_list("pronouns")
_COMPOUNDS = word_list("compounds")
_NOUNS_TOO = word_list("nouns too")
_STILL = word_list("still")
_SIDES = word_list("sides")
_AFTER_MOTION = word_list("after motion")
_MOTION = word_list("motion")
DIRECTIONS = (
    ("left to right", "right to left"),
    ("left", "right"),
    ("in front of", "behind"),
    ("on top of", "underneath"),
    ("out of", "into"),
    ("off", "onto"),
    ("away from", "towards"),
    ("away from", "toward"),
    ("forwards", "backwards"),
    ("forward", "backward"),
    ("upwards", "downwards"),
    ("upward", "downward"),
    ("up", "down"),
    ("over", "under"),
    ("above", "below"),
    ("inside", "outside"),
    ("clockwise", "anticlockwise"),
    ("clockwise", "counterclockwise"),
    ("uphill", "downhill"),
    ("upstairs", "downstairs"),
)


@dataclass(frozen=True)
class Place:
    """Words of a caption that others may stand for.

    Args:
        start: the first of them.
        stop: behind the last.
        word: what they are in the lexicon.
        form: in which form.
        frame: of the class; None where ``instead`` says what may stand there.
        instead: texts.
        whole: whether only words without a particle fit, as before "it".
    """

    start: int
    stop: int
    word: str = ""
    form: Form = "base"
    frame: Frame | None = None
    instead: tuple[str, ...] = ()
    whole: bool = False


def find_verbs(words: Sequence[str], breaks: Sequence[bool]) -> list[Place]:
    """The verbs of a caption, in order.

    Args:
        words: in lower case.
        breaks: whether anything but space stands between each word and the next.

    Example:
        >>> [place.word for place in find_verbs("a man sits down and plays a tall building".split(), [False] * 8)]
        ['sit_down', 'play']
        >>> find_verbs("a building with two swings".split(), [False] * 4)
        []
    """
    found: list[Place] = []
    place = 0
    while place < len(words):
        verb = _verb_at(words, breaks, place, found)
        if verb is not None:
            found.append(verb)
        place = place + 1 if verb is None else verb.stop
    return found


def find_directions(words: Sequence[str], breaks: Sequence[bool]) -> list[Place]:
    """Where a caption says a direction or a place that has an opposite.

    >>> [(place.start, place.instead) for place in find_directions("he walks into the left house".split(), [False] * 5)]
    [(2, ('out of',)), (4, ('right',))]
    """
    verbs = find_verbs(words, breaks)
    taken = {place for verb in verbs for place in range(verb.start, verb.stop)}
    behind = {verb.stop for verb in verbs if verb.frame == "i" and verb.word not in ("sit", "lie")}
    found: dict[int, Place] = {}
    for pair in DIRECTIONS:
        for own, other in (pair, pair[::-1]):
            phrase = own.split()
            for start in range(len(words) - len(phrase) + 1):
                stop = start + len(phrase)
                if tuple(words[start:stop]) != tuple(phrase) or taken.intersection(range(start, stop)):
                    continue
                if _is_direction(words, start, own, behind):
                    found[start] = Place(start, stop, own, instead=(other,))
                    taken.update(range(start, stop))
    return [found[start] for start in sorted(found)]


def find_nouns(words: Sequence[str], breaks: Sequence[bool]) -> list[Place]:
    """The nouns of a caption that the lexicon knows.

    >>> [place.word for place in find_nouns("a man rides two horses".split(), [False] * 4)]
    ['man', 'horse']
    """
    verbs = {place for verb in find_verbs(words, breaks) for place in range(verb.start, verb.stop)}
    return [
        Place(place, place + 1, noun, form, "n")
        for place, word in enumerate(words)
        if place not in verbs
        for noun, form in lexicon().forms.get(word, ())[:1]
        if form in ("one", "many") or ((noun, form) == (word, "base") and _is_noun(word))
    ]


def _is_noun(word: str) -> bool:
    return any(form in ("one", "many") for _, form in lexicon().forms.get(word, ()))


def _is_direction(words: Sequence[str], start: int, own: str, behind: set[int]) -> bool:
    """Whether a word that may mean other things as well means a direction here."""
    before = words[start - 1] if start else ""
    moving = start in behind or before in _MOTION
    if own in ("left", "right"):
        return moving or before in _SIDES
    return moving if own in _AFTER_MOTION else True


def _verb_at(words: Sequence[str], breaks: Sequence[bool], at: int, found: Sequence[Place]) -> Place | None:
    """The verb that begins at a place, if there is one."""
    for verb, form, stop in _readings(words, at):
        if stop < len(words) and words[stop] in _CLAUSES:
            continue
        frame = _frame(words, breaks, stop)
        if form == "participle" and _before(words, at) in _BE:
            frame = "t"  # somebody does it to what is spoken of
        if _is_verb(words, at, form, frame, found) and lexicon().fitting(verb, frame):
            return Place(at, stop, verb, form, frame, whole=stop < len(words) and words[stop] in _PRONOUNS)
    return None


def _readings(words: Sequence[str], at: int) -> Iterator[tuple[str, Form, int]]:
    """Verbs of the lexicon that may begin there, those with a particle first: verb, form, and where it ends."""
    known = lexicon().forms
    for length in (2, 1):
        text = " ".join(words[at : at + length])
        if length <= len(words) - at:
            for verb, form in known.get(text, ()):
                if form not in ("one", "many"):
                    yield verb, form, at + length


def _frame(words: Sequence[str], breaks: Sequence[bool], stop: int) -> Frame:
    """Whether something follows that it is done to."""
    if stop >= len(words) or breaks[stop - 1]:
        return "i"
    word = words[stop]
    alone = word in _PREPOSITIONS or word in _JOINING or word in _ADVERBS or word in _BE or word.endswith("ly")
    return "i" if alone else "t"


def _before(words: Sequence[str], at: int) -> str:
    """The word before, adverbs left out."""
    at -= 1
    while at > 0 and (words[at].endswith("ly") or words[at] in ("just", "still", "also", "both", "now", "not")):
        at -= 1
    return words[at] if at >= 0 else ""


def _is_verb(words: Sequence[str], at: int, form: Form, frame: Frame, found: Sequence[Place]) -> bool:
    """Whether a form that may be a verb is one here."""
    word, before = words[at], _before(words, at)
    if not before or before in _DETERMINERS or before in _ADJECTIVES:
        return False
    joined = before in _JOINING and any(verb.form == form for verb in found)
    if form == "ing":
        return _is_gerund(words, at, before, frame) or joined
    if form == "participle" and before in (*_BE, *_HAVE):
        return True
    if before in _BE or before in _HAVE or before in _PREPOSITIONS - {"to"}:
        return False
    if form == "base":
        to = before == "to" and at > 1 and words[at - 2] in _TO
        return to or before in _MODALS or (_is_many(before) and not _has_finite(words, at, found)) or joined
    if before in (*_JOINING, "to") or before in _MODALS:
        return joined
    known = _is_one(before) or before in _PLURALS
    if word in _NOUNS_TOO or word in _STILL:
        return known and not _has_finite(words, at, found)
    if form == "participle":
        return _is_one(before) and at + 1 < len(words) and words[at + 1] == "by"
    return not _has_finite(words, at, found) or before in ("who", "which", "that")


def _is_gerund(words: Sequence[str], at: int, before: str, frame: Frame) -> bool:
    """Whether an -ing form says what is done: "is building a house", not "a tall building"."""
    after = words[at + 1] if at + 1 < len(words) else ""
    if after in _COMPOUNDS:
        return False
    if before in _BE or before in ("while", "seen", "shown", "filmed"):
        return True
    if before in _PREPOSITIONS or before in _JOINING:
        return before in ("by", "of", "about", "after", "before") and frame == "t" and after in _DETERMINERS
    return _is_one(before) or _is_many(before) or after in _DETERMINERS


def _is_one(word: str) -> bool:
    return word in _SUBJECTS or any(form == "one" for _, form in lexicon().forms.get(word, ()))


def _is_many(word: str) -> bool:
    return word in _PLURALS or any(form == "many" for _, form in lexicon().forms.get(word, ()))


def _has_finite(words: Sequence[str], at: int, found: Sequence[Place]) -> bool:
    """Whether something is said to be done before already."""
    told = any(verb.form in ("base", "s", "past") for verb in found)
    return told or any(word in ("is", "are", "was", "were") for word in words[:at])
