"""Captions beside contrast: token cross-entropy in chunks, and who may attend to whom (CoCa; Yu et al. 2022, TMLR)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import (
    as_float,
    check_ndim,
    check_shape,
    check_share,
)
from accord.functional.distributed import gather_features, world_size

IGNORED = -100  # the label that a loss leaves out, as PyTorch and transformers have it
CHUNK_ELEMENTS = 1 << 22  # logits that are held in float32 at a time: 16 MiB


def caption_loss(
    logits: Tensor,
    ids: Tensor,
    pad_id: int,
    *,
    already_shifted: bool = False,
    label_smoothing: float = 0.0,
    across_processes: bool = False,
) -> Tensor:
    """Next-token cross-entropy, one mean over all real target positions of the batch (CoCa).

    Not a mean of the captions' means: long captions weigh more. Large logits are walked through in chunks and
    computed again in the backward pass, so that besides them and their gradient no copy of their size is held.

    Args:
        logits: ``(B, L, V)``; position t predicts the token at t + 1.
        ids: ``(B, L)`` the caption as it went in; targets equal to ``pad_id`` are left out.
        pad_id: id of the padding. A tokenizer that pads with a real word loses that word here.
        already_shifted: ``ids`` are the targets of the same positions.
        label_smoothing: share of every target that is spread evenly over the vocabulary.
        across_processes: divide by the real positions per process, averaged over all processes, instead of by the
            own ones. The mean over processes, which DistributedDataParallel takes of the gradients, is then the
            mean over the tokens of all; captions in different processes weigh by their length.

    Returns:
        Scalar; 0 when every target is padding.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: smoothing outside [0, 1].

    Example:
        >>> logits = torch.zeros(1, 3, 4)
        >>> caption_loss(logits, torch.tensor([[1, 2, 0]]), pad_id=0)
        tensor(1.3863)
    """
    each = caption_nll(logits, ids, pad_id, already_shifted=already_shifted, label_smoothing=label_smoothing)
    count = _targets(ids, pad_id, already_shifted).ne(IGNORED).sum()
    return token_mean(each.sum(), count, across_processes=across_processes)


def caption_nll(
    logits: Tensor, ids: Tensor, pad_id: int, *, already_shifted: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    """Next-token cross-entropy of every position, of which :func:`caption_loss` is the mean.

    Args:
        logits: ``(B, L, V)``; position t predicts the token at t + 1.
        ids: ``(B, L)`` the caption as it went in; targets equal to ``pad_id`` are left out.
        pad_id: id of the padding.
        already_shifted: ``ids`` are the targets of the same positions.
        label_smoothing: share of every target that is spread evenly over the vocabulary.

    Returns:
        ``(B, L)`` in nats, 0 where there is no target; the last position has none unless already shifted.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: smoothing outside [0, 1].

    Example:
        >>> caption_nll(torch.zeros(1, 3, 4), torch.tensor([[1, 2, 0]]), pad_id=0)
        tensor([[1.3863, 0.0000, 0.0000]])
    """
    check_ndim(3, logits=logits)
    check_shape(tuple(logits.shape[:2]), ids=ids)
    check_share(label_smoothing=label_smoothing)
    targets = _targets(ids, pad_id, already_shifted)
    return _token_loss(logits.flatten(0, 1), targets.flatten(), label_smoothing).view(ids.shape)


def token_mean(total: Tensor, count: Tensor, *, across_processes: bool = False) -> Tensor:
    """Mean per token from a sum and a number of tokens, which may come from several parts of a batch.

    Args:
        total: scalar, sum of the tokens' losses.
        count: scalar, number of tokens.
        across_processes: see :func:`caption_loss`.

    Returns:
        Scalar; 0 without any token.

    Example:
        >>> token_mean(torch.tensor(6.0), torch.tensor(4))
        tensor(1.5000)
    """
    if not across_processes:
        return total / count.clamp(min=1)
    count = gather_features(count[None], with_grad=False).sum() / world_size()
    return total / count.clamp(min=1 / world_size())


def _targets(ids: Tensor, pad_id: int, already_shifted: bool) -> Tensor:
    """The token that each position predicts ``(B, L)``, :data:`IGNORED` where there is none.

    The targets are shifted, not the logits: slicing those would copy them.
    """
    targets = ids if already_shifted else F.pad(ids[:, 1:], (0, 1), value=pad_id)[:, : ids.shape[1]]
    return targets.masked_fill(targets == pad_id, IGNORED)


def append_class_token_mask(ids: Tensor, pad_id: int, *, shifted_padding: bool = False) -> Tensor:
    """Which positions of a caption with a class token at its end may attend to which (CoCa).

    Causal, and no position sees padding; the class token, which is last, sees every real word and itself.

    Args:
        ids: ``(B, L)``.
        pad_id: id of the padding, which comes last.
        shifted_padding: hide position k where token k - 1 is padding, as if the class token came first. It is wrong,
            but open_clip's released CoCa weights were trained with it and need it.

    Returns:
        ``(B, L + 1, L + 1)`` bool, query by key, True where it may attend. Only the first rows of a caption without any
        word see nothing.

    Raises:
        ShapeError: ``ids`` is not a matrix.

    Example:
        >>> append_class_token_mask(torch.tensor([[5, 0]]), pad_id=0).int()
        tensor([[[1, 0, 0],
                 [1, 0, 0],
                 [1, 0, 1]]], dtype=torch.int32)
    """
    check_ndim(2, ids=ids)
    real = F.pad(ids != pad_id, (1, 0) if shifted_padding else (0, 1), value=True)  # (B, L + 1)
    size = real.shape[1]
    return real[:, None, :] & torch.ones(size, size, dtype=torch.bool, device=ids.device).tril()


class _ChunkedTokenLoss(torch.autograd.Function):
    """Cross-entropy per token that holds float32 probabilities of one chunk of tokens only."""

    @staticmethod
    def forward(logits: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
        parts, levels = [], []
        for rows in _chunks(logits):
            block, target = as_float(logits[rows]), targets[rows]
            level = torch.logsumexp(block, dim=1)
            wanted = block.gather(1, target.clamp(min=0)[:, None]).squeeze(1)
            if label_smoothing:
                wanted = torch.lerp(wanted, block.mean(dim=1), label_smoothing)
            parts.append((level - wanted).masked_fill_(target == IGNORED, 0))
            levels.append(level)
        return torch.cat(parts), torch.cat(levels)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        logits, targets, ctx.label_smoothing = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(logits, targets, output[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        logits, targets, levels = ctx.saved_tensors
        result = torch.empty_like(logits, memory_format=torch.contiguous_format)
        for rows in _chunks(logits):
            target, ignored = targets[rows].clamp(min=0)[:, None], targets[rows, None] == IGNORED
            slope = torch.exp(as_float(logits[rows]) - levels[rows, None]).sub_(ctx.label_smoothing / logits.shape[1])
            slope.scatter_add_(1, target, slope.new_full(target.shape, ctx.label_smoothing - 1))
            result[rows] = slope.mul_(grad[rows, None]).masked_fill_(ignored, 0)
        return result, None, None


def _token_loss(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Cross-entropy of each token, 0 where the target is ignored; ``(T,)``."""
    with torch.autocast(logits.device.type, enabled=False):
        if logits.numel() > CHUNK_ELEMENTS:
            return _ChunkedTokenLoss.apply(logits, targets, label_smoothing)[0]
        return F.cross_entropy(
            as_float(logits), targets, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="none"
        )


def _chunks(logits: Tensor) -> list[slice]:
    step = max(1, CHUNK_ELEMENTS // logits.shape[1])
    return [slice(start, start + step) for start in range(0, len(logits), step)]
