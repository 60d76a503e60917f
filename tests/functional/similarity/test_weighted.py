"""Weighted token-wise interaction against explicit loops, the reference values, and in tiles of any size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from accord.errors import ShapeError
from accord.functional import (
    contrastive_loss,
    paired_similarity,
    token_similarity,
    token_weights,
    weighted_interaction,
    wti,
)
from accord.functional.similarity import token_tiles
from functional.tester import Case, Inputs, LossTester, every


def inputs(rows: int, generator: torch.Generator) -> Inputs:
    text = torch.randn(rows, 4, 5, generator=generator, dtype=torch.float64)
    video = torch.randn(3, 6, 5, generator=generator, dtype=torch.float64)
    text_mask = torch.arange(4) <= (torch.arange(rows) % 4)[:, None]
    video_mask = torch.arange(6) <= (1 + 2 * torch.arange(3))[:, None]
    a = token_weights(torch.randn(rows, 4, generator=generator, dtype=torch.float64), text_mask)
    b = token_weights(torch.randn(3, 6, generator=generator, dtype=torch.float64), video_mask)
    return {
        "text": text,
        "video": video,
        "text_weight": a,
        "video_weight": b,
        "text_mask": text_mask,
        "video_mask": video_mask,
    }


def reference(
    text: Tensor, video: Tensor, text_weight: Tensor, video_weight: Tensor, text_mask: Tensor, video_mask: Tensor
) -> Tensor:
    scores = []
    for words, a, real in zip(text, text_weight, text_mask, strict=True):
        for frames, b, shown in zip(video, video_weight, video_mask, strict=True):
            cosines = F.cosine_similarity(words[real][:, None], frames[shown][None], dim=2)
            best = (a[real] * cosines.max(dim=1).values).sum() + (b[shown] * cosines.max(dim=0).values).sum()
            scores.append(best / 2)
    return torch.stack(scores).view(len(text), len(video))


CASE = Case(
    "weighted_interaction",
    weighted_interaction,
    reference,
    inputs,
    ("text", "video", "text_weight", "video_weight"),
    fixed=("text_weight", "video_weight"),
    vmap=False,  # its tiles are computed again in the backward pass
    compiles=False,
)


class TestWeightedInteraction(LossTester):
    @pytest.mark.parametrize(("case", "check"), every([CASE]))
    def test_property(self, case: Case, check: str) -> None:
        getattr(self, check)(case)


def test_the_reference_implementations_scores_loss_and_gradients(golden) -> None:
    z = {name: value.double() for name, value in golden("hbi").items() if name.startswith("wti_")}
    names = ("text", "video", "text_score", "video_score", "log_scale")
    text, video, text_score, video_score, log_scale = leaves = [z[f"wti_{name}"].requires_grad_() for name in names]
    masks = z["wti_text_mask"].bool(), z["wti_video_mask"].bool()
    weights = token_weights(text_score, masks[0]), token_weights(video_score, masks[1])
    scores = weighted_interaction(text, video, *weights, *masks, padding="zero")
    torch.testing.assert_close(scores, z["wti_sim"])
    cosines = token_similarity(text, video, *masks)
    torch.testing.assert_close(cosines, z["wti_token_sim"])
    torch.testing.assert_close(wti(cosines, *weights), z["wti_sim"])
    loss = contrastive_loss(log_scale.exp() * scores, direction="both")
    torch.testing.assert_close(loss, z["wti_loss"])
    for name, gradient in zip(names, torch.autograd.grad(loss, leaves), strict=True):
        torch.testing.assert_close(gradient, z[f"wti_grad_{name}"], msg=name)


@pytest.mark.parametrize("limit", [1, 24, 48, 200])
def test_tiles_of_any_size_give_the_same_scores_and_gradients(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    given, found = inputs(5, torch.Generator().manual_seed(0)), []
    for size in (1 << 20, limit):
        monkeypatch.setattr(token_tiles, "TILE_ELEMENTS", size)
        leaves = {name: given[name].clone().requires_grad_() for name in CASE.differentiable}
        scores = weighted_interaction(**(given | leaves))
        found.append((scores, torch.autograd.grad(scores.sin().sum(), list(leaves.values()))))
    torch.testing.assert_close(found[1], found[0])


def test_how_far_a_batch_was_padded_changes_nothing_unless_zeros_can_be_chosen() -> None:
    far, near = torch.tensor([[[-1.0, 0.0]]]), torch.tensor([[[1.0, 0.0]]])
    padded, mask = F.pad(near, (0, 0, 0, 2), value=7.0), torch.tensor([[True, False, False]])
    one, alone = torch.ones(1, 1), torch.tensor([[1.0, 0.0, 0.0]])
    assert weighted_interaction(far, near, one, one).item() == -1
    assert weighted_interaction(far, padded, one, alone, None, mask).item() == -1
    assert weighted_interaction(far, padded, one, alone, None, mask, padding="zero").item() == -0.5


def test_a_side_without_tokens_scores_nothing_and_has_no_gradient() -> None:
    text, mask = torch.randn(2, 3, 4, requires_grad=True), torch.tensor([[True] * 3, [False] * 3])
    votes = token_weights(torch.zeros(2, 3), mask)
    scores = weighted_interaction(text, torch.randn(2, 2, 4), votes, torch.full((2, 2), 0.5), mask)
    scores.sum().backward()
    assert (scores[1] == 0).all()
    assert text.grad is not None
    assert text.grad.isfinite().all()
    assert (text.grad[1] == 0).all()


def test_the_pairs_of_a_batch_are_the_diagonal_of_all() -> None:
    given = inputs(3, torch.Generator().manual_seed(1))
    parts = [given[name] for name in ("text", "video", "text_mask", "video_mask")]
    every_pair = token_similarity(*parts)
    torch.testing.assert_close(paired_similarity(*parts), torch.stack([every_pair[row, row] for row in range(3)]))


def test_what_does_not_fit_is_refused() -> None:
    text, video = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)
    with pytest.raises(ShapeError, match="text_weight has shape"):
        weighted_interaction(text, video, torch.zeros(2, 2), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="padding"):
        weighted_interaction(text, video, torch.zeros(2, 3), torch.zeros(2, 3), padding="none")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="mask"):
        token_weights(torch.zeros(2, 3), torch.ones(2, 2, dtype=torch.bool))
