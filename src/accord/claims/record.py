"""The file that keeps a claim's results: ``results/SLUG.json``, with every value of every seed and where it is from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.claims.declare import Arm, Claim, Scale
from accord.files import write_atomically

if TYPE_CHECKING:  # what reads records needs no PyTorch
    from accord.claims.bench import Done
    from accord.claims.judge import Outcome, Side
    from accord.claims.provenance import Tree

FORMAT = 2  # records without this number were made by an older version, which did not say what code it measured


def record_of(
    claim: Claim,
    seeds: Sequence[int],
    done: Mapping[str, Sequence[Done]],
    outcomes: Sequence[Outcome],
    *,
    command: str,
    declaration: str,
    tree: Tree,
    settings: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Everything that was declared and found, as plain values.

    Args:
        claim: the declaration.
        seeds: the seeds.
        done: arm -> what it gave on each seed.
        outcomes: the answers.
        command: what makes this file again.
        declaration: hash of what was declared.
        tree: the state of the files.
        settings: arm -> the settings that a search chose.
    """
    places = _places(done)
    return {
        "format": FORMAT,
        "slug": claim.slug,
        "paper": claim.paper,
        "tuning": claim.tuning,
        "tune": None if claim.tune is None else asdict(claim.tune),
        "kind_of_data": claim.kind_of_data,
        "headline": claim.headline,
        "command": command,
        "commit": tree.commit,
        "clean": tree.clean,
        "date": datetime.now(UTC).date().isoformat(),
        "declaration": declaration,
        "seeds": list(seeds),
        "declared_seeds": list(claim.declared_seeds),
        "run": claim.run,
        "arms": {name: _arm(claim, name, done, settings, places) for name in claim.arms},
        "questions": [_question(claim, outcome, done) for outcome in outcomes],
        "places": places,
        "code": _code(done),
    }


def write_record(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write ``folder/SLUG.json`` in one move, so that a stopped run leaves the old file."""
    path = folder / f"{record['slug']}.json"
    write_atomically(path, json.dumps(record, indent=2, default=str, ensure_ascii=False) + "\n")
    return path


def read_record(path: Path) -> dict[str, Any] | None:
    """One record; None where there is none, or one that an older version made."""
    found = recorded(path)
    return found if found is not None and found.get("format") == FORMAT else None


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The records of a results folder, by slug; none where there is no folder."""
    found = (read_record(path) for path in sorted(folder.glob("*.json")))
    return [record for record in found if record is not None]


def outdated(folder: Path) -> list[str]:
    """The claims whose record an older version made, and which have to be measured again."""
    return [path.stem for path in sorted(folder.glob("*.json")) if read_record(path) is None]


def recorded(path: Path) -> dict[str, Any] | None:
    """What a file holds, whatever version made it; None where there is no file."""
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def _places(done: Mapping[str, Sequence[Done]]) -> list[dict[str, Any]]:
    """The different places and versions of all trainings; a single one where all agree."""
    places: list[dict[str, Any]] = []
    for place in (dict(_result(each).place) for arm in done.values() for each in arm):
        if place not in places:
            places.append(place)
    return places


def _code(done: Mapping[str, Sequence[Done]]) -> dict[str, Any]:
    """Module -> hash of its code: those behind all arms, and the further ones behind each."""
    modules = {name: dict(arm[0].code.modules) for name, arm in done.items()}
    common = set.intersection(*(set(found.items()) for found in modules.values()))
    return {
        "every arm": dict(sorted(common)),
        "arms": {
            name: {key: value for key, value in found.items() if (key, value) not in common}
            for name, found in modules.items()
        },
    }


def _arm(
    claim: Claim,
    name: str,
    done: Mapping[str, Sequence[Done]],
    settings: Mapping[str, Mapping[str, Any]],
    places: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """An arm's settings, what its training took on each seed, its values, and what decided them."""
    arm = claim.arms[name]
    if not isinstance(arm, Arm):
        return {"note": arm.note, "of": list(arm.of)}
    found = [_result(each) for each in done[name]]
    metrics = dict.fromkeys(metric for result in found for metric in result.metrics)  # null where a seed lacks one
    return {
        "note": arm.note,
        "changes": dict(arm.changes),
        "chosen": dict(settings.get(name, {})),
        "settings_of": arm.settings_of,
        "untrained": arm.untrained,
        "trials": claim.trials_of(name),
        "steps": [result.steps for result in found],
        "epochs": [result.epochs for result in found],
        "training_seconds": [_tenths(result.training_seconds) for result in found],
        "seconds": [_tenths(result.seconds) for result in found],
        "values": {metric: [result.metrics.get(metric) for result in found] for metric in metrics},
        "code": done[name][0].code.digest,
        "keys": [each.key for each in done[name]],
        "places": [places.index(dict(result.place)) for result in found],
    }


def _question(claim: Claim, outcome: Outcome, done: Mapping[str, Sequence[Done]]) -> dict[str, Any]:
    question = outcome.question
    arms = claim.measured(*question.arms)
    declared = {key: value for key, value in asdict(question).items() if key != "scale"}
    return {
        **declared,
        "no_scale": "" if isinstance(question.scale, Scale) else question.scale,
        "effect": outcome.effect.value,
        "low": outcome.effect.low,
        "high": outcome.effect.high,
        "verdict": outcome.verdict,
        "answer": outcome.answer,
        "p": outcome.p,
        "p_holm": outcome.adjusted,
        "seeds_needed": outcome.seeds_needed,
        "floor": _side(outcome.floor),
        "ceiling": _side(outcome.ceiling),
        "room": outcome.room,
        "no_room": outcome.no_room,
        "method_values": list(outcome.method),
        "baseline_values": list(outcome.baseline),
        "trials": claim.trials(question),
        "seconds": _tenths(sum(_result(each).seconds for name in arms for each in done[name])),
    }


def _side(side: Side | None) -> dict[str, Any] | None:
    """A floor or ceiling: its mean, and the values of each arm or level that it was taken from."""
    if side is None:
        return None
    return {"value": side.value, "levels": [{"of": level, "values": list(side.levels[level])} for level in side.levels]}


def _result(done: Done) -> Any:
    assert done.result is not None  # only a trial has none
    return done.result


def _tenths(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
