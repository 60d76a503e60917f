"""Running the evaluations that fit a model and its data, or those that were asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accord.data.corpus import Corpus
from accord.data.recipe import Prepared
from accord.errors import ConfigError
from accord.evaluation.metric import Metric
from accord.evaluation.noise import noise_metrics, pair_noise_metrics
from accord.evaluation.tasks import Options, fitting_tasks, get_task
from accord.methods.abilities import JudgesRows
from accord.training.artifact import Model


def score(
    model: Model,
    prepared: Prepared,
    tasks: Sequence[str] = (),
    *,
    templates: str | Sequence[str] | None = None,
    candidates: int | None = None,
    examples: int = 0,
) -> list[Metric]:
    """The metrics of ``tasks`` on ``prepared.test``, and what the method's verdicts on training rows are worth.

    Args:
        model: the trained model.
        prepared: its corpora.
        tasks: names; empty runs those that fit.
        templates: as in :class:`accord.evaluation.tasks.Options`, None for the model's own; likewise the others.
        candidates: how many items a second stage scores.
        examples: captions of training rows beside the class names.

    Raises:
        ConfigError: there is no such task, it does not fit, or no rows were held out.
        RowError: a row cannot be read any more.
    """
    if not len(prepared.test):
        if tasks:
            raise ConfigError("no rows were held out: set data.split.test, or name other data to evaluate on")
        return judgement(model, prepared.train)
    options = Options(templates or model.templates, candidates, examples)
    chosen = [get_task(name) for name in (tasks or fitting_tasks(model, prepared))]
    named = [
        metric
        for task in chosen
        for metric in _prefixed(task.name, task.run(model, prepared, options), len(chosen) > 1)
    ]
    return named + judgement(model, prepared.train)


def judgement(model: Model, train: Corpus) -> list[Metric]:
    """Scores of the method's verdicts on the training rows against the hidden truth; empty where there is none."""
    judge = JudgesRows.of(model.method)
    verdicts = None if judge is None else judge.verdicts()
    if verdicts is None or train.truth is None or len(train) != len(verdicts.kept):
        return []
    if train.labels is not None and train.labels.ndim == 1:
        return noise_metrics(verdicts, train.labels, train.truth, train.groups())
    return pair_noise_metrics(verdicts, np.asarray(train.truth) == 0, train.groups())


def _prefixed(task: str, metrics: list[Metric], needed: bool) -> list[Metric]:
    """Metric names with the task before them where several tasks could clash."""
    if not needed:
        return metrics
    return [Metric.from_dict({**metric.to_dict(), "name": f"{task}: {metric.name}"}) for metric in metrics]
