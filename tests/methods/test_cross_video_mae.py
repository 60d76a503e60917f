from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from contract_case import Killed, killed_at, same, state_of
from cross_video_mae_share import share_of
from PIL import Image
from safetensors.torch import load_file

from accord import pipeline
from accord.data.corpus import corpus_from_items
from accord.data.inputs import IMAGENET_MEAN, IMAGENET_STD
from accord.data.loading.order import Passes
from accord.encoders import build_encoder
from accord.encoders.masked import stretched
from accord.errors import ConfigError
from accord.functional import masked_mse, nt_xent, patchify
from accord.methods import DataInfo, Step, get_method
from accord.methods.programme import Repeated
from accord.training.artifact import load_model, save_model
from accord.training.config import TrainingConfig
from accord.training.fit import fit
from accord.training.start import sampling_of
from two_processes import run_two_processes

SMALL = {"size": 16, "patch": 4, "width": 16, "depth": 1, "heads": 2}
SETTINGS = {
    **{"video_ratio": 0.75, "image_ratio": 0.5, "stills": 2, "hidden": 16, "dim": 8},
    **{"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2},
}
TERMS = {"intra_video", "intra_frame", "cross_video", "cross_frame", "reconstruction_video", "reconstruction_image"}


def towers(**image):
    torch.manual_seed(0)
    video = build_encoder("video", {"name": "video_mae", **SMALL, "frames": 8}, weights=False)
    return {"video": video, "image": build_encoder("image", {"name": "image_mae", **SMALL, **image}, weights=False)}


def method(encoders=None, **settings):
    found = towers() if encoders is None else encoders
    torch.manual_seed(1)
    return get_method("cross_video_mae")({**SETTINGS, **settings}, found, DataInfo())


@pytest.fixture
def batch():
    views = torch.randn(2, 6, 8, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    return {"video_views": list(views), "video_mask": torch.ones(6, 8, dtype=torch.bool)}


def terms_of(found, batch, seed=3):
    return found.loss(batch, Step(seed=seed))


def test_the_total_is_the_weighted_sum_of_its_terms(batch):
    terms = terms_of(method(intra_video=0.5, cross_frame=2.0, reconstruction=3.0), batch)
    assert set(terms) == {*TERMS, "total"}
    weights = {"intra_video": 0.5, "cross_frame": 2.0, "reconstruction_video": 3.0, "reconstruction_image": 3.0}
    expected = sum(weights.get(name, 1.0) * terms[name] for name in TERMS)
    torch.testing.assert_close(terms["total"].detach(), expected)


def test_every_input_has_a_mask_of_its_own_drawn_from_the_step(batch):
    found = method().eval()
    draws = Step(seed=3).generator(torch.device("cpu"))
    first, second = (found._show("video", view, draws) for view in batch["video_views"])
    assert not torch.equal(first.keep, second.keep)
    again = found._show("video", batch["video_views"][0], Step(seed=3).generator(torch.device("cpu")))
    assert torch.equal(first.keep, again.keep)
    assert torch.equal(terms_of(found, batch)["total"], terms_of(found, batch)["total"])
    assert terms_of(found, batch)["total"] != terms_of(found, batch, seed=4)["total"]


def test_wholes_are_contrasted_by_the_means_of_visible_tokens(batch):
    found = method().eval()
    draws = Step(seed=3).generator(torch.device("cpu"))
    shown = [found._show("video", view, draws) for view in batch["video_views"]]
    z = [found.projectors["video"](one.tokens.mean(dim=1)) for one in shown]
    stills = [
        found._show("image", view[:, [0, 4]].flatten(0, 1), draws).tokens.mean(dim=1) for view in batch["video_views"]
    ]
    h = [found.projectors["image"](one.view(6, 2, 16).mean(dim=1)) for one in stills]
    terms = terms_of(found, batch)
    torch.testing.assert_close(terms["intra_video"], nt_xent(*z, 0.1).detach())
    torch.testing.assert_close(terms["intra_frame"], nt_xent(*h, 0.1).detach())
    torch.testing.assert_close(terms["cross_video"], nt_xent((z[0] + z[1]) / 2, (h[0] + h[1]) / 2, 0.1).detach())


def test_each_version_fills_in_its_own_pixels(batch):
    found = method().eval()
    draws = Step(seed=3).generator(torch.device("cpu"))
    shown = [found._show("video", view, draws) for view in batch["video_views"]]
    own = [patchify(view.transpose(1, 2), 4, 2) for view in batch["video_views"]]
    expected = sum(masked_mse(one.made, target, one.hidden) for one, target in zip(shown, own, strict=True))
    torch.testing.assert_close(terms_of(found, batch)["reconstruction_video"], expected.detach())


def test_a_slot_of_which_nothing_was_shown_is_left_out(batch):
    found = method(video_ratio=0.95).eval()  # 3 of 64 tokens in 4 slots: one at least is empty
    other = method(video_ratio=0.95).eval()
    other.load_state_dict(found.state_dict())
    assert terms_of(found, batch)["cross_frame"].isfinite()
    shown = {"video": [], "image": []}
    draws = Step(seed=3).generator(torch.device("cpu"))
    for name, views in found._pictures(batch).items():
        shown[name] = [found._show(name, view, draws) for view in views]
    seen = torch.stack([(one.keep[..., None] // 16 == found._slots()).any(dim=1) for one in shown["video"]])
    assert not seen.all()
    before = found._slot_terms(shown)["cross_frame"]
    empty = ~seen.any(dim=0)  # (B, F)
    with torch.no_grad():
        for one in shown["image"]:
            one.tokens.view(6, 2, -1, 16)[empty] = 7.0  # frames of slots that were not shown
    torch.testing.assert_close(found._slot_terms(shown)["cross_frame"], before)


def test_contrast_repels_within_a_modality_as_well(batch):
    found = method().eval()
    z = torch.randn(6, 8)
    assert nt_xent(z, z, 0.1) > F.cross_entropy(F.normalize(z) @ F.normalize(z).T / 0.1, torch.arange(6))
    assert terms_of(found, batch)["intra_video"].isfinite()


def test_a_frozen_image_branch_is_not_trained_and_has_no_decoder(batch):
    found = method(freeze_image=True).train()
    terms = terms_of(found, batch)
    assert "reconstruction_image" not in terms
    assert found.still_decoder is None
    terms["total"].backward()
    assert all(parameter.grad is None for parameter in found.encoders["image"].parameters())
    assert found.projectors["image"][0].weight.grad is not None


def test_a_pretrained_image_branch_is_tuned_more_slowly():
    encoders = towers()
    assert method(encoders).group("encoders.image.norm.weight").lr_scale == 1
    encoders["image"].weights_from = "path mae.safetensors"
    assert method(encoders).group("encoders.image.norm.weight").lr_scale == 0.1
    assert method(encoders).group("encoders.video.norm.weight").lr_scale == 1


def test_one_that_does_not_train_the_clips_is_refused():
    encoders = towers()
    encoders["video"].freeze("all")
    with pytest.raises(ConfigError, match="teaches the video encoder: --freeze video=none"):
        method(encoders)


def test_clips_alone_are_a_plain_autoencoder(batch):
    found = method({"video": towers()["video"]}, branches="video", intra_video=0.0)
    assert set(terms_of(found, batch)) == {"total", "reconstruction_video"}
    assert list(found.needs) == ["video"]
    assert not found.projectors


def test_pictures_alone_make_an_image_branch(batch):
    found = method({"image": towers()["image"]}, branches="image")
    pictures = {"image_views": [view[:, 0] for view in batch["video_views"]]}
    assert set(terms_of(found, pictures)) == {"total", "reconstruction_image", "intra_frame"}
    assert found.embeds == found.reads(found.config) == ("image",)
    assert found.fill_in({"image": pictures["image_views"][0]}).made.shape == (6, 1, 3, 16, 16)


def test_slots_can_be_drawn_to_their_frames(batch):
    found = method(distillation=1.0).eval()
    terms = terms_of(found, batch)
    assert terms["distillation"] > 0
    with pytest.raises(ConfigError, match="encoders of one width"):
        method(towers(width=8), distillation=1.0)


def test_some_frames_can_be_filled_in(batch):
    found = method(predict_frames=4).eval()
    assert found.decoder.head.out_features == 3 * 4 * 4
    made = found.fill_in({"video": batch["video_views"][0]})
    assert made.made.shape == (6, 4, 3, 16, 16)
    with pytest.raises(ConfigError, match="predict_frames = 3: expected a multiple of 4, 8 at most"):
        method(predict_frames=3)


def test_tubes_hide_the_same_places_at_all_times(batch):
    shown = method(masking="tube")._show("video", batch["video_views"][0], torch.Generator())
    slots = shown.hidden.view(6, 4, 16)
    assert torch.equal(slots, slots[:, :1].expand_as(slots))


def test_frames_are_given_as_the_image_encoder_wants_them(batch):
    found = method(towers(size=8))
    stills = found._pictures(batch)["image"][0]
    assert stills.shape == (12, 3, 8, 8)
    other = method({"video": towers()["video"], "image": towers()["image"]})
    other.encoders["image"].input = replace(other.encoders["image"].input, mean=(0.5,) * 3, std=(0.5,) * 3)
    mean, std = (torch.tensor(one)[:, None, None] for one in (IMAGENET_MEAN, IMAGENET_STD))
    grey = other._pictures(batch)["image"][0].view(6, 2, 3, 16, 16)[:, 1]
    torch.testing.assert_close(grey / 2 + 0.5, batch["video_views"][0][:, 4] * std + mean, atol=1e-5, rtol=1e-5)
    clip = batch["video_views"][0][:, 0]
    expected = F.interpolate(clip, (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(stills.view(6, 2, 3, 8, 8)[:, 0], expected)


def test_a_short_clip_is_stretched_before_anything_is_hidden(batch):
    found = method().eval()
    mask = batch["video_mask"].clone()
    mask[0, 3:] = False
    long = [stretched(view, mask, 8) for view in batch["video_views"]]
    short = terms_of(found, {"video_views": batch["video_views"], "video_mask": mask})
    torch.testing.assert_close(short["total"], terms_of(found, {"video_views": long})["total"])


def test_what_is_filled_in_has_the_brightness_of_its_patch(batch):
    found = method().eval()
    filled = found.fill_in({"video": batch["video_views"][0]}, seed=5)
    assert filled.hidden.float().mean() == 0.75
    shown = ~filled.hidden[:, :, None].expand_as(filled.seen)
    torch.testing.assert_close(filled.made[shown], filled.seen[shown])


def test_a_finished_model_keeps_the_decoder_of_clips_and_no_projector(batch, tmp_path):
    found = method().eval()
    save_model(tmp_path, found, {"method": {}})
    loaded = load_model(tmp_path).method.eval()
    clips = {"video": batch["video_views"][0]}
    assert torch.equal(loaded.embed(clips)["video"], found.embed(clips)["video"])
    assert torch.equal(loaded.fill_in(clips).made, found.fill_in(clips).made)
    names = {name.split(".")[0] for name in load_file(tmp_path / "model.safetensors")}
    assert names == {"encoders", "decoder"}


def test_two_processes_are_one_with_empty_slots_and_all_that_is_off_by_default():
    whole, ranks = share_of(None), run_two_processes(share_of)
    assert whole["distillation"] > 0
    for name, value in whole.items():
        mean = (ranks[0][name] + ranks[1][name]) / 2
        torch.testing.assert_close(mean, value, atol=3e-5, rtol=1e-3, msg=name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("mae")
    random = np.random.default_rng(0)
    for row in range(16):
        (place / "clips" / f"clip {row}").mkdir(parents=True)
        for frame in range(8):
            pixels = np.zeros((16, 16, 3), dtype=np.uint8)
            pixels[row // 2 : row // 2 + 6, frame : frame + 6] = random.integers(100, 255, 3)
            Image.fromarray(pixels).save(place / "clips" / f"clip {row}" / f"{frame}.png")
    lines = [f"clip {row},{'ab'[row % 2]}" for row in range(16)]
    (place / "clips" / "metadata.csv").write_text("\n".join(["video,label", *lines]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda *_, **__: place / "cache")
        config = {
            "data": {"source": str(place / "clips"), "columns": {"video": "video", "label": "label"}},
            "method": {"name": "cross_video_mae", **SETTINGS, "standardise": False},
            "encoders": {"video": {"options": {**SMALL, "frames": 8}}, "image": {"options": SMALL}},
            "training": {"epochs": 2, "batch_size": 6, "accelerator": "cpu"},
            "evaluate": ["linear_probe"],
        }
        pipeline.train(config=config, out=place / "run", progress=False)
        yield place


def test_a_trained_run_explains_a_clip_by_filling_it_in(trained, tmp_path):
    found = pipeline.explain(trained / "run", trained / "clips" / "clip 3", out=tmp_path / "filled.png")
    assert found.hidden.shape == (8, 16, 16)
    assert "75% hidden" in found.summary
    assert len(found.rows()) == 8
    with Image.open(tmp_path / "filled.png") as picture:
        assert picture.width > picture.height


def test_the_encoder_of_a_run_starts_another_with_its_sizes(trained):
    tower = build_encoder("video", "video_mae", weights=trained / "run")
    assert tower.spec()["width"] == 16
    assert tower.pretrained
    model = load_model(trained / "run")
    corpus = corpus_from_items("video", [trained / "clips" / "clip 1"])
    clip = next(iter(model.loader(corpus, ("video",))))["video"]
    torch.testing.assert_close(tower.eval()(clip).pooled, model.method.encoders["video"](clip).pooled)
    image = {"name": "image_mae", **SMALL}
    assert build_encoder("image", image, weights=trained / "run" / "model.safetensors").pretrained


def test_copies_of_a_row_are_not_pushed_apart(batch):
    found = method(repeats=2).eval()
    assert found.sampling == Repeated(2)
    index = torch.tensor([4, 4, 1, 1, 0, 0])
    terms, apart = (terms_of(found, batch | {"index": one}) for one in (index, torch.arange(6)))
    for name in TERMS:
        same = torch.equal(terms[name], apart[name])
        assert same == name.startswith("reconstruction"), name
        assert same or terms[name] < apart[name]
    torch.testing.assert_close(apart["total"], terms_of(method().eval(), batch)["total"])


def test_a_row_stands_in_a_batch_once_unless_it_is_asked_for(batch):
    assert method().sampling is None


def test_copies_are_of_as_many_rows_as_an_epoch_is_to_have():
    corpus = corpus_from_items("text", ["one", "two", "three"])
    found = sampling_of(method(repeats=3), corpus, TrainingConfig.parse({"epoch_rows": 2}))
    assert found == Repeated(3, of=Passes(2))
    assert sampling_of(method(repeats=3), corpus, TrainingConfig()) == Repeated(3)


def test_a_training_on_copies_that_was_killed_goes_on_to_the_same_bits(tmp_path):
    random = np.random.default_rng(0)
    corpus = corpus_from_items(
        "video", [animation(random.integers(0, 256, (10, 16, 16, 3), np.uint8)) for _ in range(6)]
    )
    config = TrainingConfig.parse({"epochs": 2, "batch_size": 4, "checkpoint_every": 1, "accelerator": "cpu"})

    def built():
        found = method(repeats=2)
        found.losses, loss = [], found.loss
        found.loss = lambda batch, step: found.losses.append(batch["index"].tolist()) or loss(batch, step)
        return found

    whole, killed, resumed = built(), built(), built()
    fit(whole, corpus, config, tmp_path / "whole", progress=False)
    assert len(whole.losses) == 2 * 3  # an epoch has two copies of each row
    assert all(rows[::2] == rows[1::2] for rows in whole.losses)
    with pytest.raises(Killed), killed_at(killed, 4):
        fit(killed, corpus, config, tmp_path / "killed", progress=False)
    fit(resumed, corpus, config, tmp_path / "killed", resume=True, progress=False)
    assert same(state_of(whole), state_of(resumed)) == []


def animation(frames):
    first, *others = (Image.fromarray(frame) for frame in frames)
    stream = io.BytesIO()
    first.save(stream, "WEBP", save_all=True, append_images=others, lossless=True)
    return stream.getvalue()
