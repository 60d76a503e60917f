"""Which step of a sequence speaks for which word, as a table and as a figure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.explaining import draw_times, explain_times
from accord.methods import DataInfo, get_method
from accord.training.artifact import Model

TEXTS = ["rain in the north", "sun in the south tomorrow"]


@pytest.fixture
def cico():
    torch.manual_seed(0)
    poses = {"name": "windows:tiny_sequence", "window": 4, "tokens": 6, "length": 30}
    of = {"features": 3, "width": 8, "depth": 1, "heads": 2, "seconds_per_step": 0.04}
    towers = {
        "sequence": build_encoder("sequence", {**poses, "of": of}),
        "text": build_encoder("text", {"name": "tiny_text", "width": 8, "depth": 1, "heads": 2}, texts=TEXTS),
    }
    return Model(get_method("cico")({"dim": 8, "width": 8, "depth": 1, "heads": 2}, towers, DataInfo()))


@pytest.fixture
def poses(tmp_path):
    path = tmp_path / "poses.npy"
    np.save(path, np.random.default_rng(0).standard_normal((23, 3)).astype(np.float32))
    return path


def test_each_word_has_the_cosines_of_its_best_token_with_each_window_and_their_seconds(cico, poses):
    found = explain_times(cico, poses, "rain, in the south")
    assert found.words == ("rain", "in", "the", "south")
    torch.testing.assert_close(found.seconds, 0.04 * torch.tensor([0.0, 3, 7, 11, 15, 19]))  # of 20 windows
    words, windows = cico.tokens(texts=["rain, in the south"]).padded(), cico.tokens(sequences=[poses]).padded()
    cosines = words.tokens[0] @ windows.tokens[0].T
    torch.testing.assert_close(found.similarity[0], cosines[1:2].amax(dim=0), atol=2e-2, rtol=0)
    table = found.rows()
    assert [row[0] for row in table] == list(found.words)
    assert [float(row[1]) for row in table] == [round(float(found.seconds[step]), 2) for step in found.best]
    assert torch.equal(found.similarity.argmax(dim=1), torch.tensor(found.best))


def test_a_short_sequence_shows_the_windows_that_it_has(cico):
    found = explain_times(cico, np.zeros((6, 3), dtype=np.float32), "sun tomorrow")
    assert found.similarity.shape == found.weights.shape == (2, 3)
    torch.testing.assert_close(found.weights.sum(dim=1), torch.ones(2), atol=1e-3, rtol=0)


def test_the_figure_frames_the_strongest_window_of_each_word(cico, poses, tmp_path):
    path = draw_times(explain_times(cico, poses, "rain in the north"), tmp_path / "new" / "times.png")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    frame = np.abs(pixels - (0x30, 0xD0, 0xC0)).max(axis=2) < 12
    assert frame.sum() > 4 * 100
    assert [child.name for child in path.parent.iterdir()] == ["times.png"]


def test_what_cannot_be_explained_is_refused(cico, poses, model):
    with pytest.raises(ConfigError, match="the text is empty"):
        explain_times(cico, poses, " ")
    with pytest.raises(ConfigError, match=r"method fdt does not compare words with steps in time; .* cico"):
        explain_times(model, poses, "red")
