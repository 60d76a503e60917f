"""Rows of three modalities as tensors, for methods that compare more than two: views of digits, and stamps.

*Views of a digit* complement each other: the first is a distorted whole, the second and third its upper and its lower
rows, and each has noise of its own. *Stamps* repeat each other: a drawing or photograph, its English caption, and its
French caption read aloud, as frozen encoders see them. The modalities of both are called as those of the stamps.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from accord.data.corpus import Corpus, open_corpus
from accord.data.loading.features import Features
from accord.encoders import build_encoder
from accord.encoders.base import Encoder
from accord.training.caching import stored_features
from shared.digits import Digits, split_digits

Rows = dict[str, Tensor]  # modality -> (N, D)

NOISE = 0.3  # standard deviation of what is added to a view of a digit, whose values lie in [-1, 1]
DISTORTED = 96  # numbers of the first view
STAMPS = {"text": ["caption"], "audio": "speech_fr"}
FROZEN: dict[str, dict[str, Any]] = {
    "text": {"name": "minilm"},
    "image": {"name": "efficientnet_lite0", "size": 160},
    "audio": {"name": "whisper_tiny", "seconds": 10.0},
}


def digit_views(seed: int, noise: float = NOISE) -> tuple[Rows, Rows]:
    """Three views of each digit for training, without their noise, and for testing, with it."""
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(64, DISTORTED, generator=random) / 4
    train, test = (_views(digits, mixing) for digits in split_digits(seed))
    return train, {name: x + noise * torch.randn(x.shape, generator=random) for name, x in test.items()}


def _views(digits: Digits, mixing: Tensor) -> Rows:
    pixels = torch.from_numpy(digits.pixels).float() / 255  # (N, 8, 8)
    upper, lower = pixels[:, :5], pixels[:, 3:]
    return {"text": torch.tanh(pixels.flatten(1) @ mixing), "image": upper.flatten(1), "audio": lower.flatten(1)}


def stamp_features(seed: int) -> tuple[Rows, Rows]:
    """What frozen encoders make of four fifths of the stamps, for training, and of the others."""
    every = _features()
    train, test = ({name: x[chosen] for name, x in every.items()} for chosen in split_stamps(seed))
    return train, test


def stamps_seen(seed: int) -> tuple[Rows, Rows]:
    """The same with the test rows among those for training: what a model finds that has seen them."""
    train, test = stamp_features(seed)
    return {name: torch.cat([x, test[name]]) for name, x in train.items()}, test


def split_stamps(seed: int) -> tuple[Tensor, Tensor]:
    """Positions in :func:`stamps` of the rows for training and of those for testing."""
    train, test = train_test_split(np.arange(len(stamps())), test_size=0.2, random_state=seed)
    return torch.from_numpy(train), torch.from_numpy(test)


@cache
def stamps() -> Corpus:
    """The stamps that somebody read aloud in French, one of each concept, so that each has one right answer."""
    corpus = open_corpus("pack:stamps", columns=STAMPS, quiet=True)
    groups = corpus.groups()
    assert groups is not None  # the pack has concepts
    return corpus.select(np.sort(np.unique(groups, return_index=True)[1]))


@cache
def _features() -> Rows:
    found = {}
    for modality, spec in FROZEN.items():
        stored = stored_features(modality, build_encoder(modality, spec, freeze="all"), stamps())
        assert stored is not None  # vectors of a few hundred rows are always stored
        found[modality] = stored.plain.float()
    return found


class Tower(Encoder):
    """One hidden layer on a vector, or the vector as it is.

    Args:
        width: of the vector.
        hidden: of the layer; 0 for none.
        noise: standard deviation of what is added in training.
    """

    def __init__(self, width: int, hidden: int, noise: float = 0.0) -> None:
        super().__init__()
        self.noise = noise
        self.dim = hidden or width
        self.layers = nn.Sequential(*([nn.Linear(width, hidden), nn.ReLU()] if hidden else []))

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of vectors ``(B, width)``."""
        return Features(pooled=self.layers(x + self.noise * torch.randn_like(x) if self.training else x))

    def blocks(self) -> list[nn.Module]:
        """The layer."""
        return [self.layers]

    def spec(self) -> dict[str, Any]:
        """Its size."""
        return {"name": "tower", "dim": self.dim}
