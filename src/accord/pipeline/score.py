"""Running the evaluations that fit a model and its data, or those that were asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accord.data.corpus import Corpus
from accord.data.recipe import Prepared
from accord.errors import ConfigError
from accord.evaluation.metric import Metric
from accord.evaluation.noise import noise_metrics, pair_noise_metrics
from accord.evaluation.task import Options, Task
from accord.evaluation.tasks import fitting_tasks, get_task, parse_options
from accord.methods.abilities import JudgesRows
from accord.training.model import Model

Asked = Sequence[str] | Mapping[str, Mapping[str, Any]]  # names of tasks, or name -> options
EVERY = "*"  # stands for every task that has the options


def score(
    model: Model, prepared: Prepared, tasks: Asked = (), options: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Metric]:
    """The metrics of ``tasks`` on ``prepared.test``, and what the method's verdicts on training rows are worth.

    Args:
        model: the trained model.
        prepared: its corpora.
        tasks: names, or name -> options; empty runs those that fit.
        options: name -> further options of a task that is run; ``"*"`` -> options of all that have them.

    Raises:
        ConfigError: there is no such task or option, a task does not fit, options are of one that is not run, or no
            rows were held out.
        RowError: a row cannot be read any more.
    """
    chosen = chosen_tasks(model, prepared, tasks, options)
    named = [
        metric
        for task, how in chosen
        for metric in _prefixed(task.name, task.run(model, prepared, how), len(chosen) > 1)
    ]
    return named + judgement(model, prepared.train)


def chosen_tasks(
    model: Model, prepared: Prepared, tasks: Asked = (), options: Mapping[str, Mapping[str, Any]] | None = None
) -> list[tuple[Task, Options]]:
    """The tasks that :func:`score` runs, each with its options; none where no rows were held out."""
    named = [get_task(name) for name in tasks]
    if named and not len(prepared.test):
        raise ConfigError("no rows were held out: set data.split.test, or name other data to evaluate on")
    for task in named:
        task.check(model, prepared)
    own, wanted = dict(tasks) if isinstance(tasks, Mapping) else {}, dict(options or {})
    common = wanted.pop(EVERY, {})
    chosen = named or ([get_task(name) for name in fitting_tasks(model, prepared)] if len(prepared.test) else [])
    idle = next((get_task(name) for name in wanted if name not in [task.name for task in chosen]), None)
    if idle is not None:
        idle.check(model, prepared)
        raise ConfigError(f"{idle.name} is not run, so its options say nothing: ask for it with --task {idle.name}")
    return [(task, _options(task, common, own.get(task.name, {}), wanted.get(task.name, {}))) for task in chosen]


def _options(task: Task, common: Mapping[str, Any], *own: Mapping[str, Any]) -> Options:
    """The options of a task: its own, the later ones first, and those common to all tasks that have them."""
    shared = {name: value for name, value in common.items() if name in task.options.model_fields}
    return parse_options(task.name, {name: value for part in (shared, *own) for name, value in part.items()})


def judgement(model: Model, train: Corpus) -> list[Metric]:
    """Scores of the method's verdicts on the training rows against the hidden truth; empty where there is none."""
    judge = JudgesRows.of(model.method)
    verdicts = None if judge is None else judge.verdicts()
    if verdicts is None or train.truth is None or len(train) != len(verdicts.kept):
        return []
    if model.method.learns_labels and train.labels is not None and train.labels.ndim == 1:
        return noise_metrics(verdicts, train.labels, train.truth, train.groups())
    return pair_noise_metrics(verdicts, np.asarray(train.truth) == 0, train.groups())


def _prefixed(task: str, metrics: list[Metric], needed: bool) -> list[Metric]:
    """Metric names with the task before them where several tasks could clash."""
    if not needed:
        return metrics
    return [Metric.from_dict({**metric.to_dict(), "name": f"{task}: {metric.name}"}) for metric in metrics]
