"""What a claim's own code is: the functions that it hands over, and all that they name in the folder of claims.

Settings, rows and weights are data and hashed as such. Of code in the folder, the functions and classes that are
reached count, without comments and docstrings, with the values that they look up; of everything else the module that
has it, which :mod:`accord.claims.imports` follows where it is Accord's.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
import types
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from accord.claims.imports import PACKAGE, without_docstrings

Function = types.FunctionType | type
NODES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@dataclass(frozen=True)
class Source:
    """The code behind some values.

    Args:
        text: what was found in the folder, in a fixed order.
        modules: the modules of what lies elsewhere.
        words: the strings in it, among which may be names of methods and encoders.
    """

    text: str
    modules: frozenset[str]
    words: frozenset[str]


def source_of(folder: Path, *values: Any) -> Source:
    """The code that values depend on.

    Args:
        folder: the folder of claims.
        values: functions, classes, and constants and containers that refer to them.
    """
    reader = _Reader(folder.resolve())
    text = "\n".join(line for value in values for line in reader.texts(value))
    return Source(text, frozenset(reader.modules), frozenset(reader.words))


class _Reader:
    """Walks from values to the code that they name, each piece once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: set[str] = set()
        self.words: set[str] = set()
        self._seen: set[int] = set()
        self._keep: list[Any] = []  # what was seen stays alive, so that no other object gets its id

    def texts(self, value: Any) -> Iterator[str]:
        """The lines that stand for a value and for all that it refers to."""
        value = _plain(value)
        if isinstance(value, Path):
            value = value.name  # where a file lies is another place on every machine
        if isinstance(value, str | bytes | int | float | complex | None):
            if isinstance(value, str):
                self.words.add(value)
            yield repr(value)
            return
        if id(value) in self._seen:
            return
        self._seen.add(id(value))
        self._keep.append(value)
        if isinstance(value, types.FunctionType | type):
            yield from self._code(value)
        elif isinstance(value, types.ModuleType):
            yield value.__name__
            if self._inside(value):
                yield _clean(_tree(str(value.__file__)))
            self.modules.add(value.__name__)
        else:
            yield from self._object(value)

    def _object(self, value: Any) -> Iterator[str]:
        parts: Any = ()
        if isinstance(value, Mapping):
            parts = [part for pair in value.items() for part in pair]
        elif isinstance(value, list | tuple):
            parts = value
        elif isinstance(value, Set):
            parts = sorted(value, key=repr)
        elif isinstance(value, functools.partial):
            parts = (value.func, value.args, value.keywords)
        elif isinstance(value, types.MethodType):
            parts = (value.__func__, value.__self__)
        elif isinstance(value, np.ndarray | Tensor):
            array = np.asarray(value)
            yield f"{array.dtype} {array.shape} {array.tobytes().hex()}"
        else:
            parts = (type(value), vars(value) if self._counts(value) else ())
        yield type(value).__qualname__
        for part in parts:
            yield from self.texts(part)

    def _code(self, value: Function) -> Iterator[str]:
        """The text of a function or class of the folder, and what it names; one from elsewhere is its name."""
        yield f"{value.__module__}.{value.__qualname__}"
        self.modules.add(value.__module__)
        made = isinstance(value, types.FunctionType) and value.__code__.co_filename.startswith("<")  # by dataclass
        if made or not self._inside(sys.modules.get(value.__module__)):
            return
        nodes = _nodes(value)
        yield from map(_clean, nodes)
        inside = [node for root in nodes for node in ast.walk(root)]
        self.words |= {node.value for node in inside if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        for node in inside:
            if isinstance(node, ast.Import):
                self.modules |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                self.modules |= {f"{node.module}.{name.name}" for name in node.names} | {str(node.module)}
        known = _globals(value)
        names = sorted({node.id for node in inside if isinstance(node, ast.Name)})
        # Python's own names say where a file lies, and nothing of what it does.
        yield from self.texts([known[name] for name in names if name in known and not name.startswith("__")])
        if isinstance(value, types.FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            yield from self.texts([cells, value.__defaults__, value.__kwdefaults__])

    def _inside(self, module: types.ModuleType | None) -> bool:
        file = getattr(module, "__file__", None)
        return bool(file) and Path(str(file)).resolve().is_relative_to(self.folder)

    def _counts(self, value: Any) -> bool:
        """Whether what an instance holds counts: settings and declarations, of the folder or of Accord."""
        module = type(value).__module__
        own = module.partition(".")[0] == PACKAGE or self._inside(sys.modules.get(module))
        return own and hasattr(value, "__dict__")


def _plain(value: Any) -> Any:
    """What stands behind a decorated function."""
    return inspect.unwrap(value) if callable(value) and not isinstance(value, type) else value


def _globals(value: Function) -> dict[str, Any]:
    """What the names in a function or class mean."""
    return value.__globals__ if isinstance(value, types.FunctionType) else vars(sys.modules[value.__module__])


def _nodes(value: Function) -> list[ast.AST]:
    """Where a function or class is written; of functions without a name all that begin on the same line."""
    tree = _tree(str(sys.modules[value.__module__].__file__))
    written = [node for node in ast.walk(tree) if isinstance(node, NODES)]
    if isinstance(value, type):
        return [node for node in written if isinstance(node, ast.ClassDef) and node.name == value.__name__]
    line = value.__code__.co_firstlineno  # of the first decorator, where there is one
    return [
        node
        for node in written
        if min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))]) == line
    ]


def _clean(node: ast.AST) -> str:
    return ast.unparse(node)


def _tree(file: str) -> ast.Module:
    return _read(file, Path(file).stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _read(file: str, changed: int) -> ast.Module:
    """A file without its docstrings; read again once it has changed."""
    return without_docstrings(ast.parse(Path(file).read_text(encoding="utf-8")))
