"""Reading CTranslate2's ``model.bin`` without CTranslate2: its tensors, and Whisper's encoder under other names.

The format (OpenNMT CTranslate2, ``python/ctranslate2/specs/model_spec.py``) is little-endian and flat: version, name
and revision of the specification, then each variable with name, shape, type and bytes, then aliases. Nothing in it
runs; every size is compared with what is left of the file before it is believed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from accord.errors import WeightsError

MODEL = "model.bin"
"""What the file is called in a folder that CTranslate2's converter wrote."""

VERSIONS = range(4, 7)  # 4 brought types by number and 3 the aliases; 6 is the current one
_TYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class ModelFile:
    """What a ``model.bin`` says.

    Args:
        spec: name of the specification, such as ``"WhisperSpec"``.
        revision: of the specification.
        variables: name -> tensor as stored: quantised weights are integers, with their ``…_scale`` beside them.
        aliases: further name -> name of the variable that it stands for.
    """

    spec: str
    revision: int
    variables: dict[str, Tensor]
    aliases: dict[str, str]

    def tensor(self, name: str) -> Tensor:
        """The variable ``name`` in float32, dequantised.

        Raises:
            WeightsError: there is none.
        """
        stored = self.variables.get(self.aliases.get(name, name))
        if stored is None:
            raise WeightsError(f"{self.spec}: no variable {name!r}; expected the layout of CTranslate2's Whisper")
        if stored.is_floating_point():
            return stored.float()
        scale = self.variables.get(f"{name}_scale")
        if scale is None:
            raise WeightsError(f"{self.spec}: {name!r} is quantised, and its scale {name}_scale is missing")
        scale = scale.float()  # one for all (int16), or one for each row (int8)
        return stored.float() / (scale if scale.ndim == 0 else scale.reshape(-1, *[1] * (stored.ndim - 1)))


def read_model_file(path: Path, wanted: Callable[[str], bool] = lambda name: True) -> ModelFile:
    """Read a ``model.bin``.

    Args:
        path: the file.
        wanted: told each variable's name; those it does not want are passed over unread.

    Raises:
        WeightsError: the file is of another version, damaged, or longer or shorter than it says.
    """
    with path.open("rb") as stream:
        reader = _Reader(stream, path)
        version = reader.number("I")
        if version not in VERSIONS:
            raise WeightsError(
                f"{path}: format version {version}; expected {VERSIONS[0]} to {VERSIONS[-1]}, as CTranslate2 writes "
                "them: convert the model again"
            )
        spec, revision = reader.text(), reader.number("I")
        variables: dict[str, Tensor] = {}
        for _ in range(reader.number("I")):
            name = reader.text()
            tensor = reader.variable(name, wanted(name))
            if tensor is not None:
                variables[name] = tensor
        aliases = {reader.text(): reader.text() for _ in range(reader.number("I"))}
        if reader.left:
            raise WeightsError(f"{path}: {reader.left} bytes follow the last alias; the file is damaged")
    return ModelFile(spec, revision, variables, aliases)


