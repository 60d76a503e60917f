"""Banzhaf interaction against plain enumeration, one coalition of the reference implementation, and draws."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import TokenGame, banzhaf_interaction, token_interaction

PAIRS = ((0, 0), (1, 2), (2, 1), (3, 2))  # of the reference values


def game_of(n: int = 3, m: int = 3, seed: int = 0) -> tuple[Tensor, ...]:
    """Three pairs of up to n words and m frames."""
    generator = torch.Generator().manual_seed(seed)
    real = torch.arange(n) < torch.tensor([[n], [max(1, n - 1)], [1]])
    shown = torch.arange(m) < torch.tensor([[m], [m], [max(1, m - 1)]])
    similarity = torch.randn(3, n, m, generator=generator, dtype=torch.float64)
    a, b = (torch.rand(mask.shape, generator=generator, dtype=torch.float64) * mask for mask in (real, shown))
    return similarity, a / a.sum(dim=1, keepdim=True), b / b.sum(dim=1, keepdim=True), real, shown


def worth(similarity: Tensor, a: Tensor, b: Tensor, words: list[int], frames: list[int]) -> float:
    """The pay-off of one coalition of the textbook's game."""
    if not words or not frames:
        return 0.0
    part = similarity[words][:, frames]
    by_words = (a[words] * part.max(dim=1).values).sum() / a[words].sum()
    return float(by_words + (b[frames] * part.max(dim=0).values).sum() / b[frames].sum()) / 2


def plain(similarity: Tensor, a: Tensor, b: Tensor, n: int, m: int, i: int, j: int) -> float:
    """The definition, coalition by coalition."""
    total, others = 0.0, [*[("w", word) for word in range(n) if word != i], *[("f", f) for f in range(m) if f != j]]
    for joins in product((False, True), repeat=len(others)):
        members = [player for player, there in zip(others, joins, strict=True) if there]
        words, frames = ([number for kind, number in members if kind == which] for which in "wf")
        for extra in product((False, True), repeat=2):
            sign = 1 if extra[0] == extra[1] else -1
            total += sign * worth(similarity, a, b, words + [i] * extra[0], frames + [j] * extra[1])
    return total / 2 ** len(others)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (4, 2), (1, 3), (3, 1), (1, 1)])
def test_the_game_of_words_and_frames_equals_plain_enumeration_over_real_players(n: int, m: int) -> None:
    similarity, a, b, real, shown = game_of(n, m)
    found = token_interaction(similarity, a, b, real, shown, scale=1.0)
    for row in range(3):
        words, frames = int(real[row].sum()), int(shown[row].sum())
        for i, j in product(range(n), range(m)):
            here = i < words and j < frames
            expected = plain(similarity[row], a[row], b[row], words, frames, i, j) if here else 0.0
            assert found[row, i, j].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("samples", [None, 40])
def test_any_pay_off_gives_the_same_by_the_general_way(samples: int | None) -> None:
    similarity, a, b, real, shown = game_of(4, 3)
    game = TokenGame.of(similarity, a, b, real, shown, scale=1.0)
    draws = [None if samples is None else torch.Generator().manual_seed(1) for _ in range(2)]
    general = banzhaf_interaction(game.payoff, 4, 3, samples, generator=draws[0], block=7)
    own = token_interaction(similarity, a, b, real, shown, samples, scale=1.0, generator=draws[1])
    torch.testing.assert_close(general * (real[:, :, None] & shown[:, None]), own)


def test_one_coalition_of_the_reference_implementation(golden) -> None:
    z = golden("hbi")
    parts = [z[f"bz_{name}"].double() for name in ("token_sim", "text_weight", "video_weight")]
    masks = z["bz_text_mask"].bool(), z["bz_video_mask"].bool()
    game = TokenGame.of(*parts, *masks, variant="released")
    gains = game.gains(z["bz_u_text"][None] > 0.5, z["bz_u_video"][None] > 0.5)[0]
    real = masks[0][:, :, None] & masks[1][:, None]
    for number, (i, j) in enumerate(PAIRS):
        kept = real[:, i, j]
        assert kept.any()
        torch.testing.assert_close(gains[kept, i, j], z["bz_single"][number][kept])


@pytest.mark.parametrize("variant", ["textbook", "released"])
def test_drawn_coalitions_come_near_to_all_of_them(variant) -> None:
    similarity, a, b, real, shown = game_of(4, 3)
    parts = (similarity, a, b, real, shown)
    exact = token_interaction(*parts, variant=variant, scale=1.0)
    few, many = (
        token_interaction(*parts, count, variant=variant, scale=1.0, generator=torch.Generator().manual_seed(0))
        for count in (100, 6400)
    )
    assert (many - exact).abs().max() < 0.03
    assert (many - exact).square().mean() < (few - exact).square().mean() / 8


def test_a_coalitions_players_do_not_hang_on_how_far_words_are_padded() -> None:
    similarity, a, b, real, shown = game_of(3, 3)
    longer = [torch.nn.functional.pad(x, pad) for x, pad in ((similarity, (0, 0, 0, 4)), (a, (0, 4)), (real, (0, 4)))]
    draws = [torch.Generator().manual_seed(0) for _ in range(2)]
    short = token_interaction(similarity, a, b, real, shown, 30, generator=draws[0])
    long = token_interaction(longer[0], longer[1], b, longer[2], shown, 30, generator=draws[1])
    torch.testing.assert_close(long[:, :3], short)
    assert (long[:, 3:] == 0).all()


def test_a_game_whose_pay_offs_add_up_has_no_interactions() -> None:
    worth_of = torch.randn(7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def payoff(words: Tensor, frames: Tensor) -> Tensor:
        return (torch.cat([words, frames], dim=2) * worth_of).sum(dim=2)

    assert banzhaf_interaction(payoff, 4, 3).abs().max() < 1e-12


def test_labels_carry_no_gradient_and_half_precision_is_computed_in_single() -> None:
    similarity, a, b, real, shown = game_of()
    half = similarity.bfloat16().requires_grad_()
    found = token_interaction(half, a.float(), b.float(), real, shown)
    assert found.dtype == torch.float32
    assert not found.requires_grad


def test_too_many_players_and_wrong_games_are_refused() -> None:
    many = torch.zeros(1, 12, 12)
    weight = torch.full((1, 12), 1 / 12)
    with pytest.raises(ValueError, match="samples=100"):
        token_interaction(many, weight, weight)
    with pytest.raises(ValueError, match="samples"):
        token_interaction(many, weight, weight, samples=0)
    with pytest.raises(ValueError, match="variant"):
        token_interaction(many, weight, weight, samples=1, variant="shapley")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="text_weight"):
        token_interaction(many, weight[:, :3], weight, samples=1)
