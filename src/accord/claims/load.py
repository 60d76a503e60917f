"""Claim files: which there are, and running one to get at its declaration.

A claim file is the user's own Python, run because the user names it; nothing else is ever executed.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from accord.claims.declare import Claim
from accord.errors import AccordError, ConfigError


def claim_files(folder: Path) -> dict[str, Path]:
    """Slug -> file, of every claim in a folder.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}: run this beside the folder of claims, or pass --folder")
    return {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem.isidentifier() and path.stem[0] != "_"}


def headline(path: Path) -> str:
    """The first sentence of a claim file's opening paragraph, read without running the file."""
    try:
        words = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
    except SyntaxError:
        return "(not readable as Python)"
    return words.partition(". ")[0].removesuffix(".")


@contextmanager
def loaded(slug: str, folder: Path) -> Iterator[Claim]:
    """The declaration in ``folder/SLUG.py``; inside, what lies in the folder can be imported by its plain name.

    Afterwards neither the folder nor the modules that came from it are left behind.

    Raises:
        ConfigError: there is no such file, it fails, or it holds no ``CLAIM`` of that name.
    """
    files = claim_files(folder)
    if slug not in files:
        close = get_close_matches(slug, files, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"no claim {slug!r} in {folder}; {meant}there are: {', '.join(files) or 'none'}")
    place = str(folder.resolve())
    sys.path.insert(0, place)
    try:
        _forget(place)
        yield _run(files[slug], slug)
    finally:
        sys.path.remove(place)
        _forget(place)


def _run(path: Path, slug: str) -> Claim:
    name = f"claim_{slug}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None  # it ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look a class's module up
    try:
        spec.loader.exec_module(module)
    except AccordError:
        raise
    except Exception as error:
        raise ConfigError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    claim = getattr(module, "CLAIM", None)
    if not isinstance(claim, Claim):
        found = "nothing" if claim is None else f"a {type(claim).__name__}"
        raise ConfigError(f"{path} defines {found} as CLAIM: expected CLAIM = Claim(slug={slug!r}, ...)")
    if claim.slug != slug:
        raise ConfigError(f"{path} declares slug={claim.slug!r}: expected the name of the file, {slug!r}")
    return claim


def _forget(place: str) -> None:
    """Drop the modules of a folder, so that no other folder's files are taken for them."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if file.startswith(place + os.sep) and "site-packages" not in file and name != "__main__":
            del sys.modules[name]
