"""From a configuration to a method: encoders, data facts, texts as the method wants them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from accord.data.corpus import Corpus
from accord.data.recipe import Prepared, prepare
from accord.data.sources import announce
from accord.data.splits import Splits
from accord.encoders import build_encoder
from accord.encoders.base import Encoder
from accord.encoders.graph import describe_graph
from accord.encoders.metapath import describe_metapaths
from accord.errors import ConfigError, DataError
from accord.evaluation.classification import labelled_rows
from accord.methods import DataInfo, Method, Paired, get_method, get_objective
from accord.pipeline.choose import require_fit
from accord.pipeline.config import EncoderConfig, RunConfig


def prepare_run(
    config: RunConfig, *, quarantine: Path | None = None, quiet: bool = False, splits: Splits | None = None
) -> Prepared:
    """The corpora of a run; a method that learns from labels gets those training rows that have one.

    Args:
        config: the run.
        quarantine: where to list bad rows.
        quiet: print nothing.
        splits: how the rows were shared out before; None splits.

    Raises:
        DataError: the data cannot be read, or no training row is left.
    """
    prepared = prepare(config.data, quarantine=quarantine, quiet=quiet, splits=splits)
    kind, train = get_method(config.method.get("name", "clip")), prepared.train
    if not (kind.learns_labels and train.unlabelled):
        return prepared
    labelled = labelled_rows(train)
    if not len(labelled):
        raise DataError(f"{train.name}: method {kind.name} learns from labels, and no training row has one")
    if not quiet:
        announce(f"{train.unlabelled:,} training rows without a label are left out: {kind.name} learns from labels")
    return replace(prepared, train=labelled)


def build_method(config: RunConfig, corpus: Corpus, given: Mapping[str, Encoder] | None = None) -> Method:
    """The method of ``config`` with fresh encoders, for ``corpus`` (its training rows).

    Args:
        config: the run.
        corpus: its training rows.
        given: modality -> encoder that is there already, whatever the run says.

    Raises:
        ConfigError: no encoder is named for a modality, or the corpus lacks what the method needs.
    """
    settings = dict(config.method)
    kind = get_method(settings.pop("name", "clip"))
    parsed = kind.Config.parse(settings)
    require_fit(kind, parsed, corpus)
    torch.manual_seed(config.training.seed)
    own = {modality: EncoderConfig.parse(dict(wish)) for modality, wish in kind.default_encoders(parsed).items()}
    chosen = {**default_encoders(corpus), **own, **config.encoders}
    ready = given or {}
    encoders = {name: ready[name] if name in ready else _encoder(name, chosen, corpus) for name in kind.wants(parsed)}
    method = kind(parsed, encoders, data_info(corpus, config.data.definitions))
    for name, added in config.objective_add.items():
        if not isinstance(method, Paired):
            raise ConfigError(f"objective_add: method {method.name} has no pairs of embeddings for {name} to act on")
        method.add(get_objective(name)(added))
    return method


def _encoder(modality: str, chosen: Mapping[str, EncoderConfig], corpus: Corpus) -> Encoder:
    if modality not in chosen:
        raise ConfigError(f"no encoder for {modality}: name one with --{modality}-encoder NAME")
    config = chosen[modality]
    if modality == "graph":
        return _graph_encoder(config, corpus)
    texts = [caption for row in corpus.texts() for caption in row] if modality == "text" else None
    return build_encoder(
        modality,
        {"name": config.name, **config.options},
        weights=config.weights or True,
        freeze=config.freeze,  # type: ignore[arg-type]
        texts=texts,
    )


def _graph_encoder(config: EncoderConfig, corpus: Corpus) -> Encoder:
    """An encoder of this graph: which node types and relations there are, its spec has to say."""
    describe = {"hetero": describe_graph, "metapath": describe_metapaths}.get(config.name)
    assert corpus.graph is not None  # the corpus has the modality
    options = config.options if describe is None else describe(corpus.graph, corpus.target, **config.options)
    spec = {**options, "name": config.name}
    return build_encoder("graph", spec, weights=config.weights or True, freeze=config.freeze)  # type: ignore[arg-type]


def default_encoders(corpus: Corpus) -> dict[str, EncoderConfig]:
    """Pretrained and frozen: what gives a beginner the best result per minute on two cores; for sounds, small."""
    image = EncoderConfig(name="efficientnet_lite0", freeze="all", options={"size": _fitting_size(corpus)})
    frames = {"image": {"name": "efficientnet_lite0", "size": 96}}
    return {
        "image": image,
        "text": EncoderConfig(name="minilm", freeze="all"),
        "video": EncoderConfig(name="frames", freeze="all", options=frames),
        "audio": EncoderConfig(name="tiny_audio"),
    }


def _fitting_size(corpus: Corpus) -> int:
    """Input side for the pictures at hand: half as large again as they are, in [96, 224].

    Enlarging a 64-pixel picture to 224 costs five times the work and shows nothing more.
    """
    if not corpus.columns.image:
        return 224
    rows = np.linspace(0, len(corpus) - 1, min(32, len(corpus)), dtype=int)
    sides = [min(corpus.sample(int(row), modalities=("image",))["image"].size) for row in rows]
    return int(np.clip(32 * np.ceil(1.5 * np.median(sides) / 32), 96, 224))


def data_info(corpus: Corpus, definitions: Mapping[str, str]) -> DataInfo:
    """What a method may know of its training rows; a class without definition is defined by its name.

    Raises:
        ConfigError: a definition names a class that does not exist.
    """
    unknown = set(definitions) - set(corpus.classes)
    if unknown and corpus.classes:
        raise ConfigError(f"data.definitions: no class {sorted(unknown)[0]!r} in {corpus.name}")
    labels = corpus.labels
    counts: tuple[int, ...] = ()
    if labels is not None:
        if labels.ndim == 1:
            counts_array = np.bincount(labels[labels >= 0], minlength=len(corpus.classes))
        else:
            counts_array = labels.sum(axis=0)
        counts = tuple(int(count) for count in counts_array)
    return DataInfo(
        rows=len(corpus),
        classes=corpus.classes,
        definitions=tuple(definitions.get(name, readable(name)) for name in corpus.classes),
        multi_label=corpus.multi_label,
        label_counts=counts,
    )


def readable(name: str) -> str:
    """A class name as words.

    >>> readable("sky_&-weather")
    'sky and weather'
    """
    return " ".join(name.replace("&", " and ").replace("_", " ").replace("-", " ").split())


def with_prepared_texts(corpus: Corpus, method: type[Method]) -> Corpus:
    """The corpus with its captions as ``method`` wants them tokenised."""
    if not corpus.columns.text or method.prepare_texts is Method.prepare_texts:
        return corpus
    return corpus.with_texts([method.prepare_texts(captions) for captions in corpus.texts()])
