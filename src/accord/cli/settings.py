"""``--set key=value``: any setting of a run from the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import typer
import yaml


class _Loader(yaml.SafeLoader):
    """YAML in which ``1e-3`` is a number, as in every other language; YAML 1.1 asks for ``1.0e-3``."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def parse_settings(assignments: Iterable[str]) -> dict[str, Any]:
    """Dotted settings; values are read as YAML, so that ``true``, ``0.1``, ``[1, 2]`` and ``null`` mean what they say.

    Raises:
        typer.BadParameter: an assignment has no ``=``, no key or a value that is not YAML.

    Example:
        >>> parse_settings(["method.temperature=0.1", "training.optimizer=sgd", "training.ema=null"])
        {'method.temperature': 0.1, 'training.optimizer': 'sgd', 'training.ema': None}
    """
    settings = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not (equals and key.strip()):
            raise typer.BadParameter(f"--set {assignment}: write KEY=VALUE, for example method.temperature=0.1")
        try:
            settings[key.strip()] = yaml.load(value, _Loader)
        except yaml.YAMLError:
            raise typer.BadParameter(f"--set {assignment}: the value is not readable YAML") from None
    return settings
