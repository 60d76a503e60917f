"""Encoders are tested without the hub: neither the network nor what this machine has cached may matter."""

import pytest
from huggingface_hub import constants

from accord.encoders import weights


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty-cache"))
    monkeypatch.setattr(weights, "hub_reachable", lambda: False)
