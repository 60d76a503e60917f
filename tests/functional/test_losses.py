"""Every differentiable function against a float64 re-derivation, and the properties that all of them share."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord import functional as AF
from functional.tester import Case, LossTester, every

DIM = 5


def unit(rows: int, generator: torch.Generator, dim: int = DIM) -> Tensor:
    return F.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=1)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


# -- references: written from the papers' formulas, with loops and explicit probabilities


def log_prob(logits: Tensor) -> Tensor:
    """Log softmax of every row, shifted by its maximum."""
    shifted = logits - logits.max(dim=1, keepdim=True).values
    return shifted - shifted.exp().sum(dim=1, keepdim=True).log()


def symmetric_reference(
    image: Tensor,
    text: Tensor,
    logit_scale: Tensor,
    targets: Tensor | None = None,
    label_smoothing: float = 0.0,
    **_: Any,
) -> Tensor:
    logits = logit_scale * torch.einsum("id,jd->ij", image, text)
    rows = torch.eye(len(image), dtype=image.dtype) if targets is None else targets
    columns = rows.T / rows.T.sum(dim=1, keepdim=True)
    loss = image.new_zeros(())
    for wanted, scores in ((rows, logits), (columns, logits.T)):
        smooth = (1 - label_smoothing) * wanted + label_smoothing / len(image)
        loss = loss - (smooth * log_prob(scores)).sum(dim=1).mean() / 2
    return loss


def lse_reference(query: Tensor, key: Tensor, scale: Tensor, exclude_self: bool = False, **_: Any) -> Tensor:
    logits = scale * query @ key.T
    if exclude_self:
        logits = logits.masked_fill(torch.eye(len(query), dtype=torch.bool), -torch.inf)
    return torch.logsumexp(logits, dim=1)


def both_lse(**inputs: Any) -> Tensor:
    return torch.cat(AF.tiled_logsumexp_both(**inputs))


def both_lse_reference(query: Tensor, key: Tensor, scale: Tensor, **options: Any) -> Tensor:
    return torch.cat([lse_reference(query, key, scale, **options), lse_reference(key, query, scale, **options)])


def pair_terms(**inputs: Any) -> Tensor:
    return torch.cat(AF.tiled_pair_terms(**inputs))


def pair_terms_reference(query: Tensor, key: Tensor, scale: Tensor, **_: Any) -> Tensor:
    return torch.cat([both_lse_reference(query=query, key=key, scale=scale), scale * (query * key).sum(dim=1)])


def queue_reference(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    losses = []
    for q, k in zip(query, key, strict=True):
        logits = torch.cat([(q @ k)[None], queue @ q]) / temperature
        losses.append(torch.logsumexp(logits, 0) - logits[0])
    return torch.stack(losses).mean()


def prototype_reference(z: Tensor, prototypes: Tensor, labels: Tensor, temperature: float) -> Tensor:
    return -log_prob(z @ prototypes.T / temperature)[torch.arange(len(z)), labels].mean()


def sigmoid_reference(image: Tensor, text: Tensor, logit_scale: Tensor, logit_bias: Tensor) -> Tensor:
    logits = logit_scale * image @ text.T + logit_bias
    own = torch.eye(len(image), dtype=torch.bool)
    return -(F.logsigmoid(logits[own]).sum() + F.logsigmoid(-logits[~own]).sum()) / len(image)


def cwcl_reference(
    trained: Tensor,
    frozen: Tensor,
    logit_scale: Tensor,
    weights: Tensor | None = None,
    reverse: str = "infonce",
    reverse_weight: float = 1.0,
) -> Tensor:
    weights = frozen.detach() @ frozen.detach().T / 2 + 0.5 if weights is None else weights
    logits = logit_scale * trained @ frozen.T
    back = weights.T if reverse == "weighted" else torch.eye(len(trained)).to(trained)
    loss = trained.new_zeros(())
    for factor, wanted, scores in ((1.0, weights, logits), (reverse_weight, back, logits.T)):
        for i in range(len(scores)):
            loss = loss - factor * (wanted[i] / wanted[i].sum() * log_prob(scores)[i]).sum() / len(scores)
    return loss


def restricted_reference(z1: Tensor, z2: Tensor, labels: Tensor, temperature: Tensor, symmetric: bool = True) -> Tensor:
    losses = []
    for logits in (z1 @ z2.T / temperature, z2 @ z1.T / temperature)[: 1 + symmetric]:
        for i in range(len(z1)):
            losses.append(torch.logsumexp(logits[i][labels == labels[i]], 0) - logits[i, i])
    return torch.stack(losses).mean()


def weighted_reference(
    anchor: Tensor, other: Tensor, weights: Tensor | None, tau: Tensor, include_positive: bool = False
) -> Tensor:
    own = torch.eye(len(anchor)).bool()
    weights = (~own).to(anchor) if weights is None else weights
    weights = weights.masked_fill(own, 1.0) if include_positive else weights
    logits, losses = anchor @ other.T / tau, []
    for i in range(len(anchor)):
        if (weights[i] > 0).any():
            below = [logits[i, j] + weights[i, j].log() for j in range(len(anchor)) if weights[i, j] > 0]
            losses.append(torch.logsumexp(torch.stack(below), 0) - logits[i, i])
    return torch.stack(losses).mean() if losses else (anchor * 0).sum()


def queue_batch_reference(
    query: Tensor, key_batch: Tensor, queue: Tensor, tau: Tensor, targets: Tensor | None = None
) -> Tensor:
    logits = query @ torch.cat([key_batch, queue]).T / tau
    wanted = torch.eye(*logits.shape).to(logits) if targets is None else targets
    return -(wanted * log_prob(logits)).sum(dim=1).mean()


def uniformity_reference(x: Tensor, t: float = 2.0) -> Tensor:
    i, j = torch.triu_indices(len(x), len(x), 1)
    return (-t * (x[i] - x[j]).square().sum(dim=1)).exp().mean().log()


def smooth_reference(x: Tensor, nbr_idx: Tensor, nbr_sim: Tensor, self_weight: float, steps: int) -> Tensor:
    dense = torch.zeros(len(x), len(x), dtype=x.dtype)
    for i in range(len(x)):
        for j, weight in zip(nbr_idx[i].tolist(), nbr_sim[i].clamp(0, 1).to(x), strict=True):
            dense[i, j] = weight if i != j else 0
    dense = torch.maximum(dense, dense.T)
    dense = dense / dense.sum(dim=1, keepdim=True) + self_weight * torch.eye(len(x), dtype=x.dtype)
    dense = dense / dense.sum(dim=1, keepdim=True)
    return torch.linalg.matrix_power(dense, steps) @ x


def capro_total(keep: Tensor, labels: Tensor, **inputs: Tensor) -> Tensor:
    return AF.capro_loss(inputs | {"keep": keep, "labels": labels}, 0.1, 0.5, 0.25, 2.0)["total"]


def capro_reference(
    logits: Tensor,
    low_logits: Tensor,
    labels: Tensor,
    keep: Tensor,
    bootstrap: Tensor,
    instance_logits: Tensor,
    feature: Tensor,
    reconstruction: Tensor,
    proto_logits: Tensor,
    weight: Tensor,
) -> Tensor:
    total, kept = logits.new_zeros(()), [i for i in range(len(logits)) if keep[i]]
    for i in kept:
        low = log_prob(low_logits)[i]
        row = -log_prob(logits)[i, labels[i]] - 0.9 * low[labels[i]] - 0.1 * (bootstrap[i] * low).sum()
        row = row + 0.25 * (reconstruction[i] - feature[i].detach()).square().mean()
        row = row - 2.0 * log_prob(proto_logits)[i, labels[i]]
        total = total + weight[i] * row / len(kept)
    return total - 0.5 * log_prob(instance_logits)[:, 0].mean()


# -- inputs


def pairs(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"image": unit(rows, generator), "text": unit(rows, generator), "logit_scale": scalar(12.0)}


def soft_pairs(rows: int, generator: torch.Generator) -> dict[str, Any]:
    targets = torch.rand(rows, rows, generator=generator, dtype=torch.float64).softmax(dim=1)
    return pairs(rows, generator) | {"targets": targets, "label_smoothing": 0.2}


def keys(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"query": unit(rows, generator), "key": unit(rows + 2, generator), "scale": scalar(9.0), "tile": 3}


def matched(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made = keys(rows, generator)
    return made | {"key": made["key"][:rows]}


def selves(rows: int, generator: torch.Generator) -> dict[str, Any]:
    inputs = keys(rows, generator)
    return inputs | {"key": inputs["key"][:rows], "exclude_self": True}


def queued(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made = {name: unit(rows, generator) for name in ("query", "key")}
    return made | {"queue": unit(4, generator), "temperature": 0.1}


def classed(rows: int, generator: torch.Generator) -> dict[str, Any]:
    labels = torch.arange(rows) % 3
    return {"z": unit(rows, generator), "prototypes": unit(3, generator), "labels": labels, "temperature": 0.1}


def locked(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made = {name: unit(rows, generator) for name in ("trained", "frozen")}
    return made | {"logit_scale": scalar(9.0)}


def kerneled(rows: int, generator: torch.Generator) -> dict[str, Any]:
    weights = torch.rand(rows, rows, generator=generator, dtype=torch.float64)
    return locked(rows, generator) | {"weights": weights, "reverse": "weighted", "reverse_weight": 0.5}


def restricted(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made = {name: unit(rows, generator) for name in ("z1", "z2")}
    return made | {"labels": torch.arange(rows) % 3, "temperature": scalar(0.2)}


def weighted(rows: int, generator: torch.Generator) -> dict[str, Any]:
    made = {name: unit(rows, generator) for name in ("anchor", "other")}
    weights = torch.rand(rows, rows, generator=generator, dtype=torch.float64) + 0.01
    return made | {"weights": weights, "tau": scalar(0.3)}


def clusters(rows: int, generator: torch.Generator) -> dict[str, Any]:
    """Weights that depend on two clusterings, given by blocks: the number in which two rows differ."""
    made = {name: unit(rows, generator) for name in ("anchor", "other")}
    assigned = torch.stack([torch.arange(rows) % 2, torch.arange(rows) % 3])

    def log_weight(here: slice, there: slice) -> Tensor:
        return (assigned[:, here, None] != assigned[:, None, there]).sum(dim=0).log()

    return made | {"weights": log_weight, "tau": scalar(0.3)}


def remembered(rows: int, generator: torch.Generator) -> dict[str, Any]:
    targets = torch.rand(rows, rows + 4, generator=generator, dtype=torch.float64).softmax(dim=1)
    made = {name: unit(rows, generator) for name in ("query", "key_batch")}
    return made | {"queue": unit(4, generator), "tau": scalar(0.1), "targets": targets}


def other_rows(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"x": unit(rows, generator), "scale": scalar(9.0), "tile": 3}


def partners(rows: int, generator: torch.Generator) -> dict[str, Any]:
    ids = torch.arange(rows) % 3
    return other_rows(rows, generator) | {"pair_weight": lambda here, there: ids[here, None] != ids[there]}


def self_reference(x: Tensor, scale: Tensor, pair_weight: Any = None, **_: Any) -> Tensor:
    every = slice(0, len(x))
    logits = scale * x @ x.T
    other = ~torch.eye(len(x)).bool() & (True if pair_weight is None else pair_weight(every, every))
    return torch.stack([torch.logsumexp(row[kept], 0) for row, kept in zip(logits, other, strict=True)])


def biased(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return pairs(rows, generator) | {"logit_bias": scalar(-6.0)}


def two(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"x": unit(rows, generator), "y": unit(rows, generator)}


def one(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"x": unit(rows, generator)}


def linked(rows: int, generator: torch.Generator) -> dict[str, Any]:
    idx = (torch.arange(rows)[:, None] + torch.tensor([1, 2])) % rows
    sim = torch.rand(rows, 2, generator=generator, dtype=torch.float64) + 0.1
    return {"x": unit(rows, generator), "nbr_idx": idx, "nbr_sim": sim, "self_weight": 0.3, "steps": 2}


def capro_step(rows: int, generator: torch.Generator) -> dict[str, Any]:
    def draw(width: int) -> Tensor:
        return torch.randn(rows, width, generator=generator, dtype=torch.float64)

    widths = {"logits": 4, "low_logits": 4, "instance_logits": 6, "feature": 3, "reconstruction": 3, "proto_logits": 4}
    made: dict[str, Any] = {name: draw(width) for name, width in widths.items()}
    made |= {"bootstrap": draw(4).softmax(dim=1), "weight": draw(1).squeeze(1).exp()}
    return made | {"labels": torch.arange(rows) % 4, "keep": torch.arange(rows) % 3 != 1}


def named(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return pairs(rows, generator) | {"ids": torch.arange(rows) % 3}


def by_id_reference(image: Tensor, text: Tensor, logit_scale: Tensor, ids: Tensor) -> Tensor:
    same = (ids[:, None] == ids).double()
    return symmetric_reference(image, text, logit_scale, same / same.sum(dim=1, keepdim=True))


HARSH_SCALE = ({"logit_scale": 1e4}, {"logit_scale": 1 / 0.005})
HARSH_TEMPERATURE = ({"temperature": 0.005}, {"temperature": 1e-4})
PAIR = ("image", "text", "logit_scale")

CASES = [
    Case("info_nce", AF.info_nce, symmetric_reference, pairs, PAIR, extremes=HARSH_SCALE),
    Case("info_nce soft", AF.info_nce, symmetric_reference, soft_pairs, PAIR, extremes=HARSH_SCALE),
    Case(
        "info_nce tiled",
        lambda **inputs: AF.info_nce(**inputs, tile=3),
        symmetric_reference,
        pairs,
        PAIR,
        extremes=HARSH_SCALE,
        vmap=False,
        compiles=False,
    ),
    Case(
        "info_nce tiled soft",
        lambda **inputs: AF.info_nce(**inputs, tile=2),
        symmetric_reference,
        soft_pairs,
        PAIR,
        extremes=HARSH_SCALE,
        vmap=False,
        compiles=False,
    ),
    Case("info_nce by id", AF.info_nce, by_id_reference, named, PAIR, extremes=HARSH_SCALE),
    Case(
        "info_nce tiled by id",
        lambda **inputs: AF.info_nce(**inputs, tile=2),
        by_id_reference,
        named,
        PAIR,
        extremes=HARSH_SCALE,
        vmap=False,
        compiles=False,
    ),
    Case(
        "tiled_logsumexp",
        AF.tiled_logsumexp,
        lse_reference,
        keys,
        ("query", "key", "scale"),
        extremes=({"scale": 1e4},),
        vmap=False,
        compiles=False,
    ),
    Case(
        "tiled_pair_terms",
        pair_terms,
        pair_terms_reference,
        matched,
        ("query", "key", "scale"),
        extremes=({"scale": 1e4},),
        vmap=False,
        compiles=False,
    ),
    Case(
        "tiled_logsumexp_both without self",
        both_lse,
        both_lse_reference,
        selves,
        ("query", "key", "scale"),
        fewest=2,
        extremes=({"scale": 1e4},),
        vmap=False,
        compiles=False,
    ),
    Case("queue_nce", AF.queue_nce, queue_reference, queued, ("query", "key", "queue"), extremes=HARSH_TEMPERATURE),
    Case(
        "prototype_nce",
        AF.prototype_nce,
        prototype_reference,
        classed,
        ("z", "prototypes"),
        extremes=HARSH_TEMPERATURE,
    ),
    Case(
        "sigmoid_contrast",
        AF.sigmoid_contrast,
        sigmoid_reference,
        biased,
        (*PAIR, "logit_bias"),
        extremes=HARSH_SCALE,
    ),
    Case(
        "cwcl_loss",
        AF.cwcl_loss,
        cwcl_reference,
        locked,
        ("trained", "frozen", "logit_scale"),
        extremes=HARSH_SCALE,
        vmap=False,
        compiles=False,
        gradcheck=False,
    ),
    Case(
        "cwcl_loss with weights",
        AF.cwcl_loss,
        cwcl_reference,
        kerneled,
        ("trained", "frozen", "logit_scale"),
        extremes=HARSH_SCALE,
        fixed=("weights",),
        vmap=False,
        compiles=False,
    ),
    Case(
        "restricted_info_nce",
        AF.restricted_info_nce,
        restricted_reference,
        restricted,
        ("z1", "z2", "temperature"),
        extremes=HARSH_TEMPERATURE,
        vmap=False,
        compiles=False,
    ),
    Case(
        "restricted_info_nce one way",
        lambda **inputs: AF.restricted_info_nce(**inputs, symmetric=False),
        lambda **inputs: restricted_reference(**inputs, symmetric=False),
        restricted,
        ("z1", "z2", "temperature"),
        vmap=False,
        compiles=False,
    ),
    Case(
        "weighted_infonce",
        AF.weighted_infonce,
        weighted_reference,
        weighted,
        ("anchor", "other", "weights", "tau"),
        extremes=({"tau": 0.005},),
        fixed=("weights",),
    ),
    Case(
        "weighted_infonce with the positive",
        lambda **inputs: AF.weighted_infonce(**inputs, include_positive=True),
        lambda **inputs: weighted_reference(**inputs, include_positive=True),
        weighted,
        ("anchor", "other", "weights", "tau"),
        fixed=("weights",),
    ),
    Case(
        "weighted_infonce by blocks",
        AF.weighted_infonce,
        lambda weights, **inputs: weighted_reference(
            **inputs, weights=weights(slice(None), slice(None)).double().exp()
        ),
        clusters,
        ("anchor", "other", "tau"),
        fewest=2,
        extremes=({"tau": 0.005},),
        vmap=False,
        compiles=False,
    ),
    Case(
        "queue_info_nce",
        AF.queue_info_nce,
        queue_batch_reference,
        remembered,
        ("query", "key_batch", "queue", "tau"),
        extremes=({"tau": 0.005}, {"targets": None}),
    ),
    Case(
        "self_logsumexp",
        AF.self_logsumexp,
        self_reference,
        other_rows,
        ("x", "scale"),
        fewest=2,
        extremes=({"scale": 1e4}, {"tile": None}),
        vmap=False,
        compiles=False,
    ),
    Case(
        "self_logsumexp of some pairs",
        AF.self_logsumexp,
        self_reference,
        partners,
        ("x", "scale"),
        fewest=3,
        extremes=({"scale": 1e4}, {"tile": None}),
        vmap=False,
        compiles=False,
    ),
    Case("alignment", AF.alignment, lambda x, y: (x - y).pow(2).sum() / len(x), two, ("x", "y")),
    Case(
        "uniformity",
        AF.uniformity,
        uniformity_reference,
        one,
        ("x",),
        fewest=2,
        extremes=({"t": 50.0},),
        vmap=False,
        compiles=False,
    ),
    Case(
        "modality_gap",
        lambda x, y: AF.modality_gap(x, y),
        lambda x, y: (x.mean(0) - y.mean(0)).square().sum().sqrt(),
        two,
        ("x", "y"),
    ),
    Case("sgc_smooth", AF.sgc_smooth, smooth_reference, linked, ("x",), fewest=3, vmap=False, compiles=False),
    Case(
        "capro_loss",
        capro_total,
        capro_reference,
        capro_step,
        ("logits", "low_logits", "instance_logits", "reconstruction", "proto_logits"),
    ),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


def test_effective_rank_counts_equal_directions_and_is_one_for_a_collapse() -> None:
    assert math.isclose(AF.effective_rank(torch.eye(6)[:4]).item(), 4, rel_tol=1e-6)
    assert math.isclose(AF.effective_rank(torch.ones(5, 3)).item(), 1, rel_tol=1e-3)
