"""What was last computed for every row of the data: predictions, or features to cluster."""

from __future__ import annotations

import torch
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.checks import check_entries, check_range, check_shape
from accord.functional.distributed import gather_features
from accord.state.base import FullPrecisionState


class FeatureBank(FullPrecisionState):
    """One vector per row of the data, found again by the row's index.

    Serves as the prediction bank of PC² (Duan et al. 2024, ACM MM), whose oscillation compares :meth:`read` with the
    predictions of now, and as the features of an episode that ProtoCLIP (Chen et al. 2022) clusters. All processes
    hold the same bank. Several kinds of vectors are a :class:`~torch.nn.ModuleDict`.

    Args:
        rows: number of rows N. Key them by their position in the whole corpus, never in a subset of it.
        dim: width d.

    Raises:
        ValueError: rows or dim below 1.

    Example:
        >>> bank = FeatureBank(3, 2)
        >>> bank.update(torch.tensor([2, 0]), torch.tensor([[0.1, 0.9], [0.5, 0.5]]))
        >>> bank.read(torch.tensor([2]))
        tensor([[0.1000, 0.9000]])
        >>> bank.seen
        tensor([ True, False,  True])
    """

    features: Tensor
    seen: Tensor

    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        check_range(1, max(rows, 1), rows=rows)
        check_range(1, max(dim, 1), dim=dim)
        self.register_buffer("features", torch.zeros(rows, dim))
        self.register_buffer("seen", torch.zeros(rows, dtype=torch.bool))

    def __len__(self) -> int:
        return len(self.features)

    @torch.no_grad()
    def update(self, index: Tensor, z: Tensor) -> None:
        """Write the vectors in place; of a row that comes several times the last counts, in the order of ranks.

        Args:
            index: ``(b,)`` rows; negative ones are left out, so that a process can drop rows and still send the
                same shape.
            z: ``(b, d)``, kept as they are; the same shape in every process.

        Raises:
            ShapeError: shapes that do not fit the bank.
            ValueError: an index of N or more.
        """
        check_shape((None, self.features.shape[1]), z=z)
        self._check(index, len(z))
        index, z = gather_features(index, with_grad=False), gather_features(z.to(self.features), with_grad=False)
        if not len(index):
            return
        # Rows of one index write what the last of them is given, and those left out what the largest index is: a mask
        # would make an accelerator wait for how many rows it keeps.
        ordered, order = index.sort(stable=True)
        row = ordered.where(ordered >= 0, ordered[-1])
        z = z[order[torch.searchsorted(ordered, row, right=True) - 1]]
        written, row = row >= 0, row.clamp(min=0)
        self.features[row] = z.where(written[:, None], self.features[row])
        self.seen[row] |= written

    def read(self, index: Tensor) -> Tensor:
        """A copy of the vectors of ``index (b,)``, zero where none was written; ``(b, d)``.

        Raises:
            ShapeError: not a vector of integers.
            ValueError: an index outside [0, N).
        """
        self._check(index)
        if index.device.type == "cpu" and len(index):
            check_range(0, len(self) - 1, **{"smallest index": int(index.min())})
        return self.features[index]

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{tuple(self.features.shape)}"

    def _check(self, index: Tensor, length: int | None = None) -> None:
        check_shape((length,), index=index)
        if index.is_floating_point() or index.dtype == torch.bool:
            raise ShapeError(f"index has type {index.dtype}: expected integers")
        check_entries(len(self), index=index)
