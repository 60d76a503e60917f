"""The geometry of an embedding space in a few numbers, each with a sentence on how to read it.

Modality gap (Liang et al., 2022), alignment and uniformity (Wang and Isola, 2020), effective rank (Roy and
Vetterli, 2007); the mathematics is in :mod:`accord.functional.measures.regularity`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from accord.diagnostics.finding import Diagnostic
from accord.errors import DataError, ShapeError
from accord.functional.measures.gap import gap_geometry, modality_gap, procrustes
from accord.functional.measures.regularity import alignment, effective_rank, uniformity

SAMPLE = 2000  # rows for the numbers that cost N² or N D²
SPLITS = 20  # with 60 pairs the accuracy of one split has a standard deviation of 0.05


def embedding_diagnostics(embeddings: Mapping[str, Tensor], seed: int = 0) -> list[Diagnostic]:
    """Numbers of every modality, then of every pair of modalities.

    Args:
        embeddings: modality -> ``(N, D)`` unit norm; row i of all modalities belongs together. Modalities of
            different D are not compared.
        seed: draws the rows when there are more than 2000.

    Returns:
        Those of :func:`spread_diagnostics` and of :func:`pair_diagnostics`.

    Raises:
        DataError: fewer than two rows, or embeddings that are not finite.
        ShapeError: the modalities have different numbers of rows.

    Example:
        >>> space = {"image": torch.eye(2), "text": torch.eye(2)}
        >>> [f"{item.name} {item.value:.1f}" for item in embedding_diagnostics(space)][-4:]
        ['image–text modality gap 0.0', 'image–text alignment 0.0', 'image–text cosine of pairs 1.0',
         'image–text cosine of others 0.0']
    """
    return spread_diagnostics(embeddings, seed) + pair_diagnostics(embeddings, seed)


def spread_diagnostics(embeddings: Mapping[str, Tensor], seed: int = 0) -> list[Diagnostic]:
    """Uniformity and effective rank of each modality; arguments as of :func:`embedding_diagnostics`."""
    return [item for name, rows in sampled(embeddings, seed).items() for item in _of_one(name, rows)]


def pair_diagnostics(embeddings: Mapping[str, Tensor], seed: int = 0) -> list[Diagnostic]:
    """Gap, alignment, and mean cosine of matching and of other pairs of each two modalities of one size.

    Arguments as of :func:`embedding_diagnostics`.
    """
    drawn = sampled(embeddings, seed)
    return [
        item
        for one, other in combinations(drawn, 2)
        if drawn[one].shape[1] == drawn[other].shape[1]
        for item in _of_two(f"{one}–{other}", drawn[one], drawn[other])
    ]


def gap_metrics(x: Tensor, y: Tensor, seed: int = 0) -> dict[str, float]:
    """The gap between two modalities in the numbers of Fahim et al. (2024), among them :func:`linear_separability`.

    Args:
        x: ``(N, D)`` unit norm.
        y: ``(N, D)`` unit norm; row i belongs to row i of ``x``.
        seed: draws the rows when there are more than 2000, and the splits.

    Returns:
        ``centroid_distance``, ``centroid_cosine``, ``linear_separability``, ``uniformity_x``, ``uniformity_y``,
        ``cross_uniformity``, ``alignment``, ``pair_cosine``.

    Raises:
        DataError: fewer than two rows, or embeddings that are not finite.
        ShapeError: not two matrices of the same shape.

    Example:
        >>> numbers = gap_metrics(torch.eye(8), torch.eye(8))
        >>> numbers["centroid_distance"], numbers["pair_cosine"]
        (0.0, 1.0)
    """
    drawn = sampled({"x": x, "y": y}, seed)
    numbers = {name: float(value) for name, value in gap_geometry(drawn["x"], drawn["y"]).items()}
    return numbers | {"linear_separability": linear_separability(drawn["x"], drawn["y"], seed)}


def gap_diagnostics(embeddings: Mapping[str, Tensor], seed: int = 0) -> list[Diagnostic]:
    """How far two modalities lie apart, and what is left of it when the gap is closed after training.

    *Centred* subtracts each modality's mean; *turned* rotates the second modality onto the first by a Procrustes map
    of one half of the pairs. Both are measured on the other half, and cost nothing: training for the gap has to do
    better than they.

    Args:
        embeddings: modality -> ``(N, D)`` unit norm; row i of all modalities belongs together.
        seed: draws the rows when there are more than 2000, the halves, and the splits of the classifier.

    Returns:
        Gap and separability of each two modalities of one size: as they are, centred, turned.

    Raises:
        DataError: fewer than four rows, or embeddings that are not finite.
        ShapeError: the modalities have different numbers of rows.

    Example:
        >>> x = F.normalize(torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), dim=1)
        >>> found = gap_diagnostics({"image": x, "text": F.normalize(x + 2 * torch.ones(8), dim=1)})
        >>> [item.name for item in found][:2], found[1].value > 95, found[3].value < 70
        (['image–text modality gap', 'image–text separability'], True, True)
    """
    drawn = sampled(embeddings, seed)
    found: list[Diagnostic] = []
    for one, other in combinations(drawn, 2):
        if drawn[one].shape[1] == drawn[other].shape[1]:
            found += _closed(f"{one}–{other}", drawn[one], drawn[other], seed)
    return found


def _closed(names: str, x: Tensor, y: Tensor, seed: int) -> list[Diagnostic]:
    if len(x) < 4:
        raise DataError(f"the gap of {len(x)} pairs: expected at least 4, half of them to fit a rotation")
    half = len(x) // 2
    mean_x, mean_y = x[:half].mean(dim=0), y[:half].mean(dim=0)
    turn = procrustes(x[:half], y[:half])  # x Wᵀ lies on y
    rest = (x[half:], y[half:])
    forms = {
        "": rest,
        ", centred": tuple(F.normalize(side - mean, dim=1) for side, mean in zip(rest, (mean_x, mean_y), strict=True)),
        ", turned": (F.normalize(rest[0] @ turn.T, dim=1), rest[1]),
    }
    found = []
    for how, (left, right) in forms.items():
        found += [
            Diagnostic(
                f"{names} modality gap{how}",
                float(modality_gap(left, right)),
                "distance between the centres of the two modalities; 0 when they share one region, at most 2",
                n=len(left),
            ),
            Diagnostic(
                f"{names} separability{how}",
                100 * linear_separability(left, right, seed),
                "percent of unseen rows whose modality a hyperplane tells; 50 without a gap, 100 when disjoint",
                chance=50.0,
                n=len(left),
                unit="%",
            ),
        ]
    return found


def linear_separability(x: Tensor, y: Tensor, seed: int = 0, splits: int = SPLITS) -> float:
    """Accuracy with which a hyperplane tells the modality of unseen pairs: 0.5 without a gap, 1 when disjoint.

    Logistic regression with ``½ ||w||² + Σ log loss`` (C = 1 in scikit-learn's terms) is fitted on 80 % of the pairs
    and tested on the others; both sides of a pair fall on the same side of the split. The mean over ``splits`` draws.

    Args:
        x: ``(N, D)``, N ≥ 2.
        y: ``(N, D)``; row i belongs to row i of ``x``.
        seed: draws the splits.
        splits: number of draws.

    Returns:
        A number in [0, 1].

    Example:
        >>> x = torch.ones(8, 2)
        >>> linear_separability(x, -x)
        1.0
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(len(x), splits, generator=generator).argsort(dim=0)  # (N, S), a permutation in each column
    held = (order < max(1, len(x) // 5)).repeat(2, 1).to(x.device)  # (2N, S)
    points = torch.cat([x, y]).float()
    is_x = torch.arange(len(points), device=x.device)[:, None] < len(x)
    fitted = _logistic(points, is_x, ~held)
    right = ((points @ fitted[:-1] + fitted[-1] > 0) == is_x) & held
    return float(right.sum() / held.sum())


def _logistic(points: Tensor, label: Tensor, counts: Tensor) -> Tensor:
    """Weights, and below them the offset, of one logistic regression per column of ``counts``: ``(D + 1, S)``."""
    fitted = points.new_zeros(points.shape[1] + 1, counts.shape[1], requires_grad=True)
    target, weight = label.to(points).expand_as(counts), counts.to(points)
    optimiser = torch.optim.LBFGS([fitted], max_iter=200, tolerance_grad=1e-4, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = points @ fitted[:-1] + fitted[-1]
        loss = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
        objective = loss + fitted[:-1].square().sum() / 2
        objective.backward()
        return objective

    with torch.enable_grad():
        optimiser.step(closure)
    return fitted.detach()


def _of_one(name: str, x: Tensor) -> list[Diagnostic]:
    return [
        Diagnostic(
            f"{name} uniformity",
            float(uniformity(x)),
            "spread over the sphere; 0 when all embeddings are one point, near -4 when spread evenly",
            n=len(x),
        ),
        Diagnostic(
            f"{name} effective rank",
            float(effective_rank(x)),
            f"dimensions really used, of {x.shape[1]}; near 1 when the embeddings have collapsed",
            n=len(x),
        ),
    ]


def _of_two(names: str, x: Tensor, y: Tensor) -> list[Diagnostic]:
    count = len(x)
    matching = (x * y).sum()
    others = (x.sum(dim=0) @ y.sum(dim=0) - matching) / (count * (count - 1))
    return [
        Diagnostic(
            f"{names} modality gap",
            float(modality_gap(x, y)),
            "distance between the centres of the two modalities; 0 when they share one region, at most 2",
            n=len(x),
        ),
        Diagnostic(
            f"{names} alignment",
            float(alignment(x, y)),
            "mean squared distance of the two sides of a pair; 0 when pairs coincide, 2 when they are unrelated",
            n=len(x),
        ),
        Diagnostic(
            f"{names} cosine of pairs",
            float(matching / count),
            "mean cosine of what belongs together; higher is better",
            n=len(x),
        ),
        Diagnostic(
            f"{names} cosine of others",
            float(others),
            "mean cosine of what does not belong together; the distance to the line above is what ranks",
            n=len(x),
        ),
    ]


def sampled(embeddings: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """At most 2000 rows, the same of every modality; arguments and errors as of :func:`embedding_diagnostics`."""
    sizes = {name: len(rows) for name, rows in embeddings.items()}
    if len(set(sizes.values())) > 1:
        raise ShapeError(f"embeddings: {sizes} rows; expected equally many, row i belonging together")
    count = next(iter(sizes.values()), 0)
    if count < 2:
        raise DataError(f"diagnostics of {count} rows: expected at least 2")
    for name, rows in embeddings.items():
        if not bool(rows.isfinite().all()):
            raise DataError(f"{name} embeddings are not finite: the model diverged, train with a lower learning rate")
    chosen = torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:SAMPLE]
    return {name: rows[chosen].float() for name, rows in embeddings.items()}
