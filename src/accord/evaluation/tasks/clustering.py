"""``clustering``: how well k-means finds the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from accord.evaluation.clustering import RUNS, evaluate_clustering
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Embeds, Labels, Shared, main_modality
from accord.evaluation.task import Options, Task

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


class ClusteringOptions(Options):
    """Options of the task."""

    runs: int = Field(RUNS, ge=1, description="random starts of k-means")


def run(model: Model, prepared: Prepared, options: ClusteringOptions) -> list[Metric]:
    """Agreement of clusters and classes."""
    return evaluate_clustering(model, prepared.test, main_modality(model, prepared.test), options.runs)


TASK = Task(
    "clustering",
    measures="NMI and ARI of k-means with as many clusters as classes, ten starts",
    needs=(Labels(), Shared()),
    usual=(Embeds("graph"),),
    order=90,
    options=ClusteringOptions,
    run=run,
)
