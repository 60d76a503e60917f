"""Large arrays: what the system is asked for after training, a loaded model, and settings of the user's own."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="speaks of glibc")

MANY = 100  # requests for five uses of 64 MiB: 81,920 pages, or 160 of the huge ones that some systems give
PAGES = """
import resource
import torch
from pathlib import Path
from accord.training.allocator import keep_freed_memory, return_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

def asked():
    torch.ones(1 << 24)  # 64 MiB: the first use may need new pages
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(1 << 24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""
TOY = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from toy_method import toy, toy_corpus
"""


def measured(code: str, **environment: str) -> list[float]:
    """What ``code`` prints, in a process of its own."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    made = subprocess.run(
        [sys.executable, "-c", PAGES + code], env={**plain, **environment}, capture_output=True, text=True, check=True
    )
    return [float(number) for number in made.stdout.split()]


def test_training_keeps_pages_for_the_next_step_and_returns_them_at_its_end(tmp_path: Path) -> None:
    code = f"""{TOY}
from accord.training.config import TrainingConfig
from accord.training.fit import fit
print(asked())
config = TrainingConfig(epochs=1, batch_size=8)
fit(toy(), toy_corpus(), config, Path({str(tmp_path)!r}), progress=False)
print(asked())
high = resident()
return_freed_memory()
print(high - resident())
fit(toy(), toy_corpus(), config, Path({str(tmp_path)!r}), progress=False)
torch.ones(1 << 24)
high = resident()
fit(toy(), toy_corpus(), config, Path({str(tmp_path)!r}), progress=False)
print(high - resident())
"""
    before, after, returned, returned_by_training = measured(code)
    assert before > MANY
    assert after < before / 10
    assert returned > 60
    assert returned_by_training > 60


def test_a_model_that_is_used_keeps_pages_too() -> None:
    code = f"""{TOY}
from accord.training.model import Model
print(asked())
model = Model(toy())
print(asked())
"""
    before, after = measured(code)
    assert after < before / 10


@pytest.mark.parametrize(
    "own", [{"MALLOC_MMAP_THRESHOLD_": "33554432"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=33554432"}]
)
def test_settings_in_the_environment_stay(own: dict[str, str]) -> None:
    kept, requests = measured("print(int(keep_freed_memory()), asked())", **own)
    assert not kept
    assert requests > MANY
