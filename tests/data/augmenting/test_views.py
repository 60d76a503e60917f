from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from accord.data.augmenting import crops
from accord.data.augmenting.crops import centre_crop, make_crop, to_pixels
from accord.data.augmenting.pixels import Pixels, normalise
from accord.data.augmenting.views import View, expand
from accord.data.inputs import IMAGENET_MEAN, IMAGENET_STD, ImageInput

SPEC = ImageInput(size=32)


def gradient(width: int = 200, height: int = 120) -> Image.Image:
    """Red tells x, green tells y, both from 0 to 255."""
    x = np.broadcast_to((np.arange(width) + 0.5) / width, (height, width))
    y = np.broadcast_to(((np.arange(height) + 0.5) / height)[:, None], (height, width))
    return Image.fromarray((255 * np.stack([x, y, np.zeros_like(x)], axis=-1)).astype(np.uint8))


@pytest.mark.parametrize("seed", range(12))
def test_box_and_flip_say_which_pixels_the_view_shows(seed: int) -> None:
    crop = make_crop(gradient(), View(scale=(0.1, 0.9)), SPEC, seed)
    x0, y0, x1, y1 = crop.box
    assert 0 <= x0 < x1 <= 1
    assert 0 <= y0 < y1 <= 1
    middles = (torch.arange(32) + 0.5) / 32
    across = x0 + (x1 - x0) * (1 - middles if crop.flip else middles)
    down = y0 + (y1 - y0) * middles
    red, green = crop.pixels[0].float().mean(0) / 255, crop.pixels[1].float().mean(1) / 255
    torch.testing.assert_close(red, across, atol=0.012, rtol=0)
    torch.testing.assert_close(green, down, atol=0.012, rtol=0)


def test_about_half_the_views_are_mirrored() -> None:
    flips = [make_crop(gradient(), View(), SPEC, seed).flip for seed in range(100)]
    assert 30 < sum(flips) < 70
    assert not any(make_crop(gradient(), View(flip=0.0), SPEC, seed).flip for seed in range(20))


def test_a_view_depends_on_its_seed_alone_and_leaves_the_global_generator_alone() -> None:
    view = View(jitter=(0.4, 0.4, 0.4, 0.1), gray=0.3, blur=0.5, solarize=0.3, lighting=0.1)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = make_crop(gradient(), view, SPEC, 7)
    torch.testing.assert_close(torch.get_rng_state(), before)
    torch.manual_seed(4)
    again, other = make_crop(gradient(), view, SPEC, 7), make_crop(gradient(), view, SPEC, 8)
    assert torch.equal(first.pixels, again.pixels)
    assert first.box == again.box
    assert torch.equal(first.lighting, again.lighting)
    assert first.box != other.box


def test_scale_and_ratio_bound_the_box() -> None:
    for seed in range(30):
        x0, y0, x1, y1 = make_crop(gradient(), View(scale=(0.3, 0.5), ratio=(1.0, 1.0)), SPEC, seed).box
        assert 0.28 < (x1 - x0) * (y1 - y0) < 0.52
        assert (x1 - x0) * 200 == pytest.approx((y1 - y0) * 120, abs=2)


def test_each_colour_change_does_what_it_says() -> None:
    still = View(scale=(1.0, 1.0), ratio=(200 / 120, 200 / 120), flip=0.0)
    plain = make_crop(gradient(), still, SPEC, 0).pixels.float()

    def changed(**options: object) -> torch.Tensor:
        view = View(scale=still.scale, ratio=still.ratio, flip=0.0, **options)  # type: ignore[arg-type]
        return make_crop(gradient(), view, SPEC, 0).pixels.float()

    gray = changed(gray=1.0)
    assert torch.equal(gray[0], gray[1])
    assert torch.equal(gray[1], gray[2])
    solarized = changed(solarize=1.0)
    assert torch.equal(solarized, torch.where(plain < 128, plain, 255 - plain))
    assert changed(blur=1.0).diff(dim=-1).abs().max() < 40
    assert not torch.equal(changed(jitter=(0.9, 0.0, 0.0, 0.0)), plain)
    assert torch.equal(changed(jitter=(0.9, 0.0, 0.0, 0.0), jitter_p=0.0), plain)


