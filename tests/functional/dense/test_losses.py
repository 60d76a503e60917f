"""Losses on the cells of maps: pixel agreement and contrast, slots, and a summary against its tokens."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from accord.errors import ShapeError
from accord.functional import (
    active_slots,
    assign_pixels,
    distill_targets,
    grid_pool,
    local_global_nce,
    pixcontrast_loss,
    pixel_propagation,
    pixpro_loss,
    queue_info_nce,
    semantic_grouping,
    slot_contrast,
    slotcon_loss,
    soft_distillation,
)
from accord.functional.checks import as_float
from accord.functional.dense import losses as dense
from accord.state import FeatureQueue, MomentumEncoder
from functional.tester import Case, LossTester, every
from two_processes import run_two_processes

# -- references: loops over cells, slots and tokens


def cells_of(x: Tensor) -> Tensor:
    """Unit cells, ``(HW, C)``, of one map."""
    cells = x.flatten(1).T
    return cells / cells.norm(dim=1, keepdim=True)


def near_cells(box_q: list[float], box_k: list[float], height: int, width: int, threshold: float) -> Tensor:
    places = []
    for x1, y1, x2, y2 in (box_q, box_k):
        step = ((x2 - x1) / width, (y2 - y1) / height)
        places.append(
            ([(x1 + (c + 0.5) * step[0], y1 + (r + 0.5) * step[1]) for r in range(height) for c in range(width)], step)
        )
    unit = max(math.hypot(*step) for _, step in places)
    return torch.tensor([[math.dist(i, j) / unit < threshold for j in places[1][0]] for i in places[0][0]])


def propagation_reference(x: Tensor, weight: Tensor | None = None, power: float = 2.0, clamp: float = 0.0) -> Tensor:
    images = []
    for image in x:
        cells = cells_of(image)
        value = image if weight is None else torch.einsum("dc,chw->dhw", weight, image)
        values, rows = cells_of(value), []
        for i in range(len(cells)):
            cosine = torch.stack([cells[i] @ cells[j] for j in range(len(cells))]).clamp(min=clamp)
            if power < 1:
                cosine = cosine + 1e-6
            rows.append(sum(cosine[j] ** power * values[j] for j in range(len(cells))))
        images.append(torch.stack(rows).T.view_as(value))
    return torch.stack(images)


def pixpro_reference(q: Tensor, k: Tensor, coord_q: Tensor, coord_k: Tensor, threshold: float = 0.7) -> Tensor:
    total = q.new_zeros(())
    for a, b, box_a, box_b in zip(q, k, coord_q.tolist(), coord_k.tolist(), strict=True):
        near = near_cells(box_a, box_b, *q.shape[2:], threshold)
        a, b, gain = cells_of(a), cells_of(b), q.new_zeros(())
        for i, j in near.nonzero().tolist():
            gain = gain + a[i] @ b[j]
        total = total - 2 * gain / (near.sum().item() + 1e-6) / len(q)
    return total


def pixcontrast_reference(
    q: Tensor, k: Tensor, coord_q: Tensor, coord_k: Tensor, threshold: float = 0.7, temperature: float = 0.3
) -> Tensor:
    total = q.new_zeros(())
    for a, b, box_a, box_b in zip(q, k, coord_q.tolist(), coord_k.tolist(), strict=True):
        near = near_cells(box_a, box_b, *q.shape[2:], threshold)
        scores = cells_of(a) @ cells_of(b).T / temperature
        for logits, positive in ((scores, near), (scores.T, near.T)):
            terms = [
                torch.logsumexp(row, 0) - torch.logsumexp(row[own], 0)
                for row, own in zip(logits, positive, strict=True)
                if own.any()
            ]
            if terms:
                total = total + torch.stack(terms).mean() / 2 / len(q)
    return total


def grouping_reference(x: Tensor, prototypes: Tensor, temperature: float = 0.07, eps: float = 1e-6) -> Tensor:
    parts = []
    for image in x:
        dots = (prototypes / prototypes.norm(dim=1, keepdim=True)) @ cells_of(image).T  # (K, HW)
        share = (dots / temperature).exp()
        share = share / share.sum(dim=0) + eps
        raw = image.flatten(1)  # (D, HW)
        slots = torch.stack([(raw * row).sum(dim=1) / row.sum() for row in share])
        parts.append((slots, dots.view(len(prototypes), *image.shape[1:])))
    return torch.cat([torch.stack(each).flatten() for each in zip(*parts, strict=True)])


def grouping(**inputs: Any) -> Tensor:
    return torch.cat([each.flatten() for each in semantic_grouping(**inputs)])


def distillation_reference(
    student: Tensor, teacher: Tensor, center: Tensor, t_s: float = 0.1, t_t: float = 0.07, mask: Tensor | None = None
) -> Tensor:
    rows = []
    for n in range(len(student)):
        if mask is None or mask[n]:
            p = torch.softmax((teacher[n] - center[0]) / t_t, 0)
            rows.append(-(p * torch.log_softmax(student[n] / t_s, 0)).sum())
    return torch.stack(rows).mean()


def slot_reference(
    q: Tensor, k: Tensor, dots_q: Tensor, dots_k: Tensor, predictor: Any = None, tau: float = 0.2
) -> Tensor:
    def alive(dots: Tensor, b: int, slot: int) -> bool:
        return any((cell.argmax() == slot) for cell in dots[b].flatten(1).T)

    everything = [(b, s) for b in range(q.shape[0]) for s in range(q.shape[1])]
    keys = [(b, s) for b, s in everything if alive(dots_k, b, s)]
    terms = []
    for b, s in keys:
        if alive(dots_q, b, s):
            row = q[b, s] if predictor is None else predictor(q[b, s])
            logits = torch.stack([F.cosine_similarity(row, k[c, t], dim=0) for c, t in keys]) / tau
            terms.append(torch.logsumexp(logits, 0) - logits[keys.index((b, s))])
    return 2 * tau * torch.stack(terms).mean() if terms else q.sum() * 0


def local_reference(local: Tensor, glob: Tensor, tau: Tensor, mask: Tensor) -> Tensor:
    samples = []
    for i in range(len(glob)):
        others = [glob[i] @ local[j, n] / tau for j, n in mask.nonzero().tolist() if j != i]
        own = [glob[i] @ local[i, n] / tau for n in mask[i].nonzero().flatten().tolist()]
        if own:
            samples.append(torch.stack([torch.logsumexp(torch.stack([s, *others]), 0) - s for s in own]).mean())
    return torch.stack(samples).mean()


def pool_reference(tokens: Tensor, out: int) -> Tensor:
    side = math.isqrt(tokens.shape[1])
    maps = tokens.mT.reshape(len(tokens), -1, side, side)
    return F.avg_pool2d(maps, side // out).flatten(2).mT


# -- inputs


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def maps(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"x": normal(rows, 4, 2, 3, generator=generator)}


def root_maps(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return maps(rows, generator) | {"power": 0.5}


def transformed_maps(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return maps(rows, generator) | {"weight": normal(3, 4, generator=generator)}


def crops(rows: int, generator: torch.Generator) -> dict[str, Any]:
    low = torch.rand(2, rows, 2, generator=generator, dtype=torch.float64) * 0.3
    high = low + 0.3 + 0.3 * torch.rand(2, rows, 2, generator=generator, dtype=torch.float64)
    coord_q, coord_k = torch.cat([low, high], dim=2)
    coord_q[0] = coord_k[0]  # identical
    coord_q[1:2], coord_k[1:2] = torch.tensor([0.0, 0.0, 0.2, 0.2]), torch.tensor([0.7, 0.7, 0.9, 0.9])  # apart
    coord_q[2:3] = coord_q[2:3, [2, 1, 0, 3]]  # mirrored
    q, k = normal(2, rows, 4, 3, 2, generator=generator)
    return {"q": q, "k": k, "coord_q": coord_q, "coord_k": coord_k}


def grouped(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return maps(rows, generator) | {"prototypes": normal(5, 4, generator=generator)}


def distilled(rows: int, generator: torch.Generator) -> dict[str, Any]:
    student, teacher = normal(2, rows, 4, generator=generator).tanh()
    center = normal(1, 4, generator=generator) / 10
    return {"student": student, "teacher": teacher, "center": center, "mask": torch.arange(rows) % 3 != 1}


def slotted(rows: int, generator: torch.Generator) -> dict[str, Any]:
    q, k = normal(2, rows, 5, 4, generator=generator)
    dots_q, dots_k = normal(2, rows, 5, 2, 2, generator=generator).tanh()
    return {"q": q, "k": k, "dots_q": dots_q, "dots_k": dots_k}


def predicted(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return slotted(rows, generator) | {"predictor": lambda x: 2 * as_float(x) + as_float(x).flip(-1).square()}


def tokens(rows: int, generator: torch.Generator) -> dict[str, Any]:
    local = F.normalize(normal(rows, 3, 4, generator=generator), dim=2)
    glob = F.normalize(normal(rows, 4, generator=generator), dim=1)
    mask = torch.rand(rows, 3, generator=generator) > 0.3
    mask[0], mask[1:2] = True, False  # one sample with all, one with no token
    return {"local": local, "glob": glob, "tau": torch.tensor(0.2, dtype=torch.float64), "mask": mask}


def grid(rows: int, generator: torch.Generator) -> dict[str, Any]:
    return {"tokens": normal(rows, 36, 2, generator=generator), "out": 3}


def weighted_propagation(x: Tensor, weight: Tensor, **options: Any) -> Tensor:
    """The transform runs in the precision of its caller: here in full, also under autocast."""

    def conv(y: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(as_float(y), as_float(weight)[:, :, None, None])

    return pixel_propagation(x, conv, **options)


COORD = ("coord_q", "coord_k")
CASES = [
    Case("pixel_propagation", pixel_propagation, propagation_reference, maps, ("x",), rows=3),
    Case("pixel_propagation root", pixel_propagation, propagation_reference, root_maps, ("x",), rows=3),
    Case(
        "pixel_propagation transformed",
        weighted_propagation,
        propagation_reference,
        transformed_maps,
        ("x", "weight"),
        rows=3,
        extremes=({"clamp": 0.5}, {"power": 1.0}),
    ),
    Case("pixpro_loss", pixpro_loss, pixpro_reference, crops, ("q", "k"), rows=4, fixed=COORD),
    Case(
        "pixcontrast_loss",
        pixcontrast_loss,
        pixcontrast_reference,
        crops,
        ("q", "k"),
        rows=4,
        fixed=COORD,
        extremes=({"temperature": 0.005}, {"temperature": 1e-4}, {"threshold": 0.0}, {"threshold": 9.0}),
    ),
    Case(
        "semantic_grouping",
        grouping,
        grouping_reference,
        grouped,
        ("x", "prototypes"),
        rows=3,
        extremes=({"temperature": 0.005}, {"temperature": 1e-4}),
    ),
    Case(
        "soft_distillation",
        soft_distillation,
        distillation_reference,
        distilled,
        ("student",),
        extremes=({"t_s": 1e-4}, {"t_t": 1e-4}, {"mask": None}),
    ),
    Case(
        "slot_contrast",
        slot_contrast,
        slot_reference,
        slotted,
        ("q",),
        rows=3,
        extremes=({"tau": 0.005}, {"tau": 1e-4}),
        vmap=False,  # the number of active slots depends on the data
        compiles=False,
    ),
    Case(
        "slot_contrast predicted",
        slot_contrast,
        slot_reference,
        predicted,
        ("q",),
        rows=3,
        vmap=False,
        compiles=False,
    ),
    Case(
        "local_global_nce",
        local_global_nce,
        local_reference,
        tokens,
        ("local", "glob", "tau"),
        rows=4,
        extremes=({"tau": 0.005}, {"tau": 1e-4}, {"mask": None}),
    ),
    Case("grid_pool", grid_pool, pool_reference, grid, ("tokens",), rows=2),
]


@pytest.mark.parametrize(("case", "check"), every(CASES))
def test_every_function_holds(case: Case, check: str) -> None:
    getattr(LossTester(), check)(case)


def same(got: Tensor, want: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


def value_and_gradients(loss: Tensor, *leaves: Tensor) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


# -- PixPro


@pytest.mark.parametrize(("name", "threshold"), [("0p7", 0.7), ("1p5", 1.5)])
def test_pixel_agreement_equals_the_reference_values(golden, name: str, threshold: float) -> None:
    given = golden("pixpro")
    q = given["q_raw"].requires_grad_()
    loss = pixpro_loss(q, given["k_unit"], given["coord_q"], given["coord_k"], threshold)
    value, grad = value_and_gradients(loss, q)
    same(value, given[f"loss_{name}"])
    same(grad, given[f"gradq_{name}"])


@pytest.mark.parametrize(("name", "power"), [("ppm1", 2.0), ("ppm3", 0.5)])
def test_propagation_equals_the_reference_values(golden, name: str, power: float) -> None:
    given = golden("pixpro")
    x = given[f"{name}_x"].requires_grad_()

    def conv(y: Tensor) -> Tensor:
        return F.conv2d(y, given["ppm1_w"], given["ppm1_b"])

    y = pixel_propagation(x, conv if name == "ppm1" else None, power)
    same(y.detach(), given[f"{name}_y"])
    (grad,) = torch.autograd.grad((given[f"{name}_probe"] * F.normalize(y, dim=1)).sum(), x)
    same(grad, given[f"{name}_grad_x"])


def test_the_whole_pixpro_loss_equals_the_reference_values(golden) -> None:
    given = golden("pixpro")
    first, second = given["full_x1"].requires_grad_(), given["full_x2"].requires_grad_()

    def student(x: Tensor) -> Tensor:
        return pixel_propagation(x, lambda y: F.conv2d(y, given["full_w"], given["full_b"]))

    coord = given["full_coord1"], given["full_coord2"]
    loss = pixpro_loss(student(first), given["full_y2"], *coord)
    loss = loss + pixpro_loss(student(second), given["full_y1"], *coord[::-1])
    value, *grads = value_and_gradients(loss, first, second)
    same(value, given["full_loss"])
    same(grads[0], given["full_grad_x1"])
    same(grads[1], given["full_grad_x2"])


def test_the_instance_branch_is_pixel_agreement_of_maps_of_one_cell(golden) -> None:
    given = golden("pixpro")
    p, z = (given[name][:, :, None, None] for name in ("ins_p", "ins_z"))
    crop = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(len(p), 4)
    same(pixpro_loss(p, z, crop, crop), given["ins_loss"])
    same(-2 * F.cosine_similarity(given["ins_p"], given["ins_z"]).mean(), given["ins_loss"])


def test_pixel_agreement_of_the_same_map_is_minus_two_and_of_crops_apart_zero() -> None:
    x = torch.randn(1, 5, 4, 4)
    here, there = torch.tensor([[0.0, 0.0, 0.4, 0.4]]), torch.tensor([[0.6, 0.6, 1.0, 1.0]])
    same(pixpro_loss(x, x, here, here), torch.tensor(-2.0))
    mirrored = pixpro_loss(x, x.flip(-1), here, here[:, [2, 1, 0, 3]])
    same(mirrored, torch.tensor(-2.0))
    x.requires_grad_()
    for loss in (pixpro_loss(x, x, here, there), pixcontrast_loss(x, x, here, there)):
        assert loss == 0
        assert (torch.autograd.grad(loss, x)[0] == 0).all()


def test_crops_apart_stay_in_the_mean() -> None:
    x = torch.randn(2, 5, 4, 4)
    here, there = torch.tensor([[0.0, 0.0, 0.4, 0.4]] * 2), torch.tensor([[0.0, 0.0, 0.4, 0.4], [0.6, 0.6, 1.0, 1.0]])
    same(pixpro_loss(x, x, here, there), torch.tensor(-1.0))


@pytest.mark.parametrize("loss", [pixpro_loss, pixcontrast_loss])
def test_pixel_losses_ignore_the_order_of_images_and_the_scale_of_cells(loss: Any) -> None:
    inputs = crops(5, torch.Generator().manual_seed(5))
    order = torch.randperm(5)
    shuffled = {name: 3 * x[order] if name in "qk" else x[order] for name, x in inputs.items()}
    same(loss(**shuffled), loss(**inputs), 1e-10)


def test_normalised_cells_are_not_normalised_again_on_request() -> None:
    inputs = crops(4, torch.Generator().manual_seed(5))
    unit = inputs | {name: F.normalize(inputs[name], dim=1) for name in "qk"}
    same(pixpro_loss(**unit, normalize=False), pixpro_loss(**inputs), 1e-10)
    halved = unit | {"q": unit["q"] / 2}
    same(pixpro_loss(**halved, normalize=False), pixpro_loss(**inputs) / 2, 1e-10)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation made."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else [result]:
            if isinstance(each, Tensor):
                self.size = max(self.size, each.numel())
        return result


def test_large_maps_need_no_square_of_their_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = crops(3, torch.Generator().manual_seed(6))
    inputs |= {name: normal(3, 4, 16, 16, generator=torch.Generator().manual_seed(i)) for i, name in enumerate("qk")}
    for name in "qk":
        inputs[name].requires_grad_()
    wanted = value_and_gradients(pixpro_loss(**inputs), inputs["q"], inputs["k"])
    monkeypatch.setattr(dense, "CHUNK_ELEMENTS", 8 * 3 * 256)
    with Largest() as largest:
        got = value_and_gradients(pixpro_loss(**inputs), inputs["q"], inputs["k"])
    for a, b in zip(got, wanted, strict=True):
        same(a, b, 1e-10)
    assert largest.size <= 8 * 3 * 256 < 3 * 256 * 256


# -- SlotCon


def test_grouping_equals_the_reference_values(golden) -> None:
    given = golden("slotcon")
    x, prototypes = given["grp_x"].requires_grad_(), given["grp_C"].requires_grad_()
    slots, dots = semantic_grouping(x, prototypes)
    same(slots.detach(), given["grp_slots"])
    same(dots.detach(), given["grp_dots"])
    probe = (given["grp_probe_slots"] * slots).sum() + (given["grp_probe_dots"] * dots).sum()
    grads = torch.autograd.grad(probe, (x, prototypes))
    same(grads[0], given["grp_grad_x"])
    same(grads[1], given["grp_grad_C"], 2e-5)


def test_distillation_equals_the_reference_values(golden) -> None:
    given = golden("slotcon")
    student = given["sd_q"].requires_grad_()
    value, grad = value_and_gradients(soft_distillation(student, given["sd_k"], given["sd_center"]), student)
    same(value, given["sd_loss"])
    same(grad, given["sd_grad_q"])


def test_the_whole_slotcon_step_equals_the_reference_values(golden) -> None:
    given = golden("slotcon")
    leaves = [given[name].requires_grad_() for name in ("full_x1", "full_x2", "full_C_student")]
    teacher = torch.lerp(given["full_C_teacher_before"], leaves[2].detach(), 0.01)
    same(teacher, given["full_C_teacher_after"])
    terms, dots = slotcon_loss(
        leaves[:2],
        (given["full_y1"], given["full_y2"]),
        leaves[2],
        teacher,
        (given["full_coords1"], given["full_coords2"]),
        (given["full_flags1"], given["full_flags2"]),
        given["full_center_before"],
    )
    value, *grads = value_and_gradients(terms["total"], *leaves)
    same(value, given["full_loss"])
    for grad, name in zip(grads, ("x1", "x2", "C"), strict=True):
        same(grad, given[f"full_grad_{name}"])
    mean = dots.mean(dim=(0, 2, 3))[None]
    same(torch.lerp(given["full_center_before"], mean, 0.1), given["full_center_after"])


def slot_views(images: int = 3, seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    x, y = normal(2, 2, images, 4, 3, 3, generator=generator)
    prototypes = normal(2, 6, 4, generator=generator)
    boxes = torch.tensor([0.0, 0.1, 0.8, 1.0], dtype=torch.float64).expand(2, images, 4).clone()
    return {
        "student": x,
        "teacher": y,
        "prototypes": prototypes[0],
        "teacher_prototypes": prototypes[1],
        "boxes": boxes,
        "flips": torch.arange(2 * images).view(2, images) % 2 == 0,
        "center": normal(1, 6, generator=generator) / 10,
    }


def test_images_whose_crops_do_not_meet_take_no_part_in_the_grouping() -> None:
    views = slot_views()
    empty = torch.tensor([0.5, 0.0, 0.4, 1.0], dtype=torch.float64)
    views["boxes"][0, 1] = empty
    rest = {name: views[name][:, [0, 2]] for name in ("student", "teacher", "boxes", "flips")}
    same(slotcon_loss(**views)[0]["group"], slotcon_loss(**(views | rest))[0]["group"], 1e-10)
    views["boxes"][0] = empty
    views["student"].requires_grad_()
    loss = slotcon_loss(**views)[0]["group"]
    assert loss == 0
    assert (torch.autograd.grad(loss, views["student"])[0] == 0).all()


def test_the_slotcon_loss_weighs_its_terms_and_ignores_the_order_of_images() -> None:
    views, order = slot_views(), torch.tensor([2, 0, 1])
    terms, dots = slotcon_loss(**views, group_weight=0.3)
    same(terms["total"], 0.3 * terms["group"] + 0.7 * terms["slot"], 1e-10)
    shuffled = {name: views[name][:, order] for name in ("student", "teacher", "boxes", "flips")}
    for name, value in slotcon_loss(**(views | shuffled), group_weight=0.3)[0].items():
        same(value, terms[name], 1e-10)
    assert dots.shape == (6, 6, 3, 3)
    assert not dots.requires_grad


def dots_where(active: list[list[int]], slots: int = 4) -> Tensor:
    """Scores whose cells have the given best slots, ``(B, slots, 1, cells)``."""
    return torch.stack([F.one_hot(torch.tensor(row), slots).T[:, None].double() for row in active])


def test_a_single_common_slot_gives_zero_where_a_predictor_would_have_to_normalise_it() -> None:
    q, k = torch.randn(2, 1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seen, offered = dots_where([[1, 1]]), dots_where([[1, 2]])
    predictor = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).double()
    q.requires_grad_()
    loss = slot_contrast(q, k, seen, offered, predictor)
    assert (torch.autograd.grad(loss, q)[0] == 0).all()
    assert loss == 0
    assert predictor[1].num_batches_tracked == 0
    assert slot_contrast(q, k, seen, offered) > 0


def test_no_common_slot_gives_zero_with_a_graph_and_leaves_the_predictor_alone() -> None:
    q = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    predictor = nn.BatchNorm1d(3)  # refuses to train on a single row
    loss = slot_contrast(q, q, dots_where([[0, 1], [2, 2]]), dots_where([[2, 3], [1, 3]]), predictor)
    assert loss == 0
    assert (torch.autograd.grad(loss, q)[0] == 0).all()
    assert predictor.num_batches_tracked == 0


def test_one_common_slot_is_told_from_the_other_active_keys() -> None:
    q, k = torch.randn(2, 2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss = slot_contrast(q, k, dots_where([[0, 1], [2, 2]]), dots_where([[0, 3], [1, 3]]))
    keys = torch.stack([k[0, 0], k[0, 3], k[1, 1], k[1, 3]])
    logits = F.cosine_similarity(q[0, 0], keys) / 0.2
    same(loss, 0.4 * (torch.logsumexp(logits, 0) - logits[0]), 1e-10)


def test_the_only_key_costs_nothing() -> None:
    q, k = torch.randn(2, 1, 4, 3, dtype=torch.float64)
    assert slot_contrast(q, k, dots_where([[2, 2]]), dots_where([[2, 2]])) == 0


def test_teacher_slots_get_no_gradient() -> None:
    inputs = slotted(3, torch.Generator().manual_seed(0))
    q, k = (inputs[name].requires_grad_() for name in "qk")
    assert torch.autograd.grad(slot_contrast(**inputs), (q, k), allow_unused=True)[1] is None


def test_active_slots_are_the_best_of_some_cell() -> None:
    assert active_slots(dots_where([[0, 3], [2, 2]])).tolist() == [
        [True, False, False, True],
        [False, False, True, False],
    ]


def test_pixels_are_assigned_to_the_best_prototype_of_the_enlarged_map() -> None:
    dots = dots_where([[0, 3, 1, 1]]).view(1, 4, 2, 2)
    assert assign_pixels(dots, (2, 2)).tolist() == [[[0, 3], [1, 1]]]
    large = assign_pixels(dots, (8, 6))
    assert large.shape == (1, 8, 6)
    assert large[0, 0, 0] == 0
    assert large[0, 0, 5] == 3


def in_one_of_two_processes(rank: int) -> list[Tensor]:
    """Loss and gradient of the own half of the images."""
    inputs = slotted(6, torch.Generator().manual_seed(7))
    own = {name: x[3 * rank : 3 * rank + 3] for name, x in inputs.items()}
    own["q"] = own["q"].clone().requires_grad_()
    if rank == 1:  # ragged: this process has fewer active slots
        own["dots_q"] = own["dots_q"][..., :1, :1].expand(-1, -1, 2, 2)
    return value_and_gradients(slot_contrast(**own), own["q"])


def test_two_processes_equal_one() -> None:
    inputs = slotted(6, torch.Generator().manual_seed(7))
    inputs["dots_q"][3:] = inputs["dots_q"][3:, :, :1, :1]
    inputs["q"].requires_grad_()
    value, grad = value_and_gradients(slot_contrast(**inputs), inputs["q"])
    values, grads = zip(*run_two_processes(in_one_of_two_processes), strict=True)
    same(torch.stack(values).mean(), value, 1e-10)
    same(torch.cat(grads) / 2, grad, 1e-10)


# -- TCL


def test_local_information_equals_the_reference_values(golden) -> None:
    given = golden("tcl")
    glob, temp = given["global_img"].requires_grad_(), given["temp"].requires_grad_()
    value, *grads = value_and_gradients(local_global_nce(given["local_img"], glob, temp), glob, temp)
    same(value, given["lmi_img"])
    same(grads[0], given["lmi_img_grad_global"])
    same(grads[1], given["lmi_img_grad_temp"])


def test_pooling_equals_the_reference_values(golden) -> None:
    given = golden("tcl")
    same(grid_pool(given["pool_in"]), given["pool_out"])


class AlignmentStep:
    """One step of triple contrast on token states, composed of the library's parts."""

    def __init__(self, given: dict[str, Tensor]) -> None:
        self.given = given
        self.tau = given["temp"].clone().requires_grad_()
        self.online, self.slow, self.queues = {}, {}, {}
        for name, queue in (("vision", "image_queue"), ("text", "text_queue")):
            self.online[name] = self.linear(f"{name}_proj")
            self.slow[name] = MomentumEncoder(self.linear(f"{name}_proj_m"), momentum=0.995)
            self.queues[name] = FeatureQueue(12, 8).double()
            self.queues[name].features = given[queue].T.contiguous()

    def linear(self, name: str) -> nn.Linear:
        weight, bias = self.given[f"{name}_weight"], self.given[f"{name}_bias"]
        layer = nn.Linear(weight.shape[1], weight.shape[0]).double()
        layer.load_state_dict({"weight": weight, "bias": bias})
        return layer

    def loss(self, tokens: dict[str, Tensor], slow_tokens: dict[str, Tensor], alpha: float) -> Tensor:
        for name, encoder in self.slow.items():
            encoder.update(self.online[name])
        z = {name: F.normalize(self.online[name](tokens[name][:, 0]), dim=1) for name in tokens}
        local = {name: F.normalize(self.slow[name](slow_tokens[name]), dim=2) for name in tokens}
        key = {name: local[name][:, 0] for name in tokens}
        queue = {name: self.queues[name].features for name in tokens}
        terms = [
            local_global_nce(grid_pool(local["vision"][:, 1:], out=2), z["vision"], self.tau),
            local_global_nce(local["text"][:, 1:], z["text"], self.tau, self.given["attn"][:, 1:].bool()),
        ]
        for own, other in (("vision", "text"), ("text", "vision")):
            keys = torch.cat([key[other], queue[other]])
            targets = distill_targets(key[own], keys, self.tau, alpha)
            terms.append(queue_info_nce(z[own], key[other], queue[other], self.tau, targets))
            terms.append(queue_info_nce(z[own], key[own], queue[own], self.tau))
            self.queues[own].enqueue(key[own])
        return torch.stack(terms).mean()


