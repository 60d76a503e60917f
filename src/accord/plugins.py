"""What other installed packages bring by entry points: methods, objectives, encoders, tasks, cards, and so on.

A package declares ``[project.entry-points."accord.methods"]`` with ``name = "its.module:Class"``. Nothing is imported
until a name is asked for that Accord does not have itself.
"""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from accord.errors import ConfigError

# writers are of altered captions, see accord.data.making.counterfactuals
Kind = Literal["methods", "objectives", "encoders", "tasks", "cards", "modalities", "packs", "writers"]


def plugin_names(kind: Kind) -> list[str]:
    """Names that installed packages give to things of a kind, in alphabetical order; imports none of them.

    >>> plugin_names("methods")
    []
    """
    return sorted({entry.name for entry in entry_points(group=f"accord.{kind}")})


def find_plugin(kind: Kind, name: str) -> Any | None:
    """The object that an installed package calls ``name``; None where no package does.

    Raises:
        ConfigError: it cannot be imported, or several packages have one of that name; names the packages.

    Example:
        >>> find_plugin("methods", "clop")
    """
    offers = list(entry_points(group=f"accord.{kind}", name=name))
    if len(offers) > 1:
        packages = ", ".join(sorted(_package(offer) for offer in offers))
        raise ConfigError(f"accord.{kind} {name!r} comes from several packages ({packages}): uninstall all but one")
    if not offers:
        return None
    try:
        return offers[0].load()
    except Exception as error:  # whatever the package's own code raises
        raise broken(kind, name, f"{type(error).__name__}: {error}") from error


def broken(kind: Kind, name: str, reason: str) -> ConfigError:
    """The error for something of another package that cannot be used; names the package.

    Args:
        kind: what it is.
        name: what it is called.
        reason: what is wrong with it.
    """
    package = ", ".join(sorted(_package(offer) for offer in entry_points(group=f"accord.{kind}", name=name)))
    return ConfigError(f"accord.{kind} {name!r} of the package {package} cannot be used: {reason}")


def complain(error: ConfigError) -> None:
    """Say on standard error that something of another package is left out."""
    print(f"left out: {error}", file=sys.stderr)


def _package(offer: EntryPoint) -> str:
    return offer.dist.name if offer.dist is not None else offer.value
