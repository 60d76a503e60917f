"""Video encoders that transformers saved, by the name of their folder: VideoMAE, and the clip tower of X-CLIP.

VideoMAE (Tong et al. 2022, NeurIPS) runs in transformers. X-CLIP's weights are put into the house's own tower
(:mod:`accord.encoders.cross_frame`), which also takes clips of fewer frames. Weights are read as safetensors only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import ImageInput, VideoInput
from accord.encoders.base import Encoder, Features, Stream
from accord.encoders.bundles.base import named_folder
from accord.encoders.bundles.folder import image_input_of, plain_settings, random_model, read_model, settings_of
from accord.encoders.clip_tower import clip_sizes, clip_vision_state, load_clip_vision
from accord.encoders.cross_frame import CrossFrameConfig, CrossFrameEncoder
from accord.encoders.masked import stretched
from accord.encoders.shapes import check_shape
from accord.encoders.stages import longest_stack, stages_around
from accord.errors import ConfigError, WeightsError


class FolderConfig(Config):
    """A video encoder whose folder says what it is; a saved one needs no folder."""

    name: str = Field(description="videomae:FOLDER or xclip:FOLDER, or hf:NAME for FOLDER")
    sampling: Literal["segments", "dense"] = Field(
        "segments", description="one frame of each of equal segments, or a run of frames; drawn in training"
    )
    stride: int = Field(1, gt=0, description="distance of the frames of a dense run")
    config: dict[str, Any] = Field(default_factory=dict, description="the library's configuration, in a saved spec")
    image: dict[str, Any] = Field(default_factory=dict, description="how frames are prepared, in a saved spec")

    @property
    def input(self) -> VideoInput:
        """What the encoder is fed."""
        values: Any = {key: tuple(value) if isinstance(value, list) else value for key, value in self.image.items()}
        return VideoInput(ImageInput(**values), int(self.config["num_frames"]), self.sampling, self.stride)


class VideoMaeTower(Encoder):
    """The encoder of transformers' ``VideoMAEModel``; the vector is the mean of its tokens.

    The main sequence ``frames`` are the means of the slots of time, ``patches`` its last hidden states with the grid
    ``(T/u, h, w)``. A clip of fewer frames than it was trained on is stretched: its frames repeat.

    Args:
        model: the network.
        config: what :meth:`spec` returns.
    """

    modality = "video"
    gives = frozenset({"pooled", "tokens", "frames", "patches", "layers"})
    input: VideoInput

    def __init__(self, model: Any, config: FolderConfig) -> None:
        super().__init__()
        self.model, self.config, self.input = model, config, config.input
        self.dim = int(model.config.hidden_size)
        side = int(model.config.image_size) // int(model.config.patch_size)
        self._grid = (self.input.frames // int(model.config.tubelet_size), side, side)

    def forward(
        self, x: Any, mask: Tensor | None = None, *, layers: bool = False, times: Tensor | None = None
    ) -> Features:
        """As elsewhere; a clip that is stretched has its times stretched too."""
        times = None if times is None else stretched(times, mask, self.input.frames)
        return super().forward(x, mask, layers=layers, times=times)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of normalised frames ``(B, T, 3, S, S)``; ``mask`` ``(B, T)`` is True on real frames.

        Raises:
            ShapeError: frames or mask are not of that shape.
        """
        side = self.input.image.size
        check_shape("video", x, "B", "T", 3, side, side)
        tokens = self.model(pixel_values=stretched(x, mask, self.input.frames)).last_hidden_state  # (B, L, D)
        slots = tokens.unflatten(1, (self._grid[0], -1)).mean(dim=2)
        streams = {"frames": Stream(slots), "patches": Stream(tokens, grid=self._grid)}
        return Features(tokens.mean(dim=1), streams=streams, main="frames")

    def layer_vector(self, hidden: Tensor, features: Features) -> Tensor:
        """The mean over the tokens."""
        return hidden.mean(dim=1)

    def blocks(self) -> list[nn.Module]:
        """The embedding, then the layers."""
        return stages_around(self.model, longest_stack(self.model))

    def spec(self) -> dict[str, Any]:
        """Configuration and preparation of frames, without which the folder would be needed."""
        return self.config.model_dump(mode="json")


