"""``answers``: what a model answers to questions about rows, against what people answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from accord.encoders.generation import Decoding
from accord.evaluation.answers import AGREED, plain_answer, vqa_accuracy
from accord.evaluation.metric import Metric, mean_metric
from accord.evaluation.needs import Can, Rows, Subjects
from accord.evaluation.task import Options, Task
from accord.methods.abilities import Answers

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


class AnswersOptions(Options):
    """Options of the task."""

    decoding: Decoding = Field(
        Decoding(method="greedy"), description="how answers are written, greedily unless it says: {method: beam}"
    )


def run(model: Model, prepared: Prepared, options: AnswersOptions) -> list[Metric]:
    """Share of questions whose answer is one of those that people gave, and how many of them gave it."""
    subjects = model.method.subjects_of(prepared.test.columns.readable)
    test = prepared.test.having(*subjects, "answers")
    written, given = model.answer_corpus(test, decoding=options.decoding), test.texts("answers")
    pairs, groups = list(zip(written, given, strict=True)), test.groups()
    right = [plain_answer(answer) in map(plain_answer, row) for answer, row in pairs]
    metrics = [mean_metric("right answers", right, chance=None, groups=groups)]
    if any(len(row) >= AGREED for row in given):
        shares = [vqa_accuracy(answer, row) for answer, row in pairs]
        metrics.append(mean_metric("VQA accuracy", shares, chance=None, groups=groups))
    return metrics


TASK = Task(
    "answers",
    measures="share of questions whose written answer is one that people gave, articles apart; VQA accuracy where "
    "three or more did",
    needs=(Can(Answers), Subjects(), Rows("answers")),
    order=55,
    options=AnswersOptions,
    run=run,
)
