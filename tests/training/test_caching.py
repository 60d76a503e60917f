from __future__ import annotations

import json
import threading
import time
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import nn
from toy_method import BagEncoder, Toy, toy, toy_corpus

from accord.config import Config
from accord.data.augmenting.text_views import TextView
from accord.data.augmenting.views import View
from accord.data.corpus import corpus_from_items
from accord.data.inputs import ImageInput
from accord.data.loading.features import Features
from accord.data.loading.loader import eval_loader, train_loader
from accord.data.modalities import get_modality
from accord.data.quarantine import RowError
from accord.encoders import build_encoder
from accord.encoders.base import Encoder
from accord.errors import DataError
from accord.methods.abilities import Embeds
from accord.methods.base import DataInfo, Method
from accord.training import caching, model
from accord.training.caching import feature_caches
from accord.training.config import TrainingConfig
from accord.training.feature_store import FeatureStore, content_key
from accord.training.fit import fit

CONFIG = TrainingConfig(epochs=2, batch_size=4, cached_augmentations=3, accelerator="cpu")


class Thumbnail(Encoder):
    """The picture itself, shrunk, times a weight."""

    modality = "image"

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.dim, self.input, self.calls = 12, ImageInput(size=8), 0
        self.weight = nn.Parameter(torch.tensor(weight))

    def encode(self, x: torch.Tensor, mask: Any = None) -> Features:
        self.calls += len(x)
        return Features(self.weight * nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))

    def blocks(self) -> list[nn.Module]:
        return []

    def spec(self) -> dict[str, Any]:
        return {"name": "thumbnail"}


class PairConfig(Config):
    """No settings."""


class Pair(Embeds, Method):
    """Two views of a picture under one linear map."""

    name, Config = "pair", PairConfig
    needs = {"image": frozenset({"pooled"})}  # noqa: RUF012
    views = (View(scale=(0.5, 1.0)), View(size=4, scale=(0.2, 0.5), count=2))

    def __init__(self, encoder: Encoder) -> None:
        super().__init__({}, {"image": encoder}, DataInfo())
        self.head = nn.Linear(12, 4)

    def loss(self, batch, step):
        first, second, third = (self.head(self.encoders["image"](view).pooled) for view in batch["image_views"])
        return {"total": (first - second).square().mean() + (third - 1).square().mean()}

    def embed(self, batch):
        return {"image": self.head(self.encoders["image"](batch["image"]).pooled)}


def pictures(count: int = 9) -> list[Image.Image]:
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 255, (16, 12, 3), dtype=np.uint8)) for _ in range(count)]


def frozen(weight: float = 1.0) -> Thumbnail:
    encoder = Thumbnail(weight)
    encoder.requires_grad_(False)
    return encoder


@pytest.fixture
def corpus():
    return corpus_from_items("image", pictures())


def test_plain_features_are_those_of_the_encoder(corpus):
    method = Pair(frozen())
    cache = feature_caches(method, corpus, CONFIG)["image"]
    batches = eval_loader(corpus, {"image": method.encoders["image"].input})
    expected = torch.cat([method.encoders["image"](batch["image"]).pooled for batch in batches])
    torch.testing.assert_close(cache.plain, expected)
    assert cache.variants.shape == (9, 3, 3, 12)
    assert cache.boxes.shape == (9, 3, 3, 4)
    assert cache.flips.shape == (9, 3, 3)
    assert not torch.equal(cache.variants[:, 1, 0], cache.variants[:, 1, 1])


def test_features_are_computed_once_and_reused_by_every_selection_and_method(corpus):
    encoder = frozen()
    whole = feature_caches(Pair(encoder), corpus, CONFIG)["image"]
    made = encoder.calls
    assert made == 9 * (1 + 3 * 3)
    rows = [7, 2, 2, 0]
    part = feature_caches(Pair(encoder), corpus.select(rows), CONFIG.model_copy(update={"seed": 5}))["image"]
    assert encoder.calls == made
    torch.testing.assert_close(part.plain, whole.plain[rows])
    torch.testing.assert_close(part.variants, whole.variants[rows])
    assert part.key == whole.key


