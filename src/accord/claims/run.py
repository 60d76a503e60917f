"""``accord claims run``: train the arms of a claim on every seed, pair them, judge, and write what was found.

Each arm and seed is kept in the cache as soon as it is measured, so that a run that was killed goes on with what is
missing, and a run after a change of one arm trains that arm alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from accord.claims.arms import Arms, Ready, Seed
from accord.claims.declare import Arm, Claim, Question
from accord.claims.figure import draw
from accord.claims.judge import Outcome, Values, judge, with_combined
from accord.claims.load import loaded
from accord.claims.record import record_of, write_record
from accord.claims.start import Budget
from accord.claims.store import Result, keep, recall
from accord.errors import ConfigError
from accord.training.device import resolve_device
from accord.training.seeding import seed_everything


@dataclass(frozen=True)
class Report:
    """What a run of a claim found.

    Args:
        claim: the declaration.
        seeds: the seeds.
        results: arm -> its result on each seed, of the arms that are run.
        outcomes: the answer to each question.
        path: the record; None for a smoke run.
        figure: the figure; None for a smoke run.
    """

    claim: Claim
    seeds: tuple[int, ...]
    results: Mapping[str, list[Result]]
    outcomes: tuple[Outcome, ...]
    path: Path | None = None
    figure: Path | None = None


def run_claim(
    slug: str,
    folder: str | Path = "claims",
    *,
    seeds: int | None = None,
    quick: bool = False,
    progress: bool = True,
    device: str | None = None,
) -> Report:
    """Measure the claim ``folder/SLUG.py`` and write ``folder/results/SLUG.json`` and ``.png``.

    Args:
        slug: name of the claim.
        folder: where the claim files are.
        seeds: how many seeds; None for what the claim declares.
        quick: a smoke run: one seed, one epoch on a few hundred rows. Shows that every part works, and neither
            writes a result nor reads or leaves one in the cache.
        progress: print each result as it comes, on standard error.
        device: kind of device that arms are trained on; None for what the claim says, or the best there is.

    Raises:
        ConfigError: the claim is declared wrongly or compares arms that are not comparable, or there is no such device.
    """
    folder = Path(folder)
    resolve_device(device or "auto")
    with loaded(slug, folder) as claim:
        chosen = claim.chosen_seeds(1 if quick and seeds is None else seeds)
        arms = Arms(claim, folder, device=device)
        check_budgets(arms, chosen[0])
        results = _measured(claim, arms.smoke() if quick else arms, chosen, Progress(claim, chosen, progress))
        outcomes = judged(claim, results)
        if quick:
            return Report(claim, chosen, results, outcomes)
        command = f"accord claims run {slug}" + (f" --seeds {seeds}" if seeds is not None else "")
        record = record_of(claim, chosen, results, outcomes, command)
        path = write_record(folder / "results", record)
        return Report(claim, chosen, results, outcomes, path, draw(record, path.with_suffix(".png")))


def judged(claim: Claim, results: Mapping[str, list[Result]]) -> tuple[Outcome, ...]:
    """The answers that the arms' results give."""
    values = with_combined(claim, {name: _columns(name, found) for name, found in results.items()})
    return tuple(judge(question, values) for question in claim.questions)


def check_budgets(arms: Arms, seed: int) -> None:
    """Build every arm at its full budget and compare what training will cost, before the first one is trained.

    Raises:
        ConfigError: the arms of a question differ in what it says is equal.
    """
    claim, shared = arms.claim, Seed(seed)
    budgets = {name: arms.ready(name, shared).budget for name in _names(claim)}
    for question in claim.questions:
        if question.equal != "nothing":
            _compare(claim, question, budgets)


