"""The code that a result depends on: the claim's own, Accord's modules behind it, and versions of what computes."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from accord.claims.declare import Claim
from accord.claims.imports import closure, packages
from accord.claims.machine import versions
from accord.claims.source import Source, source_of
from accord.data.fields import main_fields
from accord.encoders.registry import DECLARATIONS
from accord.methods import available, get_method

CARRIES_OUT = ("accord.claims.measuring", "accord.pipeline.build")
COMPUTE = {  # what is imported -> the distribution whose version counts
    "PIL": "pillow",
    "av": "av",
    "diffusers": "diffusers",
    "faiss": "faiss-cpu",
    "lightning": "lightning",
    "numpy": "numpy",
    "open_clip": "open_clip_torch",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "soundfile": "soundfile",
    "timm": "timm",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "torch_geometric": "torch-geometric",
    "torchmetrics": "torchmetrics",
    "torchvision": "torchvision",
    "transformers": "transformers",
}
# What is said beside a declaration, and what only a smoke run does.
BESIDE = ("paper", "tuning", "note", "quick", "kind_of_data")


@dataclass(frozen=True)
class Code:
    """The code that an arm's results depend on.

    Args:
        own: hash of what the claim's functions are and name, in the folder of claims.
        modules: module of Accord -> hash of its code.
        versions: of the other packages that compute.
    """

    own: str
    modules: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def digest(self) -> str:
        """One hash of it all, versions apart."""
        return _digest(f"{self.own} {sorted(self.modules.items())}")

    def told(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


def code_of(source: Source, roots: Iterable[str]) -> Code:
    """The code behind a claim's functions and behind modules that are run without being named by them.

    Args:
        source: the functions.
        roots: the modules.
    """
    modules = closure([*CARRIES_OUT, *roots, *source.modules])
    outside = packages(modules) | {name.partition(".")[0] for name in source.modules}
    found = versions(*sorted({COMPUTE[name] for name in outside if name in COMPUTE}))
    found["python"] = ".".join(map(str, sys.version_info[:2]))
    return Code(_digest(source.text), modules, found)


def modules_named(words: Iterable[str]) -> set[str]:
    """The modules of methods, encoders and modalities that are called so: a function may build them by their names."""
    asked = set(words)
    found = {one.__module__ for name in asked & set(available()) for one in get_method(name).__mro__}
    found |= {declared.make.partition(":")[0] for declared in DECLARATIONS if declared.name and declared.name in asked}
    return found | {f"accord.data.modalities.{name}" for name in asked & set(main_fields())}


def declaration_of(claim: Claim, folder: Path) -> str:
    """Hash of what a claim declares: settings, arms, questions, and the functions and rows behind them.

    Args:
        claim: the declaration.
        folder: where its file is.
    """
    return _digest(source_of(folder, _declared(claim)).text)


def _declared(value: Any) -> Any:
    """A declaration as plain containers, without its prose."""
    if isinstance(value, Mapping):
        return {key: _declared(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_declared(inner) for inner in value]
    if is_dataclass(value) and not isinstance(value, type) and type(value).__module__ == Claim.__module__:
        names = [field.name for field in fields(value) if field.name not in BESIDE]
        return {name: _declared(getattr(value, name)) for name in names}
    return value


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
