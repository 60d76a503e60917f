"""Methods, reached by name through the registry."""

from accord.methods.abilities import Concepts, Verdicts
from accord.methods.base import (
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
)
from accord.methods.registry import available, get_method, get_methods, get_objective, named_with

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
    "named_with",
]
