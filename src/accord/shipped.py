"""Which folder a run's name means: a folder of the user's, or a model that ships with Accord."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from accord.errors import ConfigError

SHIPPED = Path(str(files("accord") / "models"))


def shipped_models() -> list[str]:
    """Names of the models that ship with Accord."""
    return sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()) if SHIPPED.is_dir() else []


def run_folder(run: str | Path) -> Path:
    """The folder of ``run``: a path, or the name of a model that ships; a folder of that name comes first.

    Raises:
        ConfigError: there is neither.

    Example:
        >>> run_folder("runs/none")
        Traceback (most recent call last):
        accord.errors.ConfigError: there is no run 'runs/none': give the folder of a trained run, or ...
    """
    path = Path(run).expanduser()
    if path.is_dir():
        return path
    known = shipped_models()
    if str(run) in known:
        return SHIPPED / str(run)
    raise ConfigError(
        f"there is no run {str(run)!r}: give the folder of a trained run, or a model that ships "
        f"({', '.join(known) or 'there is none'})"
    )
