from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from method_parts import text_batch

from accord.errors import ConfigError
from accord.functional import GapClosingLoss, info_nce, modality_gap
from accord.methods import DataInfo, Paired, Step, get_method, get_objective
from two_processes import run_two_processes

WORDS = ["a red ball", "a blue cup", "the green tree", "one yellow star"]


@pytest.fixture
def batch(towers):
    torch.manual_seed(1)
    return {"image": torch.randn(4, 3, 16, 16), **text_batch(towers, WORDS)}


def built(towers, **settings):
    torch.manual_seed(0)
    return get_method("contrastive_gap")({"dim": 8, **settings}, towers, DataInfo())


@pytest.mark.parametrize("cross", [0.0, 1.0])
def test_the_loss_is_the_papers(towers, batch, cross):
    method = built(towers, gap={"cross_uniformity": cross})
    x, y = method.embed(batch).values()
    expected = GapClosingLoss(use_cross=bool(cross))(x, y)["total"]
    torch.testing.assert_close(method.loss(batch, Step())["total"], expected)


def test_the_reference_loss_and_gradients_are_met(golden):
    data = golden("contrastive_gap")
    raw = {"image": data["emb_image"].requires_grad_(), "text": data["emb_text"].requires_grad_()}
    unit = {name: F.normalize(rows, dim=1) for name, rows in raw.items()}
    added = get_objective("contrastive_gap")({"cross_uniformity": 1})(unit, Step())["total"]
    total = info_nce(unit["image"], unit["text"], 100.0) + added
    total.backward()
    torch.testing.assert_close(total, data["loss_cuaxu"], check_dtype=False)
    for name, rows in raw.items():
        torch.testing.assert_close(rows.grad, data[f"grad_{name}_cuaxu"], rtol=1e-4, atol=1e-5, check_dtype=False)


def test_a_weight_of_zero_leaves_a_term_out(towers, batch):
    terms = built(towers, gap={"uniformity": 0, "alignment": 0}).loss(batch, Step())
    assert set(terms) == {"total", "contrastive", "logit_scale"}
    torch.testing.assert_close(terms["total"], terms["contrastive"])


def repeated(towers):
    """Four rows, of which the last has the caption of the first."""
    torch.manual_seed(1)
    return {"image": torch.randn(4, 3, 16, 16), **text_batch(towers, [*WORDS[:3], WORDS[0]])}


def test_a_caption_that_comes_again_in_a_batch_is_dropped(towers):
    batch, method = repeated(towers), built(towers)
    x, y = (rows[:3] for rows in method.embed(batch).values())
    torch.testing.assert_close(method.loss(batch, Step())["total"], GapClosingLoss()(x, y)["total"])


def test_a_caption_that_comes_again_can_be_a_positive_or_ignored_or_a_negative(towers):
    batch, ids = repeated(towers), torch.tensor([0, 1, 2, 0])
    for choice in ("positives", "ignored", "negatives"):
        method = built(towers, duplicates=choice, gap={"uniformity": 0, "alignment": 0})
        given = {} if choice == "negatives" else {"ids": ids, "duplicates": choice}
        expected = info_nce(*method.embed(batch).values(), 100.0, **given)
        torch.testing.assert_close(method.loss(batch, Step())["total"], expected)
        closed = built(towers, duplicates=choice).loss(batch, Step())
        torch.testing.assert_close(closed["alignment"], GapClosingLoss()(*method.embed(batch).values())["alignment"])


def test_pictures_are_seen_as_in_evaluation_unless_a_crop_is_asked_for(towers):
    assert built(towers).views == ()
    (view,) = built(towers, crop_scale=(0.8, 1.0)).views
    assert view.scale == (0.8, 1.0)


def test_the_temperature_is_fixed_unless_asked_for(towers, batch):
    method = built(towers)
    method.loss(batch, Step())["total"].backward()
    assert method.logit_scale.log_scale.grad is None
    torch.testing.assert_close(method.logit_scale(), torch.tensor(100.0))


