"""``accord claims tune``: choose the settings of a claim's arms, with as many trials for each, and log every one.

Trials are drawn at random, trained on seeds that the record does not use, and measured on rows held out from the
training rows. The log ``claims/tuning/SLUG.json`` has all of them; a run takes the chosen ones from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from accord.claims.arms import Arms, Settings
from accord.claims.bench import Bench, Done, Order, Task, carried_out
from accord.claims.declare import Arm, Choices, Claim, Tuning, is_range
from accord.claims.load import loaded
from accord.claims.progress import Progress
from accord.claims.provenance import TUNING, Tree, require_clean, tree_of
from accord.claims.store import key_of
from accord.errors import ConfigError
from accord.files import write_atomically


def tune_claim(
    slug: str,
    folder: str | Path = "claims",
    *,
    jobs: int = 1,
    dirty: bool = False,
    progress: bool = True,
    device: str | None = None,
) -> Path:
    """Try settings for every arm of ``folder/SLUG.py`` that has a search, and write ``folder/tuning/SLUG.json``.

    Args:
        slug: name of the claim.
        folder: where the claim files are.
        jobs: how many processes.
        dirty: go on where files are not committed.
        progress: print each trial as it comes, on standard error.
        device: kind of device; None for what the claim says, or the best there is.

    Returns:
        The log.

    Raises:
        ConfigError: the claim has no search, all trials of an arm diverged, the metric that decides is not measured, or
            files are not committed.
    """
    folder = Path(folder)
    tree = tree_of(folder)
    if not dirty:
        require_clean(tree)
    with loaded(slug, folder) as claim:
        tuning = claim.tune
        if tuning is None:
            raise ConfigError(f"claim {slug!r} has nothing to choose: none of its arms has a search")
        tried = {name: draws(arm.search, tuning.trials) for name, arm in searching(claim).items()}
        tasks = [
            Task(name, seed, settings, tuning.share)
            for name, trials in tried.items()
            for settings in trials
            for seed in tuning.seeds
        ]
        order = Order(slug, folder, device=device, commit=tree.commit)
        bench, told = Bench(Arms(claim, folder, device=device), order), Progress(tasks, progress)
        values = {
            _place(done.task): _value(claim, tuning, done)
            for done in told.watched(carried_out(tasks, bench, jobs, told.waiting))
        }
        path = folder / TUNING / f"{slug}.json"
        path.parent.mkdir(exist_ok=True)
        log = _log(claim, tuning, tried, values, tree)
        write_atomically(path, json.dumps(log, indent=2, ensure_ascii=False) + "\n")
        return path


def searching(claim: Claim) -> dict[str, Arm]:
    """The arms that have a search."""
    return {name: arm for name, arm in claim.arms.items() if isinstance(arm, Arm) and arm.search}


def draws(search: Mapping[str, Choices], trials: int) -> list[dict[str, Any]]:
    """Random combinations: every setting covers its range or list evenly, and settings are combined at random.

    Two arms that search for the same setting in the same range try the same values of it.

    >>> drawn = draws({"training.lr": (1e-4, 1e-2, "log"), "method.queue": [128, 1024]}, 4)
    >>> sorted(each["method.queue"] for each in drawn), all(1e-4 <= each["training.lr"] <= 1e-2 for each in drawn)
    ([128, 128, 1024, 1024], True)
    """
    columns = {setting: _drawn(setting, choices, trials) for setting, choices in search.items()}
    return [{setting: values[trial] for setting, values in columns.items()} for trial in range(trials)]


def first_settings(claim: Claim) -> dict[str, Settings]:
    """For a smoke run: the first of each setting's choices, without any trial."""
    own = {name: {key: choices[0] for key, choices in arm.search.items()} for name, arm in searching(claim).items()}
    return _with_followers(claim, own)


