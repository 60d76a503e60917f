"""From a name or a dict to an encoder; each modality's module is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from accord.encoders.base import Encoder, Freeze
from accord.encoders.weights import announce
from accord.errors import ConfigError

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
) -> Encoder:
    """Build an encoder.

    Args:
        modality: ``"image"``, ``"text"``, ``"video"``, ``"audio"`` or ``"graph"``.
        spec: a name, or a dict with ``name`` and that encoder's options (what :meth:`Encoder.spec` returns):

            - image: ``"efficientnet_lite0"``, ``"tiny_vit"``, ``"tiny_convnet"``, ``"tiny_resnet"``, any timm name;
            - text: ``"minilm"``, ``"tiny_text"``, a folder or hub name that transformers reads;
            - video: ``"frames:IMAGE"`` with any image name;
            - audio: ``"tiny_audio"``, ``"whisper_tiny"``, ``"whisper:FOLDER_OR_HUB_NAME"``;
            - graph: a dict with the name ``"hetero"``, see :func:`accord.encoders.graph.describe_graph`, or
              ``"metapath"``, see :func:`accord.encoders.metapath.describe_metapaths`.
        weights: True finds pretrained weights (the hub, then the packaged copy), a path takes them from it,
            False leaves the random initialisation. Tiny encoders have none to find.
        freeze: see :meth:`Encoder.freeze`; None means ``"none"``.
        texts: what a new tokenizer is trained on (``"tiny_text"``).

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
        raise ConfigError(f"no modality {modality!r}; there are: {', '.join(sorted(_MODULES))}")
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    if not isinstance(options.get("name"), str) or not options["name"]:
        raise ConfigError(f"{modality} encoder {options}: expected a name, e.g. {{'name': 'tiny_vit'}}")
    module = import_module(_MODULES[modality])
    encoder: Encoder = module.build(options, weights=weights, texts=texts)
    if weights is not False:
        announce(f"{modality} encoder {options['name']}", encoder.weights_from)
    encoder.freeze("none" if freeze is None else freeze)
    return encoder
