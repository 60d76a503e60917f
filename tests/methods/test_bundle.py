"""The method without training, and what other methods take over from a bundle."""

from __future__ import annotations

import pytest
import torch

from accord.encoders import build_encoder
from accord.encoders.bundles import Bundle
from accord.errors import ConfigError
from accord.methods import DataInfo, get_method

WORDS = ["a red heart", "a blue fish"]


def towers(width: int = 16):
    image = {"name": "tiny_vit", "size": 16, "patch": 8, "width": width, "depth": 1, "heads": 2}
    text = {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}
    return {"image": build_encoder("image", image), "text": build_encoder("text", text, texts=WORDS)}


def bundle(scale: float = 50.0, **changes) -> Bundle:
    matrices = {"image": torch.randn(4, 16), "text": torch.randn(4, 16)}
    return Bundle("clip:x", towers(), changes.pop("projections", matrices), 4, scale, **changes)


def space(of: Bundle, **settings):
    kind = get_method("bundle")
    method = kind({**kind.settings_from(of), **settings}, of.encoders, DataInfo())
    assert method.start_from(of) == tuple(f"{name} projection" for name in method.projections)
    return method.eval()


def test_it_is_the_space_of_the_bundle():
    of = bundle(logit_bias=-3.0, templates=("a {}",))
    method = space(of)
    picture = torch.randn(2, 3, 16, 16)
    expected = of.encoders["image"](picture).pooled @ of.projections["image"].T
    torch.testing.assert_close(method.embed({"image": picture})["image"], expected / expected.norm(dim=1)[:, None])
    assert (method.cosine_scale, method.cosine_bias, method.templates) == (50.0, -3.0, ("a {}",))
    assert method.stages == ()
    assert not any(parameter.requires_grad for parameter in method.parameters())


def test_one_modality_of_it_is_enough():
    method = space(bundle(), modalities=("image",))
    assert method.embeds == ("image",)
    assert list(method.projections) == ["image"]


def test_vectors_of_two_sizes_are_no_space():
    with pytest.raises(ConfigError, match="the text encoder gives 16 numbers, the space has 32: choose encoders"):
        get_method("bundle")({}, towers(width=32), DataInfo())


@pytest.mark.parametrize(("scale", "kept"), [(50.0, 50.0), (300.0, 100.0), (0.1, 1.0)])
def test_the_scale_is_taken_over_as_far_as_the_method_allows(scale, kept):
    of = bundle(scale)
    method = get_method("clip")({"dim": 4}, of.encoders, DataInfo())
    assert "logit scale" in method.start_from(of)
    assert method.logit_scale().item() == pytest.approx(kept)
    again = get_method("clip")(method.config.model_dump(), of.encoders, DataInfo())  # as a saved run is loaded
    assert again.logit_scale().item() == pytest.approx(kept)


def test_projections_of_other_encoders_stay_as_they_were():
    of = bundle()
    method = get_method("clip")({"dim": 4, "temperature": 0.5}, {**of.encoders, "text": towers()["text"]}, DataInfo())
    before = method.projections["text"].weight.clone()
    assert method.start_from(of) == ("image projection",)
    assert torch.equal(method.projections["text"].weight, before)
    assert torch.equal(method.projections["image"].weight, of.projections["image"])
    assert method.logit_scale().item() == pytest.approx(2)


def test_a_projection_with_a_bias_becomes_the_matrix_alone():
    of = bundle()
    method = get_method("tcl")({"dim": 4}, of.encoders, DataInfo())
    assert method.start_from(of) == ("image projection", "text projection")
    assert torch.equal(method.projections["image"].weight, of.projections["image"])
    assert not method.projections["image"].bias.any()
