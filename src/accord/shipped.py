"""What the name of a model means: the folder of a run, a model that ships, a bundle from elsewhere, or an export."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from accord.errors import ConfigError

SHIPPED = Path(str(files("accord") / "models"))
BUNDLES = ("clip", "siglip", "open_clip")  # what stands before the colon of a bundle's name
EXPORTED = ("model.onnx", "export.json")  # the files of an export


def shipped_models() -> list[str]:
    """Names of the models that ship with Accord."""
    return sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()) if SHIPPED.is_dir() else []


def is_bundle(name: str | Path) -> bool:
    """Whether a name is that of a bundle: its kind, a colon, and a folder or ``hf:NAME``.

    Example:
        >>> is_bundle("clip:models/vit"), is_bundle("clip"), is_bundle("runs/clip")
        (True, False, False)
    """
    kind, _, place = str(name).partition(":")
    return kind in BUNDLES and bool(place)


def is_export(folder: str | Path) -> bool:
    """Whether a folder holds an ONNX export."""
    return all((Path(folder).expanduser() / name).is_file() for name in EXPORTED)


def run_folder(run: str | Path) -> Path:
    """The folder of ``run``: a path, or the name of a model that ships; a folder of that name comes first.

    Raises:
        ConfigError: there is neither.

    Example:
        >>> run_folder("runs/none")
        Traceback (most recent call last):
        accord.errors.ConfigError: there is no run 'runs/none': give the folder of a trained run, ...
    """
    path = Path(run).expanduser()
    if path.is_dir():
        return path
    known = shipped_models()
    if str(run) in known:
        return SHIPPED / str(run)
    elsewhere = ", ".join(f"{kind}:FOLDER" for kind in BUNDLES)
    raise ConfigError(
        f"there is no run {str(run)!r}: give the folder of a trained run, a model that ships "
        f"({', '.join(known) or 'there is none'}), or one from elsewhere ({elsewhere})"
    )


def absolute_name(run: str | Path) -> str:
    """The name of a model that means the same in another working folder.

    Example:
        >>> absolute_name("clip:hf:openai/clip-vit-base-patch32")
        'clip:hf:openai/clip-vit-base-patch32'
    """
    kind, _, place = str(run).partition(":")
    if not is_bundle(run):
        return str((Path(run).expanduser() if is_export(run) else run_folder(run)).absolute())
    return str(run) if place.startswith("hf:") else f"{kind}:{Path(place).expanduser().absolute()}"


def require_model(run: str | Path, *, exports: bool = False) -> None:
    """Refuse what is not the name of a model.

    Args:
        run: the name.
        exports: whether an export will do.

    Raises:
        ConfigError: there is no such model, or it is an export where none will do.
    """
    if is_bundle(run):
        return
    if is_export(run) and not exports:
        raise ConfigError(f"{run} is an exported image embedding, which only accord embed takes: give the run itself")
    run_folder(run)
