"""A small ProtoCLIP, and an episode that its hooks may go through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from accord.encoders import build_encoder
from accord.methods import DataInfo, Stage, Step
from accord.methods.image_text.protoclip import ProtoClip

ROWS, SMALL = 24, {"dim": 12, "head_hidden": 16, "head_dim": 8, "clusters": 4}
COLOURS = {"red": (220, 30, 30), "green": (20, 160, 60), "blue": (40, 60, 220), "black": (10, 10, 10)}
THINGS = ("ball", "cup", "tree", "star")
MIDDLE = Step(epoch=1, epochs=4, total=16)


def encoders() -> dict[str, Any]:
    torch.manual_seed(0)
    words = [f"a {colour} {thing}" for colour in COLOURS for thing in THINGS]
    image = {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}
    text = {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2, "vocabulary": 300}
    return {"image": build_encoder("image", image), "text": build_encoder("text", text, texts=words)}


def built(rows: int = ROWS, **settings: Any) -> ProtoClip:
    towers = encoders()
    torch.manual_seed(1)
    return ProtoClip({**SMALL, **settings}, towers, DataInfo(rows=rows))


def captions(rows: int) -> list[str]:
    return [f"a {list(COLOURS)[row % 4]} {THINGS[row // 4 % 4]}" for row in range(rows)]


def rows_of(method: ProtoClip, places: Tensor) -> dict[str, Any]:
    """A batch of the rows at these places of an episode; place p holds row (5 p) mod N of the data."""
    index = 5 * places % ROWS
    pictures = torch.randn(ROWS, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    ids, mask = method.encoders["text"].input.tokenizer(captions(ROWS))
    batch = {"image": pictures[index], "text": ids[index], "text_mask": mask[index]}
    return {**batch, "index": index, "place": places}


class EpisodeLoader:
    """Three batches of eight places."""

    def __init__(self, method: ProtoClip) -> None:
        self.method = method

    def episode(self) -> Iterator[dict[str, Any]]:
        for start in range(0, ROWS, 8):
            yield rows_of(self.method, torch.arange(start, start + 8))

    def texts(self) -> list[list[str]]:
        return [[caption, "not this one"] for caption in captions(ROWS)]


def clustered(step: Step = MIDDLE, **settings: Any) -> ProtoClip:
    """A method in the middle of training, with the clusters of an episode."""
    method = built(**settings).eval()
    torch.manual_seed(3)
    method.before_stage(Stage(), EpisodeLoader(method))
    method.before_epoch(step, EpisodeLoader(method))
    return method.train()
