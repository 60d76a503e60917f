"""The towers of a two-tower model of transformers, and how its folder is read; CLIP and SigLIP fill in the rest."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import ImageInput, TextInput
from accord.encoders.base import Encoder, Features, Stream
from accord.encoders.pretrained import load_pretrained, quiet
from accord.encoders.shapes import check_shape
from accord.encoders.stages import longest_stack, stages_around
from accord.encoders.text import check_tokens
from accord.encoders.tokenizer import JsonTokenizer, with_length
from accord.encoders.weights import Found
from accord.errors import ConfigError, WeightsError


class ImageTowerConfig(Config):
    """All that rebuilds the image tower of a bundle."""

    name: str = Field(description="the bundle that it came from")
    config: dict[str, Any] = Field(description="the library's configuration of the tower")
    image: dict[str, Any] = Field(description="size, normalisation and cut of its pictures")

    @property
    def input(self) -> ImageInput:
        """What the tower is fed."""
        values: Any = {key: tuple(value) if isinstance(value, list) else value for key, value in self.image.items()}
        return ImageInput(**values)


class TextTowerConfig(Config):
    """All that rebuilds the text tower of a bundle."""

    name: str = Field(description="the bundle that it came from")
    config: dict[str, Any] = Field(description="the library's configuration of the tower")
    tokenizer: str = Field(description="the tokenizer.json text, cut and padded")
    length: int = Field(gt=2, description="longest text in tokens")


class ImageTower(Encoder):
    """The image tower; its main stream are ``patches``, normalised as the pooled vector is.

    Args:
        model: a vision model of transformers.
        config: what :meth:`spec` returns.
    """

    modality = "image"
    gives = frozenset({"pooled", "tokens", "patches", "layers"})
    library: ClassVar[str]  # the class of transformers

    def __init__(self, model: Any, config: ImageTowerConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.input = config.input
        self.dim = int(model.config.hidden_size)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of normalised images ``(B, 3, S, S)``; images have no mask.

        Raises:
            ShapeError: not three channels, or not the size that the model was built for.
        """
        check_shape("image", x, "B", 3, self.input.size, self.input.size)
        out = self.model(pixel_values=x)
        patches = self.patches(out.last_hidden_state)
        side = math.isqrt(patches.shape[1])
        return Features(out.pooler_output, streams={"patches": Stream(patches, grid=(side, side))}, main="patches")

    def patches(self, hidden: Tensor) -> Tensor:
        """The patches ``(B, N, D)`` among the last hidden states."""
        raise NotImplementedError

    def blocks(self) -> list[nn.Module]:
        """The embeddings, then the transformer's layers."""
        return stages_around(self.model, longest_stack(self.model))

    def spec(self) -> dict[str, Any]:
        """Configuration and preparation of pictures, without which the folder would be needed."""
        return self.config.model_dump(mode="json")


