from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tiny_bundles
from accord.encoders import build_encoder
from accord.encoders.bundles import load_bundle
from accord.encoders.implicit_alignment import ImplicitAlignment
from accord.errors import ConfigError
from accord.methods import DataInfo, Step, get_method
from accord.methods.abilities import Classifies, Embeds, Rescores
from accord.training.optimiser import parameter_groups

NAMES = ("moves left", "moves right", "grows")
DATA = DataInfo(rows=8, classes=NAMES, definitions=NAMES)
SIZES = {"size": 16, "patch": 4, "width": 16, "depth": 2, "heads": 2, "frames": 4}
STILL = {"mixup": 0, "cutmix": 0}


def tower(name="alignment", **options):
    torch.manual_seed(0)
    return build_encoder("video", {"name": name, **SIZES, "hidden": 16, **options}, weights=False)


def texts():
    torch.manual_seed(1)
    return build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=NAMES)


def method(config=None, data=DATA, **options):
    encoders = {"video": tower(**options), "text": texts()}
    torch.manual_seed(2)
    return get_method("ila")(STILL | (config or {}), encoders, data)


def awake(ila):
    """With the parts that start at zero somewhere else."""
    torch.manual_seed(3)
    for name, parameter in ila.named_parameters():
        if "temporal_skip" in name or "coordinates.2" in name:
            nn.init.normal_(parameter, std=0.3)
    return ila


