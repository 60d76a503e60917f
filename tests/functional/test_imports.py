"""The mathematics stands alone."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_functions_pulls_in_torch_only() -> None:
    code = """
import sys, torch
before = set(sys.modules)
import accord.functional
print(sorted({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "['accord']"
