"""``accord claims run``: train the arms of a claim on every seed, pair them, judge, and write what was found.

Each arm and seed is kept in the cache as soon as it is measured, so that a run that was killed goes on with what is
missing, and a run after a change of one arm trains that arm alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from accord.claims.arms import Arms, Seed
from accord.claims.bench import Bench, Done, Order, Task, carried_out
from accord.claims.code import declaration_of
from accord.claims.declare import Claim, Question
from accord.claims.figure import draw
from accord.claims.judge import Outcome, Values, judged
from accord.claims.load import loaded
from accord.claims.progress import Progress
from accord.claims.provenance import require_clean, tree_of
from accord.claims.record import record_of, recorded, write_record
from accord.claims.store import Result
from accord.claims.tune import chosen_settings, first_settings
from accord.errors import ConfigError
from accord.training.device import resolve_device


@dataclass(frozen=True)
class Report:
    """What a run of a claim found.

    Args:
        claim: the declaration.
        seeds: the seeds.
        results: arm -> its result on each seed, of the arms that are run.
        outcomes: the answer to each question.
        path: the record; None where none was written.
        figure: the figure; likewise.
        unwritten: why no record was written; empty where one was.
    """

    claim: Claim
    seeds: tuple[int, ...]
    results: Mapping[str, list[Result]]
    outcomes: tuple[Outcome, ...]
    path: Path | None = None
    figure: Path | None = None
    unwritten: str = ""


def run_claim(
    slug: str,
    folder: str | Path = "claims",
    *,
    seeds: int | Sequence[int] | None = None,
    quick: bool = False,
    jobs: int = 1,
    dirty: bool = False,
    progress: bool = True,
    device: str | None = None,
) -> Report:
    """Measure the claim ``folder/SLUG.py`` and write ``folder/results/SLUG.json`` and ``.png``.

    Args:
        slug: name of the claim.
        folder: where the claim files are.
        seeds: how many seeds, or which; None for those that the claim declares. A record of others is not replaced
            unless its seeds are among them.
        quick: a smoke run: one seed, one epoch on a few rows. Shows that every part works, and neither writes a result
            nor reads or leaves one in the cache.
        jobs: how many processes, each with one thread.
        dirty: go on where claims or code are not committed, which the record says.
        progress: print each result as it comes, on standard error.
        device: kind of device that arms are trained on; None for what the claim says, or the best there is.

    Raises:
        ConfigError: the claim is declared wrongly, compares arms that are not comparable or is not committed, its
            settings were not chosen yet, or there is no such device.
    """
    folder = Path(folder)
    resolve_device(device or "auto")
    tree = tree_of(folder, slug)
    if not quick and not dirty:
        require_clean(tree)
    with loaded(slug, folder) as claim:
        chosen = _seeds(claim, 1 if quick and seeds is None else seeds)
        settings = first_settings(claim) if quick else chosen_settings(claim, folder)
        full = Arms(claim, folder, device=device, settings=settings)
        rows = check_budgets(full, chosen[0])
        order = Order(slug, folder, quick, device, settings, tree.commit)
        bench = Bench(full.smoke() if quick else full, order, Seed(chosen[0], corpora=rows.corpora))
        done = _measured(bench, chosen, jobs, progress)
        results = {name: [_result(each) for each in found] for name, found in done.items()}
        values = {name: _columns(name, found) for name, found in results.items()}
        report = Report(claim, chosen, results, judged(claim, values, chosen))
        path = folder / "results" / f"{slug}.json"
        if unwritten := _why_not_written(claim, path, chosen, quick):
            return replace(report, unwritten=unwritten)
        record = record_of(
            claim,
            chosen,
            done,
            report.outcomes,
            command=_command(slug, seeds),
            declaration=declaration_of(claim, folder),
            tree=tree,
            settings=settings,
        )
        write_record(path.parent, record)
        return replace(report, path=path, figure=draw(record, path.with_suffix(".png")))


def check_budgets(arms: Arms, seed: int) -> Seed:
    """Build every arm at its full budget and compare what training will cost, before the first one is trained.

    Returns:
        The seed with the rows that were made for it.

    Raises:
        ConfigError: the arms of a question differ in what it says is equal.
    """
    shared = Seed(seed)
    found = {name: arms.budget(name, shared) for name in arms.names}
    _check_equal(arms.claim, {name: asdict(budget) for name, budget in found.items() if budget is not None})
    return shared


def _check_spent(claim: Claim, found: Mapping[str, Result], *, quick: bool) -> None:
    """Compare what the arms of a seed have cost, now that functions have told it; a smoke run asks only whether.

    Raises:
        ConfigError: the arms of a question differ in what it says is equal, or one does not say.
    """
    spent = {name: {"steps": result.steps, "epochs": result.epochs} for name, result in found.items()}
    for question in claim.questions:
        compared = claim.measured(*question.arms)
        silent = [name for name in compared if question.equal != "nothing" and spent[name][question.equal] is None]
        if silent and len(compared) > 1:
            raise ConfigError(
                f"claim {claim.slug!r}: question {question.name!r} says that {question.equal} are equal, and the "
                f"function of arm {silent[0]!r} tells none: return Measured(metrics, steps=…, epochs=…), or declare "
                "equal='nothing'"
            )
    if not quick:
        _check_equal(claim, spent)


def _check_equal(claim: Claim, spent: Mapping[str, Mapping[str, int | None]]) -> None:
    for question in claim.questions:
        if question.equal != "nothing":
            names = [name for name in claim.measured(*question.arms) if name in spent]
            found = {name: spent[name][question.equal] for name in names}
            if len(set(found.values())) > 1:
                raise _unequal(claim, question, found)


def _unequal(claim: Claim, question: Question, spent: Mapping[str, int | None]) -> ConfigError:
    listed = ", ".join(f"{name} {number}" for name, number in spent.items())
    return ConfigError(
        f"claim {claim.slug!r}: the arms of question {question.name!r} differ in {question.equal} ({listed}): "
        "give them equal budgets, or declare what is equal: Question(..., equal='steps', 'epochs' or 'nothing')"
    )


def _measured(bench: Bench, seeds: Sequence[int], jobs: int, progress: bool) -> dict[str, list[Done]]:
    """Every arm on every seed, seed by seed, so that a run that is stopped has whole pairs."""
    names, claim = bench.arms.names, bench.arms.claim
    tasks = [Task(name, seed) for seed in seeds for name in names]
    told = Progress(tasks, progress, jobs)
    found: dict[tuple[str, int], Done] = {}
    for done in told.watched(carried_out(tasks, bench, jobs, told.waiting)):
        found[done.task.arm, done.task.seed] = done
        of_seed = {name: found[name, done.task.seed] for name in names if (name, done.task.seed) in found}
        if len(of_seed) == len(names):
            _check_spent(claim, {name: _result(each) for name, each in of_seed.items()}, quick=bench.order.quick)
    return {name: [found[name, seed] for seed in seeds] for name in names}


def _columns(name: str, results: Sequence[Result]) -> Values:
    """Metric -> one value per seed, of the metrics that every seed has: a precision may have nothing to look at.

    Raises:
        ConfigError: there is none.
    """
    names = [metric for metric in results[0].metrics if all(metric in result.metrics for result in results)]
    if not names:
        raise ConfigError(f"arm {name!r}: no metric was measured on every seed")
    return {metric: [result.metrics[metric] for result in results] for metric in names}


def _seeds(claim: Claim, asked: int | Sequence[int] | None) -> tuple[int, ...]:
    if asked is None:
        return claim.declared_seeds
    chosen = claim.first_seeds(asked) if isinstance(asked, int) else tuple(asked)
    if claim.tune is not None and (both := sorted({*chosen} & {*claim.tune.seeds})):
        raise ConfigError(f"claim {claim.slug!r}: seed {both[0]} served to choose settings; ask for others")
    return chosen


def _why_not_written(claim: Claim, path: Path, seeds: Sequence[int], quick: bool) -> str:
    """Why a run leaves the record as it is: what was declared replaces it, and what says more than it does."""
    if quick:
        return "smoke run: every part works; the figures mean nothing and nothing was written"
    before = recorded(path)
    if before is None or set(seeds) == set(claim.declared_seeds) or set(before["seeds"]) <= set(seeds):
        return ""
    return (
        f"nothing was written: {path} is of the seeds {_listed(before['seeds'])}, which these are not; it is replaced "
        "by a run with the declared seeds, or with its own and more"
    )


def _command(slug: str, seeds: int | Sequence[int] | None) -> str:
    if seeds is None:
        return f"accord claims run {slug}"
    return f"accord claims run {slug} " + (
        f"--seeds {seeds}" if isinstance(seeds, int) else f"--seed-list {_listed(seeds)}"
    )


def _listed(seeds: Sequence[int]) -> str:
    """Seeds as they are written.

    >>> _listed([20, 21, 22, 30])
    '20,21,22,30'
    """
    return ",".join(map(str, seeds))


def _result(done: Done) -> Result:
    assert done.result is not None  # only a trial that diverged has none
    return done.result
