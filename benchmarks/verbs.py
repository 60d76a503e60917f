"""What a verb costs when it is called again: processor time of its whole process, beside that of ``import torch``.

The run is a small CLIP of emoji, so that next to nothing of the time is the model's. MiniLM reads its texts, whose
library takes as long to import as PyTorch; those of the model that ships are read by a small encoder of Accord's. Each
verb has been called once before, so that indexes are built and facts of the data are remembered. Given are medians.

    python benchmarks/verbs.py [repeats]
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from record import write

REPEATS = 3
TRAINED = "train pack:emoji --method clip --epochs 1 --set training.epoch_rows=64 --out run"
VERBS = (
    "--help",
    "papers list",
    "data list",
    "search run cat",
    "search house red cat",
    "zero-shot run red/red.png --class cat --class dog",
    "embed run red --out embedded.parquet",
    "evaluate run",
    "probe run",
)


def main(repeats: int = REPEATS) -> None:
    """Measure, print and write ``results/verbs.json``."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "red").mkdir()
        Image.new("RGB", (64, 64), "red").save(folder / "red" / "red.png")
        run(folder, ["-m", "accord", *TRAINED.split()])
        torch = seconds(folder, ["-c", "import torch"], repeats)
        rows = []
        for verb in VERBS:
            spent = seconds(folder, ["-m", "accord", *verb.split()], repeats)
            rows.append({"verb": f"accord {verb}", "cpu s": round(spent, 2), "/ import torch": round(spent / torch, 2)})
            print(rows[-1], flush=True)
    rows.append({"verb": "python -c 'import torch'", "cpu s": round(torch, 2), "/ import torch": 1.0})
    print("written:", write("verbs", rows, ("accord", "torch", "timm", "lancedb")))


def seconds(folder: Path, arguments: list[str], repeats: int) -> float:
    """Median processor time of ``python ARGUMENTS`` after a first call that does not count."""
    run(folder, arguments)
    return statistics.median(run(folder, arguments) for _ in range(repeats))


def run(folder: Path, arguments: list[str]) -> float:
    """Processor time of a process that has to work, and of those that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
