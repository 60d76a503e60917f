"""Accord: contrastive and prototype-based representation learning across images, text, video, audio and graphs.

``import accord`` loads nothing heavy; the names below are imported when they are first used.

    >>> import accord
    >>> accord.__version__
    '0.1.0'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from accord import data, diagnostics, encoders, evaluation, functional, methods, search, state
    from accord.pipeline import evaluate, load, train

_FUNCTIONS = {"train": "accord.pipeline", "load": "accord.pipeline", "evaluate": "accord.pipeline"}
_MODULES = ("data", "diagnostics", "encoders", "evaluation", "functional", "methods", "search", "state")

__all__ = [
    "__version__",
    "data",
    "diagnostics",
    "encoders",
    "evaluate",
    "evaluation",
    "functional",
    "load",
    "methods",
    "search",
    "state",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    if name in _MODULES:
        return import_module(f"accord.{name}")
    raise AttributeError(f"module 'accord' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
