"""SlotCon: grouping on the common region, slots of the whole maps, the centre's delay, overlapping crops."""

from __future__ import annotations

import math

import pytest
import torch
from image_parts import Killed, built, crops, moved, tiny, told_apart, trained
from PIL import Image
from safetensors.torch import load_file, save_file

from accord.data.augmenting.crops import make_crop
from accord.data.augmenting.views import View
from accord.data.inputs import ImageInput
from accord.errors import ConfigError
from accord.functional import inverse_augment, semantic_grouping, slot_contrast, soft_distillation
from accord.methods import Step
from accord.methods.image.slotcon import common_boxes
from accord.training.artifact import WEIGHTS, load_model, save_model

SMALL = {"slots": 5, "dim": 8, "hidden": 16, "layers": 1, "crop_scale": (0.4, 1.0)}


@pytest.fixture
def batch():
    return crops()


def with_centre(method):
    method.center.center.copy_(torch.linspace(-0.1, 0.1, 5)[None])
    return moved(method)


def parts(method, batch):
    """Slots and scores of student and teacher in both views."""
    slow = method.teacher.module
    student = [method.projector(method.encoders["image"](crop).grid()) for crop in batch["image_views"]]
    teacher = [slow["projector"](slow["image"](crop).grid()) for crop in batch["image_views"]]
    return (
        [semantic_grouping(x, method.grouping.prototypes, 0.07) for x in student],
        [semantic_grouping(x.detach(), slow["grouping"].prototypes.detach(), 0.07) for x in teacher],
    )


def cells(maps):
    return maps.flatten(2).mT.flatten(0, 1)


def test_the_loss_groups_the_common_region_and_contrasts_slots_of_whole_maps(batch):
    slotcon = with_centre(built("slotcon", **SMALL, group_weight=0.3))
    student, teacher = parts(slotcon, batch)
    boxes, flips = common_boxes(batch["view_boxes"], batch["view_flips"]), batch["view_flips"].unbind(1)
    group = slot = 0
    for own, other in ((0, 1), (1, 0)):
        aligned = cells(inverse_augment(student[own][1], boxes[own], flips[own]))
        wanted = cells(inverse_augment(teacher[other][1], boxes[other], flips[other]))
        group = group + soft_distillation(aligned, wanted, slotcon.center.center, 0.1, 0.07)
        slot = slot + slot_contrast(
            student[own][0], teacher[other][0], student[own][1], teacher[other][1], slotcon.predictor, 0.2
        )
    terms = slotcon.loss(batch, Step())
    torch.testing.assert_close(terms["group"], group.detach())
    torch.testing.assert_close(terms["slot"], slot.detach())
    torch.testing.assert_close(terms["total"], 0.3 * group + 0.7 * slot)


def test_the_centre_moves_after_its_use_towards_the_teachers_raw_scores(batch):
    slotcon = with_centre(built("slotcon", **SMALL))
    before = slotcon.center.center.clone()
    _, teacher = parts(slotcon, batch)
    mean = torch.cat([dots for _, dots in teacher]).mean(dim=(0, 2, 3))
    slotcon.loss(batch, Step())
    torch.testing.assert_close(slotcon.center.center, 0.9 * before + 0.1 * mean[None])


def test_gradient_reaches_every_part_of_the_student_and_none_of_the_teacher(batch):
    slotcon = built("slotcon", **SMALL)
    slotcon.loss(batch, Step())["total"].backward()
    for name, parameter in slotcon.named_parameters():
        assert (parameter.grad is None) == name.startswith("teacher."), name


@pytest.mark.parametrize(("weight", "slots_learn"), [(1.0, False), (0.0, True)])
def test_the_slot_predictor_learns_from_the_contrast_alone(batch, weight, slots_learn):
    slotcon = built("slotcon", **SMALL, group_weight=weight)
    slotcon.loss(batch, Step())["total"].backward()
    assert bool(slotcon.predictor[0].weight.grad.any()) == slots_learn
    assert slotcon.grouping.prototypes.grad.any()
    assert slotcon.projector[0].weight.grad.any()


def test_the_teacher_follows_prototypes_too_along_a_cosine():
    slotcon = built("slotcon", momentum=0.9, **SMALL)
    slow = slotcon.teacher.module["grouping"].prototypes
    before = slow.clone()
    with torch.no_grad():
        slotcon.grouping.prototypes.add_(1.0)
    slotcon.after_step(Step(index=2, total=12))
    torch.testing.assert_close(slow, before + 0.1 * (math.cos(math.pi * 3 / 12) + 1) / 2)


