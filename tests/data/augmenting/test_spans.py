from __future__ import annotations

from dataclasses import replace

import pytest

from accord.data.augmenting.spans import SpanView, span_of
from accord.data.augmenting.text_views import HIDDEN, TextView, augment
from accord.data.corpus import corpus_from_items
from accord.data.inputs import TextInput
from accord.data.loading.loader import train_loader
from accord.encoders.tokenizer import JsonTokenizer, train_bpe
from accord.errors import ConfigError

DOCUMENT = " ".join(f"word{number}" for number in range(80))
TOKENIZER = JsonTokenizer(train_bpe([DOCUMENT], vocabulary=400, length=12))
VIEW = SpanView(anchors=2, positives=1, max_len=8, min_len=4, strategy="subsuming")


def test_a_positive_lies_inside_the_anchor_of_its_draw() -> None:
    for seed in range(20):
        anchor, inside = (span_of(DOCUMENT, replace(VIEW, place=place), seed, TOKENIZER) for place in (0, 1))
        assert inside in anchor
        assert 4 <= len(TOKENIZER.offsets(anchor)) <= 9


def test_a_document_is_cut_beyond_what_the_tokenizer_keeps() -> None:
    starts = [DOCUMENT.find(span_of(DOCUMENT, VIEW, seed, TOKENIZER)) for seed in range(40)]
    assert max(starts) > len(DOCUMENT) // 2


def test_a_short_document_has_shorter_spans_and_the_shortest_is_whole() -> None:
    assert len(TOKENIZER.offsets(span_of("word1 word2 word3 word4", VIEW, 0, TOKENIZER))) < 8
    assert span_of("a", VIEW, 0, TOKENIZER) == "a"


def test_the_spans_of_a_row_are_of_one_draw_and_the_same_for_the_same_epoch() -> None:
    views = tuple(replace(VIEW, place=place) for place in range(4))
    corpus = corpus_from_items("text", [DOCUMENT, f"{DOCUMENT} end"])
    inputs = {"text": TextInput(TOKENIZER)}
    loader = train_loader(corpus, inputs, text_views=views, batch_size=2, seed=0)
    first, again = (next(iter(train_loader(corpus, inputs, text_views=views, batch_size=2, seed=0))) for _ in range(2))
    for one, other in zip(first["text_views"], again["text_views"], strict=True):
        assert (one[0] == other[0]).all()
    texts = [[TOKENIZER.decode(row) for row in ids] for ids, _ in next(iter(loader))["text_views"]]
    assert all(inside in anchor for inside, anchor in zip(texts[1], texts[0], strict=True))


def test_a_hidden_span_becomes_one_mask_token_and_lookalikes_do_not() -> None:
    text = "the word10 stands before word11 <mask> word12"
    hidden = augment(text, TextView(hide=5), seed=1)
    assert hidden.count(HIDDEN) == 1
    assert len(hidden) == len(text) - 4
    ids, _ = TOKENIZER.hiding([hidden])
    assert int((ids == TOKENIZER.special.mask).sum()) == 1
    assert augment("too short to hide", TextView(hide=5), seed=1) == "too short to hide"


def test_another_caption_is_never_that_of_the_batch() -> None:
    corpus = corpus_from_items("text", ["a", "b"]).with_texts([["one", "two", "three"], ["four"]])
    inputs = {"text": TextInput(TOKENIZER)}
    loader = train_loader(corpus, inputs, text_views=(TextView(caption="other"),), batch_size=2, seed=0)
    for _ in range(6):
        batch = next(iter(loader))
        both = [[TOKENIZER.decode(row) for row in ids] for ids in (batch["text"], batch["text_views"][0][0])]
        for text, other in zip(*both, strict=True):
            assert (text == other) is (text == "four")


def test_words_of_another_meaning_take_the_place_of_as_many() -> None:
    view = TextView(antonym=1.0, strength=0.5, antonyms={"big": ["small"], "red": ["green"]}.get)
    assert augment("a big red car", view, seed=0) == "a small green car"
    assert len(augment("a big red car", TextView(antonym=1.0, strength=0.5), seed=0).split()) == 4


def test_a_stretch_is_kept_and_a_rewriting_comes_first() -> None:
    kept = augment("one two three four", TextView(keep=0.5, rewrite=lambda text, seed: text.upper()), seed=0)
    assert kept in "ONE TWO THREE FOUR"
    assert len(kept.split()) == 2


def test_a_tokenizer_without_a_mask_token_hides_nothing() -> None:
    class Plain(JsonTokenizer):
        special = replace(TOKENIZER.special, mask=None)

    with pytest.raises(ConfigError, match="the tokenizer has none"):
        Plain(TOKENIZER.text).hiding(["a"])