def _compare(claim: Claim, question: Question, budgets: Mapping[str, Budget | None]) -> None:
    found = {name: budgets[name] for name in claim.trained(*question.arms)}
    spent = {name: getattr(budget, question.equal) for name, budget in found.items() if budget is not None}
    if len(set(spent.values())) > 1:
        listed = ", ".join(f"{name} {number}" for name, number in spent.items())
        raise ConfigError(
            f"claim {claim.slug!r}: the arms of question {question.name!r} differ in {question.equal} ({listed}): "
            "give them equal budgets, or declare what is equal: Question(..., equal='steps', 'epochs' or 'nothing')"
        )


def _measured(claim: Claim, arms: Arms, seeds: tuple[int, ...], progress: Progress) -> dict[str, list[Result]]:
    """Every arm on every seed, seed by seed, so that a run that is stopped has whole pairs."""
    results: dict[str, list[Result]] = {name: [] for name in _names(claim)}
    for number in seeds:
        seed = Seed(number)
        for name in results:
            ready = arms.ready(name, seed)
            known = None if arms.quick else recall(ready.key)
            results[name].append(known or _run(ready, name, number, arms.quick, progress))
            progress.done(name, number, results[name][-1], kept=known is not None)
    return results


def _run(ready: Ready, name: str, seed: int, quick: bool, progress: Progress) -> Result:
    with progress.waiting(name, seed):
        seed_everything(seed)
        result = ready.run()
    if not quick:
        keep(ready.key, result)
    return result


def _names(claim: Claim) -> list[str]:
    return [name for name, arm in claim.arms.items() if isinstance(arm, Arm)]


def _columns(name: str, results: list[Result]) -> Values:
    """Metric -> one value per seed, of the metrics that every seed has: a precision may have nothing to look at.

    Raises:
        ConfigError: there is none.
    """
    names = [metric for metric in results[0].metrics if all(metric in result.metrics for result in results)]
    if not names:
        raise ConfigError(f"arm {name!r}: no metric was measured on every seed")
    return {metric: [result.metrics[metric] for result in results] for metric in names}


class Progress:
    """One line per arm and seed on standard error, with the time that is left.

    Args:
        claim: what is run.
        seeds: its seeds.
        shown: False prints nothing.
    """

    def __init__(self, claim: Claim, seeds: tuple[int, ...], shown: bool) -> None:
        self.names, self.seeds = _names(claim), seeds
        self.console = Console(stderr=True, highlight=False, quiet=not shown)
        self.seconds: dict[str, list[float]] = {name: [] for name in self.names}
        self.left = {name: len(seeds) for name in self.names}

    @contextmanager
    def waiting(self, arm: str, seed: int) -> Iterator[None]:
        """Show what is being trained, on a terminal."""
        shown = self.console.is_terminal and not self.console.quiet
        with self.console.status(self._place(arm, seed)) if shown else nullcontext():
            yield

    def done(self, arm: str, seed: int, result: Result, *, kept: bool) -> None:
        """Print the line of a result."""
        self.left[arm] -= 1
        self.seconds[arm].append(result.seconds)
        metrics = "  ".join(f"{metric} {value:.4g}" for metric, value in result.metrics.items())
        cost = "kept from an earlier run" if kept else f"{result.seconds:.0f} s"
        left = self.remaining()
        more = f", {_minutes(left)} left" if left else ""
        self.console.print(f"{self._place(arm, seed)}: {metrics}  [dim]({cost}{more})[/dim]", soft_wrap=True)

    def remaining(self) -> float:
        """Seconds still to go, were nothing else kept: each arm as long as it has been, or as the others have."""
        known = [value for values in self.seconds.values() for value in values]
        usual = sum(known) / max(1, len(known))
        means = {name: sum(values) / len(values) if values else usual for name, values in self.seconds.items()}
        return sum(number * means[name] for name, number in self.left.items())

    def _place(self, arm: str, seed: int) -> str:
        number = self.seeds.index(seed) + 1
        return f"seed {number} of {len(self.seeds)}  [bold]{arm}[/bold]"


def _minutes(seconds: float) -> str:
    """A duration in words.

    >>> _minutes(40), _minutes(200), _minutes(7300)
    ('40 s', '3 min', '2.0 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
