"""Prototypes: one remembered unit vector per class (MoPro, CAPro), and learnable ones without classes (SwAV)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch import distributed as dist

from accord.errors import ShapeError
from accord.functional.checks import as_float, check_entries, check_positive, check_range, check_shape, check_share
from accord.functional.distributed import gather_features, world_size
from accord.state.base import FullPrecisionState


class Prototypes(FullPrecisionState):
    """A layer of K learnable unit vectors, and the scores of embeddings with them (SwAV; Caron et al. 2020, NeurIPS).

    An iteration is :meth:`normalize_`, forward, backward, :meth:`after_backward`, optimiser step.

    Args:
        dim: width d.
        num_prototypes: K.

    Raises:
        ValueError: dim or num_prototypes below 1.

    Example:
        >>> prototypes = Prototypes(2, 3)
        >>> prototypes(F.normalize(torch.randn(5, 2), dim=1)).shape
        torch.Size([5, 3])
        >>> prototypes.freeze(until_step=1)
        >>> prototypes(torch.randn(5, 2)).sum().backward()
        >>> prototypes.after_backward(step=0)
        >>> prototypes.weight.grad is None
        True
    """

    def __init__(self, dim: int, num_prototypes: int) -> None:
        super().__init__()
        check_range(1, max(dim, 1), dim=dim)
        check_range(1, max(num_prototypes, 1), num_prototypes=num_prototypes)
        self.weight = nn.Parameter(F.normalize(torch.randn(num_prototypes, dim), dim=1))
        self.frozen_until = 0

    @torch.no_grad()
    def normalize_(self) -> None:
        """Bring the prototypes back to unit length; call it before the forward pass."""
        self.weight.copy_(F.normalize(self.weight, dim=1))

    def forward(self, z: Tensor) -> Tensor:
        """Inner product of ``z (n, d)``, unit norm, with every prototype, in float32 even under autocast; ``(n, K)``.

        Raises:
            ShapeError: not ``(n, d)``.
        """
        check_shape((None, self.weight.shape[1]), z=z)
        with torch.autocast(z.device.type, enabled=False):
            z = as_float(z)
            return z @ self.weight.to(z.dtype).T

    def freeze(self, until_step: int) -> None:
        """Let :meth:`after_backward` hold the prototypes still at every step below ``until_step``."""
        self.frozen_until = until_step

    def after_backward(self, step: int) -> None:
        """While they are frozen, drop their gradient: a zero one would let momentum and weight decay move them."""
        if step < self.frozen_until:
            self.weight.grad = None

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{tuple(self.weight.shape)}"


class PrototypeBank(FullPrecisionState):
    """Momentum prototypes: set once from the mean of trusted samples, then moved by each sample.

    For one label per row ``prototypes`` is ``(C, d)``. With ``multi_label`` it is ``(C, 2, d)``, a negative
    and a positive prototype per class, and ``z`` holds one vector per row and class. A prototype is zero
    until ``initialised`` says otherwise, which gives it the neutral logit 0. All processes hold the same
    bank.

    Args:
        num_classes: C.
        dim: width d.
        momentum: share of the old prototype that one sample leaves.
        multi_label: two prototypes per class.

    Raises:
        ValueError: num_classes or dim below 1, momentum outside [0, 1].

    Example:
        >>> bank = PrototypeBank(3, 2, momentum=0.9)
        >>> bank.init_from(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 2]))
        >>> bank.initialised
        tensor([ True, False,  True])
        >>> bank.logits(torch.tensor([[1.0, 0.0]]), temperature=0.1)
        tensor([[10.,  0.,  0.]])
    """

    prototypes: Tensor
    initialised: Tensor

    def __init__(self, num_classes: int, dim: int, momentum: float = 0.999, *, multi_label: bool = False) -> None:
        super().__init__()
        check_range(1, max(num_classes, 1), num_classes=num_classes)
        check_range(1, max(dim, 1), dim=dim)
        check_share(momentum=momentum)
        self.momentum, self.multi_label = momentum, multi_label
        shape = (num_classes, 2) if multi_label else (num_classes,)
        self.register_buffer("prototypes", torch.zeros(*shape, dim))
        self.register_buffer("initialised", torch.zeros(shape, dtype=torch.bool))

    @torch.no_grad()
    def init_from(self, z: Tensor, y: Tensor) -> None:
        """Set each class that has samples to their normalised mean; the other classes stay as they are.

        Args:
            z: ``(N, d)``, or ``(N, C, d)`` with several labels. Processes may hold different numbers of rows.
            y: ``(N,)`` class indices, or ``(N, C)`` in {0, 1}; negative entries are left out.

        Raises:
            ShapeError: shapes that do not fit the bank.
            ValueError: a class index of C or more.
        """
        z, slot = self._samples(z, y)
        total = self._flat().new_zeros(self._flat().shape).index_add(0, slot, z)
        count = torch.bincount(slot, minlength=len(total))
        if world_size() > 1:
            dist.all_reduce(total)
            dist.all_reduce(count)
        self._replace(count > 0, total)

    @torch.no_grad()
    def update(self, z: Tensor, y: Tensor) -> None:
        """Move the prototypes as if ``p_y <- m p_y + (1 - m) z`` ran over the samples in order, then normalise.

        The closed form ``p <- m^n p + (1 - m) Σ_j m^(n-1-j) z_j`` over the n samples of a class; classes
        without samples do not change. In distributed training the samples of all processes count, in the
        order of ranks.

        Args:
            z: ``(B, d)``, or ``(B, C, d)`` with several labels; the same shape in every process.
            y: ``(B,)`` class indices, or ``(B, C)`` in {0, 1}; negative entries are left out, so that a
                process can drop rows and still send the same shape.

        Raises:
            ShapeError: shapes that do not fit the bank.
            ValueError: a class index of C or more.
        """
        self._check(z, y)
        z, y = gather_features(z.detach(), with_grad=False), gather_features(y, with_grad=False)
        z, slot = self._samples(z, y)
        flat = self._flat()
        count = torch.bincount(slot, minlength=len(flat))
        weight = (1 - self.momentum) * self.momentum ** _later(slot, count).to(z)
        kept = flat * (self.momentum ** count.to(z))[:, None]
        self._replace(count > 0, kept.index_add(0, slot, z * weight[:, None]))

    def logits(self, z: Tensor, temperature: float | Tensor) -> Tensor:
        """Cosine with every prototype over the temperature, in float32; gradient flows to ``z`` only.

        Args:
            z: ``(B, d)`` unit norm, or ``(B, C, d)`` with several labels.
            temperature: divides the cosine.

        Returns:
            ``(B, C)``, or ``(B, C, 2)`` with several labels.

        Raises:
            ShapeError: shapes that do not fit the bank.
            ValueError: a temperature that is not finite and positive.
        """
        check_shape(self._sample_shape(None), z=z)
        check_positive(temperature=temperature)
        with torch.autocast(z.device.type, enabled=False):
            pattern = "bcd,ckd->bck" if self.multi_label else "bd,cd->bc"
            z = as_float(z)
            return torch.einsum(pattern, z, self.prototypes.to(z.dtype)) / temperature

    def extra_repr(self) -> str:
        """For ``print``."""
        shape = tuple(self.prototypes.shape)
        return f"{shape}, momentum={self.momentum}"

    def _sample_shape(self, rows: int | None) -> tuple[int | None, ...]:
        classes, dim = self.prototypes.shape[0], self.prototypes.shape[-1]
        return (rows, classes, dim) if self.multi_label else (rows, dim)

    def _check(self, z: Tensor, y: Tensor) -> None:
        check_shape(self._sample_shape(None), z=z)
        check_shape(tuple(z.shape[:-1]), y=y)
        if y.is_floating_point():
            raise ShapeError(f"y has type {y.dtype}: expected integers")
        limit = 2 if self.multi_label else len(self.prototypes)
        check_entries(limit, **{"entry of y": y})

    def _samples(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Rows that count, ``(M, d)``, and the flat prototype that each belongs to, ``(M,)``."""
        self._check(z, y)
        slot = y.long()
        if self.multi_label:  # class c owns the flat prototypes 2c (negative) and 2c + 1 (positive)
            slot = torch.where(slot < 0, slot, 2 * torch.arange(y.shape[1], device=y.device) + slot)
        z, slot = z.to(self.prototypes).reshape(-1, z.shape[-1]), slot.flatten()
        return z[slot >= 0], slot[slot >= 0]

    def _flat(self) -> Tensor:
        return self.prototypes.flatten(0, -2)

    def _replace(self, changed: Tensor, values: Tensor) -> None:
        """New buffers, so that logits of the old prototypes can still be back-propagated."""
        fresh = torch.where(changed[:, None], F.normalize(values, dim=1), self._flat())
        self.prototypes = fresh.view_as(self.prototypes)
        self.initialised = self.initialised | changed.view_as(self.initialised)


def _later(slot: Tensor, count: Tensor) -> Tensor:
    """How many samples of the same prototype come after each sample; ``(M,)``."""
    order = slot.argsort(stable=True)
    end = count.cumsum(0)  # one past the last place of each prototype in that order
    later = end[slot[order]] - 1 - torch.arange(len(slot), device=slot.device)
    return torch.empty_like(later).scatter(0, order, later)
