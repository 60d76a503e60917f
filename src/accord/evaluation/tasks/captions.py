"""``captions``: what a model writes about rows, against what people wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from accord.encoders.generation import Decoding
from accord.evaluation.captions import evaluate_captions
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Can, Rows, Subjects
from accord.evaluation.task import Options, Task
from accord.methods.abilities import Captions

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


class CaptionsOptions(Options):
    """Options of the task."""

    decoding: Decoding = Field(
        Decoding(method="greedy"), description="how captions are written, greedily unless it says: {method: beam}"
    )


def run(model: Model, prepared: Prepared, options: CaptionsOptions) -> list[Metric]:
    """How close written captions come, and how well people's are predicted."""
    return evaluate_captions(
        model, prepared.test.having(*model.method.subjects_of(prepared.test.columns.readable), "text"), options.decoding
    )


TASK = Task(
    "captions",
    measures="BLEU-1, BLEU-4, ROUGE-L and CIDEr-D of written captions, perplexity of people's",
    needs=(Can(Captions), Subjects(), Rows("text")),
    order=50,
    options=CaptionsOptions,
    run=run,
)
