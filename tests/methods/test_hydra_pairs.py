"""Hydra: who is drawn to whom inside which gate, both averages, one view and two, what is refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from image_parts import tiny

from accord.errors import ConfigError
from accord.functional import contrastive_loss, supcon
from accord.methods import DataInfo, Step, get_method
from accord.methods.programme import ClassBalanced
from two_processes import run_two_processes

CLASSES = ("red", "blue", "green", "yellow")
SMALL = {"dim": 8, "hidden": 16, "label_dim": 8, "gate_hidden": 16}
LABEL = torch.tensor([0, 1, 2, 3, 0, 1, 2, 0])


def built(classes=CLASSES, **settings):
    torch.manual_seed(0)
    return get_method("hydra_pairs")({**SMALL, **settings}, tiny(), DataInfo(rows=8, classes=classes))


def batch_of(views=1):
    torch.manual_seed(1)
    crops = list(torch.randn(views, 8, 3, 32, 32))
    return {"image": crops[0], "image_views": crops, "label": LABEL, "index": torch.arange(8)}


def by_hand(method, batch, step, similarity):
    """The sheet's sum, pair after pair; anchors and keys as the method projects them."""
    views = batch["image_views"][: method.config.views]
    z = method.projector(method.encoders["image"](torch.cat(views)).pooled).chunk(len(views))
    draws = step.generator(LABEL.device)
    partner = LABEL[torch.randperm(8, generator=draws)]
    gate = method.gate(LABEL, partner)
    terms = []
    for i in range(8):
        s = torch.stack([similarity(gate[i], z[0][i], key) for key in z[-1]]) / 0.1
        wrong = torch.tensor([y not in (LABEL[i], partner[i]) for y in LABEL])
        right = [j for j in range(8) if LABEL[j] == partner[i] and not (len(views) == 1 and i == j)]
        terms.append([torch.logsumexp(torch.cat([s[j : j + 1], s[wrong]]), dim=0) - s[j] for j in right])
    return [torch.stack(each) for each in terms if each]


def subspace(gate, z, key):
    return F.cosine_similarity(gate * z, gate * key, dim=0)


def squared(gate, z, key):
    return (gate.square() * F.normalize(z, dim=0) * F.normalize(key, dim=0)).sum()


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize(("name", "similarity"), [("subspace", subspace), ("squared", squared)])
def test_the_loss_is_the_papers_sum_over_positive_pairs_or_over_anchors(views, name, similarity):
    batch, step = batch_of(views), Step(seed=5)
    for average, mean in (
        ("pair", lambda terms: torch.cat(terms).mean()),
        ("anchor", lambda terms: torch.stack([each.mean() for each in terms]).mean()),
    ):
        method = built(views=views, similarity=name, average=average)
        with torch.no_grad():
            expected = mean(by_hand(method, batch, step, similarity))
        torch.testing.assert_close(method.loss(batch, step)["pairs"], expected, rtol=1e-4, atol=1e-5)


def test_without_filter_and_with_the_own_class_it_is_supervised_contrast_with_denominators_of_their_own():
    method, batch = built(gate="open", partner="identical", average="anchor"), batch_of()
    z = F.normalize(method.projector(method.encoders["image"](batch["image"]).pooled), dim=1)
    same = (LABEL[:, None] == LABEL) & ~torch.eye(8, dtype=torch.bool)
    different = LABEL[:, None] != LABEL
    expected = contrastive_loss(z @ z.T / 0.1, same, different, denominator="own")
    torch.testing.assert_close(method.loss(batch, Step())["pairs"], expected.detach())
    alone = contrastive_loss(z @ z.T / 0.1, same, different | same)
    torch.testing.assert_close(supcon(z, LABEL, 0.1).detach(), alone.detach())


