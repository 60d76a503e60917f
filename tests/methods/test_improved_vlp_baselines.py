from __future__ import annotations

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from method_parts import text_batch
from PIL import Image
from torch import nn

from accord.data.augmenting.views import expand
from accord.data.columns import Columns
from accord.data.corpus import Corpus, corpus_from_items
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.functional import (
    barlow_cross,
    cross_view_nce,
    info_nce,
    negative_cosine,
    nt_xent,
    swapped_prediction_loss,
)
from accord.methods import DataInfo, Step, get_method
from accord.methods.image_text.improved_vlp_baselines import PRESETS, ImprovedVLPConfig
from accord.training.config import TrainingConfig
from accord.training.fit import fit
from accord.training.gradcache import cached_backward

WORDS = ["a red ball", "a blue cup", "the green tree", "one yellow star"]
SMALL = {"dim": 8, "head_width": 12, "extra_width": 10, "extra_dim": 6, "prototypes": 5}


def built(towers, **settings):
    torch.manual_seed(0)
    settings = {**SMALL, **settings}
    return get_method("improved_vlp_baselines")(settings, copy.deepcopy(towers), DataInfo())


def views_of(towers, count: int = 3):
    images = list(torch.randn(count, 4, 3, 16, 16))
    texts = [text_batch(towers, [WORDS[(row + shift) % 4] for row in range(4)]) for shift in range(count)]
    pairs = [(view["text"], view["text_mask"]) for view in texts]
    return {"image": images[0], "image_views": images, **texts[0], "text_views": pairs}


@pytest.fixture
def batch(towers):
    torch.manual_seed(1)
    return views_of(towers)


def features(method, batch):
    images = [method.encoders["image"](view).pooled for view in batch["image_views"]]
    return images, [method.encoders["text"](*view).pooled for view in batch["text_views"]]


def through(heads, views):
    return [heads(view) for view in views]


# -- the contrast


