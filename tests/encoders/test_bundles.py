"""Bundles give what the libraries that they come from give: vectors, logits, pictures and words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, PreTrainedTokenizerFast

from accord.data.augmenting.crops import centre_crop
from accord.data.augmenting.pixels import normalise
from accord.encoders import build_encoder
from accord.encoders.bundles import Bundle, bundle_key, load_bundle
from accord.errors import ConfigError, ShapeError, WeightsError
from tiny_bundles import LENGTH, SIDE, WORDS, save_clip, save_siglip

TEXTS = [*WORDS, "fish", "a very red and very blue heart of two smiling birds and a fish in green leaves"]
KINDS = ("clip", "old", "siglip")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("bundles")
    return {
        "clip": save_clip(place / "clip"),
        "old": save_clip(place / "old", old=True),
        "siglip": save_siglip(place / "siglip"),
    }


def named(folders: dict[str, Path], kind: str) -> str:
    return f"{'siglip' if kind == 'siglip' else 'clip'}:{folders[kind]}"


def embedded(bundle: Bundle, modality: str, *inputs: torch.Tensor) -> torch.Tensor:
    pooled = bundle.encoders[modality].eval()(*inputs).pooled
    projection = bundle.projections.get(modality)
    return F.normalize(pooled if projection is None else pooled @ projection.T, dim=-1)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_vectors_and_logits_are_those_of_transformers(folders, kind):
    bundle, model = load_bundle(named(folders, kind)), AutoModel.from_pretrained(folders[kind]).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folders[kind])
    padding = "max_length" if kind == "siglip" else True  # what their documentation asks for
    words = tokenizer(TEXTS, padding=padding, truncation=True, max_length=LENGTH, return_tensors="pt")
    words.pop("token_type_ids", None)
    if kind == "siglip":
        words.pop("attention_mask")
    pictures = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    out = model(**words, pixel_values=pictures)
    images = embedded(bundle, "image", pictures)
    texts = embedded(bundle, "text", *bundle.encoders["text"].input.tokenizer(TEXTS))
    torch.testing.assert_close(images, out.image_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(texts, out.text_embeds, atol=1e-5, rtol=0)
    logits = bundle.logit_scale * images @ texts.T + (bundle.logit_bias or 0)
    torch.testing.assert_close(logits, out.logits_per_image, atol=1e-4, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_text_means_the_same_beside_longer_ones(folders, kind):
    encoder = load_bundle(named(folders, kind)).encoders["text"].eval()
    together = encoder(*encoder.input.tokenizer(["fish", TEXTS[-1]]))
    alone = encoder(*encoder.input.tokenizer(["fish"]))
    torch.testing.assert_close(together.pooled[:1], alone.pooled, atol=1e-5, rtol=0)
    kept = alone.tokens.shape[1]
    torch.testing.assert_close(together.tokens[:1, :kept], alone.tokens, atol=1e-5, rtol=0)


@torch.no_grad()
def test_patches_lie_in_the_space_of_the_pooled_vector(folders):
    encoder = load_bundle(named(folders, "clip")).encoders["image"].eval()
    model = AutoModel.from_pretrained(folders["clip"]).eval()
    picture = torch.randn(1, 3, SIDE, SIDE)
    features = encoder(picture)
    hidden = model.vision_model(picture).last_hidden_state
    assert features.tokens.shape == (1, 16, 32)
    torch.testing.assert_close(features.tokens, model.vision_model.post_layernorm(hidden)[:, 1:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(97, 40), (40, 97), (32, 32), (300, 200)])
def test_pictures_are_cut_as_the_processor_cuts_them(folders, kind, size):
    """Ours cuts first and resizes then, with Pillow instead of torch: the mean differs by less than 2 of 255 levels."""
    y, x = np.mgrid[: size[1], : size[0]]
    waves = np.stack([127 + 120 * np.sin(x / 9 + y / 17 + phase) for phase in (0, 2, 4)], axis=-1)
    picture = Image.fromarray(waves.astype(np.uint8))
    spec = load_bundle(named(folders, kind)).encoders["image"].input
    theirs = AutoImageProcessor.from_pretrained(folders[kind])(picture, return_tensors="pt")["pixel_values"][0]
    ours = normalise(centre_crop(picture, spec), spec)
    level = 255 * torch.tensor(spec.std)[:, None, None]
    assert theirs.shape == ours.shape
    assert ((ours - theirs) * level).abs().mean() < 2


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_tower_is_rebuilt_without_its_folder(folders, kind, modality):
    encoder = build_encoder(modality, named(folders, kind))
    spec = json.loads(json.dumps(encoder.spec()))
    again = build_encoder(modality, {**spec, "name": f"{kind}:gone"}, weights=False)
    again.load_state_dict(encoder.state_dict())
    fed = torch.randn(2, 3, SIDE, SIDE) if modality == "image" else encoder.input.tokenizer(WORDS)[0]
    assert again.eval().input == encoder.input or modality == "text"
    torch.testing.assert_close(again(fed).pooled, encoder.eval()(fed).pooled)
    assert again.dim == encoder.dim == encoder(fed).pooled.shape[1]
    assert encoder.token_dim == encoder(fed).tokens.shape[2]


def test_a_tower_has_blocks_to_freeze_and_says_where_it_came_from(folders):
    encoder = build_encoder("image", named(folders, "clip"), freeze=1)
    assert len(encoder.blocks()) == 3  # embeddings and two layers
    assert encoder.trained_part == "trained in its last 1 of 3 blocks"
    assert encoder.pretrained
    assert str(folders["clip"]) in encoder.weights_from
    assert build_encoder("image", named(folders, "clip"), weights=False).weights_from == "random initialisation"


def test_its_key_is_that_of_the_content(folders, tmp_path):
    again = shutil.copytree(folders["clip"], tmp_path / "moved")
    assert bundle_key(f"clip:{again}") == bundle_key(named(folders, "clip")) != bundle_key(named(folders, "old"))


def test_a_name_of_the_hub_is_fetched(folders, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "accord.encoders.bundles.base.hub_folder", lambda name, local: asked.append(name) or folders["clip"]
    )
    assert load_bundle("clip:hf:somebody/clip").origin == "hub somebody/clip (local cache)"
    assert asked == ["somebody/clip"]


def test_what_a_folder_holds_is_said_where_it_is_another_model(folders):
    with pytest.raises(ConfigError, match=r"holds a model of type 'siglip', expected 'clip'; write siglip:"):
        load_bundle(f"clip:{folders['siglip']}")


def test_a_tensor_that_is_missing_is_an_error(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_clip(tmp_path / "cut")
    state = load_file(folder / "model.safetensors")
    state.pop("text_projection.weight")
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="lacks 1 of the tensors of CLIPModel, text_projection"):
        load_bundle(f"clip:{folder}")


def test_weights_that_would_be_unpickled_are_not_read(tmp_path):
    folder = save_clip(tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="no weights as safetensors"):
        load_bundle(f"clip:{folder}")


def test_names_that_mean_nothing_are_refused(folders, tmp_path):
    with pytest.raises(ConfigError, match="there is no folder nowhere; a model of the hub is written clip:hf:NAME"):
        load_bundle("clip:nowhere")
    with pytest.raises(ConfigError, match="no kind of bundle 'clap'"):
        load_bundle("clap:nowhere")
    with pytest.raises(ConfigError, match="no audio encoder 'clip:"):
        build_encoder("audio", named(folders, "clip"))
    with pytest.raises(ConfigError, match="takes no option dim"):
        build_encoder("image", {"name": named(folders, "clip"), "dim": 64})
    with pytest.raises(ShapeError, match="image has shape"):
        build_encoder("image", named(folders, "clip"))(torch.zeros(1, 3, 64, 64))


@torch.no_grad()
def test_its_image_tower_reads_the_frames_of_clips(folders):
    encoder = build_encoder("video", f"frames:{named(folders, 'clip')}").eval()
    clips = torch.randn(2, 3, 3, SIDE, SIDE)
    again = build_encoder("video", json.loads(json.dumps(encoder.spec())), weights=False).eval()
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again(clips).pooled, encoder(clips).pooled)


@torch.no_grad()
def test_all_layers_can_be_had(folders):
    encoder = load_bundle(named(folders, "clip")).encoders["text"].eval()
    ids, mask = encoder.input.tokenizer(WORDS)
    layers = encoder(ids, mask, layers=True).stream("layers").values
    hidden = AutoModel.from_pretrained(folders["clip"]).eval().text_model(ids, mask.long(), output_hidden_states=True)
    ends = mask.sum(dim=1) - 1
    expected = [states[torch.arange(len(ids)), ends] for states in hidden.hidden_states[1:]]
    torch.testing.assert_close(layers, torch.stack(expected, dim=1))
