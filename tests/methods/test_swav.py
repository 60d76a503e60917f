"""SwAV: crops, assignment without gradient, frozen prototypes, a queue that starts late, exact resume."""

from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F
from image_parts import Killed, built, tiny, told_apart, trained

from accord.errors import ConfigError
from accord.functional import column_marginal_error, sinkhorn
from accord.methods import Step
from two_processes import run_two_processes

SMALL = {"dim": 8, "hidden": 16, "prototypes": 6, "small_crops": 1, "freeze_prototypes": 0}


@pytest.fixture
def batch():
    torch.manual_seed(1)
    return {"image_views": [torch.randn(6, 3, 32, 32), torch.randn(6, 3, 32, 32), torch.randn(6, 3, 24, 24)]}


def scored(swav, batch):
    """Scores of each crop by the plain forward pass: one crop size at a time, the head over all crops."""
    large = swav.encoders["image"](torch.cat(batch["image_views"][:2])).pooled
    small = swav.encoders["image"](batch["image_views"][2]).pooled
    z = F.normalize(swav.head(torch.cat([large, small])), dim=1)
    return (z @ F.normalize(swav.prototypes.weight, dim=1).T).chunk(3)


def test_the_loss_is_the_mean_over_large_crops_of_what_the_others_predict(batch):
    swav = built("swav", **SMALL)
    scores = scored(swav, batch)
    terms = []
    for i in (0, 1):
        wanted = sinkhorn(scores[i].detach(), 0.05, 3)
        terms += [-(wanted * (scores[v] / 0.1).log_softmax(dim=1)).sum(dim=1).mean() for v in range(3) if v != i]
    torch.testing.assert_close(swav.loss(batch, Step())["total"], torch.stack(terms).mean())


def test_gradient_reaches_encoder_head_and_prototypes_but_not_through_the_assignment(batch):
    swav = built("swav", **SMALL)
    swav.loss(batch, Step())["total"].backward()
    assert all(parameter.grad is not None for parameter in swav.parameters())
    scores = scored(swav, batch)
    predicted = [(scores[v] / 0.1).log_softmax(dim=1) for v in range(3)]
    pairs = [(i, v) for i in (0, 1) for v in range(3) if v != i]
    constant = [sinkhorn(scores[i], 0.05, 3).detach() for i in (0, 1)]
    expected = torch.stack([-(constant[i] * predicted[v]).sum(dim=1).mean() for i, v in pairs]).mean()
    (gradient,) = torch.autograd.grad(expected, [swav.head[-1].weight])
    torch.testing.assert_close(swav.head[-1].weight.grad, gradient, rtol=1e-4, atol=1e-6)


def test_prototypes_stay_while_frozen_and_move_afterwards_at_unit_length(tmp_path):
    start = F.normalize(built("swav", **SMALL).prototypes.weight, dim=1)
    frozen = trained("swav", tmp_path / "a", **{**SMALL, "freeze_prototypes": 9})
    assert torch.allclose(frozen.prototypes.weight, start)  # nine steps in all; neither decay nor momentum moves them
    free = trained("swav", tmp_path / "b", **{**SMALL, "freeze_prototypes": 4})
    assert not torch.allclose(free.prototypes.weight, start, atol=1e-3)
    free.prototypes.normalize_()
    torch.testing.assert_close(free.prototypes.weight.norm(dim=1), torch.ones(6))


