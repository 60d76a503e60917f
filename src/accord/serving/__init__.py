"""The local web application: a place to look at runs, search, compare, decide and explain (``accord serve``).

:func:`build_app` makes it of the pages in :mod:`accord.serving.pages`. Pages show what the house declares (a task's
sections, a capability's view, a modality's thumbnail), so that a method or task that is new appears without a change
here.

Needs the extra ``serve``.
"""

from __future__ import annotations

from accord.serving.app import build_app
from accord.serving.config import ServeConfig
from accord.serving.server import serve

__all__ = ["ServeConfig", "build_app", "serve"]
