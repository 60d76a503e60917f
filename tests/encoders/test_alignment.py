"""ILA's tower: what neighbouring frames have in common is given back to them."""

import shutil

import pytest
import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

import tiny_bundles
from accord.encoders import build_encoder
from accord.encoders.alignment import ILABlock, ILAVisionTransformer
from accord.encoders.bundles import load_bundle
from accord.encoders.clip_video import MultiframeIntegration
from accord.encoders.cross_frame import CrossFrameVisionTransformer
from accord.encoders.implicit_alignment import ImplicitAlignment, PointHead
from accord.errors import ConfigError
from accord.functional import pair_cosine_loss

SMALL = {"name": "alignment", "size": 16, "patch": 4, "width": 32, "depth": 2, "heads": 2, "frames": 4, "hidden": 16}
CLIP = {
    "image_size": 16,
    "patch_size": 4,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "projection_dim": 24,
}


def encoder(**options):
    torch.manual_seed(0)
    return build_encoder("video", SMALL | options, weights=False).eval()


def clips(frames=4, rows=3, size=16):
    return torch.randn(rows, frames, 3, size, size, generator=torch.Generator().manual_seed(1))


def awake(model):
    """With the parts that start at zero somewhere else."""
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if "temporal_skip" in name or "coordinates.2" in name:
            nn.init.normal_(parameter, std=0.3)
    return model