def chosen_settings(claim: Claim, folder: Path) -> dict[str, Settings]:
    """Arm -> the settings that the log says are best, for the arms that have a search or take over another's.

    Raises:
        ConfigError: there is no log, or it is of another search.
    """
    arms = searching(claim)
    log = read_log(folder, claim.slug) if arms else {}
    for name, arm in arms.items():
        logged = log.get("arms", {}).get(name, {}).get("search")
        if logged != _plain(arm.search) or log["tuning"] != _plain(asdict(claim.tune or Tuning(2, (0,), ""))):
            raise ConfigError(
                f"claim {claim.slug!r}: {folder / TUNING / claim.slug}.json has no trials of the search that arm "
                f"{name!r} declares: run accord claims tune {claim.slug}"
            )
    return _with_followers(claim, {name: log["arms"][name]["chosen"] for name in arms})


def read_log(folder: Path, slug: str) -> dict[str, Any]:
    """The log of a claim's trials; empty where there is none."""
    path = folder / TUNING / f"{slug}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _log(
    claim: Claim,
    tuning: Tuning,
    tried: Mapping[str, Sequence[Settings]],
    values: Mapping[tuple[str, int, str], float | None],
    tree: Tree,
) -> dict[str, Any]:
    """Every trial of every arm as plain values, and what is chosen."""
    arms = {}
    for name, trials in tried.items():
        rows = [
            {"settings": settings, "values": [values[_place(Task(name, seed, settings))] for seed in tuning.seeds]}
            for settings in trials
        ]
        chosen = _best(claim, name, rows, tuning.higher)
        arms[name] = {"search": searching(claim)[name].search, "trials": rows, "chosen": chosen}
    told = {"slug": claim.slug, "tuning": asdict(tuning), "commit": tree.commit, "clean": tree.clean}
    return told | {"date": datetime.now(UTC).date().isoformat(), "arms": arms}


def _drawn(setting: str, choices: Choices, trials: int) -> list[Any]:
    """One value a trial: each of as many equal parts of the range gives one, in random order (a Latin hypercube)."""
    random = np.random.default_rng(int(key_of({"setting": setting, "choices": choices, "trials": trials}), 16))
    places = (random.permutation(trials) + random.random(trials)) / trials  # (trials,) in [0, 1)
    if is_range(choices):
        low, high = choices[0], choices[1]
        return [float(f"{low * (high / low) ** place:.3g}") for place in places]
    return [choices[int(place * len(choices))] for place in places]


def _with_followers(claim: Claim, chosen: Mapping[str, Settings]) -> dict[str, Settings]:
    """The same for the arms that take over what was chosen for another."""
    followers = {name: arm.settings_of for name, arm in claim.arms.items() if isinstance(arm, Arm) and arm.settings_of}
    return {**chosen, **{name: chosen[other] for name, other in followers.items()}}


def _value(claim: Claim, tuning: Tuning, done: Done) -> float | None:
    """What a trial is worth; None where it diverged."""
    if done.result is None:
        return None
    if tuning.metric not in done.result.metrics:
        there = ", ".join(done.result.metrics)
        raise ConfigError(
            f"claim {claim.slug!r}: settings are to be chosen by {tuning.metric!r}; arm {done.task.arm!r} has {there}"
        )
    return done.result.metrics[tuning.metric]


def _best(claim: Claim, name: str, rows: Sequence[Mapping[str, Any]], higher: bool) -> Settings:
    whole = [row for row in rows if None not in row["values"]]
    if not whole:
        raise ConfigError(f"claim {claim.slug!r}, arm {name!r}: every trial diverged; search in another range")
    chosen: Settings = max(whole, key=lambda row: (1 if higher else -1) * sum(row["values"]))["settings"]
    return chosen


def _place(task: Task) -> tuple[str, int, str]:
    return task.arm, task.seed, json.dumps(task.settings, sort_keys=True)


def _plain(value: Any) -> Any:
    """A value as it comes back from a file."""
    return json.loads(json.dumps(value))
