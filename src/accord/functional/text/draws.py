"""What training draws from texts: masked tokens, spans of a document, and words as labels.

Masked language modelling (Devlin et al. 2019, NAACL), DeCLUTR's spans (Giorgi et al. 2021, ACL), CLESS's pseudo-labels
(Rethmeier and Augenstein 2020). Nothing here carries gradient.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.functional.checks import (
    check_ndim,
    check_range,
    check_shape,
    check_share,
)

IGNORED = -100  # the label that a loss leaves out, as PyTorch and transformers have it


@torch.no_grad()
def pseudo_labels(
    token_ids: Tensor, mask: Tensor, n_pos: int, n_neg: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Words as labels: some of a text's own, and words of other texts that it does not contain (CLESS).

    Positives are drawn evenly among the distinct words of the text. Negatives are drawn among the positives of the
    other texts, as often as these were drawn, so that frequent words are no easier as negatives than as positives.

    Args:
        token_ids: ``(B, L)`` word ids ≥ 0.
        mask: ``(B, L)``, non-zero for words that may be labels; leave out padding and stop words.
        n_pos: positives per text.
        n_neg: negatives per text.
        generator: source of the draws, on the device of ``token_ids``.

    Returns:
        ids ``(B, n_pos + n_neg)``, distinct in each row, and targets of the same shape: 1, 0, or -1 (id 0) where the
        text, or the batch, has no further word; give ``targets >= 0`` to :func:`binary_nce` as its mask.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a negative number of labels.

    Example:
        >>> ids, targets = pseudo_labels(torch.tensor([[5, 5], [7, 7]]), torch.ones(2, 2), n_pos=1, n_neg=1)
        >>> ids.tolist(), targets.tolist()
        ([[5, 7], [7, 5]], [[1, 0], [1, 0]])
    """
    check_ndim(2, token_ids=token_ids)
    check_shape(tuple(token_ids.shape), mask=mask)
    check_range(0, max(0, n_pos), n_pos=n_pos)
    check_range(0, max(0, n_neg), n_neg=n_neg)
    words = token_ids.masked_fill(~mask.bool(), -1).sort(dim=1).values  # (B, L)
    distinct = words >= 0
    distinct[:, 1:] &= words[:, 1:] != words[:, :-1]
    positive, drawn = _draw(words, torch.where(distinct, 0.0, -torch.inf), n_pos, generator)
    labels, counts = positive[drawn].unique(return_counts=True)
    # A last label that no text has: it takes the scattered misses, and its weight of 0 is never drawn.
    labels = torch.cat([labels, labels.new_full((1,), torch.iinfo(labels.dtype).max)])  # (U,)
    place = torch.searchsorted(labels, words)
    own = torch.zeros(len(words), len(labels), dtype=torch.bool, device=words.device)
    own.scatter_(1, place.masked_fill(labels[place] != words, len(labels) - 1), True)
    log_weight = F.pad(counts, (0, 1)).log().masked_fill(own, -torch.inf)  # (B, U)
    negative, found = _draw(labels.expand_as(own), log_weight, n_neg, generator)
    there = torch.cat([drawn, found], dim=1)
    targets = torch.cat([torch.ones_like(positive), torch.zeros_like(negative)], dim=1)
    return torch.cat([positive, negative], dim=1).masked_fill(~there, 0), targets.masked_fill(~there, -1)


