from __future__ import annotations

import pytest
import torch

from accord.data.loading.batches import to_device
from accord.data.loading.streams import Features, Stream
from accord.errors import ConfigError
from accord.training.device import resolve_device


def test_auto_is_the_best_there_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", "--device cuda: PyTorch finds no cuda device on this machine; leave it out, or take cpu"),
        ("mps", "--device mps: PyTorch finds no mps device"),
        ("tpu", "--device tpu: expected one of auto, cpu, cuda, mps"),
        ("cuda:x", "--device cuda:x: expected one of"),
    ],
)
def test_a_device_that_is_not_there_is_told(monkeypatch, name, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=message):
        resolve_device(name)


def test_a_number_beyond_the_devices_there_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="this machine has 2 cuda devices, from cuda:0 on"):
        resolve_device("cuda:2")


def test_a_message_names_the_option_that_was_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"training\.accelerator cuda: PyTorch finds no cuda"):
        resolve_device("cuda", option="training.accelerator")


def test_all_of_a_batch_goes_to_the_device():
    """Shown with the device that holds no numbers, which is on every machine."""
    data = pytest.importorskip("torch_geometric.data")
    graph = data.HeteroData()
    graph["paper"].x = torch.zeros(3, 2)
    graph["paper", "cites", "paper"].edge_index = torch.zeros(2, 4, dtype=torch.int64)
    words = Stream(torch.zeros(2, 5, 3), torch.ones(2, 5, dtype=torch.bool), times=torch.zeros(2, 5))
    batch = {
        "image": torch.zeros(2, 3),
        "image_views": [torch.zeros(2, 3), Features(torch.zeros(2, 3), streams={"words": words}, main="words")],
        "text_views": [(torch.zeros(2, 5), torch.ones(2, 5, dtype=torch.bool))],
        "others": {"video": {"frames": torch.zeros(2, 4)}},
        "instance_text": [["a cat"], []],
        "graph": graph,
    }
    moved = to_device(batch, torch.device("meta"))
    stream = moved["image_views"][1].stream("words")
    parts = [moved["image"], *moved["text_views"][0], moved["others"]["video"]["frames"], moved["image_views"][0]]
    parts += [moved["image_views"][1].pooled, stream.values, stream.mask, stream.times, moved["graph"]["paper"].x]
    parts += [moved["graph"]["paper", "cites", "paper"].edge_index]
    assert {part.device.type for part in parts} == {"meta"}
    assert moved["instance_text"] == [["a cat"], []]
