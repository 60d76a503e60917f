"""How much of an encoder is frozen: all, nothing, all but its last blocks, or the parameters of some names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

from torch import nn

from accord.errors import ConfigError, did_you_mean

Freeze = Literal["none", "all", "auto"] | int | list[str]


def parse_freeze(value: Any) -> Freeze:
    """A wish as it is typed or written in a configuration, where patterns may be one text with commas.

    Raises:
        ValueError: it is none of what is allowed.

    Example:
        >>> parse_freeze("all"), parse_freeze("model.blocks.*, !*.bias")
        ('all', ['model.blocks.*', '!*.bias'])
    """
    if value in ("all", "none", "auto") or (type(value) is int and value >= 0):
        return value
    patterns = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    named = isinstance(patterns, list | tuple) and all(isinstance(one, str) and one.strip("!") for one in patterns)
    if not named or not patterns or (isinstance(value, str) and not set(value) & set("*?[.!,")):
        raise ValueError(
            "expected all, none, auto, or how many of the last blocks are trained; or patterns of parameter names, "
            "such as 'model.blocks.*,!*.bias'"
        )
    return list(patterns)


def frozen_names(patterns: Sequence[str], names: Sequence[str], of: str) -> set[str]:
    """The parameters that patterns freeze: those that match one, and none that begins with ``!``.

    Where all patterns begin with ``!``, they say what is trained, and everything else is frozen.

    Args:
        patterns: shell patterns (``*``, ``?``, ``[…]``) of whole names, upper and lower case apart.
        names: of the parameters of the encoder.
        of: what the message calls the encoder.

    Raises:
        ConfigError: a pattern matches no name.

    Example:
        >>> sorted(frozen_names(["visual.*", "!*.message"], ["visual.proj", "visual.message", "head"], "video"))
        ['visual.proj']
        >>> frozen_names(["visul.*"], ["visual.proj"], "video")
        Traceback (most recent call last):
        accord.errors.ConfigError: freeze = 'visul.*': no parameter of the video encoder; did you mean visual.proj?
    """
    matched = {}
    for pattern in patterns:
        matched[pattern] = {name for name in names if fnmatchcase(name, pattern.removeprefix("!"))}
        if not matched[pattern]:
            near = did_you_mean(pattern.strip("!*."), names) or f"; they are called {_some(names)}"
            raise ConfigError(f"freeze = {pattern!r}: no parameter of the {of} encoder{near}")
    kept = [found for pattern, found in matched.items() if pattern.startswith("!")]
    held = [found for pattern, found in matched.items() if not pattern.startswith("!")]
    return (set().union(*held) if held else set(names)).difference(*kept)


def resting(parts: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The largest modules in ``parts`` that have parameters, none of which is trained."""
    for part in parts:
        trained = [parameter.requires_grad for parameter in part.parameters()]
        if any(trained):
            yield from resting(part.children())
        elif trained:
            yield part


def freeze_patch_convolution(encoder: nn.Module) -> None:
    """Hold the convolution that cuts pictures into patches as it is, which steadies a ViT's training (MoCo v3, 4.3).

    Chen et al. 2021, ICCV. Nothing is held in a network that does not begin with one.
    """
    first = next((part for part in encoder.modules() if isinstance(part, nn.Conv2d)), None)
    if first is not None and first.kernel_size == first.stride != (1, 1):
        first.requires_grad_(False)


def _some(names: Sequence[str]) -> str:
    shown = [names[0], names[len(names) // 2], names[-1]] if len(names) > 3 else names
    return f"such as {', '.join(shown)}"