def test_prototypes_rest_for_the_first_epoch_of_several_unless_a_number_of_steps_is_set():
    swav = built("swav", **{**SMALL, "freeze_prototypes": None})
    moved = []
    for step in (Step(index=i, epoch=i // 4, total=12, epochs=3) for i in range(12)):
        swav.prototypes.weight.grad = torch.ones_like(swav.prototypes.weight)
        swav.after_backward(step)
        moved.append(swav.prototypes.weight.grad is not None)
    assert moved == [False] * 4 + [True] * 8
    swav.prototypes.weight.grad = torch.ones_like(swav.prototypes.weight)
    swav.after_backward(Step(total=4))  # one epoch in all: they would never learn
    assert swav.prototypes.weight.grad is not None


def test_how_far_the_shares_are_from_equal_is_logged_with_the_queue_among_the_rows(batch):
    swav = built("swav", queue=12, queue_starts=9, **SMALL)
    for queue in swav.queues:
        queue.enqueue(torch.randn(12, 8, generator=torch.Generator().manual_seed(2)))
    scores, extra = scored(swav, batch), swav._queue_scores()
    shares = [sinkhorn(torch.cat([scores[i], extra[i]]).detach()) for i in (0, 1)]
    expected = torch.stack([column_marginal_error(share) for share in shares]).mean()
    assert expected > 0.01
    torch.testing.assert_close(swav.loss(batch, Step())["marginal_error"], expected)


def test_fewer_rows_than_prototypes_are_said_once(batch, caplog):
    enough, few = built("swav", queue=4, **{**SMALL, "prototypes": 10}), built("swav", **{**SMALL, "prototypes": 7})
    with caplog.at_level(logging.WARNING, logger="accord.methods"):
        enough.loss(batch, Step())
        assert caplog.text == ""
        few.loss(batch, Step())
        few.loss(batch, Step(index=1))
    assert caplog.text.count("method.prototypes = 7, and a batch and its queue have 6 + 0 rows") == 1


def test_the_queue_fills_from_its_epoch_on_and_joins_the_assignment_when_full(batch):
    swav = built("swav", queue=12, queue_starts=2, **SMALL)
    swav.loss(batch, Step(epoch=1))
    assert [int(queue.filled) for queue in swav.queues] == [0, 0]
    for number in (6, 12):
        alone = swav._queue_scores()
        swav.loss({"image_views": [torch.randn_like(view) for view in batch["image_views"]]}, Step(epoch=2))
        assert alone is None
        assert [int(queue.filled) for queue in swav.queues] == [number, number]
    scores, extra = scored(swav, batch), swav._queue_scores()
    with_queue = sinkhorn(scores[0], 0.05, 3, extra[0])
    assert not torch.allclose(with_queue, sinkhorn(scores[0], 0.05, 3), atol=1e-3)
    terms = []
    for i in (0, 1):
        wanted = sinkhorn(scores[i].detach(), 0.05, 3, extra[i])
        terms += [-(wanted * (scores[v] / 0.1).log_softmax(dim=1)).sum(dim=1).mean() for v in range(3) if v != i]
    torch.testing.assert_close(swav.loss(batch, Step(epoch=2))["total"], torch.stack(terms).mean())
    assert not swav.queues[0].features.requires_grad


def test_training_tells_colours_apart_and_uses_several_prototypes(tmp_path):
    swav = trained(
        "swav", tmp_path, training={"epochs": 8}, large_scale=(0.5, 1.0), colour=False, sinkhorn_eps=0.03, **SMALL
    )
    assert told_apart(swav) > 0.8  # chance 0.25


def test_a_killed_run_goes_on_exactly(tmp_path):
    settings = {"queue": 16, "queue_starts": 1, **SMALL, "freeze_prototypes": 3}
    whole = trained("swav", tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        trained("swav", tmp_path / "killed", kill_at=5, **settings)
    again = trained("swav", tmp_path / "killed", resume=True, **settings)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def share_of(rank, rows=3):
    torch.manual_seed(3)
    swav = built("swav", queue=6, queue_starts=0, **SMALL)
    swav.eval()  # the head's batch norm would see other rows in each process
    for queue in swav.queues:
        queue.enqueue(F.normalize(torch.randn(6, 8, generator=torch.Generator().manual_seed(4)), dim=1))
    own = slice(rank * rows, (rank + 1) * rows)
    torch.manual_seed(1)
    views = [torch.randn(6, 3, 32, 32)[own] for _ in range(2)] + [torch.randn(6, 3, 24, 24)[own]]
    total = swav.loss({"image_views": views}, Step())["total"]
    total.backward()
    return total.detach(), swav.prototypes.weight.grad, swav.head[-1].weight.grad


def test_two_processes_assign_as_one():
    one, two = share_of(0, rows=6), run_two_processes(share_of)
    for position, expected in enumerate(one):
        mean = (two[0][position] + two[1][position]) / 2
        torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-6)


def test_bf16_scores_in_single_precision(batch):
    swav = built("swav", **SMALL)
    with torch.autocast("cpu", torch.bfloat16):
        assert swav.loss(batch, Step())["total"].dtype == torch.float32


def test_crops_are_as_declared():
    large, small = built("swav", tiny(size=112), small_crops=4, colour=False).views
    assert (large.count, large.size, large.scale) == (2, None, (0.14, 1.0))
    assert (small.count, small.size, small.scale) == (4, 48, (0.05, 0.14))
    assert len(built("swav", small_crops=0).views) == 1
    with pytest.raises(ConfigError, match="there should be 2"):
        built("swav", large_crops=1, small_crops=0)