def test_every_term_reaches_both_towers(towers):
    x, y = (torch.randn(6, 5, requires_grad=True) for _ in range(2))
    for only in ("uniformity", "alignment", "cross_uniformity"):
        weights = dict.fromkeys(("uniformity", "alignment", "cross_uniformity"), 0.0) | {only: 1.0}
        closing = get_objective("contrastive_gap")(weights)
        closing({"image": F.normalize(x, dim=1), "text": F.normalize(y, dim=1)}, Step())["total"].backward()
        for side in (x, y):
            assert side.grad.abs().sum() > 0, only
            side.grad = None


def test_three_modalities_count_each_pair_once():
    sides = {name: F.normalize(torch.randn(5, 4), dim=1) for name in ("image", "text", "audio")}
    closing = get_objective("contrastive_gap")({"uniformity": 0})
    pairs = [("image", "text"), ("image", "audio"), ("text", "audio")]
    expected = sum((sides[a] - sides[b]).square().sum(1).mean() for a, b in pairs) / 3
    torch.testing.assert_close(closing(sides, Step())["alignment"], expected)


def test_added_to_clip_it_is_the_method_itself(towers, batch):
    torch.manual_seed(0)
    clip = get_method("clip")({"dim": 8, "temperature": 0.01, "learn_temperature": False}, towers, DataInfo())
    clip.add(get_objective("contrastive_gap")({}))
    terms = clip.loss(batch, Step())
    torch.testing.assert_close(terms["total"], built(towers).loss(batch, Step())["total"])
    assert "contrastive_gap: uniformity" in terms
    assert not terms["contrastive_gap: uniformity"].requires_grad


def test_added_twice_it_is_refused(towers):
    method = built(towers)
    with pytest.raises(ConfigError, match="part of the loss already"):
        method.add(get_objective("contrastive_gap")({}))


@pytest.mark.parametrize("name", ["clip", "protoclip", "fdt", "filip", "tcl", "coca", "cwcl", "improved_vlp_baselines"])
def test_every_image_text_method_takes_it(name):
    assert issubclass(get_method(name), Paired)


def test_the_gap_closes(towers, batch):
    gaps = {}
    for name, settings in {"clip": {"uniformity": 0, "alignment": 0}, "CUA": {}}.items():
        method = built(towers, gap=settings)
        optimiser = torch.optim.AdamW(method.projections.parameters(), lr=1e-2)
        for index in range(60):
            optimiser.zero_grad()
            method.loss(batch, Step(index=index))["total"].backward()
            optimiser.step()
        gaps[name] = modality_gap(*method.embed(batch).values()).item()
    assert gaps["CUA"] < 0.5 * gaps["clip"]


def rows() -> torch.Tensor:
    return F.normalize(torch.randn(8, 2, 5, generator=torch.Generator().manual_seed(0)).double(), dim=2)


def closed(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    mine = rows()[4 * rank : 4 * rank + 4].requires_grad_()
    closing = get_objective("contrastive_gap")({"cross_uniformity": 1})
    total = closing({"image": mine[:, 0], "text": mine[:, 1]}, Step())["total"]
    total.backward()
    return total.detach(), mine.grad


def test_two_processes_close_the_gap_of_the_whole_batch():
    everything = rows().requires_grad_()
    closing = get_objective("contrastive_gap")({"cross_uniformity": 1})
    total = closing({"image": everything[:, 0], "text": everything[:, 1]}, Step())["total"]
    total.backward()
    for rank, (value, gradient) in enumerate(run_two_processes(closed)):
        torch.testing.assert_close(value, total.detach(), check_dtype=False)
        mean = gradient / 2  # DistributedDataParallel averages over the processes
        torch.testing.assert_close(mean, everything.grad[4 * rank : 4 * rank + 4])