def build_videomae(config: FolderConfig, *, weights: bool | Path = True, texts: Any = None) -> VideoMaeTower:
    """A VideoMAE, of its folder, of another one (a path), or with random weights (False).

    Raises:
        ConfigError: there is no such folder, or it holds another model.
        WeightsError: weights are missing, damaged or not safetensors.
    """
    if weights is False and config.config:
        return VideoMaeTower(random_model("VideoMAEModel", config.config, "videomae"), config)
    found = named_folder(config.name, None if isinstance(weights, bool) else weights)
    settings = settings_of(config.name, found, "videomae")
    _refuse_grey(config.name, settings)
    image = asdict(image_input_of(found.path, int(settings.image_size)))
    filled = config.model_copy(update={"config": plain_settings(settings), "image": image})
    if weights is False:
        return VideoMaeTower(random_model("VideoMAEModel", filled.config, "videomae"), filled)
    tower = VideoMaeTower(read_model(config.name, found, "videomae"), filled)
    tower.weights_from = found.origin
    return tower


def build_xclip(config: FolderConfig, *, weights: bool | Path = True, texts: Any = None) -> CrossFrameEncoder:
    """The clip tower of an X-CLIP as ``cross_frame``, whose saved spec needs no folder.

    Raises:
        ConfigError: there is no such folder, it holds another model, or one of other parts than the paper's.
        WeightsError: weights are missing, damaged or not safetensors.
    """
    found = named_folder(config.name, None if isinstance(weights, bool) else weights)
    settings = settings_of(config.name, found, "xclip")
    model = read_model(config.name, found, "xclip") if weights is not False else random_xclip(settings)
    encoder = CrossFrameEncoder(_sizes(config, settings, model, asdict(image_input_of(found.path, _side(settings)))))
    load_clip_vision(encoder.visual, _vision_state(model))
    assert encoder.mit is not None  # as _sizes asks for one
    encoder.mit.load_state_dict(_mit_state(model.mit.state_dict()))
    if weights is not False:
        encoder.weights_from = found.origin
    return encoder


def random_xclip(settings: Any) -> Any:
    """transformers' X-CLIP of this configuration with random weights."""
    from transformers import XCLIPModel

    return XCLIPModel(settings)


def _side(settings: Any) -> int:
    return int(settings.vision_config.image_size)


def _sizes(config: FolderConfig, settings: Any, model: Any, image: dict[str, Any]) -> CrossFrameConfig:
    """The tower's configuration.

    Raises:
        ConfigError: its transformer over frames is none that the tower has.
    """
    vision, dim = settings.vision_config, int(settings.projection_dim)
    wanted = {"mit_num_attention_heads": max(1, dim // 64), "mit_intermediate_size": 4 * dim, "mit_hidden_size": dim}
    for name, value in wanted.items():
        if getattr(vision, name) != value:
            raise ConfigError(f"{config.name}: {name} = {getattr(vision, name)}: expected {value}, as X-CLIP has it")
    return CrossFrameConfig.parse(
        {
            **clip_sizes(model.vision_model),
            "dim": dim,
            "frames": int(vision.num_frames),
            "layers": int(vision.mit_num_hidden_layers),
            "sampling": config.sampling,
            "stride": config.stride,
            "drop_path": float(vision.drop_path_rate),
            "image": image,
        }
    )


def _vision_state(model: Any) -> dict[str, Tensor]:
    """The tensors of the frames' tower and of its projection."""
    state = dict(model.vision_model.state_dict())
    return {**state, "visual_projection.weight": model.visual_projection.weight.detach()}


def _mit_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the transformer over frames by the house's names.

    Raises:
        WeightsError: one is called as none of X-CLIP's is.
    """
    blocks = {name: value for name, value in state.items() if name != "position_embedding"}
    if "position_embedding" not in state:
        raise WeightsError("these weights lack mit.position_embedding: expected those of transformers' XCLIPModel")
    return {**clip_vision_state(blocks), "positional_embedding": state["position_embedding"].squeeze(0)}


def _refuse_grey(name: str, settings: Any) -> None:
    if int(settings.num_channels) != 3:
        raise ConfigError(f"{name}: num_channels = {settings.num_channels}: expected 3, the colours of a picture")
