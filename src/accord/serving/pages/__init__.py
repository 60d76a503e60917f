"""The pages of the application, one module each, in the order in which they are offered.

A page is a router and a line here; ``rendering.page`` gives it the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from fastapi import APIRouter


@dataclass(frozen=True)
class Page:
    """One page.

    Args:
        name: its module in this package, which has a ``router``.
        title: in the list of pages.
        path: where it begins.
        note: what one finds there, for the front page.
    """

    name: str
    title: str
    path: str
    note: str

    @property
    def router(self) -> APIRouter:
        """Its routes."""
        found: APIRouter = import_module(f"accord.serving.pages.{self.name}").router
        return found


PAGES = (
    Page("runs", "Runs", "/runs", "What was trained: numbers with intervals, curves, settings, reports."),
    Page("search", "Search", "/search", "Find rows by words, by a picture, clip or sound, or by other rows."),
    Page("explain", "Explain", "/explain", "Why a row or a file fits words: places, concepts, frames, neighbours."),
    Page("clean", "Clean", "/clean", "Which rows look wrong and why: accept, reject, correct; then the table."),
    Page("discover", "Discover", "/discover", "Classes that nobody has labelled: see, name and sort them."),
    Page("diagnostics", "Diagnostics", "/diagnostics", "How embeddings lie: numbers, and a plane to look around in."),
    Page("papers", "Papers", "/papers", "Methods and new papers: search by meaning, try one, have news sent."),
)
