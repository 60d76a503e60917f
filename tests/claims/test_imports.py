"""What a module imports, as it is written, and a digest that only code changes."""

from __future__ import annotations

import pytest

from accord.claims import imports
from accord.claims.imports import closure, digest_of, imported, packages, parse


@pytest.mark.parametrize(
    "same",
    [
        "def f(x):\n    return x + 1\n",
        '"""About it."""\ndef f(x):\n    """Adds."""\n    return x + 1\n',
        "# why\n\n\ndef f(\n    x,\n):\n    # so\n    return (x\n            + 1)\n",
    ],
)
def test_comments_docstrings_and_layout_are_no_code(same) -> None:
    assert parse(same).digest == parse("def f(x): return x + 1").digest
    assert parse(same.replace("1", "2")).digest != parse(same).digest


def test_what_only_a_type_checker_imports_is_not_run() -> None:
    module = parse("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import a\nelse:\n    import b\nimport c.d")
    assert module.modules == {"b", "c.d"}


def test_imports_inside_of_functions_count() -> None:
    assert parse("def f():\n    import a\n    from b import c").names == {("b", "c")}


def test_a_name_that_a_package_passes_on_leads_to_the_module_that_has_it() -> None:
    assert imported("accord.evaluation.retrieval") & {"accord.functional", "accord.methods"} == set()
    found = closure(["accord.methods.image_text.clip"])
    assert "accord.functional.contrast.losses" in found or any("functional.contrast" in name for name in found)
    assert not any(name.startswith("accord.functional.dense") for name in found)


def test_a_package_that_is_named_as_a_whole_counts_with_all_that_it_has() -> None:
    assert {"accord.functional.engine", "accord.functional.dense.geometry"} <= closure(["accord.functional"]).keys()


def test_what_can_change_no_number_is_behind_no_training() -> None:
    found = closure(["accord.claims.measuring", "accord.pipeline.build", "accord.methods.image_text.clip"])
    for part in ("cli", "report", "papers", "searching", "explaining", "claims.table", "claims.figure", "claims.judge"):
        assert not [name for name in found if name.startswith(f"accord.{part}")], part
    methods = {name for name in found if name.startswith("accord.methods.") and name.count(".") > 2}
    assert methods == {"accord.methods.image_text.clip"}
    assert "accord.methods.registry" not in found
    assert {"torch", "lightning", "numpy"} <= packages(found)


def test_a_module_that_has_moved_is_found_under_its_former_name() -> None:
    assert "accord.data.augmenting.views" in closure(["accord.data.views"])


def test_a_module_that_is_gone_has_no_digest(monkeypatch) -> None:
    assert digest_of("accord.no_such_module") is None
    assert digest_of("accord.errors") == imports.read("accord.errors").digest
