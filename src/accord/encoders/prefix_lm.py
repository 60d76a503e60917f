"""A small language model that is told of a vector by a prefix of pseudo tokens (CLOSE; Gu et al. 2023, ICCV).

``[e_1 … e_n, w_1 … w_L]`` → encoder → decoder. The prefix is made of the vector by :class:`PrefixProjector`; the words
w are what is said beside it, such as a question. Encoder and decoder share one table of words, which is also the last
layer. The mask goes to the encoder as well as to the decoder's cross-attention.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.encoders.heads import PrefixProjector, prepend
from accord.encoders.pooling import masked_mean
from accord.encoders.transformer import CrossTransformer, Transformer
from accord.errors import ShapeError


class PrefixReader(nn.Module):
    """The encoder half: reads a vector and, where there are such, words.

    Args:
        dim: width D of the vector.
        vocabulary: number of tokens V.
        length: most words.
        width: width w of a token.
        depth: layers.
        heads: attention heads.
        prefix: pseudo tokens that depend on the vector.
        constant: learned tokens before them that do not.

    Example:
        >>> reader = PrefixReader(dim=6, vocabulary=9, length=5, width=8, depth=1, heads=2)
        >>> memory, mask = reader(torch.randn(2, 6), torch.tensor([[1, 2], [3, 0]]), torch.tensor([[1, 1], [1, 0]]) > 0)
        >>> memory.shape, mask[1].tolist()
        (torch.Size([2, 6, 8]), [True, True, True, True, True, False])
        >>> reader.summary(memory, mask).shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        dim: int,
        vocabulary: int,
        length: int,
        width: int,
        depth: int,
        heads: int,
        prefix: int = 4,
        constant: int = 0,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.words.weight, std=width**-0.5)
        self.positions = nn.Parameter(0.01 * torch.randn(length, width))
        self.prefix = PrefixProjector(dim, width, prefix, constant)
        self.encoder, self.norm = Transformer(width, depth, heads), nn.LayerNorm(width)

    def forward(self, z: Tensor, ids: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read ``z (B, D)`` and words ``ids (B, L)`` of ``mask (B, L)``; ``(B, n + L, w)`` and its mask.

        Raises:
            ShapeError: more words than there are positions for.
        """
        sequence, seen = prepend(self.prefix(z), None if ids is None else self.embedded(ids), mask)
        return self.norm(self.encoder(sequence, seen)), seen

    def embedded(self, ids: Tensor) -> Tensor:
        """Words ``(B, L)`` at their positions, ``(B, L, w)``."""
        if ids.shape[1] > len(self.positions):
            raise ShapeError(f"text has {ids.shape[1]} tokens: expected at most {len(self.positions)}")
        return self.words(ids) + self.positions[: ids.shape[1]]

    def summary(self, memory: Tensor, mask: Tensor) -> Tensor:
        """The mean ``(B, w)`` over what was read."""
        return masked_mean(memory, mask)


class PrefixWriter(PrefixReader):
    """Both halves: reads a vector and words, and predicts a text word by word.

    Args:
        dim: as for :class:`PrefixReader`, and so are the others.
        vocabulary: see there.
        length: see there; also of what is written.
        width: see there.
        depth: layers of each half.
        heads: see there.
        prefix: see there.
        constant: see there.

    Example:
        >>> writer = PrefixWriter(dim=6, vocabulary=9, length=5, width=8, depth=1, heads=2)
        >>> memory, seen = writer(torch.randn(2, 6))
        >>> writer.logits(torch.tensor([[1, 4, 5], [1, 6, 0]]), memory, memory_mask=seen).shape
        torch.Size([2, 3, 9])
    """

    def __init__(
        self,
        dim: int,
        vocabulary: int,
        length: int,
        width: int,
        depth: int,
        heads: int,
        prefix: int = 4,
        constant: int = 0,
    ) -> None:
        super().__init__(dim, vocabulary, length, width, depth, heads, prefix, constant)
        self.decoder = CrossTransformer(width, depth, heads, context_dim=width, causal=True)
        self.decoder_norm = nn.LayerNorm(width)

    def logits(
        self, ids: Tensor, memory: Tensor, mask: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        """Logits ``(R, L, V)``, float32, of the token after each of ``ids (R, L)``; ``memory (R, N, w)`` was read."""
        tokens = self.decoder(self.embedded(ids), memory, mask, memory_mask)
        return F.linear(self.decoder_norm(tokens), self.words.weight).float()