def test_photographs_are_decoded_one_after_the_other(corpus, whole_pictures):
    feature_caches(Pair(frozen()), corpus, CONFIG)
    assert len(whole_pictures) >= 2 * len(corpus)
    assert max(whole_pictures) <= 2


def test_a_selection_that_came_first_does_not_change_the_features(corpus, own_cache, monkeypatch, tmp_path):
    feature_caches(Pair(frozen()), corpus.select([8, 3]), CONFIG)
    grown = feature_caches(Pair(frozen()), corpus, CONFIG)["image"]
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: tmp_path)
    fresh = feature_caches(Pair(frozen()), corpus, CONFIG)["image"]
    torch.testing.assert_close(grown.variants, fresh.variants)
    torch.testing.assert_close(grown.boxes, fresh.boxes)


@pytest.mark.parametrize("change", ["weights", "views", "augmentations", "size"])
def test_other_weights_views_or_sizes_give_other_features(change, corpus):
    encoder, config = frozen(), CONFIG
    before = feature_caches(Pair(encoder), corpus, config)["image"]
    method = Pair(frozen(2.0) if change == "weights" else encoder)
    if change == "views":
        method.__class__ = type("Other", (Pair,), {"views": (View(scale=(0.1, 0.2)), *Pair.views[1:])})
    if change == "augmentations":
        config = config.model_copy(update={"cached_augmentations": 2})
    if change == "size":
        encoder.input = ImageInput(size=6)
    calls = method.encoders["image"].calls
    after = feature_caches(method, corpus, config)["image"]
    assert method.encoders["image"].calls > calls
    assert after.key != before.key


def test_a_run_on_cached_features_never_calls_the_encoder(corpus, tmp_path):
    encoder = frozen()
    feature_caches(Pair(encoder), corpus, CONFIG)
    made = encoder.calls
    method = Pair(encoder)
    before = method.head.weight.clone()
    fit(method, corpus, CONFIG, tmp_path, progress=False)
    assert encoder.calls == made
    assert not torch.equal(method.head.weight, before)


def test_views_that_have_no_place_in_pixels_are_cached_without_one(corpus, monkeypatch):
    pictures = type(get_modality("image"))
    collate = pictures.collate

    def without_places(*args):
        return {key: value for key, value in collate(*args).items() if not key.startswith("view_")}

    monkeypatch.setattr(pictures, "collate", without_places)
    held = feature_caches(Pair(frozen()), corpus, CONFIG)["image"]
    assert held.variants.shape[:2] == (len(corpus), 3)
    assert held.boxes is None
    assert held.flips is None


def test_training_draws_among_the_stored_augmentations(corpus):
    method = Pair(frozen())
    caches = feature_caches(method, corpus, CONFIG)
    loader = train_loader(
        corpus, {"image": method.encoders["image"].input}, Pair.views, batch_size=9, seed=0, cache=caches
    )
    epochs = [next(iter(loader)) for _ in range(6)]
    drawn = {tuple(batch["image_views"][1].pooled[batch["index"] == 4][0].tolist()) for batch in epochs}
    assert 1 < len(drawn) <= 3
    assert drawn <= {tuple(variant.tolist()) for variant in caches["image"].variants[4, 1]}


@pytest.mark.parametrize("reason", ["trained", "needs tokens", "switched off", "too large"])
def test_features_are_not_cached_when(reason, corpus, tmp_path, monkeypatch):
    encoder, config = frozen(), CONFIG
    if reason == "trained":
        encoder.requires_grad_(True)
    method = Pair(encoder)
    if reason == "needs tokens":
        encoder.gives = frozenset({"pooled", "tokens"})
        method.needs = {"image": frozenset({"tokens"})}
    if reason == "switched off":
        config = config.model_copy(update={"cache_features": False})
    if reason == "too large":
        monkeypatch.setattr(caching, "_LARGEST", 100)
    fit(method, corpus, config, tmp_path, progress=False)
    assert encoder.calls == 2 * 2 * 4 * 3  # epochs, batches, rows, views