@pytest.mark.parametrize("seed", range(6))
def test_a_box_of_the_mean_colour_is_blanked_out_in_some_views_and_nothing_else_changes(seed: int) -> None:
    plain, erased = (make_crop(gradient(), View(erase=share), SPEC, seed) for share in (0.0, 1.0))
    gone = (plain.pixels != erased.pixels).any(dim=0)
    assert 0.01 < gone.float().mean() < 0.4
    rows, columns = gone.any(dim=1).nonzero(), gone.any(dim=0).nonzero()
    box = erased.pixels[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert (box == torch.tensor([round(255 * share) for share in SPEC.mean])[:, None, None]).all()
    assert plain.box == erased.box
    happens = [
        not torch.equal(
            make_crop(gradient(), View(erase=0.25), SPEC, s).pixels, make_crop(gradient(), View(), SPEC, s).pixels
        )
        for s in range(40)
    ]
    assert 2 < sum(happens) < 20


@pytest.mark.parametrize("seed", range(4))
def test_blur_is_as_wide_a_share_of_a_small_view_as_of_a_large_one(seed: int) -> None:
    def width(side: int) -> float:
        """Standard deviation of the transition from black to white, as a share of the side."""
        halves = Image.fromarray(np.where(np.arange(side) < side // 2, 0, 255)[None].repeat(side, 0).astype(np.uint8))
        view = View(size=side, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, blur=1.0)
        rise = make_crop(halves.convert("RGB"), view, SPEC, seed).pixels[0, side // 2].double().diff() / 255
        place = torch.arange(1, side) / side
        return float((rise * (place - (rise * place).sum()) ** 2).sum().sqrt())

    large = width(896)
    assert large < 2.2 / 224
    assert width(224) == pytest.approx(large, abs=0.2 / 224)
    assert width(96) < 3 / 224  # of 2 pixels it would be 4.7 / 224


def test_lighting_shifts_colours_along_the_components_of_imagenet() -> None:
    shifts = torch.stack([make_crop(gradient(), View(lighting=0.1), SPEC, seed).lighting for seed in range(300)])
    assert shifts.mean(0).abs().max() < 0.005
    axis = torch.tensor([-0.5675, -0.5808, -0.5836])
    assert (shifts @ axis).std().item() == pytest.approx(0.02175, rel=0.15)
    assert not make_crop(gradient(), View(), SPEC, 0).lighting.any()


def test_views_come_as_often_as_counted_and_in_declared_order() -> None:
    views = expand([View(size=8, count=2), View(size=4)])
    assert [view.size for view in views] == [8, 8, 4]
    assert all(view.count == 1 for view in views)


@pytest.mark.parametrize(("size", "crop"), [((200, 120), 1.0), ((120, 200), 0.875), ((100, 100), 0.5)])
def test_the_evaluation_view_is_the_centre_of_the_shorter_side(size: tuple[int, int], crop: float) -> None:
    pixels = centre_crop(gradient(*size), ImageInput(size=32, crop=crop))
    assert pixels.shape == (3, 32, 32)
    width, height = size
    half = min(width, height) * crop / 2
    expected = 255 * (width / 2 - half + half / 32) / width  # the middle of the first column
    assert pixels[0].float().mean(0)[0].item() == pytest.approx(expected, abs=3)


def test_a_very_long_picture_is_never_blown_up() -> None:
    assert centre_crop(Image.new("RGB", (20_000, 1)), ImageInput(size=224)).shape == (3, 224, 224)
    assert make_crop(Image.new("RGB", (20_000, 1)), View(), SPEC, 0).pixels.shape == (3, 32, 32)


def test_normalising_is_what_the_input_says() -> None:
    pixels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
    torch.testing.assert_close(normalise(pixels, ImageInput()), (pixels / 255 - mean) / std)
    shift = torch.tensor([[0.1, 0.0, -0.1], [0.0, 0.2, 0.0]])
    expected = (pixels / 255 + shift[:, :, None, None] - mean) / std
    torch.testing.assert_close(normalise(pixels, ImageInput(), shift), expected)


def test_bicubic_is_not_bilinear() -> None:
    small = Image.effect_noise((9, 9), 80).convert("RGB")
    smooth = centre_crop(small, ImageInput(size=32))
    sharp = centre_crop(small, ImageInput(size=32, interpolation="bicubic"))
    assert not torch.equal(smooth, sharp)
    assert torch.equal(to_pixels(small)[0], torch.from_numpy(np.array(small)[..., 0]))


def test_random_operations_follow_the_seed_and_grow_with_their_strength() -> None:
    still = View(scale=(1.0, 1.0), ratio=(200 / 120, 200 / 120), flip=0.0)
    plain = make_crop(gradient(), still, SPEC, 0).pixels.float()

    def change(strength: float, seed: int, operations: int = 2) -> float:
        view = replace(still, rand_augment=(operations, strength))
        return float((make_crop(gradient(), view, SPEC, seed).pixels.float() - plain).abs().mean())

    weak, strong = ([change(strength, seed) for seed in range(30)] for strength in (0.1, 1.0))
    assert strong == [change(1.0, seed) for seed in range(30)]
    assert 3 * sum(weak) < sum(strong)
    assert change(1.0, 0, operations=0) == 0


def test_auto_augment_follows_the_seed_and_recolours_moves_or_leaves_a_picture() -> None:
    still = View(scale=(1.0, 1.0), ratio=(200 / 120, 200 / 120), flip=0.0)
    learnt, state = replace(still, auto_augment=True), torch.get_rng_state()
    plain = make_crop(gradient(), still, SPEC, 0).pixels
    found = [make_crop(gradient(), learnt, SPEC, seed).pixels for seed in range(30)]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(make_crop(gradient(), learnt, SPEC, seed).pixels, found[seed]) for seed in range(5))
    assert 15 < sum(not torch.equal(pixels, plain) for pixels in found) <= 30
    assert len({pixels.numpy().tobytes() for pixels in found}) > 10


@pytest.mark.parametrize("operation", crops._OPERATIONS)
def test_no_random_operation_tints_a_grey_picture_and_what_comes_in_is_background(operation) -> None:
    picture = Image.new("RGB", (40, 40), (90, 90, 90))
    for strength in (-0.7, 0.7):
        changed = to_pixels(operation(picture, strength, (255, 255, 255))).float()
        assert changed.shape == (3, 40, 40)
        assert torch.equal(changed[0], changed[1])
        assert torch.equal(changed[1], changed[2])
        assert changed.min() >= 25  # nothing black comes in


def test_bytes_of_pictures_are_normalised_where_they_are_taken() -> None:
    values = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).reshape(2, 3, 4, 4)
    shift = torch.tensor([[0.1, 0.0, -0.1], [0.0, 0.2, 0.0]])
    held = Pixels(values, ImageInput(), shift)
    assert torch.equal(held.to("cpu"), normalise(values, ImageInput(), shift))
    assert held.to("meta").device.type == "meta"
    clips = Pixels(values[None], ImageInput(), shift[:1, None], torch.tensor([[True, False]]))
    assert torch.equal(clips.to("cpu")[0, 0], normalise(values[0], ImageInput(), shift[0]))
    assert not clips.to("cpu")[0, 1].any()