def test_the_loss_over_views_is_that_of_the_released_code(towers, golden) -> None:
    given = golden("improved_vlp_baselines")
    method = built(towers, strong_views=2, label_smoothing=0.0)
    for modality in ("image", "text"):
        method.local_heads[modality] = nn.Identity()
    names = {"image 1": "h_image_0", "image 2": "h_image_1", "text 1": "h_text_0", "text 2": "h_text_1"}
    outputs = {name: given[key].float() for name, key in names.items()}
    outputs |= {side: F.normalize(given[f"z_{side}_global"].float(), dim=1) for side in ("image", "text")}
    outputs |= {f"{side} 0": torch.zeros_like(outputs["image 1"]) for side in ("image", "text")}
    with torch.no_grad():
        method.logit_scale.log_scale.copy_(given["logit_scale"].float().log())
        method.local_scale.log_scale.copy_(given["h_logit_scale"].float().log())
    wanted = given["cl2l_avg_loss"].float()
    torch.testing.assert_close(method.objective(outputs, {}, Step())["total"], wanted.squeeze(), rtol=1e-4, atol=1e-5)
    swalip = built(towers, objective="swalip")
    swalip.load_state_dict(method.state_dict(), strict=False)
    swalip.local_heads, swalip.local_scale = method.local_heads, method.local_scale
    terms = swalip.objective(outputs, {}, Step())
    torch.testing.assert_close(terms["swalip"], given["swalip_loss"].float().squeeze(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(terms["total"], given["swalip_total"].float().squeeze(), rtol=1e-4, atol=1e-5)


def test_the_rocket_contrasts_weak_views_linearly_and_strong_ones_through_their_own_heads(towers, batch) -> None:
    method = built(towers)
    images, texts = features(method, batch)
    z = method.projections["image"](images[0]), method.projections["text"](texts[0])
    h = through(method.local_heads["image"], images[1:]), through(method.local_heads["text"], texts[1:])
    terms = method.loss(batch, Step())
    for name, value in cross_view_nce(z, *h, 1 / 0.07, 10.0, eps=0.1).items():
        torch.testing.assert_close(terms[name], value)


def test_plain_clip_is_the_weak_pair_of_the_caption_as_it_is(towers, batch) -> None:
    method = built(towers, objective="clip")
    embedded = method.embed(batch)
    expected = info_nce(embedded["image"], embedded["text"], method.logit_scale())
    only = {name: batch[name] for name in ("image", "text", "text_mask")}
    torch.testing.assert_close(method.loss(only, Step())["total"], expected)
    assert not method.local_heads
    assert [view.count for view in method.views] == [1]
    assert method.text_views == ()


def test_without_separate_heads_strong_views_share_projections_and_scale(towers, batch) -> None:
    method = built(towers, separate_heads=False, label_smoothing=0.0)
    images, texts = features(method, batch)
    h = through(method.projections["image"], images), through(method.projections["text"], texts)
    expected = cross_view_nce((h[0][0], h[1][0]), h[0][1:], h[1][1:], 1 / 0.07, 1 / 0.07, eps=0.0)
    torch.testing.assert_close(method.loss(batch, Step())["total"], expected["total"])
    with torch.no_grad():
        method.logit_scale.log_scale.fill_(9.0)
    method.after_step(Step())  # the released code fails here
    torch.testing.assert_close(method.logit_scale(), torch.tensor(100.0))
    assert method.embed(batch)["image"].shape == (4, 8)


def test_both_scales_are_clamped_after_a_step(towers) -> None:
    method = built(towers)
    with torch.no_grad():
        method.logit_scale.log_scale.fill_(9.0)
        method.local_scale.log_scale.fill_(-1.0)
    method.after_step(Step())
    torch.testing.assert_close(torch.stack([method.logit_scale(), method.local_scale()]), torch.tensor([100.0, 1.0]))


# -- views


def test_views_are_one_weak_and_n_strong_of_each_modality(towers) -> None:
    method = built(towers, strong_views=3, flip=0.0, clean_text=True)
    weak, *strong = expand(method.views)
    assert (weak.scale, weak.jitter, len(strong)) == ((0.5, 1.0), None, 3)
    assert all(view.scale == (0.08, 1.0) and view.jitter_p == 0.8 and view.flip == 0.0 for view in strong)
    weak, *strong = expand(method.text_views)
    assert (weak.stopwords, weak.synonym, weak.swap, weak.delete, weak.clean) == (0.8, 0.0, 0.0, 0.0, True)
    assert len(strong) == 3
    assert all((view.stopwords, view.synonym, view.swap, view.delete) == (0.8, 0.4, 0.4, 0.2) for view in strong)


@pytest.mark.parametrize("side", ["image", "text"])
def test_a_side_without_augmentation_repeats_its_one_view(towers, batch, side: str) -> None:
    method = built(towers, **{f"{side}_augmentation": False})
    assert len(expand(method.views)) == (1 if side == "image" else 3)
    assert len(method.text_views) == (2 if side == "image" else 0)
    repeated = dict(batch)
    repeated[f"{side}_views"] = [repeated[f"{side}_views"][0]] * 3
    del batch[f"{side}_views"]
    whole = built(towers)
    torch.testing.assert_close(method.loss(batch, Step())["total"], whole.loss(repeated, Step())["total"])


def test_text_dropout_reaches_strong_texts_only(towers, batch) -> None:
    plain, noisy = built(towers).towers(batch), built(towers, text_dropout=0.5).towers(batch)
    same = {name for name, value in plain.items() if torch.equal(value, noisy[name])}
    assert plain.keys() - same == {"text 1", "text 2"}


def test_with_dropout_alone_strong_texts_still_differ(towers, batch) -> None:
    outputs = built(towers, text_dropout=0.5, text_augmentation=False).towers(batch)
    assert not torch.equal(outputs["text 1"], outputs["text 2"])


def test_cached_features_stand_in_for_pictures(towers, batch) -> None:
    method = built(towers)
    expected = method.loss(batch, Step())["total"]
    cached = [Features(method.encoders["image"](view).pooled.detach()) for view in batch["image_views"]]
    torch.testing.assert_close(
        built(towers).loss({**batch, "image": cached[0], "image_views": cached}, Step())["total"], expected
    )


# -- the added losses


def pair_mean(loss, images, texts):
    pairs = [(0, 0), *itertools.product((1, 2), repeat=2)]
    return torch.stack([loss(images[a], texts[b]) for a, b in pairs]).mean()


def test_barlip_is_the_mean_over_the_weak_and_four_strong_pairs(towers, batch) -> None:
    method = built(towers, objective="barlip")
    images, texts = features(method, batch)
    v = through(method.extra.heads["image"], images), through(method.extra.heads["text"], texts)
    terms = method.loss(batch, Step())
    torch.testing.assert_close(terms["barlip"], pair_mean(barlow_cross, *v))
    torch.testing.assert_close(terms["total"], built(towers).loss(batch, Step())["total"] + terms["barlip"])


def test_siamlip_averages_ten_predictions_and_stops_at_their_targets(towers, batch) -> None:
    method = built(towers, objective="siamlip")
    images, texts = features(method, batch)
    heads, predictors = method.extra.heads, method.extra.predictors
    v = through(heads["image"], images), through(heads["text"], texts)
    p = through(predictors["image"], v[0]), through(predictors["text"], v[1])
    terms = [negative_cosine(p[0][0], v[1][0]), negative_cosine(p[1][0], v[0][0])]
    for a, b in itertools.product((1, 2), repeat=2):
        terms += [negative_cosine(p[0][a], v[1][b]), negative_cosine(p[1][a], v[0][b])]
    torch.testing.assert_close(method.loss(batch, Step())["siamlip"], torch.stack(terms).mean())
    one_way = negative_cosine(p[0][0], v[1][0])
    grads = torch.autograd.grad(one_way, [*heads["text"].parameters(), *heads["image"].parameters()], allow_unused=True)
    count = len(list(heads["text"].parameters()))
    assert all(grad is None for grad in grads[:count])
    assert all(grad is not None for grad in grads[count:])


def test_byolip_takes_its_targets_from_slow_towers_that_follow_after_each_step(towers, batch) -> None:
    method = built(towers, objective="byolip", momentum=0.5)
    method.loss(batch, Step())["total"].backward()
    slow = [*method.slow.parameters(), *method.extra.slow.parameters()]
    assert all(parameter.grad is None for parameter in slow)
    assert all(parameter.grad is not None for parameter in method.extra.predictors.parameters())
    before = method.slow.module["text"].embedding.weight.clone()
    with torch.no_grad():
        method.encoders["text"].embedding.weight.add_(2.0)
        method.extra.heads["text"][0].weight.fill_(1.0)
    method.after_step(Step())
    torch.testing.assert_close(method.slow.module["text"].embedding.weight, before + 1.0)
    assert not torch.equal(method.extra.slow.module["text"][0].weight, method.extra.heads["text"][0].weight)
    method.train()
    assert method.extra.slow.module["text"].training
    assert method.slow.module["text"].training


def test_byolips_slow_towers_drop_out_what_the_towers_do(towers, batch) -> None:
    method = built(towers, objective="byolip", text_dropout=0.3).train()
    outputs = method.towers(batch)  # the slow towers equal the towers so far
    assert torch.equal(outputs["slow text 0"], outputs["text 0"])
    assert not torch.allclose(outputs["slow text 1"], outputs["text 1"])


def test_byolip_targets_equal_siamlips_before_the_first_step(towers, batch) -> None:
    byolip, siamlip = (built(towers, objective=name) for name in ("byolip", "siamlip"))
    found, expected = byolip.loss(batch, Step())["byolip"], siamlip.loss(batch, Step())["siamlip"]
    torch.testing.assert_close(found, expected)


def test_byolip_copies_no_frozen_encoder(towers, batch) -> None:
    towers["image"].freeze("all")
    method = built(towers, objective="byolip")
    assert [*dict(method.slow.module.named_children())] == ["text"]
    outputs = method.towers(batch)
    assert torch.equal(outputs["slow image 1"], outputs["image 1"])
    assert not outputs["slow text 1"].requires_grad


def test_prototypes_stand_still_first_and_keep_unit_length(towers, batch) -> None:
    method = built(towers, objective="swalip_prototypes", freeze_prototypes=2)
    weight = method.extra.prototypes.weight
    images, texts = features(method, batch)
    terms = method.loss(batch, Step(index=1))
    terms["total"].backward()
    assert weight.grad is None
    scores = [
        method.extra.prototypes(F.normalize(method.extra.heads[side](views[0]), dim=1))
        for side, views in (("image", images), ("text", texts))
    ]
    torch.testing.assert_close(terms["swalip_prototypes"], swapped_prediction_loss(scores, temperature=0.1))
    torch.testing.assert_close(terms["total"], terms["global"] + 0.2 * terms["swalip_prototypes"])
    method.loss(batch, Step(index=2))["total"].backward()
    assert weight.grad is not None
    with torch.no_grad():
        weight.mul_(3.0)
    method.after_step(Step(index=2))
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(5))


def test_slip_adds_contrast_among_strong_pictures_to_plain_clip(towers, batch) -> None:
    method = built(towers, objective="slip")
    assert method.text_views == ()
    images, _ = features(method, batch)
    strong = through(method.extra.head, images[1:])
    clip = built(towers, objective="clip").loss(batch, Step())["total"]
    terms = method.loss(batch, Step())
    torch.testing.assert_close(terms["slip"], nt_xent(*strong, 0.1))
    torch.testing.assert_close(terms["total"], clip + nt_xent(*strong, 0.1))
    assert method.embed(batch)["text"].shape == (4, 8)


@pytest.mark.parametrize("objective", ["siamlip", "byolip", "barlip", "swalip_prototypes"])
def test_the_plain_recipe_compares_the_weak_pair_alone(towers, batch, objective: str) -> None:
    method = built(towers, objective=objective, strong_views=0)
    only = {name: batch[name] for name in ("image", "text", "text_mask")}
    terms = method.loss(only, Step())
    assert len(expand(method.views)) == 1
    clip = built(towers, objective="clip").loss(only, Step())["total"]
    torch.testing.assert_close(terms["total"], clip + method.config.chosen("weight") * terms[objective])


@pytest.mark.parametrize("objective", PRESETS)
def test_every_parameter_learns(towers, batch, objective: str) -> None:
    method = built(towers, objective=objective, freeze_prototypes=0)
    method.loss(batch, Step())["total"].backward()
    without = {name for name, parameter in method.named_parameters() if parameter.grad is None}
    assert all(name.startswith(("slow.", "extra.slow.")) for name in without)


@pytest.mark.parametrize("objective", PRESETS)
def test_gradients_in_micro_batches_equal_those_of_the_whole_batch(towers, batch, objective: str) -> None:
    whole, cut = (built(towers, objective=objective, freeze_prototypes=0).double() for _ in range(2))
    batch["image"], batch["image_views"] = batch["image"].double(), [view.double() for view in batch["image_views"]]
    terms = whole.loss(batch, Step())
    terms["total"].backward()
    found = cached_backward(cut, batch, Step(), 3, lambda scalar, _: scalar.backward())
    torch.testing.assert_close(found["total"], terms["total"].detach())
    for (name, mine), theirs in zip(whole.named_parameters(), cut.parameters(), strict=True):
        if mine.grad is not None:
            assert torch.allclose(mine.grad, theirs.grad, atol=1e-5, rtol=1e-4), name


# -- embeddings


@pytest.mark.parametrize("w", [0.0, 0.3, 1.0])
def test_cosines_of_embeddings_are_the_weighted_mean_of_both_spaces(towers, batch, w: float) -> None:
    method = built(towers, ensemble=w).eval()
    images, texts = features(method, batch)
    embedded = method.embed(batch)
    z = [
        F.normalize(method.projections[side](views[0]), dim=1)
        for side, views in zip(embedded, (images, texts), strict=True)
    ]
    h = [
        F.normalize(method.local_heads[side](views[0]), dim=1)
        for side, views in zip(embedded, (images, texts), strict=True)
    ]
    expected = w * z[0] @ z[1].T + (1 - w) * h[0] @ h[1].T
    torch.testing.assert_close(embedded["image"] @ embedded["text"].T, expected)
    for vectors in embedded.values():
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    assert set(method.embed({"image": batch["image"]})) == {"image"}


def test_embeddings_and_losses_are_single_precision_under_autocast(towers, batch) -> None:
    method = built(towers, objective="swalip")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert {value.dtype for value in method.loss(batch, Step()).values()} == {torch.float32}
        assert {value.dtype for value in method.embed(batch).values()} == {torch.float32}


# -- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "slip", "strong_views": 1}, "strong_views = 1: slip compares strong views"),
        ({"objective": "swalip", "strong_views": 0}, "strong_views = 0: swalip compares strong views"),
        ({"objective": "slip", "image_augmentation": False}, "slip compares strong pictures .* image_augmentation"),
        ({"objective": "moco"}, r"objective = 'moco'"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_a_sentence(towers, settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(towers, **settings)


def test_presets_are_the_papers() -> None:
    config = {name: ImprovedVLPConfig(objective=name) for name in PRESETS}
    assert {name for name, each in config.items() if each.n == 0} == {"clip", "swalip_prototypes"}
    assert {name for name, each in config.items() if each.chosen("label_smoothing") == 0} == {"swalip"}
    assert {name: each.chosen("weight") for name, each in config.items() if each.chosen("weight") != 1} == {
        "swalip": 0.2,
        "swalip_prototypes": 0.2,
    }
    assert (config["barlip"].chosen("extra_width"), config["barlip"].chosen("extra_dim")) == (3000, 8192)


# -- training

TRAINING = {"epochs": 2, "batch_size": 8, "lr": 3e-3, "checkpoint_every": 2, "log_every": 1, "accelerator": "cpu"}


class Killed(BaseException):
    """Stands for a process that dies."""


def pictures_with_words() -> Corpus:
    colours = {"a red ball": "red", "a blue cup": "blue", "the green tree": "green", "one yellow star": "yellow"}
    images = [Image.new("RGB", (20, 20), colours[WORDS[row % 4]]) for row in range(24)]
    corpus = corpus_from_items("image", images)
    rows = corpus.rows.add_column("text", [WORDS[row % 4] for row in range(24)])
    return Corpus(**{**corpus.__dict__, "rows": rows, "columns": Columns(image="image", text=("text",))})


def trained(towers: dict[str, Encoder], folder, *, kill_at=None, resume=False, training=TRAINING, **settings):
    method = built(towers, **settings)
    step, done = method.after_step, []

    def counted(where: Step) -> None:
        step(where)
        done.append(where)
        if len(done) == kill_at:
            raise Killed

    method.after_step = counted
    config = TrainingConfig.parse(training)
    fit(method, pictures_with_words(), config, folder, resume=resume, progress=False)
    return method


@pytest.mark.parametrize(
    "settings",
    [
        {"objective": "byolip", "text_dropout": 0.2},
        {"objective": "swalip_prototypes", "freeze_prototypes": 3, "strong_views": 2},
    ],
    ids=lambda settings: settings["objective"],
)
def test_a_killed_run_resumes_to_the_same_bits(towers, tmp_path, settings) -> None:
    whole = trained(towers, tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        trained(towers, tmp_path / "killed", kill_at=5, **settings)
    again = trained(towers, tmp_path / "killed", resume=True, **settings)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_a_frozen_image_encoder_trains_on_its_cached_views(towers, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: tmp_path / "cache")
    towers["image"].freeze("all")
    method = trained(towers, tmp_path / "run", training={**TRAINING, "cached_augmentations": 2}, objective="slip")
    assert (tmp_path / "cache").exists()
    assert not torch.equal(
        method.projections["image"].weight, built(towers, objective="slip").projections["image"].weight
    )
