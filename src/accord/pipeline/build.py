"""From a configuration to a method: encoders, data facts, texts as the method wants them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accord.data.corpus import Corpus, open_corpus
from accord.data.fields import declared, encoded_fields, read_by, text_fields
from accord.data.reading.sources import announce
from accord.data.recipe import Prepared, prepare
from accord.data.splits import Splits
from accord.data.targets import fields_of, get_target
from accord.data.targets.base import listed
from accord.data.targets.rows import is_empty
from accord.encoders import build_encoder, registry
from accord.encoders.base import Encoder
from accord.encoders.build import as_asked
from accord.encoders.bundles import Bundle, load_bundle
from accord.errors import ConfigError, DataError
from accord.evaluation.classification import labelled_rows
from accord.methods import DataInfo, Method, Objective, Paired, get_objective
from accord.methods.abilities import Embeds
from accord.pipeline.choose import require_fit
from accord.pipeline.config import RANDOM, EncoderConfig, RunConfig, added_targets, brought_encoders, wanted_fields
from accord.training.device import resolve_device
from accord.training.model import Model
from accord.training.named import named_model

_MOST_ANSWERS = 10_000  # that a model is told of


def prepare_run(
    config: RunConfig, *, quarantine: Path | None = None, quiet: bool = False, splits: Splits | None = None
) -> Prepared:
    """The corpora of a run; a method that learns from labels or other targets gets those training rows that have them.

    Args:
        config: the run.
        quarantine: where to list bad rows.
        quiet: print nothing.
        splits: how the rows were shared out before; None splits.

    Raises:
        DataError: the data cannot be read, or no training row is left.
    """
    kind, settings = config.kind, config.kind.Config.parse(config.method_settings)
    wanted = (*wanted_fields(kind, settings), *fields_of(added_targets(config)))
    prepared = prepare(config.data, quarantine=quarantine, quiet=quiet, splits=splits, wanted=wanted)
    train = prepared.train
    if kind.learns_from_labels(settings) and train.unlabelled:
        train = _those_with("a label", "labels", labelled_rows(train), train, kind, quiet)
    for name in (*kind.targets, *kind.fills(settings)):
        if getattr(train.columns, name):  # without a column, the method is refused when it is built
            train = _those_with(name, name, train.select(np.flatnonzero(train.has_target(name))), train, kind, quiet)
    return replace(prepared, train=train)


def _those_with(one: str, all_: str, having: Corpus, train: Corpus, kind: type[Method], quiet: bool) -> Corpus:
    """The training rows that have what the method learns from, and a line on how many have not.

    Raises:
        DataError: none has.
    """
    lacking = len(train) - len(having)
    if not len(having):
        raise DataError(f"{train.name}: method {kind.name} learns from {all_}, and no training row has one")
    if lacking and not quiet:
        announce(f"{lacking:,} training rows without {one} are left out: {kind.name} learns from {all_}")
    return having if lacking else train


def build_method(config: RunConfig, corpus: Corpus, given: Mapping[str, Encoder] | None = None) -> Method:
    """The method of ``config`` with fresh encoders, for ``corpus`` (its training rows).

    Args:
        config: the run.
        corpus: its training rows.
        given: modality -> encoder that is there already, whatever the run says.

    Raises:
        ConfigError: no encoder is named for a modality, or the corpus lacks what the method needs.
    """
    kind = config.kind
    bundle = None if config.bundle is None else load_bundle(config.bundle)
    space = None if config.space is None else named_model(config.space).method
    decided = {} if bundle is None else kind.settings_from(bundle)
    decided |= {} if space is None else kind.settings_from_space(space)
    parsed = kind.Config.parse({**decided, **config.method_settings}, at="method")
    if kind.in_space and not (bundle or space or given or config.encoders):
        raise ConfigError(
            f"method {kind.name} is trained in the space of a model that knows several modalities: name one with "
            "--bundle clip:FOLDER, or with --set space=RUN, such as a folder of a run or house"
        )
    require_fit(kind, parsed, corpus)
    if bundle is not None and not set(bundle.encoders) & set(kind.wants(parsed)):
        have, wanted = ", ".join(bundle.encoders), ", ".join(kind.wants(parsed))
        raise ConfigError(f"{bundle.name} has encoders for {have}, and method {kind.name} wants {wanted}: leave it out")
    torch.manual_seed(config.training.seed)
    choices = _choices(config, kind, parsed, corpus)
    ready: dict[str, Any] = {**({} if space is None else dict(space.encoders.items())), **(given or {})}
    said = _said(corpus, kind.reads(parsed), (*kind.targets, *added_targets(config)))
    encoders = {
        name: ready[name] if name in ready else _encoder(name, choices, corpus, bundle, said)
        for name in kind.wants(parsed)
    }
    method = kind(parsed, encoders, data_info(corpus, config.data.definitions))
    if bundle is not None:
        _start_from(method, bundle)
    if space is not None:
        method.take_space(space)
    if config.pairs is not None:
        announce(method.fit_pairs(embedded_pairs(method, config.pairs, config.training.accelerator)))
    for name, added in config.objective_add.items():
        if not isinstance(method, Paired):
            raise ConfigError(f"objective_add: method {method.name} has no pairs of embeddings for {name} to act on")
        method.add(_objective(name, added, corpus))
    return method


def _objective(name: str, config: Any, corpus: Corpus) -> Objective:
    """An objective that is to be added.

    Raises:
        ConfigError: the rows lack what it reads.
    """
    kind = get_objective(name)
    objective = kind(config)
    for field in (*kind.targets, *kind.fills(objective.config)):
        if not getattr(corpus.columns, field):
            option = declared(field).option
            raise ConfigError(
                f"objective {name} needs {field}, and {corpus.name} has none: name a column with {option} COL"
            )
    return objective


@dataclass(frozen=True)
class Choice:
    """An encoder, and why as much of it is frozen as is; the empty reason is the usual one."""

    config: EncoderConfig
    because: str


def _start_from(method: Method, bundle: Bundle) -> None:
    """Let the method take over what fits of the bundle, and say what that is."""
    taken = method.start_from(bundle)
    announce(
        f"{bundle.name}: {', '.join(taken)} taken over"
        if taken
        else f"{bundle.name}: encoders only, since method {method.name} has no projections of its sizes"
    )


def _choices(config: RunConfig, kind: type[Method], parsed: Any, corpus: Corpus) -> dict[str, Choice]:
    """Modality -> the encoder that the user names, or else that of the bundle, the method's own, or the usual one.

    Settings of an encoder without a name are for the one that would be taken anyway.
    """
    own = {modality: EncoderConfig.parse(dict(wish)) for modality, wish in kind.default_encoders(parsed).items()}
    brought = {name: EncoderConfig.parse(dict(wish)) for name, wish in brought_encoders(config, parsed).items()}
    usual = {**default_encoders(corpus), **own, **brought}
    choices = {}
    for modality in {**usual, **config.encoders}:
        asked = config.encoders.get(modality, EncoderConfig())
        chosen = asked if asked.name is not None else _completed(asked, modality, usual)
        because = _reason(asked, chosen, kind.name if modality in own and modality not in brought else None)
        alone = modality in own and list(kind.wants(parsed)) == [modality]
        if asked.freeze == "auto" and alone and "freeze" not in own[modality].model_fields_set:
            chosen = chosen.model_copy(update={"freeze": "none"})  # SwAV's kind teaches the encoder, and nothing else
            because = f"as method {kind.name} needs"
        choices[modality] = Choice(chosen, because)
    return choices


def _completed(asked: EncoderConfig, modality: str, usual: Mapping[str, EncoderConfig]) -> EncoderConfig:
    if modality not in usual:
        raise ConfigError(f"encoders.{modality}: there is no usual one, name one with --{modality}-encoder NAME")
    base = usual[modality]
    return EncoderConfig(
        name=base.name,
        freeze=base.freeze if asked.freeze == "auto" else asked.freeze,
        weights=asked.weights or base.weights,
        options={**base.options, **asked.options},
    )


def _reason(asked: EncoderConfig, chosen: EncoderConfig, method: str | None) -> str:
    """Why it is frozen as it is; ``method`` where the encoder is the method's own."""
    if chosen.freeze == "auto":
        return ""
    if asked.freeze != "auto":
        return "as asked"
    return "by default" if method is None else f"as method {method} has it"


