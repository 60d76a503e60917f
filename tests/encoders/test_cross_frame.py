"""The cross-frame tower, and what merges its frames."""

import json
import shutil

import pytest
import torch
import torch.nn.functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection
from transformers.models.x_clip import XCLIPVisionConfig, XCLIPVisionModel

import tiny_bundles
from accord.encoders import build_encoder
from accord.encoders.bundles import load_bundle
from accord.encoders.cross_frame import (
    CrossFrameAttentionBlock,
    CrossFrameVisionTransformer,
    MultiframeIntegration,
)
from accord.errors import ConfigError, ShapeError, WeightsError
from tiny_bundles import save_clip, save_siglip

SMALL = {"name": "cross_frame", "size": 16, "patch": 8, "width": 32, "depth": 2, "heads": 2, "frames": 4}
CLIP = {
    "image_size": 16,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "projection_dim": 24,
}


def encoder(**options):
    torch.manual_seed(0)
    return build_encoder("video", SMALL | options, weights=False).eval()


def clips(frames=4, rows=3):
    return torch.randn(rows, frames, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def random_positions(found):
    """Positions large enough to be noticed."""
    torch.nn.init.normal_(found.mit.positional_embedding)
    return found


def test_a_block_gives_the_golden_values_and_gradient(golden):
    given = golden("xclip")
    block = CrossFrameAttentionBlock(16, heads=2)
    block.load_state_dict({name[4:]: value for name, value in given.items() if name.startswith("cct.")})
    x = given["cct_x"].requires_grad_()
    y = block(x)
    y.square().sum().backward()
    torch.testing.assert_close(y, given["cct_y"].float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x.grad, given["cct_grad_x"].float(), rtol=1e-5, atol=1e-4)
    x = given["cct_x"].double().detach().requires_grad_()
    block.double()(x).square().sum().backward()
    torch.testing.assert_close(x.grad, given["cct_grad_x"], rtol=1e-10, atol=1e-10)


def test_messages_and_the_mean_do_not_know_the_order_of_frames_and_mit_does():
    order = torch.tensor([2, 0, 3, 1])
    x = clips()
    for options, same in (({"temporal": "mean"}, True), ({"temporal": "mit"}, False)):
        model = encoder(**options)
        if not same:
            random_positions(model)
        change = (model(x).pooled - model(x[:, order]).pooled).abs().max()
        assert (change < 1e-6) == same


def test_without_messages_a_frame_does_not_know_the_others_and_with_them_it_does():
    x, other = clips(), clips()
    other[:, 3] += 1
    for message in (True, False):
        model = encoder(temporal="mean", message=message)
        change = (model.visual(x)[0] - model.visual(other)[0]).abs().amax(dim=(0, 2))
        assert change[3] > 1e-3
        assert (change[:3] > 1e-5).all() == message


def test_padding_frames_change_nothing_whatever_they_hold():
    model = random_positions(encoder())
    x = clips(frames=4)
    mask = torch.tensor([[True] * 4, [True, True, True, False], [True, False, False, False]])
    x[~mask] = 100.0
    together = model(x, mask)
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        alone = model(x[row : row + 1, :length])
        torch.testing.assert_close(together.pooled[row], alone.pooled[0], rtol=1e-5, atol=1e-5)


def test_a_clip_without_any_real_frame_is_zero_and_stays_finite_in_training():
    model = encoder().train()
    mask = torch.tensor([[True] * 4, [True] * 4, [False] * 4])
    pooled = model(clips(), mask).pooled
    assert (pooled[2] == 0).all()
    pooled.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("frames", [3, 4, 9])
def test_positions_of_another_number_of_frames_are_interpolated(frames):
    mit = MultiframeIntegration(16, frames=4, heads=2)
    torch.nn.init.normal_(mit.positional_embedding)
    x = torch.randn(2, frames, 16)
    wanted = F.interpolate(mit.positional_embedding.T[None], size=frames, mode="linear").mT
    torch.testing.assert_close(mit._positions(x, None), wanted)
    for block in mit.resblocks:
        x_with = block(x + wanted)
    torch.testing.assert_close(mit(x), (x + x_with).mean(dim=1))


@pytest.mark.parametrize("message", [True, False])
@pytest.mark.parametrize("temporal", ["mean", "mit"])
def test_every_parameter_gets_a_gradient(message, temporal):
    model = encoder(message=message, temporal=temporal, dim=24).train()
    model(clips()).pooled.square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_frames_and_patches_have_their_shapes():
    model = encoder(dim=24)
    frames, patches = model.visual(clips())
    assert frames.shape == (3, 4, 24)
    assert patches.shape == (3, 4, 4, 32)
    assert model(clips()).pooled.shape == (3, 24)


@pytest.mark.parametrize("projected", [True, False])
def test_without_messages_it_is_the_vision_tower_of_clip(projected):
    torch.manual_seed(0)
    theirs = (CLIPVisionModelWithProjection if projected else CLIPVisionModel)(CLIPVisionConfig(**CLIP)).eval()
    ours = CrossFrameVisionTransformer.from_clip(theirs, message=False).eval()
    x = clips()
    frames, patches = ours(x)
    given = theirs(x.flatten(0, 1))
    vectors = given.image_embeds if projected else given.pooler_output
    torch.testing.assert_close(frames.flatten(0, 1), vectors, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(patches.flatten(0, 1), given.last_hidden_state[:, 1:], rtol=1e-4, atol=1e-5)


def test_it_is_the_vision_tower_of_the_x_clip_in_transformers():
    torch.manual_seed(0)
    theirs = XCLIPVisionModel(XCLIPVisionConfig(**CLIP, num_frames=4)).eval()
    ours = CrossFrameVisionTransformer.from_clip(theirs).eval()
    given = theirs(clips().flatten(0, 1))
    torch.testing.assert_close(ours(clips())[0].flatten(0, 1), given.pooler_output, rtol=1e-4, atol=1e-5)


def test_a_model_that_is_no_such_tower_is_refused():
    with pytest.raises(WeightsError, match="hidden_act = gelu: expected quick_gelu"):
        CrossFrameVisionTransformer.from_clip(CLIPVisionModel(CLIPVisionConfig(**CLIP, hidden_act="gelu")))
    narrow = CLIPVisionModel(CLIPVisionConfig(**CLIP | {"intermediate_size": 64}))
    with pytest.raises(WeightsError, match="expected"):
        CrossFrameVisionTransformer.from_clip(narrow)


def test_wrong_sizes_and_frames_are_named():
    with pytest.raises(ConfigError, match="patch = 7 must divide size = 16"):
        encoder(patch=7)
    with pytest.raises(ConfigError, match="heads = 5"):
        encoder(heads=5)
    with pytest.raises(ShapeError, match=r"expected \(B, T, 3, 16, 16\)"):
        encoder()(torch.zeros(2, 4, 3, 24, 24))


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """A tiny CLIP in a folder, with MLPs four times as wide as its tokens, as real ones have."""
    monkeypatch.setitem(tiny_bundles.TOWER, "intermediate_size", 128)
    return f"clip:{save_clip(tmp_path / 'clip')}"


def test_it_starts_from_the_image_tower_and_projection_of_a_clip(clip):
    model = build_encoder("video", {"name": f"cross_frame:{clip}", "message": False, "temporal": "mean", "frames": 4})
    bundle = load_bundle(clip)
    x = torch.randn(2, 4, 3, 32, 32)
    vectors = bundle.encoders["image"](x.flatten(0, 1)).pooled @ bundle.projections["image"].T
    torch.testing.assert_close(model.eval()(x).pooled, vectors.view(2, 4, -1).mean(dim=1), rtol=1e-4, atol=1e-5)
    assert model.input.image == bundle.encoders["image"].input
    assert model.pretrained


def test_what_is_new_in_it_is_trained_whatever_is_frozen_and_it_is_rebuilt_without_the_folder(clip):
    model = build_encoder("video", f"cross_frame:{clip}", freeze="all")
    trained = {name.split(".")[-2] for name, one in model.named_parameters() if one.requires_grad and "visual" in name}
    assert trained == {"message_fc", "message_ln", "message_attn", "out_proj"}
    assert all(one.requires_grad for one in model.mit.parameters())
    shutil.rmtree(clip.removeprefix("clip:"))
    again = build_encoder("video", json.loads(json.dumps(model.spec())), weights=False)
    again.load_state_dict(model.state_dict())
    x = torch.randn(1, 4, 3, 32, 32)
    torch.testing.assert_close(again.eval()(x).pooled, model.eval()(x).pooled)
    assert again.input == model.input


def test_sizes_and_weights_beside_those_of_the_clip_are_refused(clip, tmp_path):
    with pytest.raises(ConfigError, match=r"leave out encoders.video.options.width"):
        build_encoder("video", {"name": f"cross_frame:{clip}", "width": 64})
    with pytest.raises(ConfigError, match=r"leave out --weights video="):
        build_encoder("video", f"cross_frame:{clip}", weights=False)
    with pytest.raises(ConfigError, match=r"expected the folder of a CLIP that transformers saved"):
        build_encoder("video", f"cross_frame:siglip:{save_siglip(tmp_path / 'siglip')}")