@pytest.mark.parametrize("views", [(), Pair.views])
def test_features_of_views_are_not_cached_beside_the_pixels_of_these_views(views, corpus, monkeypatch):
    monkeypatch.setattr(Pair, "raw", classmethod(lambda cls, config: {"image": None}))
    monkeypatch.setattr(Pair, "views", views)
    assert set(feature_caches(Pair(frozen()), corpus, CONFIG)) == (set() if views else {"image"})


def test_a_cache_that_is_too_large_is_announced(corpus, monkeypatch, capsys):
    monkeypatch.setattr(caching, "_LARGEST", 100)
    assert feature_caches(Pair(frozen()), corpus, CONFIG, Console(stderr=True)) == {}
    assert "image features would take 0 GiB, so they are computed in every step" in capsys.readouterr().err


def test_texts_are_not_cached_when_the_method_augments_them(monkeypatch):
    encoder = BagEncoder()
    encoder.freeze("all")
    monkeypatch.setattr(Toy, "text_views", (TextView(swap=1.0),))
    assert feature_caches(Toy({}, {"text": encoder}, DataInfo(classes=("a", "b"))), toy_corpus(4), CONFIG) == {}


def test_texts_are_cached_caption_by_caption():
    corpus = toy_corpus(4).with_texts([["red", "cat dog"], ["sun"], ["red"], []])
    encoder = BagEncoder(dropout=0.5)
    encoder.freeze("all")
    method = Toy({}, {"text": encoder}, DataInfo(classes=("a", "b", "c")))
    cache = feature_caches(method, corpus, CONFIG)["text"]
    assert cache.counts.tolist() == [2, 1, 1, 1]
    assert cache.variants.shape == (5, 16)  # no more than there are captions
    assert torch.equal(cache.plain[0], cache.plain[2])
    for number, text in enumerate(["red", "cat dog", "sun"]):
        ids, mask = encoder.input.tokenizer([text])
        torch.testing.assert_close(cache.variants[number], encoder(ids, mask).pooled[0])


def test_training_on_cached_texts_equals_training_on_texts(tmp_path):
    trained = []
    for cached in (True, False):
        method = toy(dropout=0.0)
        method.encoders["text"].freeze("all")
        config = TrainingConfig(epochs=2, batch_size=32, cache_features=cached)
        fit(method, toy_corpus(), config, tmp_path, progress=False)
        trained.append(method.classifier.weight)
    torch.testing.assert_close(trained[0], trained[1], atol=1e-5, rtol=0)


def test_weights_of_a_frozen_encoder_are_not_in_the_checkpoint_but_are_compared_on_resume(tmp_path):
    from accord.errors import ConfigError

    def method():
        made = toy(dropout=0.0)
        made.encoders["text"].freeze("all")
        return made

    config = TrainingConfig(epochs=1, batch_size=32)
    first = method()
    fit(first, toy_corpus(), config, tmp_path, progress=False)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert not [name for name in saved["state_dict"] if "encoders." in name]
    again = method()
    fit(again, toy_corpus(), config, tmp_path, resume=True, progress=False)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())
    other = method()
    other.encoders["text"].table.weight.data += 1
    with pytest.raises(ConfigError, match="trained with frozen text encoder"):
        fit(other, toy_corpus(), config, tmp_path, resume=True, progress=False)


