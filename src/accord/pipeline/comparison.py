"""A method against its baselines: the same data, encoders, budget and seeds for every arm, one table out.

A comparison is a YAML file: a ``run`` (a whole run configuration), ``arms`` (name -> dotted changes to it), and what
to report. Each seed is a new split, a new initialisation and a new data order, shared by all arms.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from accord.config import Config
from accord.errors import DataError
from accord.evaluation.metric import Metric
from accord.evaluation.seeds import Interval, paired_interval, seeds_interval
from accord.files import write_atomically
from accord.pipeline.build import prepare_run
from accord.pipeline.compared import side_by_side
from accord.pipeline.config import RunConfig, merged, read_config, set_dotted
from accord.pipeline.folder import COMPARISON, is_run, owned, require_comparison
from accord.pipeline.measured import Measured, Outcome, in_words, time_left
from accord.pipeline.rows import despite_bad_rows, held_out
from accord.pipeline.run import REPORT, execute, fit_model
from accord.pipeline.score import score
from accord.pipeline.summary import summarise
from accord.report import summary as report
from accord.report.html import write_report
from accord.training.artifact import load_model
from accord.training.device import resolve_device
from accord.training.start import check_machine


class ArmConfig(Config):
    """One contestant."""

    role: Literal["method", "baseline", "ceiling"] = Field("baseline", description="what the arm is there for")
    note: str = Field("", description="one line on what it is")
    changes: dict[str, Any] = Field(default_factory=dict, description="dotted settings over the common run")


class CompareConfig(Config):
    """A comparison."""

    title: str = Field(description="headline of table and report")
    run: dict[str, Any] = Field(description="the run that all arms share")
    arms: dict[str, ArmConfig] = Field(description="name -> contestant; the one with role 'method' is the point")
    report: list[str] = Field(default_factory=list, description="metrics of the table; empty takes all")
    main: str = Field("top-1", description="the metric that decides")

    @model_validator(mode="after")
    def _one_method(self) -> Self:
        methods = [name for name, arm in self.arms.items() if arm.role == "method"]
        if len(methods) != 1:
            raise ValueError(f"exactly one arm needs role: method, got {methods or 'none'}")
        return self

    @property
    def method(self) -> str:
        """The arm that the comparison is about."""
        return next(name for name, arm in self.arms.items() if arm.role == "method")


@dataclass(frozen=True)
class Comparison:
    """Outcome of :func:`compare`.

    Args:
        config: what was compared.
        values: arm -> metric -> one value per seed.
        chance: metric -> chance level.
        seeds: number of seeds.
        folder: where tables and runs are.
        seconds: wall time.
        units: metric -> its unit; a share in percent where it is not said.
    """

    config: CompareConfig
    values: Mapping[str, Mapping[str, list[float]]]
    chance: Mapping[str, float | None]
    seeds: int
    folder: Path
    seconds: float
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / REPORT

    def interval(self, arm: str, metric: str) -> Interval:
        """Mean of a metric over seeds with its 95 % interval."""
        return seeds_interval(self.values[arm][metric])

    def difference(self, arm: str, other: str) -> Interval:
        """Paired difference of the main metric between two arms over the shared seeds."""
        return paired_interval(self.values[arm][self.config.main], self.values[other][self.config.main])

    def metrics(self) -> list[str]:
        """Metrics of the table, in order."""
        present = dict.fromkeys(name for arm in self.values.values() for name in arm)
        return [name for name in (self.config.report or present) if name in present]

    def recovered(self) -> Interval | None:
        """Share (in percent) of the distance from the first baseline to the ceiling that the method recovers."""
        arms = {role: [name for name, arm in self.config.arms.items() if arm.role == role] for role in _ROLES}
        if not all(arms.values()):
            return None
        low, high, got = (self.values[arms[role][0]][self.config.main] for role in ("baseline", "ceiling", "method"))
        whole = sum(high) - sum(low)
        return seeds_interval([100 * len(got) * (g - b) / whole for g, b in zip(got, low, strict=True)])

    def table(self) -> Table:
        """The table to print: mean ± half of the 95 % interval, so that five metrics fit 80 columns."""
        title = f"{self.config.title}: mean over {self.seeds} seeds ± half of its 95 % interval"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("arm", no_wrap=True)
        for name in self.metrics():
            chance = self.chance.get(name)
            table.add_column(name if chance is None else f"{name} (chance {chance:.1f})", justify="right")
        for arm, metrics in self.values.items():
            found = [seeds_interval(metrics[name]) if name in metrics else None for name in self.metrics()]
            cells = ["–" if interval is None else _plus_minus(interval) for interval in found]
            table.add_row(arm, *cells, style="bold" if self.config.arms[arm].role == "method" else None)
        return table

    def sentences(self) -> list[str]:
        """What the table says, in words: the method against each baseline, and how much of the loss it recovers."""
        method = self.config.method
        lines = []
        for name, arm in self.config.arms.items():
            if arm.role == "baseline":
                gap = self.difference(method, name)
                verdict = _verdict(gap)
                lines.append(
                    f"{method} against {name}: {gap.value:+.1f} points of {self.config.main} {_ends(gap)}, {verdict}."
                )
        recovered = self.recovered()
        if recovered is not None:
            lines.append(f"{method} recovers {recovered.value:.0f} % of what the noise costs {_ends(recovered)}.")
        return lines


_ROLES = ("baseline", "ceiling", "method")


def _ends(interval: Interval) -> str:
    if interval.low is None or interval.high is None:
        return "(one seed)"
    return f"[{interval.low:.1f}, {interval.high:.1f}]"


def _plus_minus(interval: Interval) -> str:
    """Student's interval is symmetric.

    >>> _plus_minus(Interval(50.0, 48.5, 51.5)), _plus_minus(Interval(50.0, None, None))
    ('50.0 ± 1.5', '50.0')
    """
    half = "" if interval.high is None else f" ± {interval.high - interval.value:.1f}"
    return f"{interval.value:.1f}{half}"


def _verdict(gap: Interval) -> str:
    """Holds, does not hold, or undecided, as the interval of the difference says.

    >>> _verdict(Interval(2.0, 0.5, 3.5)), _verdict(Interval(2.0, -1.0, 5.0)), _verdict(Interval(-2.0, -3.0, -1.0))
    ('better', 'undecided', 'worse')
    """
    if gap.low is None or gap.high is None or gap.low <= 0 <= gap.high:
        return "undecided"
    return "better" if gap.value > 0 else "worse"


def compare(
    config: str | Path | Mapping[str, Any],
    seeds: int = 5,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    device: Literal["auto", "cpu", "cuda", "mps"] | None = None,
) -> Comparison:
    """Train every arm on every seed and compare them.

    The first seed of the method's arm is an ordinary run under ``out/METHOD`` that can be loaded and searched. What an
    arm gave on a seed is kept at once, so that a comparison that was stopped goes on with ``resume``.

    Args:
        config: YAML file, name of a shipped comparison, or a mapping.
        seeds: number of seeds.
        out: directory, new or empty; default ``runs/NAME``.
        resume: go on with the comparison in ``out``; arms and seeds that were measured with the same settings are
            not trained again, and more seeds can be asked for.
        progress: print each result as it comes and how long the rest takes; on a terminal with the progress of each
            training.
        device: kind of device of all arms; default what they say, or the best there is.

    Raises:
        ConfigError: a setting is wrong; or ``out`` is not empty and ``resume`` is off, or holds no comparison and it is
            on, or another process is writing there.
        DataError: the data cannot be read, or have fewer rows than a step.
    """
    values = read_config(config)
    if device is not None:
        set_dotted(values, "run.training.accelerator", device)
    study = CompareConfig.parse(values)
    folder = (
        Path(out)
        if out is not None
        else Path("runs") / (Path(config).stem if isinstance(config, str | Path) else "compare")
    )
    # a wrong arm is told before the first one trains
    runs = [RunConfig.parse(merged(study.run, arm.changes)) for arm in study.arms.values()]
    for run in runs:
        check_machine(run.training)
    with owned(folder, data=[run.data.place for run in runs], resume=resume, begun=require_comparison):
        result = _compared(study, seeds, folder, Console(stderr=True, highlight=False) if progress else None)
        _record(result)
    return result


def _compared(study: CompareConfig, seeds: int, folder: Path, console: Console | None) -> Comparison:
    """Every arm on every seed, but for those of which the folder has the outcome."""
    kept = Measured(folder)
    done: list[Outcome] = []
    plan = [(seed, name) for seed in range(seeds) for name in study.arms]
    for place, (seed, name) in enumerate(plan):
        arm = study.arms[name]
        run = RunConfig.parse(merged(study.run, {**arm.changes, "training.seed": seed, "data.split.seed": seed}))
        shown = seed == 0 and arm.role == "method"  # what the report shows is that run
        outcome = None if shown and not is_run(folder / name) else kept.read(name, run)
        if outcome is None:
            _announce(console, place, len(plan), name, time_left(done, [name for _, name in plan[place:]]))
            started = time.perf_counter()
            metrics = _measure(run, folder / name, keep=shown, bars=console is not None and console.is_terminal)
            outcome = Outcome(name, metrics, time.perf_counter() - started)
            kept.write(run, outcome)
        done.append(outcome)
        _print_line(console, seed, seeds, study.main, outcome)
    values: dict[str, dict[str, list[float]]] = {name: {} for name in study.arms}
    guesses: dict[str, dict[str, list[float]]] = {name: {} for name in study.arms}
    for outcome in done:
        for metric in outcome.metrics:
            values[outcome.arm].setdefault(metric.name, []).append(metric.value)
            if metric.chance is not None:
                guesses[outcome.arm].setdefault(metric.name, []).append(metric.chance)
    units = {metric.name: metric.unit for outcome in done for metric in outcome.metrics}
    seconds = sum(outcome.seconds for outcome in done)
    return Comparison(study, values, _common_chance(guesses), seeds, folder, seconds, units)


def _common_chance(guesses: Mapping[str, Mapping[str, list[float]]]) -> dict[str, float | None]:
    """Mean chance level of each metric; None where it depends on the arm, as that of "found" on how many it flags.

    >>> _common_chance({"a": {"top-1": [4.0], "found": [10.0]}, "b": {"top-1": [4.0], "found": [60.0]}})
    {'top-1': 4.0, 'found': None}
    """
    levels: dict[str, list[float]] = {}
    for arm in guesses.values():
        for metric, values in arm.items():
            levels.setdefault(metric, []).append(sum(values) / len(values))
    return {name: means[0] if max(means) - min(means) < 1 else None for name, means in levels.items()}


def _measure(run: RunConfig, folder: Path, *, keep: bool, bars: bool) -> list[Metric]:
    """Train and score one arm on one seed; the run's directory is kept, and gone on with, only where asked.

    Raises:
        DataError: there are too few rows for the step that the comparison asks for, which an arm must not lower alone.
    """
    prepared = prepare_run(run, quiet=True)
    rows, asked = len(prepared.train), run.training.batch_size
    if rows < asked and "graph" not in prepared.train.modalities:
        raise DataError(
            f"{prepared.train.name} has {rows} training rows, fewer than training.batch_size = {asked} of this "
            "comparison: lower it for all arms"
        )
    if keep:
        return execute(run, folder, resume=is_run(folder), progress=bars).metrics
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        model, _ = fit_model(run, prepared, Path(scratch), progress=bars)
        return despite_bad_rows(prepared, lambda rows: score(model, rows, run.evaluate))[0]


def _announce(console: Console | None, done: int, number: int, arm: str, left: float | None) -> None:
    """Which arm comes now, and how long all that is left takes."""
    if console is not None:
        rest = "" if left is None else f"; about {in_words(left)} left"
        console.print(f"arm {done + 1} of {number}: {arm}{rest}", style="dim", markup=False)


def _print_line(console: Console | None, seed: int, seeds: int, main: str, outcome: Outcome) -> None:
    if console is not None:
        value = next((f"{metric.value:.1f}" for metric in outcome.metrics if metric.name == main), "–")
        took = f"({in_words(outcome.seconds)})"
        console.print(f"seed {seed + 1} of {seeds}  {outcome.arm}: {main} {value} {took}", markup=False)


def _record(result: Comparison) -> None:
    """``comparison.json`` and the report, which extends that of the method's own run."""
    record = {
        "title": result.config.title,
        "main": result.config.main,
        "arms": {name: {"role": arm.role, "note": arm.note} for name, arm in result.config.arms.items()},
        "shown": result.metrics(),
        "seeds": result.seeds,
        "seconds": round(result.seconds, 1),
        "values": {arm: dict(metrics) for arm, metrics in result.values.items()},
        "chance": dict(result.chance),
        "units": dict(result.units),
        "sentences": result.sentences(),
    }
    write_atomically(result.folder / COMPARISON, json.dumps(record, indent=2))
    method = result.config.method
    model = load_model(result.folder / method)
    model.method.to(resolve_device(model.config["training"]["accelerator"]))
    metrics, prepared = despite_bad_rows(held_out(model), lambda rows: score(model, rows))
    page = summarise(
        model,
        prepared,
        metrics,
        result.folder / method,
        seconds=result.seconds,
        comparison=_for_report(result),
        title=result.config.title,
        lede=" ".join(result.sentences()),
        beside=result.folder,
    )
    write_report(page, result.report)


def _for_report(result: Comparison) -> report.Comparison:
    arms = {name: {"role": arm.role, "note": arm.note} for name, arm in result.config.arms.items()}
    return side_by_side(arms, result.values, result.chance, result.metrics(), result.seeds, result.units)
