"""What it costs to start: ``import accord``, ``accord --help``, the verbs, and each core dependency on its own.

Every figure is the median of several fresh interpreters, wall time from start to exit. An import is given
without the interpreter's own start-up, which is measured too; a dependency's figure includes whatever it
imports itself (timm includes torch, for instance), because that is what its first user waits for.

    python benchmarks/import_time.py [repeats]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from record import write

REPEATS = 5
DEPENDENCIES = {  # distribution -> the module whose import does the work (some packages import lazily)
    "torch": "torch",
    "torchvision": "torchvision",
    "lightning": "lightning.pytorch",
    "lightning-utilities": "lightning_utilities.core.apply_func",
    "timm": "timm",
    "transformers": "transformers.models.auto.modeling_auto",
    "tokenizers": "tokenizers",
    "datasets": "datasets",
    "pyarrow": "pyarrow",
    "numpy": "numpy",
    "pydantic": "pydantic",
    "safetensors": "safetensors",
    "huggingface-hub": "huggingface_hub.file_download",
    "torchmetrics": "torchmetrics",
    "faiss-cpu": "faiss",
    "lancedb": "lancedb",
    "typer": "typer",
    "rich": "rich",
    "jinja2": "jinja2",
    "matplotlib": "matplotlib.pyplot",
    "pillow": "PIL.Image",
    "platformdirs": "platformdirs",
    "filelock": "filelock",
    "pyyaml": "yaml",
    "scipy": "scipy",
}


def seconds(*arguments: str, repeats: int) -> float:
    """Median wall time of ``python ARGUMENTS``; the first run, which warms the disk cache, does not count."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main(repeats: int = REPEATS) -> None:
    """Measure, print and write ``results/import_time.json``."""
    start_up = seconds("-c", "pass", repeats=repeats)
    measured = {"python -c pass": start_up}
    for what, arguments in {
        "import accord": ("-c", "import accord"),
        "accord --help": ("-m", "accord", "--help"),
        "import of accord search": ("-c", "from accord.pipeline import search"),
        "import of accord train": ("-c", "from accord.pipeline import train"),
    }.items():
        measured[what] = seconds(*arguments, repeats=repeats) - (start_up if "help" not in what else 0)
    for distribution, module in DEPENDENCIES.items():
        total = seconds("-c", f"import {module}", repeats=repeats)
        measured[f"import {module} ({distribution})"] = total - start_up
    rows = [{"what": what, "seconds": round(max(value, 0.0), 3)} for what, value in measured.items()]
    for row in rows:
        print(f"{row['seconds']:7.3f} s  {row['what']}")
    print("written:", write("import_time", rows, ("accord", *DEPENDENCIES)))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