def test_an_anchor_of_one_view_is_not_its_own_positive():
    """One row of each class whose partner is itself has no positive at all."""
    method = built(partner="identical")
    batch = {**batch_of(), "label": torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])}
    few = {name: value[:4] if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
    terms = method.loss(few, Step())
    assert terms["pairs"] == 0
    assert terms["without_positive"] == 1
    assert (
        built(partner="identical", views=2).loss({**few, "image_views": [few["image"], few["image"]]}, Step())["pairs"]
        > 0
    )


@pytest.mark.parametrize("average", ["pair", "anchor"])
def test_a_partner_class_that_the_batch_lacks_counts_in_no_average(average):
    names = (*CLASSES, *(f"absent {number}" for number in range(30)))
    method, batch = built(names, partner="distinct", average=average), batch_of()
    terms = method.loss(batch, Step(seed=3))
    assert terms["without_positive"] > 0.5
    terms["total"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


def test_a_gate_is_taught_by_the_pairs_and_the_classifier_does_not_teach_the_encoder():
    method, batch = built(), batch_of()
    terms = method.loss(batch, Step(seed=1))
    terms["total"].backward()
    assert method.gate.label_embedding.weight.grad.abs().sum() > 0
    conv = method.encoders["image"].model.conv1.weight
    with_it = conv.grad.clone()
    method = built()
    method.loss(batch, Step(seed=1))
    logits = method.classifier(method.encoders["image"](batch["image"]).pooled.detach())
    F.cross_entropy(logits, LABEL).backward()
    assert method.encoders["image"].model.conv1.weight.grad is None
    supervised = built(supervise=True)
    supervised.loss(batch, Step(seed=1))["total"].backward()
    assert not torch.allclose(supervised.encoders["image"].model.conv1.weight.grad, with_it)


@pytest.mark.parametrize("gate", ["sigmoid", "gumbel", "stochastic"])
def test_penalties_on_gates_reach_the_filter(gate):
    free, held = (built(gate=gate, **more) for more in ({}, {"gate_sparsity": 1.0, "gate_entropy": 1.0}))
    gradients = []
    for method in (free, held):
        terms = method.loss(batch_of(), Step(seed=2))
        terms["total"].backward()
        gradients.append(method.gate.mlp[-1].bias.grad.sum())
    assert gradients[1] > gradients[0]  # fewer open dimensions
    assert 0 <= terms["open_dimensions"] <= 8


def test_what_is_drawn_hangs_on_the_step_alone_and_eval_mode_draws_no_gate():
    method, batch = built(gate="gumbel"), batch_of()
    first, again, other = (method.loss(batch, Step(seed=seed))["pairs"] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    method.eval()
    one, two = method.gates(LABEL, LABEL.flip(0)), method.gates(LABEL, LABEL.flip(0))
    assert torch.equal(one, two)
    torch.testing.assert_close(one, method.gates(LABEL.flip(0), LABEL))


def test_a_learnt_temperature_starts_at_the_given_one_and_moves():
    method = built(learn_temperature=True, temperature=0.2)
    terms = method.loss(batch_of(), Step())
    torch.testing.assert_close(terms["temperature"], torch.tensor(0.2))
    terms["total"].backward()
    assert method.logit_scale.log_scale.grad != 0
    assert not built().logit_scale.log_scale.requires_grad


def test_batches_of_p_classes_are_declared_where_they_are_asked_for():
    assert built().sampling is None
    assert built(samples=4).sampling == ClassBalanced(4)


def test_labels_that_leave_nothing_to_be_pushed_from_are_refused():
    with pytest.raises(ConfigError, match="at least 3 classes with partner = arbitrary, got 2"):
        built(("cat", "dog"))
    built(("cat", "dog"), partner="identical")
    with pytest.raises(ConfigError, match="several labels"):
        get_method("hydra_pairs")(SMALL, tiny(), DataInfo(classes=CLASSES, multi_label=True))


def share_of(rank, settings, rows=4):
    method, own = built(**settings).eval(), slice(rank * rows, (rank + 1) * rows)  # batch norm would see other rows
    batch = {name: value[own] for name, value in batch_of().items() if name != "image_views"}
    batch["image_views"] = [view[own] for view in batch_of(2)["image_views"]]
    total = method.loss(batch, Step(seed=9))["total"]
    total.backward()
    return total.detach(), method.gate.label_embedding.weight.grad, method.projector[0].weight.grad


@pytest.mark.parametrize(
    "settings", [{}, {"average": "anchor", "views": 2, "similarity": "subspace"}, {"partner": "distinct"}]
)
def test_two_processes_equal_one_with_all_rows(settings):
    one, two = share_of(0, settings, rows=8), run_two_processes(share_of, settings)
    for position, expected in enumerate(one):
        mean = (two[0][position] + two[1][position]) / 2
        torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-6)
