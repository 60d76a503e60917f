"""Training on clips: a method's views are made of them, cached by view and augmentation, and resumed exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from accord.config import Config
from accord.data.augmenting.views import View
from accord.data.corpus import Corpus, corpus_from_items
from accord.data.inputs import ImageInput, VideoInput
from accord.data.loading.batches import Recipe
from accord.data.loading.features import Features
from accord.encoders.base import Encoder
from accord.methods.abilities import Embeds
from accord.methods.base import Batch, DataInfo, Method
from accord.training.caching import feature_caches
from accord.training.config import TrainingConfig
from accord.training.fit import fit

CONFIG = TrainingConfig(epochs=2, batch_size=4, cached_augmentations=3, accelerator="cpu")


class MeanFrame(Encoder):
    """The mean of a clip's frames, shrunk, times a weight."""

    modality = "video"

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.calls = 12, 0
        self.input = VideoInput(ImageInput(size=8, mean=(0, 0, 0), std=(1, 1, 1)), frames=3)
        self.weight = nn.Parameter(torch.tensor(1.0))

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        self.calls += len(x)
        pictures = nn.functional.adaptive_avg_pool2d(x.flatten(0, 1), 2).flatten(1)
        return Features(self.weight * pictures.unflatten(0, x.shape[:2]).mean(dim=1))

    def blocks(self) -> list[nn.Module]:
        return []

    def spec(self) -> dict[str, Any]:
        return {"name": "mean_frame"}


class NoSettings(Config):
    """No settings."""


class TwoCuts(Embeds, Method):
    """Two views of a clip under one linear map."""

    name, Config = "two_cuts", NoSettings
    needs = {"video": frozenset({"pooled"})}  # noqa: RUF012
    views = (View(scale=(0.3, 1.0)), View(scale=(0.1, 0.3), flip=1.0))

    def __init__(self, encoder: Encoder) -> None:
        super().__init__({}, {"video": encoder}, DataInfo())
        self.head = nn.Linear(12, 4)

    def loss(self, batch: Batch, step: Any) -> dict[str, Tensor]:
        first, second = (self.head(self.encoders["video"](view).pooled) for view in batch["video_views"])
        assert batch["view_boxes"].shape[1:] == (2, 4)
        return {"total": (first - second).square().mean()}

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        return {"video": nn.functional.normalize(self.head(self.encoders["video"](batch["video"]).pooled), dim=1)}


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Eight clips of twelve frames of noise."""
    noise = np.random.default_rng(0)
    for clip in range(8):
        (tmp_path / str(clip)).mkdir()
        for frame in range(12):
            pixels = noise.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / str(clip) / f"{frame:02}.png")
    return corpus_from_items("video", [tmp_path / str(clip) for clip in range(8)])


def frozen() -> MeanFrame:
    encoder = MeanFrame()
    encoder.requires_grad_(False)
    return encoder


def test_a_run_on_cached_clips_never_calls_the_encoder(corpus: Corpus, tmp_path: Path) -> None:
    encoder = frozen()
    fit(TwoCuts(encoder), corpus, CONFIG, tmp_path / "run", progress=False)
    assert encoder.calls == 8 * (1 + 2 * 3), "the evaluation view, and three augmentations of each of two views"


def test_cached_augmentations_differ_in_frames_and_cuts_as_those_of_pictures_do(corpus: Corpus) -> None:
    encoder = frozen()
    cache = feature_caches(TwoCuts(encoder), corpus, CONFIG)["video"]
    assert cache.variants is not None
    assert cache.variants.shape[:3] == (8, 2, 3)
    assert cache.boxes is not None
    assert cache.flips is not None
    assert cache.flips[:, 1].all()
    assert len({tuple(row.tolist()) for row in cache.variants[0].flatten(0, 1)}) == 6
    plain = Recipe({"video": encoder.input}, training=False)
    samples = [plain.cut(corpus.sample(n, ("video",), plain.inputs), n, 0) for n in range(8)]
    batch = plain.assemble(samples, np.arange(8), 0)
    torch.testing.assert_close(cache.plain, encoder(batch["video"], batch["video_mask"]).pooled)


def test_frames_are_drawn_for_each_augmentation_not_once_for_all(corpus: Corpus) -> None:
    still = TwoCuts(frozen())
    whole = View(scale=(1.0, 1.0), ratio=(4 / 3, 4 / 3), flip=0.0)
    still.views = (whole, whole)  # type: ignore[misc]
    cache = feature_caches(still, corpus, CONFIG)["video"]
    assert cache.variants is not None
    assert len({tuple(row.tolist()) for row in cache.variants[0, 0]}) == 3


class Stopping(TwoCuts):
    """Stops in its fourth step, amid the second epoch."""

    steps = 0

    def loss(self, batch: Batch, step: Any) -> dict[str, Tensor]:
        self.steps += 1
        if self.steps == 4:
            raise RuntimeError("stopped")
        return super().loss(batch, step)


def test_training_on_clips_resumes_exactly(corpus: Corpus, tmp_path: Path) -> None:
    config = TrainingConfig(epochs=3, batch_size=4, accelerator="cpu", checkpoint_every=1, lr=0.01)

    def start(kind: type[TwoCuts]) -> TwoCuts:
        torch.manual_seed(0)
        return kind(MeanFrame())

    whole, resumed = start(TwoCuts), start(TwoCuts)
    fit(whole, corpus, config, tmp_path / "whole", progress=False)
    with pytest.raises(RuntimeError, match="stopped"):
        fit(start(Stopping), corpus, config, tmp_path / "stopped", progress=False)
    assert fit(resumed, corpus, config, tmp_path / "stopped", progress=False, resume=True).steps == 3
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
