from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from accord.data.loading.features import Features, Stream
from accord.methods.abilities import Embeds
from accord.training.model import Model


class Elsewhere(nn.Module, Embeds):
    """A method on the meta device that notes where what it is fed lies."""

    device = torch.device("meta")

    def embed(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        self.seen = batch
        return {"image": torch.zeros(2, 3)}


def test_all_of_a_batch_comes_to_the_models_device():
    method = Elsewhere()
    rows = torch.zeros(2, 3)
    batch = {
        "image": Features(rows, tokens=torch.zeros(2, 4, 3), streams={"map8": Stream(torch.zeros(2, 1, 3))}),
        "image_views": [rows, Features(rows)],
        "text_views": [(rows, rows > 0)],
        "nested": {"deep": {"deeper": rows}},
        "label": rows,
    }
    Model(method).embed_batch(batch, "image")
    seen = method.seen
    found = [
        seen["image"].pooled,
        seen["image"].tokens,
        seen["image"].stream("map8").values,
        seen["image_views"][0],
        seen["image_views"][1].pooled,
        *seen["text_views"][0],
        seen["nested"]["deep"]["deeper"],
        seen["label"],
    ]
    assert {tensor.device.type for tensor in found} == {"meta"}
    assert batch["image"].pooled.device.type == "cpu"
