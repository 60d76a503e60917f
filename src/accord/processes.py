"""Which of a run's processes this is, before any of them has met the others."""

from __future__ import annotations

import os

_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # as torchrun, Lightning and SLURM tell it


def is_first_process() -> bool:
    """Whether this process is the only one of its run, or the one that writes files and speaks.

    >>> is_first_process()
    True
    """
    return next((os.environ[name] for name in _RANKS if name in os.environ), "0") == "0"
