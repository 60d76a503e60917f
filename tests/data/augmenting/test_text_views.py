from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from accord.data.augmenting.text_views import STOP_WORDS, TextView, augment, synonyms_of
from accord.data.corpus import Corpus
from accord.data.inputs import TextInput
from accord.data.loading.features import FeatureCache
from accord.data.loading.loader import eval_loader, train_loader
from accord.errors import ConfigError, DataError
from data.samples import Letters

CAPTION = "a small photo of the big red car near some trees"
INPUTS = {"text": TextInput(Letters())}


def read(ids: Tensor, mask: Tensor) -> list[str]:
    return ["".join(map(chr, row[real].tolist())) for row, real in zip(ids, mask, strict=True)]


@pytest.mark.parametrize("seed", range(20))
def test_an_augmented_caption_depends_on_its_seed_alone(seed: int) -> None:
    view = TextView(stopwords=0.5, synonym=0.4, swap=0.4, delete=0.2)
    assert augment(CAPTION, view, seed) == augment(CAPTION, view, seed)
    assert augment(CAPTION, TextView(), seed) == CAPTION


def test_seeds_differ() -> None:
    view = TextView(stopwords=0.5, synonym=0.4, swap=0.4, delete=0.2)
    assert len({augment(CAPTION, view, seed) for seed in range(40)}) > 15


def test_stop_words_go_with_their_probability() -> None:
    texts = Counter(augment(CAPTION, TextView(stopwords=0.8), seed) for seed in range(400))
    without = "small photo big red car near trees"
    assert set(texts) == {CAPTION, without}
    assert 0.74 < texts[without] / 400 < 0.86


def test_one_edit_is_made_and_the_three_have_their_probabilities() -> None:
    view = TextView(synonym=0.4, swap=0.4, delete=0.2, strength=0.5, synonyms=lambda word: ["SYN"])
    kinds: Counter[str] = Counter()
    for seed in range(600):
        words = augment(CAPTION, view, seed).split()
        kinds["synonym" if "SYN" in words else "swap" if len(words) == len(CAPTION.split()) else "delete"] += 1
    assert 0.34 < kinds["synonym"] / 600 < 0.46
    assert 0.34 < kinds["swap"] / 600 < 0.46
    assert 0.14 < kinds["delete"] / 600 < 0.26


def test_a_swap_keeps_the_words_and_a_deletion_their_order() -> None:
    words = CAPTION.split()
    for seed in range(30):
        assert sorted(augment(CAPTION, TextView(swap=1.0, strength=0.3), seed).split()) == sorted(words)
        kept = iter(words)
        assert all(word in kept for word in augment(CAPTION, TextView(delete=1.0, strength=0.5), seed).split())


def test_an_augmentation_that_would_empty_the_text_is_left_out() -> None:
    assert augment("of the", TextView(stopwords=1.0), 0) == "of the"
    assert augment("red car", TextView(delete=1.0, strength=1.0), 0) == "red car"
    assert augment("", TextView(stopwords=1.0, swap=1.0), 0) == ""
    assert augment("car", TextView(swap=1.0), 0) == "car"


def test_white_space_stays_where_nothing_is_changed() -> None:
    assert augment("red   car ", TextView(stopwords=1.0), 0) == "red   car "
    assert augment("The  Cat &amp; DOG", TextView(clean=True), 0) == "the cat & dog"


def test_synonyms_keep_capital_and_punctuation_and_spare_stop_words() -> None:
    view = TextView(synonym=1.0, strength=1.0, synonyms={"car": ["auto"], "the": ["that"]}.get)
    assert augment("The Car, (car)!", view, 0) == "The Auto, (auto)!"


def test_a_tenth_of_the_words_but_at_least_one_is_replaced() -> None:
    known = TextView(synonym=1.0, synonyms=lambda word: ["X"])
    assert augment("red car", known, 0).split().count("X") == 1
    assert augment(" ".join(["red"] * 25), known, 0).split().count("X") == 2


def test_the_table_inside_holds_everyday_words_in_their_everyday_sense() -> None:
    known = synonyms_of()
    assert "automobile" in (known("car") or ())
    assert "large" in (known("big") or ())
    assert known("cat") is None  # not "to vomit"
    assert known("xyzzy") is None


