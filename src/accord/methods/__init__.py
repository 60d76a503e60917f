"""Methods, reached by name through the registry."""

from accord.methods.base import (
    Concepts,
    DataInfo,
    Episode,
    Group,
    Loader,
    Method,
    Objective,
    Paired,
    Stage,
    Step,
    TwoTower,
    Verdicts,
)
from accord.methods.registry import available, get_method, get_methods, get_objective

__all__ = [
    "Concepts",
    "DataInfo",
    "Episode",
    "Group",
    "Loader",
    "Method",
    "Objective",
    "Paired",
    "Stage",
    "Step",
    "TwoTower",
    "Verdicts",
    "available",
    "get_method",
    "get_methods",
    "get_objective",
]
