"""``export``: the image or clip encoder of a run for use without Accord."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from accord.errors import ConfigError
from accord.files import check_replaceable
from accord.pipeline.folder import things_in
from accord.training.device import resolve_device
from accord.training.named import named_model
from accord.training.onnx import ABOUT, NETWORK, export_onnx, export_timm

_FILES = {"timm": ("config.json", "model.safetensors"), "onnx": (ABOUT, NETWORK, "README.md")}  # the first tells it
_MARKS = {"timm": b"see the data and weights it was trained from", "onnx": b'"difference": '}
_WRITERS = {"timm": export_timm, "onnx": export_onnx}


def export(run: str | Path, out: str | Path, format: Literal["timm", "onnx"] = "timm", *, device: str = "auto") -> Path:
    """Write the image encoder as timm weights, or the embedding of images or clips as one ONNX file.

    Args:
        run: folder of a run, name of a model that ships, or that of a bundle.
        out: folder to write: new, empty, or with an earlier export, which is replaced.
        format: ``timm`` for the encoder alone, ``onnx`` for pixels to unit vectors, compared with torch first.
        device: where the model is loaded: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``; an ONNX file is
            made and compared on the processor, whose arithmetic is the same everywhere.

    Raises:
        ConfigError: an unknown format or device, a model that cannot be written so, or a folder with other things.
        MissingExtraError: the packages of the extra ``onnx`` are not installed.
    """
    if format not in _WRITERS:
        raise ConfigError(f"format = {format!r}: expected one of {', '.join(_WRITERS)}")
    _check_folder(Path(out), format)
    return _WRITERS[format](named_model(run, resolve_device(device)), Path(out))


def _check_folder(out: Path, format: str) -> None:
    """Refuse a folder with anything but an earlier export in this format: not even a run, whose weights would go."""
    about, *others = _FILES[format]
    check_replaceable(out / about, _MARKS[format], "part of an earlier export")
    if found := things_in(out, (about, *others) if (out / about).is_file() else ()):
        raise ConfigError(f"{out} holds other things than an export ({found}): name a new or an empty folder")
