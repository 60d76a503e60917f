"""Families of contrast for texts alone, on what packages of Debian say of themselves in a line.

Sentences that people judged in pairs are not found inside any package. Lines are as alike here as the tags that people
gave the packages (``shared.descriptions``): a rougher yardstick than a judgement, of thousands of pairs of real texts.

1. A small encoder trained on lines alone should order pairs better than an untrained one, which orders them by the
   words that they share. That dropout makes the better views is not asked: from random weights the gain is that vectors
   spread. DeCLUTR needs documents: lines of one section put together, so that it learns what a section is. Lines that
   are related by tags should be better positives, and hard negatives help further.
2. A queue of negatives, CERT's, should order pairs better than the other keys of the batch.
3. Labels as words: rare tags should be found more precisely than by a linear classifier, and tags that no training row
   has more precisely than by chance; words of the texts as labels should help with both, before or beside the tags.
4. After CLINE a version of a line with another meaning should be farther from it, in comparison with one with
   synonyms, than after SimCSE. Both versions are made as CLINE makes them in training, of lines that it has not seen.
5. With ten labels of each section, supervised contrast should make a classifier more accurate.

    accord claims run text_contrastive
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shared.bags import BagOfWords
from shared.descriptions import (
    RARE,
    documents,
    few_lines,
    lines,
    opposed_lines,
    pairs_of,
    related_lines,
    tagged_lines,
)

from accord.claims import Arm, Claim, Question, Scale
from accord.data.augmenting.text_views import TextView, augment
from accord.data.corpus import Corpus
from accord.encoders.base import Encoder
from accord.evaluation.long_tail import label_precisions
from accord.evaluation.sts import spearman
from accord.evaluation.zero_shot import matched_scores
from accord.methods.abilities import Classifies, MatchesLabels
from accord.training.artifact import Model

SIMILARITY, TOLD_APART, ACCURACY = "similarity", "told apart", "accuracy"
RARE_AP, UNSEEN_AP, BEYOND = "rare AP", "unseen AP", "unseen AP beyond chance"
EPOCHS, BATCH, TAG_EPOCHS, WORD_EPOCHS = 6, 64, 24, 8
VERSIONS = 500  # lines whose versions are compared
CHANCE = 100 / 12  # sections
POINTS: dict[str, Any] = {"smallest": 1.0, "because": "another draw of the pairs moves it by a point"}
PRECISION: dict[str, Any] = {"smallest": 1.0, "because": "a point is a fifth of what the tail has to lose"}


def measure(model: Model, train: Corpus, test: Corpus, quick: bool = False) -> Mapping[str, float]:
    """What can be said of a model and these rows: tags found, sections told, pairs ordered, versions told apart."""
    if test.multi_label:
        return tags_found(model, train, test)
    if model.can(Classifies):
        right = model.classify(test).argmax(dim=1).numpy() == test.labels
        return {ACCURACY: 100 * float(np.mean(right))}
    left, right_, gold = pairs_of(test)
    vectors = model.embed_corpus(test, "text")
    cosines = (vectors[left] * vectors[right_]).sum(dim=1).double().numpy()
    ordered = 100 * float(spearman(cosines, gold, np.ones((1, len(gold))))[0])
    return {SIMILARITY: ordered, TOLD_APART: told_apart(model, test, 20 if quick else VERSIONS)}


def told_apart(model: Model, test: Corpus, count: int) -> float:
    """By how much more a line is like its version with synonyms than like one with other meaning, in hundredths."""
    said = [row[0] for row in test.texts()[:count]]
    kept, broken = (
        model.embed(texts=[augment(text, view, seed) for seed, text in enumerate(said)])
        for view in (TextView(synonym=1.0, strength=0.3), TextView(antonym=1.0, strength=0.3))
    )
    original = model.embed(texts=said)
    return 100 * float(((original * kept).sum(dim=1) - (original * broken).sum(dim=1)).mean())


def tags_found(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """Mean average precision of the rare tags and of those that training does not show."""
    known = {name: place for place, name in enumerate(train.classes)}
    seen = np.array([name in known for name in test.classes])
    columns = [known[name] for name in test.classes if name in known]
    if model.can(MatchesLabels):
        scores = matched_scores(model, test, test.classes).double().numpy()
    else:  # a linear classifier knows nothing of other tags
        scores = np.zeros((len(test), len(test.classes)))
        scores[:, seen] = model.classify(test)[:, columns].double().numpy()
    assert train.labels is not None
    assert test.labels is not None
    counts = np.zeros(len(test.classes))
    counts[seen] = train.labels.sum(axis=0)[columns]
    precision = 100 * label_precisions(scores, test.labels.astype(bool))
    chance = 100 * test.labels.mean(axis=0)
    rare, unseen = (counts > 0) & (counts <= RARE), ~seen
    return {
        RARE_AP: _mean(precision, rare),
        UNSEEN_AP: _mean(precision, unseen),
        BEYOND: _mean(precision - chance, unseen),
    }


def _mean(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    found = values[chosen & ~np.isnan(values)]
    return float(found.mean()) if len(found) else 0.0


def bags(train: Corpus, seed: int) -> Mapping[str, Encoder]:
    """An encoder without order, which knows the words of the lines and of all tags."""
    tags = [name for corpus in tagged_lines(seed) for name in corpus.classes]
    return {"text": BagOfWords([row[0] for row in train.texts()] + tags)}


def on_lines(
    name: str, data: Any = None, note: str = "", *, epochs: int = EPOCHS, batch: int = BATCH, **method: Any
) -> Arm:
    """A method with the mean of tokens as vector, on the small transformer."""
    length = {"training.epochs": epochs, "training.batch_size": batch}
    return Arm({"method": {"name": name, "pooling": "mean", **method}, **length}, data=data, note=note)


def on_tags(name: str, epochs: int = TAG_EPOCHS, note: str = "", untrained: bool = False, **method: Any) -> Arm:
    """A method on bags of words and all tags."""
    changes = {
        "method": {"name": name, "pooling": "mean", **method},
        "training.epochs": epochs,
        "training.lr": 1e-2,
    }
    return Arm(changes, data=tagged_lines, encoders=bags, note=note, untrained=untrained)


CLAIM = Claim(
    slug="text_contrastive",
    kind_of_data="composed",
    paper="Contrast between texts spreads their vectors, so that cosines mean something; contrast of texts with the "
    "words of labels finds rare labels and ones that were never annotated, and words that turn a meaning round are "
    "better negatives than other texts.",
    data=lines,
    run={
        "encoders": {
            "text": {"name": "tiny_text", "options": {"width": 64, "depth": 1, "heads": 4, "pool": "mean"}},
        },
        "training": {"epochs": EPOCHS, "batch_size": BATCH, "lr": 1e-3},
    },
    arms={
        "SimCSE": on_lines("simcse"),
        "Mirror-BERT": on_lines("mirror_bert"),
        "Contrastive Tension": on_lines("contrastive_tension"),
        "DeCLUTR": on_lines(
            "declutr",
            documents,
            "documents of a dozen lines of one section",
            epochs=4 * EPOCHS,
            batch=32,
            max_len=16,
            min_len=4,
        ),
        "CERT": on_lines("cert", momentum=0.99, note="negatives from a queue"),
        "CERT, batch": on_lines("cert", momentum=0.99, queue_size=0, note="negatives from the batch"),
        "CLINE": on_lines("cline"),
        "related lines": on_lines("simcse", related_lines, "the package with the nearest tags is the positive"),
        "hard negatives": on_lines("simcse_supervised", opposed_lines, "and one of the section without its tags"),
        "untrained": Arm({"method": {"name": "simcse", "pooling": "mean"}}, untrained=True),
        "linear": on_tags("supcon_text", share=0, note="binary cross-entropy of a linear layer"),
        "matching": on_tags("label_matching", pseudo=0, negatives=20, note="GILE: tags as words"),
        "words beside": on_tags("label_matching", negatives=20, note="CLESS's words as labels, beside tags"),
        "words first": on_tags(
            "label_matching",
            TAG_EPOCHS - WORD_EPOCHS,
            "a third of the epochs on words alone",
            negatives=20,
            pretrain_epochs=WORD_EPOCHS,
            pseudo_weight=0.0,
        ),
        "untrained matching": on_tags("label_matching", untrained=True, pseudo=0),
        "contrast": on_lines("supcon_text", few_lines, epochs=60, batch=60),
        "cross-entropy": on_lines("supcon_text", few_lines, epochs=60, batch=60, share=0.0),
        "all labels": on_lines("supcon_text", note="of two thousand lines", share=0.0),
    },
    measure=measure,
    seeds=5,
    scales={
        SIMILARITY: Scale("untrained", 100.0),
        TOLD_APART: Scale("untrained", 100.0),
        RARE_AP: Scale("untrained matching", 100.0),
        BEYOND: Scale("untrained matching", 100.0),
        UNSEEN_AP: Scale("untrained matching", 100.0),
        ACCURACY: Scale(CHANCE, "all labels"),
    },
    questions=[
        *(
            Question(
                name,
                f"{arm} on {what} orders pairs better than an untrained encoder.",
                arm,
                "untrained",
                SIMILARITY,
                equal="nothing",
                **POINTS,
            )
            for name, arm, what in (
                ("spreading", "SimCSE", "lines alone"),
                ("mirror", "Mirror-BERT", "lines alone"),
                ("tension", "Contrastive Tension", "lines alone"),
                ("spans", "DeCLUTR", "documents of a dozen lines of one section"),
            )
        ),
        Question(
            "supervision",
            "Lines related by tags as positives order pairs better than each line twice.",
            "related lines",
            "SimCSE",
            SIMILARITY,
            **POINTS,
        ),
        Question(
            "hard negatives",
            "Hard negatives of the same section order pairs better than positives alone.",
            "hard negatives",
            "related lines",
            SIMILARITY,
            **POINTS,
        ),
        Question(
            "queue",
            "Negatives from a queue order pairs better than the other keys of the batch.",
            "CERT",
            "CERT, batch",
            SIMILARITY,
            **POINTS,
        ),
        Question(
            "rare labels",
            "Tags of at most eight training rows are found more precisely by their words than by a linear classifier.",
            "matching",
            "linear",
            RARE_AP,
            **PRECISION,
        ),
        Question(
            "unseen labels",
            "Tags that no training row has are found more precisely than by chance.",
            "matching",
            0.0,
            BEYOND,
            **PRECISION,
        ),
        Question(
            "words first",
            "A third of the epochs on words as labels, before tags, finds unseen tags more precisely.",
            "words first",
            "matching",
            UNSEEN_AP,
            **PRECISION,
        ),
        Question(
            "words beside",
            "Words as labels beside tags find rare tags more precisely.",
            "words beside",
            "matching",
            RARE_AP,
            **PRECISION,
        ),
        Question(
            "rare labels, words first",
            "With a third of the epochs on words, rare tags are found more precisely than by a linear classifier.",
            "words first",
            "linear",
            RARE_AP,
            **PRECISION,
        ),
        Question(
            "semantic negatives",
            "CLINE tells a version with another meaning from one with synonyms more clearly than SimCSE.",
            "CLINE",
            "SimCSE",
            TOLD_APART,
            smallest=2.0,
            because="cosines of versions lie that near each other",
        ),
        Question(
            "few labels",
            "With ten labels of each section, contrast beside cross-entropy makes the classifier more accurate.",
            "contrast",
            "cross-entropy",
            ACCURACY,
            smallest=1.0,
            because="the paper's gains are one to two points",
        ),
    ],
    tuning="Network, rate and length are those of a trial on one seed that is not among these. Label matching scores "
    "twenty wrong labels since that trial, in which all were too many; no other arm was changed for its result.",
)
