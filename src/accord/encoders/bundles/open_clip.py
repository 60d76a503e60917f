"""Models of OpenCLIP: a folder with ``open_clip_config.json`` and the weights, as OpenCLIP saves and the hub has it.

The networks are OpenCLIP's own (extra ``open_clip``). A projection without bias is taken out of its tower; any other
head stays in it, and then its vectors are those of the space already.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers
from torch import Tensor, nn

from accord.data.inputs import ImageInput
from accord.encoders.base import Encoder
from accord.encoders.bundles.base import Bundle
from accord.encoders.bundles.folder import read_json, read_tokenizer
from accord.encoders.bundles.towers import ImageTower, ImageTowerConfig, TextTower, TextTowerConfig, TowerConfig
from accord.encoders.stages import longest_stack, stages_around
from accord.encoders.tokenizer import with_length
from accord.encoders.weights import Found, read_state
from accord.errors import ConfigError, WeightsError, require

ABOUT = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
TEMPLATES = {False: ("a photo of a {}.",), True: ("This is a photo of {}.",)}  # trained with a softmax, or a sigmoid


class OpenClipImageTower(ImageTower):
    """An image tower of OpenCLIP, with patches where it is a ViT that pools by its class token or their mean."""

    def __init__(self, model: Any, config: ImageTowerConfig) -> None:
        super().__init__(model, config)
        self._patches = getattr(model, "attn_pool", model) is None
        self.gives = frozenset({"pooled", "tokens", "patches"} if self._patches else {"pooled"})
        if self._patches:
            model.output_tokens = True

    @property
    def token_dim(self) -> int:
        """Width of a patch."""
        return int(self.model.conv1.out_channels) if self._patches else self.dim

    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        """As OpenCLIP pools."""
        out = self.model(pictures)
        return out if self._patches else (out, None)

    def blocks(self) -> list[nn.Module]:
        """What comes before the layers (a ViT's blocks, a ResNet's four stages, those of timm), then these."""
        return stages_around(self.model, _layers(self.model))


class OpenClipTextTower(TextTower):
    """A text tower of OpenCLIP, which reads texts padded to full length."""

    gives = frozenset({"pooled", "tokens", "words"})

    def __init__(self, model: Any, config: TextTowerConfig) -> None:
        super().__init__(model, config)
        model.output_tokens = True

    @property
    def token_dim(self) -> int:
        """Width of a word."""
        return int(self.model.width)

    def read(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """As OpenCLIP pools; the words are those of the ids alone."""
        pooled, words = self.model(self.filled(ids, mask))
        return pooled, words[:, : ids.shape[1]]


def _layers(network: nn.Module) -> list[str]:
    """Names of the repeated layers of an image network."""
    if any(isinstance(module, nn.ModuleList) for module in network.modules()):
        return longest_stack(network)
    if hasattr(network, "layer4"):
        return [f"layer{number}" for number in range(1, 5)]
    rows = {name: module for name, module in network.named_modules() if isinstance(module, nn.Sequential)}
    longest = max(rows, key=lambda name: len(rows[name]))
    return [f"{longest}.{number}" for number in range(len(rows[longest]))]


def read(name: str, found: Found) -> Bundle:
    """The bundle in a folder.

    Raises:
        ConfigError: it is a model of another kind than two towers of OpenCLIP's own.
        WeightsError: a file is missing or damaged, or the weights do not fit.
        MissingExtraError: OpenCLIP is not installed.
    """
    model = _network(_model_config(name, found))
    _load(model, found.path)
    parts, known = _parts(model), specs(name, found)
    bias = None if model.logit_bias is None else model.logit_bias.item()
    return Bundle(
        name=name,
        encoders={
            "image": OpenClipImageTower(parts["image"][0], ImageTowerConfig.parse(known["image"])),
            "text": OpenClipTextTower(parts["text"][0], TextTowerConfig.parse(known["text"])),
        },
        projections={modality: matrix for modality, (_, matrix) in parts.items() if matrix is not None},
        dim=int(known["image"]["config"]["embed_dim"]),
        logit_scale=math.exp(model.logit_scale.item()),
        logit_bias=bias,
        templates=TEMPLATES[bias is not None],
        origin=found.origin,
    )


def specs(name: str, found: Found) -> dict[str, dict[str, Any]]:
    """Modality -> what rebuilds its tower; a configuration is of both, since OpenCLIP builds no tower alone."""
    config = _model_config(name, found)
    text = config["text_cfg"]
    length = int(text.get("context_length", 77))
    sizes = {
        modality: config["embed_dim"] if matrix is None else matrix.shape[1]
        for modality, (_, matrix) in _parts(_network(config)).items()
    }
    image = asdict(_image_input(config, read_json(found.path / ABOUT).get("preprocess_cfg", {})))
    tokenizer = _tokenizer(found.path, text, length)
    return {
        "image": {"name": name, "config": config, "dim": sizes["image"], "image": image},
        "text": {"name": name, "config": config, "dim": sizes["text"], "tokenizer": tokenizer, "length": length},
    }


def tower(settings: TowerConfig) -> Encoder:
    """A tower with random weights."""
    model, _ = _parts(_network(settings.config))[settings.modality]
    if isinstance(settings, ImageTowerConfig):
        return OpenClipImageTower(model, settings)
    assert isinstance(settings, TextTowerConfig)  # there are two
    return OpenClipTextTower(model, settings)


def _model_config(name: str, found: Found) -> dict[str, Any]:
    """What OpenCLIP builds its networks from, without weights that it would fetch."""
    about = read_json(found.path / ABOUT, "OpenCLIP")
    config = {key: value for key, value in about.get("model_cfg", {}).items() if key != "custom_text"}
    if "multimodal_cfg" in config or config.get("text_cfg", {}).get("hf_model_name"):
        kind = "a decoder" if "multimodal_cfg" in config else "a text tower of transformers"
        raise ConfigError(f"{name}: a model with {kind} is not read; expected two towers of OpenCLIP's own")
    try:
        vision = {**config["vision_cfg"], "timm_model_pretrained": False}
        return {**config, "vision_cfg": vision, "text_cfg": dict(config["text_cfg"])}
    except (KeyError, TypeError):
        raise WeightsError(f"{found.path / ABOUT} describes no model of two towers") from None


def _network(config: Mapping[str, Any]) -> Any:
    return require("open_clip", "open_clip").CustomTextCLIP(**config).float()


def _load(model: nn.Module, folder: Path) -> None:
    """Load the weights, every name and shape fitting.

    Raises:
        WeightsError: there are none under the usual names, or they do not fit.
    """
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise WeightsError(f"{folder} holds none of {', '.join(WEIGHTS)}")
    convert = require("open_clip.model", "open_clip").convert_to_custom_text_state_dict
    try:
        model.load_state_dict(convert(read_state(path)))
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit {ABOUT}: {' '.join(str(error).split())}") from None


def _parts(model: Any) -> dict[str, tuple[Any, Tensor | None]]:
    """Modality -> network without its projection, and that ``(D, W)`` where it has one without bias."""
    return {"image": _taken(model.visual, "proj"), "text": _taken(model.text, "text_projection")}


def _taken(network: Any, attribute: str) -> tuple[Any, Tensor | None]:
    matrix = getattr(network, attribute, None)
    if not isinstance(matrix, nn.Parameter):
        return network, None
    setattr(network, attribute, None)
    return network, matrix.data.T.contiguous()


def _image_input(config: Mapping[str, Any], about: Mapping[str, Any]) -> ImageInput:
    """How pictures are prepared; what the folder does not say is OpenCLIP's default."""
    defaults = require("open_clip.constants", "open_clip")
    mode = about.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        raise ConfigError(f"{ABOUT}: resize_mode = {mode!r}; expected shortest or squash")
    side = config["vision_cfg"].get("image_size", 224)
    return ImageInput(
        size=int(side[0] if isinstance(side, list | tuple) else side),
        mean=tuple(about.get("mean", defaults.OPENAI_DATASET_MEAN)),
        std=tuple(about.get("std", defaults.OPENAI_DATASET_STD)),
        interpolation=about.get("interpolation", "bicubic"),
        squeeze=mode == "squash",
    )


