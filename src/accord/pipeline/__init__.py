"""What the command line does, as functions that Python and the command line share; one verb each.

The names below are imported when they are first used: a verb does not wait for what only others need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from accord.moved import VERBS, renamed

if TYPE_CHECKING:
    from accord.pipeline.agreeing import agreement
    from accord.pipeline.altering import AlteredTable, add_counterfactuals
    from accord.pipeline.captioning import Captioned, caption
    from accord.pipeline.cleaning import Cleaned, apply_decisions, clean
    from accord.pipeline.comparison import Comparison, compare
    from accord.pipeline.detection import Detected, detect_moments
    from accord.pipeline.discovery import FoundClasses, discover
    from accord.pipeline.explanation import explain
    from accord.pipeline.exporting import export
    from accord.pipeline.grounding import Moment, ground
    from accord.pipeline.judgement import zero_shot
    from accord.pipeline.model import Model, load, search
    from accord.pipeline.probing import probe
    from accord.pipeline.run import Run, embed, evaluate, train
    from accord.pipeline.transferring import transfer

_HOMES = {
    "agreeing": ("agreement",),
    "altering": ("AlteredTable", "add_counterfactuals"),
    "captioning": ("Captioned", "caption"),
    "cleaning": ("Cleaned", "apply_decisions", "clean"),
    "comparison": ("Comparison", "compare"),
    "detection": ("Detected", "detect_moments"),
    "discovery": ("FoundClasses", "discover"),
    "explanation": ("explain",),
    "exporting": ("export",),
    "grounding": ("Moment", "ground"),
    "judgement": ("zero_shot",),
    "model": ("Model", "load", "search"),
    "probing": ("probe",),
    "run": ("Run", "embed", "evaluate", "train"),
    "transferring": ("transfer",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AlteredTable",
    "Captioned",
    "Cleaned",
    "Comparison",
    "Detected",
    "FoundClasses",
    "Model",
    "Moment",
    "Run",
    "add_counterfactuals",
    "agreement",
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
]


def __getattr__(name: str) -> Any:
    name = renamed(name) if name in VERBS else name
    if name in _MODULE_OF:
        return getattr(import_module(f"accord.pipeline.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'accord.pipeline' has no attribute {name!r}")
