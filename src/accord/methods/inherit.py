"""What a method takes over from a pretrained joint space: projections of the same size, and the factor on cosines."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from accord.encoders.bundles import Bundle
from accord.state import LogitScale

if TYPE_CHECKING:
    from accord.methods.base import Method


@torch.no_grad()
def inherit(method: Method, bundle: Bundle) -> tuple[str, ...]:
    """Start a method's ``projections`` and ``logit_scale`` from those of a bundle, where it has such.

    The linear layer on an encoder of the bundle becomes its projection, or the identity where the encoder's vectors
    lie in the space already; its bias becomes zero. The factor is brought into the range that the method allows, and
    recorded as its setting ``temperature``; where the user has set that, it stays.

    Returns:
        What was taken, in words.
    """
    taken = []
    parts = dict(method.named_children())
    layers, scale = parts.get("projections"), parts.get("logit_scale")
    for modality, layer in layers.items() if isinstance(layers, nn.ModuleDict) else ():
        matrix = _matrix(method, bundle, modality)
        if isinstance(layer, nn.Linear) and matrix is not None and layer.weight.shape == matrix.shape:
            layer.weight.copy_(matrix)
            if layer.bias is not None:
                layer.bias.zero_()
            taken.append(f"{modality} projection")
    if isinstance(scale, LogitScale) and "temperature" not in method.config.model_fields_set:
        factor = min(max(bundle.logit_scale, scale.min), scale.max)
        scale.log_scale.fill_(math.log(factor))
        method.config = method.config.model_copy(update={"temperature": _inverse(factor)})
        taken.append("logit scale")
    return tuple(taken)


def _matrix(method: Method, bundle: Bundle, modality: str) -> Tensor | None:
    """What makes the encoder's vectors those of the space ``(D, W)``; None where the encoder is another."""
    if modality not in method.encoders or method.encoders[modality] is not bundle.encoders.get(modality):
        return None
    return bundle.projections.get(modality, torch.eye(bundle.dim))


def _inverse(factor: float) -> float:
    """``1 / factor``, of which the inverse is not above it again by rounding."""
    inverse = 1 / factor
    return inverse if 1 / inverse <= factor else math.nextafter(inverse, math.inf)
