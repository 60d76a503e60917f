"""PC²: who is trained on what and when, and what the two steps do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_parts import FixedLoader
from pc2_share import BORROWS, Numbers, batch, half, share, small

from accord.data.loading.order import Known
from accord.errors import ConfigError
from accord.functional import (
    assign_pseudo_captions,
    rectify_labels,
    soft_margin,
    split_clean,
    triplet_ranking_loss,
)
from accord.methods import DataInfo, Step, get_method
from accord.methods.abilities import JudgesRows, Rescores
from accord.methods.noisy.dividing import Divided, Division, losses_among_others, turn_of
from accord.training.artifact import load_model, save_model
from two_processes import run_two_processes

CLEAN = Step("divided", index=0, total=8, epochs=2, optimiser="first")
SIDES = np.array([[True] * 30 + [False] * 10, [False] * 20 + [True] * 20])


def drawn(**how: object) -> list[np.ndarray]:
    return [each.rows for each in Divided(SIDES, **how).draw(Known(40), 4, 20, seed=0, epoch=0)]


def test_networks_take_turns_each_on_the_rows_that_the_other_takes_for_clean() -> None:
    for number, rows in enumerate(drawn()):
        assert SIDES[number % 2][rows].all()
        assert len(set(rows)) == 4
    division = Division(40)
    for network in (0, 1):
        division.judge(network, torch.from_numpy(SIDES[network]).float(), torch.full((40,), 0.25 + network))
    assert (division.sampling().clean == SIDES[::-1]).all()
    assert division.labels_for(0, torch.arange(3)).tolist() == [1.25] * 3


def test_rows_come_in_rounds_none_again_before_the_others() -> None:
    second = np.concatenate(drawn()[1::2])  # ten batches of four, of twenty rows
    assert sorted(second[:20]) == sorted(second[20:]) == list(range(20, 40))


def test_a_batch_that_borrows_holds_the_last_clean_rows_beside_as_many_others() -> None:
    found = drawn(borrowing=True)
    for number, rows in enumerate(found):
        network, borrows = turn_of(number, borrowing=True)
        if borrows:
            assert (rows[::2] == found[number - 2]).all()
            assert not SIDES[network][rows[1::2]].any()
        assert len(rows) == (8 if borrows else 4)


def test_an_epoch_that_begins_with_a_borrowing_turn_has_clean_rows_all_the_same() -> None:
    first = drawn(borrowing=True, first=2)[0]
    assert len(first) == 8
    assert SIDES[0][first[::2]].all()


def test_batches_of_one_step_belong_to_one_network() -> None:
    found = drawn(steps=10, borrowing=True)
    assert all(SIDES[0][rows].all() for rows in found[:2])
    assert all(SIDES[1][rows].all() for rows in found[2:4])
    assert [(rows[::2] == lent).all() for rows, lent in zip(found[4:6], found[:2], strict=True)] == [True, True]


def test_a_network_without_clean_rows_is_trained_on_all() -> None:
    none = Divided(np.zeros((2, 8), dtype=bool)).draw(Known(8), 8, 2, seed=0, epoch=0)
    assert [sorted(each.rows) for each in none] == [list(range(8))] * 2


def test_the_second_network_starts_elsewhere_and_shares_what_is_frozen() -> None:
    encoders = {name: Numbers(name) for name in ("image", "text")}
    encoders["text"].freeze("all")
    pc2 = get_method("pc2")({"dim": 6, "classes": 4}, encoders, DataInfo(rows=8))
    assert list(pc2.second_encoders) == ["image"]
    own, other = encoders["image"].layer.weight, pc2.second_encoders["image"].layer.weight
    assert not torch.equal(own, other)
    assert torch.equal(own.flatten().sort().values, other.flatten().sort().values)


def test_a_pretrained_encoder_starts_from_the_same_weights_twice() -> None:
    encoders = {name: Numbers(name) for name in ("image", "text")}
    encoders["image"].weights_from = "somewhere"
    pc2 = get_method("pc2")({"dim": 6, "classes": 4}, encoders, DataInfo(rows=8))
    assert torch.equal(encoders["image"].layer.weight, pc2.second_encoders["image"].layer.weight)


def test_the_rate_falls_to_a_tenth_after_every_so_many_epochs() -> None:
    warm, main = small(epochs=50, lr_epochs=20).stages
    assert [one.schedule for one in warm.optimisers] == ["constant"] * 2
    assert [one.milestones for one in main.optimisers] == [(0.4, 0.8)] * 2
    assert small(epochs=5, lr_epochs=20).stages[1].optimisers[0].schedule == "constant"


@pytest.mark.parametrize("similarity", ["sgr", "cosine"])
def test_a_clean_step_is_hard_triplets_with_the_margins_of_the_other_networks_labels(similarity) -> None:
    pc2, rows = small(similarity=similarity, classification=False, captions=False).eval(), batch()
    pc2.division.labels[1] = torch.linspace(0, 1, 8)
    read = pc2._read(0, rows)
    sims = pc2.networks["first"].similarity(read["image"], read["text"])
    want = triplet_ranking_loss(sims, soft_margin(torch.linspace(0, 1, 8), 0.2))
    torch.testing.assert_close(pc2.loss(rows, CLEAN)["total"], want)
    warm = pc2.loss(rows, replace(CLEAN, stage="warmup"))["total"]
    torch.testing.assert_close(warm, triplet_ranking_loss(sims, 0.2, "mean"))


def test_a_row_that_stands_in_the_batch_twice_is_no_mismatch_of_itself() -> None:
    pc2 = small(classification=False, captions=False).eval()
    rows = {name: value[[0, 1, 2, 0]] for name, value in batch().items()}
    pc2.loss(rows, CLEAN)["total"].backward()
    read = pc2._read(0, rows)
    sims = pc2.networks["first"].similarity(read["image"], read["text"]).detach()
    sims[0, 3] = sims[3, 0] = -1
    torch.testing.assert_close(pc2.loss(rows, CLEAN)["total"], triplet_ranking_loss(sims, 0.2))
    assert all(p.grad is None or p.grad.isfinite().all() for p in pc2.parameters())


def test_classification_teaches_the_picture_alone() -> None:
    pc2 = small(entropy_weight=0.0).eval()
    bare = small(classification=False, captions=False).eval()
    bare.load_state_dict(pc2.state_dict(), strict=False)
    gradients = []
    for model in (pc2, bare):
        model.loss(batch(), replace(CLEAN, stage="warmup"))["total"].backward()
        gradients.append({name: model.networks["first"].projections[name].weight.grad for name in ("image", "text")})
    torch.testing.assert_close(gradients[0]["text"], gradients[1]["text"])
    assert not torch.allclose(gradients[0]["image"], gradients[1]["image"])


def test_mismatched_pictures_borrow_the_caption_of_the_clean_one_that_is_classified_most_alike() -> None:
    pc2, rows = small(caption_floor=0.0).eval(), batch()
    network = pc2.networks["first"]
    read = pc2._read(0, rows)
    odds = network.predict("image", read["image"])
    chosen, label = assign_pseudo_captions(odds[1::2], odds[::2], 0.0)
    image, text = read["image"].select(slice(1, None, 2)), read["text"].select(slice(0, None, 2))
    want = triplet_ranking_loss(network.similarity(image, text.select(chosen)), soft_margin(label, 0.2))
    terms = pc2.loss(rows, BORROWS)
    torch.testing.assert_close(terms["total"], want)
    torch.testing.assert_close(pc2.banks[0].features, odds)
    terms["total"].backward()
    assert (pc2.encoders["text"].layer.weight.grad != 0).any()  # of the pass that read the clean captions


def test_borrowing_begins_at_its_epoch_and_needs_the_classifier() -> None:
    late = small(captions_epoch=1)
    assert not late._turn(BORROWS).borrows
    assert late._turn(replace(BORROWS, epoch=1)).borrows
    assert not small(captions=False)._turn(BORROWS).borrows
    with pytest.raises(ConfigError, match="captions = false"):
        small(classification=False)


def test_rows_are_judged_among_others_whatever_their_order() -> None:
    pc2, rows = small(rows=8), batch()
    read = pc2.eval()._read(0, rows)
    sims = pc2.networks["first"].similarity(read["image"], read["text"])
    draws = torch.Generator().manual_seed(0)
    parts = ([read[name].select(part) for part in (slice(0, 5), slice(5, 8))] for name in ("image", "text"))
    found = losses_among_others(pc2.networks["first"].similarity, *parts, 0.2, draws, torch.device("cpu"))
    torch.testing.assert_close(found, triplet_ranking_loss(sims, 0.2, "mean", "none"), atol=2e-3, rtol=0)


def test_dividing_splits_by_losses_and_corrects_labels_by_oscillation() -> None:
    pc2, loader = small(rows=32), FixedLoader(batch(32))
    before = torch.rand(32, 4).softmax(dim=1)
    for bank in pc2.banks:
        bank.update(torch.arange(32), before)
    assert pc2.verdicts() is None
    pc2.before_epoch(replace(CLEAN, seed=3), loader)
    for number in (0, 1):
        clean, labels = pc2.probability[number], pc2.division.labels[number]
        assert torch.equal(pc2.division.clean[number], split_clean(clean))
        assert (labels >= clean - 1e-6).all()
        assert (labels > clean + 1e-3).any()
        now = pc2.eval().networks[("first", "second")[number]].predict("image", pc2._read(number, batch(32))["image"])
        torch.testing.assert_close(pc2.banks[number].features, now)
    verdicts = pc2.verdicts()
    assert torch.equal(verdicts.score, pc2.probability.mean(dim=0))
    assert torch.equal(verdicts.kept, verdicts.score > 0.5)


def test_without_classification_a_label_is_the_probability_by_losses() -> None:
    pc2 = small(rows=16, classification=False, captions=False)
    pc2.before_epoch(CLEAN, FixedLoader(batch(16)))
    assert torch.equal(pc2.division.labels, pc2.probability)
    zero = torch.zeros(16)
    assert torch.equal(rectify_labels(pc2.probability[0], zero, zero), pc2.probability[0])


def test_verdicts_are_those_of_before_when_the_model_is_loaded(tmp_path, towers) -> None:
    pc2 = get_method("pc2")({"dim": 8, "sim_dim": 8, "classes": 4}, towers, DataInfo(rows=5))
    assert JudgesRows.of(pc2).verdicts() is None
    pc2.probability.copy_(torch.rand(2, 5))
    pc2.judged.fill_(True)
    save_model(tmp_path, pc2, {})
    found = JudgesRows.of(load_model(tmp_path).method).verdicts()
    assert torch.equal(found.score, pc2.probability.mean(dim=0))


def test_both_networks_have_a_say_in_search() -> None:
    pc2, rows = small().eval(), batch()
    read = [pc2._read(number, rows) for number in (0, 1)]
    vectors = pc2.embed(rows)
    cosines = [each["image"].pooled @ each["text"].pooled.T for each in read]
    torch.testing.assert_close(vectors["image"] @ vectors["text"].T, torch.stack(cosines).mean(dim=0))
    assert vectors["image"].shape == (8, 12)
    scores = [
        network.similarity(each["image"], each["text"])
        for network, each in zip(pc2.networks.values(), read, strict=True)
    ]
    tokens = pc2.token_features(rows)
    found = pc2.rescore(tokens["text"], tokens["image"], "text")
    torch.testing.assert_close(found, torch.stack(scores).mean(dim=0).T)
    torch.testing.assert_close(pc2.rescore(tokens["image"], tokens["text"], "image"), found.T)


def test_a_cosine_is_no_second_stage_and_asks_for_vectors_alone() -> None:
    pc2 = small(similarity="cosine")
    assert Rescores.of(pc2) is None
    assert pc2.needs == {"image": frozenset({"pooled"}), "text": frozenset({"pooled"})}
    vectors = pc2.eval().embed(batch())
    torch.testing.assert_close(F.normalize(vectors["text"], dim=1), vectors["text"])


@pytest.mark.parametrize("similarity", ["sgr", "cosine"])
def test_two_processes_that_borrow_are_one(similarity) -> None:
    whole = share(slice(0, 8), similarity=similarity)
    first, second = run_two_processes(half, {"similarity": similarity})
    assert whole.keys() == first.keys()
    for name, value in whole.items():
        mean = (first[name] + second[name]) / 2  # as DistributedDataParallel averages
        torch.testing.assert_close(mean, value, atol=1e-5, rtol=1e-3, msg=name)
