"""Reports: what a run did and how well, as one HTML file that needs nothing else.

>>> from accord.report import RunSummary, render_report
>>> "<h1" in render_report(RunSummary(title="A run", method="clip"))
True
"""

from __future__ import annotations

from accord.report.curves import read_curves
from accord.report.html import render_report, write_report
from accord.report.projection import project
from accord.report.summary import (
    Arm,
    BothSides,
    Classes,
    ClassRow,
    Comparison,
    Confusion,
    Curves,
    Example,
    Geometry,
    Item,
    LeftOut,
    Noise,
    NoisyPair,
    Picture,
    Quantity,
    Relations,
    Retrieval,
    RunSummary,
    Section,
    Sheet,
    Sheets,
)

__all__ = [
    "Arm",
    "BothSides",
    "ClassRow",
    "Classes",
    "Comparison",
    "Confusion",
    "Curves",
    "Example",
    "Geometry",
    "Item",
    "LeftOut",
    "Noise",
    "NoisyPair",
    "Picture",
    "Quantity",
    "Relations",
    "Retrieval",
    "RunSummary",
    "Section",
    "Sheet",
    "Sheets",
    "project",
    "read_curves",
    "render_report",
    "write_report",
]
