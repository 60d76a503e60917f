"""Accord: contrastive and prototype-based representation learning across images, text, video, audio and graphs.

``import accord`` loads nothing heavy; the names below are imported when they are first used.

    >>> import accord
    >>> accord.__version__
    '0.1.0'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from accord.moved import VERBS, find_moved, renamed

__version__ = "0.1.0"

find_moved()

if TYPE_CHECKING:
    from accord import data, diagnostics, encoders, evaluation, functional, methods, state
    from accord.pipeline import embed, evaluate, load, search, train
    from accord.pipeline.agreeing import agreement
    from accord.pipeline.altering import add_counterfactuals
    from accord.pipeline.captioning import caption
    from accord.pipeline.cleaning import apply_decisions, clean
    from accord.pipeline.comparison import compare
    from accord.pipeline.detection import detect_moments
    from accord.pipeline.discovery import discover
    from accord.pipeline.explanation import explain
    from accord.pipeline.exporting import export
    from accord.pipeline.grounding import ground
    from accord.pipeline.judgement import zero_shot
    from accord.pipeline.probing import probe
    from accord.pipeline.transferring import transfer
    from accord.serving import serve

_VERBS = (
    "agreement",
    "add_counterfactuals",
    "apply_decisions",
    "caption",
    "clean",
    "compare",
    "detect_moments",
    "discover",
    "embed",
    "evaluate",
    "explain",
    "export",
    "ground",
    "load",
    "probe",
    "search",
    "train",
    "transfer",
    "zero_shot",
)
_ELSEWHERE = {"serve": "accord.serving"}  # verbs that stand on all others
_MODULES = ("data", "diagnostics", "encoders", "evaluation", "functional", "methods", "state")

__all__ = [
    "__version__",
    "add_counterfactuals",
    "agreement",
    "apply_decisions",
    "caption",
    "clean",
    "compare",
    "data",
    "detect_moments",
    "diagnostics",
    "discover",
    "embed",
    "encoders",
    "evaluate",
    "evaluation",
    "explain",
    "export",
    "functional",
    "ground",
    "load",
    "methods",
    "probe",
    "search",
    "serve",
    "state",
    "train",
    "transfer",
    "zero_shot",
]


def __getattr__(name: str) -> Any:
    if name in _VERBS or name in VERBS:
        return getattr(import_module("accord.pipeline"), renamed(name))
    if name in _ELSEWHERE:
        return getattr(import_module(_ELSEWHERE[name]), name)
    if name in _MODULES:
        return import_module(f"accord.{name}")
    raise AttributeError(f"module 'accord' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
