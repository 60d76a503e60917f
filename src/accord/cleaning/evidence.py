"""From evidence to probability: how right rows score, learnt from how wrong ones would.

Shuffled rows are wrong for certain, so their evidence shows how a wrong row scores. The evidence of the rows as they
are is a mixture of that and of what right rows have. Where wrong rows lie, right ones are rare: there the ratio of the
two distribution functions is the share of wrong rows (as Storey 2002, JRSS B, estimates the share of true nulls). Share
and moments give two normal distributions, and these the odds, which never fall with the evidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from accord.functional import GaussianMixture1d, monotone_log_odds

Floats = NDArray[np.floating]
_QUANTILES = np.arange(0.1, 0.91, 0.05)  # of the shuffled rows, below which rows are counted
_STEPS = 5  # of expectation and maximisation
_SURE = 4.0  # standard errors by which rows must lie above shuffled ones to be judged
_ALL = 0.95  # share of wrong rows from which nothing tells right from wrong
_NARROW = 0.05  # smallest variance of right rows, over that of wrong ones
_ORDER = 1e-3  # log-odds a deviation, so that rows beyond the turning point keep their order


@dataclass(frozen=True)
class Odds:
    """Log-odds that a row is right, by its evidence.

    Args:
        right: mean and variance of the evidence of right rows.
        wrong: of wrong rows.
        share: estimated share of wrong rows.
        telling: False where rows as they are score no better than shuffled ones, so that none can be judged.
    """

    right: tuple[float, float]
    wrong: tuple[float, float]
    share: float = 0.5
    telling: bool = True

    def __call__(self, evidence: Floats) -> Floats:
        """Log-odds ``(N,)`` of evidence ``(N,)``, which order rows as the evidence does."""
        order = _ORDER * (evidence - self.wrong[0]) / math.sqrt(self.wrong[1])
        if not self.telling or self.right[0] <= self.wrong[0]:
            return order
        (right, narrow), (wrong, wide) = self.right, self.wrong
        columns = ((1 - self.share, self.share), (-right, -wrong), (narrow, wide))
        mixture = GaussianMixture1d(*(torch.tensor(column, dtype=torch.float64) for column in columns))
        return monotone_log_odds(torch.from_numpy(-evidence), mixture, clean=0).numpy() + order


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
        >>> round(odds.share, 1), (odds(np.array([0.0, 4.0])) > 2).tolist()
        (0.2, [False, True])
    """
    share, count = wrong_share(observed, shuffled), len(observed)
    if choices is not None:
        share = share / (1 + share / choices)  # of shuffled rows, share / choices are right
    spread = max(float(shuffled.var()), 1e-12)
    gain = float(observed.mean() - shuffled.mean()) / math.sqrt(spread)
    if gain < _SURE * math.sqrt(1 / count + 1 / len(shuffled)) or share > _ALL:
        here = float(shuffled.mean()), spread
        return Odds(here, here, share, telling=False)
    mended = 0.0 if choices is None else share / choices  # share of right rows among the shuffled
    wrong, right = _parted(observed, shuffled, share, mended)
    return Odds(right, wrong, share)


def wrong_share(observed: Floats, shuffled: Floats) -> float:
    """Estimated share of wrong rows, in (0, 1].

    The smallest of the ratios at several quantiles of the shuffled rows, each raised by its standard error. Rows of
    which hardly any scores as low as a shuffled one have a share near 0, and never 1.

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


def further_odds(values: Floats, log_odds: Floats) -> Odds:
    """What a second kind of evidence adds to log-odds from a first.

    By expectation and maximisation of two normal distributions, whose prior is the first kind's. It adds nothing where
    rows that the first kind doubts have as much of the second as others: a model that has learnt its pairs by heart
    gives wrong ones as high a cosine as right ones.

    Args:
        values: ``(N,)`` the second evidence.
        log_odds: ``(N,)`` from the first.

    Example:
        >>> both = further_odds(np.array([0.0, 1.0, 0.1, 1.1]), np.array([-3.0, -3.0, 3.0, 3.0]))
        >>> bool(np.abs(both(np.array([0.0, 1.0]))).max() < 1)
        True
    """
    odds = Odds((0.0, 1.0), (0.0, 1.0), telling=False)
    whole = max(float(values.var()), 1e-12)
    for _ in range(_STEPS):
        clean = probability(log_odds + odds(values))
        if min(clean.sum(), (1 - clean).sum()) < 1e-6:
            return Odds((0.0, 1.0), (0.0, 1.0), telling=False)
        odds = Odds(_moments(values, clean, whole), _moments(values, 1 - clean, whole))
    return odds


def probability(log_odds: Floats) -> Floats:
    """The probability of log-odds."""
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -30, 30))))


def _moments(values: Floats, weight: Floats, whole: float) -> tuple[float, float]:
    """Weighted mean and variance."""
    mean = float(weight @ values / weight.sum())
    return mean, max(float(weight @ (values - mean) ** 2 / weight.sum()), _NARROW * whole)


def _parted(
    observed: Floats, shuffled: Floats, share: float, mended: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Mean and variance of wrong and of right rows, from the moments of two mixtures of them."""
    mixed = np.array([[share, 1 - share], [1 - mended, mended]])
    first = np.linalg.solve(mixed, [observed.mean(), shuffled.mean()])
    second = np.linalg.solve(mixed, [np.square(observed).mean(), np.square(shuffled).mean()])
    spread = np.maximum(second - first**2, _NARROW * shuffled.var() + 1e-12)
    return (float(first[0]), float(spread[0])), (float(first[1]), float(spread[1]))
