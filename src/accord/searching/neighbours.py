"""The nearest vectors by faiss: all of them looked at, or inverted lists of which the nearest are.

An index is one file, which is mapped into memory: a search reads the lists that it looks into. How many that are
follows from the vectors: as many as give nearly all of the true neighbours of some that are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

ASKED, AMONG = 64, 20  # queries, and neighbours of each, by which the number of lists is chosen
RECALL = 0.99  # of these that are to be found
PER_LIST = 40  # vectors by which the centre of a list is learnt, as faiss advises
_ROUNDS = 8  # of k-means; more moves the centres of so many lists hardly
_BLOCK = 65_536  # vectors that are assigned to lists at a time


def lists_for(rows: int) -> int:
    """How many inverted lists so many vectors are put into: twice the square root, as long as each can be learnt.

    >>> lists_for(1_000_000), lists_for(400)
    (2000, 10)
    """
    return max(1, min(2 * math.isqrt(rows), rows // PER_LIST))


class Neighbours:
    """Vectors under the ids of their rows, by cosine.

    Args:
        index: of faiss, by inner product.

    Example:
        >>> index = Neighbours.exact(2)
        >>> index.add(np.array([7, 9]), np.eye(2, dtype=np.float32))
        >>> index.search(np.array([0.0, 3.0], dtype=np.float32), k=1)
        (array([9]), array([1.], dtype=float32))
    """

    def __init__(self, index: Any) -> None:
        self._index = index

    @classmethod
    def exact(cls, size: int) -> Neighbours:
        """An empty one for vectors of ``size`` numbers that looks at all."""
        import faiss

        return cls(faiss.IndexIDMap(faiss.IndexFlatIP(size)))

    @classmethod
    def approximate(cls, sample: Floats, lists: int) -> Neighbours:
        """An empty one that looks into some of its lists.

        Args:
            sample: ``(n, D)``, vectors by which the lists are learnt.
            lists: how many.
        """
        import faiss

        index = faiss.IndexIVFFlat(
            faiss.IndexFlatIP(sample.shape[1]), sample.shape[1], lists, faiss.METRIC_INNER_PRODUCT
        )
        index.cp.niter, index.cp.max_points_per_centroid, index.cp.min_points_per_centroid = _ROUNDS, PER_LIST, 1
        index.cp.spherical = True
        index.train(unit(sample))
        return cls(index)

    @classmethod
    def open(cls, path: Path, *, mapped: bool = True) -> Neighbours:
        """The one of a file; to be searched only where it is ``mapped``."""
        import faiss

        index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP if mapped else 0)
        lists: Any = getattr(index, "invlists", None)
        if mapped and lists is not None:
            # Threads that read ahead take longer to start than most searches last.
            found: Any = faiss.downcast_InvertedLists(lists)
            found.prefetch_nthread = 0
        return cls(index)

    def save(self, path: Path) -> None:
        """Write it into a file."""
        import faiss

        faiss.write_index(self._index, str(path))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def lists(self) -> int:
        """How many inverted lists there are; 0 where all vectors are looked at."""
        return int(getattr(self._index, "nlist", 0))

    def add(self, ids: Ids, vectors: Floats) -> None:
        """Take in vectors ``(n, D)`` under ``ids`` ``(n,)``."""
        for start in range(0, len(ids), _BLOCK):
            block = slice(start, start + _BLOCK)
            self._index.add_with_ids(unit(vectors[block]), np.ascontiguousarray(ids[block], np.int64))

    def remove(self, ids: Ids) -> None:
        """Let go of those under ``ids`` that are there."""
        self._index.remove_ids(np.ascontiguousarray(ids, np.int64))

    def look_into_enough(self, queries: Iterable[Floats]) -> None:
        """Choose how many lists are looked into: the fewest, doubling, that hold nearly all neighbours.

        Args:
            queries: sets ``(n, D)`` of what may be asked, such as vectors of the rows and of their texts; enough is
                what is enough for each of the sets.
        """
        if not self.lists or not len(self):
            return
        wanted = [(unit(asked), self._found(unit(asked), AMONG, self.lists)[1]) for asked in queries]
        probes = 1
        while probes < self.lists and any(self._missed(asked, true, probes) > 1 - RECALL for asked, true in wanted):
            probes = min(2 * probes, self.lists)
        self._index.nprobe = probes

    def search(self, query: Floats, k: int, *, exact: bool = False, among: Ids | None = None) -> tuple[Ids, Floats]:
        """Ids and cosines ``(n,)`` of the ``k`` nearest to ``query`` ``(D,)``, best first; fewer where there are not k.

        Args:
            query: of any length.
            k: how many.
            exact: look into all lists.
            among: ids of those that may be found, which are all looked at; None for any.

        Example:
            >>> index = Neighbours.exact(2)
            >>> index.add(np.array([7, 9]), np.eye(2, dtype=np.float32))
            >>> index.search(np.array([0.0, 3.0], dtype=np.float32), k=2, among=np.array([7]))[0]
            array([7])
        """
        count = len(self) if among is None else min(len(among), len(self))
        whole = exact or among is not None  # the nearest of a few rows may lie in any list
        cosines, ids = self._found(unit(query[None]), min(k, count), self.lists if whole else None, among)
        there = ids[0] >= 0
        return ids[0][there], cosines[0][there]

    def search_all(self, queries: Floats, k: int, probes: int | None = None) -> tuple[Ids, Floats]:
        """Ids and cosines ``(n, k)`` of the nearest to each of ``queries`` ``(n, D)``, best first; -1 where none is.

        Args:
            queries: of any length.
            k: how many.
            probes: lists to look into; None for as many as were chosen.

        Example:
            >>> index = Neighbours.exact(2)
            >>> index.add(np.array([7, 9]), np.eye(2, dtype=np.float32))
            >>> index.search_all(np.eye(2, dtype=np.float32), k=1)[0].tolist()
            [[7], [9]]
        """
        cosines, ids = self._found(unit(queries), k, probes)
        return ids, cosines

    def _missed(self, queries: Floats, true: Ids, probes: int) -> float:
        """Share of the true neighbours that so many lists do not hold."""
        found = self._found(queries, true.shape[1], probes)[1]
        return 1 - float(np.mean([np.isin(row, got).mean() for row, got in zip(true, found, strict=True)]))

    def _found(self, queries: Floats, k: int, probes: int | None, among: Ids | None = None) -> tuple[Floats, Ids]:
        import faiss

        if k < 1:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        how: Any = faiss.SearchParametersIVF if self.lists else faiss.SearchParameters
        asked: dict[str, Any] = {"nprobe": probes} if probes and self.lists else {}
        if among is not None:
            selected: Any = faiss.IDSelectorBitmap
            asked["sel"] = selected(_bits(among))
        cosines, ids = self._index.search(queries, k, **({"params": how(**asked)} if asked else {}))
        return cosines, ids


def _bits(ids: Ids) -> NDArray[np.uint8]:
    """A bit for each number up to the largest id, set where it is one.

    >>> _bits(np.array([0, 9])).tolist()
    [1, 2]
    """
    there = np.zeros(int(ids.max(initial=0)) + 1, np.bool_)
    there[ids] = True
    return np.packbits(there, bitorder="little")


def unit(vectors: Floats) -> Floats:
    """Vectors ``(n, D)`` of length 1; one of zeros stays.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32))
    array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32)
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
