"""Methods, reached by name through the registry."""

from accord.methods.base import DataInfo, Loader, Method, Stage, Step, TwoTower, Verdicts
from accord.methods.registry import available, get_method

__all__ = [
    "DataInfo",
    "Loader",
    "Method",
    "Stage",
    "Step",
    "TwoTower",
    "Verdicts",
    "available",
    "get_method",
]
