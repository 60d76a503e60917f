from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from method_parts import FixedLoader, text_batch
from torch import nn

from accord.encoders.base import Features
from accord.errors import ConfigError
from accord.functional import collective_bootstrap
from accord.methods import DataInfo, Stage, Step, get_method
from accord.methods.noisy.text_matching import (
    clean_text,
    definition_distance,
    definition_margin,
    enhance_texts,
    trusted_rows,
)

SMALL = {"dim": 6, "queue_size": 16, "init_epoch": 0, "clean_epoch": 0, "prototype_epochs": 4, "few_shot": 2}


@pytest.fixture(scope="module")
def golden():
    arrays = np.load(Path(__file__).parents[1] / "golden" / "capro.npz")
    return {
        name.removeprefix("webvision_step."): torch.from_numpy(arrays[name]) for name in arrays if "webvision" in name
    }


class Given(nn.Module):
    """Returns what it was made with."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, *_):
        return self.value


class FirstPixels(nn.Module):
    """An encoder whose features are sixteen pixels."""

    frozen = True

    def forward(self, image, *_):
        return Features(image.flatten(1)[:, :16])


def test_a_training_step_of_the_method_equals_the_reference_implementation(towers, golden):
    data = DataInfo(rows=32, classes=tuple("abcde"), definitions=tuple("abcde"), label_counts=(2, 2, 2, 1, 1))
    capro = get_method("capro")(SMALL, towers, data)
    capro.projector = capro.standardise = nn.Identity()
    capro.reconstructor = Given(golden["in.q"])
    capro.key_encoder = nn.Identity()
    capro.classifier = Given(golden["in.cls_logits"])
    capro.head.low = nn.Linear(6, 5, bias=False)
    capro.head.low.weight.data.copy_(golden["in.lowdim_cls_weight"])
    capro.queue.features.copy_(golden["in.queue"].T)
    capro.prototypes.prototypes.copy_(golden["in.prototypes"])
    capro.prototypes.initialised.fill_(True)
    capro.trusted[:8] = golden["in.is_fewshot"]
    batch = {
        "image_views": [Features(golden["in.q"]), Features(golden["in.k"])],
        "label": golden["in.web_label"],
        "index": torch.arange(8),
    }
    terms = capro.loss(batch, Step("prototypes", epoch=1))

    label, low, target = golden["out.label_kept"], golden["out.lowdim_logits_kept"], golden["out.cb_target_kept"]
    expected = {
        "instance": F.cross_entropy(golden["out.inst_logits"], torch.zeros(8, dtype=torch.long)),
        "prototype": F.cross_entropy(golden["out.proto_logits_kept"], label),
        "low": 0.9 * F.cross_entropy(low, label) + 0.1 * F.cross_entropy(low, target),
        "kept": torch.tensor(len(label) / 8),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(capro.queue.features.T, golden["out.queue_after"], atol=1e-5, rtol=0)
    torch.testing.assert_close(capro.prototypes.prototypes, golden["out.prototypes_after"], atol=1e-5, rtol=0)


def test_the_queue_never_holds_most_images_twice(towers):
    for rows, size in ((20, 10), (100, 16)):
        data = DataInfo(rows=rows, classes=("a", "b"), definitions=("a", "b"), label_counts=(rows // 2, rows // 2))
        assert len(get_method("capro")(SMALL, towers, data).queue.features) == size


@pytest.fixture
def noisy(towers):
    """24 rows, 2 classes, a third of the labels wrong, texts that tell the truth."""
    torch.manual_seed(0)
    truth = torch.arange(24) % 2
    label = torch.where(torch.arange(24) % 3 == 0, 1 - truth, truth)
    image = torch.randn(24, 3, 16, 16) * 0.3 + (2 * truth - 1)[:, None, None, None]
    words = ["a red ball" if row == 0 else "the green tree" for row in truth.tolist()]
    rows = {"image": image, "label": label, "index": torch.arange(24), **text_batch(towers, words)}
    info = DataInfo(24, ("ball", "tree"), ("a red ball", "the green tree"), label_counts=(12, 12))
    return rows, truth, info


def test_text_picks_rows_whose_label_is_true(towers, noisy):
    rows, truth, info = noisy
    capro = get_method("capro")({**SMALL, "few_shot": 5, "smooth_texts": False}, towers, info)
    trusted = capro.select_trusted(FixedLoader(rows))
    assert trusted.sum() == 10
    assert (rows["label"] == truth)[trusted].all()


def trusted_by(towers, noisy, **settings):
    rows, _, info = noisy
    capro = get_method("capro")({**SMALL, "smooth_texts": False, **settings}, towers, info)
    return capro.select_trusted(FixedLoader(rows))


def test_trusted_rows_are_a_number_or_a_share_of_each_class_and_at_most_half_of_it(towers, noisy):
    label = noisy[0]["label"]
    assert torch.bincount(label[trusted_by(towers, noisy, few_shot=2)]).tolist() == [2, 2]
    assert torch.bincount(label[trusted_by(towers, noisy, few_shot=0.25)]).tolist() == [3, 3]
    assert torch.bincount(label[trusted_by(towers, noisy, few_shot=50)]).tolist() == [6, 6]
    assert torch.bincount(label[trusted_by(towers, noisy, few_shot=50, few_shot_cap=0.75)]).tolist() == [9, 9]
    with pytest.raises(ConfigError, match=r"few_shot = 2.5: expected a whole number of images, or a share below 1"):
        trusted_by(towers, noisy, few_shot=2.5)


def test_with_a_margin_only_texts_that_fit_their_own_class_best_are_trusted(towers, noisy):
    rows, truth, _ = noisy
    trusted = trusted_by(towers, noisy, few_shot=50, few_shot_cap=1.0, few_shot_margin=0.0)
    assert torch.equal(trusted, rows["label"] == truth)  # texts tell the truth
    none = trusted_by(towers, noisy, few_shot=50, few_shot_margin=2.0)
    assert torch.bincount(rows["label"][none]).tolist() == [1, 1]  # prototypes have to start somewhere
    assert (rows["label"] == truth)[none].all()


def test_a_class_that_is_trusted_whole_is_named(towers, noisy):
    with pytest.warns(UserWarning, match=r"trusts every row of ball, tree, .*: lower method.few_shot"):
        trusted_by(towers, noisy, few_shot=50, few_shot_cap=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trusted_by(towers, noisy, few_shot=50)
        trusted_by(towers, noisy, few_shot=50, few_shot_cap=1.0, protect=False)


def test_the_margin_of_several_labels_is_against_classes_that_a_row_does_not_carry():
    texts, labels = (
        F.normalize(torch.tensor([[1.0, 0.9, 0.0], [0.5, 0.0, 1.0]]), dim=1),
        torch.tensor([[1, 1, 0], [1, 0, 0]]),
    )
    margin = definition_margin(texts, torch.eye(3), labels)
    torch.testing.assert_close(margin[0, :2], texts[0, :2])
    torch.testing.assert_close(margin[1, 0], texts[1, 0] - texts[1, 2])


@pytest.mark.parametrize("step", [Step("vanilla"), Step("prototypes", epoch=0)])
def test_collective_bootstrapping_begins_with_the_first_step(towers, noisy, step):
    rows, _, info = noisy
    batch = {key: value[:8] for key, value in rows.items()} | {"image_views": [rows["image"][:8], rows["image"][:8]]}

    def low(beta):
        torch.manual_seed(0)
        return get_method("capro")({**SMALL, "init_epoch": 1, "clean_epoch": 1, "beta": beta}, towers, info)

    plain, bootstrapped = low(0.0), low(0.5)
    bootstrapped.load_state_dict(plain.state_dict())
    loss, mixed = plain.loss(batch, step)["low"], bootstrapped.loss(batch, step)["low"]
    with torch.no_grad():
        z = plain.project(plain.encoders["image"](batch["image"]).pooled)
        opinion = (plain.head(plain.queue.features).softmax(dim=1) + 0.5) / 2  # prototypes that are zero know nothing
        target = collective_bootstrap(z, plain.queue.features, opinion)
        expected = (loss + F.cross_entropy(plain.head(z), target)) / 2
    torch.testing.assert_close(mixed, expected)


def test_the_last_stage_moves_the_classifier_to_the_cleaned_labels(towers, noisy):
    rows, truth, info = noisy
    capro = get_method("capro")(SMALL, towers, info)
    capro.encoders["image"] = FirstPixels()
    capro.cleaned_label.copy_(truth)
    capro.classifier.weight.data.copy_(torch.tensor([[0.02], [-0.02]]).expand(2, 16))  # the opposite of the truth
    assert (capro.classify(rows).argmax(dim=1) == truth).float().mean() < 0.1
    stage = capro.stages[-1]
    capro.before_stage(stage, FixedLoader(rows))
    optimiser = torch.optim.AdamW(capro.classifier.parameters(), lr=2e-3 * stage.lr_scale)
    for _ in range(stage.epochs):
        for batch in FixedLoader(rows, size=12):
            optimiser.zero_grad()
            capro.loss(batch, Step(stage.name))["total"].backward()
            optimiser.step()
    assert (capro.classify(rows).argmax(dim=1) == truth).all()


def test_the_last_stage_can_begin_with_a_classifier_that_saw_no_wrong_label(towers, noisy):
    rows, _, info = noisy
    for fresh in (False, True):
        capro = get_method("capro")({**SMALL, "finetune_fresh": fresh}, towers, info)
        before = capro.classifier.weight.detach().clone()
        capro.before_stage(Stage("finetune"), FixedLoader(rows))
        assert torch.equal(capro.classifier.weight, before) is not fresh


def test_prototypes_start_from_the_trusted_rows_only(towers, noisy):
    rows, _, info = noisy
    capro = get_method("capro")(SMALL, towers, info)
    capro.before_stage(Stage("prototypes"), FixedLoader(rows))
    capro.before_epoch(Step("prototypes", epoch=0), FixedLoader(rows))
    with torch.no_grad():
        z = capro.project(capro.key_encoder(rows["image"]).pooled)
    for index in range(2):
        mine = capro.trusted & (rows["label"] == index)
        torch.testing.assert_close(capro.prototypes.prototypes[index], F.normalize(z[mine].mean(0), dim=0))


def test_the_baseline_trusts_every_row_and_needs_no_text(towers, noisy):
    rows, _, info = noisy
    baseline = get_method("prototypical")(SMALL, {"image": towers["image"]}, info)
    assert baseline.select_trusted(FixedLoader(rows)).all()
    assert not baseline.config.protect


def train(method, rows, stages=("vanilla", "prototypes", "finetune"), epochs=4):
    optimiser = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=3e-3)
    loader = FixedLoader(rows)
    for stage in method.stages:
        if stage.name not in stages:
            continue
        method.before_stage(stage, loader)
        for epoch in range(min(stage.epochs, epochs)):
            step = Step(stage.name, epoch)
            method.before_epoch(step, loader)
            method.train()
            for batch in FixedLoader(rows, size=12):
                batch["image_views"] = [batch["image"], batch["image"] + 0.1]
                terms = method.loss(batch, step)
                assert all(torch.isfinite(term) for term in terms.values())
                optimiser.zero_grad()
                terms["total"].backward()
                optimiser.step()
                method.after_step(step)
        method.after_stage(stage, loader)
    return terms


@pytest.mark.parametrize("name", ["capro", "prototypical"])
def test_all_stages_run_and_leave_a_verdict_on_every_row(towers, noisy, name):
    rows, _, info = noisy
    method = get_method(name)({**SMALL, "vanilla_epochs": 2, "finetune_epochs": 2}, towers, info)
    train(method, rows)
    verdicts = method.verdicts()
    assert verdicts.kept.shape == verdicts.label.shape == verdicts.score.shape == (24,)
    assert ((verdicts.score >= 0) & (verdicts.score <= 1)).all()
    assert method.classify({"image": rows["image"]}).shape == (24, 2)


def test_capro_corrects_labels_that_contradict_the_pictures(towers, noisy):
    rows, truth, info = noisy
    torch.manual_seed(0)
    settings = {
        **SMALL,
        "vanilla_epochs": 2,
        "finetune_epochs": 0,
        "prototype_epochs": 12,
        "few_shot": 4,
        "mix": 0.0,
        "smooth_texts": False,
    }
    method = get_method("capro")(settings, towers, info)
    train(method, rows, epochs=12)
    verdicts = method.verdicts()
    before, after = (rows["label"] == truth).float().mean(), (verdicts.label == truth)[verdicts.kept].float().mean()
    assert after > before + 0.2


def test_finetuning_uses_cleaned_labels_and_drops_rows(towers, noisy):
    rows, truth, info = noisy
    method = get_method("capro")(SMALL, towers, info)
    method.cleaned_label.copy_(truth)
    method.kept.copy_(torch.arange(24) != 0)
    batch = {key: value[:4] for key, value in rows.items()}
    expected = F.cross_entropy(method.classify(batch)[1:], truth[1:4])
    torch.testing.assert_close(method.loss(batch, Step("finetune"))["total"], expected)


def test_mixup_mixes_pixels_and_refuses_cached_features(towers, noisy):
    rows, _, info = noisy
    method = get_method("capro")({**SMALL, "mixup": 0.8}, towers, info)
    batch = {key: value[:4] for key, value in rows.items()}
    assert torch.isfinite(method.loss(batch, Step("finetune"))["total"])
    with pytest.raises(ConfigError, match="cache_features"):
        method.loss({**batch, "image": Features(torch.zeros(4, 16))}, Step("finetune"))


def test_several_labels_per_row_run_through_all_stages(towers, noisy):
    rows, _, info = noisy
    label = F.one_hot(rows["label"], 2)
    label[:4] = 1
    info = DataInfo(24, info.classes, info.definitions, multi_label=True, label_counts=tuple(label.sum(0).tolist()))
    method = get_method("capro")({**SMALL, "vanilla_epochs": 1, "finetune_epochs": 1}, towers, info)
    terms = train(method, {**rows, "label": label})
    assert set(terms) == {"total"}
    assert method.prototypes.initialised.all()
    assert method.verdicts().trusted.shape == (24,)


def test_epochs_out_of_order_are_refused(towers, noisy):
    with pytest.raises(ConfigError, match="init_epoch <= clean_epoch < prototype_epochs"):
        get_method("capro")({"init_epoch": 5, "clean_epoch": 3}, towers, noisy[2])


def test_key_encoder_follows_slowly(towers, noisy):
    _, _, info = noisy
    method = get_method("capro")({**SMALL, "momentum": 0.9}, towers, info)
    weight = next(towers["image"].parameters())
    before = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1.0)
    method.after_step(Step("vanilla"))
    torch.testing.assert_close(next(method.key_encoder.parameters()), before + 0.1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IMG_0123.jpg", " "),
        ("<a href='x'>Tiger-cat</a> at www.cats.com", "tiger cat"),
        ("größe 42 &amp; a cat", "cat"),
        ("12 34", " "),
    ],
)
def test_web_texts_are_cleaned(text, expected):
    assert clean_text(text) == expected


def test_texts_are_repaired_by_visual_neighbours():
    torch.manual_seed(0)
    kind = torch.arange(40) % 2
    visual = F.one_hot(kind, 2).float() + 0.05 * torch.randn(40, 2)
    texts = F.one_hot(kind, 2).float()
    texts[:4] = texts[:4].flip(1)  # wrong texts
    repaired = enhance_texts(texts, visual, neighbours=5, pool=12, k1=6, k2=3)
    assert (repaired.argmax(1) == kind).all()


def test_trusted_negatives_of_a_class_fit_it_worst():
    torch.manual_seed(0)
    texts = F.normalize(torch.randn(30, 4), dim=1)
    definitions = F.normalize(torch.randn(2, 4), dim=1)
    labels = (torch.rand(30, 2) > 0.5).long()
    distance = definition_distance(texts, definitions, labels, k1=5, k2=2)
    chosen = trusted_rows(distance, labels, 3)
    assert chosen.sum(0).tolist() == [6, 6]
    for index in range(2):
        negatives = ~labels[:, index].bool()
        assert (
            distance[chosen[:, index] & negatives, index].min() >= distance[~chosen[:, index] & negatives, index].max()
        )
