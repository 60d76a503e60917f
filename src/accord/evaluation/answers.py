"""Short answers against those that people gave, as the evaluation of VQA compares them (Antol et al. 2015, ICCV).

An answer is what it says without articles, and a number is the same as a word and as digits.
"""

from __future__ import annotations

from collections.abc import Sequence

from accord.evaluation.captions import words

AGREED = 3  # people whose answer is right for good
_ASKED = 10  # people, from which each is left out once
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {"none": "0", **{word: str(number) for number, word in enumerate(_NUMBERS)}}


def plain_answer(text: str) -> tuple[str, ...]:
    """The words by which an answer is compared.

    >>> plain_answer("The two dogs."), plain_answer("A")
    (('2', 'dogs'), ('a',))
    """
    said = words(text)
    return tuple(_DIGITS.get(word, word) for word in said if word not in _ARTICLES) or said


def vqa_accuracy(answer: str, given: Sequence[str]) -> float:
    """How right an answer is: a third for each person who gave it, at most 1.

    Of ten people or more each is left out once, and the mean is taken, as VQA's own evaluation does: what three of ten
    said is then worth 0.9.

    Args:
        answer: what was written.
        given: what people said, at least one.

    Example:
        >>> vqa_accuracy("two", ["2", "two", "3"]), vqa_accuracy("red", ["red"] * 3 + ["blue"] * 7)
        (0.6666666666666666, 0.9)
    """
    asked, said = plain_answer(answer), [plain_answer(one) for one in given]
    count, people = said.count(asked), len(said)
    if people < _ASKED:
        return min(1.0, count / AGREED)
    without_one = count * min(1.0, (count - 1) / AGREED) + (people - count) * min(1.0, count / AGREED)
    return without_one / people
