"""Makes the helpers beside this file importable (``functional.tester``, ``two_processes``), also in workers.

Reference inputs, outputs and gradients of the public implementations lie under ``golden``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, Tensor]]:
    """``golden("clip")`` gives every array of ``clip.npz`` as a tensor."""

    def read(name: str) -> dict[str, Tensor]:
        with np.load(Path(HERE) / "golden" / f"{name}.npz") as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays.files}

    return read
