"""Splits by group: rows of one concept never stand on both sides, classes are shared out as evenly as that allows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accord.data.draws import seed_of
from accord.errors import ConfigError, DataError
from accord.files import write_atomically

REST = "train"


@dataclass(frozen=True, eq=False)
class Splits:
    """Named disjoint sets of rows, by their ids in the source.

    Args:
        rows: name -> ``(n,)`` int64 row ids, ascending.
    """

    rows: Mapping[str, np.ndarray]

    def __repr__(self) -> str:
        return f"Splits({', '.join(f'{name}: {len(ids)}' for name, ids in self.rows.items())})"

    def positions(self, name: str, ids: np.ndarray) -> np.ndarray:
        """Where the rows of a split are in a corpus, ascending.

        Args:
            name: the split.
            ids: the corpus's row ids.

        Raises:
            DataError: there is no such split, or the corpus lacks one of its rows.
        """
        if name not in self.rows:
            raise DataError(f"no split {name!r}; there are: {', '.join(self.rows)}")
        missing = np.setdiff1d(self.rows[name], ids)
        if len(missing):
            raise DataError(
                f"split {name} names {len(missing)} rows that the data no longer has (the first: row {missing[0]}): "
                "restore the data, or start a new run to split anew"
            )
        return np.flatnonzero(np.isin(ids, self.rows[name]))

    def without(self, ids: Iterable[int]) -> Splits:
        """The splits without these rows.

        Example:
            >>> Splits({"train": np.arange(4), "test": np.arange(4, 6)}).without([1, 5])
            Splits(train: 3, test: 1)
        """
        gone = list(ids)
        return Splits({name: np.setdiff1d(rows, gone) for name, rows in self.rows.items()})

    def save(self, path: Path) -> None:
        """Write the row ids as JSON, atomically."""
        write_atomically(path, json.dumps({name: ids.tolist() for name, ids in self.rows.items()}))

    @classmethod
    def load(cls, path: Path) -> Splits:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: the file is missing or is not that.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls({name: np.array(ids, dtype=np.int64) for name, ids in content.items()})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is not a file of splits ({error})") from None

    def require_disjoint_groups(self, groups: np.ndarray, ids: np.ndarray) -> None:
        """Check that no group stands in two splits.

        Args:
            groups: ``(N,)`` group of every row.
            ids: ``(N,)`` row ids.

        Raises:
            DataError: one does; names the group and the splits.
        """
        home: dict[str, str] = {}
        for name in self.rows:
            for group in np.unique(groups[self.positions(name, ids)]):
                if home.setdefault(group, name) != name:
                    raise DataError(f"group {str(group)!r} is in split {home[group]} and in split {name}: it leaks")


def split(
    groups: np.ndarray | None,
    labels: np.ndarray | None,
    fractions: Mapping[str, float],
    seed: int,
    *,
    ids: np.ndarray | None = None,
) -> Splits:
    """Share rows out, whole groups at a time.

    Groups are taken largest first, in random order among equals, and each goes to the split that lacks most of
    what it holds, where a split that has its rows already is passed over. So every split ends within one group of
    its share, or above, and classes follow the shares as far as groups allow (greedy iterative stratification,
    after Sechidis et al. 2011).

    Args:
        groups: ``(N,)`` group of every row, or None for rows that stand alone.
        labels: ``(N,)`` class indices (-1: none) or ``(N, C)`` multi-hot to stratify by, or None.
        fractions: name -> share of the rows in [0, 1]; what is left of 1 goes to ``"train"``.
        seed: which of the many such splits.
        ids: ``(N,)`` row ids in the source; None counts from 0. Not needed only when both others are None.

    Raises:
        ConfigError: a share is outside [0, 1] or they exceed 1 together.
        DataError: there are no rows, or too few groups to give every split one.

    Example:
        >>> groups = np.array(["cat", "cat", "dog", "owl", "owl", "fox"])
        >>> parts = split(groups, None, {"test": 0.34}, seed=0)
        >>> parts
        Splits(train: 4, test: 2)
        >>> parts.require_disjoint_groups(groups, np.arange(6))
    """
    shares = _shares(fractions)
    given = next((array for array in (ids, groups, labels) if array is not None), None)
    if given is None or not len(given):
        raise DataError("there are no rows to split")
    total = len(given)
    ids = np.arange(total) if ids is None else np.asarray(ids)
    names, group_of = np.unique(np.arange(total) if groups is None else groups, return_inverse=True)
    wanted = sum(share > 0 for share in shares.values())
    if len(names) < wanted:
        raise DataError(f"{len(names)} groups cannot be shared among {wanted} splits: hold out fewer")
    home = _assign(_contents(group_of, len(names), labels), np.array(list(shares.values())), seed)
    return Splits({name: np.sort(ids[home[group_of] == number]) for number, name in enumerate(shares)})


def _shares(fractions: Mapping[str, float]) -> dict[str, float]:
    for name, share in fractions.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"split {name} = {share}: expected a share between 0 and 1")
    total = sum(fractions.values())
    if total > 1 + 1e-9:
        raise ConfigError(f"the splits {', '.join(fractions)} add up to {total:g}: expected at most 1")
    rest = max(0.0, 1 - total) if total < 1 - 1e-9 else 0.0
    shares = {REST: rest, **fractions}
    return {**shares, REST: rest + fractions.get(REST, 0.0)}


def _contents(group_of: np.ndarray, groups: int, labels: np.ndarray | None) -> np.ndarray:
    """``(G, 1 + C)``: rows of each group, in all and of each class."""
    sizes = np.bincount(group_of, minlength=groups)[:, None]
    if labels is None:
        return sizes
    if labels.ndim == 1:
        classes = int(labels.max(initial=-1)) + 1
        labels = labels[:, None] == np.arange(classes)  # a label of -1 belongs to no column
    counts = np.zeros((groups, labels.shape[1]), dtype=np.int64)
    np.add.at(counts, group_of, labels.astype(np.int64))
    return np.concatenate([sizes, counts], axis=1)


def _assign(contents: np.ndarray, shares: np.ndarray, seed: int) -> np.ndarray:
    """The split ``(G,)`` of each group."""
    generator = np.random.default_rng(seed_of(seed))
    shuffled = generator.permutation(len(contents))
    order = shuffled[np.argsort(-contents[shuffled, 0], kind="stable")]
    totals = contents.sum(axis=0)
    scale = (1 / np.maximum(totals, 1)).tolist()
    lacking = (shares[:, None] * totals).tolist()  # (S, 1 + C): what each split still has to get
    rows, columns = np.nonzero(contents)  # lists, since a group holds few classes and there may be a million groups
    starts = np.searchsorted(rows, np.arange(len(contents) + 1)).tolist()
    held = list(zip(columns.tolist(), contents[rows, columns].tolist(), strict=True))
    home = np.zeros(len(contents), dtype=np.int64)
    empty = {number for number, share in enumerate(shares) if share > 0}
    for taken, group in enumerate(order.tolist()):
        has = held[starts[group] : starts[group + 1]]
        open_ = [number for number, lacks in enumerate(lacking) if lacks[0] > 1e-9]
        if len(order) - taken <= len(empty):  # the last groups go to splits that have none yet
            open_ = sorted(empty)
        score = {number: sum(lacking[number][c] * scale[c] * count for c, count in has) for number in open_}
        enough = max(score.values()) - 1e-12
        chosen = max((number for number in open_ if score[number] >= enough), key=lambda number: lacking[number][0])
        home[group] = chosen
        for c, count in has:
            lacking[chosen][c] -= count
        empty.discard(chosen)
    return home


def few_shots(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Positions of ``count`` rows of each class, all where a class has fewer, in ascending order.

    >>> few_shots(np.array([0, 0, 0, 1, -1]), 2, seed=0).size
    3
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    kept = [order[labels[order] == each][:count] for each in np.unique(labels[labels >= 0])]
    return np.sort(np.concatenate([np.zeros(0, np.int64), *kept]))
