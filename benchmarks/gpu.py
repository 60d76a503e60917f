"""The first hour on a GPU: what losses take, how long steps last, whether the loader keeps up, what bf16 costs.

Each part prints its rows as it goes; ``results/gpu.json`` holds them when all are done. Memory is the peak that PyTorch
allocated above what was there; times wait for the device. With ``--quick`` everything is small enough for a processor,
to see that it runs; nothing is written then.

    python benchmarks/gpu.py [--device cuda] [--quick] [losses steps loader precision]
"""

from __future__ import annotations

import argparse
import io
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from peers import Call, chunked_clip_loss, clip_loss, siglip_loss
from PIL import Image
from record import write
from torch import Tensor

from accord import functional as AF
from accord.data.corpus import Corpus, corpus_from_items
from accord.data.loading.batches import to_device
from accord.data.recipe import Prepared, prepare
from accord.methods import Paired, get_methods
from accord.pipeline.build import build_method
from accord.pipeline.config import RunConfig
from accord.pipeline.run import fit_model
from accord.pipeline.score import score
from accord.training.fit import fit
from accord.training.journal import Journal
from accord.training.module import Run, training_loader

Row = dict[str, Any]
WORDS = "red green blue small large old new cat dog bird house tree river stone cloud star".split()  # noqa: SIM905
SEEDS = 3


class Device:
    """Time and memory of a device."""

    def __init__(self, name: str) -> None:
        self.at = torch.device(name)

    def wait(self) -> None:
        """Until all that was asked of it is done."""
        if self.at.type == "cuda":
            torch.cuda.synchronize(self.at)

    def used(self, work: Callable[[], Any], repeats: int) -> Row:
        """Median milliseconds of the work, and the megabytes of its peak."""
        work()
        if self.at.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.at)
        before, spent = self._memory(), []
        for _ in range(repeats):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            spent.append(time.perf_counter() - started)
        return {"ms": round(1000 * statistics.median(spent), 2), "MB": round((self._peak() - before) / 2**20, 1)}

    def _memory(self) -> float:
        return torch.cuda.memory_allocated(self.at) if self.at.type == "cuda" else self._peak()

    def _peak(self) -> float:
        if self.at.type == "cuda":
            return torch.cuda.max_memory_allocated(self.at)
        return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# --- losses ---


def losses(device: Device, quick: bool) -> Iterator[Row]:
    """Contrastive losses by batch size, forward and backward, in float32 and under bf16."""
    sides: dict[str, Callable[[], Call]] = {
        "Accord info_nce": lambda: AF.info_nce,
        "open_clip ClipLoss": clip_loss,
        "softmax in chunks, recomputed": lambda: chunked_clip_loss,
        "Accord sigmoid_contrast": lambda: partial(AF.sigmoid_contrast, logit_bias=torch.tensor(-10.0).to(device.at)),
        "open_clip SigLipLoss": lambda: partial(siglip_loss(), logit_bias=torch.tensor(-10.0).to(device.at)),
    }
    for rows in (256, 512) if quick else (4096, 16384, 65536):
        inputs = [F.normalize(torch.randn(rows, 512, device=device.at), dim=1).requires_grad_() for _ in range(2)]
        scale = torch.tensor(14.3, device=device.at, requires_grad=True)
        for name, side in sides.items():
            for half in (False, True):
                try:
                    found = device.used(partial(_both_ways, side(), inputs, scale, half), repeats=3 if quick else 10)
                except (torch.OutOfMemoryError, ImportError) as error:
                    found = {"ms": None, "MB": type(error).__name__}
                yield {"loss": name, "rows": rows, "arithmetic": "bf16" if half else "fp32", **found}


def _both_ways(call: Call, inputs: list[Tensor], scale: Tensor, half: bool) -> None:
    with torch.autocast(scale.device.type, torch.bfloat16, enabled=half):
        value = call(*inputs, scale)
    torch.autograd.grad(value, [*inputs, scale])


# --- steps ---


