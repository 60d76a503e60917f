"""``answers``: what a model answers to questions about rows, against what people answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from accord.encoders.generation import Decoding
from accord.evaluation.captions import words
from accord.evaluation.metric import Metric, mean_metric
from accord.evaluation.needs import Can, Rows, Subjects
from accord.evaluation.task import Options, Task
from accord.methods.abilities import Answers

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model

_AGREED = 3  # people whose answer is right for good, as VQA counts


class AnswersOptions(Options):
    """Options of the task."""

    decoding: Decoding = Field(
        Decoding(method="greedy"), description="how answers are written, greedily unless it says: {method: beam}"
    )


def run(model: Model, prepared: Prepared, options: AnswersOptions) -> list[Metric]:
    """Share of questions whose answer is one of those that people gave, and how many of them gave it."""
    subjects = model.method.subjects_of(prepared.test.columns.readable)
    test = prepared.test.having(*subjects, "answers")
    written = [words(text) for text in model.answer_corpus(test, decoding=options.decoding)]
    given = [[words(text) for text in row] for row in test.texts("answers")]
    same = [row.count(answer) for answer, row in zip(written, given, strict=True)]
    groups = test.groups()
    metrics = [mean_metric("right answers", [count > 0 for count in same], chance=None, groups=groups)]
    if any(len(row) >= _AGREED for row in given):
        shares = [min(1.0, count / _AGREED) for count in same]
        metrics.append(mean_metric("VQA accuracy", shares, chance=None, groups=groups))
    return metrics


TASK = Task(
    "answers",
    measures="share of questions whose written answer is one that people gave; VQA accuracy where three or more did",
    needs=(Can(Answers), Subjects(), Rows("answers")),
    order=55,
    options=AnswersOptions,
    run=run,
)