def _tokenizer(folder: Path, text: Mapping[str, Any], length: int) -> str:
    """As JSON: the one that the folder brings, cleaned as OpenCLIP cleans, or CLIP's own, which OpenCLIP carries."""
    if text.get("tokenizer_mode"):
        raise ConfigError(f"{folder}: tokenizer_mode = {text['tokenizer_mode']!r} is not read")
    if not text.get("hf_tokenizer_name"):
        return _own_tokenizer(length)
    backend = Tokenizer.from_str(read_tokenizer(folder, length))
    steps = _CLEANING[(text.get("tokenizer_kwargs") or {}).get("clean", "whitespace")]
    backend.normalizer = normalizers.Sequence([*steps, *([backend.normalizer] if backend.normalizer else [])])
    return backend.to_str()


def _own_tokenizer(length: int) -> str:
    """CLIP's byte pairs, cut and padded with zeros as OpenCLIP does."""
    from transformers import CLIPTokenizer

    own = require("open_clip.tokenizer", "open_clip").SimpleTokenizer()
    start, end = (own.decoder[index] for index in (own.sot_token_id, own.eot_token_id))
    merges = sorted(own.bpe_ranks, key=own.bpe_ranks.__getitem__)
    ends = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    tokenizer = CLIPTokenizer(vocab=own.encoder, merges=merges, **ends)
    return with_length(tokenizer.backend_tokenizer.to_str(), length, own.decoder[0])


_SPACES = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
_CLEANING = {
    "whitespace": _SPACES,
    "lower": [*_SPACES, normalizers.Lowercase()],
    "canonicalize": [
        normalizers.Replace("_", " "),
        normalizers.Replace(Regex("[" + "".join(f"\\{mark}" for mark in string.punctuation) + "]"), ""),
        normalizers.Lowercase(),
        *_SPACES,
    ],
}
