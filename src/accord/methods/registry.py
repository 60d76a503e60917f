"""Methods by name: those of this package, then those of others that are installed.

The two tables are the only place where methods and objectives are listed: a line is a name and the module whose class
has it. Everything else that speaks of all methods reads them from here: the command line and its completion, what fits
the data, the import check, the documentation, the tests. The tables alone load nothing; a method's module is imported
when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from accord.errors import ConfigError, no_such
from accord.plugins import Kind, broken, complain, find_plugin, plugin_names

if TYPE_CHECKING:
    from accord.methods.abilities import Ability
    from accord.methods.base import Method, Objective

Named = TypeVar("Named", "Method", "Objective")

_MODULES = {
    "clip": "accord.methods.image_text.clip",
    "protoclip": "accord.methods.image_text.protoclip",
    "fdt": "accord.methods.image_text.fdt",
    "filip": "accord.methods.image_text.filip",
    "tcl": "accord.methods.image_text.tcl",
    "coca": "accord.methods.image_text.coca",
    "cwcl": "accord.methods.multimodal.cwcl",
    "contrastive_gap": "accord.methods.image_text.contrastive_gap",
    "improved_vlp_baselines": "accord.methods.image_text.improved_vlp_baselines",
    "swav": "accord.methods.image.swav",
    "deepcluster_v2": "accord.methods.image.deepcluster",
    "pixpro": "accord.methods.image.pixpro",
    "slotcon": "accord.methods.image.slotcon",
    "hydra_pairs": "accord.methods.image.hydra_pairs",
    "multiview_infonce": "accord.methods.multimodal.multiview",
    "mcl_multistage": "accord.methods.multimodal.mcl_multistage",
    "gram": "accord.methods.multimodal.gram",
    "close": "accord.methods.multimodal.close",
    "rcad": "accord.methods.multimodal.rcad",
    "g2l": "accord.methods.video.g2l",
    "xclip": "accord.methods.video.xclip",
    "cross_video_mae": "accord.methods.video.cross_video_mae",
    "macil_sd": "accord.methods.video.macil_sd",
    "sign_windows": "accord.methods.video.sign_windows",
    "cico": "accord.methods.video.cico",
    "ila": "accord.methods.video.ila",
    "hbi": "accord.methods.video.hbi",
    "hbi_answers": "accord.methods.video.hbi_answers",
    "meow": "accord.methods.graph.meow",
    "adameow": "accord.methods.graph.meow",
    "simcse": "accord.methods.text.simcse",
    "simcse_supervised": "accord.methods.text.simcse",
    "mirror_bert": "accord.methods.text.mirror_bert",
    "label_matching": "accord.methods.text.label_matching",
    "declutr": "accord.methods.text.declutr",
    "contrastive_tension": "accord.methods.text.contrastive_tension",
    "supcon_text": "accord.methods.text.supcon_text",
    "cert": "accord.methods.text.cert",
    "cline": "accord.methods.text.cline",
    "capro": "accord.methods.noisy.capro",
    "gpc_gcd": "accord.methods.noisy.gpc_gcd",
    "cross_entropy": "accord.methods.noisy.baselines",
    "prototypical": "accord.methods.noisy.baselines",
    "pc2": "accord.methods.noisy.pc2",
    "bundle": "accord.methods.pretrained.bundle",
}
_OBJECTIVES = {
    "contrastive_gap": "accord.methods.image_text.contrastive_gap",
    "rcad": "accord.methods.multimodal.rcad",
}


def available() -> list[str]:
    """Names of all methods, those of other installed packages included.

    >>> "clip" in available()
    True
    """
    return sorted({*_MODULES, *plugin_names("methods")})


def get_method(name: str) -> type[Method]:
    """The method class registered under ``name``.

    Raises:
        ConfigError: there is no such method, lists those there are; or it is another package's and cannot be used.

    Example:
        >>> get_method("clip").name
        'clip'
        >>> get_method("clop")
        Traceback (most recent call last):
        accord.errors.ConfigError: no method 'clop'; did you mean clip or xclip or close? There are: adameow, ...
    """
    from accord.methods.base import Method

    if name in _MODULES:
        return _class_in(_MODULES[name], Method, name)
    found = _plugin("methods", Method, name)
    if found is None:
        raise ConfigError(no_such("method", name, available()))
    return found


def get_methods() -> Iterator[type[Method]]:
    """All method classes; one of another package that cannot be used is left out, and that is said."""
    for name in available():
        try:
            yield get_method(name)
        except ConfigError as error:
            complain(error)


def named_with(*kinds: type[Ability]) -> str:
    """Names of the methods that have one of these abilities, for a sentence.

    >>> from accord.methods.abilities import Captions
    >>> named_with(Captions)
    'close, coca'
    """
    return ", ".join(kind.name for kind in get_methods() if issubclass(kind, kinds)) or "none so far"


def objectives() -> list[str]:
    """Names of all objectives, those of other installed packages included.

    >>> objectives()
    ['contrastive_gap', 'rcad']
    """
    return sorted({*_OBJECTIVES, *plugin_names("objectives")})


def get_objective(name: str) -> type[Objective]:
    """The objective class registered under ``name``, which can be added to the loss of any paired method.

    Raises:
        ConfigError: there is no such objective, lists those there are; or it is another package's and cannot be used.

    Example:
        >>> get_objective("gap")
        Traceback (most recent call last):
        accord.errors.ConfigError: no objective 'gap'; there are: contrastive_gap, rcad
    """
    from accord.methods.base import Objective

    if name in _OBJECTIVES:
        return _class_in(_OBJECTIVES[name], Objective, name)
    found = _plugin("objectives", Objective, name)
    if found is None:
        raise ConfigError(no_such("objective", name, objectives()))
    return found


def _class_in(module: str, kind: type[Named], name: str) -> type[Named]:
    return next(
        value
        for value in vars(import_module(module)).values()
        if isinstance(value, type) and issubclass(value, kind) and value.__dict__.get("name") == name
    )


def _plugin(group: Kind, kind: type[Named], name: str) -> type[Named] | None:
    """The class of another package, which must be what it says it is: its name is written into the run."""
    found = find_plugin(group, name)
    if found is None:
        return None
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise broken(group, name, f"expected a subclass of accord.methods.{kind.__name__}, got {found!r}")
    if getattr(found, "name", None) != name:
        raise broken(group, name, f"the class calls itself {getattr(found, 'name', None)!r}; the two must be equal")
    return found
