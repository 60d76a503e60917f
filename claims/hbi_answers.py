"""HBI's answers to questions about strips of digits: with merged levels and the game, with levels alone, with neither.

A clip shows six real digits one after the other. Half of the questions ask whether a digit is there (yes or no, one as
often as the other), so that words and frames have to be matched, half which digit comes first or last, so that frames
have to be kept in order. The baseline learns contrast and answers from words and frames alone, for as many steps.

1. What the method adds answers more questions. It could fail because levels merge what is alike in meaning, not what
   lies side by side in time.
2. It looks: it answers more than the questions alone give away, the commonest training answer to each.

    accord claims run hbi_answers
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from shared.digits import WORDS
from shared.strips import FRAMES, digit_strips

from accord.claims import Arm, Claim, Question, Scale
from accord.data.columns import Columns
from accord.data.corpus import Corpus
from accord.training.artifact import Model

HBI, LEVELS, PLAIN, UNTRAINED = "hbi", "levels", "words and frames alone", "untrained"
RIGHT, ALONE = "right answers", "right by the question alone"
WARM, TEACHER_EPOCHS, EPOCHS = 7, 3, 10
ALL = WARM + TEACHER_EPOCHS + EPOCHS


def asked_strips(seed: int) -> tuple[Corpus, Corpus]:
    """Strips for training and for testing with a question and its answer each, instead of captions."""
    train, test = digit_strips(seed)
    return _asked(train, np.random.default_rng([seed, 2])), _asked(test, np.random.default_rng([seed, 3]))


def measure(model: Model, train: Corpus, test: Corpus) -> Mapping[str, float]:
    """Percent of the questions that are answered right, and to which their commonest answer in training is right."""
    answers = [row[0] for row in test.texts("answers")]
    given = model.answer_corpus(test)
    questions = [[row[0] for row in corpus.texts("input_text")] for corpus in (train, test)]
    common: dict[str, Counter[str]] = {}
    for question, row in zip(questions[0], train.texts("answers"), strict=True):
        common.setdefault(question, Counter())[row[0]] += 1
    usual = [common[question].most_common(1)[0][0] if question in common else "" for question in questions[1]]
    return {name: 100 * float(np.mean(np.array(found) == answers)) for name, found in ((RIGHT, given), (ALONE, usual))}


def _asked(strips: Corpus, random: np.random.Generator) -> Corpus:
    pairs = [_question(np.array(shown), random) for shown in strips.rows["digits"]]
    rows = strips.rows.remove_columns(["text"])
    for column, values in zip(("question", "answer"), zip(*pairs, strict=True), strict=True):
        rows = rows.add_column(column, list(values))
    return replace(strips, rows=rows, columns=Columns(video="video", input_text="question", answers=("answer",)))


def _question(shown: np.ndarray, random: np.random.Generator) -> tuple[str, str]:
    if random.random() < 0.5:
        which = int(random.integers(2))
        return f"what comes {('first', 'last')[which]}", WORDS[shown[-which]]
    there = random.random() < 0.5
    digits = np.unique(shown) if there else np.setdiff1d(np.arange(len(WORDS)), shown)
    return f"is there a {WORDS[random.choice(digits)]}", "yes" if there else "no"


CLAIM = Claim(
    slug="hbi_answers",
    kind_of_data="composed",
    paper="A classifier of answers over words and frames gains from merged levels and from the game that words and "
    "frames play, as retrieval does.",
    data=asked_strips,
    run={
        "method": {
            "name": "hbi_answers",
            **{"dim": 48, "heads": 4, "head_width": 16, "merge_ratios": [0.5, 0.5], "answer_width": 96},
            **{"warm_epochs": WARM, "teacher_epochs": TEACHER_EPOCHS, "coalitions": 30, "duplicates": "ignored"},
        },
        "encoders": {
            "video": {
                "name": "frames",
                "options": {
                    **{"frames": FRAMES, "temporal": "transformer", "depth": 1},
                    "image": {"name": "tiny_vit", "size": 8, "patch": 4, "width": 48, "depth": 1, "heads": 4},
                },
            },
            "text": {"name": "tiny_text", "options": {"width": 48, "depth": 1, "heads": 4}},
        },
        "training": {"epochs": EPOCHS, "batch_size": 32, "lr": 2e-3, "warmup": 0.1, "accelerator": "cpu"},
    },
    arms={
        HBI: Arm(),
        LEVELS: Arm(
            {"method.interaction_weight": 0.0, "training.epochs": ALL - WARM}, note="merged levels, without the game"
        ),
        PLAIN: Arm(
            {
                **{"method.merge_ratios": [], "method.interaction_weight": 0.0, "method.distill_weight": 0.0},
                "method.warm_epochs": 0,
                "training.epochs": ALL,
            },
            note="one level",
        ),
        UNTRAINED: Arm(untrained=True),
    },
    measure=measure,
    scales={RIGHT: Scale((UNTRAINED, 100 / 12), 100.0)},
    questions=[
        Question(
            "answers",
            "With merged levels and the game more questions are answered right than with words and frames alone.",
            method=HBI,
            baseline=PLAIN,
            metric=RIGHT,
            smallest=1.0,
            because="one answer in a hundred is less than what the paper gains",
        ),
        Question(
            "the game",
            "The game answers more than merged levels without it.",
            method=HBI,
            baseline=LEVELS,
            metric=RIGHT,
            smallest=1.0,
            because="as above",
        ),
        Question(
            "looking",
            "More questions are answered right than the questions alone give away.",
            method=HBI,
            baseline=HBI,
            metric=RIGHT,
            baseline_metric=ALONE,
            smallest=2.0,
            because="two points are beyond what the draw of questions makes",
        ),
    ],
    seeds=(1, 2, 3, 4, 5),
)
