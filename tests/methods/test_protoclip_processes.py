"""ProtoCLIP in two processes; a file of its own, since each process imports it."""

from __future__ import annotations

import torch
from protoclip_parts import MIDDLE, clustered, rows_of
from torch import Tensor

from two_processes import run_two_processes


def share_of(rank: int) -> list[dict[str, Tensor]]:
    """Terms, gradients and state of a process with half of the rows."""
    method = clustered(teacher="tiny_text")
    terms = method.loss(rows_of(method, torch.arange(8).chunk(2)[rank]), MIDDLE)
    terms["total"].backward()
    grads = {name: parameter.grad for name, parameter in method.named_parameters() if parameter.grad is not None}
    return [{name: term.detach() for name, term in terms.items()}, grads, dict(method.state_dict())]


def test_two_processes_equal_one_with_all_rows():
    ranks = run_two_processes(share_of)
    alone = clustered(teacher="tiny_text")
    terms = alone.loss(rows_of(alone, torch.arange(8)), MIDDLE)
    terms["total"].backward()
    for name, parameter in alone.named_parameters():
        if parameter.grad is not None:
            mean = (ranks[0][1][name] + ranks[1][1][name]) / 2  # as DistributedDataParallel averages it
            torch.testing.assert_close(mean, parameter.grad, atol=1e-5, rtol=1e-3, msg=name)
    for name, term in terms.items():
        torch.testing.assert_close((ranks[0][0][name] + ranks[1][0][name]) / 2, term.detach(), msg=name)
    for name, value in alone.state_dict().items():  # clusters, banks and the statistics of the heads
        for _, _, state in ranks:
            torch.testing.assert_close(state[name], value, msg=name)