class _Reader:
    """Takes numbers, texts and tensors off a file and knows how much is left of it."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.stream, self.path, self.left = stream, path, path.stat().st_size

    def take(self, size: int) -> bytearray:
        """The next ``size`` bytes."""
        self._spend(size)
        return bytearray(self.stream.read(size))

    def _spend(self, size: int) -> None:
        if size > self.left:
            raise WeightsError(f"{self.path}: {size} bytes announced, {self.left} left; the file is cut off or damaged")
        self.left -= size

    def number(self, code: str) -> int:
        """An unsigned number: ``B``, ``H`` or ``I``."""
        value: int = struct.unpack(f"<{code}", self.take(struct.calcsize(code)))[0]
        return value

    def text(self) -> str:
        """A length, that many bytes, the last of them zero."""
        raw = self.take(self.number("H"))
        try:
            if raw[-1:] != b"\0":
                raise ValueError
            return raw[:-1].decode()
        except ValueError:
            raise WeightsError(f"{self.path}: a name is not text that ends in zero; the file is damaged") from None

    def variable(self, name: str, wanted: bool) -> Tensor | None:
        """Shape, type, size and bytes of a variable; None for one that is not wanted."""
        shape = struct.unpack(f"<{(rank := self.number('B'))}I", self.take(4 * rank))
        kind, size = self.number("B"), self.number("I")
        if kind >= len(_TYPES):
            raise WeightsError(f"{self.path}: {name} has type {kind}; the types are numbered 0 to {len(_TYPES) - 1}")
        if size != math.prod(shape) * _TYPES[kind].itemsize:
            raise WeightsError(f"{self.path}: {name} has shape {shape} and {size} bytes, which disagree")
        if not wanted:
            self._spend(size)
            self.stream.seek(size, 1)
            return None
        return torch.frombuffer(self.take(size), dtype=_TYPES[kind]).reshape(shape) if size else torch.empty(shape)


@dataclass(frozen=True)
class WhisperWeights:
    """Whisper's encoder, as transformers names it.

    Args:
        settings: keyword arguments of transformers' ``WhisperConfig`` that the encoder's shapes decide.
        state: state dict of transformers' ``WhisperEncoder``.
    """

    settings: dict[str, Any]
    state: dict[str, Tensor]


def read_whisper_encoder(path: Path) -> WhisperWeights:
    """The encoder half of a Whisper model that CTranslate2's converter wrote.

    Args:
        path: its ``model.bin``, in any of the converter's types: float32, float16, bfloat16, int16, int8.

    Raises:
        WeightsError: the file is damaged, or is not Whisper.
    """
    file = read_model_file(path, lambda name: name.startswith("encoder/"))
    if file.spec != "WhisperSpec":
        raise WeightsError(f"{path} holds a {file.spec}; expected a WhisperSpec, that is, a converted Whisper model")
    state = {f"{conv}.{part}": file.tensor(f"encoder/{conv}/{part}") for conv in ("conv1", "conv2") for part in _PARTS}
    state["embed_positions.weight"] = file.tensor("encoder/position_encodings/encodings")
    state |= _norm(file, "encoder/layer_norm", "layer_norm")
    layers = 0
    while f"encoder/layer_{layers}/ffn/linear_0/weight" in file.variables:
        state |= _layer(file, f"encoder/layer_{layers}", f"layers.{layers}")
        layers += 1
    if not layers or "encoder/num_heads" not in file.variables:
        raise WeightsError(f"{path} holds no encoder layers or not their number of heads")
    width, mels = state["conv1.weight"].shape[:2]  # of (D, M, 3)
    settings = {
        "d_model": width,
        "num_mel_bins": mels,
        "encoder_layers": layers,
        "encoder_attention_heads": int(file.variables["encoder/num_heads"]),
        "encoder_ffn_dim": len(state["layers.0.fc1.weight"]),
        "max_source_positions": len(state["embed_positions.weight"]),
    }
    return WhisperWeights(settings, state)


_PARTS = ("weight", "bias")
_LINEAR = {"self_attention/linear_1": "self_attn.out_proj", "ffn/linear_0": "fc1", "ffn/linear_1": "fc2"}
_NORMS = {"self_attention/layer_norm": "self_attn_layer_norm", "ffn/layer_norm": "final_layer_norm"}


def _layer(file: ModelFile, of: str, to: str) -> dict[str, Tensor]:
    """One transformer layer; query, key and value lie in one matrix there, and the key's bias is zero (Whisper)."""
    state = {f"{to}.{new}.{part}": file.tensor(f"{of}/{old}/{part}") for old, new in _LINEAR.items() for part in _PARTS}
    for old, new in _NORMS.items():
        state |= _norm(file, f"{of}/{old}", f"{to}.{new}")
    for part in _PARTS:
        query, key, value = file.tensor(f"{of}/self_attention/linear_0/{part}").chunk(3)
        state |= {f"{to}.self_attn.q_proj.{part}": query, f"{to}.self_attn.v_proj.{part}": value}
        if part == "weight":
            state[f"{to}.self_attn.k_proj.weight"] = key
        elif key.any():
            raise WeightsError(f"{of}: the key has a bias, which Whisper's has not")
    return state


def _norm(file: ModelFile, of: str, to: str) -> dict[str, Tensor]:
    return {f"{to}.weight": file.tensor(f"{of}/gamma"), f"{to}.bias": file.tensor(f"{of}/beta")}