def steps(device: Device, quick: bool) -> Iterator[Row]:
    """A step of every image-text method that learns from pairs alone, with the same towers."""
    corpus = pictures(128 if quick else 2048, 64 if quick else 224)
    for kind in get_methods():
        needs = set(kind.reads(kind.Config.parse({})))
        if not issubclass(kind, Paired) or kind.learns_labels or needs != {"image", "text"}:
            continue
        for precision in ("fp32", "bf16"):
            run = towers(kind.name, device, quick, precision=precision)
            method = build_method(run, corpus)
            if device.at.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device.at)
            before = device._memory()
            with TemporaryDirectory() as folder:
                fitted = fit(method, corpus, run.training, Path(folder), progress=False)
            yield {
                "method": kind.name,
                "arithmetic": precision,
                "ms": round(1000 * fitted.seconds / fitted.steps, 1),
                "MB": round((device._peak() - before) / 2**20),
            }


def towers(method: str, device: Device, quick: bool, **training: Any) -> RunConfig:
    """A run with a ViT and a small text transformer, trained from scratch."""
    size, name = (64, "tiny_vit") if quick else (224, "vit_small_patch16_224")
    return RunConfig.parse(
        {
            "data": {"source": "pack:emoji"},
            "method": {"name": method},
            "encoders": {
                "image": {"name": name, "weights": "random", "options": {"size": size}},
                "text": {"name": "tiny_text", "options": {"pool": "end"}},
            },
            "training": {
                "epochs": 1,
                "batch_size": 32 if quick else 256,
                "accelerator": device.at.type,
                "cache_features": False,
                **training,
            },
        }
    )


def pictures(rows: int, side: int) -> Corpus:
    """Photograph-like JPEGs in memory with captions of a few words."""
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 255, (64, 16, 16, 3), dtype=np.uint8)
    encoded = []
    for values in coarse:
        stream = io.BytesIO()
        Image.fromarray(values).resize((2 * side, 2 * side), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        encoded.append(stream.getvalue())
    captions = [[" ".join(words)] for words in draw.choice(WORDS, (rows, 6))]
    return corpus_from_items("image", [encoded[row % 64] for row in range(rows)]).with_texts(captions)


# --- loader ---


def loader(device: Device, quick: bool) -> Iterator[Row]:
    """Pictures a second that the loader brings to the device, by workers, and those that CLIP trains on."""
    corpus = pictures(256 if quick else 8192, 64 if quick else 224)
    for workers in (0, 2) if quick else (0, 2, 4, 8, 16):
        run = towers("clip", device, quick, workers=workers)
        method = build_method(run, corpus).to(device.at)
        place = Run(corpus, run.training, Path(), Journal(Path("none"), writes=False), {}, None, {}, frozenset())
        batches, seen = training_loader(method, place), 0
        for batch in batches:  # an epoch that does not count: processes start in it
            to_device(batch, device.at)
        started = time.perf_counter()
        for batch in batches:
            seen += len(to_device(batch, device.at)["image"])
            device.wait()
        alone = seen / (time.perf_counter() - started)
        batches.close()
        with TemporaryDirectory() as folder:
            fitted = fit(method, corpus, run.training, Path(folder), progress=False)
        trained = run.training.batch_size * fitted.steps / fitted.seconds
        yield {"workers": workers, "loader pictures/s": round(alone), "training pictures/s": round(trained)}


# --- precision ---


def precision(device: Device, quick: bool) -> Iterator[Row]:
    """Recall of CLIP on emoji after the same steps in float32, bf16 and fp16."""
    for arithmetic in ("fp32", "bf16", "fp16"):
        found = []
        for seed in range(1 if quick else SEEDS):
            run = towers("clip", device, True, precision=arithmetic, seed=seed, epochs=1 if quick else 12)
            prepared: Prepared = prepare(run.data, quiet=True)
            with TemporaryDirectory() as folder:
                model, _ = fit_model(run, prepared, Path(folder), progress=False)
            metrics = {metric.name: metric.value for metric in score(model, prepared, ["retrieval"])}
            found.append(metrics["retrieval: mean recall"])
        yield {"arithmetic": arithmetic, "mean recall": round(statistics.mean(found), 2), "seeds": len(found)}


PARTS: dict[str, Callable[[Device, bool], Iterator[Row]]] = {
    "losses": losses,
    "steps": steps,
    "loader": loader,
    "precision": precision,
}


def main() -> None:
    """Measure the parts, print them, and write ``results/gpu.json``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    device, rows = Device(options.device), []
    for name in options.parts or PARTS:
        for row in PARTS[name](device, options.quick):
            rows.append({"part": name, **row})
            print(rows[-1], flush=True)
    if not options.quick:
        print("written:", write("gpu", rows, ("accord", "torch", "timm")))


if __name__ == "__main__":
    main()