@pytest.fixture
def batch():
    mask = torch.ones(6, 4, dtype=torch.bool)
    mask[5, 2:] = False
    video = torch.randn(6, 4, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    return {"video": video, "video_mask": mask, "label": torch.tensor([0, 1, 2, 0, 1, 2])}


def test_at_the_start_it_answers_as_clip_on_each_frame_does(batch):
    ila = method().eval()
    plain = build_encoder("video", {"name": "cross_frame", **SIZES, "message": False}, weights=False)
    plain.load_state_dict({name: ila.encoders["video"].state_dict()[name] for name in plain.state_dict()})
    torch.manual_seed(2)
    xclip = get_method("xclip")(STILL, {"video": plain, "text": ila.encoders["text"]}, DATA).eval()
    xclip.load_state_dict({name: ila.state_dict()[name] for name in xclip.state_dict()})
    torch.testing.assert_close(ila.classify(batch), xclip.classify(batch))
    assert (awake(ila).classify(batch) - xclip.classify(batch)).abs().max() > 1e-2


def test_merged_by_their_mean_it_knows_the_order_of_frames_and_messages_do_not(batch):
    batch = batch | {"video_mask": torch.ones(6, 4, dtype=torch.bool)}
    ila = awake(method(temporal="mean")).eval()
    messages = build_encoder("video", {"name": "cross_frame", **SIZES, "temporal": "mean"}, weights=False)
    xclip = get_method("xclip")(STILL, {"video": messages, "text": texts()}, DATA).eval()
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        other = batch | {"video": batch["video"][:, order]}
        assert (ila.classify(other) - ila.classify(batch)).abs().max() > 1e-3
        torch.testing.assert_close(xclip.classify(other), xclip.classify(batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weight", [1.0, 0.25, 0.0])
def test_the_loss_is_cross_entropy_and_the_distances_of_windows_over_real_pairs_summed_over_blocks(batch, weight):
    ila = method({"alignment_weight": weight, "label_smoothing": 0.1})
    terms = ila.loss(batch, Step())
    clips = ila.encoders["video"](batch["video"], batch["video_mask"])
    fit = F.cross_entropy(ila.logits(clips), batch["label"], label_smoothing=0.1)
    stream = clips.stream("alignment")
    away = sum(stream.values[..., block][stream.mask].mean() for block in range(2))
    assert stream.mask.sum() == 5 * 3 + 1
    torch.testing.assert_close(terms["alignment"], away.detach())
    torch.testing.assert_close(terms["total"], fit + weight * away)


def test_classes_are_rows_of_a_matrix_on_the_normalised_vector(batch):
    torch.manual_seed(2)
    ila = get_method("ila")({"head": "linear", **STILL}, {"video": tower(temporal="mean")}, DATA).eval()
    assert set(ila.needs) == {"video"}
    vectors = F.normalize(ila.encoders["video"](batch["video"], batch["video_mask"]).pooled, dim=1)
    norm, dropout, matrix = ila.head
    assert dropout.p == 0.5
    torch.testing.assert_close(ila.classify(batch), matrix(norm(vectors)))
    torch.testing.assert_close(ila.embed(batch)["video"], vectors)
    ila.train().loss(batch, Step())["total"].backward()
    assert [name for name, parameter in ila.named_parameters() if parameter.grad is None] == []
    assert ila.after_step(Step()) is None


def test_with_a_matrix_there_are_no_names_to_compare_with():
    linear = get_method("ila")({"head": "linear"}, {"video": tower()}, DATA)
    assert Rescores.of(linear) is None
    assert Embeds.of(linear).embeds == ("video",)
    assert Classifies.of(linear) is linear
    assert Rescores.of(method()) is not None
    assert get_method("ila").reads(linear.config) == ("video",)


def test_evaluation_does_not_hang_on_what_else_is_in_a_batch_and_leaves_its_mode_alone(batch):
    ila = awake(method())
    ila.train().loss(batch, Step())["total"].backward()
    ila.eval()
    before = {name: value.clone() for name, value in ila.named_buffers()}
    together = ila.classify(batch)
    assert not any(part.training for part in ila.modules())
    again = torch.cat([ila.classify({name: value[row : row + 1] for name, value in batch.items()}) for row in range(6)])
    torch.testing.assert_close(together, again, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in ila.named_buffers())


def test_windows_look_less_far_around_in_late_epochs_and_a_stopped_training_knows_how_far():
    ila = method({"halving_epoch": 3})
    looked = {}
    for epoch in (0, 2, 3, 5):
        ila.before_epoch(Step(epoch=epoch), None)
        found = {float(part.delta) for part in ila.modules() if isinstance(part, ImplicitAlignment)}
        looked[epoch] = found.pop()
        assert found == set()
    assert looked == pytest.approx({0: 0.2, 2: 0.2, 3: 0.1, 5: 0.025})
    resumed = method({"halving_epoch": 3})
    resumed.load_state_dict(ila.state_dict())
    assert float(resumed.encoders["video"].visual.resblocks[1].message_alignment.delta) == pytest.approx(0.025)


def test_windows_that_show_the_same_in_all_clips_are_noticed(batch):
    ila = method()
    alike = {
        **batch,
        "video": batch["video"][:1].expand(6, -1, -1, -1, -1),
        "video_mask": batch["video_mask"][:1].expand(6, -1),
    }
    ila.eval()
    assert ila.loss(alike, Step())["window similarity"] == pytest.approx(1.0, abs=1e-5)
    clips = ila.encoders["video"](batch["video"], batch["video_mask"])
    shown = F.normalize(clips.stream("windows").values, dim=2)
    pairs = [(shown[a] * shown[b]).sum(dim=1) for a in range(6) for b in range(6) if a != b]
    assert ila.loss(batch, Step())["window similarity"] == pytest.approx(float(torch.stack(pairs).mean()), abs=1e-5)


@pytest.mark.parametrize("fusion", ["add", "concat"])
def test_every_parameter_gets_a_gradient(batch, fusion):
    ila = awake(method(fusion=fusion))
    ila.loss(batch, Step())["total"].backward()
    assert [name for name, parameter in ila.named_parameters() if parameter.grad is None] == []


@pytest.fixture
def from_clip(tmp_path, monkeypatch):
    monkeypatch.setitem(tiny_bundles.TOWER, "intermediate_size", 128)
    bundle = load_bundle(f"clip:{tiny_bundles.save_clip(tmp_path / 'clip')}")
    kind = get_method("ila")

    def made(freeze="auto", **config):
        settings = kind.Config.parse({**kind.settings_from(bundle), **config})
        wish = kind.encoders_from(settings, bundle.name)["video"]
        encoder = build_encoder("video", {**wish, "hidden": 16}, freeze=freeze)
        ila = kind(settings, {"video": encoder, "text": bundle.encoders["text"]}, DATA)
        ila.start_from(bundle)
        return ila

    return made


def test_groups_have_the_rates_and_decays_of_the_release_and_clip_stays_as_it_is(from_clip):
    ila = from_clip()
    trained = [(name, one) for name, one in ila.named_parameters() if one.requires_grad]
    assert not any(".attn." in name and "visual" in name for name, _ in trained)
    assert not any(name.startswith("encoders.text.") for name, _ in trained)
    groups = parameter_groups(trained, 1e-3, ila.group)
    decays = {group["name"]: group["weight_decay"] for group in groups if group["decays"]}
    assert decays == pytest.approx({"message": 1e-2, "temporal": 1e-3, "merging": 3e-3, "new": 1e-3})
    step = Step(index=10, total=100)
    rates = {name: 8e-6 * ila.lr_factor(name, step, warmup=10) for name in decays}
    assert rates == pytest.approx({"message": 5e-4, "temporal": 8e-5, "merging": 4e-4, "new": 8e-5})
    last = Step(index=99, total=100)
    assert ila.lr_factor("temporal", last, warmup=10) == pytest.approx(0.01, abs=0.005)
    names = {name: ila.group(name).name for name, _ in ila.named_parameters()}
    block = "encoders.video.visual.resblocks.0."
    assert names[f"{block}message_alignment.interact.0.weight"] == names[f"{block}message_fc.weight"] == "message"
    assert names[f"{block}temporal_skip_fc.weight"] == "temporal"
    assert names["encoders.video.mit.positional_embedding"] == "merging"
    assert names[f"{block}attn.in_proj_weight"] == ""


def test_clips_weights_are_trained_where_that_is_asked_for(from_clip):
    ila = from_clip(freeze="none")
    name = "encoders.video.visual.resblocks.0.attn.in_proj_weight"
    assert ila.get_parameter(name).requires_grad
    assert ila.group(name).name == ""
    assert ila.group(name).lr_scale == 1.0


def test_without_pretrained_weights_all_parameters_are_alike():
    ila = method()
    assert {ila.group(name) for name, _ in ila.named_parameters()} == {ila.group("prompt.alpha")}
    assert ila.group("prompt.alpha").name == ""


def test_clips_are_not_mirrored_and_some_are_blanked_out():
    (view,) = method().views
    assert (view.flip, view.erase, view.jitter_p, view.gray) == (0.0, 0.25, 0.8, 0.2)


def test_an_encoder_that_aligns_nothing_is_refused_and_one_that_does_is_named():
    frames = build_encoder("video", {"name": "cross_frame", **SIZES}, weights=False)
    with pytest.raises(ConfigError, match=r"method ila needs alignment, windows from the video encoder.*alignment"):
        get_method("ila")({}, {"video": frames, "text": texts()}, DATA)
