"""Which properties of the rows the embeddings still tell, and by which of them the space is organised.

Contrastive training learns what separates the negatives most easily and leaves the rest unlearned (feature
suppression; Zhang et al. 2024, ECCV, "Learning the Unlearned"). A linear probe per property finds what is left of it.
That a property is not found says nothing of the model alone: the input has to show it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.diagnostics.finding import Diagnostic
from accord.diagnostics.purity import drawn_rows
from accord.diagnostics.space import Factor
from accord.errors import DataError
from accord.evaluation.clustering import normalised_information
from accord.evaluation.linear_probe import fit_probe
from accord.evaluation.metric import Metric, mean_metric
from accord.functional.clusters.k_means import kmeans

_SHUFFLES = 10  # of the values, for what clusters and a factor share by chance
_STARTS = 3  # of k-means


def factor_diagnostics(
    name: str, x: Tensor, factor: Factor, groups: NDArray[Any] | None = None, seed: int = 0
) -> list[Diagnostic]:
    """Accuracy of a linear probe on unseen rows, and what clusters of the embeddings share with the factor.

    A fifth of the rows, whole groups, is held out; chance is the share of the value that most of the others have. There
    are as many clusters as the factor has values.

    Args:
        name: what the two are called, such as ``image: colour``.
        x: ``(N, D)`` unit norm.
        factor: the value of each row; rows of none are left out.
        groups: ``(N,)`` rows of equal value stay on one side of the split; None: every row is its own.
        seed: draws 20,000 rows where there are more, the split, and the start of the clusters.

    Raises:
        DataError: all rows are of one group, or those that are fitted on have one value.

    Example:
        >>> x = torch.eye(2).repeat(30, 1)
        >>> found = factor_diagnostics("image: side", x, Factor(np.arange(60) % 2, ("left", "right")))
        >>> [(item.name, item.value) for item in found]
        [('image: side, probe', 100.0), ('image: side, NMI', 100.0)]
    """
    rows = drawn_rows(factor.known, seed)
    held = factor.select(rows).packed()
    x = x[torch.from_numpy(rows)].float()
    probe = _probe(f"{name}, probe", x, held, None if groups is None else groups[rows], seed)
    shared, by_chance = _organised(x, held, seed)
    return [
        Diagnostic.of(
            probe, f"percent of unseen rows whose value, one of {len(held.names)}, a line tells: {_told(probe)}"
        ),
        Diagnostic(
            f"{name}, NMI",
            shared,
            "what clusters share with it; the space is organised by the factor that stands highest above chance",
            chance=by_chance,
            n=len(x),
            unit="%",
        ),
    ]


def _probe(name: str, x: Tensor, factor: Factor, groups: NDArray[Any] | None, seed: int) -> Metric:
    code = np.arange(len(x)) if groups is None else np.unique(groups, return_inverse=True)[1].reshape(-1)
    order = np.random.default_rng(seed).permutation(code.max() + 1)
    test = np.isin(code, order[: max(1, len(order) // 5)])
    seen = factor.values[~test]
    if len(np.unique(seen)) < 2:
        raise DataError(f"{name}: the rows to fit on have fewer than two values; expected more rows, or more groups")
    fitted = fit_probe(x[torch.from_numpy(~test)], seen, len(factor.names), groups=code[~test], seed=seed)
    found = fitted.logits(x[torch.from_numpy(test)]).argmax(dim=1).numpy()
    guess = np.bincount(seen).argmax()
    truth = factor.values[test]
    chance = 100 * float((truth == guess).mean())
    return mean_metric(name, found == truth, chance=chance, groups=None if groups is None else code[test])


def _organised(x: Tensor, factor: Factor, seed: int) -> tuple[float, float]:
    """NMI of clusters with the factor in percent, and with the factor dealt to other rows."""
    count = len(factor.names)
    clusters = kmeans(x, count, n_redo=_STARTS, spherical=True, seed=seed)[0].numpy()
    rng = np.random.default_rng(seed)
    values = [factor.values, *(rng.permutation(factor.values) for _ in range(_SHUFFLES))]
    tables = [np.bincount(clusters * count + value, minlength=count**2) for value in values]
    found = 100 * normalised_information(np.stack(tables).reshape(-1, count, count).astype(np.float64))
    return float(found[0]), float(found[1:].mean())


def _told(probe: Metric) -> str:
    """The accuracy in words."""
    if probe.chance is None or probe.low is None or probe.low <= probe.chance:
        return "no better than guessing, suppressed"
    return f"{100 * (probe.value - probe.chance) / (100 - probe.chance):.0f} % of the way from guessing to certainty"