def test_common_boxes_show_the_same_region_in_both_crops():
    """A picture whose value is its place, cropped twice: aligned maps must be equal."""
    ys, xs = torch.meshgrid(torch.linspace(0, 1, 201), torch.linspace(0, 1, 201), indexing="ij")
    picture = torch.stack([xs, ys])[None]
    boxes = torch.tensor([[[0.1, 0.2, 0.7, 0.9], [0.3, 0.1, 1.0, 0.8]]])
    flips = torch.tensor([[False, True]])
    crops = []
    for box, flip in zip(boxes[0], flips[0], strict=True):
        crop = inverse_augment(picture, box[None], torch.tensor([False]))  # a cut-out at the full size
        crops.append(crop.flip(-1) if flip else crop)
    aligned = [
        inverse_augment(crop, box, flip)
        for crop, box, flip in zip(crops, common_boxes(boxes, flips), flips.unbind(1), strict=True)
    ]
    torch.testing.assert_close(aligned[0], aligned[1], atol=2e-3, rtol=0)


def test_the_second_crop_overlaps_the_first_as_far_as_ten_draws_can():
    image, spec = Image.new("RGB", (200, 100)), ImageInput(size=32)
    near, free = View(scale=(0.05, 0.1), overlap=0.5), View(scale=(0.05, 0.1))
    corner = (0.0, 0.0, 0.3, 0.6)

    def common(view, seed):
        x0, y0, x1, y1 = make_crop(image, view, spec, seed, corner).box
        inside = max(0.0, min(x1, 0.3) - x0) * max(0.0, min(y1, 0.6) - y0)
        return inside / ((x1 - x0) * (y1 - y0)) >= 0.5

    assert sum(common(near, seed) for seed in range(60)) > 40
    assert sum(common(free, seed) for seed in range(60)) < 30
    first, second = built("slotcon").views
    assert (first.overlap, second.overlap) == (0.0, 0.01)


def test_a_killed_run_goes_on_exactly(tmp_path):
    whole = trained("slotcon", tmp_path / "whole", **SMALL)
    with pytest.raises(Killed):
        trained("slotcon", tmp_path / "killed", kill_at=5, **SMALL)
    again = trained("slotcon", tmp_path / "killed", resume=True, **SMALL)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_training_tells_colours_apart_and_segments(tmp_path):
    slotcon = trained("slotcon", tmp_path, training={"epochs": 6}, momentum=0.99, **SMALL)
    assert told_apart(slotcon) > 0.8  # chance 0.25
    found = slotcon.segment({"image": torch.randn(2, 3, 32, 32)}, (20, 30))
    assert found.shape == (2, 20, 30)
    assert 0 <= int(found.min()) <= int(found.max()) < 5


def test_pictures_are_segmented_by_the_teacher_which_is_saved_with_the_model(tmp_path):
    slotcon = moved(built("slotcon", **SMALL)).eval()
    image = torch.randn(3, 3, 32, 32)
    slow = slotcon.teacher.module
    _, dots = semantic_grouping(slow["projector"](slow["image"](image).grid()), slow["grouping"].prototypes, 0.07)
    own = slotcon._map(slotcon._online(), image)
    _, others = semantic_grouping(own, slotcon.grouping.prototypes, 0.07)
    assert not torch.equal(dots.argmax(dim=1), others.argmax(dim=1))
    side = dots.shape[2:]
    assert torch.equal(slotcon.segment({"image": image}, side), dots.argmax(dim=1))
    save_model(tmp_path, slotcon, {"method": {"name": "slotcon"}})
    assert torch.equal(load_model(tmp_path).method.segment({"image": image}, side), dots.argmax(dim=1))


def test_a_model_saved_without_its_teacher_segments_by_the_student(tmp_path):
    slotcon = moved(built("slotcon", **SMALL)).eval()
    save_model(tmp_path, slotcon, {"method": {"name": "slotcon"}})
    weights = load_file(tmp_path / WEIGHTS)
    save_file({name: value for name, value in weights.items() if not name.startswith("teacher.")}, tmp_path / WEIGHTS)
    image = torch.randn(3, 3, 32, 32)
    _, dots = slotcon.grouping(slotcon._map(slotcon._online(), image))
    assert torch.equal(load_model(tmp_path).method.segment({"image": image}, dots.shape[2:]), dots.argmax(dim=1))


def test_an_encoder_without_tokens_is_refused():
    plain = tiny()
    plain["image"].gives = frozenset({"pooled"})
    with pytest.raises(ConfigError, match="slotcon needs patches"):
        built("slotcon", plain, **SMALL)


def test_bf16_gives_a_loss_in_single_precision(batch):
    with torch.autocast("cpu", torch.bfloat16):
        assert built("slotcon", **SMALL).loss(batch, Step())["total"].dtype == torch.float32
