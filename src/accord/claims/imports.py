"""What a module of Accord imports, found by reading it, and a digest of its code.

A result is good for as long as nothing has changed of the code that it was computed with. That is the modules that are
run, those that they import, and so on. Comments, docstrings and layout are no code. A name that a package only passes
on, such as ``accord.functional.contrastive_loss``, leads to the module that has it, so that what stands beside it there
does not count; imports for type checkers alone do not either.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import accord
from accord.moved import MOVED

PACKAGE = "accord"
# Another name on a list changes no number, nor does what a declaration is refused for.
IDLE = frozenset({"accord.methods.registry", "accord.encoders.registry", "accord.claims.declare"})
ROOT = Path(accord.__file__).parent


@dataclass(frozen=True)
class Module:
    """A module as it was read.

    Args:
        digest: hash of its code.
        modules: modules that it imports whole, of any package.
        names: ``(module, name)`` that it imports.
        passed_on: name -> ``(module, name)`` of what it imports, for type checkers included.
        opened: modules of which it imports every name.
    """

    digest: str
    modules: frozenset[str]
    names: frozenset[tuple[str, str]]
    passed_on: Mapping[str, tuple[str, str]]
    opened: tuple[str, ...]


def closure(roots: Iterable[str]) -> dict[str, str]:
    """Module -> digest, of Accord's modules among the roots and of all that they import, by name.

    >>> "accord.errors" in closure(["accord.files"]), "accord.cli.train" in closure(["accord.training.fit"])
    (True, False)
    """
    found: dict[str, str] = {}
    waiting = {home for root in roots if (home := _home(root)) is not None} - IDLE
    while waiting:
        name = waiting.pop()
        found[name] = read(name).digest
        waiting |= imported(name) - found.keys() - IDLE
    return dict(sorted(found.items()))


@cache
def imported(name: str) -> frozenset[str]:
    """The modules of Accord that a module of Accord imports, at its head or inside of a function."""
    module = read(name)
    return frozenset(
        [home for whole in module.modules if (home := _home(whole)) is not None]
        + [home for source, wanted in module.names if (home := _home_of(source, wanted)) is not None]
    )


def packages(modules: Iterable[str]) -> set[str]:
    """The names of all other packages that these modules of Accord import."""
    return {
        imported.partition(".")[0]
        for name in modules
        for imported in (*read(name).modules, *(source for source, _ in read(name).names))
    } - {PACKAGE}


@cache
def read(name: str) -> Module:
    """A module of Accord by its full name."""
    path = _path(name)
    assert path is not None
    return parse(path.read_text(encoding="utf-8"))


def digest_of(name: str) -> str | None:
    """The digest of a module of Accord's, None where there is no such module any more."""
    return None if _path(name) is None else read(name).digest


def parse(text: str) -> Module:
    """What a module's text says.

    >>> one, other = parse("import torch  # heavy"), parse("'''About it.'''\\n\\nimport torch")
    >>> one.digest == other.digest, sorted(one.modules)
    (True, ['torch'])
    """
    tree = without_docstrings(ast.parse(text))
    run = list(_run(tree))
    taken = [(node.module or "", name) for node in run if isinstance(node, ast.ImportFrom) for name in node.names]
    every = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return Module(
        digest=hashlib.blake2b(ast.unparse(tree).encode(), digest_size=8).hexdigest(),
        modules=frozenset(
            [name.name for node in run if isinstance(node, ast.Import) for name in node.names]
            + [source for source, name in taken if name.name == "*"]
        ),
        names=frozenset((source, name.name) for source, name in taken if name.name != "*"),
        passed_on={name.asname or name.name: (node.module or "", name.name) for node in every for name in node.names},
        opened=tuple(node.module or "" for node in every for name in node.names if name.name == "*"),
    )


def without_docstrings(tree: ast.Module) -> ast.Module:
    """The tree, changed in place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


def _run(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _run(other)
        else:
            yield from _run(child)


def _home(name: str) -> str | None:
    """A module of Accord by the name it has now; None for one of another package."""
    name = MOVED.get(name, name)
    return name if _path(name) is not None else None


def _home_of(source: str, wanted: str) -> str | None:
    """The module that has what is imported as ``from source import wanted``; None where it is not Accord's."""
    home = _home(source)
    if home is None:
        return None
    if (inner := _home(f"{home}.{wanted}")) is not None:
        return inner
    if not _is_package(home):
        return home
    module = read(home)
    if wanted in module.passed_on:
        return _home_of(*module.passed_on[wanted]) or home
    return next((found for room in module.opened if (found := _passed_on_by(room, wanted)) is not None), home)


def _passed_on_by(room: str, wanted: str) -> str | None:
    """The module that has a name which a package passes on, None where that package does not have it."""
    home = _home(room)
    return _home_of(home, wanted) if home is not None and wanted in read(home).passed_on else None


@cache
def _path(name: str) -> Path | None:
    """The file of a module of Accord."""
    if name.partition(".")[0] != PACKAGE:
        return None
    place = ROOT.joinpath(*name.split(".")[1:])
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def _is_package(name: str) -> bool:
    path = _path(name)
    return path is not None and path.name == "__init__.py"