class Given(nn.Module):
    """Answers what it was given."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer


def as_released(alignment, given):
    """With the net's map and the points of the released code's run, and without the convolution over time."""
    precision = given["ila_frames"].dtype
    alignment.to(precision)
    alignment.interact = Given(given["ila_interactive"])
    alignment.points = Given(given["ila_points_tanh"].mT.flatten(0, 1))
    alignment.temporal = nn.Identity()
    alignment.spread.load_state_dict({"weight": given["ila_fc_w"], "bias": given["ila_fc_b"]})


@pytest.fixture
def given(golden):
    return {name: value.double() for name, value in golden("ila").items()}


def test_the_alignment_is_that_of_the_released_code(given):
    alignment = ImplicitAlignment(12, grid=4).eval()
    as_released(alignment, given)
    frames = given["ila_frames"].requires_grad_()
    found = alignment(frames)
    torch.testing.assert_close(torch.cat(found.pair, dim=-1)[None], given["ila_eval_pair"])
    torch.testing.assert_close(found.aligned, given["ila_eval_aligned"])
    torch.testing.assert_close(found.interactive.permute(2, 0, 1, 3)[1:], given["ila_eval_interactive_out"][1:])
    (sum(part.square().sum() for part in found.pair) + found.aligned.square().sum()).backward()
    torch.testing.assert_close(frames.grad, given["ila_eval_grad_frames"])


def test_a_block_gives_the_values_and_gradient_of_the_released_code(given):
    block = ILABlock(12, heads=2, grid=4).double().eval()
    as_released(block.message_alignment, given)
    weights = {name[4:]: value for name, value in given.items() if name.startswith("blk.")}
    missing, unknown = block.load_state_dict(weights, strict=False)
    assert unknown == []
    assert all(name.startswith("message_alignment.") for name in missing)
    x = given["blk_x"].requires_grad_()
    y, pair = block(x)
    away = pair_cosine_loss(*pair)
    (y.square().sum() + away).backward()
    torch.testing.assert_close(y, given["blk_y"])
    torch.testing.assert_close(away, given["blk_cos"])
    torch.testing.assert_close(x.grad, given["blk_grad_x"], rtol=1e-9, atol=1e-9)


def test_at_the_start_it_is_clip_on_each_frame():
    torch.manual_seed(0)
    theirs = CLIPVisionModelWithProjection(CLIPVisionConfig(**CLIP)).eval()
    x = clips()
    wanted = theirs(x.flatten(0, 1)).image_embeds.view(3, 4, 24)
    for training in (False, True):
        ours = ILAVisionTransformer.from_clip(theirs, hidden=16).train(training)
        torch.testing.assert_close(ours(x)[0], wanted, rtol=1e-4, atol=1e-5)
        assert (awake(ours)(x)[0] - wanted).abs().max() > 1e-2


def test_it_starts_from_a_folder_of_clip_and_trains_what_is_new_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(tiny_bundles.TOWER, "intermediate_size", 128)
    clip = f"clip:{tiny_bundles.save_clip(tmp_path / 'clip')}"
    model = build_encoder("video", f"alignment:{clip}", freeze="auto")
    bundle = load_bundle(clip)
    x = clips(rows=2, size=32)
    vectors = bundle.encoders["image"](x.flatten(0, 1)).pooled @ bundle.projections["image"].T
    torch.testing.assert_close(model.visual(x)[0].flatten(0, 1), vectors, rtol=1e-4, atol=1e-5)
    trained = {name.split(".")[3] for name, one in model.visual.named_parameters("visual") if one.requires_grad}
    assert trained == {*("message_fc", "message_ln", "message_alignment", "temporal_skip_fc", "temporal_skip_align_fc")}
    assert all(one.requires_grad for one in model.mit.parameters())
    model.train()
    block = model.visual.resblocks[0]
    assert block.message_alignment.interact.training
    assert not block.attn.training
    shutil.rmtree(tmp_path / "clip")
    again = build_encoder("video", model.spec(), weights=False)
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again.eval()(x).pooled, model.eval()(x).pooled)


def test_pairs_know_the_order_of_frames_and_messages_do_not():
    order, x = torch.tensor([2, 0, 3, 1]), clips()
    messages = CrossFrameVisionTransformer(16, 4, 32, 2, 2).eval()
    aligned = awake(encoder(temporal="mean")).visual
    for tower, same in ((messages, True), (aligned, False)):
        change = (tower(x)[0].mean(dim=1) - tower(x[:, order])[0].mean(dim=1)).abs().max()
        assert (change < 1e-6) == same
    backwards = (aligned(x)[0].mean(dim=1) - aligned(x.flip(1))[0].mean(dim=1)).abs().max()
    assert backwards > 1e-4


def test_a_frame_knows_its_neighbours():
    tower = awake(encoder(depth=1, temporal="mean")).visual
    x, other = clips(), clips()
    other[:, 3] += 1
    change = (tower(x)[0] - tower(other)[0]).abs().amax(dim=(0, 2))
    assert (
        change[0] < 1e-6
    )  # the convolution over time reaches from frame 2 to frame 1, whose pairs see frame 3 through 2
    assert (change[1:] > 1e-5).all()


@pytest.mark.parametrize("fusion", ["add", "concat"])
@pytest.mark.parametrize("kind", ["separable", "dense"])
def test_padding_frames_change_nothing_whatever_they_hold(fusion, kind):
    model = awake(encoder(fusion=fusion, kind=kind))
    x = clips()
    mask = torch.tensor([[True] * 4, [True, True, True, False], [True, False, False, False]])
    x[~mask] = 100.0
    together = model(x, mask)
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        alone = model(x[row : row + 1, :length])
        torch.testing.assert_close(together.pooled[row], alone.pooled[0], rtol=1e-4, atol=1e-5)
        away = together.stream("alignment")
        torch.testing.assert_close(away.values[row, : length - 1], alone.stream("alignment").values[0])
        assert away.mask[row].sum() == length - 1


def test_padding_moves_no_batch_statistics():
    x = clips()
    mask = torch.tensor([[True] * 4, [True, True, True, False], [True, True, False, False]])
    x[~mask] = 100.0
    other = x.clone()
    other[~mask] = -7.0
    states = []
    for given in (x, other):
        model = encoder().train()
        model(given, mask)
        states.append({name: value for name, value in model.named_buffers() if "running" in name})
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("fusion", ["add", "concat"])
@pytest.mark.parametrize("temporal", ["mean", "mit"])
def test_every_parameter_gets_a_gradient(fusion, temporal):
    model = awake(encoder(fusion=fusion, temporal=temporal, dim=24)).train()
    features = model(clips())
    (features.pooled.square().sum() + features.stream("alignment").values.sum()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_a_clip_of_one_frame_is_looked_at_alone():
    model = encoder().train()
    features = model(clips(frames=1))
    assert features.pooled.isfinite().all()
    assert features.stream("alignment").values.shape == (3, 0, 2)
    assert all(value.isfinite().all() for value in model.buffers())


def test_training_looks_around_a_point_and_evaluation_at_it():
    alignment = ImplicitAlignment(16, grid=4, hidden=16)
    tokens = torch.randn(2, 3, 17, 16)
    points = torch.full((2, 2, 2, 2), 0.2)
    trained, looked = alignment.train()._windows(points), alignment.eval()._windows(points)
    assert (trained - looked).abs().max() > 0.01
    alignment.delta.zero_()
    torch.testing.assert_close(alignment.train()._windows(points), looked)
    assert alignment.eval()(tokens).points.abs().max() == 0  # the centre, at first


def test_points_of_the_two_frames_come_from_channels_of_their_own():
    head = awake(nn.ModuleDict({"coordinates": PointHead(16).coordinates}))["coordinates"]
    maps = torch.randn(5, 8, 1)
    other = maps.clone()
    other[:, :4] += 1
    change = (head(maps) - head(other)).abs().amax(dim=(0, 2))
    assert (change[:2] > 1e-4).all()
    assert (change[2:] == 0).all()


def test_how_far_it_looks_around_is_kept_with_the_weights():
    model = encoder()
    model.look_around(0.05)
    again = encoder()
    again.load_state_dict(model.state_dict())
    assert [float(one.delta) for one in again.modules() if isinstance(one, ImplicitAlignment)] == pytest.approx(
        [0.05] * 2
    )


def test_frames_of_few_patches_are_refused():
    with pytest.raises(ConfigError, match=r"2 x 2 patches of a frame are too few to point at: expected at least 4 x 4"):
        encoder(patch=8)


def test_the_frames_are_merged_by_the_transformer_of_x_clip():
    assert isinstance(encoder().mit, MultiframeIntegration)
    assert encoder(temporal="mean").mit is None
