"""Nothing lies about: what is public serves a method, or a page says what it is for."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from accord import functional as AF

ROOT = Path(__file__).parents[2]
CODE = {
    path.resolve(): path.read_text(encoding="utf-8")
    for path in (ROOT / "src").rglob("*.py")
    if path.name not in ("__init__.py", "moved.py")
}
PAGES = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("losses.md", "use-the-losses.md"))


@pytest.mark.parametrize("name", AF.__all__)
def test_a_function_serves_a_method_or_a_page_says_what_it_is_for(name: str) -> None:
    home = Path(inspect.getsourcefile(getattr(AF, name)) or "").resolve()
    used = any(re.search(rf"\b{name}\b", text) for path, text in CODE.items() if path != home)
    assert used or f"`{name}`" in PAGES, (
        f"no file of src/ but {home.name} uses {name}: let a method use it, or say what it is for in docs/losses.md"
    )
