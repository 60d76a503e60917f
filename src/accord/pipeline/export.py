"""``export``: the image encoder of a run for use without Accord."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from accord.errors import ConfigError
from accord.shipped import run_folder
from accord.training.artifact import load_model
from accord.training.onnx import export_onnx, export_timm

_WRITERS = {"timm": export_timm, "onnx": export_onnx}


def export(run: str | Path, out: str | Path, format: Literal["timm", "onnx"] = "timm") -> Path:
    """Write the image encoder as timm weights, or the image embedding as one ONNX file.

    Args:
        run: folder of a run, or name of a model that ships.
        out: folder to write.
        format: ``timm`` for the encoder alone, ``onnx`` for pixels to unit vectors, compared with torch first.

    Raises:
        ConfigError: an unknown format, or a model that cannot be written in it.
        MissingExtraError: the packages of the extra ``onnx`` are not installed.
    """
    if format not in _WRITERS:
        raise ConfigError(f"format = {format!r}: expected one of {', '.join(_WRITERS)}")
    return _WRITERS[format](load_model(run_folder(run)), Path(out))
