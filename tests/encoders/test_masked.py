"""Encoders that are shown some tokens alone."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from accord.encoders import build_encoder
from accord.encoders.heads.masked import MaskedDecoder
from accord.encoders.masked import stretched
from accord.errors import ConfigError, WeightsError
from accord.functional import random_masking
from encoders.cases import lengths_to_mask

SMALL = {"size": 16, "patch": 8, "width": 16, "depth": 2, "heads": 2}
VIDEO = {"name": "video_mae", **SMALL, "frames": 4}


def encoder(modality="video", **options):
    torch.manual_seed(0)
    return build_encoder(modality, {"name": f"{modality}_mae", **SMALL, **options}, weights=False).eval()


def test_shown_all_tokens_in_any_order_it_gives_the_same_vector():
    tower, clips = encoder(frames=4), torch.randn(2, 4, 3, 16, 16)
    patches, order = tower.patches(clips), torch.randperm(8).expand(2, 8)
    visible = patches.gather(1, order[..., None].expand_as(patches))
    features = tower(visible, keep=order)
    torch.testing.assert_close(features.pooled, tower(clips).pooled, atol=1e-5, rtol=1e-5)
    assert features.main == "visible"


def test_what_is_hidden_does_not_enter():
    tower, clips = encoder(frames=4), torch.randn(2, 4, 3, 16, 16)
    patches, noise = tower.patches(clips), torch.rand(2, 8)
    visible, hidden, _, keep = random_masking(patches, 0.5, noise)
    other = torch.where(hidden[..., None] > 0, torch.nan, patches)
    again = random_masking(other, 0.5, noise)[0]
    assert torch.equal(tower(visible, keep=keep).pooled, tower(again, keep=keep).pooled)


def test_time_and_place_have_positions_of_their_own():
    tower = encoder(frames=4)
    grid = tower.stem.positions().view(2, 4, 16)
    torch.testing.assert_close(grid[1] - grid[0], (grid[1, 0] - grid[0, 0]).expand(4, 16))


def test_frames_are_means_of_the_patches_of_their_slot():
    features = encoder(frames=4)(torch.randn(2, 4, 3, 16, 16))
    patches = features.stream("patches")
    assert patches.grid == (2, 2, 2)
    torch.testing.assert_close(features.tokens, patches.values.view(2, 2, 4, 16).mean(dim=2))
    torch.testing.assert_close(features.pooled, patches.values.mean(dim=1))


def test_a_short_clip_is_stretched_with_its_times():
    tower, clips = encoder(frames=4), torch.randn(2, 4, 3, 16, 16)
    mask = lengths_to_mask([2, 4])
    times = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    features = tower(clips, mask, times=times)
    torch.testing.assert_close(features.pooled[0], tower(clips[:1, [0, 0, 1, 1]]).pooled[0])
    assert features.stream("frames").times.tolist() == [[0.0, 1.0], [0.0, 2.0]]
    assert features.stream("patches").times[1].tolist() == [0.0] * 4 + [2.0] * 4


def test_longer_clips_are_thinned_and_empty_ones_do_not_fail():
    assert stretched(torch.arange(6)[None], None, 3).tolist() == [[0, 2, 4]]
    assert stretched(torch.arange(4)[None], torch.zeros(1, 4, dtype=torch.bool), 2).tolist() == [[0, 0]]


@pytest.mark.parametrize("sizes", [{"patch": 5}, {"heads": 3}])
def test_sizes_that_do_not_divide_are_named(sizes):
    with pytest.raises(ConfigError, match="must divide"):
        encoder(**sizes)


def test_published_weights_of_a_picture_autoencoder_fit(tmp_path):
    theirs = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=0
    ).eval()
    save_file(theirs.state_dict(), tmp_path / "mae.safetensors")
    spec = {"name": "image_mae", **SMALL, "class_token": True}
    ours = build_encoder("image", spec, weights=tmp_path / "mae.safetensors").eval()
    pictures = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(ours(pictures).tokens, theirs.forward_features(pictures)[:, 1:], atol=1e-5, rtol=1e-5)
    assert ours.pretrained
    with pytest.raises(WeightsError, match="class_token"):
        build_encoder("image", {"name": "image_mae", **SMALL}, weights=tmp_path / "mae.safetensors")


def test_a_decoder_puts_tokens_where_they_were_seen():
    torch.manual_seed(0)
    decoder = MaskedDecoder(4, values=2, grid=(1, 2, 2), dim=8, depth=0, heads=2)
    tokens = torch.randn(1, 4, 4)
    visible, hidden, restore, keep = random_masking(tokens, 0.5, torch.tensor([[0.9, 0.1, 0.2, 0.8]]))
    made = decoder(visible, restore)
    whole = decoder(tokens, torch.arange(4)[None])
    torch.testing.assert_close(made[0, keep[0]], whole[0, keep[0]])
    assert not torch.isclose(made[0, hidden[0] > 0], whole[0, hidden[0] > 0]).any()


def test_the_heads_of_a_decoder_divide_its_width():
    with pytest.raises(ConfigError, match="decoder_heads = 3"):
        MaskedDecoder(4, values=2, grid=(1, 2, 2), dim=8, depth=1, heads=3)
