"""Griffe extension: docstrings as the code writes them become Markdown that mkdocstrings understands.

Sphinx roles (``:class:`Features```) become links where the name is known, and examples become code blocks whether
or not they stand under ``Example:``.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`([^`]+)`")
EXAMPLE = re.compile(r"^Example:$", re.MULTILINE)
BARE_EXAMPLE = re.compile(r"^>>> (?:.+\n?)+", re.MULTILINE)


class Roles(Extension):
    """Rewrites every docstring before mkdocstrings renders it."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite one object's docstring."""
        if obj.docstring:
            text = ROLE.sub(lambda match: link(match[1], obj), obj.docstring.value)
            text = EXAMPLE.sub("Examples:", text)
            obj.docstring.value = BARE_EXAMPLE.sub(lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", text)


def link(name: str, scope: Object) -> str:
    """A reference to ``name`` as seen from ``scope``, shown as code and harmless when there is no such page."""
    name = name.lstrip("~.")
    try:
        target = scope.resolve(name)
    except Exception:  # griffe's name errors differ between its versions; an unknown name is plain code
        target = name
    return f'<autoref identifier="{target}" optional><code>{name}</code></autoref>'
