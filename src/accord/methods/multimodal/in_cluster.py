"""Contrast whose negatives are the rows of the anchor's own cluster, for methods whose loss compares rows of a batch.

For batches that hold rows of several clusters (MCL; Zhang et al. 2024, ECCV). With a single cluster it is the method's
own loss; a row that has its cluster to itself in the batch has no negatives and adds nothing.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from accord.errors import ConfigError
from accord.functional import gather_features, nt_xent, restricted_info_nce
from accord.methods.base import Batch, Method
from accord.methods.image_text.clip import Clip
from accord.methods.multimodal.multiview import MultiView


def masks(method: Method) -> bool:
    """Whether the method's negatives can be restricted: CLIP's, and those of SimCLR's loss over any views."""
    plain_clip = type(method) is Clip and method.config.duplicates == "negatives"
    return plain_clip or (isinstance(method, MultiView) and method.config.objective == "nt_xent")


def contrast_within(method: Method, batch: Batch, cluster: Tensor) -> dict[str, Tensor]:
    """The terms of a method's loss where only rows of the anchor's cluster are negatives.

    Args:
        method: one of those that :func:`masks` names.
        batch: as the method reads it.
        cluster: ``(B,)`` int64, not negative.

    Raises:
        ConfigError: it is another method.
    """
    if isinstance(method, Clip):
        scale = method.logit_scale()
        first, second = (gather_features(vectors, with_grad=True) for vectors in method.towers(batch).values())
        total = restricted_info_nce(first, second, gather_features(cluster, with_grad=False), 1 / scale)
        return {"total": total, "contrastive": total.detach(), "logit_scale": scale.detach()}
    if isinstance(method, MultiView):
        views = [gather_features(view, with_grad=True) for view in method.project(batch)]
        own = gather_features(_alone_where_incomplete(method, batch, cluster), with_grad=False)
        pairs = [nt_xent(one, other, method.config.temperature, labels=own) for one, other in combinations(views, 2)]
        total = torch.stack(pairs).mean()
        return {"total": total, "contrastive": total.detach()}
    raise ConfigError(f"the negatives of method {method.name} cannot be restricted within a batch")


def _alone_where_incomplete(method: MultiView, batch: Batch, cluster: Tensor) -> Tensor:
    """The clusters, and one of its own for each row that lacks a modality, whose filler is compared with none."""
    for name in method.needs:
        if f"{name}_present" in batch:
            cluster = cluster.where(batch[f"{name}_present"], -1 - batch["index"])
    return cluster
