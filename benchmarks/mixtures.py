"""Gaussian mixtures with an unknown number of clusters: Accord's splits and merges beside scikit-learn's.

Both get the same rows, of twenty Gaussians of full covariance, and the same number of clusters to start from, 40.
scikit-learn's ``BayesianGaussianMixture`` (full covariance, Dirichlet process, its defaults else) gives those that it
does not need next to no weight; ours merges them by marginal likelihoods, which are computed from the sizes, means and
scatters of the clusters. How good a mixture is says the mean log-likelihood of held-out rows, of ours under the
posterior modes of the covariances. Times are of fitting alone, in turn in one process.

    python benchmarks/mixtures.py [--rows 20000]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from record import write
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture

from accord.functional import ClusterStatistics, Discovered, discover_classes

DIMS, TRUE, START, REPEATS = (8, 16, 32), 20, 40, 3


def main(rows: int) -> None:
    """Measure, print and write ``results/mixtures.json``."""
    found = []
    for dim in DIMS:
        train, test = mixture(rows, dim, seed=0)
        fits: dict[str, Callable[[int], Callable[[np.ndarray], np.ndarray]]] = {
            "accord": lambda seed, train=train: ours(train, seed),
            "scikit-learn": lambda seed, train=train: theirs(train, seed),
        }
        for name, fit in fits.items():
            seconds, likelihoods = [], []
            for seed in range(REPEATS):
                begun = time.perf_counter()
                density = fit(seed)
                seconds.append(time.perf_counter() - begun)
                likelihoods.append(float(density(test).mean()))
            found.append(
                {
                    "rows": rows,
                    "dim": dim,
                    "fitted by": name,
                    "seconds": round(statistics.median(seconds), 3),
                    "held-out log-likelihood": round(statistics.median(likelihoods), 3),
                }
            )
            print(found[-1], flush=True)
    for mine, other in zip(found[::2], found[1::2], strict=True):
        ratio = mine["seconds"] / other["seconds"]
        mine["/ scikit-learn"], other["/ scikit-learn"] = round(ratio, 3), 1.0
        print(f"dim {mine['dim']}: {ratio:.2f} of the time")
    print("written:", write("mixtures", found, ("accord", "torch", "scikit-learn")))


def mixture(rows: int, dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows for fitting and half as many held out, unit norm, of Gaussians that overlap a little."""
    random = np.random.default_rng(seed)
    means = random.standard_normal((TRUE, dim))
    shapes = random.standard_normal((TRUE, dim, dim)) / dim**0.5 * 0.35
    kinds = random.integers(TRUE, size=rows + rows // 2)
    noise = np.einsum("nij,nj->ni", shapes[kinds], random.standard_normal((len(kinds), dim)))
    x = means[kinds] + noise
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    return x[:rows], x[rows:]


def theirs(train: np.ndarray, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """scikit-learn's mixture: log densities of rows."""
    fitted = BayesianGaussianMixture(n_components=START, covariance_type="full", random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a hundred rounds, its default
        fitted.fit(train)
    return lambda x: fitted.score_samples(x)


def ours(train: np.ndarray, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Our clusters: log densities of rows under their posterior."""
    x = torch.from_numpy(train)
    none = torch.full((len(x),), -1)
    found = discover_classes(x, none, start=START, dim=None, restarts=1, seed=seed)
    return lambda rows: log_density(rows, x, found)


def log_density(rows: np.ndarray, x: torch.Tensor, found: Discovered) -> np.ndarray:
    """Log density ``(n,)`` of rows under the posterior mode of each cluster."""
    prior = found.prior
    parts: list[Any] = []
    for number in range(found.classes):
        members = ClusterStatistics.of(x[found.assigned == number])
        gaussian = multivariate_normal(prior.posterior_mean(members).numpy(), prior.posterior_cov(members).numpy())
        parts.append(gaussian.logpdf(rows) + np.log(members.size / len(x)))
    return np.asarray(logsumexp(np.stack(parts), axis=0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    main(parser.parse_args().rows)
