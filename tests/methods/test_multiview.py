"""MV-InfoNCE and MV-DHEL: one loss over all views, its baselines, modalities as views, the head."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from image_parts import Killed, built, tiny, told_apart, trained
from method_parts import text_batch

from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.functional import average_view_nt_xent, mv_dhel, mv_infonce, nt_xent, poly_view_loss
from accord.methods import Step
from two_processes import run_two_processes

SMALL = {"dim": 8, "views": 3}
WORDS = ["a red ball", "a blue cup", "the green tree", "one yellow star"]


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return {"image_views": list(torch.randn(3, 6, 3, 32, 32))}


def plain(method, batch):
    """Projections by one forward pass over all views."""
    pooled = method.encoders["image"](torch.cat(batch["image_views"])).pooled
    return method.heads["image"](pooled).view(len(batch["image_views"]), -1, 8)


@pytest.mark.parametrize(
    ("objective", "loss"),
    [
        ("mv_infonce", mv_infonce),
        ("mv_dhel", mv_dhel),
        ("average_view", average_view_nt_xent),
        ("poly_view", poly_view_loss),
    ],
)
def test_all_views_stand_in_one_loss(batch, objective, loss):
    method = built("multiview_infonce", objective=objective, temperature=0.3, **SMALL)
    torch.testing.assert_close(method.loss(batch, Step())["total"], loss(plain(method, batch), 0.3))


@pytest.mark.parametrize(
    ("objective", "loss", "options"),
    [("mv_infonce", mv_infonce, {"same_view_negatives": False}), ("mv_dhel", mv_dhel, {"itself": True})],
)
def test_the_denominators_of_the_papers_formulas_can_be_chosen(batch, objective, loss, options):
    method = built("multiview_infonce", objective=objective, denominator="formula", temperature=0.3, **SMALL)
    z = plain(method, batch)
    total = method.loss(batch, Step())["total"]
    torch.testing.assert_close(total, loss(z, 0.3, **options))
    assert abs(total - loss(z, 0.3)) > 1e-3
    with pytest.raises(ConfigError, match="nt_xent has one denominator; take mv_infonce, mv_dhel"):
        built("multiview_infonce", objective="nt_xent", denominator="formula")


def test_nt_xent_is_the_mean_over_pairs_of_views(batch):
    method = built("multiview_infonce", objective="nt_xent", temperature=0.3, **SMALL)
    z = plain(method, batch)
    expected = torch.stack([nt_xent(z[a], z[b], 0.3) for a, b in ((0, 1), (0, 2), (1, 2))]).mean()
    torch.testing.assert_close(method.loss(batch, Step())["total"], expected)


def test_the_head_has_no_bias_that_learns(batch):
    method = built("multiview_infonce", **SMALL)
    method.loss(batch, Step())["total"].backward()
    head = method.heads["image"]
    assert head[0].bias is None
    assert head[-2].bias is None
    assert head[-1].bias.grad is None
    assert head[-1].weight.grad is not None
    assert method.encoders["image"].model.conv1.weight.grad.any()


def test_modalities_are_views_too():
    text = build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=WORDS)
    towers = {**tiny(), "text": text}
    method = built("multiview_infonce", towers, modalities=["image", "text"], views=2, dim=8, objective="mv_infonce")
    torch.manual_seed(1)
    batch = {"image_views": list(torch.randn(2, 4, 3, 32, 32)), **text_batch(towers, WORDS)}
    views = [*plain(method, batch), method.heads["text"](text(batch["text"], batch["text_mask"]).pooled)]
    terms = method.loss(batch, Step())
    torch.testing.assert_close(terms["total"], mv_infonce(views, 0.5))
    terms["total"].backward()
    assert text.embedding.weight.grad.any()
    found = method.eval().embed({"image": batch["image_views"][0], **text_batch(towers, WORDS)})
    assert {name: tuple(vector.shape) for name, vector in found.items()} == {"image": (4, 8), "text": (4, 8)}


@pytest.mark.parametrize("objective", ["mv_dhel", "mv_infonce", "nt_xent"])
def test_rows_without_a_modality(objective):
    text = build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=WORDS)
    towers = {**tiny(), "text": text}
    method = built("multiview_infonce", towers, modalities=["image", "text"], views=2, dim=8, objective=objective)
    method.eval()  # batch norm would see the fillers
    torch.manual_seed(1)
    there = torch.tensor([True, True, False, True])
    batch = {"image_views": list(torch.randn(2, 4, 3, 32, 32)), **text_batch(towers, WORDS), "index": torch.arange(4)}
    views = method.project(batch)
    total = method.loss({**batch, "text_present": there}, Step())["total"]
    if objective == "nt_xent":
        kept = [view[there] for view in views]
        expected = torch.stack([nt_xent(kept[a], kept[b], 0.5) for a, b in ((0, 1), (0, 2), (1, 2))]).mean()
    else:
        mask = torch.stack([torch.ones(4, dtype=torch.bool)] * 2 + [there])
        expected = {"mv_dhel": mv_dhel, "mv_infonce": mv_infonce}[objective](views, 0.5, mask=mask)
    torch.testing.assert_close(total, expected)


def test_what_cannot_be_contrasted_is_refused():
    with pytest.raises(ConfigError, match="at least 2"):
        built("multiview_infonce", views=1)
    with pytest.raises(ConfigError, match="each should stand there once"):
        built("multiview_infonce", modalities=["image", "image"])


def share_of(rank, objective, rows=3):
    method = built("multiview_infonce", objective=objective, **SMALL).eval()  # batch norm would see other rows
    torch.manual_seed(1)
    views = [view[rank * rows : (rank + 1) * rows] for view in torch.randn(3, 6, 3, 32, 32)]
    total = method.loss({"image_views": views}, Step())["total"]
    total.backward()
    return total.detach(), method.heads["image"][0].weight.grad


@pytest.mark.parametrize("objective", ["mv_infonce", "mv_dhel", "nt_xent"])
def test_two_processes_equal_one_with_all_rows(objective):
    one, two = share_of(0, objective, rows=6), run_two_processes(share_of, objective)
    for position, expected in enumerate(one):
        mean = (two[0][position] + two[1][position]) / 2
        torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-6)


def test_training_tells_colours_apart_and_keeps_its_rank(tmp_path):
    method = trained(
        "multiview_infonce",
        tmp_path,
        training={"epochs": 6},
        crop_scale=(0.5, 1.0),
        colour=0.0,
        objective="mv_dhel",
        **SMALL,
    )
    assert told_apart(method) > 0.8  # chance 0.25


def test_a_killed_run_goes_on_exactly(tmp_path):
    whole = trained("multiview_infonce", tmp_path / "whole", **SMALL)
    with pytest.raises(Killed):
        trained("multiview_infonce", tmp_path / "killed", kill_at=5, **SMALL)
    again = trained("multiview_infonce", tmp_path / "killed", resume=True, **SMALL)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_bf16_gives_a_loss_in_single_precision(batch):
    with torch.autocast("cpu", torch.bfloat16):
        terms = built("multiview_infonce", **SMALL).loss(batch, Step())
    assert terms["total"].dtype == torch.float32
    assert 1 <= terms["effective_rank"] <= 6


def test_the_log_shows_what_a_collapse_looks_like():
    method = built("multiview_infonce", **SMALL).eval()
    same = {"image_views": [torch.ones(6, 3, 32, 32)] * 3}
    terms = method.loss(same, Step())
    assert terms["effective_rank"] == pytest.approx(1, abs=1e-3)
    assert terms["uniformity"] == pytest.approx(0, abs=1e-4)
    spread = method.loss({"image_views": list(torch.randn(3, 6, 3, 32, 32))}, Step())
    assert F.relu(spread["effective_rank"] - 1) > 0
