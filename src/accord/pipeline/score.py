"""Which evaluations fit a model and its data, and running them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from accord.data.corpus import Corpus
from accord.data.recipe import Prepared
from accord.errors import ConfigError, DataError
from accord.evaluation.captions import evaluate_captions
from accord.evaluation.classification import evaluate_classification, scored_rows
from accord.evaluation.clustering import evaluate_clustering
from accord.evaluation.correspondence import evaluate_correspondence
from accord.evaluation.dense import evaluate_segmentation
from accord.evaluation.few_labels import evaluate_few_labels
from accord.evaluation.joint import evaluate_joint
from accord.evaluation.knn import evaluate_knn
from accord.evaluation.linear_probe import evaluate_linear_probe
from accord.evaluation.metric import Metric
from accord.evaluation.noise import noise_metrics, pair_noise_metrics
from accord.evaluation.retrieval import CANDIDATES, evaluate_retrieval
from accord.evaluation.zero_shot import class_examples, evaluate_zero_shot
from accord.training.artifact import Model

DEFAULT_TEMPLATES = "plain"


def fitting_tasks(model: Model, prepared: Prepared) -> list[str]:
    """The tasks that the model can do on the held-out rows, main one first."""
    test = prepared.test
    labelled = len(test.classes) > 1 and len(scored_rows(test)[0]) > 0
    taught = len(prepared.train) > prepared.train.unlabelled
    paired = "text" in model.modalities and bool(test.columns.text)
    fits = {
        "classification": model.method.classifies and labelled and set(test.classes) <= set(model.classes),
        "retrieval": paired and len(model.modalities) > 1,
        "zero_shot": labelled and "text" in model.modalities and len(model.modalities) > 1,
        "knn": labelled and not model.method.classifies and taught,
        "captions": model.method.captions and paired and "image" in test.modalities,
        "joint": len(set(model.modalities) & set(test.modalities)) > 2,
        "segmentation": bool(test.columns.mask) and model.method.dense_features and len(prepared.train) > 0,
        "few_labels": labelled and "graph" in model.modalities and taught,
        "clustering": labelled and "graph" in model.modalities,
    }
    return [task for task, fit in fits.items() if fit]


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
        templates: prompt templates for ``zero_shot``.
        candidates: how many items of a gallery a second stage scores for each query; 0 leaves it out. None takes 128 of
            ``retrieval`` and leaves out that of ``joint``, which reads whole tuples.
        examples: captions of training rows that count as further texts of their class in ``zero_shot``.

    Raises:
        ConfigError: there is no such task, it does not fit, or no rows were held out.
        RowError: a row cannot be read any more.
    """
    if not len(prepared.test):
        if tasks:
            raise ConfigError("no rows were held out: set data.split.test, or name other data to evaluate on")
        return judgement(model, prepared.train)
    runners = _runners(model, prepared, templates, candidates, examples)
    unknown = [task for task in tasks if task not in runners]
    if unknown:
        raise ConfigError(f"no task {unknown[0]!r}; there are: {', '.join(runners)}")
    chosen = list(tasks) or fitting_tasks(model, prepared)
    named = [metric for task in chosen for metric in _prefixed(task, runners[task](), len(chosen) > 1)]
    return named + judgement(model, prepared.train)


def judgement(model: Model, train: Corpus) -> list[Metric]:
    """Scores of the method's verdicts on the training rows against the hidden truth; empty where there is none."""
    verdicts = model.method.verdicts()
    if verdicts is None or train.truth is None or len(train) != len(verdicts.kept):
        return []
    if train.labels is not None and train.labels.ndim == 1:
        return noise_metrics(verdicts, train.labels, train.truth, train.groups())
    return pair_noise_metrics(verdicts, np.asarray(train.truth) == 0, train.groups())


def _runners(
    model: Model, prepared: Prepared, templates: str | Sequence[str] | None, candidates: int | None, examples: int
) -> dict[str, Callable[[], list[Metric]]]:
    test, train = prepared.test, prepared.reference
    modality = _main_modality(model)
    nearest = CANDIDATES if candidates is None else candidates
    return {
        "classification": lambda: _classification(model, test.having("image")),
        "retrieval": lambda: evaluate_retrieval(model, test, modality, candidates=nearest),
        "zero_shot": lambda: evaluate_zero_shot(
            model,
            test,
            templates or DEFAULT_TEMPLATES,
            modality,
            class_examples(train, examples) if examples else None,
        ),
        "knn": lambda: evaluate_knn(model, test, train if len(train) else None, modality=modality),
        "captions": lambda: evaluate_captions(model, test.having("image", "text")),
        "joint": lambda: evaluate_joint(model, test, candidates or 0),
        "segmentation": lambda: evaluate_segmentation(model, test.having("image"), train.having("image")),
        "correspondence": lambda: evaluate_correspondence(model, test),
        "linear_probe": lambda: evaluate_linear_probe(model, test, train, modality),
        "few_labels": lambda: evaluate_few_labels(model, test, train, modality),
        "clustering": lambda: evaluate_clustering(model, test, modality),
    }


def _main_modality(model: Model) -> str:
    return next((name for name in model.modalities if name != "text"), "text")


def _classification(model: Model, corpus: Corpus) -> list[Metric]:
    """Metrics of the model's classifier; other data may hold its classes in another order, or some of them only."""
    logits = model.classify(corpus)
    if logits is None:
        raise ConfigError(f"method {model.method.name} has no classifier: evaluate it by knn or linear_probe")
    unknown = sorted(set(corpus.classes) - set(model.classes))
    if unknown:
        raise DataError(
            f"{corpus.name} has {len(unknown)} classes that the model was not trained on (the first: {unknown[0]!r}): "
            "evaluate by another task, such as --task zero_shot"
        )
    order = [corpus.classes.index(name) for name in model.classes if name in corpus.classes]
    if order != sorted(order) or len(order) < len(model.classes):
        corpus = _renumbered(corpus, model.classes)
    return evaluate_classification(logits, corpus)


def _renumbered(corpus: Corpus, classes: tuple[str, ...]) -> Corpus:
    """The corpus with its labels as numbers, or columns, of these classes, which hold its own."""
    place = np.array([classes.index(name) for name in corpus.classes])
    labels = np.asarray(corpus.labels)
    if labels.ndim == 1:
        return corpus.with_labels(np.where(labels < 0, -1, place[labels]), classes=classes)
    wide = np.zeros((len(corpus), len(classes)), dtype=labels.dtype)
    wide[:, place] = labels
    return corpus.with_labels(wide, classes=classes)


def _prefixed(task: str, metrics: list[Metric], needed: bool) -> list[Metric]:
    """Metric names with the task before them where several tasks could clash."""
    if not needed:
        return metrics
    return [Metric.from_dict({**metric.to_dict(), "name": f"{task}: {metric.name}"}) for metric in metrics]
