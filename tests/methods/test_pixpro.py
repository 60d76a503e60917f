"""PixPro: cells that show the same place, propagation, the teacher's pace, the instance branch, PixContrast."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from image_parts import Killed, built, crops, moved, tiny, told_apart, trained
from PIL import Image

from accord.data.augmenting.crops import make_crop
from accord.data.augmenting.views import View
from accord.data.inputs import ImageInput
from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.functional import crop_cell_centers, flipped_coord, pixcontrast_loss, pixpro_loss
from accord.methods import Step

SMALL = {"dim": 8, "hidden": 16, "crop_scale": (0.4, 1.0)}


@pytest.fixture
def batch():
    return crops()


def maps(method, batch):
    """Projected maps of student and teacher, and PixPro's coordinates."""
    slow = method.teacher.module
    student = [method.heads["pixel"](method.encoders["image"](crop).grid()) for crop in batch["image_views"]]
    with torch.no_grad():
        teacher = [slow["pixel head"](slow["image"](crop).grid()) for crop in batch["image_views"]]
    return student, teacher, flipped_coord(batch["view_boxes"], batch["view_flips"]).unbind(1)


def test_a_propagated_cell_agrees_with_the_teachers_cell_of_the_other_crop(batch):
    pixpro = moved(built("pixpro", **SMALL))
    (p1, p2), (z1, z2), (c1, c2) = maps(pixpro, batch)
    expected = pixpro_loss(pixpro.propagation(p1), z2, c1, c2) + pixpro_loss(pixpro.propagation(p2), z1, c2, c1)
    terms = pixpro.loss(batch, Step())
    torch.testing.assert_close(terms["total"], expected)
    assert terms["meeting"] == 1


def test_without_propagation_the_plain_cells_are_compared(batch):
    pixpro = moved(built("pixpro", propagation=False, **SMALL))
    (p1, p2), (z1, z2), (c1, c2) = maps(pixpro, batch)
    torch.testing.assert_close(
        pixpro.loss(batch, Step())["total"], pixpro_loss(p1, z2, c1, c2) + pixpro_loss(p2, z1, c2, c1)
    )


def test_pixcontrast_contrasts_the_cells_of_both_crops(batch):
    pixpro = moved(built("pixpro", objective="pixcontrast", **SMALL))
    (p1, p2), (z1, z2), (c1, c2) = maps(pixpro, batch)
    expected = (pixcontrast_loss(p1, z2, c1, c2) + pixcontrast_loss(p2, z1, c2, c1)) / 2
    torch.testing.assert_close(pixpro.loss(batch, Step())["total"], expected)


def test_the_instance_branch_predicts_the_teachers_pooled_projection(batch):
    pixpro = moved(built("pixpro", pixel_weight=0.0, instance_weight=2.0, **SMALL))
    slow, terms = pixpro.teacher.module, []
    for own, other in ((0, 1), (1, 0)):
        mine = pixpro.heads["instance"](pixpro.encoders["image"](batch["image_views"][own]).grid())
        predicted = pixpro.predictor(mine).mean(dim=(2, 3))
        with torch.no_grad():
            wanted = slow["instance head"](slow["image"](batch["image_views"][other]).grid()).mean(dim=(2, 3))
        terms.append(2 - 2 * F.cosine_similarity(predicted, wanted).mean())
    torch.testing.assert_close(pixpro.loss(batch, Step())["total"], 2.0 * sum(terms))


def test_gradient_reaches_every_part_of_the_student_and_none_of_the_teacher(batch):
    pixpro = built("pixpro", instance_weight=1.0, **SMALL)
    pixpro.loss(batch, Step())["total"].backward()
    for name, parameter in pixpro.named_parameters():
        assert (parameter.grad is None) == name.startswith("teacher."), name


def test_a_cell_lies_where_the_pixels_that_it_shows_have_their_centre():
    """A crop of whole pixels, one cell a pixel: the coordinates are of its edges, as the batch has them."""
    crop = make_crop(Image.new("RGB", (12, 8)), View(scale=(0.2, 0.6), flip=0.0), ImageInput(size=32), seed=3)
    left, top, right, bottom = (share * side for share, side in zip(crop.box, (12, 8, 12, 8), strict=True))
    width, height = round(right - left), round(bottom - top)
    assert 1 < width < 12
    coord = flipped_coord(torch.tensor([crop.box]), torch.tensor([False]))
    centres = crop_cell_centers(coord, height, width)[0].view(height, width, 2) * torch.tensor([12.0, 8.0])
    torch.testing.assert_close(centres[0, :, 0], left + torch.arange(width) + 0.5)
    torch.testing.assert_close(centres[:, 0, 1], top + torch.arange(height) + 0.5)


def test_crops_that_do_not_meet_teach_nothing(batch):
    batch["view_boxes"] = torch.tensor([[[0.0, 0.0, 0.3, 0.3], [0.6, 0.6, 1.0, 1.0]]]).expand(5, 2, 4)
    terms = built("pixpro", **SMALL).loss(batch, Step())
    assert terms["total"] == 0
    assert terms["meeting"] == 0


def test_the_teacher_starts_equal_and_follows_along_a_cosine(batch):
    pixpro = built("pixpro", momentum=0.9, **SMALL)
    head, slow = pixpro.heads["pixel"][0], pixpro.teacher.module["pixel head"][0]
    assert torch.equal(head.weight, slow.weight)
    before = slow.weight.clone()
    with torch.no_grad():
        head.weight.add_(1.0)
    pixpro.after_step(Step(index=4, total=10))
    share = 0.1 * (math.cos(math.pi * 5 / 10) + 1) / 2
    torch.testing.assert_close(slow.weight, before + share)
    pixpro.after_step(Step(index=9, total=10))  # at rest
    torch.testing.assert_close(slow.weight, before + share)
    assert pixpro.train().teacher.module.training  # its batch norm sees the batch


@pytest.mark.parametrize("settings", [{"instance_weight": 1.0}, {"objective": "pixcontrast"}])
def test_a_killed_run_goes_on_exactly(tmp_path, settings):
    whole = trained("pixpro", tmp_path / "whole", **SMALL, **settings)
    with pytest.raises(Killed):
        trained("pixpro", tmp_path / "killed", kill_at=5, **SMALL, **settings)
    again = trained("pixpro", tmp_path / "killed", resume=True, **SMALL, **settings)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_training_brings_cells_of_one_place_together(tmp_path):
    pixpro = trained("pixpro", tmp_path, training={"epochs": 6}, momentum=0.9, **SMALL)
    assert told_apart(pixpro) > 0.8  # chance 0.25
    assert pixpro.encoders["image"](torch.zeros(2, 3, 32, 32)).grid().shape == (2, 16, 4, 4)


def test_a_vit_will_do_and_an_encoder_without_tokens_is_refused(batch):
    vit = build_encoder("image", {"name": "tiny_vit", "size": 32, "patch": 8, "width": 16, "depth": 1, "heads": 2})
    assert torch.isfinite(built("pixpro", {"image": vit}, **SMALL).loss(batch, Step())["total"])
    plain = tiny()
    plain["image"].gives = frozenset({"pooled"})
    with pytest.raises(ConfigError, match="pixpro needs patches"):
        built("pixpro", plain, **SMALL)


def test_bf16_gives_a_loss_in_single_precision(batch):
    with torch.autocast("cpu", torch.bfloat16):
        assert built("pixpro", instance_weight=1.0, **SMALL).loss(batch, Step())["total"].dtype == torch.float32
