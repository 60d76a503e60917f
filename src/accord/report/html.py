"""One self-contained HTML file per run: pictures as data URIs, charts as inline SVG, no script, no request."""

from __future__ import annotations

import base64
import math
import re
from datetime import datetime
from functools import cache
from html import unescape
from pathlib import Path

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from accord import __version__
from accord.files import write_atomically
from accord.report import charts
from accord.report.summary import Picture, RunSummary

_ELSEWHERE = ("Comparison", "Results", "Training", "Rows left out", "Setup", "Next")
_MATRIX_LIMIT = 40  # classes beyond which only the worst confusions are listed


def write_report(summary: RunSummary, path: Path | str) -> Path:
    """Write the report of ``summary`` atomically.

    Returns:
        The path written.
    """
    write_atomically(Path(path), render_report(summary))
    return Path(path)


def render_report(summary: RunSummary) -> str:
    """The report as a string of HTML.

    Every text is escaped by the template; the page's own policy forbids scripts and requests.
    """
    template = _own().get_template("report.html.j2")
    judged = {metric.name for metric in summary.noise.metrics} if summary.noise else set()
    return template.render(
        run=summary,
        results=[metric for metric in summary.metrics if metric.name not in judged],
        panels=charts.curve_panels(summary.curves),
        stages=list(dict.fromkeys(name.partition("/")[0] for name in summary.curves)),
        version=__version__,
        written=datetime.now().astimezone().strftime("%-d %B %Y, %H:%M"),
    )


def drawn_sections(report: str) -> dict[str, str]:
    """The anchors of what a report shows of its own, and their titles; numbers, curves and settings are elsewhere too.

    Args:
        report: as :func:`render_report` gives it.

    Example:
        >>> drawn_sections('<nav aria-label="Sections"><a href="#results">Results</a><a href="#words">Words</a></nav>')
        {'words': 'Words'}
    """
    links = report.partition('aria-label="Sections"')[2].partition("</nav>")[0]
    named = re.findall(r'<a href="#([^"]+)">([^<]+)</a>', links)
    return {unescape(anchor): unescape(title) for anchor, title in named if title not in _ELSEWHERE}


def environment_over(*packages: str) -> Environment:
    """Templates of these packages and of the report, with what the report's can use.

    Args:
        packages: those that have a folder ``templates``; the first that has a template gives it.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(name) for name in (*packages, "accord.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"uri": _data_uri, "slug": _slug, "count": _count, "signed": _signed, "cosine": _cosine}
    environment.tests |= {"finite": math.isfinite}
    environment.globals |= {
        "whisker": charts.whisker,
        "lines_of": charts.lines_panel,
        "matrix_limit": _MATRIX_LIMIT,
        "comparison_axis": charts.comparison_axis,
        "heatmap": charts.heatmap,
        "relation_cells": charts.relation_cells,
        "scatter": charts.scatter,
    }
    return environment


_own = cache(environment_over)


def _data_uri(picture: Picture) -> str:
    return f"data:image/webp;base64,{base64.b64encode(picture.data).decode('ascii')}"


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")


def _count(number: int) -> str:
    return f"{number:,}".replace(",", "\u202f")


def _signed(number: float) -> str:
    return f"{number:.3f}".replace("-", "\u2212")


def _cosine(score: float) -> str:
    return f"{round(score, 2) + 0.0:.2f}".replace("-", "\u2212")  # + 0.0: no minus before zero
