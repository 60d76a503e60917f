"""Reading the folder of a two-tower model that transformers saved: its whole network, and what describes the towers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accord.data.inputs import ImageInput
from accord.encoders.pretrained import load_pretrained, quiet
from accord.encoders.tokenizer import with_length
from accord.encoders.weights import Found
from accord.errors import ConfigError, WeightsError

_PROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json")


def read_model(name: str, found: Found, model_type: str) -> Any:
    """The whole model, every tensor of it from the checkpoint.

    Raises:
        ConfigError: it is a model of another type.
        WeightsError: the weights do not fit, or are not all there.
    """
    from transformers import AutoModel

    return load_pretrained(AutoModel, found, settings_of(name, found, model_type), safetensors=True)


def specs_in(name: str, found: Found, model_type: str) -> dict[str, dict[str, Any]]:
    """Modality -> what rebuilds its tower, but for the size of its vectors.

    Raises:
        ConfigError: it is a model of another type.
        WeightsError: a file is missing or damaged.
    """
    settings = settings_of(name, found, model_type)
    vision, text = plain_settings(settings.vision_config), plain_settings(settings.text_config)
    length = int(text["max_position_embeddings"])
    image = asdict(image_input_of(found.path, int(vision["image_size"])))
    return {
        "image": {"name": name, "config": vision, "image": image},
        "text": {"name": name, "config": text, "tokenizer": read_tokenizer(found.path, length), "length": length},
    }


def random_model(library: str, config: Mapping[str, Any], inner: str) -> Any:
    """A tower with random weights, of a class of transformers; some releases wrap what the model holds as ``inner``."""
    import transformers

    kind = getattr(transformers, library)
    model = kind(kind.config_class(**config))
    return getattr(model, inner, model)


def read_tokenizer(folder: Path, length: int) -> str:
    """The tokenizer of the folder as JSON: its ``tokenizer.json``, or what transformers makes of its other files.

    Raises:
        ConfigError: it has no such form.
        WeightsError: it cannot be read.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    kind = PreTrainedTokenizerFast if (folder / "tokenizer.json").is_file() else AutoTokenizer
    try:
        with quiet():
            tokenizer = kind.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError) as error:
        raise WeightsError(f"{folder}: its tokenizer cannot be read: {str(error).strip().splitlines()[0]}") from None
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise ConfigError(f"{folder}: its tokenizer has no tokenizer.json form, which is needed")
    return with_length(tokenizer.backend_tokenizer.to_str(), length, tokenizer.pad_token or tokenizer.eos_token)


def read_json(path: Path, saved_by: str = "transformers") -> dict[str, Any]:
    """A JSON file of the folder.

    Raises:
        WeightsError: it is missing or damaged.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise WeightsError(f"{path.parent} holds no readable {path.name}: expected what {saved_by} saved") from None
    return values


def settings_of(name: str, found: Found, model_type: str) -> Any:
    """The library's configuration of the model.

    Raises:
        ConfigError: it is a model of another type.
        WeightsError: the file is missing or damaged.
    """
    from transformers import AutoConfig

    came = read_json(found.path / "config.json").get("model_type")
    if came != model_type:
        known = ("clip", "siglip", "videomae", "xclip")
        better = f"; write {came}:{name.partition(':')[2]}" if came in known else ""
        raise ConfigError(f"{name}: {found.path} holds a model of type {came!r}, expected {model_type!r}{better}")
    with quiet():
        return AutoConfig.from_pretrained(found.path, local_files_only=True)


def plain_settings(settings: Any) -> dict[str, Any]:
    """A configuration as JSON holds it, without the folder of this machine."""
    plain = json.loads(settings.to_json_string(use_diff=False))
    return {key: value for key, value in plain.items() if key not in ("_name_or_path", "transformers_version")}


def _processor(folder: Path) -> dict[str, Any]:
    """How pictures are prepared, in a file of its own or in that of the whole processor, as newer releases save it."""
    own = next((folder / name for name in _PROCESSORS if (folder / name).is_file()), folder / _PROCESSORS[0])
    whole = folder / "processor_config.json"
    if own.is_file() or not whole.is_file():
        return read_json(own)
    parts = read_json(whole)
    return dict(parts.get("image_processor") or parts.get("video_processor") or {})


def image_input_of(folder: Path, side: int) -> ImageInput:
    """What the processor's file says: cut out of the middle (CLIP), or squeezed into the square (SigLIP)."""
    about = _processor(folder)
    size = about.get("size", side)
    edge = size.get("shortest_edge") if isinstance(size, dict) else size  # old folders hold a number
    interpolation = {2: "bilinear", 3: "bicubic"}.get(about.get("resample", 3))
    if interpolation is None:
        raise ConfigError(f"{folder}: pictures are resized with resample = {about['resample']}; expected 2 or 3")
    if not {"image_mean", "image_std"} <= set(about):
        raise WeightsError(f"{folder}: image_mean and image_std are not among the settings of its processor")
    return ImageInput(
        size=side,
        mean=tuple(about["image_mean"]),
        std=tuple(about["image_std"]),
        interpolation=interpolation,
        crop=1.0 if edge is None else side / int(edge),
        squeeze=edge is None,
    )
