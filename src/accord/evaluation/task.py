"""What a task declares: its needs, its options, how it is run, and what it shows in the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from accord.config import Config
from accord.errors import ConfigError

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

        >>> from accord.evaluation.tasks import get_task
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
