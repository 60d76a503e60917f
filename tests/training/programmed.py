"""The toy with a training programme of its own: a critic, mixing, clusters, and centres that are pruned and renewed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toy_method import CLASSES, BagEncoder, Toy, ToyConfig

from accord.encoders.base import Encoder
from accord.methods.base import Batch, DataInfo, Group, Loader, Stage, Step
from accord.methods.programme import Clusters, Optimiser

ROWS = 160


class ProgrammedConfig(ToyConfig):
    """Settings of the toy."""

    drop_words: bool = True  # `mix` leaves words out at random


class Programmed(Toy):
    """The toy against a critic; every epoch one centre goes and a new one comes, and batches are of one cluster."""

    Config = ProgrammedConfig
    resizable = ("centres", "seen")
    stages = (
        Stage(
            "both",
            epochs=2,
            optimisers=(
                Optimiser(schedule="poly", lr_floor=0.1),
                Optimiser(
                    "critic", ("critic.",), kind="adam", lr=3e-3, betas=(0.5, 0.9), eps=1e-2, schedule="constant"
                ),
            ),
        ),
        Stage("late", epochs=1, train=("classifier", "centres"), optimisers=(Optimiser(kind="sgd", schedule="step"),)),
    )

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.critic = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
        self.centres = nn.Parameter(torch.randn(4, 8))
        self.register_buffer("seen", torch.zeros(4))
        self.register_buffer("clusters", torch.zeros(ROWS, dtype=torch.int64))

    @property
    def sampling(self) -> Clusters:
        return Clusters(self.clusters)

    def group(self, name: str) -> Group:
        return Group(lr_scale=2.0 if name == "centres" else 1.0)

    def active(self, step: Step) -> bool:
        return step.optimiser != "critic" or step.index % 3 != 1

    def mix(self, batch: Batch, step: Step) -> Batch:
        mask = batch["text_mask"]
        kept = torch.rand(mask.shape, device=mask.device) < 0.8
        return {**batch, "text_mask": mask & kept} if self.config.drop_words else batch

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        if step.optimiser == "critic":
            z = self.towers(batch)["z"]
            return {"total": F.softplus(self.critic(self.centres)).mean() + F.softplus(-self.critic(z)).mean()}
        towers = self.towers(batch)
        terms = self.objective(towers, batch, step)
        centres = F.softmax(towers["z"] @ self.centres.T, dim=1)
        self.seen += centres.detach().sum(dim=0)
        fooled = -self.critic(towers["z"]).mean()
        return {**terms, "total": terms["total"] + 0.1 * fooled - centres.amax(dim=1).mean(), "fooled": fooled}

    @torch.no_grad()
    def before_epoch(self, step: Step, loader: Loader) -> None:
        super().before_epoch(step, loader)
        self.clusters.copy_(torch.randint(2, (ROWS,)))
        kept = torch.arange(1, len(self.centres))
        for name in ("centres", "seen"):
            self.resize(name, torch.cat([kept, torch.tensor([-1, -1])]))  # one more every epoch
        self.centres[-2:] = torch.randn(2, 8)


def programmed(config: dict[str, Any] | None = None, *, dropout: float = 0.1) -> Programmed:
    """The toy, always with the same weights."""
    torch.manual_seed(0)
    encoder = BagEncoder(16, dropout)
    return Programmed({"dropout": dropout, **(config or {})}, {"text": encoder}, DataInfo(rows=ROWS, classes=CLASSES))
