"""Encoders of pictures and clips outside of Accord: as timm weights, and as one ONNX file that embeds pixels.

Both are folders that name everything needed to use them. The ONNX file holds the normalisation as well, so that it
takes pixels in [0, 1] of the size that ``export.json`` names; :class:`OnnxModel` runs it wherever Accord takes a model.
A network of clips takes a fixed number of frames: shorter clips show theirs for longer.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from accord.data.inputs import ImageInput, Input, VideoInput
from accord.data.loading.loader import EpochLoader, eval_loader
from accord.data.modalities.image import image_input
from accord.encoders.image import TimmEncoder
from accord.errors import ConfigError, StorageError, require
from accord.files import reading, replacing, storage_of, write_atomically
from accord.methods.abilities import Embeds
from accord.methods.base import Batch
from accord.shipped import EXPORTED
from accord.training.model import Model

if TYPE_CHECKING:
    from accord.data.corpus import Corpus

NETWORK, ABOUT = EXPORTED
WORST = 1e-4  # largest difference of a unit vector's entry between torch and ONNX that counts as agreement
_CHECKED = 3  # pictures that both embed before an export is kept
_EXPORTED: dict[str, type[ImageInput] | type[VideoInput]] = {"image": ImageInput, "video": VideoInput}


class Pixels(nn.Module):
    """Pixels in [0, 1] to unit vectors: the normalisation, the encoder and what the method puts on it.

    Args:
        model: embeds images or clips.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.method, self._embed = model.method, model.able(Embeds).embed
        self.modality, spec = pixel_input(model)
        picture = image_input(spec)
        self.register_buffer("mean", torch.tensor(picture.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(picture.std).view(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, S, S)``, of clips ``(B, T, 3, S, S)``, to ``(B, D)``."""
        return self._embed({self.modality: (pixels - self.mean) / self.std})[self.modality]


def pixel_input(model: Model) -> tuple[str, ImageInput | VideoInput]:
    """The modality of the model that is exported, pictures before clips, and what its encoder is fed.

    Raises:
        ConfigError: the model embeds neither.
    """
    for modality, kind in _EXPORTED.items():
        spec = model.inputs.get(modality)
        if modality in model.modalities and isinstance(spec, kind):
            return modality, spec
    have = ", ".join(model.modalities)
    raise ConfigError(f"method {model.method.name} embeds {have}; only networks of images or clips are exported")


def export_timm(model: Model, out: Path) -> Path:
    """The image encoder's own weights as a folder that ``timm.create_model("local-dir:OUT")`` loads.

    Args:
        model: has an image encoder of timm's kind.
        out: the folder; made, and its files replaced.

    Raises:
        ConfigError: the image encoder is no timm model.
    """
    modality, spec = pixel_input(model)
    encoder = model.method.encoders[modality]
    if not isinstance(encoder, TimmEncoder) or not isinstance(spec, ImageInput):
        raise ConfigError(f"the {modality} encoder is a {type(encoder).__name__}, which timm cannot load")
    weights = {name: tensor.contiguous().cpu() for name, tensor in encoder.model.state_dict().items()}
    with replacing(out / "model.safetensors") as partial:
        save_file(weights, partial, metadata={"format": "pt"})
    about = {
        "architecture": encoder.architecture.name,
        "num_classes": 0,
        "num_features": encoder.model.num_features,
        "model_args": encoder.architecture.arguments,
        "pretrained_cfg": {
            "input_size": [3, spec.size, spec.size],
            "mean": list(spec.mean),
            "std": list(spec.std),
            "interpolation": spec.interpolation,
            "crop_pct": spec.crop,
            "num_classes": 0,
            "license": "see the data and weights it was trained from",
        },
    }
    write_atomically(out / "config.json", json.dumps(about, indent=2))
    return out


def export_onnx(model: Model, out: Path) -> Path:
    """The model's embedding of images, or of clips, as ``OUT/model.onnx``, compared with torch before it is kept.

    Args:
        model: embeds images or clips.
        out: the folder; made, and its files replaced.

    Raises:
        ConfigError: the model embeds neither, its operations have no ONNX form, or the two do not agree.
        MissingExtraError: the packages of the extra ``onnx`` are not installed.
    """
    modality, spec = pixel_input(model)
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package, "onnx")
    network = Pixels(model).eval().cpu()
    frames = (spec.frames,) if isinstance(spec, VideoInput) else ()
    shape = (_CHECKED, *frames, 3, image_input(spec).size, image_input(spec).size)
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with replacing(out / NETWORK) as partial:
        expected, found = _traced(network, pixels, partial)
        worst = float(np.abs(found - expected).max())
        if not worst < WORST:
            raise ConfigError(f"ONNX and torch differ by {worst:.2g} in an entry of a unit vector; nothing was written")
    about = {
        "modality": modality,
        "input": asdict(spec),
        "dim": expected.shape[1],
        "method": model.method.name,
        "difference": worst,
    }
    write_atomically(out / ABOUT, json.dumps(about, indent=2))
    if model.path is not None and (model.path / "README.md").is_file():
        write_atomically(out / "README.md", (model.path / "README.md").read_text(encoding="utf-8"))
    return out


def _traced(network: Pixels, pixels: Tensor, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write the network to ``path``; what it makes of ``pixels``, and what the file does.

    Raises:
        ConfigError: one of its operations has no ONNX form.
        StorageError: the disk does not take it.
    """
    try:
        with warnings.catch_warnings(), torch.inference_mode(), storage_of(path.parent / NETWORK):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (pixels[:2],),
                input_names=["pixels"],
                dynamic_shapes={"pixels": {0: torch.export.Dim("rows")}},
                dynamo=True,
                verbose=False,
            )
            assert program is not None  # it is for dynamo
            _name_output(program.model.graph, "embedding")
            program.save(path, external_data=False)
            return network(pixels).numpy(), _run(path, pixels.numpy())
    except StorageError:
        raise
    except Exception as error:
        raise ConfigError(f"method {network.method.name} has no ONNX form: {_first_line(error)}") from None


def _name_output(graph: Any, name: str) -> None:
    """Give the output its name, which a value inside may have by chance: looking up a row of a table is so called."""
    for value in (value for node in graph for value in node.outputs if value.name == name):
        value.name = f"inner_{name}"
    constant = graph.initializers.pop(name, None)
    if constant is not None:
        constant.name = f"inner_{name}"
        graph.register_initializer(constant)
    graph.outputs[0].name = name


class OnnxModel:
    """An exported embedding of images or clips, wherever Accord takes a model that embeds.

    Args:
        folder: what :func:`export_onnx` wrote.
        threads: processor threads that it may use; 0 leaves that to onnxruntime.

    Raises:
        StorageError: a file of the export is missing or damaged.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(self, folder: Path, threads: int = 0) -> None:
        with reading(folder / ABOUT, "export the model anew"):
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            self.modality: str = about.get("modality", "image")
            self.input = _input_of(about["input"])
        require("onnxruntime", "onnx")
        with reading(folder / NETWORK, "export the model anew"):
            self._session = _session(folder / NETWORK, threads)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The one that it embeds."""
        return (self.modality,)

    @property
    def inputs(self) -> dict[str, Input]:
        """What the network is fed."""
        return {self.modality: self.input}

    def embed_corpus(self, corpus: Corpus, modality: str = "", *, batch_size: int = 64) -> Tensor:
        """Unit vectors ``(N, D)`` of every row's image or clip.

        Raises:
            ConfigError: another modality is asked for.
        """
        if modality not in ("", self.modality):
            raise ConfigError(f"an exported model embeds {self.modality}, not {modality}")
        loader = self.loader(corpus, self.modalities, batch_size=batch_size)
        return torch.cat([self.embed_batch(batch) for batch in loader])

    def loader(self, corpus: Corpus, modalities: Collection[str], *, batch_size: int = 64) -> EpochLoader:
        """Rows in order as the network reads them."""
        return eval_loader(corpus, self.inputs, batch_size=batch_size, modalities=modalities)

    def embed_batch(self, batch: Batch, modality: str = "") -> Tensor:
        """Unit vectors ``(B, D)`` of the images or clips of a loader's batch."""
        picture = image_input(self.input)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (picture.mean, picture.std))
        pixels = batch[self.modality] * std + mean
        if isinstance(self.input, VideoInput):
            pixels = _stretched(pixels, batch[f"{self.modality}_mask"], self.input.frames)
        return torch.from_numpy(self._session.run(None, {"pixels": pixels.numpy()})[0])


def _input_of(given: dict[str, Any]) -> ImageInput | VideoInput:
    """What a network is fed, as :func:`export_onnx` wrote it."""
    fields: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    if "image" in fields:
        return VideoInput(**{**fields, "image": _input_of(fields["image"])})
    return ImageInput(**fields)


def _stretched(frames: Tensor, mask: Tensor, count: int) -> Tensor:
    """The real frames of clips ``(B, T, 3, S, S)`` as ``count`` each, evenly repeated where there are fewer.

    >>> frames = torch.arange(3.0).view(1, 3, 1, 1, 1).expand(1, 3, 3, 1, 1)
    >>> _stretched(frames, torch.tensor([[True, True, False]]), 4)[0, :, 0, 0, 0].tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    real = mask.sum(dim=1, keepdim=True)
    place = (torch.arange(count) * real) // count  # (B, count)
    return frames[torch.arange(len(frames))[:, None], place]


def _run(path: Path, pixels: np.ndarray) -> np.ndarray:
    found: np.ndarray = _session(path).run(None, {"pixels": pixels})[0]
    return found


def _session(path: Path, threads: int = 0) -> Any:
    runtime = require("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    return runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
