"""Streams that read each other: the layer as the paper writes it, and what of it is shared."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from accord.encoders.heads.instances import InstanceStreams
from accord.functional import topk_mil_pool


def network(**options: object) -> InstanceStreams:
    torch.manual_seed(0)
    made = InstanceStreams({"audio": 3, "video": 5}, 8, 2, **options).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        [parameter.add_(0.1 * torch.randn_like(parameter)) for parameter in made.parameters()]
    return made


def streams(rows: int = 2, steps: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "audio": torch.randn(rows, steps, 3, generator=generator),
        "video": torch.randn(rows, steps, 5, generator=generator),
    }


def test_the_layer_is_that_of_the_paper_and_serves_both_directions() -> None:
    made, given = network(), streams()
    found = made(given, torch.ones(2, 6, dtype=torch.bool))
    entered = {name: made.entries[name](value) for name, value in given.items()}
    layer = made.layer
    for name, other in (("audio", "video"), ("video", "audio")):
        own, memory = entered[name], entered[other]
        read, _ = layer.attention(F.layer_norm(own, (8,), layer.norm.weight, layer.norm.bias), memory, memory)
        h = own + read
        normed = F.layer_norm(h, (8,), layer.mlp[0].weight, layer.mlp[0].bias)
        out = h + layer.mlp[3](F.relu(layer.mlp[1](normed)))
        torch.testing.assert_close(found.reps[name], out)
        torch.testing.assert_close(found.streams[name], made.head(out)[..., 0])
    assert layer.mlp[1].weight.shape == (8, 8)
    torch.testing.assert_close(found.steps, found.streams["audio"] + found.streams["video"])
    torch.testing.assert_close(found.bag, topk_mil_pool(found.steps, torch.tensor([6, 6])))


def test_one_stream_reads_itself_under_the_same_names() -> None:
    alone = InstanceStreams({"video": 5}, 8, 2)
    names = {name for name, _ in network().named_parameters()}
    assert {name for name, _ in alone.named_parameters()} < names
    assert alone({"video": streams()["video"]}, torch.ones(2, 6, dtype=torch.bool)).steps.shape == (2, 6)


def test_padding_is_read_by_nobody() -> None:
    made, given = network(), streams()
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    other = {name: value.clone() for name, value in given.items()}
    for value in other.values():
        value[1, 4:] = 9.0
    torch.testing.assert_close(made(other, mask).bag, made(given, mask).bag)
    assert made(given, torch.zeros_like(mask)).bag.isfinite().all()


def test_dropout_is_for_training() -> None:
    made, given, mask = network(dropout=0.5), streams(), torch.ones(2, 6, dtype=torch.bool)
    assert torch.equal(made(given, mask).bag, made(given, mask).bag)
    made.train()
    assert not torch.equal(made(given, mask).bag, made(given, mask).bag)


@pytest.mark.parametrize("dtype", [torch.bfloat16])
def test_logits_are_added_up_in_single_precision(dtype: torch.dtype) -> None:
    with torch.autocast("cpu", dtype):
        found = network()(streams(), torch.ones(2, 6, dtype=torch.bool))
    assert found.steps.dtype == found.bag.dtype == torch.float32
