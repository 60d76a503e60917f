"""Run every command of the tutorial and the README as it is printed, after `make demo`; stops at the first that fails.

`make printed` runs it, and leaves what a reader's commands leave. `path/to/pictures`, for readers to fill in, is the
folder that the tutorial makes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = ("docs/tutorial.md", "README.md")
SET_UP = ("make ", "pip install")  # what brings a reader to this point


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of the page's blocks that are to be run."""
    found = re.findall(r"```(bash|python)\n(.*?)```", page, re.DOTALL)
    return [(kind, text) for kind, text in found if not text.startswith(SET_UP)]


def main() -> None:
    """Run them all."""
    tools = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    for page in PAGES:
        for kind, text in blocks((ROOT / page).read_text(encoding="utf-8")):
            code = text.replace("path/to/pictures", "pictures")
            print(f"\n--- {page}\n{code}", flush=True)
            command = ["bash", "-euo", "pipefail", "-c", code] if kind == "bash" else [sys.executable, "-c", code]
            started = time.perf_counter()
            if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
                sys.exit(f"{page}: this block failed")
            print(f"({time.perf_counter() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
