"""``accord claims check``: whether what was measured is still what the claims declare and the code does.

Nothing is trained. A declaration is compared by the hash that the record has of it, and code module by module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.claims.code import declaration_of
from accord.claims.imports import digest_of
from accord.claims.load import loaded
from accord.claims.record import read_record, recorded


@dataclass(frozen=True)
class Status:
    """What is to be said of a claim's record.

    Args:
        measured: whether there is a record that can be compared.
        declared: whether it was measured as the claim is declared now.
        moved: modules whose code has changed since, or which are gone.
        lacking: how many of the declared seeds it is without.
        old: whether an older version made the record.
    """

    measured: bool
    declared: bool = False
    moved: tuple[str, ...] = ()
    lacking: int = 0
    old: bool = False

    def __str__(self) -> str:
        if self.old:
            return "stale (measured by an older version)"
        if not self.measured:
            return "not measured"
        if not self.declared:
            return "stale (declaration)"
        if self.moved:
            return f"stale (code: {', '.join(self.moved)})"
        return f"ok (lacks {self.lacking} of the declared seeds)" if self.lacking else "ok"


def check(slug: str, folder: Path) -> Status:
    """Compare the declaration ``folder/SLUG.py`` and the code with the record.

    Args:
        slug: name of the claim.
        folder: where the claim files are.

    Raises:
        ConfigError: there is no such claim, or its file fails.
    """
    path = folder / "results" / f"{slug}.json"
    record = read_record(path)
    with loaded(slug, folder) as claim:
        if record is None:
            return Status(measured=False, old=recorded(path) is not None)
        return Status(
            measured=True,
            declared=record["declaration"] == declaration_of(claim, folder),
            moved=moved(record),
            lacking=len({*claim.declared_seeds} - {*record["seeds"]}),
        )


def moved(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The modules whose code is no longer what a record was measured with."""
    code = record["code"]
    measured = {name: digest for arm in code["arms"].values() for name, digest in arm.items()} | code["every arm"]
    return tuple(name for name, digest in sorted(measured.items()) if digest_of(name) != digest)
