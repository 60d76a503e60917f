"""The result of a claim, its verdict, and the file that keeps it: ``claims/results/NAME.json``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from accord.evaluation.seeds import paired_interval

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # scripts there are no package; this is the only place

from record import machine, versions

RESULTS = Path(__file__).parents[1] / "results"
PACKAGES = ("accord", "torch", "lightning", "timm", "tokenizers", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Result:
    """What was measured for one statement.

    Args:
        claim: short name, that of the file.
        statement: the sentence that could have turned out wrong.
        method: the arm that the statement is about.
        baseline: the arm it is compared with.
        metric: what ``effect`` counts, with its unit.
        effect: mean over seeds of method minus baseline.
        low: lower end of its 95 % interval.
        high: upper end.
        verdict: ``"holds"``, ``"does not hold"`` or ``"undecided"``.
        seeds: the seeds of the runs.
        seconds: wall time of all runs that the statement needs.
        values: arm -> the metric of each seed.
    """

    claim: str
    statement: str
    method: str
    baseline: str
    metric: str
    effect: float
    low: float
    high: float
    verdict: str
    seeds: Sequence[int]
    seconds: float
    values: Mapping[str, Sequence[float]]

    def __str__(self) -> str:
        arms = "   ".join(f"{arm}: {', '.join(f'{value:.4g}' for value in row)}" for arm, row in self.values.items())
        return (
            f"{self.claim}: {self.verdict}\n  {self.statement}\n"
            f"  {self.effect:+.3g} [{self.low:+.3g}, {self.high:+.3g}] {self.metric}, {self.seconds:.0f} s\n  {arms}"
        )


def paired(
    claim: str,
    statement: str,
    metric: str,
    method: tuple[str, Sequence[float]],
    baseline: tuple[str, Sequence[float]],
    seeds: Sequence[int],
    seconds: float,
    *,
    tolerance: float = 0.0,
) -> Result:
    """Compare two arms on shared seeds, larger being better.

    Args:
        claim, statement, metric, seeds, seconds: see :class:`Result`.
        method: name of the arm, and its metric for each seed.
        baseline: likewise, in the same order of seeds.
        tolerance: a loss that still counts as none, for statements of the form "does not lose"; the statement
            names it.

    Returns:
        The result; it holds when the whole interval lies above ``-tolerance``, does not hold when all of it lies
        below, and is undecided otherwise.
    """
    difference = paired_interval(method[1], baseline[1])
    assert difference.low is not None  # there are several seeds
    assert difference.high is not None
    verdict = (
        "holds" if difference.low > -tolerance else "does not hold" if difference.high < -tolerance else "undecided"
    )
    values = dict([method, baseline])
    return Result(claim, statement, method[0], baseline[0], metric, *difference, verdict, seeds, seconds, values)


def write(result: Result) -> Path:
    """Print a result and write its file in one move, so that a stopped run leaves the old one."""
    print(result, flush=True)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result.claim}.json"
    record = {**asdict(result), "seeds": list(result.seeds), "machine": machine(), "versions": versions(*PACKAGES)}
    beside = path.with_suffix(".json.part")
    beside.write_text(json.dumps(record, indent=2) + "\n")
    os.replace(beside, path)
    return path
