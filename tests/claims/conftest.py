"""Claim files of toy size in a folder of their own, and a cache of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from accord.claims import imports

PAIRS = """
import numpy as np
from dataclasses import replace
from PIL import Image
from accord.data.columns import Columns
from accord.data.corpus import corpus_from_items

def pairs(seed):
    random = np.random.default_rng(seed)
    return corpus(random, 48), corpus(random, 16)

def corpus(random, size):
    pictures = random.integers(0, 255, (size, 16, 16, 3), dtype=np.uint8)
    found = corpus_from_items("image", [Image.fromarray(picture) for picture in pictures])
    rows = found.rows.add_column("text", [f"picture {number} is {'dark' if number % 2 else 'bright'}"
                                          for number in range(size)])
    return replace(found, rows=rows, columns=Columns(image="image", text=("text",)))
"""
TOY = '''
"""A toy claim: it trains in no time. The rest is not shown."""

from shared.toy import pairs

from accord.claims import Arm, Claim, Combined, Question

FACTOR = 100
ANY = {"smallest": 1e-6, "because": "toys are light", "scale": "toys have no floor"}

def measure(model, train, test):
    return {"spread": helper(model.embed_corpus(test, "text").std())}

def helper(value):
    return FACTOR * float(value)

CLAIM = Claim(
    slug="toy",
    kind_of_data="synthetic",
    paper="Toys differ.",
    data=pairs,
    run={
        "method": {"name": "clip", "dim": 8},
        "encoders": {
            "image": {"name": "tiny_vit", "options": {"size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}},
            "text": {"name": "tiny_text", "options": {"width": 16, "depth": 1, "heads": 2, "length": 8}},
        },
        "training": {"epochs": 2, "batch_size": 16, "lr": 1e-2, "accelerator": "cpu"},
    },
    arms={
        "learnt": Arm(),
        "fixed": Arm({"method.temperature": 1.0, "method.learn_temperature": False}),
        "deep": Arm({"encoders.text.options": {"width": 16, "depth": 2, "heads": 2, "length": 8}}),
        "middle": Combined(("learnt", "fixed"), lambda a, b: {"spread": (a["spread"] + b["spread"]) / 2}),
    },
    measure=measure,
    questions=[
        Question("fixed", "Learnt spreads more than fixed.", "learnt", "fixed", "spread", **ANY),
        Question("level", "Deep spreads less than 1000.", "deep", 1000.0, "spread", higher=False, every=True),
        Question("middle", "Learnt spreads more than the middle.", "learnt", "middle", "spread", **ANY),
    ],
    seeds=(3, 4),
    tuning="Not at all.",
)
'''


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or leaves results in the user's cache."""
    folder = tmp_path / "cache"
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: folder)
    return folder


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure, which takes longer than all else; it is looked at in ``test_table.py``."""
    monkeypatch.setattr("accord.claims.run.draw", lambda record, path: path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of claims with the toy in it."""
    claims = tmp_path / "claims"
    (claims / "shared").mkdir(parents=True)
    (claims / "shared" / "__init__.py").write_text("")
    (claims / "shared" / "toy.py").write_text(PAIRS)
    (claims / "toy.py").write_text(TOY)
    return claims


@pytest.fixture
def toy(folder: Path) -> Callable[..., Path]:
    """Writes the toy's file again with parts of it replaced; returns the folder."""

    def write(*changes: tuple[str, str]) -> Path:
        text = TOY
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (folder / "toy.py").write_text(text)
        return folder

    return write


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets a module of Accord look as if its code were another."""

    def edit(module: str) -> None:
        read = imports.read

        def changed(name: str) -> imports.Module:
            return replace(read(name), digest="edited") if name == module else read(name)

        monkeypatch.setattr(imports, "read", changed)

    return edit