def sample_spans(
    n_tokens: int,
    n_anchors: int,
    n_positives: int,
    max_len: int,
    min_len: int,
    strategy: Literal["default", "subsuming", "adjacent"] | None,
    rng: Any,
) -> list[tuple[int, int]]:
    """Anchor spans of a document and positive spans at or near each (DeCLUTR, Giorgi et al. 2021).

    Anchors tend to be long, ``Beta(4, 2)``, positives short, ``Beta(2, 4)``, between ``min_len`` and ``max_len``. An
    anchor starts in a block of ``max_len`` tokens, which is then taken, with its neighbours. The draws have the order
    of the released code: from the same state come the same spans.

    Args:
        n_tokens: length of the document, at least ``2 n_anchors max_len``.
        n_anchors: anchors per document.
        n_positives: positives per anchor.
        max_len: longest span.
        min_len: shortest span.
        strategy: where positives lie: ``default`` or None: overlapping, inside or touching; ``subsuming``: inside the
            anchor; ``adjacent``: touching it.
        rng: a ``numpy.random.RandomState``.

    Returns:
        ``(start, end)`` of each anchor followed by its positives: anchors are ``[:: 1 + n_positives]``.

    Raises:
        ValueError: a document that is too short, an unknown strategy, no room beside an anchor.

    Example:
        >>> from numpy.random import RandomState
        >>> spans = sample_spans(100, 2, 1, 16, 4, "subsuming", RandomState(0))
        >>> [anchor[0] <= positive[0] and positive[1] <= anchor[1] for anchor, positive in (spans[:2], spans[2:])]
        [True, True]
    """
    if strategy not in (None, "default", "subsuming", "adjacent"):
        raise ValueError(f"strategy = {strategy!r}: expected 'default', 'subsuming' or 'adjacent'")
    check_range(1, max_len, min_len=min_len)
    if n_tokens < 2 * n_anchors * max_len:
        raise ValueError(
            f"n_tokens = {n_tokens}: expected at least 2 · {n_anchors} · {max_len} for {n_anchors} anchors"
        )
    free = list(range(0, n_tokens - max_len + 1, max_len))
    spans = []
    for left in range(n_anchors, 0, -1):
        length = _span_length(rng.beta(4, 2), min_len, max_len)
        scarce = len(free) // left < left
        block = int(rng.choice([0, len(free) - 1]) if scarce else rng.randint(len(free)))
        start = int(rng.randint(free[block], free[block] + max_len - length + 1))
        del free[max(0, block - 1) : block + 2]
        anchor = (start, start + length)
        spans.append(anchor)
        spans += [_positive_span(anchor, n_tokens, min_len, max_len, strategy, rng) for _ in range(n_positives)]
    return spans


