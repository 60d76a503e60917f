"""Methods by name. A method's module is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module

from accord.errors import ConfigError
from accord.methods.base import Method

_MODULES = {
    "clip": "accord.methods.image_text.clip",
    "capro": "accord.methods.noisy.capro",
    "cross_entropy": "accord.methods.noisy.baselines",
    "prototypical": "accord.methods.noisy.baselines",
}


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
        accord.errors.ConfigError: no method 'clop'; there are: capro, clip, cross_entropy, prototypical
    """
    if name not in _MODULES:
        raise ConfigError(f"no method {name!r}; there are: {', '.join(available())}")
    module = import_module(_MODULES[name])
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__dict__.get("name") == name
    )
