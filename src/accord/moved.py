"""Modules and verbs that have moved are still found under the names that they had, until the release after next."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

_MOVED = {
    "data.audio": "data.reading.audio",
    "data.batches": "data.loading.batches",
    "data.cells": "data.reading.cells",
    "data.compose": "data.making.compose",
    "data.corruption": "data.making.corruption",
    "data.features": "data.loading.features",
    "data.folders": "data.reading.folders",
    "data.frames": "data.reading.frames",
    "data.graphs": "data.reading.graphs",
    "data.labels": "data.reading.labels",
    "data.loader": "data.loading.loader",
    "data.media": "data.reading.media",
    "data.metapaths": "data.augmenting.metapaths",
    "data.order": "data.loading.order",
    "data.samplers": "data.loading.samplers",
    "data.shards": "data.reading.shards",
    "data.sources": "data.reading.sources",
    "data.streams": "data.loading.streams",
    "data.tables": "data.reading.tables",
    "data.text_views": "data.augmenting.text_views",
    "data.textfiles": "data.reading.textfiles",
    "data.tokens": "data.loading.tokens",
    "data.video": "data.reading.video",
    "data.views": "data.augmenting.views",
    "data.watch": "data.loading.watch",
    "functional.adaptive": "functional.contrast.adaptive",
    "functional.assignment": "functional.clusters.assignment",
    "functional.captions": "functional.text.captions",
    "functional.clustering": "functional.clusters",
    "functional.correspondence": "functional.noise.pairs",
    "functional.gap": "functional.measures.gap",
    "functional.geometry": "functional.dense.geometry",
    "functional.gramian": "functional.similarity.volumes",
    "functional.graph": "functional.clusters.neighbours",
    "functional.metapath": "functional.similarity.metapath",
    "functional.mixtures": "functional.noise.mixtures",
    "functional.multiview": "functional.contrast.views",
    "functional.niw": "functional.clusters.niw",
    "functional.prototypes": "functional.contrast.prototypes",
    "functional.queue": "functional.contrast.memory",
    "functional.regularity": "functional.measures.regularity",
    "functional.slots": "functional.dense.slots",
    "functional.spans": "functional.similarity.spans",
    "functional.swap": "functional.contrast.swap",
    "functional.text_draws": "functional.text.draws",
    "functional.tokens": "functional.similarity.tokens",
    "functional.transfer": "functional.measures.transfer",
    "functional.weighted": "functional.contrast.weighted",
    "methods.image.multiview": "methods.multimodal.multiview",
    "methods.image_text.cwcl": "methods.multimodal.cwcl",
    "pipeline.diagnosis": "pipeline.probing",
    "training.processes": "processes",
}
VERBS = {"diagnose": "probe"}  # former name -> the name that it has now
MOVED = {f"accord.{before}": f"accord.{now}" for before, now in _MOVED.items()}


class Moved:
    """Finds a module under its former name: the very same module, with a warning that says where it is.

    It is finder and loader without the base classes, whose import takes as long as that of Accord.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for the names in ``MOVED``, nothing for others."""
        return ModuleSpec(name, self) if name in MOVED else None  # type: ignore[arg-type]  # asks for the base class

    def create_module(self, spec: ModuleSpec) -> None:
        """The import system's usual module."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module that is meant in the place of this one."""
        now = MOVED[module.__name__]
        warnings.warn(f"{module.__name__} has moved to {now}", DeprecationWarning, stacklevel=2)
        sys.modules[module.__name__] = import_module(now)


def renamed(verb: str) -> str:
    """The name that a verb has now, with a warning where it had another.

    >>> renamed("train")
    'train'
    """
    now = VERBS.get(verb, verb)
    if now != verb:
        warnings.warn(f"accord.{verb} is called accord.{now} now", DeprecationWarning, stacklevel=3)
    return now


def find_moved() -> None:
    """Let the import system find what has moved; once is enough."""
    if not any(isinstance(finder, Moved) for finder in sys.meta_path):
        sys.meta_path.append(Moved())