def mlm_mask(
    ids: Tensor,
    special_mask: Tensor,
    vocab: int,
    p: float = 0.15,
    *,
    mask_id: int,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Corrupt tokens for masked language modelling (BERT, Devlin et al. 2019, section 3.1).

    Each token is chosen with probability p; of those 80 % become ``mask_id``, 10 % a random token, 10 % stay.

    Args:
        ids: ``(B, L)``.
        special_mask: ``(B, L)``, non-zero for tokens that are never chosen: markers and padding.
        vocab: size of the vocabulary; random tokens lie below.
        p: share of the tokens that are chosen.
        mask_id: id of the mask token.
        generator: source of the draws, on the device of ``ids``.

    Returns:
        The corrupted ids, and labels: the original id where chosen, -100 elsewhere.

    Raises:
        ShapeError: shapes that do not fit together.
        ValueError: a share outside [0, 1].

    Example:
        >>> ids, labels = mlm_mask(torch.tensor([[7, 8]]), torch.tensor([[0, 1]]), vocab=9, p=1.0, mask_id=3)
        >>> labels, ids[0, 1]
        (tensor([[   7, -100]]), tensor(8))
    """
    check_shape(tuple(ids.shape), special_mask=special_mask)
    check_share(p=p)
    chosen = (torch.rand(ids.shape, generator=generator, device=ids.device) < p) & ~special_mask.bool()
    fate = torch.rand(ids.shape, generator=generator, device=ids.device)
    random = torch.randint(vocab, ids.shape, generator=generator, device=ids.device, dtype=ids.dtype)
    corrupted = ids.masked_fill(chosen & (fate < 0.8), mask_id)
    corrupted = torch.where(chosen & (fate >= 0.9), random, corrupted)
    return corrupted, ids.masked_fill(~chosen, IGNORED)


@torch.no_grad()
def replaced_words(
    ids: Tensor, mask: Tensor, edited: Tensor, edited_mask: Tensor, starts: Tensor
) -> tuple[Tensor, Tensor]:
    """Which tokens of an edited text are of a word that stands elsewhere in the place of another (CLINE).

    Both texts have the same number of words, of which some were exchanged. A word is compared as the numbers of its
    tokens, mixed to one.

    Args:
        ids: ``(B, L)`` the text as it was.
        mask: ``(B, L)``, non-zero for real tokens.
        edited: ``(B, M)`` the edited text.
        edited_mask: ``(B, M)``.
        starts: ``(V,)`` bool, the tokens that begin a word.

    Returns:
        ``(B, M)`` bool, of a replaced word; and ``(B, M)`` bool, of a word that both texts hold whole: the last one
        of a text may have been cut.

    Raises:
        ShapeError: shapes that do not fit together.

    Example:
        >>> starts = torch.tensor([False, True, True, True, False])
        >>> before, after = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 3, 4, 3]])
        >>> changed, whole = replaced_words(before, torch.ones(1, 3), after, torch.ones(1, 4), starts)
        >>> changed.tolist(), whole.tolist()
        ([[False, True, True, False]], [[True, True, True, False]])
    """
    check_ndim(2, ids=ids, edited=edited)
    check_shape(tuple(ids.shape), mask=mask)
    check_shape((len(ids), None), edited=edited)
    check_shape(tuple(edited.shape), edited_mask=edited_mask)
    room = max(ids.shape[1], edited.shape[1]) + 2
    before, _, words = _word_numbers(ids, mask.bool(), starts, room)
    after, place, others = _word_numbers(edited, edited_mask.bool(), starts, room)
    changed = (before != after).gather(1, place)
    whole = place < torch.minimum(words, others)[:, None]
    return changed & whole, whole


def _word_numbers(ids: Tensor, mask: Tensor, starts: Tensor, room: int) -> tuple[Tensor, Tensor, Tensor]:
    """A number for each word ``(B, room)``, which word each token is of ``(B, L)``, and the last word ``(B,)``."""
    begins = starts[ids] & mask
    place = begins.cumsum(dim=1)  # 0 for what comes before the first word
    first = torch.where(begins, torch.arange(ids.shape[1], device=ids.device), 0).cummax(dim=1).values
    within = torch.arange(ids.shape[1], device=ids.device) - first
    mixed = (ids + 1) * 0x9E3779B97F4A7C1 + (ids + 1) * (within + 1) * 0x5851F42D4C957F3  # overflow wraps around
    numbers = torch.zeros(len(ids), room, dtype=torch.int64, device=ids.device)
    numbers.scatter_add_(1, place, mixed.masked_fill(~mask, 0))
    return numbers, place, place.max(dim=1).values


def _draw(values: Tensor, log_weight: Tensor, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """n of each row's values without repetition, by weight; and which were there to be drawn.

    The largest of ``log weight - log exponential`` are such a draw (Gumbel top-k).
    """
    exponential = torch.empty_like(log_weight).exponential_(generator=generator)
    key, place = (log_weight - exponential.log()).topk(min(n, values.shape[1]), dim=1)
    short = (0, n - key.shape[1])
    return F.pad(values.gather(1, place), short), F.pad(key > -torch.inf, short)


def _span_length(share: float, shortest: int, longest: int) -> int:
    return int(share * (longest - shortest) + shortest)


def _positive_span(
    anchor: tuple[int, int], n_tokens: int, min_len: int, max_len: int, strategy: str | None, rng: Any
) -> tuple[int, int]:
    """One positive of ``anchor``; each draws a length, then a start."""
    start, end = anchor
    longest = {
        "subsuming": end - start,
        "adjacent": min(max_len, max(start, n_tokens - end)),
    }.get(strategy or "default", max_len)
    length = _span_length(rng.beta(2, 4), min_len, longest)
    if strategy == "subsuming":
        first = rng.randint(start, end - length + 1)
    elif strategy == "adjacent":
        before = [start - length] if start > length else []  # the released code does not start at 0
        after = [end] if end + length <= n_tokens else []
        if not before + after:
            raise ValueError(f"no room for {length} tokens beside the anchor {anchor} of {n_tokens}: lower min_len")
        first = rng.choice(before + after)
    else:
        first = rng.randint(max(0, start - length), min(end, n_tokens - length) + 1)
    return int(first), int(first) + length
