"""Words for classes: what their rows are called and others' are not, and what lies nearer to them than to the others.

Candidates are words, and pairs of neighbouring ones, of the captions, weighed by tf-idf among classes (its form by
relative entropy: Aizawa 2003, Information Processing & Management 39). A model that embeds text then weighs them by the
cosine with the class's centre less its mean over the other centres, in which what sets all words apart from all
pictures, the gap between modalities, is no longer there.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from accord.data.augmenting.text_views import STOP_WORDS
from accord.evaluation.zero_shot import build_zero_shot_classifier
from accord.pipeline.discovery.classes import Words
from accord.training.model import Model

CANDIDATES = 20  # words of a class that are considered
_EMBEDDED, _FEWEST = 4000, 5  # words that a model reads, but of each class at least as many
_ROWS = 2000  # of a class whose captions are read
_WORD = re.compile(r"[^\W\d_][^\W_]*(?:['’-][^\W_]+)*")
_NAMED = 1e3  # what it is worth that a class has a name at all: more than any score
_COMMON = 1e-3  # what a word is worth in whatever class: decides where there is but one class


def terms_of(texts: Sequence[Sequence[str]], assigned: np.ndarray, count: int) -> list[Words]:
    """Words of each class by tf-idf: the share of its rows with the word, times the log of how much larger that is.

    Args:
        texts: captions of each of N rows.
        assigned: ``(N,)`` classes.
        count: number of classes.

    Returns:
        For each class at most :data:`CANDIDATES`, the best first; none where its rows have no captions.

    Example:
        >>> texts = [["a red square"], ["a red ring"], ["a blue square"]]
        >>> [words[0][0] for words in terms_of(texts, np.array([0, 0, 1]), 2)]
        ['red', 'blue square']
    """
    order = np.argsort(assigned, kind="stable")
    starts = np.searchsorted(assigned[order], np.arange(count + 1))
    found: list[Counter[str]] = []
    rows: list[int] = []
    for start, end in pairwise(starts.tolist()):
        members = order[start:end]
        read = members[:: -(-len(members) // _ROWS)] if len(members) else members  # evenly over the class
        found.append(Counter(term for row in read for term in set(_terms(texts[row]))))
        rows.append(max(len(read), 1))
    shares = [{term: times / n for term, times in terms.items()} for terms, n in zip(found, rows, strict=True)]
    weight = [n / sum(rows) for n in rows]
    overall: defaultdict[str, float] = defaultdict(float)
    for share, part in zip(shares, weight, strict=True):
        for term, value in share.items():
            overall[term] += part * value
    return [
        _best({t: _worth(value, overall[t]) for t, value in share.items() if count == 1 or value > overall[t]})
        for share in shares
    ]


def contrasts(words: Tensor, centres: Tensor) -> Tensor:
    """Cosine of each word with each centre, less its mean over the other centres.

    Args:
        words: ``(W, D)``.
        centres: ``(K, D)``.

    Returns:
        ``(K, W)``; the cosine itself where there is one centre.

    Example:
        >>> import torch
        >>> contrasts(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])).flatten().tolist()
        [0.0, 0.0]
    """
    cosine = F.normalize(centres, dim=1) @ F.normalize(words, dim=1).T
    others = len(centres) - 1
    return cosine if not others else cosine - (cosine.sum(dim=0) - cosine) / others


def weighed(model: Model, terms: Sequence[Words], labels: Sequence[str], centres: Tensor) -> list[Words]:
    """The words of each class by :func:`contrasts`, as the model embeds them.

    Where the rows of a class have captions, each of its words counts as much as it is worth beside the best of them: a
    name that lies near but is said of one row is none. Where they have none, the class is given the words of all
    classes and the given labels.

    Args:
        model: embeds text.
        terms: candidates of each class.
        labels: names of the known classes.
        centres: ``(K, D)``.
    """
    most = max(_FEWEST, _EMBEDDED // max(len(terms), 1))
    terms = [own[:most] for own in terms]
    words = list(dict.fromkeys([*(word for own in terms for word, _ in own), *labels]))
    if not words:
        return list(terms)
    vectors = build_zero_shot_classifier(lambda texts: model.embed(texts=texts), words, model.templates).T
    scores = contrasts(vectors, centres)
    number = {word: place for place, word in enumerate(words)}
    given = [{word: worth / own[0][1] for word, worth in own} or dict.fromkeys(words, 1.0) for own in terms]
    return [
        _best({word: worth * float(row[number[word]]) for word, worth in own.items()})
        for own, row in zip(given, scores, strict=True)
    ]


def unique_names(known: Sequence[str], words: Sequence[Words]) -> list[str]:
    """A name for each class: the given ones, and for new classes different words of theirs.

    As many as can be get a word, and the sum of the scores is the largest that there is.

    Args:
        known: names of the known classes, which come first.
        words: of all classes; only those of positive score are taken, and none that a known class is called.

    Returns:
        As many names as classes; ``class 1`` and so on where there is no word.

    Example:
        >>> unique_names(["cat"], [(), (("cat", 0.9), ("dog", 0.5)), (("dog", 0.8), ("wolf", 0.2)), ()])
        ['cat', 'dog', 'wolf', 'class 1']
    """
    taken = {name.casefold() for name in known}
    new = [{word: score for word, score in own if score > 0 and word not in taken} for own in words[len(known) :]]
    number = {word: place for place, word in enumerate(dict.fromkeys(word for own in new for word in own))}
    worth = np.zeros((len(new), len(number)))
    for row, own in zip(worth, new, strict=True):
        for word, score in own.items():
            row[number[word]] = _NAMED + score
    chosen = dict(zip(*linear_sum_assignment(worth, maximize=True), strict=True))
    named = list(number)
    names = [named[chosen[row]] if row in chosen and worth[row, chosen[row]] > 0 else None for row in range(len(new))]
    spare = _numbered(taken | {name for name in names if name})
    return [*known, *(name or next(spare) for name in names)]


def _numbered(taken: set[str]) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        if (name := f"class {number}") not in taken:
            yield name


def _terms(captions: Iterable[str]) -> Iterator[str]:
    """The words of captions in small letters, and neighbouring pairs of them; no function words."""
    for caption in captions:
        last, end = "", -1
        for match in _WORD.finditer(caption.lower()):
            word = match[0]
            if word in STOP_WORDS:
                last = ""
                continue
            yield word
            if last and caption[end : match.start()].isspace():
                yield f"{last} {word}"
            last, end = word, match.end()


def _worth(share: float, overall: float) -> float:
    return share * float(np.log(share / overall) + _COMMON)


def _best(scores: dict[str, float]) -> Words:
    """Of equal words the longer one says more; then the alphabet decides."""
    ordered = sorted(scores.items(), key=lambda item: (-round(item[1], 9), -len(item[0]), item[0]))
    return tuple(ordered[:CANDIDATES])
