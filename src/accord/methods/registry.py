"""Methods by name. A method's module is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TypeVar

from accord.errors import ConfigError
from accord.methods.base import Method, Objective

Named = TypeVar("Named", Method, Objective)

_MODULES = {
    "clip": "accord.methods.image_text.clip",
    "protoclip": "accord.methods.image_text.protoclip",
    "fdt": "accord.methods.image_text.fdt",
    "filip": "accord.methods.image_text.filip",
    "tcl": "accord.methods.image_text.tcl",
    "coca": "accord.methods.image_text.coca",
    "cwcl": "accord.methods.image_text.cwcl",
    "contrastive_gap": "accord.methods.image_text.contrastive_gap",
    "improved_vlp_baselines": "accord.methods.image_text.improved_vlp_baselines",
    "swav": "accord.methods.image.swav",
    "pixpro": "accord.methods.image.pixpro",
    "slotcon": "accord.methods.image.slotcon",
    "multiview_infonce": "accord.methods.image.multiview",
    "gram": "accord.methods.multimodal.gram",
    "meow": "accord.methods.graph.meow",
    "adameow": "accord.methods.graph.meow",
    "capro": "accord.methods.noisy.capro",
    "cross_entropy": "accord.methods.noisy.baselines",
    "prototypical": "accord.methods.noisy.baselines",
}
_OBJECTIVES = {"contrastive_gap": "accord.methods.image_text.contrastive_gap"}


def available() -> list[str]:
    """Names of all methods.

    >>> "clip" in available()
    True
    """
    return sorted(_MODULES)


def get_method(name: str) -> type[Method]:
    """The method class registered under ``name``.

    Raises:
        ConfigError: there is no such method; lists those there are.

    Example:
        >>> get_method("clip").name
        'clip'
        >>> get_method("clop")
        Traceback (most recent call last):
        accord.errors.ConfigError: no method 'clop'; there are: adameow, capro, clip, ...
    """
    if name not in _MODULES:
        raise ConfigError(f"no method {name!r}; there are: {', '.join(available())}")
    return _class_in(_MODULES[name], Method, name)


def get_objective(name: str) -> type[Objective]:
    """The objective class registered under ``name``, which can be added to the loss of any paired method.

    Raises:
        ConfigError: there is no such objective; lists those there are.

    Example:
        >>> get_objective("gap")
        Traceback (most recent call last):
        accord.errors.ConfigError: no objective 'gap' to add; there are: contrastive_gap
    """
    if name not in _OBJECTIVES:
        raise ConfigError(f"no objective {name!r} to add; there are: {', '.join(sorted(_OBJECTIVES))}")
    return _class_in(_OBJECTIVES[name], Objective, name)


def _class_in(module: str, kind: type[Named], name: str) -> type[Named]:
    return next(
        value
        for value in vars(import_module(module)).values()
        if isinstance(value, type) and issubclass(value, kind) and value.__dict__.get("name") == name
    )
