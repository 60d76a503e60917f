"""Tiny towers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from accord.encoders import build_encoder
from accord.encoders.base import Encoder

sys.path.insert(0, str(Path(__file__).parent))

WORDS = ["a red ball", "a blue cup", "the green tree", "one yellow star"]


@pytest.fixture
def towers() -> dict[str, Encoder]:
    torch.manual_seed(0)
    image = build_encoder("image", {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2})
    text = build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=WORDS)
    return {"image": image, "text": text}