def _encoder(
    modality: str, choices: Mapping[str, Choice], corpus: Corpus, bundle: Bundle | None, said: list[str]
) -> Encoder:
    if modality not in choices:
        there = ", ".join(registry.encoder_names(read_by(modality))) or "none so far"
        option = f"{declared(modality).option}-encoder"
        raise ConfigError(f"no encoder for {modality}: name one with {option} NAME; there are: {there}")
    config, because = choices[modality].config, choices[modality].because
    if bundle is not None and config == EncoderConfig(name=bundle.name, freeze=config.freeze):
        return as_asked(modality, bundle.name, bundle.encoders[modality], config.freeze, because)  # it is read already
    return build_encoder(
        read_by(modality),
        _spec(modality, config, corpus),
        weights=False if config.weights == RANDOM else config.weights or True,
        freeze=config.freeze,
        texts=said if modality == "text" else None,
        because=because,
    )


def _said(corpus: Corpus, read: Sequence[str], targets: Sequence[str]) -> list[str]:
    """What a tokenizer learns from: captions, other texts that are read and what targets say; else names of classes."""
    texts = ("text", *(field for field in text_fields() if field in read and field != "text"))
    captions = [caption for field in texts for row in corpus.said(field) for caption in row]
    fields = dict.fromkeys(field for name in targets if (field := get_target(name).texts))
    cells = [(field, cell) for field in fields for cell in corpus.cells_of(field) if not is_empty(cell)]
    others = [str(text) for field, cell in cells for text in listed(cell, field) if text]
    return captions + others or [readable(name) for name in (*corpus.classes, *corpus.instance_classes)]


