"""Makes the helpers beside this file importable (``functional.tester``, ``two_processes``), also in workers.

Reference inputs, outputs and gradients of the public implementations lie under ``golden``.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from accord.data.corpus import Corpus

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


@pytest.fixture
def whole_pictures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many decoded pictures were held at once, each time that a corpus gave another one."""
    held: list[weakref.ref[Any]] = []
    counts: list[int] = []
    sample = Corpus.sample

    def counted(corpus: Corpus, *args: Any, **kwargs: Any) -> dict[str, Any]:
        found = sample(corpus, *args, **kwargs)
        held.append(weakref.ref(found["image"]))
        counts.append(sum(picture() is not None for picture in held))
        return found

    monkeypatch.setattr(Corpus, "sample", counted)
    return counts
