"""Captions that a model writes, against those that people wrote: BLEU, ROUGE-L and CIDEr-D, and teacher-forced fit.

Words are compared in lower case and without punctuation. The chance level is what the same captions score when they
are dealt out to the pictures at random: a model that does not look reaches it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accord.errors import DataError, ShapeError
from accord.evaluation.bootstrap import bootstrap_interval
from accord.evaluation.metric import Metric, ratio_metric

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.encoders.generation import Decoding
    from accord.training.model import Model

Words = tuple[str, ...]
Floats = NDArray[np.float64]

_LONGEST = 4  # n-grams of one to four words
_SIGMA = 6.0  # CIDEr-D: words of difference in length that cost a factor of exp(-1/2)
_BETA = 1.2  # ROUGE-L: weight of recall over precision, as captions are scored


def caption_metrics(
    captions: Sequence[str], references: Sequence[Sequence[str]], *, groups: ArrayLike | None = None, seed: int = 0
) -> list[Metric]:
    """BLEU-1, BLEU-4, ROUGE-L and CIDEr-D of written captions.

    Args:
        captions: one per picture.
        references: what people wrote about each picture, at least one text.
        groups: ``(N,)`` pictures of equal value are resampled together.
        seed: of the chance level.

    Returns:
        BLEU and ROUGE-L in percent; CIDEr-D times 100, as it is usually printed (a perfect caption of four words or
        more has 1000).

    Raises:
        ShapeError: not as many references as captions, or a picture without one.
        DataError: there are no captions.

    Example:
        >>> pictures = [["a red fish swims"], ["a blue bird flies"]]
        >>> [round(metric.value) for metric in caption_metrics(["a red fish swims", "a blue bird sits"], pictures)]
        [88, 72, 88, 729]
    """
    written, known = [words(text) for text in captions], [[words(text) for text in row] for row in references]
    _check(written, known)
    order = _dealt(len(written), seed)
    shuffled = [written[position] for position in order]
    counts, chance_counts = bleu_counts(written, known), bleu_counts(shuffled, known)
    metrics = []
    for n in (1, _LONGEST):
        chance = float(bleu(chance_counts.sum(axis=0, keepdims=True), n)[0])
        metrics.append(ratio_metric(f"BLEU-{n}", counts, partial(bleu, n=n), chance=chance, groups=groups))
    scorer = Cider(known)
    for name, score, unit in (("ROUGE-L", _rouge_all, "%"), ("CIDEr-D", scorer, "")):
        scores = score(written, known)
        low, high = bootstrap_interval(scores, groups=groups)
        chance = float(score(shuffled, known).mean())
        metrics.append(Metric(name, float(scores.mean()), low, high, chance, len(scores), unit))
    return metrics


def evaluate_captions(
    model: Model, corpus: Corpus, decoding: Decoding | Mapping[str, Any] | None = None
) -> list[Metric]:
    """Let a model caption a corpus; score what it writes, and how well it predicts what people wrote.

    Args:
        model: its method writes captions.
        corpus: has images and at least one caption a row.
        decoding: how captions are written; None takes the likeliest token each time (greedy), the fastest way.

    Returns:
        The metrics of :func:`caption_metrics`, and of each row's first caption, read word after word, the share of
        tokens that the model finds the likeliest and the perplexity. Their chance levels are those of guessing evenly.

    Raises:
        ConfigError: the method writes no captions.
        DataError: the corpus has none to compare with.
    """
    references = corpus.texts()
    if not any(references):
        raise DataError(f"{corpus.name}: has no captions to compare with; name the column, for example --text title")
    groups = corpus.groups()
    written = model.caption_corpus(corpus, decoding=decoding or {"method": "greedy"})
    fit = model.read_captions(corpus)
    parts = np.stack([part.double().numpy() for part in (fit.right, fit.nll, fit.tokens)], axis=1)
    size = model.inputs["text"].tokenizer.vocabulary  # type: ignore[union-attr]
    return [
        *caption_metrics(written, references, groups=groups),
        ratio_metric(
            "token accuracy", parts, lambda sums: 100 * sums[:, 0] / sums[:, 2], chance=100 / size, groups=groups
        ),
        ratio_metric(
            "perplexity",
            parts,
            lambda sums: np.exp(sums[:, 1] / sums[:, 2]),
            chance=float(size),
            groups=groups,
            unit="",
        ),
    ]


def words(text: str) -> Words:
    """The words of a text.

    >>> words("A dog's ball, red!")
    ('a', "dog's", 'ball', 'red')
    """
    return tuple(re.findall(r"\w+(?:['’]\w+)*", text.lower()))


def bleu_counts(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> Floats:
    """What BLEU adds up over captions (Papineni et al. 2002): ``(N, 10)``.

    For n from 1 to 4 the n-grams that a reference holds too, each at most as often as there; then for n from 1 to 4
    all n-grams; then the number of words of the caption, and of the reference that is nearest in length.
    """
    rows = []
    for caption, known in zip(captions, references, strict=True):
        found, total = [], []
        for n in range(1, _LONGEST + 1):
            grams, most = ngrams(caption, n), Counter[Words]()
            for reference in known:
                most |= ngrams(reference, n)
            found.append((grams & most).total())
            total.append(grams.total())
        nearest = min((len(reference) for reference in known), key=lambda size: (abs(size - len(caption)), size))
        rows.append([*found, *total, len(caption), nearest])
    return np.array(rows, dtype=np.float64)


def bleu(totals: Floats, n: int) -> Floats:
    """BLEU-n in percent of totals ``(R, 10)`` of :func:`bleu_counts`; NaN where no caption has n words."""
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.log(totals[:, :n] / totals[:, _LONGEST : _LONGEST + n]).mean(axis=1)
        brevity = np.minimum(0.0, 1 - totals[:, -1] / totals[:, -2])
        return np.asarray(100 * np.exp(precision + brevity))


def rouge_l(caption: Words, references: Sequence[Words]) -> float:
    """F-measure of the longest common subsequence (Lin 2004), of the best precision and the best recall; in [0, 1].

    >>> rouge_l(("a", "red", "fish"), [("a", "fish")])
    0.829...
    """
    common = [_longest_common(caption, reference) for reference in references]
    precision = max(length / max(len(caption), 1) for length in common)
    recall = max(length / max(len(words), 1) for length, words in zip(common, references, strict=True))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


class Cider:
    """CIDEr-D (Vedantam et al. 2015, CVPR): cosine of n-gram counts weighted by how telling each n-gram is.

    Args:
        references: what people wrote about each picture; their n-grams' document frequencies are counted.
    """

    def __init__(self, references: Sequence[Sequence[Words]]) -> None:
        self._pictures = len(references)
        self._frequency: Counter[Words] = Counter()
        for known in references:
            self._frequency.update({gram for words in known for n in range(_LONGEST) for gram in ngrams(words, n + 1)})

    def __call__(self, captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> Floats:
        """Scores ``(N,)`` times 100."""
        pairs = zip(captions, references, strict=True)
        return np.array([100 * np.mean([self._pair(caption, words) for words in known]) for caption, known in pairs])

    def _pair(self, caption: Words, reference: Words) -> float:
        """Mean over n of the clipped cosine, times 10 and the penalty on the difference in length."""
        cosines = []
        for n in range(1, _LONGEST + 1):
            one, other = self._weighted(caption, n), self._weighted(reference, n)
            dot = sum(min(one.get(gram, 0.0), weight) * weight for gram, weight in other.items())
            norm = math.hypot(*one.values()) * math.hypot(*other.values())
            cosines.append(dot / norm if norm else 0.0)
        penalty = math.exp(-((len(caption) - len(reference)) ** 2) / (2 * _SIGMA**2))
        return 10 * penalty * sum(cosines) / _LONGEST

    def _weighted(self, text: Words, n: int) -> dict[Words, float]:
        grams = ngrams(text, n)
        return {gram: count * math.log(self._pictures / max(1, self._frequency[gram])) for gram, count in grams.items()}


def ngrams(text: Words, n: int) -> Counter[Words]:
    """How often each sequence of n words occurs.

    >>> ngrams(("a", "b", "a", "b"), 2)
    Counter({('a', 'b'): 2, ('b', 'a'): 1})
    """
    return Counter(zip(*(text[start:] for start in range(n)), strict=False))


def _accuracy(totals: Floats) -> Floats:
    return 100 * totals[:, 0] / totals[:, 2]


def _perplexity(totals: Floats) -> Floats:
    return np.exp(totals[:, 1] / totals[:, 2])


def _rouge_all(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> Floats:
    return np.array([100 * rouge_l(caption, known) for caption, known in zip(captions, references, strict=True)])


def _longest_common(one: Words, other: Words) -> int:
    """Length of the longest common subsequence."""
    best = [0] * (len(other) + 1)
    for word in one:
        diagonal = 0
        for place, against in enumerate(other, start=1):
            diagonal, best[place] = best[place], diagonal + 1 if word == against else max(best[place], best[place - 1])
    return best[-1]


def _dealt(count: int, seed: int) -> list[int]:
    """For each picture another one's position, at random."""
    if count < 2:
        return list(range(count))
    order = np.random.default_rng(seed).permutation(count)
    other = np.empty(count, dtype=np.int64)
    other[order] = np.roll(order, 1)  # one cycle through all, so that none keeps its own
    return other.tolist()


def _check(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> None:
    if len(captions) != len(references):
        raise ShapeError(f"references has {len(references)} entries: expected one per caption ({len(captions)})")
    if not captions:
        raise DataError("there are no captions to score: expected at least one")
    empty = next((place for place, known in enumerate(references) if not known), None)
    if empty is not None:
        raise ShapeError(f"references[{empty}] is empty: expected at least one text; leave the picture out")
