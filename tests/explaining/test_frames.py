import numpy as np
import pytest
import torch
from PIL import Image
from squares import PATCH, SIDE, square

from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.explaining import FrameExplanation, draw_frames, explain_times
from accord.explaining.times import standing_out
from accord.methods import DataInfo, get_method
from accord.training.artifact import Model

TEXT = "a red, untaught square"


@pytest.fixture
def hbi():
    torch.manual_seed(0)
    image = {"name": "tiny_vit", "size": SIDE, "patch": PATCH, "width": 16, "depth": 1, "heads": 2}
    towers = {
        "video": build_encoder("video", {"name": "frames", "image": image, "frames": 4}),
        "text": build_encoder(
            "text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=["a red square"]
        ),
    }
    return Model(get_method("hbi")({"dim": 8, "heads": 2, "head_width": 4}, towers, DataInfo()))


@pytest.fixture
def clip(tmp_path):
    """A folder of three frames, fewer than the model takes."""
    for number, colour in enumerate(("red", "green", "blue")):
        square(colour, number).save(tmp_path / f"{number}.png")
    return tmp_path


def test_every_word_has_what_the_method_says_of_its_best_token_and_each_real_frame(hbi, clip):
    found = explain_times(hbi, clip, TEXT)
    assert found.words == ("a", "red", "untaught", "square")
    assert isinstance(found, FrameExplanation)
    assert found.similarity.shape == found.weights.shape == (4, 3)
    assert len(found.frames) == len(found.seconds) == 3
    assert all(frame.size == (192, 192) for frame in found.frames)
    again = explain_times(hbi, clip, TEXT)
    torch.testing.assert_close(again.similarity, found.similarity)


def test_a_line_names_the_best_frame_and_how_far_it_stands_out():
    frames = (square("red", 0),) * 3
    values = torch.tensor([[0.0, 3, 0], [1, 1, 1]])
    found = FrameExplanation("red ball", ("red", "ball"), torch.tensor([0.0, 0.5, 1]), values, values, frames)
    assert list(found.columns) == ["word", "frame", "second", "above mean"]
    assert found.rows() == [("red", "2", "0.50", "1.4"), ("ball", "1", "0.00", "0.0")]
    assert (standing_out(found.similarity)[1] == 0).all()


def test_the_drawing_is_a_strip_with_a_frame_around_each_words_best(hbi, clip, tmp_path):
    path = draw_frames(explain_times(hbi, clip, TEXT), tmp_path / "new" / "frames.png")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert pixels.shape[1] == 1200
    frame = np.abs(pixels - (0xE0, 0x20, 0x20)).max(axis=2) < 12
    assert frame.sum() > 4 * 100
    assert [child.name for child in path.parent.iterdir()] == ["frames.png"]


def test_what_cannot_be_explained_is_refused(hbi, clip, model):
    with pytest.raises(ConfigError, match="the text is empty"):
        explain_times(hbi, clip, " ")
    with pytest.raises(
        ConfigError, match=r"method fdt does not compare words with steps in time; methods that do: .*hbi"
    ):
        explain_times(model, clip, "red")
