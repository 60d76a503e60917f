"""Panels side by side on one picture: PNG, SVG or PDF by the ending of the file."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from accord.diagnostics.finding import Panel
from accord.errors import ConfigError
from accord.files import replacing

_COLUMNS = 3
_SIZE = (5.0, 4.2)  # inches of a panel
_DPI = 120
_KINDS = ("png", "svg", "pdf")


def check_figure(path: Path) -> None:
    """Refuse a file whose ending names no kind of picture that can be drawn.

    Raises:
        ConfigError: says which can.
    """
    if path.suffix.lower().removeprefix(".") not in _KINDS:
        raise ConfigError(f"figure {path}: expected a file that ends with .{', .'.join(_KINDS)}")


def draw_figure(panels: Sequence[Panel], path: Path) -> Path:
    """Draw panels in rows of three.

    Args:
        panels: at least one.
        path: PNG, SVG or PDF to write.

    Returns:
        ``path``.

    Raises:
        ConfigError: no panel, or a kind of picture that cannot be drawn.
        StorageError: the file cannot be written.
    """
    check_figure(path)
    if not panels:
        raise ConfigError(f"figure {path}: what was measured has nothing to draw; choose other measures, or none")
    columns = min(_COLUMNS, len(panels))
    lines = ceil(len(panels) / columns)
    figure = Figure(figsize=(_SIZE[0] * columns, _SIZE[1] * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(lines, columns, number + 1)
        axes.spines[["top", "right"]].set_visible(False)
        panel(axes)
    with replacing(path) as partial:
        figure.savefig(partial, format=path.suffix.lower().removeprefix("."), dpi=_DPI)
    return path
