import numpy as np
import pytest
import torch
from PIL import Image
from squares import PATCH, SIDE, square

from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.explaining import draw_words, explain_words
from accord.explaining.words import WordMap
from accord.methods import DataInfo, get_method
from accord.training.artifact import Model


@pytest.fixture
def filip():
    torch.manual_seed(0)
    towers = {
        "image": build_encoder(
            "image", {"name": "tiny_vit", "size": SIDE, "patch": PATCH, "width": 16, "depth": 1, "heads": 2}
        ),
        "text": build_encoder(
            "text", {"name": "tiny_text", "width": 16, "depth": 1, "heads": 2}, texts=["a red square"]
        ),
    }
    return Model(get_method("filip")({"dim": 8}, towers, DataInfo()))


def test_every_word_has_the_cosines_of_its_best_token_with_each_patch(filip):
    picture, text = square("red", 2), "a red squares, untaught"
    found = explain_words(filip, picture, text)
    assert [word.word for word in found.maps] == ["a", "red", "squares", "untaught"]
    tokens, patches = filip.tokens(texts=[text]).padded(), filip.tokens(images=[picture]).padded()
    similarity = tokens.tokens[0] @ patches.tokens[0].T  # (L, 4)
    torch.testing.assert_close(found.maps[0].heat, similarity[1].reshape(2, 2), atol=2e-3, rtol=0)
    pieces = similarity[4:-1]  # after <start> a red square
    assert len(pieces) > 2  # the last word is spelt
    assert found.maps[3].heat.max() <= pieces.max() + 2e-3
    assert found.picture.size == (192, 192)


def test_the_best_patch_is_given_by_row_and_column():
    assert WordMap("cat", torch.tensor([[0.1, 0.2], [0.7, 0.3]])).best == (1, 0)


def test_the_drawing_marks_the_best_patch_and_leaves_no_half_file(filip, tmp_path):
    found = explain_words(filip, square("blue", 1), "a blue square in one of the four quarters")
    path = draw_words(found, tmp_path / "new" / "words.png")
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert pixels.shape[1] == 1200
    frame = np.abs(pixels - (0x30, 0xD0, 0xC0)).max(axis=2) < 12
    assert frame.sum() > 9 * 100
    assert [child.name for child in path.parent.iterdir()] == ["words.png"]


def test_what_cannot_be_explained_is_refused(filip, model):
    with pytest.raises(ConfigError, match="the text is empty"):
        explain_words(filip, square("red", 0), " ")
    with pytest.raises(ConfigError, match="method fdt does not compare words with patches; methods that do: filip"):
        explain_words(model, square("red", 0), "red")