def test_an_interrupted_computation_goes_on_where_it_stopped(corpus, monkeypatch):
    monkeypatch.setattr(caching, "_FILE", 4)
    monkeypatch.setattr(caching, "_BATCH", 2)
    everything = len(corpus) * (1 + 3 * CONFIG.cached_augmentations)  # plain, and three copies of three views
    encoder = frozen()
    encode, done = encoder.encode, []

    def dies(x, mask=None):
        done.append(len(x))
        if sum(done) > everything // 2:
            raise KeyboardInterrupt
        return encode(x, mask)

    encoder.encode = dies
    with pytest.raises(KeyboardInterrupt):
        feature_caches(Pair(encoder), corpus, CONFIG)
    healthy = frozen()
    cache = feature_caches(Pair(healthy), corpus, CONFIG)["image"]
    lost = healthy.calls + sum(done[:-1]) - everything
    assert 0 <= lost <= 4 * 3 * CONFIG.cached_augmentations  # at most the file under way
    assert len(cache) == 9


def test_a_run_that_waits_for_another_one_says_so(corpus, monkeypatch, capsys):
    monkeypatch.setattr(caching, "_PATIENCE", 0)
    encoder = frozen()
    feature_caches(Pair(encoder), corpus, CONFIG)
    source = caching._Source("image", encoder, caching.Layout(12))
    keys = caching._cell_keys(corpus, "image")
    taken = threading.Event()

    def other_run():
        with source.store().lock(keys):
            taken.set()
            time.sleep(0.3)

    other = threading.Thread(target=other_run)
    other.start()
    taken.wait()
    feature_caches(Pair(encoder), corpus, CONFIG, Console(stderr=True))
    assert "image features: another run is computing these; waiting for it" in capsys.readouterr().err
    other.join()


def test_a_file_that_has_gone_is_named(tmp_path):
    for number, picture in enumerate(pictures(3)):
        picture.save(tmp_path / f"{number}.png")
    corpus = corpus_from_items("image", [tmp_path / f"{number}.png" for number in range(3)])
    (tmp_path / "1.png").unlink()
    with pytest.raises(RowError, match=r"row 1 .*: missing file"):
        feature_caches(Pair(frozen()), corpus, CONFIG)


def test_files_and_bytes_of_the_same_picture_share_their_features(tmp_path):
    encoder, paths = frozen(), []
    for number, picture in enumerate(pictures(3)):
        paths.append(tmp_path / f"{number}.png")
        picture.save(paths[-1])
    feature_caches(Pair(encoder), corpus_from_items("image", paths), CONFIG)
    made = encoder.calls
    feature_caches(Pair(encoder), corpus_from_items("image", [path.read_bytes() for path in paths]), CONFIG)
    assert encoder.calls == made


def test_progress_is_one_line_where_there_is_no_terminal(corpus, capsys):
    feature_caches(Pair(frozen()), corpus, CONFIG, Console(stderr=True))
    assert "image features: 9 computed and stored in" in capsys.readouterr().err
    feature_caches(Pair(frozen()), corpus, CONFIG, Console(stderr=True))
    assert capsys.readouterr().err == ""


def test_progress_is_a_bar_on_a_terminal(corpus):
    console = Console(force_terminal=True, width=100, record=True)
    feature_caches(Pair(frozen()), corpus, CONFIG, console)
    assert "image features, once" in console.export_text()


def test_a_damaged_file_of_the_store_is_named(tmp_path):
    store = FeatureStore(tmp_path)
    store.add([content_key(b"a")], {"plain": torch.ones(1, 2)})
    path = next(tmp_path.glob("*.safetensors"))
    path.write_bytes(b"not tensors")
    with pytest.raises(DataError, match=rf"stored features .*{path.name} cannot be read .* delete the file"):
        store.missing([content_key(b"a")])


def test_features_that_cannot_be_stored_are_kept_in_memory(corpus, tmp_path, own_cache, monkeypatch):
    written = feature_caches(Pair(frozen()), corpus, CONFIG)["image"]
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: tmp_path / "file")
    kept = feature_caches(Pair(frozen()), corpus, CONFIG)["image"]
    assert torch.equal(kept.plain, written.plain)
    assert torch.equal(kept.variants, written.variants)


