"""Methods that fit the data at hand: chosen where none is named, proposed where the named one lacks something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accord.config import Config
from accord.data.corpus import Corpus, survey
from accord.data.fields import declared
from accord.data.reading.sources import announce
from accord.data.targets import fields_of
from accord.errors import ConfigError, DataError
from accord.methods import Method, available, get_method
from accord.pipeline.config import RunConfig, added_targets, wanted_fields
from accord.training.start import check_machine

_PURPOSES = {
    "cross_entropy": "a classifier of its labels",
    "multiview_infonce": "which compares views of each row",
    "simcse": "which compares texts",
    "supcon_text": "a classifier of its labels",
    "label_matching": "which matches texts with the words of their labels",
    "meow": "which compares each node with its neighbours",
}


def parse_run(values: Mapping[str, Any], *, quiet: bool = False) -> RunConfig:
    """The configuration of a run with a method that fits its data, before any picture is looked at.

    Args:
        values: the configuration as plain values, perhaps without a method's name.
        quiet: do not say what was chosen.

    Raises:
        ConfigError: a setting is wrong, the machine lacks a device that is asked for, or the data lack what the named
            method needs; says which methods fit.
        DataError: the data cannot be read, or no method learns from them.
    """
    method = values.get("method") or {}
    named = isinstance(method, str) or "name" in method
    run = RunConfig.parse(dict(values) if named else {**values, "method": {}})
    check_machine(run.training)
    if named and run.data.source.startswith("pack:"):
        return run  # known to be whole, and the graphs among them are large
    settings = run.kind.Config.parse(run.method_settings)
    wanted = (*(wanted_fields(run.kind, settings) if named else ()), *fields_of(added_targets(run)))
    corpus = survey(run.data.place, columns=run.data.columns, target=run.data.target, wanted=wanted)
    if named:
        require_fit(run.kind, settings, corpus)
        return run
    chosen, reason = fitting_method(corpus)
    if reason and not quiet:
        announce(reason)
    return RunConfig.parse({**values, "method": {**chosen, **method}})


def fitting_method(corpus: Corpus) -> tuple[dict[str, Any], str]:
    """A method with settings for data that come without one, and a sentence on it; empty for pictures with texts.

    Raises:
        DataError: no method learns from these data alone.

    Example:
        >>> from accord.data.corpus import corpus_from_items
        >>> chosen, reason = fitting_method(corpus_from_items("image", ["a.png", "b.png"]))
        >>> chosen
        {'name': 'multiview_infonce'}
        >>> reason
        'items has image: the method is multiview_infonce, which compares views of each row; others ... (--method NAME)'
    """
    chosen = _choice(corpus)
    if not chosen:
        raise DataError(
            f"{corpus.name} has {_inventory(corpus)}, and no method learns from that alone: name a column of pictures "
            f"or of what belongs to each row{_unused(corpus)}, with --image COL, --text COL, --audio COL or --video COL"
        )
    name = chosen["name"]
    if name == "clip":
        return chosen, ""
    others = [way for way in ways(corpus) if way.partition(" ")[0] != name]
    also = f"; others that fit: {', '.join(others)} (--method NAME)" if others else ""
    return (
        chosen,
        f"{corpus.name} has {_inventory(corpus)}{_unused(corpus)}: the method is {name}, {_PURPOSES[name]}{also}",
    )


def require_fit(kind: type[Method], settings: Config, corpus: Corpus) -> None:
    """Check that a corpus has what a method needs.

    Raises:
        ConfigError: it has not; names methods that fit, and columns that might be meant.
    """
    missing = lacking(kind, settings, corpus)
    if not missing:
        return
    fitting = [way for way in ways(corpus) if way != kind.name]
    unused = _unused(corpus)
    remedies = [
        *([f"choose one that fits them with --method ({', '.join(fitting)})"] if fitting else []),
        *([f"name the column with {declared(missing[0]).option} COL{unused}"] if unused or not fitting else []),
    ]
    wanted = " and ".join("labels of at least 2 classes" if name == "label" else name for name in missing)
    raise ConfigError(
        f"method {kind.name} needs {wanted}, and {corpus.name} has {_inventory(corpus)}: {', or '.join(remedies)}"
    )


def lacking(kind: type[Method], settings: Config, corpus: Corpus) -> list[str]:
    """What a method with these settings needs and the corpus does not have; ``label`` stands for two classes."""
    missing = [field for field in kind.reads(settings) if field not in corpus.columns.readable]
    missing += [name for name in kind.targets if name not in corpus.targets]
    missing += [field for field in kind.fills(settings) if not getattr(corpus.columns, field)]
    return missing + (["label"] if kind.learns_from_labels(settings) and len(corpus.classes) < 2 else [])


def ways(corpus: Corpus) -> list[str]:
    """Names of the methods that fit, with the setting that makes them fit where their defaults do not."""
    found = []
    for name in available():
        kind = get_method(name)
        if kind.loss is Method.loss:  # it trains nothing
            continue
        if not lacking(kind, kind.Config.parse({}), corpus):
            found.append(name)
        elif "modalities" in kind.Config.model_fields and len(corpus.modalities) > 1:
            listed = ", ".join(f'"{modality}"' for modality in corpus.modalities)
            if _takes(kind, corpus.modalities):
                found.append(f"{name} with --set 'method.modalities=[{listed}]'")
    return found


def _choice(corpus: Corpus) -> dict[str, Any]:
    have = corpus.modalities
    if "graph" in have:
        return {"name": "meow"}
    if {"image", "text"} <= set(have):
        return {"name": "clip"}
    if len(have) > 1:
        return {"name": "multiview_infonce", "modalities": list(have), "temperature": 0.07}
    labelled = 2 <= len(corpus.classes) < len(corpus)
    if have == ("text",):
        return {"name": ("label_matching" if corpus.multi_label else "supcon_text") if labelled else "simcse"}
    if have != ("image",):
        return {}
    return {"name": "cross_entropy" if labelled else "multiview_infonce"}


def _takes(kind: type[Method], modalities: Sequence[str]) -> bool:
    try:
        kind.Config.parse({"modalities": modalities})
    except ConfigError:
        return False
    return True


def _inventory(corpus: Corpus) -> str:
    """What a corpus has, in words."""
    count = len(corpus.classes)
    labels = [f"labels of {count:,} class{'es' if count > 1 else ''}"] if count else []
    *first, last = [*corpus.modalities, *labels]
    return f"{', '.join(first)} and {last}" if first else last


def _unused(corpus: Corpus) -> str:
    """The columns that nothing was made of, in brackets."""
    used = {column for _, columns in corpus.columns.items() for column in columns}
    left = [name for name in corpus.rows.column_names if name not in used and not name.startswith("__")]
    return f" (not used so far: {', '.join(left[:8])}{' …' if len(left) > 8 else ''})" if left else ""
