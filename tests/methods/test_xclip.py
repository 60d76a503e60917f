from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from method_parts import text_batch

import tiny_bundles
from accord.encoders import build_encoder
from accord.encoders.bundles import load_bundle
from accord.errors import ConfigError
from accord.methods import DataInfo, Step, get_method
from accord.methods.programme import Repeated
from accord.methods.video.recognition import video_text_logits

NAMES = ("moves left", "moves right", "grows")
DATA = DataInfo(rows=8, classes=NAMES, definitions=NAMES)
TOWER = {"name": "cross_frame", "size": 16, "patch": 8, "width": 16, "depth": 2, "heads": 2, "frames": 4}


def towers(**options):
    torch.manual_seed(0)
    video = build_encoder("video", TOWER | options, weights=False)
    text = build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=NAMES)
    return {"video": video, "text": text}


def method(config=None, data=DATA, **options):
    found = towers(**options)
    torch.manual_seed(1)
    return get_method("xclip")({"mixup": 0, "cutmix": 0} | (config or {}), found, data)


@pytest.fixture
def batch():
    mask = torch.ones(6, 4, dtype=torch.bool)
    mask[5, 2:] = False
    video = torch.randn(6, 4, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    return {"video": video, "video_mask": mask, "label": torch.tensor([0, 1, 2, 0, 1, 2])}


def test_the_loss_is_smoothed_cross_entropy_of_scaled_cosines_with_corrected_names(batch):
    xclip = method({"label_smoothing": 0.1})
    features = xclip.encoders["video"](batch["video"], batch["video_mask"])
    names = text_batch(xclip.encoders, list(NAMES))
    text = xclip.projections["text"](xclip.encoders["text"](names["text"], names["text_mask"]).pooled)
    frames = xclip.patch_projection(xclip.patch_norm(features.stream("patches").values)).view(6, 4, 4, 16)
    patches = torch.stack([frames[row, : int(mask.sum())].mean(dim=0) for row, mask in enumerate(batch["video_mask"])])
    each = text.expand(6, -1, -1)
    cosines = F.cosine_similarity(features.pooled[:, None], each + xclip.prompt(each, patches), dim=2)
    smooth = F.one_hot(batch["label"], 3) * 0.9 + 0.1 / 3
    expected = -(smooth * (cosines / 0.07).log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(xclip.loss(batch, Step())["total"], expected)


def test_a_row_may_stand_in_its_batch_several_times():
    assert method().sampling is None
    assert method({"repeats": 2}).sampling == Repeated(2)


def test_several_labels_share_the_probability(batch):
    xclip = method({"label_smoothing": 0.0})
    hot = batch | {"label": torch.tensor([[1, 1, 0]] * 6)}
    logits = xclip.classify(batch).log_softmax(dim=1)
    torch.testing.assert_close(xclip.loss(hot, Step())["total"], -logits[:, :2].mean())


def test_embeddings_have_unit_norm_and_follow_the_batch(batch):
    xclip = method()
    assert set(xclip.embed(batch)) == {"video"}
    both = xclip.embed(batch | text_batch(xclip.encoders, list(NAMES) * 2))
    for vectors in both.values():
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(6))


def test_scores_of_a_second_stage_are_those_of_the_classifier_whichever_names_are_asked(batch):
    xclip = method().eval()
    clips = xclip.token_features(batch)["video"]
    names = xclip.token_features(text_batch(xclip.encoders, [NAMES[2], NAMES[0]]))["text"]
    scores = xclip.rescore(clips, names, "video")
    torch.testing.assert_close(scores * xclip.logit_scale(), xclip.classify(batch)[:, [2, 0]])
    torch.testing.assert_close(xclip.rescore(names, clips, "text"), scores.T)


def test_a_frozen_text_encoder_reads_the_names_once_and_they_can_be_trained_on(batch, monkeypatch):
    xclip = method()
    xclip.encoders["text"].freeze("all")
    with torch.inference_mode():
        first = xclip.classify(batch)
    monkeypatch.setattr(xclip.encoders["text"], "encode", None)
    xclip.loss(batch, Step())["total"].backward()
    assert xclip.projections["text"].weight.grad.abs().sum() > 0
    torch.testing.assert_close(xclip.classify(batch), first)


def test_every_parameter_gets_a_gradient(batch):
    xclip = method()
    xclip.loss(batch, Step())["total"].backward()
    assert [name for name, parameter in xclip.named_parameters() if parameter.grad is None] == []


def test_messages_and_a_mean_give_the_same_logits_for_any_order_of_the_frames_and_mit_does_not(batch):
    order, batch = torch.tensor([3, 1, 0, 2]), batch | {"video_mask": torch.ones(6, 4, dtype=torch.bool)}
    other = batch | {"video": batch["video"][:, order]}
    for temporal, same in (("mean", True), ("mit", False)):
        xclip = method(temporal=temporal).eval()
        if not same:
            torch.nn.init.normal_(xclip.encoders["video"].mit.positional_embedding)
        torch.testing.assert_close(xclip.classify(other), xclip.classify(batch)) if same else None
        assert (bool((xclip.classify(other) - xclip.classify(batch)).abs().max() < 1e-4)) == same


def test_without_alpha_the_names_are_what_the_text_encoder_says(batch):
    xclip = method({"prompt_alpha": 0.0, "learn_alpha": False})
    embedded = xclip.embed(batch | text_batch(xclip.encoders, list(NAMES)))
    plain = xclip.logit_scale() * embedded["video"] @ embedded["text"].T
    torch.testing.assert_close(xclip.classify(batch), plain)
    assert not xclip.prompt.alpha.requires_grad


@pytest.mark.parametrize("which", ["mixup", "cutmix"])
def test_clips_and_labels_are_mixed_by_one_share(which, batch):
    torch.manual_seed(0)
    xclip = method({"mixup": 0.8, "cutmix": 1.0, "switch": float(which == "cutmix")})
    white = torch.zeros_like(batch["video"])
    white[batch["label"] == 0] = 1.0
    mixed = xclip.mix(batch | {"video": white}, Step())
    assert mixed["label"].shape == (6, 3)
    torch.testing.assert_close(mixed["label"].sum(dim=1), torch.ones(6))
    torch.testing.assert_close(mixed["video"].flatten(1).mean(dim=1), mixed["label"][:, 0])
    assert type(mixed["video"]) is torch.Tensor
    assert mixed["video"].unique().numel() > 2 if which == "mixup" else set(mixed["video"].unique().tolist()) == {0, 1}
    xclip.loss(mixed, Step())["total"].backward()


def test_nothing_is_mixed_where_both_are_off(batch):
    assert method().mix(batch, Step()) is batch


def test_rates_of_new_parts_are_ten_times_as_high_and_end_at_the_common_floor():
    xclip = method()
    assert xclip.group("prompt.alpha").name == ""
    video = xclip.encoders["video"]
    video.weights_from, video.adapters = "a file", ("*.message_*", "mit.*")
    groups = {name: xclip.group(name).name for name, _ in xclip.named_parameters()}
    assert groups["encoders.video.visual.resblocks.1.message_fc.weight"] == groups["prompt.alpha"] == "new"
    assert groups["encoders.video.mit.positional_embedding"] == groups["projections.text.weight"] == "new"
    assert groups["encoders.video.visual.resblocks.1.attn.in_proj_weight"] == ""
    assert groups["encoders.text.embedding.weight"] == "new"  # random too
    rates = [xclip.lr_factor("new", Step(index=index, total=100), warmup=10) for index in (0, 9, 10, 99)]
    assert rates == pytest.approx([1.0, 10.0, 10.0, 0.01], abs=0.01)


def test_a_single_class_is_refused():
    with pytest.raises(ConfigError, match="xclip needs labels of at least 2 classes, got 1"):
        method(data=DataInfo(rows=8, classes=("grows",), definitions=("grows",)))


def test_rows_need_clips_alone():
    xclip = get_method("xclip")
    assert xclip.reads(xclip.Config.parse({})) == ("video",)


def test_logits_of_texts_common_to_all_clips_and_of_texts_of_their_own_agree():
    video, text = torch.randn(3, 8), torch.randn(5, 8)
    own = video_text_logits(video, text.expand(3, -1, -1), torch.tensor(2.0))
    torch.testing.assert_close(video_text_logits(video, text, torch.tensor(2.0)), own)
    torch.testing.assert_close(
        own, torch.exp(torch.tensor(2.0)) * F.cosine_similarity(video[:, None], text[None], dim=2)
    )


def test_it_starts_from_a_clip_whose_texts_and_scale_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setitem(tiny_bundles.TOWER, "intermediate_size", 128)
    bundle = load_bundle(f"clip:{tiny_bundles.save_clip(tmp_path / 'clip')}")
    kind = get_method("xclip")
    settings = kind.Config.parse(kind.settings_from(bundle))
    tower = build_encoder("video", dict(kind.encoders_from(settings, bundle.name)["video"]))
    xclip = kind(settings, {"video": tower, "text": bundle.encoders["text"]}, DATA)
    assert xclip.start_from(bundle) == ("text projection", "logit scale")
    torch.testing.assert_close(xclip.logit_scale().item(), bundle.logit_scale)
    still = {name.split(".")[0] for name, parameter in xclip.named_parameters() if not parameter.requires_grad}
    assert still == {"encoders", "projections", "logit_scale"}
    assert xclip.encoders["text"].frozen
    assert xclip.group("prompt.alpha").name == xclip.group("encoders.video.mit.positional_embedding").name == "new"
    names = text_batch(xclip.encoders, list(NAMES))
    expected = bundle.encoders["text"](names["text"], names["text_mask"]).pooled @ bundle.projections["text"].T
    torch.testing.assert_close(xclip.embed(names)["text"], F.normalize(expected, dim=1))
