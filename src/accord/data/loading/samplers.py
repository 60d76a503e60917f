"""Samplers that say which rows share a batch: one cluster, P classes of K samples, or one episode.

The order depends on (seed, epoch) alone. Several processes draw the same global batches and each takes its own share,
so that together they see what one process would.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Sampler

from accord.errors import ConfigError, DataError, ShapeError
from accord.functional.checks import check_ndim, check_range, check_shape


def combine_labels(labels: Sequence[Tensor], k: int | Sequence[int]) -> Tensor:
    """One label from those of several clusterings, as the digits of a number (MCL; Zhang et al. 2024, ECCV).

    Two samples share the result if and only if they share every label: ``((c_0 k_1) + c_1) k_2 + c_2 …``.

    Args:
        labels: S clusterings, the earliest first, each ``(N,)`` in [0, k_s).
        k: clusters of each, or of all.

    Returns:
        ``(N,)`` int64.

    Raises:
        ShapeError: clusterings of different length.
        ValueError: no clustering, a number of k that differs from theirs, a label outside [0, k_s), or more
            combinations than int64 holds.

    Example:
        >>> combine_labels([torch.tensor([0, 1, 1]), torch.tensor([2, 0, 2])], k=3)
        tensor([2, 3, 5])
    """
    check_range(1, max(len(labels), 1), **{"number of labels": len(labels)})
    radices = [k] * len(labels) if isinstance(k, int) else list(k)
    if len(radices) != len(labels):
        raise ShapeError(f"k has {len(radices)} entries: expected {len(labels)}, as labels has")
    if math.prod(radices) > 2**63:
        raise ValueError(f"{math.prod(radices)} combinations of labels: expected at most 2^63")
    combined = torch.zeros_like(labels[0], dtype=torch.int64)
    for position, (label, radix) in enumerate(zip(labels, radices, strict=True)):
        check_shape((len(combined),), **{f"labels[{position}]": label})
        if len(label):
            check_range(0, radix - 1, **{f"smallest of labels[{position}]": int(label.min())})
            check_range(0, radix - 1, **{f"largest of labels[{position}]": int(label.max())})
        combined = combined * radix + label
    return combined


class ClusterBatchSampler(Sampler[list[int]]):
    """Batches whose rows all have one label, so that negatives come from the anchor's own cluster (MCL).

    In every epoch each label's rows are shuffled and cut to a multiple of the global batch; the tail, another one each
    epoch, is left out. Use it as ``batch_sampler`` of a :class:`~torch.utils.data.DataLoader`.

    Args:
        labels: ``(N,)`` integers; negative rows belong to no cluster.
        batch_size: rows of one process's batch.
        seed: of the shuffling; epoch e uses ``seed + e``.
        world_size: number of processes.
        rank: this process's number. At every step all processes are at the same label.
        order: ``"round_robin"`` takes a batch of each label in turn, so that only the large labels remain late in the
            epoch; ``"proportional"`` spreads the batches of every label evenly over it.
        small: labels with fewer rows than a global batch are dropped, or merged with the next small ones in the order
            of labels until they fill one. After :func:`combine_labels` neighbours share the earlier clusterings. A
            merged batch holds several labels: mask its negatives.

    Raises:
        ShapeError: labels that are not a vector.
        ConfigError: an unknown order or way with small labels.
        DataError: no label fills a batch.
        ValueError: a batch size below 1, or a rank outside [0, world_size).

    Example:
        >>> batches = ClusterBatchSampler(torch.tensor([0, 1, 0, 1, 1]), batch_size=2, seed=0)
        >>> [sorted(batch) for batch in batches][0], len(batches), batches.left_out
        ([0, 2], 2, 1)
    """

    def __init__(
        self,
        labels: Tensor,
        batch_size: int,
        seed: int,
        world_size: int = 1,
        rank: int = 0,
        order: Literal["round_robin", "proportional"] = "round_robin",
        small: Literal["drop", "merge"] = "drop",
    ) -> None:
        check_ndim(1, labels=labels)
        check_range(1, max(batch_size, 1), batch_size=batch_size)
        check_range(0, world_size - 1, rank=rank)
        if order not in ("round_robin", "proportional"):
            raise ConfigError(f"order = {order!r}: expected 'round_robin' or 'proportional'")
        if small not in ("drop", "merge"):
            raise ConfigError(f"small = {small!r}: expected 'drop' or 'merge'")
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0
        self.world_size, self.rank = world_size, rank
        need = batch_size * world_size
        clusters = _rows_by_label(labels)
        self._clusters = _merge_small(clusters, need) if small == "merge" else [c for c in clusters if len(c) >= need]
        if not self._clusters:
            raise DataError(f"no label has {need} rows, one batch of all processes: lower batch_size")
        self._visits = _visits([len(cluster) // need for cluster in self._clusters], order)
        self.left_out = len(labels) - need * len(self)

    def __len__(self) -> int:
        return len(self._visits)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle as in this epoch from the next iteration on."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        batches = [
            self._batches(cluster[torch.randperm(len(cluster), generator=generator)]) for cluster in self._clusters
        ]
        return (batches[cluster][number] for cluster, number in self._visits)

    def _batches(self, shuffled: Tensor) -> list[list[int]]:
        """This rank's batches of a label: every ``world_size``-th row, from the end of what is kept."""
        kept = len(shuffled) - len(shuffled) % (self.batch_size * self.world_size)
        mine = shuffled[:kept][self.rank :: self.world_size].flip(0)
        return mine.view(-1, self.batch_size).tolist()


