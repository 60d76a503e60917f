"""The stream of layers: one vector for every repeated block, of those who ask for it."""

import pytest
import torch

from accord.encoders import build_encoder
from accord.errors import ConfigError, ShapeError
from encoders.cases import CASES, TINY_VIT, alone

LAYERED = [name for name, case in CASES.items() if "layers" in case.build().gives]


def test_transformers_of_every_modality_have_layers():
    assert set(LAYERED) == {
        *("tiny_vit", "hf_mean", "hf_cls", "hf_pooler", "tiny_text_end", "tiny_text_class", "tiny_text_mean"),
        *("image_mae", "video_mae", "videomae"),
        *("frames_mean", "frames_transformer", "tiny_audio", "whisper", "tiny_sequence"),
    }


@pytest.mark.parametrize("name", LAYERED)
def test_layers_come_when_they_are_asked_for_and_change_nothing_else(name):
    encoder, (x, mask) = CASES[name].build().eval(), CASES[name].inputs()
    plain, asked = encoder(x, mask), encoder(x, mask, layers=True)
    assert set(asked.streams) - set(plain.streams) == {"layers"}
    assert asked.stream("layers").values.shape == (3, 2, encoder.dim)
    torch.testing.assert_close(asked.pooled, plain.pooled)
    assert asked.main == plain.main


@pytest.mark.parametrize("name", LAYERED)
def test_padding_and_neighbours_do_not_reach_the_layers(name):
    encoder, (x, mask) = CASES[name].build().eval(), CASES[name].inputs()
    together = encoder(x, mask, layers=True).stream("layers").values
    for row in range(3):
        single = encoder(*alone(CASES[name], x, mask, row), layers=True).stream("layers").values
        torch.testing.assert_close(together[row], single[0], atol=1e-5, rtol=1e-5)


def test_layers_of_transformers_are_the_means_of_its_hidden_states():
    encoder, (ids, mask) = CASES["hf_mean"].build().eval(), CASES["hf_mean"].inputs()
    hidden = encoder.model(ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states[1:]
    weight = mask[..., None] / mask.sum(dim=1)[:, None, None]
    expected = torch.stack([(states * weight).sum(dim=1) for states in hidden], dim=1)
    torch.testing.assert_close(encoder(ids, mask, layers=True).stream("layers").values, expected)


def test_layers_of_a_picture_are_its_class_tokens():
    encoder, (x, _) = CASES["tiny_vit"].build().eval(), CASES["tiny_vit"].inputs()
    last = encoder(x, layers=True).stream("layers").values[:, -1]
    torch.testing.assert_close(encoder.model.norm(last), encoder(x).pooled)


def test_layers_of_a_clip_are_the_means_over_its_frames():
    encoder, (x, mask) = CASES["frames_mean"].build().eval(), CASES["frames_mean"].inputs()
    layers = encoder(x, mask, layers=True).stream("layers").values
    first = encoder.image(x[0, :2], layers=True).stream("layers").values.mean(dim=0)
    torch.testing.assert_close(layers[0], first)


def test_large_inputs_have_all_their_layers():
    encoder = build_encoder("image", TINY_VIT | {"size": 224, "patch": 112}, freeze="all").eval()
    assert encoder(torch.randn(18, 3, 224, 224), layers=True).stream("layers").values.shape == (18, 2, 16)


def test_an_encoder_without_equal_layers_says_so():
    with pytest.raises(ConfigError, match="image encoder tiny_resnet has no layers of one width"):
        build_encoder("image", {"name": "tiny_resnet", "width": 16})(torch.rand(1, 3, 32, 32), layers=True)


def test_layers_that_were_not_asked_for_are_missed_with_a_hint():
    encoder, (x, _) = CASES["tiny_vit"].build(), CASES["tiny_vit"].inputs()
    with pytest.raises(ShapeError, match=r"no stream 'layers'; there are: patches, prenorm, map8; .* with layers=True"):
        encoder(x).stream("layers")