def test_the_store_holds_nothing_but_whole_files(tmp_path):
    store = FeatureStore(tmp_path)
    with pytest.raises(Exception, match="meta"):
        store.add([content_key(b"a")], {"plain": torch.ones(1, 2, device="meta")})
    assert list(tmp_path.iterdir()) == []


def test_evaluation_reads_what_training_stored(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "_WORTH_STORING", 1)
    encoder = frozen()
    method = Pair(encoder)
    fit(method, corpus, CONFIG, tmp_path, progress=False)
    calls = encoder.calls
    stored = model.Model(method).embed_corpus(corpus, "image")
    assert encoder.calls == calls
    monkeypatch.setattr(model, "_WORTH_STORING", 10**6)
    torch.testing.assert_close(model.Model(method).embed_corpus(corpus, "image"), stored)
    assert encoder.calls > calls


def test_features_of_a_trained_encoder_are_not_stored_by_evaluation(corpus, monkeypatch):
    monkeypatch.setattr(model, "_WORTH_STORING", 1)
    monkeypatch.setattr(model, "stored_features", None)  # would fail if called
    encoder = frozen()
    encoder.requires_grad_(True)
    assert len(model.Model(Pair(encoder)).embed_corpus(corpus, "image")) == len(corpus)


class Patches(Thumbnail):
    """A thumbnail whose four pixels are its tokens."""

    gives = frozenset({"pooled", "tokens"})

    def encode(self, x: torch.Tensor, mask: Any = None) -> Features:
        pooled = super().encode(x, mask).pooled
        return Features(pooled, tokens=pooled.unflatten(1, (3, 4)).transpose(1, 2))  # (B, 4, 3)


class Grid(Pair):
    """Two views of the same size, by their tokens."""

    needs = {"image": frozenset({"pooled", "tokens"})}  # noqa: RUF012
    views = (View(scale=(0.5, 1.0), count=2),)

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.head = nn.Linear(3, 4)

    def loss(self, batch, step):
        first, second = (self.head(self.encoders["image"](view).tokens) for view in batch["image_views"])
        return {"total": (first - second).square().mean() + (first - 1).square().mean()}

    def embed(self, batch):
        return {"image": self.head(self.encoders["image"](batch["image"]).tokens).flatten(1)}


def frozen_patches() -> Patches:
    encoder = Patches()
    encoder.requires_grad_(False)
    return encoder