def test_a_step_of_triple_contrast_equals_the_reference_values(golden) -> None:
    given = golden("tcl")
    step = AlignmentStep(given)
    tokens = {"vision": given["v_tokens"].requires_grad_(), "text": given["t_tokens"].requires_grad_()}
    loss = step.loss(tokens, {"vision": given["v_tokens_m"], "text": given["t_tokens_m"]}, alpha=0.0)
    value, *grads = value_and_gradients(loss, *tokens.values(), step.tau)
    same(value, given["ita_a0"])
    for grad, name in zip(grads, ("v", "t", "temp"), strict=True):
        same(grad, given[f"ita_a0_grad_{name}"])
    same(step.queues["vision"].features.T, given["image_queue_after"])
    same(step.queues["text"].features.T, given["text_queue_after"])
    same(step.slow["vision"].module.weight, given["vision_proj_m_weight_after"])


def test_masked_tokens_do_not_matter() -> None:
    inputs = tokens(5, torch.Generator().manual_seed(8))
    changed = copy.copy(inputs)
    changed["local"] = torch.where(inputs["mask"][..., None], inputs["local"], 100.0)
    assert local_global_nce(**changed) == local_global_nce(**inputs)


def test_nothing_to_compare_gives_zero_with_a_graph() -> None:
    inputs = tokens(4, torch.Generator().manual_seed(8))
    inputs["glob"].requires_grad_()
    alone = {name: x[:1] for name, x in inputs.items() if name != "tau"}
    for loss in (
        local_global_nce(**(inputs | {"mask": torch.zeros(4, 3, dtype=torch.bool)})),
        local_global_nce(**(inputs | alone)),  # no other sample
    ):
        assert loss == 0
        assert (torch.autograd.grad(loss, inputs["glob"])[0] == 0).all()


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_local_information_ignores_the_order_of_samples_and_tokens(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    inputs = tokens(5, generator)
    samples, places = torch.randperm(5, generator=generator), torch.randperm(3, generator=generator)
    shuffled = {
        "local": inputs["local"][samples][:, places],
        "glob": inputs["glob"][samples],
        "mask": inputs["mask"][samples][:, places],
    }
    same(local_global_nce(**(inputs | shuffled)), local_global_nce(**inputs), 1e-10)


def test_many_anchors_are_walked_through_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = tokens(12, torch.Generator().manual_seed(9))
    leaves = [inputs[name].requires_grad_() for name in ("local", "glob", "tau")]
    wanted = value_and_gradients(local_global_nce(**inputs), *leaves)
    monkeypatch.setattr(dense, "CHUNK_ELEMENTS", 5 * 36)
    with Largest() as largest:
        got = value_and_gradients(local_global_nce(**inputs), *leaves)
    for a, b in zip(got, wanted, strict=True):
        same(a, b, 1e-10)
    assert largest.size <= 5 * 36


# -- what is refused


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pixel_propagation(torch.zeros(2, 3)), ShapeError, "x has shape"),
        (lambda: pixel_propagation(torch.zeros(1, 2, 2, 2), lambda x: x[..., :1]), ShapeError, "values has shape"),
        (lambda: pixel_propagation(torch.zeros(1, 2, 2, 2), power=0.0), ValueError, "power = 0.0"),
        (lambda: pixel_propagation(torch.zeros(1, 2, 2, 2), clamp=-1.0), ValueError, "clamp = -1.0: expected"),
        (
            lambda: pixpro_loss(*torch.zeros(2, 1, 2, 2, 2), torch.zeros(2, 4), torch.zeros(1, 4)),
            ShapeError,
            r"coord_q has shape \(2, 4\): expected \(1, 4\)",
        ),
        (
            lambda: pixcontrast_loss(*torch.zeros(2, 1, 2, 2, 2), *torch.zeros(2, 1, 4), temperature=0.0),
            ValueError,
            "temperature = 0.0",
        ),
        (lambda: semantic_grouping(torch.zeros(1, 2, 2, 2), torch.zeros(4, 3)), ShapeError, "prototypes has shape"),
        (lambda: soft_distillation(*torch.zeros(2, 3, 4), torch.zeros(4)), ShapeError, r"expected \(1, 4\)"),
        (
            lambda: slot_contrast(*torch.zeros(2, 1, 4, 3), *torch.zeros(2, 1, 5, 2, 2)),
            ShapeError,
            r"dots_q has shape \(1, 5, 2, 2\): expected \(1, 4, any, any\)",
        ),
        (
            lambda: slotcon_loss(**(slot_views() | {"student": torch.zeros(3, 1, 4, 2, 2)})),
            ValueError,
            "student has 3 views: expected 2",
        ),
        (lambda: slotcon_loss(**slot_views(), group_weight=2.0), ValueError, "group_weight = 2.0"),
        (lambda: local_global_nce(torch.zeros(2, 3, 4), torch.zeros(2, 5), 1.0), ShapeError, "glob has shape"),
        (lambda: grid_pool(torch.zeros(1, 15, 2)), ValueError, "tokens has 15 rows: expected a square"),
        (lambda: grid_pool(torch.zeros(1, 36, 2)), ValueError, "multiple of 4"),
    ],
)
def test_wrong_input_is_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_grids_that_do_not_divide_are_pooled_over_overlapping_windows() -> None:
    grid = torch.arange(49.0).view(1, 49, 1)
    with pytest.raises(ValueError, match="expected a square whose side is a multiple of 4"):
        grid_pool(grid)
    pooled = grid_pool(grid, uneven=True).view(4, 4)
    square = grid.view(7, 7)
    for row, rows in enumerate((slice(0, 2), slice(1, 4), slice(3, 6), slice(5, 7))):
        for column, columns in enumerate((slice(0, 2), slice(1, 4), slice(3, 6), slice(5, 7))):
            assert pooled[row, column] == square[rows, columns].mean()
    even = torch.randn(2, 64, 3)
    assert torch.equal(grid_pool(even, uneven=True), grid_pool(even))
    with pytest.raises(ValueError, match="tokens has 50 rows: expected a square"):
        grid_pool(torch.zeros(1, 50, 1), uneven=True)


def test_summaries_of_some_samples_give_their_part_of_the_whole():
    draw = torch.Generator().manual_seed(0)
    local, glob = torch.randn(6, 3, 4, generator=draw), torch.randn(6, 4, generator=draw)
    mask = torch.rand(6, 3, generator=draw) < 0.7
    parts = [local_global_nce(local, glob[own], 0.5, mask, own=own) for own in (slice(0, 2), slice(2, 6))]
    torch.testing.assert_close(sum(parts), local_global_nce(local, glob, 0.5, mask))
