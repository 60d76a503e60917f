"""The declarations of encoders: what they say is what is built, and what others list is what they say."""

import subprocess
import sys

import pytest

from accord.cli import complete
from accord.encoders import build_encoder, registry
from accord.errors import ConfigError
from accord.methods import get_method
from accord.methods.base import DataInfo
from tiny_bundles import save_clip, save_siglip, save_videomae, save_xclip

GRAPH = {"nodes": {"a": 2}, "edges": [("a", "to", "a")], "target": "a"}
PATHS = {**GRAPH, "nodes": {"a": 2, "b": 3}, "edges": [("a", "to", "b"), ("b", "of", "a")], "size": 4}
SPECS = {
    "hetero": {"name": "hetero", **GRAPH},
    "metapath": {"name": "metapath", **PATHS},
    "tiny_sequence": {"name": "tiny_sequence", "features": 3},
    "step_projection": {"name": "step_projection", "features": 3},
    "steps": {"name": "steps", "features": 3},
    "frames:": "frames:tiny_resnet",
    "sequence windows:": {"name": "windows:tiny_sequence", "of": {"features": 3}},
    "video windows:": "windows:frames:tiny_vit",
    "whisper:": {"name": "whisper:none", "config": {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2}},
}
APART = (
    "",
    "hf:",
    "minilm",
    "open_clip:",
    "cross_frame:",
    "alignment:",
)  # of no size of their own, or with a test where they are read
BUILT = [one for one in registry.DECLARATIONS if one.name not in APART]


def spec_of(declared, folder):
    """A small encoder of the kind; one that is read from a folder gets one."""
    spec = SPECS.get(f"{declared.modality} {declared.name}", SPECS.get(declared.name))
    if spec is not None or "FOLDER" not in declared.written:
        return declared.name if spec is None else spec
    save = {"siglip:": save_siglip, "videomae:": save_videomae, "xclip:": save_xclip}.get(declared.name, save_clip)
    return declared.written.split(", ")[0].replace("FOLDER", str(save(folder)))


@pytest.mark.parametrize("declared", BUILT, ids=lambda one: f"{one.modality} {one.name}")
def test_an_encoder_gives_what_its_declaration_says(declared, tmp_path):
    spec = spec_of(declared, tmp_path)
    encoder = build_encoder(declared.modality, spec, weights=str(tmp_path) in str(spec), texts=["a fish"])
    assert encoder.gives == declared.gives
    assert encoder.modality == declared.modality
    named = spec if isinstance(spec, dict) else {"name": spec}
    assert registry.starts_at_random(named) == (declared.weights is None or bool(declared.wraps))


@pytest.mark.parametrize("declared", registry.DECLARATIONS, ids=lambda one: one.written)
def test_every_place_of_a_declaration_is_there(declared):
    for place in (declared.make, declared.config, declared.knows, declared.describe):
        assert not place or callable(registry.load(place))
    assert "name" in registry.load(declared.config).model_fields


def test_an_encoder_inside_another_decides_where_weights_come_from():
    assert registry.starts_at_random({"name": "frames", "image": {"name": "tiny_vit", "size": 32}})
    assert not registry.starts_at_random({"name": "frames", "image": "resnet18"})
    assert not registry.starts_at_random({"name": "mean_colour"})


def test_names_that_nothing_declares_are_those_of_the_modality_that_asks(tmp_path):
    assert registry.find("image", "resnet18").written == "any timm model name"
    assert registry.find("text", str(tmp_path)).written == "the folder of a transformers model"
    assert registry.find("text", "resnet18") is None
    assert registry.find("video", "frames").name == "frames:"


def test_the_shell_offers_what_is_declared():
    offered = complete.encoders_for("image")("tiny")
    assert {"tiny_convnet", "tiny_resnet", "tiny_vit"} <= set(offered)
    assert all(name.startswith("tiny") for name in offered)
    assert {"minilm", "tiny_text"} <= set(complete.encoders_for("text")(""))


def test_the_declarations_are_read_without_pytorch():
    code = "import sys, accord.encoders.registry as r; r.encoder_names('image'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_method_that_gets_too_little_names_an_encoder_that_would_do():
    kind = get_method("multiview_infonce")
    layered = type("Layered", (kind,), {"wants": classmethod(lambda cls, config: {"image": frozenset({"layers"})})})
    encoder = build_encoder("image", {"name": "tiny_resnet", "width": 16})
    with pytest.raises(ConfigError) as caught:
        layered({}, {"image": encoder}, DataInfo())
    assert str(caught.value) == (
        "method multiview_infonce needs layers from the image encoder, which gives only map2, map4, map8, patches, "
        "pooled, tokens: choose another image encoder, such as tiny_vit"
    )