class TextTower(Encoder):
    """The text tower; its main stream are ``words``, the last hidden states.

    Args:
        model: a text model of transformers.
        config: what :meth:`spec` returns.
    """

    modality = "text"
    gives = frozenset({"pooled", "tokens", "words", "layers"})
    library: ClassVar[str]  # the class of transformers

    def __init__(self, model: Any, config: TextTowerConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.input = TextInput(JsonTokenizer(config.tokenizer))
        self.dim = int(model.config.hidden_size)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of token ids ``(B, L)``; ``mask`` ``(B, L)`` is True on real tokens, which come first.

        Raises:
            ShapeError: ids or mask are not of that shape, or the texts are longer than the model's limit.
        """
        check_tokens(x, mask, self.config.length)
        pooled, words = self.read(x, mask)
        return Features(pooled, streams={"words": Stream(words, mask)}, main="words")

    def read(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The pooled vector ``(B, W)`` and the words ``(B, L, D)``."""
        raise NotImplementedError

    def blocks(self) -> list[nn.Module]:
        """The embeddings, then the transformer's layers."""
        return stages_around(self.model, longest_stack(self.model))

    def spec(self) -> dict[str, Any]:
        """Configuration and tokenizer, without which the folder would be needed."""
        return self.config.model_dump(mode="json")


def read_model(name: str, found: Found, model_type: str) -> Any:
    """The whole model of a folder that transformers saved, every tensor of it from the checkpoint.

    Raises:
        ConfigError: it is a model of another type.
        WeightsError: the weights do not fit, or are not all there.
    """
    from transformers import AutoModel

    return load_pretrained(AutoModel, found, _settings(name, found, model_type), safetensors=True)


def specs_in(name: str, found: Found, model_type: str) -> dict[str, dict[str, Any]]:
    """Modality -> what rebuilds its tower, as the folder says.

    Raises:
        ConfigError: it is a model of another type.
        WeightsError: a file is missing or damaged.
    """
    settings = _settings(name, found, model_type)
    vision, text = _plain(settings.vision_config), _plain(settings.text_config)
    length = int(text["max_position_embeddings"])
    image = asdict(_image_input(found.path, int(vision["image_size"])))
    return {
        "image": {"name": name, "config": vision, "image": image},
        "text": {"name": name, "config": text, "tokenizer": _tokenizer(found.path, length), "length": length},
    }


def random_tower(modality: str, spec: Mapping[str, Any], image: type[ImageTower], text: type[TextTower]) -> Encoder:
    """The tower that a spec describes, with random weights."""
    if modality == "image":
        return image(_random(image.library, spec["config"], "vision_model"), ImageTowerConfig.parse(dict(spec)))
    return text(_random(text.library, spec["config"], "text_model"), TextTowerConfig.parse(dict(spec)))


def _random(library: str, config: Mapping[str, Any], inner: str) -> Any:
    """A model of the library; some releases wrap what the whole model holds as ``inner``."""
    import transformers

    kind = getattr(transformers, library)
    model = kind(kind.config_class(**config))
    return getattr(model, inner, model)


def _settings(name: str, found: Found, model_type: str) -> Any:
    from transformers import AutoConfig

    about = _read(found.path / "config.json")
    came = about.get("model_type")
    if came != model_type:
        raise ConfigError(
            f"{name}: {found.path} holds a model of type {came!r}, expected {model_type!r}"
            + (f"; write {came}:{name.partition(':')[2]}" if came in ("clip", "siglip") else "")
        )
    with quiet():
        return AutoConfig.from_pretrained(found.path, local_files_only=True)


def _plain(settings: Any) -> dict[str, Any]:
    """A configuration as JSON holds it, without the folder of this machine."""
    plain = json.loads(settings.to_json_string(use_diff=False))
    return {key: value for key, value in plain.items() if key not in ("_name_or_path", "transformers_version")}


def _image_input(folder: Path, side: int) -> ImageInput:
    """What ``preprocessor_config.json`` says: cut out of the middle (CLIP), or squeezed into the square (SigLIP)."""
    about = _read(folder / "preprocessor_config.json")
    size = about.get("size", side)
    edge = size.get("shortest_edge") if isinstance(size, dict) else size  # old folders hold a number
    interpolation = {2: "bilinear", 3: "bicubic"}.get(about.get("resample", 3))
    if interpolation is None:
        raise ConfigError(f"{folder}: pictures are resized with resample = {about['resample']}; expected 2 or 3")
    return ImageInput(
        size=side,
        mean=tuple(about["image_mean"]),
        std=tuple(about["image_std"]),
        interpolation=interpolation,
        crop=1.0 if edge is None else side / int(edge),
        squeeze=edge is None,
    )


def _tokenizer(folder: Path, length: int) -> str:
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


def _read(path: Path) -> dict[str, Any]:
    """A JSON file of the folder.

    Raises:
        WeightsError: it is missing or damaged.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise WeightsError(
            f"{path.parent} holds no readable {path.name}: expected a folder that transformers saved"
        ) from None
    return values
