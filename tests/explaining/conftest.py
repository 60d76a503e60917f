"""Coloured squares, and a model that has learnt the names of their colours in a few seconds."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from accord.data.columns import Columns
from accord.data.corpus import Corpus, corpus_from_items
from accord.data.loading.loader import eval_loader
from accord.encoders import build_encoder
from accord.methods import DataInfo, Stage, Step, get_method
from accord.training.artifact import Model

sys.path.insert(0, str(Path(__file__).parent))

from squares import KINDS, PATCH, SIDE, square


@pytest.fixture(scope="session")
def squares() -> Corpus:
    found = corpus_from_items("image", [square(*kind) for kind in KINDS])
    rows = found.rows.add_column("text", [f"a {colour} square" for colour, _ in KINDS])
    rows = rows.add_column("kind", [colour for colour, _ in KINDS])
    return replace(found, name="squares", rows=rows, columns=Columns(image="image", text=("text",), group="kind"))


@pytest.fixture(scope="session")
def model(squares: Corpus) -> Model:
    """Trained on batches of all colours, each with any square of its colour as the right one."""
    torch.manual_seed(0)
    image = {"name": "tiny_vit", "size": SIDE, "patch": PATCH, "width": 16, "depth": 1, "heads": 2}
    texts = [caption for row in squares.texts() for caption in row]
    towers = {
        "image": build_encoder("image", image),
        "text": build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=texts),
    }
    method = get_method("fdt")({"num_tokens": 64, "dim": 16}, towers, DataInfo(rows=len(squares)))
    loader = eval_loader(squares, {name: tower.input for name, tower in towers.items()}, batch_size=16)
    (batch,) = loader
    method.before_stage(Stage(), loader)
    kind = torch.arange(16) // 4
    right = (kind[:, None] == kind).float() / 4
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-2)
    for index in range(80):
        optimiser.zero_grad()
        vectors = method.embed(batch)
        F.cross_entropy(method.logit_scale() * vectors["image"] @ vectors["text"].T, right).backward()
        optimiser.step()
        method.after_step(Step(index=index))
    return Model(method)
