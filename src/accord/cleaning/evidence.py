"""From evidence to probability: how right rows score, learnt from how wrong ones would.

Shuffled rows are wrong for certain, so their evidence shows how a wrong row scores. The evidence of the rows as they
are is a mixture of that and of what right rows have. Where wrong rows lie, right ones are rare: there the ratio of the
two distribution functions is the share of wrong rows (as Storey 2002, JRSS B, estimates the share of true nulls). Share
and moments then give the log-odds of two normal distributions of equal width, which rise with the evidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
_QUANTILES = np.arange(0.1, 0.91, 0.05)  # of the shuffled rows, below which rows are counted
_STEPS = 5  # of expectation and maximisation
_SURE = 4.0  # standard errors by which rows must lie above shuffled ones to be judged
_ALL = 0.95  # share of wrong rows from which nothing tells right from wrong


@dataclass(frozen=True)
class Odds:
    """Log-odds that a row is right, as a line over its evidence.

    Args:
        slope: never negative.
        offset: log-odds at evidence 0.
        share: estimated share of wrong rows.
        telling: False where rows as they are score no better than shuffled ones, so that none can be judged.
    """

    slope: float
    offset: float
    share: float
    telling: bool = True

    def __call__(self, evidence: Floats) -> Floats:
        """Log-odds of evidence of any shape."""
        return self.slope * evidence + self.offset


def fit_odds(observed: Floats, shuffled: Floats, choices: int | None = None) -> Odds:
    """How evidence tells right rows from wrong ones.

    Args:
        observed: ``(N,)`` evidence of the rows as they are, higher is better.
        shuffled: ``(M,)`` of rows that were made wrong.
        choices: out of how many a wrong row's value is drawn, such as all classes but its own: a row that is wrong
            already is made right by one shuffle in so many; None where that does not happen.

    Example:
        >>> random = np.random.default_rng(0)
        >>> rows = np.concatenate([random.normal(4, 1, 800), random.normal(0, 1, 200)])
        >>> odds = fit_odds(rows, random.normal(0, 1, 5000))
        >>> round(odds.share, 1), bool(odds(np.array(4.0)) > 2), bool(odds(np.array(0.0)) < -2)
        (0.2, True, True)
    """
    share, count = wrong_share(observed, shuffled), len(observed)
    if choices is not None:
        share = share / (1 + share / choices)  # of shuffled rows, share / choices are right
    spread = max(float(shuffled.std()), 1e-12)
    gain = float(observed.mean() - shuffled.mean()) / spread
    if gain < _SURE * math.sqrt(1 / count + 1 / len(shuffled)) or share > _ALL:
        return Odds(1 / spread, 0.0, share, telling=False)
    wrong, right = _means(float(observed.mean()), float(shuffled.mean()), share, choices)
    within = max(float(observed.var()) - share * (1 - share) * (right - wrong) ** 2, 0.05 * spread**2)
    slope = (right - wrong) / within
    prior = math.log((1 - share) / share)
    return Odds(slope, prior - slope * (right + wrong) / 2, share)


def wrong_share(observed: Floats, shuffled: Floats) -> float:
    """Estimated share of wrong rows, in (0, 1].

    The smallest of the ratios at several quantiles of the shuffled rows, each raised by its standard error. Rows of which
    hardly any scores as low as a shuffled one have a share near 0, and never 1.

    Args:
        observed: ``(N,)`` evidence of the rows as they are.
        shuffled: ``(M,)`` of shuffled ones.

    Example:
        >>> wrong_share(np.arange(100.0) + 1000, np.arange(100.0)) < 0.03
        True
    """
    count = len(observed)
    below = np.searchsorted(np.sort(observed), np.quantile(shuffled, _QUANTILES), side="right") / count
    error = np.sqrt(np.maximum(below * (1 - below), 1 / count) / count)
    return float(np.clip(np.min((below + error) / _QUANTILES), 0.5 / count, 1.0))


def further_odds(values: Floats, log_odds: Floats) -> tuple[float, float]:
    """What a second kind of evidence adds to log-odds from a first: slope and offset of a line over it.

    By expectation and maximisation of two normal distributions of equal width, whose prior is the first kind's. It adds
    nothing where rows that the first kind doubts have as much of the second as others: a model that has learnt its
    pairs by heart gives wrong ones as high a cosine as right ones.

    Args:
        values: ``(N,)`` the second evidence.
        log_odds: ``(N,)`` from the first.

    Example:
        >>> further_odds(np.array([0.0, 1.0, 0.0, 1.0]), np.array([-3.0, -3.0, 3.0, 3.0]))[0] < 1
        True
    """
    slope = offset = 0.0
    for _ in range(_STEPS):
        clean = probability(log_odds + slope * values + offset)
        mass = clean.sum(), (1 - clean).sum()
        if min(mass) < 1e-6:
            return 0.0, 0.0
        right, wrong = (clean @ values) / mass[0], ((1 - clean) @ values) / mass[1]
        within = (clean @ (values - right) ** 2 + (1 - clean) @ (values - wrong) ** 2) / len(values)
        slope = float(max(right - wrong, 0) / max(within, 1e-12))
        offset = -slope * float(right + wrong) / 2
    return slope, offset


def probability(log_odds: Floats) -> Floats:
    """The probability of log-odds."""
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -30, 30))))


def _means(observed: float, shuffled: float, share: float, choices: int | None) -> tuple[float, float]:
    """Mean evidence of wrong and of right rows, from those of two mixtures of them."""
    mended = 0.0 if choices is None else share / choices  # share of right ones among the shuffled
    wrong, right = np.linalg.solve([[share, 1 - share], [1 - mended, mended]], [observed, shuffled])
    return float(wrong), float(right)
