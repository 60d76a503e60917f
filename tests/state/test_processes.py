"""Two gloo processes hold the state that one process with all rows would hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accord.state import Center, FeatureBank, FeatureQueue, MomentumEncoder
from two_processes import run_two_processes

INDEX = torch.tensor([0, 3, 3, -1, 3, 1])  # rank 1 overwrites row 3


def rows(seed: int) -> Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)).double()


def state() -> nn.ModuleDict:
    torch.manual_seed(0)
    queues = nn.ModuleList(FeatureQueue(8, 4, start="zeros") for _ in range(2))
    parts = {
        "queues": queues,
        "bank": FeatureBank(5, 4),
        "center": Center(4),
        "slow": MomentumEncoder(nn.Linear(4, 4), 0.5, total_steps=3),
    }
    return nn.ModuleDict(parts).double()


def advance(parts: nn.ModuleDict, seed: int, share: slice, uneven: slice) -> None:
    for view, queue in enumerate(parts["queues"]):
        queue.enqueue(rows(seed + view)[share])
    parts["bank"].update(INDEX[share], rows(seed)[share])
    parts["center"].update(rows(seed)[uneven])
    online = nn.Linear(4, 4).double()
    nn.init.constant_(online.weight, seed)
    nn.init.zeros_(online.bias)
    parts["slow"].update(online)


def everything(process: int) -> dict[str, Any]:
    parts = state()
    for seed in (1, 2):
        share = slice(0, 3) if process == 0 else slice(3, 6)
        uneven = slice(0, 2) if process == 0 else slice(2, 6)
        advance(parts, seed, share, uneven)
    return {"state": dict(parts.state_dict()), "full": [queue.is_full for queue in parts["queues"]]}


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    return run_two_processes(everything)


def test_both_processes_hold_the_queues_bank_and_centre_of_one_process(ranks) -> None:
    alone = state()
    for seed in (1, 2):
        advance(alone, seed, slice(None), slice(None))
    for result in ranks:
        assert result["full"] == [True, True]
        for name, want in alone.state_dict().items():
            torch.testing.assert_close(result["state"][name], want, msg=lambda m, n=name: f"{n}: {m}")


def test_of_a_row_in_both_processes_the_last_rank_counts(ranks) -> None:
    for result in ranks:
        torch.testing.assert_close(result["state"]["bank.features"][3], rows(2)[4])
