"""No module of the data layer needs another that needs it."""

from __future__ import annotations

import grimp


def test_imports_inside_the_data_layer_make_no_circle() -> None:
    graph = grimp.build_graph("accord", exclude_type_checking_imports=True)
    modules = graph.find_descendants("accord.data")
    needs = {
        module: {other for other in graph.find_modules_directly_imported_by(module) if other in modules}
        for module in modules
    }
    while free := {module for module, others in needs.items() if not others & needs.keys()}:
        needs = {module: others for module, others in needs.items() if module not in free}
    assert not needs, f"these import each other: {', '.join(sorted(needs))}"
