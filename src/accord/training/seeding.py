"""Random numbers that depend on where training stands and on nothing that happened before.

Every optimiser step and every hook starts from its own seed, so that a resumed run draws the same dropout masks
as the run that was never interrupted.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


def seed_everything(*place: int) -> None:
    """Seed Python's, NumPy's and torch's global generators from a place in training.

    Args:
        place: non-negative integers, e.g. run seed, stage, step and process; each place has its own stream.

    Example:
        >>> seed_everything(0, 1, 2)
        >>> first = torch.rand(3)
        >>> seed_everything(0, 1, 2)
        >>> bool((torch.rand(3) == first).all())
        True
    """
    words = np.random.SeedSequence(place).generate_state(3, np.uint32)
    seed_torch(_long(words))
    np.random.seed(words[2])
    random.seed(int(words[2]))


def seed_of(*place: int) -> int:
    """The seed of a place in training, for a generator of its own.

    Example:
        >>> seed_of(0, 1) == seed_of(0, 1), seed_of(0, 1) == seed_of(0, 2)
        (True, False)
    """
    return _long(np.random.SeedSequence(place).generate_state(2, np.uint32))


def _long(words: NDArray[Any]) -> int:
    """63 bits, as torch takes."""
    return int(words[0]) << 31 | int(words[1]) >> 1


def seed_torch(seed: int) -> None:
    """Seed the generators of the CPU and of the devices in use.

    As :func:`torch.manual_seed`, which however queues a call with its stack trace for every device that has not
    been used yet: slow at every step, and it grows.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)
