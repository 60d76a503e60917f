from __future__ import annotations

import pytest
import torch

from accord.data.loading.features import Features
from accord.encoders import build_encoder
from accord.encoders.tokenizer import JsonTokenizer, train_bpe
from accord.errors import ConfigError
from accord.explaining.inputs import Grid, pair_batch, strongest, words_of

TEXTS = ["a red ball", "the señor's café, again"]


@pytest.fixture(scope="module")
def tokenizer() -> JsonTokenizer:
    return JsonTokenizer(train_bpe(TEXTS, vocabulary=280, length=20))


@pytest.mark.parametrize("text", ["a red ball", "The  señor's café,\nagain!", "a 🎈 ball", "ball a ball"])
def test_every_word_has_the_tokens_that_spell_it(tokenizer, text) -> None:
    ids = tokenizer([text])[0][0]
    words = words_of(tokenizer, text)
    assert [word.text for word in words] == [part.strip(",!") for part in text.split()]
    for word in words:
        assert word.text.lower() in tokenizer.decode(ids[list(word.tokens)])
    used = [token for word in words for token in word.tokens]
    assert used == sorted(used)
    assert 0 not in used
    assert len(ids) - 1 not in used


def test_words_that_were_cut_off_and_marks_alone_are_left_out(tokenizer) -> None:
    assert [word.text for word in words_of(tokenizer, "a red – ball" + " ball" * 40)][:2] == ["a", "red"]
    assert len(words_of(tokenizer, "ball " * 40)) < 20
    assert words_of(tokenizer, " ... , ") == []


def test_a_tokenizer_without_places_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not say which characters"):
        words_of(lambda texts: None, "a red ball")


def test_a_word_counts_as_its_strongest_token(tokenizer) -> None:
    words = words_of(tokenizer, "a señor's")
    values = torch.arange(20.0)[:, None] * torch.tensor([1.0, -1.0])
    expected = [[max(word.tokens), -min(word.tokens)] for word in words]
    assert strongest(values, words).tolist() == expected


def test_places_are_those_of_the_encoders_grid(model) -> None:
    assert [Grid(4, 4).box(place) for place in (0, 15)] == [(0, 0, 0.25, 0.25), (0.75, 0.75, 1, 1)]
    assert Grid(2, 4).box(5) == (0.25, 0.5, 0.5, 1)
    assert Grid.of(model, torch.zeros(1, 3, 16, 16)) == Grid(2, 2)


def test_without_a_grid_nothing_is_pointed_at(model, monkeypatch) -> None:
    flat = Features(torch.zeros(1, 2), torch.zeros(1, 17, 2))
    monkeypatch.setattr(model.method.encoders["image"], "encode", lambda x, mask=None: flat)
    with pytest.raises(ConfigError, match="gives 17 tokens without saying how they lie"):
        Grid.of(model, torch.zeros(1, 3, 16, 16))


def test_a_pair_is_fed_as_evaluation_feeds_it(model, squares) -> None:
    picture = squares.sample(3, ("image",))["image"]
    batch, looked_at = pair_batch(model, picture, "a red square")
    assert batch["image"].shape == (1, 3, 16, 16)
    torch.testing.assert_close(model.method.embed(batch)["image"], model.embed(images=[picture]))
    torch.testing.assert_close(model.method.embed(batch)["text"], model.embed(texts=["a red square"]))
    assert looked_at.size == (192, 192)


def test_an_empty_text_and_a_model_without_texts_are_refused(model) -> None:
    with pytest.raises(ConfigError, match="the text is empty"):
        pair_batch(model, "nothing.png", "  ")
    encoder = build_encoder("image", {"name": "tiny_vit", "size": 16, "patch": 8, "width": 16, "depth": 1, "heads": 2})
    only = type("Only", (), {"inputs": {"image": encoder.input}})()
    with pytest.raises(ConfigError, match="need one of pictures and texts"):
        pair_batch(only, "nothing.png", "a red ball")
