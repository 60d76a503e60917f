"""The file that keeps a claim's results: ``results/SLUG.json``, with every value of every seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.claims.declare import Arm, Claim
from accord.claims.machine import machine, versions
from accord.files import write_atomically

if TYPE_CHECKING:  # what reads records needs no PyTorch
    from accord.claims.judge import Outcome
    from accord.claims.store import Result

PACKAGES = ("accord", "torch", "lightning", "timm", "tokenizers", "numpy", "scikit-learn")


def record_of(
    claim: Claim,
    seeds: Sequence[int],
    results: Mapping[str, Sequence[Result]],
    outcomes: Sequence[Outcome],
    command: str,
) -> dict[str, Any]:
    """Everything that was declared and found, as plain values.

    Args:
        claim: the declaration.
        seeds: the seeds.
        results: arm -> its result on each seed.
        outcomes: the answers.
        command: what makes this file again.
    """
    return {
        "slug": claim.slug,
        "paper": claim.paper,
        "tuning": claim.tuning,
        "command": command,
        "seeds": list(seeds),
        "run": claim.run,
        "arms": {name: _arm(claim, name, results) for name in claim.arms},
        "questions": [_question(claim, outcome, results) for outcome in outcomes],
        "machine": machine(),
        "versions": versions(*PACKAGES),
    }


def write_record(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write ``folder/SLUG.json`` in one move, so that a stopped run leaves the old file."""
    path = folder / f"{record['slug']}.json"
    write_atomically(path, json.dumps(record, indent=2, default=str, ensure_ascii=False) + "\n")
    return path


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The records of a results folder, by slug; none where there is no folder."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def _arm(claim: Claim, name: str, results: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """An arm's settings, what its training took on each seed, and its values."""
    arm = claim.arms[name]
    if not isinstance(arm, Arm):
        return {"note": arm.note, "of": list(arm.of)}
    found = results[name]
    metrics = dict.fromkeys(metric for result in found for metric in result.metrics)  # null where a seed lacks one
    return {
        "note": arm.note,
        "changes": dict(arm.changes),
        "trials": arm.trials,
        "steps": [result.steps for result in found],
        "epochs": [result.epochs for result in found],
        "training_seconds": [_tenths(result.training_seconds) for result in found],
        "seconds": [_tenths(result.seconds) for result in found],
        "values": {metric: [result.metrics.get(metric) for result in found] for metric in metrics},
    }


def _question(claim: Claim, outcome: Outcome, results: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    question = outcome.question
    arms = claim.trained(*question.arms)
    return {
        **asdict(question),
        "effect": outcome.effect.value,
        "low": outcome.effect.low,
        "high": outcome.effect.high,
        "verdict": outcome.verdict,
        "method_values": list(outcome.method),
        "baseline_values": list(outcome.baseline),
        "trials": claim.trials(question),
        "seconds": _tenths(sum(result.seconds for name in arms for result in results[name])),
    }


def _tenths(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
