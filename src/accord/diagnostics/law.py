"""How agreement of two models grows with what they are shown: a law that saturates, over frames or captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accord.errors import ConfigError

Form = Literal["additive", "multiplicative"]
Floats = NDArray[np.float64]
LEAST = 3  # different amounts of each kind of evidence
STARTS = (0.5, 1.0, 2.0)  # exponents that the fit begins from
BOUNDS = ((0.0, 1.5), (0.0, 5.0), (0.05, 5.0))  # of the limit, the costs and the exponents


@dataclass(frozen=True)
class ScalingLaw:
    """``score = S - Σ_a C_a n_a^-α_a`` over kinds of evidence a, of which n_a pieces are shown; n starts at 1.

    The multiplicative form is ``S Π_a (1 - C_a n_a^-α_a)``: single pieces that say little make the penalties multiply.

    Args:
        limit: S, what the score tends to.
        costs: C, one per kind of evidence: what the first piece leaves to be gained.
        exponents: α, how fast it is gained.
        form: how the penalties go together.
        r2: share of the variance of the scores that the law explains.

    Source:
        "Dynamic Reflections" (2026, ICLR), section 4.

    Example:
        >>> frames, captions = [1, 2, 4, 8] * 4, [n for n in (1, 2, 4, 8) for _ in range(4)]
        >>> scores = [0.4 - 0.15 * f**-0.75 - 0.13 * c**-1.3 for f, c in zip(frames, captions)]
        >>> law = ScalingLaw.fit([frames, captions], scores)
        >>> round(law.limit, 3), [round(alpha, 2) for alpha in law.exponents]
        (0.4, [0.75, 1.3])
    """

    limit: float
    costs: tuple[float, ...]
    exponents: tuple[float, ...]
    form: Form
    r2: float

    @classmethod
    def fit(cls, evidence: Sequence[ArrayLike], scores: ArrayLike, form: Form = "additive") -> ScalingLaw:
        """Least squares from several starts, of which the best is kept.

        Args:
            evidence: for each kind of it, how many pieces were shown for each score, from 1.
            scores: the scores.
            form: of the law.

        Raises:
            ConfigError: fewer than three different amounts of a kind, other lengths, or amounts below 1.
        """
        from scipy.optimize import least_squares  # slow to import

        shown, given = _checked(evidence, scores)
        kinds = len(shown)
        low, high = (
            np.array([side[place] for side, count in zip(BOUNDS, (1, kinds, kinds), strict=True) for _ in range(count)])
            for place in (0, 1)
        )

        def residual(parameters: Floats) -> Floats:
            return _predicted(parameters, shown, form) - given

        found = None
        for exponents in product(STARTS, repeat=kinds):
            ends = given.max(), np.ptp(given) or 0.1
            start = np.array([ends[0], *[ends[1] / kinds] * kinds, *exponents])
            one = least_squares(residual, np.clip(start, low + 1e-9, high - 1e-9), bounds=(low, high))
            found = one if found is None or one.cost < found.cost else found
        assert found is not None
        total = float(np.square(given - given.mean()).sum())
        r2 = 1 - 2 * float(found.cost) / total if total else 1.0
        limit, *rest = (float(value) for value in found.x)
        return cls(limit, tuple(rest[:kinds]), tuple(rest[kinds:]), form, r2)

    def predict(self, evidence: Sequence[ArrayLike]) -> Floats:
        """The scores that the law expects, for as many kinds of evidence as it was fitted on."""
        shown = [np.asarray(amounts, dtype=np.float64) for amounts in evidence]
        return _predicted(np.array([self.limit, *self.costs, *self.exponents]), shown, self.form)


def intervals(
    evidence: Sequence[ArrayLike], per_item: NDArray[np.floating], draws: int, seed: int = 0, form: Form = "additive"
) -> Floats:
    """95 % intervals ``(2, 1 + 2 kinds)`` of limit, costs and exponents, over items drawn with replacement.

    Args:
        evidence: as for :meth:`ScalingLaw.fit`.
        per_item: ``(scores, N)`` the score of each item.
        draws: how often items are drawn.
        seed: of the draws.
        form: of the law.
    """
    random = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        chosen = random.integers(per_item.shape[1], size=per_item.shape[1])
        law = ScalingLaw.fit(evidence, per_item[:, chosen].mean(axis=1), form)
        found.append([law.limit, *law.costs, *law.exponents])
    return np.asarray(np.percentile(found, (2.5, 97.5), axis=0))


def _predicted(parameters: Floats, shown: Sequence[Floats], form: Form) -> Floats:
    kinds = len(shown)
    limit, costs, exponents = parameters[0], parameters[1 : 1 + kinds], parameters[1 + kinds :]
    missing = [cost * amounts**-alpha for cost, alpha, amounts in zip(costs, exponents, shown, strict=True)]
    if form == "additive":
        return np.asarray(limit - np.sum(missing, axis=0))
    return np.asarray(limit * np.prod([1 - each for each in missing], axis=0))


def _checked(evidence: Sequence[ArrayLike], scores: ArrayLike) -> tuple[list[Floats], Floats]:
    shown = [np.asarray(amounts, dtype=np.float64) for amounts in evidence]
    given = np.asarray(scores, dtype=np.float64)
    for number, amounts in enumerate(shown, start=1):
        if amounts.shape != given.shape:
            raise ConfigError(f"evidence {number}: {amounts.size} amounts for {given.size} scores")
        if len(np.unique(amounts)) < LEAST or amounts.min() < 1:
            raise ConfigError(
                f"evidence {number}: a law needs {LEAST} different amounts from 1, got {np.unique(amounts).tolist()}"
            )
    return shown, given
