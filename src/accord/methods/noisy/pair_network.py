"""One of the two networks of PC²: a similarity of pictures and captions, and classes without names for both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.data.inputs import ImageInput
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.encoders.heads import GraphReasoning, SelfAttentionPool
from accord.encoders.pooling import to_length

Similarity = Literal["sgr", "cosine"]


class PairNetwork(nn.Module):
    """Projections, a similarity, and one classifier for both modalities, on the features of encoders.

    ``sgr``: tokens are projected to unit vectors and compared by graph reasoning; the classifier sees all regions of a
    picture side by side, and a caption on as many places. ``cosine``: the pooled vectors are projected, compared by
    their cosine, and classified.

    Args:
        encoders: of ``image`` and ``text``; asked for sizes alone.
        dim: width D of the projected vectors.
        similarity: one of the two above.
        sim_dim: see :class:`accord.encoders.heads.GraphReasoning`, and so are ``steps`` and ``smooth``.
        steps: see there.
        smooth: see there.
        dropout: in the pooling of ``sgr``.
        classes: number C of classes; 0 for no classifier.
        hidden: width of its hidden layer.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        dim: int,
        similarity: Similarity,
        *,
        sim_dim: int,
        steps: int,
        smooth: float,
        dropout: float,
        classes: int,
        hidden: int,
    ) -> None:
        super().__init__()
        self.by_tokens = similarity == "sgr"
        widths = {name: encoders[name].token_dim if self.by_tokens else encoders[name].dim for name in encoders}
        self.projections = nn.ModuleDict({name: nn.Linear(width, dim) for name, width in widths.items()})
        for layer in self.projections.values():
            nn.init.xavier_uniform_(cast(nn.Linear, layer).weight)
            nn.init.zeros_(cast(nn.Linear, layer).bias)
        self.places = regions_of(encoders["image"]) if self.by_tokens else 1
        if self.by_tokens:
            fixed = {"image": self.places, "text": None}
            self.pool = nn.ModuleDict({name: SelfAttentionPool(dim, fixed[name], dropout) for name in fixed})
            self.reason = GraphReasoning(dim, sim_dim, steps, smooth)
        else:  # vectors of one modality lie close together, and a classifier would put them all in one class
            self.standardise = nn.ModuleDict({name: nn.BatchNorm1d(dim, affine=False) for name in widths})
        if classes:
            self.classifier = nn.Sequential(nn.Linear(self.places * dim, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def read(self, name: str, features: Features) -> Features:
        """What is compared and classified: unit vectors ``(B, N, D)``, and one for the whole as ``pooled (B, D)``."""
        tokens = features.tokens if self.by_tokens else features.pooled[:, None]
        mask = features.mask if self.by_tokens else None
        tokens = F.normalize(self.projections[name](tokens).float(), dim=-1)
        return Features(self.pool[name](tokens, mask) if self.by_tokens else tokens[:, 0], tokens, mask)

    def similarity(self, image: Features, text: Features) -> Tensor:
        """``(A, B)`` of what was read of A pictures and B captions; in (0, 1) by reasoning, a cosine else."""
        if not self.by_tokens:
            return image.pooled @ text.pooled.T
        regions, _ = image.sequence()
        words, mask = text.sequence()
        return self.reason(regions, image.pooled, words, text.pooled, mask)

    def classify(self, name: str, features: Features) -> Tensor:
        """Logits ``(B, C)`` of what was read."""
        assert features.tokens is not None
        flat = to_length(features.tokens, features.mask, self.places).flatten(1)
        logits: Tensor = self.classifier(flat if self.by_tokens else self.standardise[name](flat))
        return logits.float()

    @torch.no_grad()
    def predict(self, name: str, features: Features) -> Tensor:
        """Probabilities ``(B, C)`` of the classes, without gradient."""
        return self.classify(name, features).softmax(dim=1)


def side_by_side(first: Features, second: Features) -> Features:
    """What two networks read as one, of unit norm again: cosines are then the means of both networks' cosines."""
    pooled = torch.cat([first.pooled, second.pooled], dim=1) / math.sqrt(2)
    return Features(pooled, torch.cat([first.sequence()[0], second.sequence()[0]], dim=2), first.mask)


def apart(both: Features) -> list[Features]:
    """What :func:`side_by_side` was given."""
    tokens, mask = both.sequence()
    halves = zip((both.pooled * math.sqrt(2)).chunk(2, dim=1), tokens.chunk(2, dim=2), strict=True)
    return [Features(pooled, own, mask) for pooled, own in halves]


@torch.no_grad()
def regions_of(encoder: Encoder) -> int:
    """How many tokens an image encoder gives of every picture."""
    training, device = encoder.training, next(encoder.parameters()).device
    side = cast(ImageInput, encoder.input).size
    count = encoder.eval()(torch.zeros(1, 3, side, side, device=device)).sequence()[0].shape[1]
    encoder.train(training)
    return int(count)


@torch.no_grad()
def second_encoder(encoder: Encoder) -> Encoder:
    """A copy that is trained by itself; random weights are drawn anew, each tensor's own in another order."""
    copy = deepcopy(encoder)
    for parameter in copy.parameters() if not encoder.pretrained else ():
        if parameter.requires_grad:
            shuffled = torch.randperm(parameter.numel(), device=parameter.device)
            parameter.copy_(parameter.flatten()[shuffled].view_as(parameter))
    return copy
