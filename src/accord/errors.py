"""The errors Accord raises, each a sentence that says what is wrong and what to do.

Every one derives from :class:`AccordError`, so that the command line prints one readable line and exits with 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from importlib import import_module
from os import PathLike
from reprlib import repr as short
from types import ModuleType
from typing import Any


class AccordError(Exception):
    """Something the user can put right; its message says how."""


class ShapeError(AccordError, ValueError):
    """A tensor has the wrong shape: the message names the argument, what came and what was expected."""


class ConfigError(AccordError, ValueError):
    """A setting is unknown or out of range: the message names the field and what is allowed."""


class DataError(AccordError, ValueError):
    """A data set cannot be read as asked: the message names file, row and remedy."""


class WeightsError(AccordError):
    """Pretrained weights were not found or do not fit; the message lists the places tried."""


class StorageError(AccordError, OSError):
    """A file or folder cannot be written or read: the message names the place, the reason and the remedy."""


class ProcessError(AccordError, RuntimeError):
    """Another process of the run has ended."""


class DivergenceError(AccordError, ArithmeticError):
    """Training produced a value that is not finite: the message names term, stage, step and what to try."""


class MissingExtraError(AccordError, ImportError):
    """An optional dependency is not installed; the message names the extra to install."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Args:
        module: dotted module name, e.g. ``"soundfile"``.
        extra: the extra of Accord that installs it, e.g. ``"audio"``.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: the module is not installed.

    Example:
        >>> require("json", "audio").loads("1")
        1
        >>> require("no_such_module", "audio")
        Traceback (most recent call last):
        accord.errors.MissingExtraError: no_such_module is not installed: pip install "accord[audio]"
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise MissingExtraError(f'{error.name} is not installed: pip install "accord[{extra}]"') from None


def did_you_mean(name: str, known: Iterable[str], compared: Callable[[str], str] = str) -> str:
    """A hint at the nearest of the ``known`` names, to end a sentence with; empty when none is near.

    Args:
        name: what came.
        known: what there is, as the user would write it.
        compared: the part of a known name that ``name`` is held against.

    Example:
        >>> did_you_mean("epoch", ["epochs", "seed"])
        '; did you mean epochs?'
        >>> did_you_mean("smell", ["epochs", "seed"])
        ''
        >>> did_you_mean("epoch", ["training.epochs", "training.seed"], compared=lambda dotted: dotted.split(".")[-1])
        '; did you mean training.epochs?'
    """
    by_part: dict[str, list[str]] = {}
    for one in known:
        by_part.setdefault(compared(one), []).append(one)
    near = [one for part in get_close_matches(str(name), by_part, n=3) for one in by_part[part]]
    return f"; did you mean {' or '.join(near[:3])}?" if near else ""


def no_such(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that there is not: the nearest, and all there are.

    Example:
        >>> no_such("method", "clop", ["capro", "clip"])
        "no method 'clop'; did you mean clip? There are: capro, clip"
        >>> no_such("method", "smell", ["capro", "clip"])
        "no method 'smell'; there are: capro, clip"
    """
    known = list(known)
    near = did_you_mean(name, known)
    return f"no {what} {name!r}{near}{' There' if near else '; there'} are: {', '.join(known)}"


def listed(name: str, items: Iterable[Any]) -> list[Any]:
    """The items as a list; one string or path in the place of several is refused: it would be taken letter by letter.

    Args:
        name: of the argument, for the message.
        items: what was given.

    Raises:
        ConfigError: it is a single thing; says how to write it.

    Example:
        >>> listed("tasks", ("knn", "retrieval"))
        ['knn', 'retrieval']
        >>> listed("tasks", "knn")
        Traceback (most recent call last):
        accord.errors.ConfigError: tasks='knn': expected a list, write tasks=['knn']
    """
    if isinstance(items, str | bytes | PathLike) or not isinstance(items, Iterable):
        one = short(str(items) if isinstance(items, PathLike) else items)
        raise ConfigError(f"{name}={one}: expected a list, write {name}=[{one}]")
    return list(items)
