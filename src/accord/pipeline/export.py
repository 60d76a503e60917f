"""``export``: the image encoder of a run for use without Accord."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from accord.errors import ConfigError
from accord.files import check_replaceable
from accord.pipeline.folder import things_in
from accord.shipped import run_folder
from accord.training.artifact import load_model
from accord.training.onnx import ABOUT, NETWORK, export_onnx, export_timm

_FILES = {"timm": ("config.json", "model.safetensors"), "onnx": (ABOUT, NETWORK, "README.md")}  # the first tells it
_MARKS = {"timm": b"see the data and weights it was trained from", "onnx": b'"difference": '}
_WRITERS = {"timm": export_timm, "onnx": export_onnx}


def export(run: str | Path, out: str | Path, format: Literal["timm", "onnx"] = "timm") -> Path:
    """Write the image encoder as timm weights, or the image embedding as one ONNX file.

    Args:
        run: folder of a run, or name of a model that ships.
        out: folder to write: new, empty, or with an earlier export, which is replaced.
        format: ``timm`` for the encoder alone, ``onnx`` for pixels to unit vectors, compared with torch first.

    Raises:
        ConfigError: an unknown format, a model that cannot be written in it, or a folder with other things.
        MissingExtraError: the packages of the extra ``onnx`` are not installed.
    """
    if format not in _WRITERS:
        raise ConfigError(f"format = {format!r}: expected one of {', '.join(_WRITERS)}")
    _check_folder(Path(out), format)
    return _WRITERS[format](load_model(run_folder(run)), Path(out))


def _check_folder(out: Path, format: str) -> None:
    """Refuse a folder with anything but an earlier export in this format: not even a run, whose weights would go."""
    about, *others = _FILES[format]
    check_replaceable(out / about, _MARKS[format], "part of an earlier export")
    if found := things_in(out, (about, *others) if (out / about).is_file() else ()):
        raise ConfigError(f"{out} holds other things than an export ({found}): name a new or an empty folder")