def test_tokens_of_images_are_cached_in_half_precision(corpus):
    method = Grid(frozen_patches())
    cache = feature_caches(method, corpus, CONFIG)["image"]
    batch = next(iter(eval_loader(corpus, {"image": method.encoders["image"].input}, cache={"image": cache})))
    raw = next(iter(eval_loader(corpus, {"image": method.encoders["image"].input})))
    expected = method.encoders["image"](raw["image"])
    assert cache.variants.dtype == torch.float16
    assert batch["image"].tokens.dtype == torch.float32
    torch.testing.assert_close(batch["image"].tokens, expected.tokens, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(batch["image"].pooled, expected.pooled, rtol=1e-3, atol=1e-3)


def test_training_and_evaluation_by_tokens_run_the_encoder_once_per_picture(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(model, "_WORTH_STORING", 1)
    method = Grid(frozen_patches())
    fit(method, corpus, CONFIG, tmp_path, progress=False)
    calls = method.encoders["image"].calls
    fit(Grid(method.encoders["image"]), corpus, CONFIG, tmp_path / "again", progress=False)
    model.Model(method).embed_corpus(corpus, "image")
    assert method.encoders["image"].calls - calls <= 2  # one blank picture each time, to count the tokens


def wanting(modality: str, encoder: Encoder, *wanted: str) -> Method:
    """A method that needs these features of the encoder, and does nothing."""
    kind = type("Wanting", (Method,), {"name": "wanting", "Config": PairConfig, "needs": {modality: frozenset(wanted)}})
    return kind({}, {modality: encoder.freeze("all")}, DataInfo())


def test_any_streams_of_pictures_are_cached_with_their_grids(corpus):
    encoder = build_encoder("image", {"name": "tiny_resnet", "size": 32, "width": 16})
    method = wanting("image", encoder, "pooled", "tokens", "map4")
    cache = feature_caches(method, corpus, CONFIG)["image"]
    inputs = {"image": encoder.input}
    held = next(iter(eval_loader(corpus, inputs, cache={"image": cache})))["image"]
    made = encoder(next(iter(eval_loader(corpus, inputs)))["image"])
    assert set(held.streams) == {"patches", "map4"}
    torch.testing.assert_close(held.grid(), made.grid(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(held.stream("map4").map(), made.stream("map4").map(), rtol=1e-3, atol=1e-3)


def test_frames_of_clips_are_cached_with_their_padding(tmp_path):
    for clip, frames in (("long", 3), ("short", 2)):
        (tmp_path / clip).mkdir()
        for number, picture in enumerate(pictures(frames)):
            picture.save(tmp_path / clip / f"{number}.png")
    encoder = build_encoder("video", {"name": "frames:tiny_resnet", "frames": 3, "image": {"size": 32, "width": 16}})
    clips = corpus_from_items("video", [tmp_path / "long", tmp_path / "short"])
    cache = feature_caches(wanting("video", encoder, "frames", "patches"), clips, CONFIG)["video"]
    inputs = {"video": encoder.input}
    held = next(iter(eval_loader(clips, inputs, cache={"video": cache})))["video"]
    raw = next(iter(eval_loader(clips, inputs)))
    made = encoder(raw["video"], raw["video_mask"])
    assert held.mask.tolist() == [[True, True, True], [True, True, False]]
    assert torch.equal(held.stream("frames").times, raw["video_times"])
    assert held.stream("patches").grid == (3, 4, 4)
    assert torch.equal(held.stream("patches").mask, made.stream("patches").mask)
    torch.testing.assert_close(held.tokens, made.tokens, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(held.stream("patches").values, made.stream("patches").values, rtol=1e-3, atol=1e-3)


def test_layers_are_cached_of_texts_too_and_words_are_not():
    words = toy_corpus(4).with_texts([["red", "cat dog"], ["sun"], ["red"], []])
    encoder = build_encoder("text", {"name": "tiny_text", "width": 16, "depth": 2}, texts=["red sun cat dog"])
    cache = feature_caches(wanting("text", encoder, "pooled", "layers"), words, CONFIG)["text"]
    found = cache.unpack(cache.variants[:2])  # of both captions of the first row
    ids, mask = encoder.input.tokenizer(["red", "cat dog"])
    made = encoder(ids, mask, layers=True).stream("layers").values
    torch.testing.assert_close(found.stream("layers").values, made, rtol=1e-3, atol=1e-3)
    assert found.tokens is None
    assert feature_caches(wanting("text", encoder, "words"), words, CONFIG) == {}


def test_adapters_keep_an_encoder_out_of_the_cache(corpus):
    encoder = frozen_patches()
    encoder.adapters = ("weight",)
    assert feature_caches(wanting("image", encoder, "tokens"), corpus, CONFIG) == {}


def test_features_stored_before_streams_had_names_are_found(corpus, monkeypatch):
    written = []
    monkeypatch.setattr(caching, "content_key", lambda part: written.append(json.loads(part)) or content_key(part))
    for needs in ({"pooled"}, {"pooled", "tokens"}):
        encoder = frozen_patches()
        caching._Source("image", encoder, caching.layout_of("image", encoder, frozenset(needs))).store()
    keys = {"format", "encoder", "weights", "input", "view", "augmentations"}
    assert [set(setup) for setup in written] == [keys, keys | {"tokens"}]
    assert written[1]["tokens"] == 4


def test_views_of_several_sizes_have_no_common_number_of_tokens(corpus):
    method = Grid(frozen_patches())
    method.__class__ = type("Crops", (Grid,), {"views": (View(), View(size=4))})
    assert feature_caches(method, corpus, CONFIG) == {}
