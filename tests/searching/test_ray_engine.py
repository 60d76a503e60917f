"""Embedding on Ray. One Ray of two cores serves all tests; it is started and stopped as for a user who has none."""

from __future__ import annotations

import csv
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from accord import pipeline
from accord.cli import app
from accord.data.corpus import open_corpus
from accord.data.handover import hand_over
from accord.data.quarantine import RowError
from accord.errors import ConfigError, DataError, MissingExtraError
from accord.searching.ray_engine import Worker, embed_on_ray, ray_cluster
from accord.training.artifact import load_model
from accord.training.onnx import OnnxModel

ROWS = 150  # three ranges, the last of which is short
RUN = {
    "data": {"split": {"test": 0.25}},
    "method": {"name": "clip", "dim": 16},
    "encoders": {
        "image": {"name": "tiny_convnet", "options": {"size": 32}},
        "text": {"name": "tiny_text", "options": {"width": 32, "depth": 1, "heads": 2}},
    },
    "training": {"epochs": 1, "batch_size": 16, "accelerator": "cpu"},
}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """A cache folder that the workers inherit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As in a worker: sums over more threads may round in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cluster(own_cache):
    pytest.importorskip("ray")
    with ray_cluster(2) as ray:
        yield ray
    assert not ray.is_initialized()


@pytest.fixture
def pictures(tmp_path):
    return draw(tmp_path / "pictures")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = draw(tmp_path_factory.mktemp("training") / "pictures")
    config = {**RUN, "data": {"source": str(folder), **RUN["data"]}}
    return pipeline.train(config=config, out=folder.parent / "run", progress=False).path


def draw(folder: Path) -> Path:
    """Noise with captions, listed in a table."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(ROWS):
        picture = random.integers(0, 256, (36, 36, 3)).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number:03}.png")
    with (folder / "metadata.csv").open("w", newline="") as file:
        rows = [[f"{number:03}.png", f"noise number {number}"] for number in range(ROWS)]
        csv.writer(file).writerows([["file_name", "caption"], *rows])
    return folder


def readers(path: Path) -> set[int]:
    """Processes that have a file open."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) == str(path):
                found.add(int(link.parts[2]))
        except OSError:  # gone, or not ours
            continue
    return found - {os.getpid()}


def test_two_workers_write_the_same_file(cluster, run, pictures, tmp_path, capfd):
    """To the last bit: the ranges are the batches of the plain engine."""
    (pictures / "002.png").write_bytes(b"damaged")
    plain = pipeline.embed(run, pictures, tmp_path / "plain.parquet")
    out = tmp_path / "ray.parquet"
    words = ["embed", str(run), str(pictures), "--engine", "ray", "--workers", "2", "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, result.output) == (0, f"wrote {out}\n")
    said = f"pictures: 1 of {ROWS} rows left out, most often: not a picture; listed in "
    captured = capfd.readouterr()
    assert captured.out == ""
    assert [line[: len(said)] for line in captured.err.splitlines()] == [said]  # the other one has the runner
    assert pq.read_table(out).num_rows == ROWS - 1
    assert pq.read_table(out).equals(pq.read_table(plain), check_metadata=True)
    assert cluster.is_initialized()


@pytest.mark.skipif(sys.platform != "linux", reason="looks up in /proc which worker reads what")
def test_a_worker_killed_amid_embedding_costs_no_row(cluster, run, pictures):
    corpus, model = open_corpus(pictures, quiet=True), load_model(run)
    plain = model.embed_corpus(corpus, "image")
    trap, kept = pictures / "100.png", pictures / "kept"
    trap.rename(kept)
    os.mkfifo(trap)  # whoever reads it waits for us
    killed = []

    def kill():
        until = time.monotonic() + 300
        while not killed and time.monotonic() < until:
            try:
                end = os.open(trap, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads it yet
                time.sleep(0.05)
                continue
            while not killed:  # it is about to hold the file
                killed.extend(readers(trap))
            for process in killed:
                os.kill(process, signal.SIGKILL)
            os.close(end)
        kept.replace(trap)

    killer = threading.Thread(target=kill)
    killer.start()
    found = embed_on_ray(run, corpus, pictures, ["image"], workers=2)
    killer.join()
    assert len(killed) == 1
    assert torch.equal(found["image"], plain)


def test_an_error_of_a_worker_is_raised_as_it_was(cluster, run, pictures):
    corpus = open_corpus(pictures, quiet=True)
    for file in pictures.glob("*.png"):
        file.unlink()
    with pytest.raises(RowError, match=r"row \d+ \(\d+\.png\): missing file"):
        embed_on_ray(run, corpus, pictures, ["image"], workers=1)


def test_without_a_gpu_none_can_be_asked_for(cluster, run, pictures):
    if cluster.cluster_resources().get("GPU"):
        pytest.skip("there is one")
    corpus = open_corpus(pictures, quiet=True)
    with pytest.raises(ConfigError, match="--device cuda: the Ray cluster has no GPU; leave it out, or take cpu"):
        embed_on_ray(run, corpus, pictures, ["image"], workers=1, device="cuda")


def test_a_worker_runs_an_export(cluster, run, pictures, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    corpus = open_corpus(pictures, quiet=True)
    network = pipeline.export(run, tmp_path / "network", "onnx")
    worker = Worker(str(network), [cluster.put(hand_over(corpus, pictures))], "cpu")
    found = worker(pa.table({"modality": ["image"], "start": [64], "stop": [128]}))
    plain = OnnxModel(network, threads=1).embed_corpus(corpus)[64:128]
    assert found["vectors"][0].as_py() == plain.numpy().tobytes()
    (tmp_path / "texts.csv").write_text("caption\na cat\n")
    with pytest.raises(DataError, match="has text, and the model embeds image: there is nothing to embed"):
        pipeline.embed(network, tmp_path / "texts.csv", tmp_path / "v.parquet", engine="ray")


def test_without_ray_the_extra_is_named(run, pictures, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'ray is not installed: pip install "accord\[ray\]"'):
        pipeline.embed(run, "no such data", tmp_path / "v.parquet", engine="ray")
    result = CliRunner().invoke(app, ["embed", str(run), str(pictures), "--engine", "ray"])
    assert result.exit_code == 1


@pytest.mark.parametrize(("option", "value"), [("engine", "dask"), ("workers", 0)])
def test_wrong_settings_are_named(run, pictures, tmp_path, option, value):
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match=f"{option} = {value!r}: expected"):
        pipeline.embed(run, pictures, tmp_path / "v.parquet", **{"engine": "ray", option: value})


def test_a_cluster_that_does_not_answer_is_named(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"RAY_ADDRESS = 127\.0\.0\.1:1: .+; start that Ray cluster"), ray_cluster(2):
        pass
