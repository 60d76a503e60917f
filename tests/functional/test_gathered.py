"""Every loss over a batch, on rows gathered from two gloo processes, against one process with all rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord import functional as AF
from two_processes import run_two_processes

ROWS = 6
LABELS = torch.arange(ROWS) % 2


def two(loss: Callable[..., Tensor], **options: Any) -> Callable[[Tensor], Tensor]:
    """A loss of two sets of unit vectors, taken from ``(B, 3, D)``."""
    return lambda x: loss(F.normalize(x[:, 0], dim=1), F.normalize(x[:, 1], dim=1), **options)


def three(loss: Callable[..., Tensor], **options: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: loss(*F.normalize(x, dim=2).unbind(dim=1), **options)


LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "info_nce": two(AF.info_nce, logit_scale=9.0),
    "info_nce by id": two(AF.info_nce, logit_scale=9.0, ids=LABELS),
    "sigmoid_contrast": two(AF.sigmoid_contrast, logit_scale=9.0, logit_bias=-3.0),
    "cwcl_loss": two(AF.cwcl_loss, logit_scale=9.0),
    "restricted_info_nce": two(AF.restricted_info_nce, labels=LABELS, temperature=0.2),
    "weighted_infonce": two(AF.weighted_infonce, weights=None, tau=0.2),
    "nt_xent": two(AF.nt_xent, temperature=0.2),
    "supcon": lambda x: AF.supcon(x[:, 0], LABELS, 0.2),
    "simcse_loss": three(AF.simcse_loss, temperature=0.2),
    "mv_infonce": lambda x: AF.mv_infonce(x.unbind(dim=1), 0.2),
    "mv_dhel": lambda x: AF.mv_dhel(x.unbind(dim=1), 0.2),
    "pairwise_nt_xent": lambda x: AF.pairwise_nt_xent(x.unbind(dim=1), 0.2),
    "poly_view_loss": lambda x: AF.poly_view_loss(x.unbind(dim=1), 0.2),
    "gram_contrastive_loss": three(AF.gram_contrastive_loss, temperature=0.1),
    "gap_closing_loss": lambda x: AF.gap_closing_loss(x[:, 0], x[:, 1], use_cross=True, temperature=0.1)["total"],
    "prototype_nce": lambda x: AF.prototype_nce(F.normalize(x[:, 0], dim=1), torch.eye(4).double()[:2], LABELS, 0.2),
    "late interaction": lambda x: AF.info_nce_from_similarity(*AF.late_interaction_pair(x[:, :2], x[:, 1:]), 3.0),
    "local_global_nce": lambda x: AF.local_global_nce(x[:, 1:], x[:, 0], 0.5),
    "uniformity": lambda x: AF.uniformity(F.normalize(x[:, 0], dim=1)),
    "triplet_ranking_loss": lambda x: AF.triplet_ranking_loss(x[:, 0] @ x[:, 1].T, 0.2),
    "engine": lambda x: AF.contrastive_loss(x[:, 0] @ x[:, 1].T, LABELS[:, None] == LABELS, denominator="own"),
}


def rows() -> Tensor:
    return torch.randn(ROWS, 3, 4, generator=torch.Generator().manual_seed(0)).double()


def both(rank: int) -> dict[str, list[Tensor]]:
    """Loss of the gathered rows and gradient of the own ones, of every loss."""
    found = {}
    for name, loss_of in LOSSES.items():
        mine = rows().chunk(2)[rank].clone().requires_grad_()
        loss = loss_of(AF.gather_features(mine, with_grad=True))
        loss.backward()
        found[name] = [loss.detach(), mine.grad]
    return found


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, list[Tensor]]]:
    return run_two_processes(both)


@pytest.mark.parametrize("name", LOSSES)
def test_gathered_rows_give_the_value_and_gradient_of_one_process(ranks, name: str) -> None:
    x = rows().requires_grad_()
    loss = LOSSES[name](x)
    loss.backward()
    for result in ranks:
        torch.testing.assert_close(result[name][0], loss.detach(), rtol=1e-9, atol=1e-9)
    gradient = torch.cat([result[name][1] for result in ranks]) / 2  # as DistributedDataParallel averages it
    torch.testing.assert_close(gradient, x.grad, rtol=1e-9, atol=1e-9)
