"""Tokens of clips, what is hidden of them, and the error on what is: the reference values and what has to hold."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import (
    masked_mse,
    patchify,
    predicted_frames,
    random_masking,
    slot_pool,
    unpatchify,
)
from functional.tester import Case, LossTester, every


def mse_loop(pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    errors = []
    for row in range(len(pred)):
        for token in range(pred.shape[1]):
            if mask[row, token]:
                values = target[row, token]
                mean = values.sum() / len(values)
                variance = ((values - mean) ** 2).sum() / (len(values) - 1)
                errors.append(((pred[row, token] - (values - mean) / (variance + 1e-6).sqrt()) ** 2).mean())
    return torch.stack(errors).mean()


def make(rows: int, generator: torch.Generator) -> dict[str, Tensor]:
    pred, target = torch.randn(2, rows, 4, 6, generator=generator, dtype=torch.float64)
    return {"pred": pred, "target": target, "mask": torch.tensor([0.0, 1, 1, 0]).double().expand(rows, 4)}


MSE = Case("masked_mse", masked_mse, mse_loop, make, ("pred", "target"), fixed=("mask",), vmap=False)


class TestMaskedError(LossTester):
    @pytest.mark.parametrize(("case", "check"), every([MSE]))
    def test_it_is_the_mean_of_what_was_hidden(self, case: Case, check: str) -> None:
        getattr(self, check)(case)


def test_tokens_equal_the_reference_values(golden) -> None:
    given = golden("cross_video_mae")
    video = given["video"]
    assert torch.equal(patchify(video, 8, 2).double(), given["patches_u2"])
    assert torch.equal(patchify(video[:, :, ::2], 8, 1).double(), given["patches_u1"])


@pytest.mark.parametrize(("normalize", "name"), [(True, "norm"), (False, "raw")])
def test_the_error_and_its_gradient_equal_the_reference_values(golden, normalize: bool, name: str) -> None:
    given = golden("cross_video_mae")
    frames = predicted_frames(8, 4)
    assert torch.equal(frames, given["rec_frame_index"])
    target = patchify(given["video"][:, :, frames], 8).double()
    pred = given["rec_pred"].double().requires_grad_()
    loss = masked_mse(pred, target, given["mask_mask"], normalize)
    torch.testing.assert_close(loss, given[f"rec_loss_{name}"], atol=1e-10, rtol=1e-10)
    loss.backward()
    torch.testing.assert_close(pred.grad, given[f"rec_grad_pred_{name}"], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("tubelet", [1, 2, 4])
def test_clips_come_back_from_their_tokens(tubelet: int) -> None:
    clips = torch.randn(2, 3, 4, 6, 9)
    assert torch.equal(unpatchify(patchify(clips, 3, tubelet), 3, tubelet, (4 // tubelet, 2, 3)), clips)


def test_sides_that_do_not_divide_are_named() -> None:
    with pytest.raises(ShapeError, match=r"3 frames of 8 × 8: expected multiples of 2 and 4 × 4"):
        patchify(torch.zeros(1, 3, 3, 8, 8), 4, 2)


def test_those_with_the_least_noise_are_kept_in_its_order_and_all_can_be_put_back() -> None:
    tokens, noise = torch.randn(5, 20, 3), torch.rand(5, 20)
    visible, mask, restore, kept = random_masking(tokens, 0.7, noise)
    assert kept.shape == (5, int(20 * (1 - 0.7)))
    for row in range(5):
        assert kept[row].tolist() == noise[row].argsort()[: kept.shape[1]].tolist()
        assert mask[row, kept[row]].sum() == 0
        assert mask[row].sum() == 20 - kept.shape[1]
        assert torch.equal(visible[row], tokens[row, kept[row]])
    hidden = torch.full((5, 20 - kept.shape[1], 3), torch.nan)
    back = torch.cat([visible, hidden], dim=1).gather(1, restore[..., None].expand(5, 20, 3))
    assert torch.equal(back.isnan(), (mask[..., None] > 0).expand_as(back))
    assert torch.equal(back.nan_to_num(), tokens * (1 - mask[..., None]))


def test_the_same_generator_hides_the_same() -> None:
    tokens = torch.zeros(2, 9, 1)
    first, again = (random_masking(tokens, 0.5, generator=torch.Generator().manual_seed(4))[1] for _ in range(2))
    assert torch.equal(first, again)


def test_tubes_hide_the_same_places_in_every_slot() -> None:
    _, mask, _, kept = random_masking(torch.zeros(3, 24, 1), 0.6, tubes=4)
    assert kept.shape == (3, 4 * int(6 * (1 - 0.6)))
    slots = mask.view(3, 4, 6)
    assert torch.equal(slots, slots[:, :1].expand_as(slots))


def test_a_ratio_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="keeps 0 of 4 tokens"):
        random_masking(torch.zeros(1, 4, 1), 0.9)


def test_a_token_of_one_colour_has_a_target_of_nothing() -> None:
    flat = torch.full((1, 1, 12), 3.0)
    assert masked_mse(torch.zeros(1, 1, 12), flat, torch.ones(1, 1)) == 0


def test_where_nothing_was_hidden_there_is_no_error() -> None:
    assert masked_mse(torch.ones(1, 2, 3), torch.zeros(1, 2, 3), torch.zeros(1, 2)) == 0


def test_slots_are_means_of_what_is_seen_of_them() -> None:
    tokens, kept = torch.randn(1, 3, 2), torch.tensor([[5, 0, 4]])
    pooled, there = slot_pool(tokens, kept, slots=3, length=6)
    assert there.tolist() == [[True, False, True]]
    torch.testing.assert_close(pooled[0], torch.stack([tokens[0, 1], torch.zeros(2), tokens[0, [0, 2]].mean(dim=0)]))


def test_autocast_does_not_round_the_means_of_slots() -> None:
    tokens, kept = torch.randn(2, 8, 4), torch.arange(8).expand(2, 8)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = slot_pool(tokens, kept, slots=2, length=8)[0]
    torch.testing.assert_close(pooled, tokens.view(2, 2, 4, 4).mean(dim=2))
