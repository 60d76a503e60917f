"""Which commit something was measured at, and whether the files were what that commit says."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import accord
from accord.errors import ConfigError

TUNING = "tuning"  # the folder of chosen settings, beside the claims
WRITTEN = ("results", "papers")  # of claims and of Accord: what is told of records, which is written after a run


@dataclass(frozen=True)
class Tree:
    """The state of the code and the claims.

    Args:
        commit: the commit that is checked out; None where the claims are under no version control.
        changed: files of the claims and of Accord that differ from it.
    """

    commit: str | None
    changed: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether the commit says what was measured."""
        return self.commit is not None and not self.changed


def tree_of(folder: Path, slug: str | None = None) -> Tree:
    """The state of a folder of claims and, where it is in the same repository, of Accord itself.

    Args:
        folder: where the claim files are.
        slug: the claim that is measured. The settings that were chosen for others, or for all where none is named,
            decide nothing, and may be uncommitted.
    """
    top = _git(folder, "rev-parse", "--show-toplevel")
    if top is None:
        return Tree(None)
    commit = _git(folder, "rev-parse", "HEAD")
    package = Path(accord.__file__).parent
    places = [folder.resolve(), *([package] if package.is_relative_to(top.strip()) else [])]
    without = [f":(exclude){place / written}" for place, written in zip(places, WRITTEN, strict=False)]
    status = _git(folder, "status", "--porcelain", "--untracked-files=all", "--", *map(str, places), *without) or ""
    files = (Path(line[3:].strip('"')) for line in status.splitlines())
    counted = (file for file in files if file.parent.name != TUNING or file.stem == slug)
    return Tree(commit and commit.strip(), tuple(map(str, counted)))


def require_clean(tree: Tree) -> None:
    """Refuse to measure what is not committed.

    Raises:
        ConfigError: a file of the claims or of Accord differs from the commit.
    """
    if tree.changed:
        more = f" and {len(tree.changed) - 1} more" if len(tree.changed) > 1 else ""
        raise ConfigError(
            f"{tree.changed[0]}{more} is not committed: a claim is committed before it is measured; commit, or pass "
            "--dirty, which the record will say"
        )


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, None where it fails or is not there."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
