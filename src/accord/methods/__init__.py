"""Methods, reached by name through the registry.

The names below are imported when they are first used: what the registry lists can be read without PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accord.methods.abilities import Concepts, Verdicts
    from accord.methods.base import (
        DataInfo,
        Episode,
        Group,
        Loader,
        Method,
        Objective,
        Optimiser,
        Paired,
        Stage,
        Step,
        TwoTower,
    )
    from accord.methods.registry import available, get_method, get_methods, get_objective, named_with, objectives

_HOMES = {
    "abilities": ("Concepts", "Verdicts"),
    "base": (
        "DataInfo",
        "Episode",
        "Group",
        "Loader",
        "Method",
        "Objective",
        "Optimiser",
        "Paired",
        "Stage",
        "Step",
        "TwoTower",
    ),
    "registry": ("available", "get_method", "get_methods", "get_objective", "named_with", "objectives"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Concepts",
    "DataInfo",
    "Episode",
    "Group",
    "Loader",
    "Method",
    "Objective",
    "Optimiser",
    "Paired",
    "Stage",
    "Step",
    "TwoTower",
    "Verdicts",
    "available",
    "get_method",
    "get_methods",
    "get_objective",
    "named_with",
    "objectives",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"accord.methods.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'accord.methods' has no attribute {name!r}")
