"""The tasks that a model can be scored on: each is one file here, which is found by its name.

``NAME.py`` declares ``TASK = Task("NAME", ...)``: what it measures, what it needs, its options, how it is run, and what
it shows in the report. The command line, the settings of a run, the evaluation after training, the report and the
documentation read these declarations; another package adds to them by the entry point ``accord.tasks``. A file is
imported when its task is asked for, so that the names are there at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from accord.config import Config
from accord.errors import ConfigError, no_such
from accord.plugins import broken, complain, find_plugin, plugin_names

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.evaluation.metric import Metric
    from accord.evaluation.needs import Need
    from accord.evaluation.sections import Section


class Options(Config):
    """What can be set of a task, as ``NAME.OPTION``; one without options takes this."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One way to score a model (:class:`accord.training.model.Model`).

    Args:
        name: what the user calls it.
        measures: what comes out, in half a sentence; for the documentation.
        needs: without which it is refused, see :mod:`accord.evaluation.needs`.
        usual: what it needs besides to be run where no tasks are named.
        order: where it comes among those that are run unnamed, the lowest first; None leaves it out of them.
        suggested: whether it is one of the commands to try next, where it fits.
        options: what can be set.
        run: its metrics on ``prepared.test``, the main one first.
        shows: what the report shows of it beside the numbers, see :mod:`accord.evaluation.sections`.
        fits: whether it is run unnamed, where needs cannot say it.
    """

    name: str = field(kw_only=False)
    run: Callable[[Any, Prepared, Any], list[Metric]]
    measures: str = ""
    needs: Sequence[Need] = ()
    usual: Sequence[Need] = ()
    order: int | None = 100
    suggested: bool = False
    options: type[Options] = Options
    shows: Callable[[Any, Prepared, Any], Iterable[Section]] | None = None
    fits: Callable[[Any, Prepared], bool] | None = None

    def check(self, model: Any, prepared: Prepared) -> None:
        """Refuse what the task cannot be run on.

        Raises:
            ConfigError: a need is not met; says what is needed, what there is, and what to do.
        """
        for need in self.needs:
            lack = need.lack(model, prepared)
            if lack is not None:
                raise ConfigError(f"task {self.name} does not fit: it needs {need.words}; {lack}")

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns that its needs name.

        >>> get_task("segmentation").reads
        ('image', 'mask', 'mask')
        """
        return tuple(field for need in self.needs for field in need.fields)

    def fits_needs(self, model: Any, prepared: Prepared) -> bool:
        """Whether it can be run at all."""
        return all(need.lack(model, prepared) is None for need in self.needs)

    def is_usual(self, model: Any, prepared: Prepared) -> bool:
        """Whether it is run where no tasks are named."""
        if self.order is None or not self.fits_needs(model, prepared):
            return False
        wanted = all(need.lack(model, prepared) is None for need in self.usual)
        return wanted and (self.fits is None or self.fits(model, prepared))


def task_names() -> list[str]:
    """Names of all tasks, those of other installed packages last; imports none of them.

    >>> task_names()[:3]
    ['captions', 'classification', 'clustering']
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
        accord.errors.ConfigError: no task 'knnn'; did you mean knn? There are: captions, classification, ...
    """
    if any(module.name == name for module in iter_modules(__path__)):
        own: Task = import_module(f"{__name__}.{name}").TASK
        return own
    task = find_plugin("tasks", name)
    if task is None:
        raise ConfigError(no_such("task", name, task_names()))
    if not isinstance(task, Task):
        raise broken("tasks", name, f"expected an accord.evaluation.tasks.Task, got {task!r}")
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
