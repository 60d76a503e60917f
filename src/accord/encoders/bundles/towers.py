"""The towers of a bundle, whatever library runs in them: what they are fed, what they give, what rebuilds them."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import ImageInput, TextInput
from accord.encoders.base import Encoder, Features, Stream
from accord.encoders.shapes import check_shape
from accord.encoders.stages import longest_stack, stages_around
from accord.encoders.text import check_tokens
from accord.encoders.tokenizer import JsonTokenizer


class TowerConfig(Config):
    """A tower of a bundle: named alone, its folder says the rest; a saved one needs no folder."""

    modality: ClassVar[str]
    name: str = Field(description="kind, colon, folder or hf:NAME")
    config: dict[str, Any] = Field(default_factory=dict, description="the library's configuration, in a saved spec")
    dim: int = Field(0, ge=0, description="size of the pooled vector, in a saved spec")


class ImageTowerConfig(TowerConfig):
    """All that rebuilds the image tower of a bundle."""

    modality = "image"
    image: dict[str, Any] = Field(default_factory=dict, description="how pictures are prepared, in a saved spec")

    @property
    def input(self) -> ImageInput:
        """What the tower is fed."""
        values: Any = {key: tuple(value) if isinstance(value, list) else value for key, value in self.image.items()}
        return ImageInput(**values)


class TextTowerConfig(TowerConfig):
    """All that rebuilds the text tower of a bundle."""

    modality = "text"
    tokenizer: str = Field("", description="the tokenizer.json text, in a saved spec")
    length: int = Field(0, ge=0, description="longest text in tokens, in a saved spec")


class ImageTower(Encoder):
    """An image tower; its main stream, where there is one, are ``patches``, normalised as the pooled vector is.

    Args:
        model: the library's network.
        config: what :meth:`spec` returns.
    """

    modality = "image"
    gives = frozenset({"pooled", "tokens", "patches", "layers"})

    def __init__(self, model: Any, config: ImageTowerConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.input = config.input
        self.dim = config.dim
        self._side = config.input.size

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of normalised images ``(B, 3, S, S)``; images have no mask.

        Raises:
            ShapeError: not three channels, or not the size that the model was built for.
        """
        check_shape("image", x, "B", 3, self._side, self._side)
        pooled, patches = self.read(x)
        if patches is None:
            return Features(pooled)
        side = math.isqrt(patches.shape[1])
        return Features(pooled, streams={"patches": Stream(patches, grid=(side, side))}, main="patches")

    def read(self, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        """The pooled vector ``(B, dim)`` and the patches ``(B, N, D)``."""
        raise NotImplementedError

    def blocks(self) -> list[nn.Module]:
        """What comes before the longest row of equal layers, then these."""
        return stages_around(self.model, longest_stack(self.model))

    def spec(self) -> dict[str, Any]:
        """Configuration and preparation of pictures, without which the folder would be needed."""
        return self.config.model_dump(mode="json")


class TextTower(Encoder):
    """A text tower; its main stream are ``words``, the last hidden states.

    Args:
        model: the library's network.
        config: what :meth:`spec` returns.
    """

    modality = "text"
    gives = frozenset({"pooled", "tokens", "words", "layers"})

    def __init__(self, model: Any, config: TextTowerConfig) -> None:
        super().__init__()
        tokenizer = JsonTokenizer(config.tokenizer)
        self.model = model
        self.config = config
        self.input = TextInput(tokenizer)
        self.dim = config.dim
        self._filler = tokenizer.filler

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Features of token ids ``(B, L)``; ``mask`` ``(B, L)`` is True on real tokens, which come first.

        Raises:
            ShapeError: ids or mask are not of that shape, or the texts are longer than the model's limit.
        """
        check_tokens(x, mask, self.config.length)
        pooled, words = self.read(x, mask)
        return Features(pooled, streams={"words": Stream(words, mask)}, main="words")

    def read(self, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The pooled vector ``(B, dim)`` and the words ``(B, L, D)``."""
        raise NotImplementedError

    def filled(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Ids ``(B, length)`` filled up with padding, for models that were trained on nothing else."""
        ids = ids if mask is None else ids.masked_fill(~mask, self._filler)
        return F.pad(ids, (0, self.config.length - ids.shape[1]), value=self._filler)

    def blocks(self) -> list[nn.Module]:
        """The embeddings, then the transformer's layers."""
        return stages_around(self.model, longest_stack(self.model))

    def spec(self) -> dict[str, Any]:
        """Configuration and tokenizer, without which the folder would be needed."""
        return self.config.model_dump(mode="json")
