"""A network of bags of steps: streams that read each other, a score for each step, one for the bag (MACIL-SD).

Yu et al. 2022, ACM Multimedia. With a single stream it reads itself; the parts then have the same names and shapes, so
that the weights of one network can be blended into those of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.encoders.transformer import CrossBlock
from accord.functional import topk_mil_pool


@dataclass(frozen=True)
class ScoredBags:
    """What :class:`InstanceStreams` says of B bags.

    Args:
        bag: ``(B,)`` logit that the event is in it.
        steps: ``(B, T)`` logits of its steps, the sums over the streams.
        streams: stream -> ``(B, T)`` its own logits.
        reps: stream -> ``(B, T, D)`` its steps after reading the others.
        lengths: ``(B,)`` real steps.
    """

    bag: Tensor
    steps: Tensor
    streams: dict[str, Tensor]
    reps: dict[str, Tensor]
    lengths: Tensor


class InstanceStreams(nn.Module):
    """Scores steps of several streams; one layer of attention and one head serve them all.

    ``h = x + attention(LN(x), others); out = h + MLP(LN(h))``, the others side by side and not normalised, an MLP of
    the same width. Nothing says where in time a step is.

    Args:
        widths: stream -> width of its steps; None for one that has the width of the network already.
        dim: width D of the network.
        heads: attention heads; divides ``dim``.
        dropout: of attention, MLP and what both add.
        ratio: steps of a bag for each further one that decides what it is called.
        mask_keys: hide padding from attention; without, it is read, as in the released code.

    Example:
        >>> network = InstanceStreams({"video": 5, "audio": 3}, dim=8, heads=2)
        >>> mask = torch.tensor([[True, True, False]])
        >>> found = network({"video": torch.zeros(1, 3, 5), "audio": torch.zeros(1, 3, 3)}, mask)
        >>> found.bag.shape, found.steps.shape, found.reps["audio"].shape
        (torch.Size([1]), torch.Size([1, 3]), torch.Size([1, 3, 8]))
    """

    def __init__(
        self,
        widths: Mapping[str, int | None],
        dim: int,
        heads: int,
        dropout: float = 0.1,
        ratio: int = 16,
        mask_keys: bool = True,
    ) -> None:
        super().__init__()
        self.ratio, self.mask_keys = ratio, mask_keys
        self.entries = nn.ModuleDict(
            {name: nn.Identity() if width is None else nn.Linear(width, dim) for name, width in widths.items()}
        )
        self.layer = CrossBlock(
            dim,
            heads,
            dim,
            depth=1,
            activation=lambda: nn.Sequential(nn.ReLU(), nn.Dropout(dropout)),
            norm_memory=False,
            mlp_ratio=1,
            dropout=dropout,
        )
        self.head = nn.Linear(dim, 1)

    def forward(self, streams: Mapping[str, Tensor], mask: Tensor) -> ScoredBags:
        """Scores of steps ``(B, T, width)`` of each stream, which ``mask`` ``(B, T)`` says are real."""
        entered = {name: entry(streams[name]) for name, entry in self.entries.items()}
        seen = mask | ~mask.any(dim=1, keepdim=True)  # attention to nothing is not a number
        reps, logits = {}, {}
        for name, own in entered.items():
            others = [other for key, other in entered.items() if key != name] or [own]
            keys = seen.repeat(1, len(others)) if self.mask_keys else None
            reps[name] = self.layer(own, torch.cat(others, dim=1), keys).float()
            logits[name] = self._scored(reps[name])
        steps, lengths = torch.stack(list(logits.values())).sum(dim=0), mask.sum(dim=1)
        return ScoredBags(topk_mil_pool(steps, lengths, self.ratio), steps, logits, reps, lengths)

    def _scored(self, reps: Tensor) -> Tensor:
        """Logits ``(B, T)`` in single precision: what is added up is compared with ½ later."""
        with torch.autocast(reps.device.type, enabled=False):
            return F.linear(reps, self.head.weight.float(), self.head.bias.float()).squeeze(2)