class ClassBalancedSampler(Sampler[list[int]]):
    """Batches of P classes with K rows each, class after class, so that every anchor has positives.

    The classes of a batch are drawn without replacement, and so are the rows of a class, unless it has fewer than K.

    Args:
        labels: ``(N,)`` integers; negative rows belong to no class.
        classes: P, of the global batch.
        samples: K.
        seed: epoch e uses ``seed + e``.
        batches: batches of an epoch, by default ``N // (P K)``, at least one.
        world_size: number of processes, which share the global batch equally.
        rank: this process's number.

    Raises:
        ShapeError: labels that are not a vector.
        ConfigError: ``P K`` cannot be shared among the processes.
        ValueError: P outside [1, number of classes], K or batches below 1, a rank outside [0, world_size).

    Example:
        >>> labels = torch.tensor([0, 0, 1, 1, 2])
        >>> [labels[batch].tolist() for batch in ClassBalancedSampler(labels, classes=2, samples=2, seed=1)]
        [[1, 1, 2, 2]]
    """

    def __init__(
        self,
        labels: Tensor,
        classes: int,
        samples: int,
        seed: int,
        batches: int | None = None,
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        check_ndim(1, labels=labels)
        self._rows = _rows_by_label(labels)
        check_range(1, len(self._rows), classes=classes)
        check_range(1, max(samples, 1), samples=samples)
        check_range(0, world_size - 1, rank=rank)
        if classes * samples % world_size:
            raise ConfigError(f"classes × samples = {classes * samples}: expected a multiple of {world_size} processes")
        batches = max(1, len(labels) // (classes * samples)) if batches is None else batches
        check_range(1, max(batches, 1), batches=batches)
        self.classes, self.samples, self.seed, self.epoch = classes, samples, seed, 0
        self.batches, self.world_size, self.rank = batches, world_size, rank

    def __len__(self) -> int:
        return self.batches

    def set_epoch(self, epoch: int) -> None:
        """Draw as in this epoch from the next iteration on."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        share = self.classes * self.samples // self.world_size
        for _ in range(self.batches):
            chosen = torch.randperm(len(self._rows), generator=generator)[: self.classes].tolist()
            batch = torch.cat([self._draw(self._rows[cls], generator) for cls in chosen])
            yield batch[self.rank * share : (self.rank + 1) * share].tolist()

    def _draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """K of ``rows``."""
        if len(rows) < self.samples:
            return rows[torch.randint(len(rows), (self.samples,), generator=generator)]
        return rows[torch.randperm(len(rows), generator=generator)[: self.samples]]


class EpisodeSampler(Sampler[int]):
    """The rows of one episode after another: a draw from the data on which features are clustered, then trained.

    ProtoCLIP (Chen et al. 2022, "Prototypical Contrastive Language Image Pretraining"), algorithm 1.

    Args:
        n: rows of the data.
        episode_size: rows of an episode.
        replacement: draw with replacement, as the paper does.
        seed: episode e uses ``seed + e``.

    Raises:
        ValueError: n below 1, or a size outside [1, n] without replacement.

    Example:
        >>> episodes = EpisodeSampler(10, 4, replacement=False)
        >>> len(episodes), sorted(episodes) == sorted(episodes.rows(0).tolist())
        (4, True)
    """

    def __init__(self, n: int, episode_size: int, replacement: bool = True, seed: int = 0) -> None:
        check_range(1, max(n, 1), n=n)
        check_range(1, max(episode_size, 1) if replacement else n, episode_size=episode_size)
        self.n, self.episode_size, self.replacement, self.seed, self.epoch = n, episode_size, replacement, seed, 0

    def __len__(self) -> int:
        return self.episode_size

    def set_epoch(self, epoch: int) -> None:
        """Stand at this episode from the next iteration on."""
        self.epoch = epoch

    def rows(self, episode: int) -> Tensor:
        """The row of the data at every position of an episode, ``(episode_size,)``."""
        generator = torch.Generator().manual_seed(self.seed + episode)
        if self.replacement:
            return torch.randint(self.n, (self.episode_size,), generator=generator)
        return torch.randperm(self.n, generator=generator)[: self.episode_size]

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows(self.epoch).tolist())


def _rows_by_label(labels: Tensor) -> list[Tensor]:
    """The rows of every label that is not negative, in their order; labels ascending."""
    order = labels.argsort(stable=True)
    order = order[labels[order] >= 0]
    _, sizes = labels[order].unique_consecutive(return_counts=True)
    return list(order.split(sizes.tolist()))


def _merge_small(clusters: list[Tensor], need: int) -> list[Tensor]:
    """Join clusters of fewer than ``need`` rows with the next such ones until they have enough."""
    kept = [cluster for cluster in clusters if len(cluster) >= need]
    pool: list[Tensor] = []
    for cluster in clusters:
        if len(cluster) < need:
            pool.append(cluster)
        if sum(map(len, pool)) >= need:
            kept.append(torch.cat(pool))
            pool = []
    return kept


def _visits(counts: list[int], order: str) -> list[tuple[int, int]]:
    """Label and number of every batch of the epoch, where label c has ``counts[c]`` batches."""
    batches = [(cluster, number) for cluster, count in enumerate(counts) for number in range(count)]
    if order == "round_robin":
        return sorted(batches, key=lambda visit: (visit[1], visit[0]))
    return sorted(batches, key=lambda visit: ((visit[1] + 0.5) / counts[visit[0]], visit[0]))
