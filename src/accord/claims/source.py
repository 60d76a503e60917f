"""The text that a function of a claim file depends on, so that a change of it is noticed.

A kept result is good for as long as nothing that it was computed with has changed. Settings, rows and weights are data
and hashed as such; for code, the source of a function, of what it names in the claims folder, and of the methods that
it names are taken together.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

METHODS = "accord.methods."


def source_of(value: Any, folder: Path) -> str:
    """All source text that ``value`` depends on, in a fixed order.

    Args:
        value: a function or class, or a constant or container that one refers to.
        folder: the claims folder; of what lies elsewhere only the name counts.
    """
    return "\n".join(_texts(value, folder.resolve(), set()))


def method_source(kind: type) -> str:
    """The modules of a method's class and of those it inherits from."""
    modules = dict.fromkeys(one.__module__ for one in kind.__mro__ if one.__module__.startswith(METHODS))
    return "\n".join(inspect.getsource(sys.modules[name]) for name in modules)


def _texts(value: Any, folder: Path, seen: set[int]) -> Iterator[str]:
    parts: Any = None
    value = inspect.unwrap(value) if callable(value) else value  # what functools.cache stands for
    if isinstance(value, types.FunctionType | type):
        yield from _code(value, folder, seen)
    elif isinstance(value, types.ModuleType):
        yield Path(str(value.__file__)).read_text(encoding="utf-8") if _inside(value, folder) else value.__name__
    elif isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
    elif isinstance(value, types.MethodType):
        parts = (value.__func__, value.__self__)
    elif isinstance(value, Mapping):
        parts = [part for pair in value.items() for part in pair]
    elif isinstance(value, list | tuple):
        parts = value
    elif isinstance(value, set | frozenset):
        parts = sorted(value, key=repr)
    elif isinstance(value, str | int | float | Path | None):
        yield repr(value)
    elif _inside(sys.modules.get(type(value).__module__), folder):
        parts = (type(value), vars(value))
    else:
        yield type(value).__qualname__
    for part in parts or ():
        yield from _texts(part, folder, seen)


def _code(value: types.FunctionType | type, folder: Path, seen: set[int]) -> Iterator[str]:
    """The text of a function or class; one from elsewhere is its name, with its module's text for a method."""
    if id(value) in seen:
        return
    seen.add(id(value))
    yield f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, type) and value.__module__.startswith(METHODS):
        yield method_source(value)
    made = isinstance(value, types.FunctionType) and value.__code__.co_filename.startswith("<")  # by dataclass
    if made or not _inside(inspect.getmodule(value), folder):
        return
    yield inspect.getsource(value)
    functions = [value] if isinstance(value, types.FunctionType) else list(vars(value).values())
    for function in functions:
        if isinstance(function, types.FunctionType):
            cells = [cell.cell_contents for cell in function.__closure__ or ()]
            named = [function.__globals__.get(name) for name in _names(function.__code__)]
            yield from _texts([cells, function.__defaults__, function.__kwdefaults__, named], folder, seen)


def _inside(module: types.ModuleType | None, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return bool(file) and Path(str(file)).resolve().is_relative_to(folder)


def _names(code: types.CodeType) -> list[str]:
    """The names that a function looks up outside itself, those of functions within it included."""
    inner = [name for const in code.co_consts if isinstance(const, types.CodeType) for name in _names(const)]
    return list(dict.fromkeys([*code.co_names, *inner]))
