"""What is public is documented, exported once, and named rightly in the documentation."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest

from accord import functional as AF

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", AF.__all__)
def test_every_public_name_has_a_signature_explained_and_an_example(name: str) -> None:
    thing = getattr(AF, name)
    doc = inspect.getdoc(thing) or ""
    takes = [p for p in inspect.signature(thing).parameters if p != "self"]
    assert "Args:" in doc or not takes
    for parameter in takes:
        assert re.search(rf"^\s+{parameter}: ", doc, re.MULTILINE), f"{name} does not explain {parameter}"
    assert ">>> " in doc or issubclass(type(thing), type), f"{name} has no example"


def test_what_a_module_shows_the_package_exports() -> None:
    internal = {
        "checks",
        "blocks",
        "starts",
        "halves",
        "mini_batch",
        "spans",
        "token_tiles",
        "cell_distance",
        "crop_pair_centers",
        "default_tile",
        "PairWeight",
        "Part",
    }
    for module in walk_packages(AF.__path__, "accord.functional."):
        if module.ispkg or module.name.rpartition(".")[2] in internal:
            continue
        members = vars(import_module(module.name))
        own = {n for n, v in members.items() if getattr(v, "__module__", "") == module.name and not n.startswith("_")}
        assert own - internal <= set(AF.__all__), module.name


def test_the_table_of_losses_names_what_exists() -> None:
    page = (DOCS / "losses.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(named) > 30
    assert named <= set(AF.__all__)


def test_the_code_on_the_page_about_the_losses_alone_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "use-the-losses.md").read_text(), re.DOTALL)
    space: dict[str, object] = {}
    for block in blocks:
        exec(block, space)
    assert len(blocks) >= 3
    assert space["loss"].isfinite()  # type: ignore[attr-defined]
