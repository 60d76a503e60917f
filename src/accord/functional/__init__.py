"""Pure, differentiable mathematics on tensors; usable alone in any PyTorch project.

Functions hold no state and need PyTorch only. Vectors are unit norm where the docstring says so, results are
float32 at least, also under autocast, and shapes are checked at the door.

Seven rooms: ``clusters``, ``contrast``, ``dense``, ``measures``, ``noise``, ``similarity``, ``text``;
what is in them is public here as well, and so are the engine that all contrast is made of, schedules, and the exchange
between processes.
"""

from accord.functional import clusters, contrast, dense, measures, noise, similarity, text
from accord.functional.clusters import *
from accord.functional.contrast import *
from accord.functional.dense import *
from accord.functional.distributed import (
    full_tensor,
    gather_features,
    gather_tokens,
    is_sharded,
    own_rows,
    rank,
    rows_elsewhere,
    shard_like,
    world_size,
)
from accord.functional.engine import contrastive_loss, masked_logsumexp, row_normalize
from accord.functional.measures import *
from accord.functional.mixing import clip_mixup, cutmix, cutmix_box, mixup, soft_targets
from accord.functional.noise import *
from accord.functional.schedule import cosine_momentum, delta_schedule, linear_ramp, warmup_cosine, warmup_cosine_at
from accord.functional.similarity import *
from accord.functional.text import *
from accord.functional.tiled import (
    self_logsumexp,
    tiled_logsumexp,
    tiled_logsumexp_both,
    tiled_pair_terms,
    tiled_sigmoid_sum,
)

__all__ = [
    *clusters.__all__,
    *contrast.__all__,
    *dense.__all__,
    *measures.__all__,
    *noise.__all__,
    *similarity.__all__,
    *text.__all__,
    "clip_mixup",
    "contrastive_loss",
    "cosine_momentum",
    "cutmix",
    "cutmix_box",
    "delta_schedule",
    "full_tensor",
    "gather_features",
    "gather_tokens",
    "is_sharded",
    "linear_ramp",
    "own_rows",
    "masked_logsumexp",
    "mixup",
    "rank",
    "row_normalize",
    "rows_elsewhere",
    "self_logsumexp",
    "shard_like",
    "soft_targets",
    "tiled_logsumexp",
    "tiled_logsumexp_both",
    "tiled_pair_terms",
    "tiled_sigmoid_sum",
    "warmup_cosine",
    "warmup_cosine_at",
    "world_size",
]
