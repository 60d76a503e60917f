"""Folders of OpenCLIP give what OpenCLIP gives; these tests need the extra ``open_clip``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from accord.encoders import build_encoder
from accord.encoders.bundles import load_bundle
from accord.errors import ConfigError, MissingExtraError, WeightsError
from tiny_bundles import SIDE, WORDS, save_siglip

TEXTS = [*WORDS, "Fish & CHIPS, don't_you?", "a red heart " * 40]
VISION = {"image_size": SIDE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
SIGMOID = {
    "layers": 2,
    "width": 32,
    "heads": 2,
    "context_length": 12,
    "vocab_size": 80,
    "hf_tokenizer_name": "somebody/tokenizer",
    "tokenizer_kwargs": {"clean": "canonicalize"},
    "no_causal_mask": True,
    "pool_type": "last",
    "proj_bias": True,
}
CONFIGS = {
    "softmax": {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": {"layers": 2, "width": 48, "heads": 2}},
    "quick": {
        "embed_dim": 24,
        "quick_gelu": True,
        "vision_cfg": {**VISION, "pool_type": "avg", "no_ln_pre": True},
        "text_cfg": {"layers": 2, "width": 48, "heads": 2, "context_length": 20},
    },
    "resnet": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
        "text_cfg": {"layers": 2, "width": 48, "heads": 2},
    },
    "sigmoid": {
        "embed_dim": 24,
        "init_logit_bias": -5,
        "custom_text": True,
        "vision_cfg": VISION,
        "text_cfg": SIGMOID,
    },
}


def save(folder: Path, kind: str) -> Path:
    open_clip = pytest.importorskip("open_clip")
    config = dict(CONFIGS[kind])
    build = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    torch.manual_seed(0)
    model = build(**config)
    folder.mkdir(parents=True)
    if kind == "sigmoid":
        save_siglip(folder)  # for its tokenizer
        (folder / "model.safetensors").unlink()
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    mode = "squash" if kind == "sigmoid" else "shortest"
    about = {"model_cfg": CONFIGS[kind], "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": mode}}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    return folder


@torch.no_grad()
@pytest.mark.parametrize("kind", CONFIGS)
def test_vectors_and_logits_are_those_of_open_clip(kind, tmp_path):
    folder = save(tmp_path / kind, kind)
    import open_clip

    theirs = open_clip.create_model(f"local-dir:{folder}").eval()
    words = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    pictures = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    bundle = load_bundle(f"open_clip:{folder}")
    inputs = {"image": (pictures,), "text": bundle.encoders["text"].input.tokenizer(TEXTS)}
    found = {}
    for modality, encoder in bundle.encoders.items():
        features = encoder.eval()(*inputs[modality])
        matrix = bundle.projections.get(modality)
        found[modality] = F.normalize(features.pooled if matrix is None else features.pooled @ matrix.T, dim=-1)
        assert features.pooled.shape[1] == encoder.dim
        assert len(encoder.blocks()) == (5 if (kind, modality) == ("resnet", "image") else 3)
        assert features.tokens is None or features.tokens.shape[2] == encoder.token_dim
    expected = {
        "image": theirs.encode_image(pictures, normalize=True),
        "text": theirs.encode_text(words, normalize=True),
    }
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    logits = bundle.logit_scale * found["image"] @ found["text"].T + (bundle.logit_bias or 0)
    torch.testing.assert_close(logits, theirs.get_logits(pictures, words)[0], atol=1e-4, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_tower_is_rebuilt_without_its_folder(modality, tmp_path):
    encoder = build_encoder(modality, f"open_clip:{save(tmp_path / 'model', 'softmax')}")
    spec = json.loads(json.dumps(encoder.spec()))
    again = build_encoder(modality, {**spec, "name": "open_clip:gone"}, weights=False)
    again.load_state_dict(encoder.state_dict())
    fed = torch.randn(2, 3, SIDE, SIDE) if modality == "image" else encoder.input.tokenizer(WORDS)[0]
    torch.testing.assert_close(again.eval()(fed).pooled, encoder.eval()(fed).pooled)
    assert len(encoder.blocks()) == 3


def test_what_is_no_pair_of_towers_is_refused(tmp_path):
    folder = save(tmp_path / "model", "softmax")
    about = json.loads((folder / "open_clip_config.json").read_text())
    about["model_cfg"]["multimodal_cfg"] = {}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    with pytest.raises(ConfigError, match="a model with a decoder is not read"):
        load_bundle(f"open_clip:{folder}")


def test_weights_that_do_not_fit_are_refused(tmp_path):
    folder = save(tmp_path / "model", "softmax")
    save_file({"visual.proj": torch.zeros(3, 3)}, folder / "open_clip_model.safetensors")
    with pytest.raises(WeightsError, match="does not fit open_clip_config"):
        load_bundle(f"open_clip:{folder}")


def test_the_extra_is_named_where_it_is_not_installed(tmp_path, monkeypatch):
    import sys

    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIGS["softmax"]}))
    (tmp_path / "open_clip_model.safetensors").touch()
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtraError, match=r"accord\[open_clip\]"):
        load_bundle(f"open_clip:{tmp_path}")
