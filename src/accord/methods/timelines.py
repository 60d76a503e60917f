"""Steps of a recording as spans of seconds, and the intervals in which scores of steps are high."""

from __future__ import annotations

import torch
from torch import Tensor

from accord.errors import ConfigError
from accord.methods.abilities import Timeline


def spans_of(times: Tensor, *, centred: bool, alone: float = 1.0) -> Tensor:
    """Start and end of each step, which reaches to the next one; the last is as long as the one before it.

    Args:
        times: ``(T,)`` seconds, ascending.
        centred: whether these are the middles of the steps, as of frames, instead of their starts.
        alone: how long a step lasts that is the only one.

    Returns:
        ``(T, 2)``.

    Example:
        >>> spans_of(torch.tensor([0.0, 2.0, 3.0]), centred=False).tolist()
        [[0.0, 2.0], [2.0, 3.0], [3.0, 4.0]]
        >>> spans_of(torch.tensor([1.0, 3.0]), centred=True).tolist()
        [[0.0, 2.0], [2.0, 4.0]]
    """
    gaps = times.diff()
    if not len(gaps):
        gaps = times.new_full((1,), alone)
    if centred:
        edges = torch.cat([times[:1] - gaps[:1] / 2, (times[1:] + times[:-1]) / 2, times[-1:] + gaps[-1:] / 2])
    else:
        edges = torch.cat([times, times[-1:] + gaps[-1:]])
    edges = edges.clamp(min=0)
    return torch.stack([edges[:-1], edges[1:]], dim=1)


def intervals_above(
    timeline: Timeline, threshold: float = 0.5, low: float | None = None
) -> list[tuple[float, float, float]]:
    """Spans of seconds in which scores are high: steps that reach ``low`` around one that reaches ``threshold``.

    Args:
        timeline: the scores.
        threshold: that a step of an interval reaches at least.
        low: that all of its steps reach; None for ``threshold``. A lower one keeps together what flickers.

    Returns:
        Start, end and highest score of each, in order of time.

    Raises:
        ConfigError: ``low`` is above ``threshold``.

    Example:
        >>> scores = torch.tensor([0.4, 0.9, 0.4, 0.1, 0.4])
        >>> spans = torch.arange(6.0).unfold(0, 2, 1)
        >>> [interval[:2] for interval in intervals_above(Timeline(spans, scores, {}), 0.5, 0.3)]
        [(0.0, 3.0)]
    """
    low = threshold if low is None else low
    if low > threshold:
        raise ConfigError(f"low = {low} is above threshold = {threshold}: give a lower one, which intervals extend to")
    found: list[tuple[float, float, float]] = []
    scores, spans = timeline.scores.tolist(), timeline.spans.tolist()
    start = 0
    for place in range(len(scores) + 1):
        if place < len(scores) and scores[place] >= low:
            continue
        if place > start and max(scores[start:place]) >= threshold:
            found.append((spans[start][0], spans[place - 1][1], max(scores[start:place])))
        start = place + 1
    return found