def _spec(modality: str, config: EncoderConfig, corpus: Corpus) -> dict[str, Any]:
    """Name and options, with what the rows say of them: the node types of a graph, the width of a step."""
    options, made = config.options, registry.find(read_by(modality), config.name or "")
    if made is not None and made.describe:
        facts = (corpus.graph, corpus.target) if modality == "graph" else (corpus, modality)
        options = registry.load(made.describe)(*facts, **config.options)
    return {**options, "name": config.name}


def embedded_pairs(method: Method, pairs: str, accelerator: str) -> dict[str, Tensor]:
    """Modality -> embeddings ``(N, D)`` of rows that have all of the modalities which they have columns of.

    Args:
        method: what embeds.
        pairs: where the rows are.
        accelerator: where it runs meanwhile.

    Raises:
        ConfigError: the method embeds nothing.
        DataError: the rows cannot be read, or have only one modality of those that the method embeds.
    """
    before = method.device
    model = Model(method.to(resolve_device(accelerator, "training.accelerator")))
    model.able(Embeds)
    corpus = open_corpus(pairs, quiet=True)
    shared = [name for name in model.modalities if name in corpus.modalities]
    if len(shared) < 2:
        have, wanted = ", ".join(corpus.modalities), ", ".join(model.modalities)
        raise DataError(f"pairs: {corpus.name} has {have}; expected rows with two of what is embedded: {wanted}")
    rows = corpus.having(*shared)
    vectors = {name: model.embed_corpus(rows, name) for name in shared}
    method.to(before)
    return vectors


def default_encoders(corpus: Corpus) -> dict[str, EncoderConfig]:
    """Pretrained, and so frozen: what gives a beginner the best result per minute on two cores; else small ones."""
    named = {field: declared(field).encoder or "" for field in encoded_fields()}
    small = {field: name for field, name in named.items() if name and registry.starts_at_random({"name": name})}
    image = EncoderConfig(name="efficientnet_lite0", options={"size": _fitting_size(corpus)})
    frames = {"image": {"name": "efficientnet_lite0", "size": 96}}
    return {
        **{field: EncoderConfig(name=name) for field, name in small.items()},
        "image": image,
        "text": EncoderConfig(name="minilm"),
        "video": EncoderConfig(name="frames", options=frames),
    }


def _fitting_size(corpus: Corpus) -> int:
    """Input side for the pictures at hand: half as large again as they are, in [96, 224].

    Enlarging a 64-pixel picture to 224 costs five times the work and shows nothing more.
    """
    if not corpus.columns.image:
        return 224
    rows = np.linspace(0, len(corpus) - 1, min(32, len(corpus)), dtype=int)
    sides = [min(corpus.sample(int(row), ("image",))["image"].size) for row in rows]
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
        mask_classes=corpus.mask_classes,
        instance_classes=corpus.instance_classes,
        datasets=corpus.dataset_names,
        answers=_answers(corpus),
    )


def _answers(corpus: Corpus) -> tuple[str, ...]:
    """The commonest answers of the rows, of which equally common ones stand in the order of the rows."""
    counts = Counter(answer.lower() for row in corpus.texts("answers") for answer in row)
    return tuple(answer for answer, _ in counts.most_common(_MOST_ANSWERS))


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
    return corpus.with_texts([method.prepare_texts(list(captions)) for captions in corpus.said()])
