"""Parts that read text and image together: a fusion encoder, all pairs through it, a head that names hidden words.

As in ALBEF (Li et al. 2021, NeurIPS) and TCL (Yang et al. 2022, CVPR), where both continue a BERT. From X-CLIP (Ni et
al. 2022, ECCV) what a class's text becomes before a clip.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.encoders.transformer import CrossBlock, CrossTransformer
from accord.errors import ConfigError
from accord.functional.distributed import gather_features, gather_tokens

CHUNK_ELEMENTS = 1 << 24  # numbers in the tokens of the pairs that are held at a time: 64 MiB in float32


class FusionEncoder(nn.Module):
    """A transformer over the tokens of a text that also reads those of an image, and a final LayerNorm.

    Args:
        width: width w of the text's tokens.
        depth: number of layers.
        heads: attention heads, a divisor of w; None for one per 64 dimensions, or as near to that as w divides.
        context_dim: width of the image's tokens.

    Raises:
        ConfigError: heads that do not divide the width.

    Example:
        >>> text = Features(torch.zeros(2, 8), torch.zeros(2, 5, 8))
        >>> image = Features(torch.zeros(2, 6), torch.zeros(2, 9, 6))
        >>> FusionEncoder(8, depth=1, heads=2, context_dim=6)(text, image).shape
        torch.Size([2, 5, 8])
    """

    def __init__(self, width: int, depth: int, heads: int | None, context_dim: int) -> None:
        super().__init__()
        if heads is None:
            heads = next(count for count in range(max(1, width // 64), 0, -1) if width % count == 0)
        if width % heads:
            raise ConfigError(f"fusion_heads = {heads}: must divide the text encoder's width, {width}")
        self.layers = CrossTransformer(width, depth, heads, context_dim)
        self.norm = nn.LayerNorm(width)

    def forward(self, text: Features, image: Features) -> Tensor:
        """The text's tokens ``(B, L, w)`` after reading those of the image in the same row."""
        (words, text_mask), (patches, image_mask) = text.sequence(), image.sequence()
        return self.norm(self.layers(words, patches, text_mask, image_mask))


def gather_sequences(rows: Features) -> Features:
    """Vectors and tokens of the rows of all processes, with their gradient, to be read together with others'.

    Example:
        >>> rows = Features(torch.zeros(2, 8), torch.zeros(2, 5, 8))
        >>> gather_sequences(rows).tokens.shape
        torch.Size([2, 5, 8])
    """
    tokens, mask = gather_tokens(*rows.sequence(), with_grad=True)
    return Features(gather_features(rows.pooled, with_grad=True), tokens, mask)


def score_pairs(score: Callable[[Features, Features], Tensor], rows: Features, columns: Features) -> Tensor:
    """Scores ``(A, B)`` of all pairs by something that looks at a pair as a whole, some pairs at a time.

    Args:
        score: of P pairs: features of P rows and of P columns to ``(P,)``.
        rows: tokens of A items.
        columns: tokens of B items.

    Example:
        >>> rows = Features(torch.zeros(2, 1), torch.tensor([[[1.0]], [[2.0]]]))
        >>> columns = Features(torch.zeros(3, 1), torch.ones(3, 1, 1))
        >>> score_pairs(lambda a, b: (a.tokens * b.tokens).sum(dim=(1, 2)), rows, columns)
        tensor([[1., 1., 1.],
                [2., 2., 2.]])
    """
    (a, _), (b, _) = rows.sequence(), columns.sequence()
    pairs = torch.arange(len(a) * len(b), device=a.device)
    parts = pairs.split(max(1, CHUNK_ELEMENTS // (a[0].numel() + b[0].numel())))
    scores = [score(rows.select(part // len(b)), columns.select(part % len(b))) for part in parts]
    return torch.cat(scores).view(len(a), len(b))


class VideoSpecificPrompt(nn.Module):
    """What is added to the vectors of class texts when they meet a clip: blocks that read its patches, scaled.

    No class sees another one, so that it serves class names that training has not met.

    Args:
        dim: width D of a text and of a patch.
        layers: number of blocks.
        heads: attention heads; None for one per 64 of the width.
        alpha: initial value of the scale of each channel; 0 leaves the texts as they are.

    Raises:
        ConfigError: heads that do not divide the width.

    Example:
        >>> VideoSpecificPrompt(16, heads=2)(torch.zeros(2, 5, 16), torch.zeros(2, 9, 16)).shape
        torch.Size([2, 5, 16])
    """

    def __init__(self, dim: int, layers: int = 2, heads: int | None = None, alpha: float = 0.1) -> None:
        from timm.layers import QuickGELU  # slow to import, and here alone

        super().__init__()
        heads = max(1, dim // 64) if heads is None else heads
        if dim % heads:
            raise ConfigError(f"prompt heads = {heads}: must divide the width of the space, {dim}")
        self.norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(
            CrossBlock(dim, heads, dim, layers, activation=QuickGELU, in_bias=False, norm_memory=False)
            for _ in range(layers)
        )
        self.alpha = nn.Parameter(torch.full((dim,), alpha))

    def forward(self, text: Tensor, visual: Tensor) -> Tensor:
        """Texts ``(B, K, D)`` and the patches ``(B, N, D)`` of their clips to the addends ``(B, K, D)``."""
        visual = self.norm(visual)
        for layer in self.layers:
            text = layer(text, visual)
        return self.alpha * text


class TokenHead(nn.Module):
    """Logits of a vocabulary (BERT's head): Linear, GELU, LayerNorm, then a product with a table of the tokens.

    Where the text encoder's own embedding fits (:func:`token_table`), it is that table and is given at every call, so
    that no second copy is held. Elsewhere the head learns one.

    Args:
        width: width w of the positions.
        vocabulary: number of tokens V.
        tied: the table is given.

    Example:
        >>> TokenHead(16, 300, tied=True)(torch.zeros(3, 16), torch.zeros(300, 16)).shape
        torch.Size([3, 300])
    """

    def __init__(self, width: int, vocabulary: int, *, tied: bool) -> None:
        super().__init__()
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.table = None if tied else nn.Linear(width, vocabulary, bias=False)

    def forward(self, x: Tensor, table: Tensor | None = None) -> Tensor:
        """``x (M, w)`` to ``(M, V)``, with ``table (V, w)`` when it is tied."""
        if self.table is not None:
            table = self.table.weight
        assert table is not None
        return F.linear(self.transform(x), table, self.bias)


def token_table(encoder: Encoder, vocabulary: int) -> Tensor | None:
    """The embedding ``(vocabulary, token_dim)`` of a text encoder's tokens, None where it has none of that size.

    Example:
        >>> from accord.encoders import build_encoder
        >>> text = build_encoder("text", {"name": "tiny_text", "width": 16}, texts=["a red ball"])
        >>> token_table(text, text.input.tokenizer.vocabulary) is text.embedding.weight
        True
    """
    tables = (module.weight for module in encoder.modules() if isinstance(module, nn.Embedding))
    return next((table for table in tables if tuple(table.shape) == (vocabulary, encoder.token_dim)), None)
