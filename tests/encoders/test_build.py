"""Names, settings and messages of ``build_encoder``; saved tiny encoders."""

import pytest
import torch
from safetensors.torch import save_file

from accord.encoders import build_encoder
from accord.encoders.graph import describe_graph
from accord.errors import ConfigError

VIT = {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}
AUDIO = {"name": "tiny_audio", "mels": 8, "width": 16, "depth": 1, "heads": 2}


@pytest.mark.parametrize(
    ("modality", "spec", "says"),
    [
        ("image", {}, "expected a name"),
        ("image", "", "expected a name"),
        ("video", "slow_fast", "frames:IMAGE"),
        ("audio", "wav2vec", "tiny_audio, whisper_tiny, whisper:"),
        ("graph", "tree", "there are: hetero, metapath"),
        ("graph", "hetero", "encoders.graph.options.nodes"),
        ("image", {"name": "tiny_vit", "width": 0}, "encoders.image.options.width = 0"),
        ("text", {"name": "tiny_text", "heads": 3, "tokenizer": "{}"}, "heads = 3 must divide width = 128"),
        ("audio", {"name": "tiny_audio", "heads": 3}, "heads = 3 must divide width = 128"),
        ("video", {"name": "frames:tiny_vit", "temporal": "transformer", "heads": 3}, "frames.heads = 3"),
        ("video", {"name": "frames", "image": VIT, "temporal": "sum"}, "encoders.video.options.temporal = 'sum'"),
    ],
)
def test_a_wrong_setting_is_named(modality, spec, says):
    with pytest.raises(ConfigError) as caught:
        build_encoder(modality, spec)
    assert says in str(caught.value)


def test_freezing_is_a_setting():
    assert build_encoder("image", VIT, freeze="all").frozen
    trained = build_encoder("image", VIT, freeze=1)
    assert not trained.frozen
    assert not trained.model.patch_embed.proj.weight.requires_grad
    assert not build_encoder("image", VIT, freeze=None).frozen


@pytest.mark.parametrize(
    ("modality", "spec"),
    [
        ("image", VIT),
        ("audio", AUDIO),
        ("text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}),
        ("graph", {"name": "hetero", "nodes": {"a": 2}, "edges": [("a", "to", "a")], "target": "a"}),
    ],
)
def test_a_tiny_encoder_takes_its_own_saved_weights(modality, spec, tmp_path):
    source = build_encoder(modality, spec, texts=["a fish"])
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    again = build_encoder(modality, source.spec(), weights=str(tmp_path))
    assert again.weights_from == f"path {tmp_path}"
    pairs = zip(source.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_a_whisper_folder_is_read(tmp_path):
    from transformers import WhisperConfig, WhisperModel

    settings = WhisperConfig(
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        vocab_size=20,
        num_mel_bins=8,
        max_source_positions=10,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    model = WhisperModel(settings).eval()
    model.save_pretrained(tmp_path)
    encoder = build_encoder("audio", f"whisper:{tmp_path}").eval()
    x = torch.randn(2, 8, 20)
    torch.testing.assert_close(encoder(x).tokens, model.encoder(x).last_hidden_state)
    assert encoder.weights_from == f"path {tmp_path}"
    rebuilt = build_encoder("audio", f"whisper:{tmp_path}", weights=False)
    assert rebuilt.spec() == encoder.spec()


def test_frames_take_their_weights_from_the_image_encoder(tmp_path):
    image = build_encoder("image", VIT)
    save_file(image.state_dict(), tmp_path / "model.safetensors")
    video = build_encoder("video", {"name": "frames", "image": VIT}, weights=tmp_path).eval()
    assert video.weights_from == f"path {tmp_path}"
    x = torch.rand(2, 1, 3, 16, 16)
    torch.testing.assert_close(video(x).pooled, image.eval()(x[:, 0]).pooled)


def test_clips_have_the_patches_of_their_frames_and_the_times_that_are_given():
    video = build_encoder("video", {"name": "frames", "image": {"name": "tiny_resnet", "width": 16}}).eval()
    x, mask = torch.rand(2, 3, 3, 32, 64), torch.tensor([[True, True, True], [True, False, False]])
    times = torch.tensor([[0.0, 0.5, 1.0], [0.0, 0.0, 0.0]])
    features = video(x, mask, times=times)
    frames, patches = features.stream("frames"), features.stream("patches")
    assert features.main == "frames"
    assert torch.equal(frames.times, times)
    assert patches.grid == (3, 4, 8)
    assert patches.map().shape == (2, 16, 3, 4, 8)
    assert patches.mask.sum(dim=1).tolist() == [96, 32]
    assert patches.times[0].unique().tolist() == [0.0, 0.5, 1.0]
    torch.testing.assert_close(patches.map()[0, :, 1], video.image(x[0, 1:2]).grid()[0])
    assert features.stream("patches").values[1, 32:].abs().sum() == 0


def test_steps_of_sound_know_their_second():
    audio = build_encoder("audio", AUDIO)
    steps = audio(torch.rand(2, 8, 7)).stream("steps")
    torch.testing.assert_close(steps.times, torch.tensor([[0.0, 0.02, 0.04, 0.06]]).expand(2, 4))


def test_options_of_frames_reach_the_image_encoder_that_is_named_before_them():
    video = build_encoder("video", {"name": "frames:tiny_vit", "image": {"size": 16, "width": 16, "heads": 2}})
    assert (video.input.image.size, video.dim) == (16, 16)


def test_frames_of_two_image_encoders_are_refused():
    with pytest.raises(ConfigError, match=r"options\.image names another image encoder, 'tiny_convnet'"):
        build_encoder("video", {"name": "frames:tiny_vit", "image": "tiny_convnet"})


def test_what_is_frozen_by_itself_is_what_has_weights(tmp_path):
    image = build_encoder("image", VIT, freeze="auto")
    assert image.trained_part == "trained"
    save_file(image.state_dict(), tmp_path / "model.safetensors")
    assert build_encoder("image", VIT, weights=tmp_path, freeze="auto").trained_part == "frozen"
    over_time = {"name": "frames", "image": VIT, "temporal": "transformer", "heads": 2, "depth": 3}
    video = build_encoder("video", over_time, weights=tmp_path, freeze="auto")
    assert video.image.frozen
    assert video.trained_part.startswith("trained in its last 3 of ")


class TestDescribeGraph:
    @pytest.fixture
    def data(self):
        from torch_geometric.data import HeteroData

        data = HeteroData(keys={"x": torch.randn(3, 4)}, author={"x": torch.randn(2, 5)})
        data["keys", "of", "author"].edge_index = torch.tensor([[0, 1], [0, 1]])
        return data

    def test_its_spec_builds_an_encoder_for_that_graph(self, data):
        encoder = build_encoder("graph", describe_graph(data, "author", width=8))
        assert encoder(data).pooled.shape == (2, 8)

    def test_features_that_are_missing_are_named(self, data):
        del data["keys"].x
        with pytest.raises(ConfigError, match="without features x: keys"):
            describe_graph(data, "author")

    def test_a_target_that_nothing_reaches_is_refused(self, data):
        with pytest.raises(ConfigError, match="no relation leads to target 'keys'"):
            build_encoder("graph", describe_graph(data, "keys"))

    def test_an_unknown_target_is_refused(self, data):
        with pytest.raises(ConfigError, match="no node type venue; there are: author, keys"):
            build_encoder("graph", describe_graph(data, "venue"))
