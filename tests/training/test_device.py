from __future__ import annotations

import pytest
import torch

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
