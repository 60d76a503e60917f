"""The tasks that a model can be scored on: each is one file here, which is found by its name.

``NAME.py`` declares ``TASK = Task("NAME", ...)``: what it measures, what it needs, its options, how it is run, and what
it shows in the report. The command line, the settings of a run, the evaluation after training, the report and the
documentation read these declarations; another package adds to them by the entry point ``accord.tasks``. A file is
imported when its task is asked for, so that the names are there at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from accord.errors import ConfigError, no_such
from accord.plugins import broken, complain, find_plugin, plugin_names

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.evaluation.task import Options, Task


def task_names() -> list[str]:
    """Names of all tasks, those of other installed packages last; imports none of them.

    >>> task_names()[:3]
    ['answers', 'captions', 'class_relations']
    """
    own = [module.name for module in iter_modules(__path__)]
    return own + [name for name in plugin_names("tasks") if name not in own]


def get_task(name: str) -> Task:
    """The task called ``name``.

    Raises:
        ConfigError: there is none, lists those there are; or it is another package's and cannot be used.

    Example:
        >>> get_task("knnn")
        Traceback (most recent call last):
        accord.errors.ConfigError: no task 'knnn'; did you mean knn? There are: answers, captions, ...
    """
    if any(module.name == name for module in iter_modules(__path__)):
        own: Task = import_module(f"{__name__}.{name}").TASK
        return own
    task = find_plugin("tasks", name)
    if task is None:
        raise ConfigError(no_such("task", name, task_names()))
    from accord.evaluation.task import Task  # pydantic with it, of which names have no need

    if not isinstance(task, Task):
        raise broken("tasks", name, f"expected an accord.evaluation.task.Task, got {task!r}")
    if task.name != name:
        raise broken("tasks", name, f"the task calls itself {task.name!r}; the two must be equal")
    return task


def get_tasks() -> Iterator[Task]:
    """All tasks; one of another package that cannot be used is left out, and that is said."""
    for name in task_names():
        try:
            yield get_task(name)
        except ConfigError as error:
            complain(error)


def fitting_tasks(model: Any, prepared: Prepared) -> list[str]:
    """The tasks that are run on the held-out rows where none is named, main one first."""
    usual = [task for task in get_tasks() if task.is_usual(model, prepared)]
    return [task.name for task in sorted(usual, key=lambda task: task.order or 0)]


def parse_options(name: str, values: Mapping[str, Any] | None = None, at: str = "") -> Options:
    """The options of a task.

    Args:
        name: of the task.
        values: option -> value, or None.
        at: where they stand in a whole configuration; as ``NAME.OPTION`` when empty.

    Raises:
        ConfigError: there is no such task, or an option is unknown or out of range.

    Example:
        >>> parse_options("knn", {"k": 5}).k
        5
        >>> parse_options("knn", {"kk": 5})
        Traceback (most recent call last):
        accord.errors.ConfigError: knn.kk is not a setting; did you mean knn.k?
    """
    return get_task(name).options.parse(dict(values or {}), at=at or name)
