"""Clusters that one modality makes of some rows, and what they look like in the others (ProtoCLIP)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from accord.functional.checks import check_range, check_shape
from accord.functional.clusters.k_means import kmeans
from accord.functional.clusters.prototypes import back_translate
from accord.functional.contrast.prototypes import prototype_loss
from accord.functional.distributed import gather_features
from accord.state.base import FullPrecisionState


class TranslatedClusters(FullPrecisionState):
    """The clusters of a teacher's features, with a prototype of each for every student (Chen et al. 2023, TNNLS).

    :meth:`fit` runs k-means on the teacher's features of m rows. A student's prototype of a cluster is the mean of
    *its own* features of the members (prototypical back-translation), so that it lies where the student can reach it;
    :meth:`loss` lets the student tell the clusters apart. With n modalities each is the teacher of all others. The
    state lasts until the next :meth:`fit`, also over a restart, and all processes hold the same.

    Args:
        rows: m.
        clusters: K.
        dim: width E of the teacher's features.
        students: name -> width of the student's features.

    Raises:
        ValueError: no row, more clusters than rows.

    Example:
        >>> clusters = TranslatedClusters(4, 2, 1, students={"image": 2})
        >>> texts = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
        >>> images = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.0, 1.0]])
        >>> clusters.fit(texts, {"image": images})
        >>> clusters.prototypes("image")[clusters.labels[:1]]
        tensor([[0.8000, 0.4000]])
        >>> round(clusters.loss({"image": images}, torch.arange(4), logit_scale=10.0).item(), 3)
        0.175
    """

    labels: Tensor
    centroids: Tensor
    sizes: Tensor

    def __init__(self, rows: int, clusters: int, dim: int, students: Mapping[str, int]) -> None:
        super().__init__()
        check_range(1, max(rows, 1), rows=rows)
        check_range(1, rows, clusters=clusters)
        self.students = tuple(students)
        self.register_buffer("labels", torch.full((rows,), -1))
        self.register_buffer("centroids", torch.zeros(clusters, dim))
        self.register_buffer("sizes", torch.zeros(clusters))
        for name, width in students.items():
            self.register_buffer(f"prototypes_{name}", torch.zeros(clusters, width))

    def prototypes(self, student: str) -> Tensor:
        """``(K, d)`` of a student: not normalised, zero for an empty cluster."""
        return getattr(self, f"prototypes_{student}")

    @torch.no_grad()
    def fit(
        self,
        teacher: Tensor,
        students: Mapping[str, Tensor],
        *,
        n_iter: int = 20,
        n_redo: int = 1,
        translate: bool = True,
        seed: int = 0,
    ) -> None:
        """Find the clusters anew.

        Args:
            teacher: ``(n, E)``, n at most m; later rows get the label -1.
            students: name -> ``(n, d)``; row i belongs to row i of ``teacher``.
            n_iter: rounds of k-means.
            n_redo: its random starts.
            translate: False takes the teacher's centroids for the students' prototypes, which needs equal widths.
            seed: of the starts.

        Raises:
            ShapeError: shapes that do not fit.
            ValueError: fewer rows than clusters, or more than m; features that are not finite.
        """
        count = len(self.sizes)
        check_shape((None, self.centroids.shape[1]), teacher=teacher)
        check_range(count, len(self.labels), **{"rows to cluster": len(teacher)})
        labels, centroids, _ = kmeans(teacher, count, n_iter=n_iter, n_redo=n_redo, seed=seed, start="random")
        # the last digits of a device must not put a row into different clusters in different processes
        labels, centroids = (gather_features(found, with_grad=False)[: len(found)] for found in (labels, centroids))
        self.labels.fill_(-1)[: len(labels)] = labels
        self.centroids.copy_(centroids)
        self.sizes.copy_(torch.bincount(labels, minlength=count))
        for name in self.students:
            own = back_translate(students[name], labels, count)[0] if translate else self.centroids
            self.prototypes(name).copy_(own)

    def loss(
        self,
        x: Mapping[str, Tensor],
        rows: Tensor,
        logit_scale: Tensor | float,
        *,
        target_temperature: float | None = None,
        mask_empty: bool = True,
    ) -> Tensor:
        """Which cluster did the teacher put the row into? :func:`~accord.functional.prototype_loss` of every student.

        Args:
            x: student -> ``(B, d)`` unit norm; others may be there as well.
            rows: ``(B,)`` which of the m rows they are.
            logit_scale: factor on the inner products.
            target_temperature: of soft targets, from the teacher's centroids; None: one-hot.
            mask_empty: leave empty clusters out; otherwise they take part with a logit of 0.

        Returns:
            Scalar, the mean over the students.
        """
        losses = [
            prototype_loss(
                x[student],
                self.prototypes(student),
                self.labels[rows],
                logit_scale,
                teacher_centroids=self.centroids,
                target_temperature=target_temperature,
                valid=self.sizes > 0 if mask_empty else None,
            )
            for student in self.students
        ]
        return torch.stack(losses).mean()

    def effective(self) -> Tensor:
        """How many clusters of equal size would be as varied: the exponential of the entropy of the sizes; scalar."""
        return torch.special.entr(self.sizes / self.sizes.sum().clamp(min=1)).sum().exp()

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{len(self.labels)} rows, {tuple(self.centroids.shape)} -> {', '.join(self.students)}"
