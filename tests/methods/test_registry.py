"""The registry lists what there is, and loads it when it is asked for."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module

import accord.methods
from accord.methods import available, get_method, get_objective, objectives
from accord.methods.base import Method, Objective


def written(kind: type) -> set[str]:
    """Names of the classes of a kind in all groups of methods."""
    modules = [import_module(found.name) for found in pkgutil.walk_packages(accord.methods.__path__, "accord.methods.")]
    classes = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    return {value.__dict__["name"] for value in classes if issubclass(value, kind) and "name" in value.__dict__}


def test_every_method_and_objective_that_is_written_is_listed():
    assert written(Method) == set(available())
    assert written(Objective) == set(objectives())


def test_every_name_leads_to_the_class_that_has_it():
    assert [get_method(name).name for name in available()] == available()
    assert [get_objective(name).name for name in objectives()] == objectives()


def test_the_list_is_there_without_what_it_lists():
    code = "import sys; from accord.methods.registry import available; available(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_every_public_name_of_the_package_resolves():
    assert [name for name in accord.methods.__all__ if getattr(accord.methods, name, None) is None] == []
