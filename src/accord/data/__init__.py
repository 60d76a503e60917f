"""Data: sources become corpora, corpora become batches.

The names below are imported when they are first used: Hugging Face ``datasets`` takes a second to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accord.data.augmenting.text_views import TextView
    from accord.data.augmenting.views import View
    from accord.data.columns import Columns, guess_columns
    from accord.data.corpus import Corpus, corpus_from_graph, corpus_from_items, open_corpus
    from accord.data.inputs import AudioInput, ImageInput, TextInput, VideoInput
    from accord.data.loading.features import FeatureCache, Features
    from accord.data.loading.loader import EpochLoader, eval_loader, train_loader
    from accord.data.quarantine import Quarantine, RowError
    from accord.data.splits import Splits, split

_HOMES = {
    "columns": ("Columns", "guess_columns"),
    "corpus": ("Corpus", "corpus_from_graph", "corpus_from_items", "open_corpus"),
    "loading.features": ("FeatureCache", "Features"),
    "inputs": ("AudioInput", "ImageInput", "TextInput", "VideoInput"),
    "loading.loader": ("EpochLoader", "eval_loader", "train_loader"),
    "quarantine": ("Quarantine", "RowError"),
    "splits": ("Splits", "split"),
    "augmenting.text_views": ("TextView",),
    "augmenting.views": ("View",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AudioInput",
    "Columns",
    "Corpus",
    "EpochLoader",
    "FeatureCache",
    "Features",
    "ImageInput",
    "Quarantine",
    "RowError",
    "Splits",
    "TextInput",
    "TextView",
    "VideoInput",
    "View",
    "corpus_from_graph",
    "corpus_from_items",
    "eval_loader",
    "guess_columns",
    "open_corpus",
    "split",
    "train_loader",
]


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"accord.data.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'accord.data' has no attribute {name!r}")
