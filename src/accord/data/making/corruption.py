"""Noise put in on purpose, for experiments in which the truth is known.

Pure functions on arrays and lists: the same arguments give the same result, and nothing is changed in place. The
truth stays with the caller, for scoring only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from accord.errors import ConfigError, ShapeError

T = TypeVar("T")


def shuffle_captions(
    texts: Sequence[T], rate: float, seed: int, order: Literal["cycle", "any"] = "cycle"
) -> tuple[list[T], NDArray[np.bool_]]:
    """Give a share of the rows another row's text.

    Args:
        texts: one entry a row, of any type (a caption or a list of captions).
        rate: share of the rows that are moved, in [0, 1], rounded to whole rows. A single row has none to
            exchange with and stays.
        seed: of the choice and of the order.
        order: ``"cycle"``: in one cycle through them, so that none keeps its place; ``"any"``: by any permutation of
            them, in which one text comes back to its own row on average (NCR; Huang et al. 2021).

    Returns:
        The texts after the shuffle, and ``(N,)`` bool: True where the text now differs from the row's own (a moved
        row may receive an equal text, which is no noise).

    Raises:
        ConfigError: the rate is outside [0, 1], or the order is unknown.

    Example:
        >>> texts, moved = shuffle_captions(["a", "b", "c", "d"], 0.5, seed=0)
        >>> texts, moved.tolist()
        (['c', 'b', 'a', 'd'], [True, False, True, False])
    """
    if order not in ("cycle", "any"):
        raise ConfigError(f"order = {order!r}: expected 'cycle' or 'any'")
    rows = _chosen(len(texts), rate, seed)
    sources = np.roll(rows, 1) if order == "cycle" else np.random.default_rng([seed, 1]).permutation(rows)
    shuffled = list(texts)
    for row, source in zip(rows, sources, strict=True):
        shuffled[row] = texts[source]
    moved = np.array([new != old for new, old in zip(shuffled, texts, strict=True)], dtype=bool)
    return shuffled, moved


def flip_labels(
    labels: NDArray[np.integer],
    rate: float,
    kind: Literal["symmetric", "pair"] = "symmetric",
    *,
    num_classes: int,
    seed: int,
) -> NDArray[np.int64]:
    """Make a share of the labels wrong.

    Args:
        labels: ``(N,)`` class numbers in [0, ``num_classes``).
        rate: share of the rows whose label is changed, in [0, 1], rounded to whole rows; each of them gets a label
            other than its own.
        kind: ``"symmetric"``: any other class with equal chance; ``"pair"``: the next class, the last one becoming
            the first.
        num_classes: how many classes there are, at least 2.
        seed: of the choice of rows and of the new labels.

    Returns:
        ``(N,)`` int64.

    Raises:
        ShapeError: the labels are not a vector.
        ConfigError: the rate, the kind or a label is out of range.

    Example:
        >>> flip_labels(np.array([0, 1, 2, 2]), 1.0, "pair", num_classes=3, seed=0)
        array([1, 2, 0, 0])
        >>> int((flip_labels(np.zeros(10, int), 0.3, num_classes=5, seed=0) != 0).sum())
        3
    """
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise ShapeError(f"labels has shape {labels.shape}, expected (N,): one class number a row")
    if kind not in ("symmetric", "pair"):
        raise ConfigError(f"kind = {kind!r}: expected 'symmetric' or 'pair'")
    if num_classes < 2:
        raise ConfigError(f"num_classes = {num_classes}: a label can only be wrong among at least 2 classes")
    if labels.size and not (labels.min() >= 0 and labels.max() < num_classes):
        raise ConfigError(f"labels run from {labels.min()} to {labels.max()}, expected 0 to {num_classes - 1}")
    rows = _chosen(len(labels), rate, seed)
    flipped = labels.astype(np.int64)
    # a second stream, so that the new labels do not depend on how the rows were drawn
    step = np.random.default_rng([seed, 1]).integers(1, num_classes, len(rows)) if kind == "symmetric" else 1
    flipped[rows] = (flipped[rows] + step) % num_classes
    return flipped


def web_noise_by_query(
    texts: Sequence[Sequence[str]], queries: Mapping[str, Sequence[str]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Label items the way a web search does: a class gets whatever its query words retrieve.

    A query word matches as a whole word or phrase, singular or plural, in any of an item's texts, whatever the case.
    The noise is real polysemy: "mouse" finds the computer's.

    Args:
        texts: the words of each item, e.g. its name and its tags.
        queries: class name -> query words.

    Returns:
        ``indices (M,)`` into ``texts`` and ``labels (M,)``, the class's position in ``queries``, both int64, in
        item order. An item appears once for each class that retrieves it, and not at all if none does.

    Raises:
        ConfigError: a class has no query word.

    Example:
        >>> items = [["mouse face", "animal"], ["computer mouse"], ["ice creams"], ["card"]]
        >>> queries = {"mammal": ["mouse"], "computer": ["computer", "mouse"], "sweet": ["ice cream"], "car": ["car"]}
        >>> indices, labels = web_noise_by_query(items, queries)
        >>> indices.tolist(), labels.tolist()
        ([0, 0, 1, 1, 2], [0, 1, 0, 1, 2])
    """
    patterns = [_pattern(name, words) for name, words in queries.items()]
    found = [
        (item, label)
        for item, words in enumerate(texts)
        for label, pattern in enumerate(patterns)
        if any(pattern.search(text) for text in words)
    ]
    indices, labels = np.array(found, dtype=np.int64).reshape(-1, 2).T
    return indices, labels


def _chosen(total: int, rate: float, seed: int) -> NDArray[np.int64]:
    """``rate`` of the rows, at random and in random order."""
    if not 0 <= rate <= 1:
        raise ConfigError(f"rate = {rate}: expected a share between 0 and 1")
    return np.random.default_rng(seed).permutation(total)[: round(rate * total)]


def _pattern(name: str, words: Sequence[str]) -> re.Pattern[str]:
    phrases = [_singular_or_plural(word) for word in words if word.strip()]
    if not phrases:
        raise ConfigError(f"class {name!r} has no query word")
    return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)", re.IGNORECASE)


def _singular_or_plural(phrase: str) -> str:
    """Pattern of a phrase whose last word may be in the plural (cars, boxes, berries, leaves)."""
    words = [re.escape(word) for word in phrase.split()]
    last = words[-1]
    if re.search(r"[^aeiou]y$", last):
        words[-1] = f"{last[:-1]}(?:y|ies)"
    elif last.endswith("f"):
        words[-1] = f"{last[:-1]}(?:f|fs|ves)"
    else:
        words[-1] = f"{last}(?:s|es)?"
    return r"[\s-]+".join(words)
