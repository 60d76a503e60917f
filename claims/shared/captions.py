"""Captioned digits, how well they are told apart, and what a reader who knows every digit would find.

A caption of a *single digit* names it in one of some languages and adds words that have nothing to do with the picture,
so that several rows share a meaning and few share a sentence. For *scenes* there is a bound on every recall: captions
leave digits out, and several pictures may fit one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from sklearn.metrics import adjusted_rand_score

from accord.data.corpus import Corpus
from accord.data.making.corruption import shuffle_captions
from accord.functional import kmeans
from accord.training.artifact import Model
from shared.digits import Digits, cell_digits, mentions, split_digits, with_texts
from shared.probes import few_label_accuracy

NAMES = (
    ("zero", "null", "cero", "nul"),
    ("one", "eins", "uno", "een"),
    ("two", "zwei", "dos", "twee"),
    ("three", "drei", "tres", "drie"),
    ("four", "vier", "cuatro", "fire"),
    ("five", "funf", "cinco", "vijf"),
    ("six", "sechs", "seis", "zes"),
    ("seven", "sieben", "siete", "zeven"),
    ("eight", "acht", "ocho", "otte"),
    ("nine", "neun", "nueve", "negen"),
)
OPENINGS = ("a picture of", "here we see", "look at", "my", "this is", "another")
ENDINGS = ("on paper", "in ink", "from the archive", "by hand", "again", "at school", "in a letter", "", "on a cheque")
NEAREST = 10


def captioned_digits(
    seed: int, *, rows: int | None = None, distinct: int | None = None, languages: int = 1, wrong: float = 0.0
) -> tuple[Corpus, Corpus]:
    """Single digits with a caption each, for training and for testing; test captions are right.

    Args:
        seed: of everything random.
        rows: for training, drawn with replacement; None for every digit once.
        distinct: how many different digits these are drawn from; None for all.
        languages: in how many, up to four, a digit is named.
        wrong: share of the training captions that are exchanged among the pictures.
    """
    random = np.random.default_rng(seed)
    train, test = split_digits(seed)
    chosen = random.permutation(len(train.labels))[:distinct]
    chosen = chosen if rows is None else random.choice(chosen, rows)
    train = Digits(train.pixels[chosen], train.labels[chosen])
    learnt = _captioned("captioned digits, train", train, random, languages)
    texts, moved = shuffle_captions(learnt.texts(), wrong, seed)
    return learnt.with_texts(texts, moved), _captioned("captioned digits, test", test, random, languages)


def _captioned(name: str, digits: Digits, random: np.random.Generator, languages: int) -> Corpus:
    captions = []
    for label in digits.labels:
        parts = (words[random.integers(len(words))] for words in (OPENINGS, NAMES[label][:languages], ENDINGS))
        captions.append(" ".join(parts).strip())
    corpus = with_texts(name, digits.pixels, captions)
    return replace(corpus, labels=digits.labels, classes=tuple(names[0] for names in NAMES))


def told_apart(model: Model, train: Corpus, test: Corpus, quick: bool = False) -> Mapping[str, float]:
    """Accuracy of a probe on a hundred labels, mean over ten draws of them, and k-means against the classes (ARI)."""
    asked = model.embed_corpus(test, "image")
    assert test.labels is not None
    found, _, _ = kmeans(asked, len(test.classes), n_iter=100, n_redo=5)
    return {
        "probe": few_label_accuracy(model, train, test, quick=quick),
        "ARI": 100 * adjusted_rand_score(test.labels, found),
    }


def right_among_nearest(model: Model, test: Corpus) -> float:
    """Share, in percent, of the ten pictures nearest to a caption that show its digit."""
    image, text = (model.embed_corpus(test, modality) for modality in ("image", "text"))
    nearest = (text @ image.T).topk(NEAREST, dim=1).indices.numpy()
    assert test.labels is not None
    return 100 * float((test.labels[nearest] == test.labels[:, None]).mean())


def best_recall(scenes: Corpus) -> Mapping[str, float]:
    """The recalls, in percent, that are expected of one who knows every digit and guesses among what fits.

    The names are those of :func:`accord.evaluation.retrieval.evaluate_retrieval`; ``R@1`` is the mean of both
    directions.
    """
    digits = cell_digits(scenes)  # (N, 4)
    fits = np.ones((len(digits), len(digits)), dtype=bool)  # caption by picture
    for row, (caption, *_) in enumerate(scenes.texts()):
        for _, digit, cell in mentions(caption):
            fits[row] &= digits[:, cell] == digit
    among = {"text→image": fits.sum(axis=1), "image→text": fits.sum(axis=0)}
    found = {
        f"{way} R@{k}": 100 * float(np.minimum(1.0, k / count).mean())
        for way, count in among.items()
        for k in (1, 5, 10)
    }
    first = (found["text→image R@1"] + found["image→text R@1"]) / 2
    return {**found, "rsum": sum(found.values()), "mean recall": sum(found.values()) / 6, "R@1": first}
