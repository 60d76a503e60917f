"""Video encoders that transformers saved give what transformers gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from accord.encoders import build_encoder
from accord.errors import ConfigError, WeightsError
from encoders.cases import lengths_to_mask
from tiny_bundles import save_clip, save_videomae, save_xclip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("video")
    saved = {"videomae": save_videomae(place / "videomae"), "xclip": save_xclip(place / "xclip")}
    return {**saved, "pretraining": save_videomae(place / "pretraining", pretraining=True)}


@pytest.fixture
def clips() -> torch.Tensor:
    return torch.randn(3, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["videomae", "pretraining"])
def test_tokens_of_a_videomae_are_its_last_hidden_states(folders, clips, kind):
    tower = build_encoder("video", f"videomae:{folders[kind]}").eval()
    hidden = AutoModel.from_pretrained(folders[kind]).eval()(clips).last_hidden_state
    features = tower(clips)
    torch.testing.assert_close(features.stream("patches").values, hidden, atol=1e-6, rtol=0)
    torch.testing.assert_close(features.pooled, hidden.mean(dim=1), atol=1e-6, rtol=0)
    assert features.stream("patches").grid == (2, 2, 2)
    assert features.stream("frames").values.shape == (3, 2, 32)


@torch.no_grad()
def test_vectors_of_an_xclip_are_its_video_features(folders, clips):
    tower = build_encoder("video", f"xclip:{folders['xclip']}").eval()
    model = AutoModel.from_pretrained(folders["xclip"]).eval()
    found, features = model.get_video_features(clips), tower(clips)
    torch.testing.assert_close(features.pooled, found.pooler_output, atol=1e-5, rtol=0)
    hidden = found.last_hidden_state[:, 1:].unflatten(0, (3, 4)).flatten(1, 2)
    torch.testing.assert_close(features.stream("patches").values, hidden, atol=1e-5, rtol=0)
    assert features.stream("frames").values.shape == (3, 4, 64)


@pytest.mark.parametrize("kind", ["videomae", "xclip"])
def test_a_saved_one_needs_no_folder(folders, clips, kind):
    tower = build_encoder("video", f"{kind}:{folders[kind]}").eval()
    again = build_encoder("video", tower.spec(), weights=False).eval()
    again.load_state_dict(tower.state_dict())
    assert torch.equal(again(clips).pooled, tower(clips).pooled)
    assert again.input == tower.input
    assert again.input.frames == 4
    assert again.input.image.mean == (0.5, 0.5, 0.5)
    assert tower.pretrained


def test_weights_may_be_random_or_those_of_another_folder(folders, tmp_path, clips):
    name = f"videomae:{folders['videomae']}"
    plain, fresh = build_encoder("video", name), build_encoder("video", name, weights=False)
    assert not fresh.pretrained
    other = build_encoder("video", name, weights=folders["pretraining"])
    assert not torch.equal(other.eval()(clips).pooled, plain.eval()(clips).pooled)


def test_a_short_clip_is_stretched(folders, clips):
    tower = build_encoder("video", f"videomae:{folders['videomae']}").eval()
    short = tower(clips, lengths_to_mask([2, 4, 4])).pooled[0]
    torch.testing.assert_close(short, tower(clips[:1, [0, 0, 1, 1]]).pooled[0])


def test_another_model_is_named_with_what_to_write(folders, tmp_path):
    with pytest.raises(ConfigError, match=rf"type 'videomae', expected 'xclip'; write videomae:{folders['videomae']}"):
        build_encoder("video", f"xclip:{folders['videomae']}")
    with pytest.raises(ConfigError, match="there is no folder models/none"):
        build_encoder("video", "videomae:models/none")
    with pytest.raises(ConfigError, match="write clip:"):
        build_encoder("video", f"videomae:{save_clip(tmp_path / 'clip')}")


def test_weights_that_would_have_to_be_unpickled_are_refused(tmp_path):
    folder = save_videomae(tmp_path / "videomae")
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="no weights as safetensors"):
        build_encoder("video", f"videomae:{folder}")


def test_a_transformer_over_frames_of_another_kind_is_refused(tmp_path):
    folder = save_xclip(tmp_path / "xclip", mit_num_attention_heads=2)
    with pytest.raises(ConfigError, match="mit_num_attention_heads = 2: expected 1"):
        build_encoder("video", f"xclip:{folder}")
