"""The tasks that a model can be scored on, declared once: name, when it fits, how it is run.

The command line, the settings of a run and the evaluation after training read this list. Another package adds to it by
the entry point ``accord.tasks``. A task imports what it needs when it runs, so that the names are there at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accord.errors import ConfigError, no_such
from accord.methods.abilities import Captions, Classifies
from accord.plugins import broken, complain, find_plugin, plugin_names

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.evaluation.metric import Metric


@dataclass(frozen=True)
class Options:
    """What may be asked of the tasks; each reads what concerns it.

    Args:
        templates: prompt templates of ``zero_shot``: the name of a set, or the templates.
        candidates: how many items of a gallery a second stage scores for each query; 0 leaves it out. None takes 128 of
            ``retrieval`` and leaves out that of ``joint``, which reads whole tuples.
        examples: captions of training rows that count as further texts of their class in ``zero_shot``.
    """

    templates: str | Sequence[str] = "plain"
    candidates: int | None = None
    examples: int = 0


@dataclass(frozen=True)
class Task:
    """One way to score a model.

    Args:
        name: what the user calls it.
        fits: whether a model (:class:`accord.training.artifact.Model`) and the corpora of its run allow it, so that it
            is run where no tasks are named.
        run: its metrics on ``prepared.test``, the main one first.
    """

    name: str
    fits: Callable[[Any, Prepared], bool]
    run: Callable[[Any, Prepared, Options], list[Metric]]


def task_names() -> list[str]:
    """Names of all tasks, those of other installed packages last; imports none of them.

    >>> task_names()[:3]
    ['classification', 'retrieval', 'zero_shot']
    """
    own = [task.name for task in _TASKS]
    return own + [name for name in plugin_names("tasks") if name not in own]


def get_task(name: str) -> Task:
    """The task called ``name``.

    Raises:
        ConfigError: there is none, lists those there are; or it is another package's and cannot be used.

    Example:
        >>> get_task("knnn")
        Traceback (most recent call last):
        accord.errors.ConfigError: no task 'knnn'; did you mean knn? There are: classification, retrieval, ...
    """
    own = next((task for task in _TASKS if task.name == name), None)
    task = own or find_plugin("tasks", name)
    if task is None:
        raise ConfigError(no_such("task", name, task_names()))
    if not isinstance(task, Task):
        raise broken("tasks", name, f"expected an accord.evaluation.tasks.Task, got {task!r}")
    return task


def fitting_tasks(model: Any, prepared: Prepared) -> list[str]:
    """The tasks that the model can do on the held-out rows, main one first; one that cannot be used is left out."""
    found = []
    for name in task_names():
        try:
            found += [name] if get_task(name).fits(model, prepared) else []
        except ConfigError as error:
            complain(error)
    return found


# --- when a task fits ---


def _labelled(prepared: Prepared) -> bool:
    from accord.evaluation.classification import scored_rows

    return len(prepared.test.classes) > 1 and len(scored_rows(prepared.test)[0]) > 0


def _taught(prepared: Prepared) -> bool:
    """Whether there are rows with labels to learn from."""
    return len(prepared.reference) > prepared.reference.unlabelled


def _paired(model: Any, prepared: Prepared) -> bool:
    return "text" in model.modalities and bool(prepared.test.columns.text)


def _fits_classification(model: Any, prepared: Prepared) -> bool:
    return model.can(Classifies) and _labelled(prepared) and set(prepared.test.classes) <= set(model.classes)


def _fits_retrieval(model: Any, prepared: Prepared) -> bool:
    return _paired(model, prepared) and len(model.modalities) > 1


def _fits_zero_shot(model: Any, prepared: Prepared) -> bool:
    return _labelled(prepared) and "text" in model.modalities and len(model.modalities) > 1


def _fits_knn(model: Any, prepared: Prepared) -> bool:
    return _labelled(prepared) and not model.can(Classifies) and _taught(prepared)


def _fits_captions(model: Any, prepared: Prepared) -> bool:
    return model.can(Captions) and _paired(model, prepared) and "image" in prepared.test.modalities


def _fits_joint(model: Any, prepared: Prepared) -> bool:
    return len(set(model.modalities) & set(prepared.test.modalities)) > 2


def _fits_segmentation(model: Any, prepared: Prepared) -> bool:
    return bool(prepared.test.columns.mask) and _gives_maps(model) and len(prepared.reference) > 0


def _gives_maps(model: Any) -> bool:
    try:
        model.map_encoder()
    except ConfigError:
        return False
    return True


def _fits_few_labels(model: Any, prepared: Prepared) -> bool:
    return _fits_clustering(model, prepared) and _taught(prepared)


def _fits_clustering(model: Any, prepared: Prepared) -> bool:
    return _labelled(prepared) and "graph" in model.modalities


def _when_asked(model: Any, prepared: Prepared) -> bool:
    return False


# --- how it is run ---


def _classification(model: Any, prepared: Prepared, options: Options) -> list[Metric]:
    from accord.evaluation.classification import evaluate_classification, in_classes_of

    test = prepared.test.having(*model.method.subjects)
    return evaluate_classification(model.classify(test), in_classes_of(test, model.classes))


def _retrieval(model: Any, prepared: Prepared, options: Options) -> list[Metric]:
    from accord.evaluation.retrieval import CANDIDATES, evaluate_retrieval

    candidates = CANDIDATES if options.candidates is None else options.candidates
    return evaluate_retrieval(model, prepared.test, _main_modality(model), candidates=candidates)


def _zero_shot(model: Any, prepared: Prepared, options: Options) -> list[Metric]:
    from accord.evaluation.zero_shot import class_examples, evaluate_zero_shot

    examples = class_examples(prepared.reference, options.examples) if options.examples else None
    return evaluate_zero_shot(model, prepared.test, options.templates, _main_modality(model), examples)


def _knn(model: Any, prepared: Prepared, options: Options) -> list[Metric]:
    from accord.evaluation.knn import evaluate_knn

    train = prepared.reference if len(prepared.reference) else None
    return evaluate_knn(model, prepared.test, train, modality=_main_modality(model))


def _captions(model: Any, prepared: Prepared, options: Options) -> list[Metric]:
    from accord.evaluation.captions import evaluate_captions

    return evaluate_captions(model, prepared.test.having("image", "text"))


def _joint(model: Any, prepared: Prepared, options: Options) -> list[Metric]:
    from accord.evaluation.joint import evaluate_joint

    return evaluate_joint(model, prepared.test, options.candidates or 0)


def _segmentation(model: Any, prepared: Prepared, options: Options) -> list[Metric]:
    from accord.evaluation.dense import evaluate_segmentation

    return evaluate_segmentation(model, prepared.test.having("image"), prepared.reference.having("image"))


def _few_labels(model: Any, prepared: Prepared, options: Options) -> list[Metric]:
    from accord.evaluation.few_labels import evaluate_few_labels

    return evaluate_few_labels(model, prepared.test, prepared.reference, _main_modality(model))


def _clustering(model: Any, prepared: Prepared, options: Options) -> list[Metric]:
    from accord.evaluation.clustering import evaluate_clustering

    return evaluate_clustering(model, prepared.test, _main_modality(model))


def _correspondence(model: Any, prepared: Prepared, options: Options) -> list[Metric]:
    from accord.evaluation.correspondence import evaluate_correspondence

    return evaluate_correspondence(model, prepared.test)


def _linear_probe(model: Any, prepared: Prepared, options: Options) -> list[Metric]:
    from accord.evaluation.linear_probe import evaluate_linear_probe

    return evaluate_linear_probe(model, prepared.test, prepared.reference, _main_modality(model))


def _main_modality(model: Any) -> str:
    return next((name for name in model.modalities if name != "text"), "text")


_TASKS = (
    Task("classification", _fits_classification, _classification),
    Task("retrieval", _fits_retrieval, _retrieval),
    Task("zero_shot", _fits_zero_shot, _zero_shot),
    Task("knn", _fits_knn, _knn),
    Task("captions", _fits_captions, _captions),
    Task("joint", _fits_joint, _joint),
    Task("segmentation", _fits_segmentation, _segmentation),
    Task("few_labels", _fits_few_labels, _few_labels),
    Task("clustering", _fits_clustering, _clustering),
    Task("linear_probe", _when_asked, _linear_probe),
    Task("correspondence", _when_asked, _correspondence),  # layouts that agree are for people to say
)
