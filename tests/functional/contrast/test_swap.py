"""Swapped prediction with and without prototypes, and contrast over weak and strong views."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.errors import ShapeError
from accord.functional.contrast.swap import cross_view_nce, swap_assignment_loss, swapped_prediction_loss
from accord.functional.distributed import gather_features
from functional.tester import Case, LossTester, every
from two_processes import run_two_processes

# -- references: plain exponentials, one cross-entropy for every pair of views


def partition(scores: Tensor, eps: float = 0.05, n_iters: int = 3, extra: Tensor | None = None) -> Tensor:
    rows = scores if extra is None else torch.cat([extra.to(scores), scores])
    q = ((rows - rows.max()) / eps).exp().detach()
    for _ in range(n_iters):
        q = q / q.sum(dim=0, keepdim=True) / q.shape[1]
        q = q / q.sum(dim=1, keepdim=True) / q.shape[0]
    return (q * q.shape[0])[len(rows) - len(scores) :]


def soft_ce(scores: Tensor, wanted: Tensor) -> Tensor:
    return -(wanted * (scores - scores.logsumexp(dim=1, keepdim=True))).sum(dim=1).mean()


def swapped_reference(
    scores: Tensor,
    assign_views: tuple[int, ...] = (0, 1),
    temperature: float = 0.1,
    queue_scores: Any = None,
    **options: Any,
) -> Tensor:
    terms = []
    for place, i in enumerate(assign_views):
        q = partition(scores[i], **options, extra=None if queue_scores is None else queue_scores[place])
        terms += [soft_ce(scores[v] / temperature, q) for v in range(len(scores)) if v != i]
    return torch.stack(terms).mean()


def swapped(scores: Tensor, **options: Any) -> Tensor:
    return swapped_prediction_loss(scores.unbind(0), **options)


def assignment_reference(sim_views: Tensor, scale: Tensor, back_views: Tensor | None = None) -> Tensor:
    n = len(sim_views)
    back = back_views if back_views is not None else sim_views.transpose(0, 1).transpose(2, 3)
    terms = []
    for sims in (sim_views, back):
        for a in range(n):
            for b in range(n):
                others = [partition(sims[c, d]) for c in range(n) for d in range(n) if c != a and d != b]
                terms.append(soft_ce(scale * sims[a, b], torch.stack(others).mean(dim=0)))
    return torch.stack(terms).mean()


def rocket_reference(
    image: Tensor, text: Tensor, images: Tensor, texts: Tensor, scale: Tensor, local_scale: Tensor, eps: float
) -> Tensor:
    def both(x: Tensor, y: Tensor, factor: Tensor, smoothing: float) -> Tensor:
        cosine = F.cosine_similarity(x[:, None], y[None], dim=2)
        wanted = (1 - smoothing) * torch.eye(len(x), dtype=x.dtype) + smoothing / len(x)
        return (soft_ce(factor * cosine, wanted) + soft_ce(factor * cosine.T, wanted)) / 2

    n = len(images)
    local = torch.stack([both(x, y, local_scale, eps) for x in images for y in texts]).mean()
    return (both(image, text, scale, 0.0) + n * local) / (1 + n)


def rocket(
    image: Tensor, text: Tensor, images: Tensor, texts: Tensor, scale: Tensor, local_scale: Tensor, eps: float
) -> Tensor:
    return cross_view_nce((image, text), images.unbind(0), texts.unbind(0), scale, local_scale, eps)["total"]


# -- inputs


def cosines(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64).div(2).tanh()


def crops(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"scores": cosines(5, rows, 4, generator=generator)}


def queued(rows: int, generator: torch.Generator) -> dict[str, Any]:
    queue = cosines(2, 6, 4, generator=generator)
    return crops(rows, generator) | {"assign_views": (1, 3), "queue_scores": queue, "n_iters": 5}


def one_assigned(rows: int, generator: torch.Generator) -> dict[str, Any]:
    temperature = torch.tensor(0.2, dtype=torch.float64)
    return crops(rows, generator) | {"assign_views": (2,), "temperature": temperature, "eps": 0.3}


def view_pairs(rows: int, generator: torch.Generator) -> dict[str, Any]:
    sims = cosines(2, 2, rows, rows, generator=generator)
    return {"sim_views": sims, "scale": torch.tensor(8.0, dtype=torch.float64)}


def three_views(rows: int, generator: torch.Generator) -> dict[str, Any]:
    forth, back = cosines(2, 3, 3, rows, rows + 2, generator=generator)
    return {"sim_views": forth, "back_views": back, "scale": torch.tensor(8.0, dtype=torch.float64)}


def rocket_views(rows: int, generator: torch.Generator) -> dict[str, Any]:
    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    made = {"image": draw(rows, 5), "text": draw(rows, 5), "images": draw(3, rows, 4), "texts": draw(3, rows, 4)}
    scales = {name: torch.tensor(x, dtype=torch.float64) for name, x in (("scale", 9.0), ("local_scale", 5.0))}
    return made | scales | {"eps": 0.1}


HARSH = ({"temperature": 0.005}, {"temperature": 1e-4}, {"eps": 0.005}, {"eps": 1e-3})
CASES = [
    Case(
        "swapped_prediction_loss",
        swapped,
        swapped_reference,
        crops,
        ("scores",),
        extremes=HARSH,
        gradcheck=False,  # the assignments are held constant
    ),
    Case(
        "swapped_prediction_loss queue",
        swapped,
        swapped_reference,
        queued,
        ("scores",),
        extremes=HARSH,
        fixed=("queue_scores",),
        gradcheck=False,
    ),
    Case(
        "swapped_prediction_loss one",
        swapped,
        swapped_reference,
        one_assigned,
        ("scores", "temperature"),
        gradcheck=False,
    ),
    Case(
        "swap_assignment_loss",
        swap_assignment_loss,
        assignment_reference,
        view_pairs,
        ("sim_views", "scale"),
        extremes=({"scale": 1e4}, {"eps": 0.005}),
        gradcheck=False,
    ),
    Case(
        "swap_assignment_loss three views",
        swap_assignment_loss,
        assignment_reference,
        three_views,
        ("sim_views", "back_views", "scale"),
        extremes=({"scale": 1e4}, {"eps": 0.005}),
        gradcheck=False,
    ),
    Case(
        "cross_view_nce",
        rocket,
        rocket_reference,
        rocket_views,
        ("image", "text", "images", "texts", "scale", "local_scale"),
        rows=5,
        extremes=({"scale": 1e4}, {"local_scale": 1 / 0.005}, {"eps": 0.0}),
    ),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


def same(got: Tensor, want: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


def value_and_gradients(loss: Tensor, *leaves: Tensor) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


# -- reference values


@pytest.mark.parametrize(("name", "views"), [("2views", 2), ("queue_filling", 5)])
def test_swapped_prediction_equals_the_reference_values(golden, name: str, views: int) -> None:
    given = {key.removeprefix(f"l_{name}_"): x for key, x in golden("swav").items() if key.startswith(f"l_{name}_")}
    raw, prototypes = (given[key].requires_grad_() for key in ("raw_embeddings", "prototypes"))
    z = F.normalize(raw, dim=1)
    if "queue_before" in given:  # not full yet, so it takes no part; then the newest block comes first
        assert (given["queue_before"][:, -1] == 0).all()
        pushed = torch.cat([z.detach().view(views, -1, 16)[:2], given["queue_before"]], dim=1)[:, :24]
        same(pushed, given["queue_after"])
    loss = swapped_prediction_loss((z @ prototypes.T).chunk(views))
    value, *grads = value_and_gradients(loss, raw, prototypes)
    same(value, given["loss"])
    same(grads[0], given["grad_raw_embeddings"])
    same(grads[1], given["grad_prototypes"])


LOCAL = ("h_image_0", "h_image_1", "h_text_0", "h_text_1")


def rocket_terms(given: dict[str, Tensor], leaves: dict[str, Tensor], eps: float) -> dict[str, Tensor]:
    return cross_view_nce(
        (leaves["z_image_global"], leaves["z_text_global"]),
        [leaves["h_image_0"], leaves["h_image_1"]],
        [leaves["h_text_0"], leaves["h_text_1"]],
        given["logit_scale"],
        given["h_logit_scale"],
        eps,
    )


def test_contrast_over_views_equals_the_reference_values(golden) -> None:
    given = golden("improved_vlp_baselines")
    leaves = {name: given[name].requires_grad_() for name in ("z_image_global", "z_text_global", *LOCAL)}
    value, *grads = value_and_gradients(rocket_terms(given, leaves, 0.0)["total"], *leaves.values())
    same(value, given["cl2l_avg_loss"])
    for name, grad in zip(leaves, grads, strict=True):
        same(grad, given[f"cl2l_avg_grad_{name}"])


def test_swapped_assignments_of_the_other_modality_equal_the_reference_values(golden) -> None:
    given = golden("improved_vlp_baselines")
    leaves = {name: given[name].requires_grad_() for name in LOCAL}
    image, text = (
        torch.stack([F.normalize(leaves[f"h_{kind}_{view}"], dim=1) for view in (0, 1)]) for kind in ("image", "text")
    )
    sims = torch.einsum("aid,bjd->abij", image, text)
    loss = swap_assignment_loss(sims, given["h_logit_scale"])
    same(loss, swap_assignment_loss(sims, given["h_logit_scale"], torch.einsum("aid,bjd->abij", text, image)), 1e-10)
    total = 0.2 * loss + rocket_terms(given, given, 0.0)["total"]
    same(total, given["swalip_total"])
    value, *grads = value_and_gradients(loss, *leaves.values())
    same(value, given["swalip_loss"])
    for name, grad in zip(leaves, grads, strict=True):
        same(grad, given[f"swalip_grad_{name}"])


# -- properties


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_swapped_prediction_ignores_the_order_of_samples_prototypes_and_small_crops(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = crops(6, generator)["scores"]
    rows, columns = torch.randperm(6, generator=generator), torch.randperm(4, generator=generator)
    shuffled = scores[[1, 0, 4, 2, 3]][:, rows][:, :, columns]
    same(swapped(shuffled), swapped(scores), 1e-10)


def test_a_view_never_predicts_its_own_assignment() -> None:
    """With one assigned view its own scores enter through the assignment only, which carries no gradient."""
    scores = crops(6, torch.Generator().manual_seed(0))["scores"].requires_grad_()
    (grad,) = torch.autograd.grad(swapped(scores, assign_views=(0,)), scores)
    assert (grad[0] == 0).all()
    assert (grad[1:] != 0).any(dim=(1, 2)).all()


def test_scores_that_tell_nothing_apart_cost_the_logarithm_of_the_number_of_prototypes() -> None:
    scores = torch.full((3, 6, 8), 0.3)
    same(swapped(scores), torch.tensor(math.log(8)))


def test_a_queue_changes_the_assignment_but_gets_no_gradient() -> None:
    inputs = queued(6, torch.Generator().manual_seed(0))
    inputs["queue_scores"].requires_grad_()
    inputs["scores"].requires_grad_()
    loss = swapped(**inputs)
    assert loss != swapped(**(inputs | {"queue_scores": None}))
    assert torch.autograd.grad(loss, inputs["queue_scores"], allow_unused=True)[0] is None


def test_two_modalities_swap_their_prototypes_as_two_crops_do() -> None:
    """The first version of SwALIP: the scale is the inverse temperature, the assignment does not see it."""
    image, text = crops(6, torch.Generator().manual_seed(2))["scores"][:2]
    wanted = (soft_ce(10 * image, partition(text)) + soft_ce(10 * text, partition(image))) / 2
    same(swapped_prediction_loss([image, text], temperature=1 / 10), wanted, 1e-10)


def test_perfectly_matched_views_cost_nothing_and_shuffled_ones_more() -> None:
    sims = torch.eye(4).expand(2, 2, 4, 4)
    assert swap_assignment_loss(sims, 100.0, eps=0.01) < 1e-6
    disagreeing = sims.clone()
    disagreeing[0, 0] = torch.eye(4).roll(1, 0)
    assert swap_assignment_loss(disagreeing, 100.0, eps=0.01) > 1


def test_swapped_assignments_do_not_depend_on_the_order_of_views() -> None:
    inputs = three_views(5, torch.Generator().manual_seed(3))
    order = torch.tensor([2, 0, 1])
    shuffled = {name: inputs[name][order][:, order] for name in ("sim_views", "back_views")}
    same(swap_assignment_loss(**(inputs | shuffled)), swap_assignment_loss(**inputs), 1e-10)


def test_only_the_strong_views_are_smoothed() -> None:
    inputs = rocket_views(5, torch.Generator().manual_seed(4))
    views = ((inputs["image"], inputs["text"]), inputs["images"], inputs["texts"], 9.0, 5.0)
    plain, smooth = cross_view_nce(*views, eps=0.0), cross_view_nce(*views, eps=0.3)
    assert plain["global"] == smooth["global"]
    assert plain["local"] != smooth["local"]
    same(smooth["total"], (smooth["global"] + 3 * smooth["local"]) / 4, 1e-10)


# -- several processes


def views_of(rows: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(11)
    image, text = F.normalize(torch.randn(2, 2, rows, 5, generator=generator, dtype=torch.float64), dim=3)
    return {"image": image, "text": text, "scores": crops(rows, generator)["scores"]}


def in_one_of_two_processes(rank: int) -> list[list[Tensor]]:
    """Losses of the own rows, and their gradients."""
    own = {name: x[:, 4 * rank : 4 * rank + 4].clone().requires_grad_() for name, x in views_of(8).items()}
    keys = {name: gather_features(own[name].mT.mT.transpose(0, 1), with_grad=True).transpose(0, 1) for name in own}
    sims = torch.einsum("aid,bjd->abij", own["image"], keys["text"])
    back = torch.einsum("aid,bjd->abij", own["text"], keys["image"])
    return [
        value_and_gradients(swapped(own["scores"]), own["scores"]),
        value_and_gradients(swap_assignment_loss(sims, 7.0, back), own["image"], own["text"]),
    ]


def test_two_processes_equal_one() -> None:
    views = {name: x.requires_grad_() for name, x in views_of(8).items()}
    sims = torch.einsum("aid,bjd->abij", views["image"], views["text"])
    wanted = [
        value_and_gradients(swapped(views["scores"]), views["scores"]),
        value_and_gradients(swap_assignment_loss(sims, 7.0), views["image"], views["text"]),
    ]
    for losses, want in zip(zip(*run_two_processes(in_one_of_two_processes), strict=True), wanted, strict=True):
        values, *grads = zip(*losses, strict=True)
        same(torch.stack(values).mean(), want[0], 1e-10)
        for parts, grad in zip(grads, want[1:], strict=True):
            same(torch.cat(parts, dim=1) / 2, grad, 1e-10)


# -- what is refused

SCORES = [torch.zeros(3, 4)] * 3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: swapped_prediction_loss(SCORES[:1]), ValueError, "number of views = 1: expected"),
        (lambda: swapped_prediction_loss([*SCORES, torch.zeros(3, 5)]), ShapeError, r"scores\[3\] has shape \(3, 5\)"),
        (lambda: swapped_prediction_loss(SCORES, (0, 3)), ValueError, r"assign_views = 3: expected .* \[0, 2\]"),
        (lambda: swapped_prediction_loss(SCORES, (1, 1)), ValueError, r"assign_views = \(1, 1\): expected different"),
        (lambda: swapped_prediction_loss(SCORES, ()), ValueError, r"assign_views = \(\): expected different"),
        (lambda: swapped_prediction_loss(SCORES, temperature=0.0), ValueError, "temperature = 0.0"),
        (lambda: swapped_prediction_loss(SCORES, queue_scores=SCORES), ValueError, "3 queue_scores: expected 2"),
        (
            lambda: swapped_prediction_loss(SCORES, queue_scores=[torch.zeros(2, 5)] * 2),
            ShapeError,
            r"queue_scores\[0\] has shape \(2, 5\): expected \(any, 4\)",
        ),
        (lambda: swap_assignment_loss(torch.zeros(2, 3, 4, 4), 1.0), ShapeError, r"expected \(2, 2, 4, 4\)"),
        (lambda: swap_assignment_loss(torch.zeros(2, 2, 4, 8), 1.0), ShapeError, r"expected \(2, 2, 4, 4\)"),
        (lambda: swap_assignment_loss(torch.zeros(1, 1, 4, 4), 1.0), ValueError, "number of views = 1"),
        (lambda: swap_assignment_loss(torch.zeros(2, 2, 4, 4), -1.0), ValueError, "scale = -1.0"),
        (lambda: cross_view_nce((SCORES[0], SCORES[0]), SCORES, SCORES[:2], 1.0, 1.0), ValueError, "3 local_images"),
        (lambda: cross_view_nce((SCORES[0], SCORES[0]), [], [], 1.0, 1.0), ValueError, "expected equal numbers"),
    ],
)
def test_wrong_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