@pytest.mark.parametrize("name", ["own.json", "own.json.gz"])
def test_a_table_of_ones_own_is_a_json_file(name: str, tmp_path: Path) -> None:
    data = json.dumps({"car": ["wagon"]}).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    view = TextView(synonym=1.0, synonyms=str(tmp_path / name))
    assert augment("red car", view, 3) == "red wagon"


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"synonyms .*missing\.json cannot be read"):
        augment("red car", TextView(synonym=1.0, synonyms=str(tmp_path / "missing.json")), 0)
    (tmp_path / "wrong.json").write_text('{"car": "auto"}')
    with pytest.raises(DataError, match=r"wrong\.json: expected a JSON object of lists"):
        synonyms_of(str(tmp_path / "wrong.json"))
    (tmp_path / "broken.json.gz").write_bytes(gzip.compress(b"{}" * 100)[:-12])
    with pytest.raises(DataError, match=r"broken\.json\.gz cannot be read"):
        synonyms_of(str(tmp_path / "broken.json.gz"))


def test_wrong_probabilities_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"TextView\.stopwords = 1\.2: expected a probability"):
        TextView(stopwords=1.2)
    with pytest.raises(ConfigError, match=r"synonym \+ swap \+ delete \+ antonym = 1\.2; one edit is made"):
        TextView(synonym=0.4, swap=0.4, delete=0.4)


def test_views_are_hashable_and_can_be_counted() -> None:
    assert len({TextView(), TextView(), TextView(swap=0.1, synonyms={}.get)}) == 2


def test_stop_words_are_lower_case_words() -> None:
    assert all(word == word.lower() and word.isalpha() for word in STOP_WORDS)


def test_a_batch_holds_every_text_view_in_order_beside_the_text(make_corpus: Callable[..., Corpus]) -> None:
    views = (TextView(), TextView(delete=1.0, strength=0.5, count=2))
    corpus = make_corpus()
    with_views = next(iter(train_loader(corpus, INPUTS, text_views=views, batch_size=8, seed=0)))
    without = next(iter(train_loader(corpus, INPUTS, batch_size=8, seed=0)))
    assert len(with_views["text_views"]) == 3
    assert torch.equal(with_views["text"], without["text"])
    assert "text_views" not in without
    for ids, mask in with_views["text_views"]:
        assert len(ids) == len(mask) == 8
        for row, text in zip(with_views["index"].tolist(), read(ids, mask), strict=True):
            assert set(text.split()) <= {str(row), "says", "0", "1", "2"}


def test_each_text_view_draws_its_own_caption(make_corpus: Callable[..., Corpus]) -> None:
    batches = train_loader(make_corpus(), INPUTS, text_views=(TextView(count=3),), batch_size=20, seed=0)
    texts = [read(*view) for view in next(iter(batches))["text_views"]]
    assert len({row[-1] for row in texts[0]}) == 3
    assert texts[0] != texts[1] != texts[2]


def test_text_views_follow_seed_epoch_and_row_whatever_the_batch(make_corpus: Callable[..., Corpus]) -> None:
    views = (TextView(swap=1.0), TextView(delete=1.0, strength=0.3))

    def texts(row: int, **options: int) -> list[list[str]]:
        batches = train_loader(make_corpus(), INPUTS, text_views=views, **{"batch_size": 5, "seed": 0, **options})
        found = []
        for _ in range(2):
            for batch in batches:
                for place in (batch["index"] == row).nonzero():
                    found.append([read(*view)[int(place)] for view in batch["text_views"]])
        return found

    first, second = texts(7)
    assert [first, second] == texts(7, batch_size=4) == texts(7, workers=1)
    assert texts(7, seed=1) != [first, second]
    assert any(first != second for first, second in map(texts, range(4)))


def test_evaluation_has_no_text_views(make_corpus: Callable[..., Corpus]) -> None:
    assert "text_views" not in next(iter(eval_loader(make_corpus(), INPUTS)))


def test_cached_texts_cannot_be_augmented(make_corpus: Callable[..., Corpus]) -> None:
    cache = {"text": FeatureCache(torch.zeros(20, 4))}
    with pytest.raises(DataError, match="augments captions, so their features cannot be cached"):
        train_loader(make_corpus(), INPUTS, text_views=(TextView(),), batch_size=5, seed=0, cache=cache)
