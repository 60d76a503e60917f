"""Search over cards and imported papers, with and without the text encoder."""

from __future__ import annotations

import numpy as np
import pytest

from accord.errors import ConfigError
from accord.papers import vectors
from accord.papers.feeds import Entry, Feed
from accord.papers.finding import FILTERS, about, find, items, similar
from accord.papers.store import Store


@pytest.fixture
def without_encoder(monkeypatch) -> None:
    monkeypatch.setattr(vectors, "encoder", lambda: None)


@pytest.fixture
def with_encoder() -> None:
    if vectors.encoder() is None:
        pytest.skip("the extra weights is not installed")


@pytest.fixture
def store(tmp_path):
    papers = [("Ripening of cheese", "Moulds and time."), ("Noisy web labels again", "Prototypes find wrong labels.")]
    entries = [Entry.parse({"title": title, "abstract": text, "date": "2024-01-18"}) for title, text in papers]
    with Store(tmp_path / "s.sqlite") as opened:
        opened.add(Feed("f", "JSON", tuple(entries), ()))
        yield opened


def names(answer) -> list[str]:
    return [found.item.name for found in answer.found]


@pytest.mark.usefixtures("with_encoder")
@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("prototypes for noisy web labels", "capro"),
        ("SwAV", "swav"),
        ("macil sd", "macil_sd"),
        ("classify the nodes of a network of things", "meow"),
        ("animate a still photograph", "through_the_mask"),
    ],
)
def test_descriptions_and_names_are_found(query, name) -> None:
    answer = find(query, items(), limit=3)
    assert name in names(answer)
    assert answer.how == "meaning and words"
    assert answer.total == len(items())


@pytest.mark.usefixtures("without_encoder")
def test_without_the_encoder_words_are_searched_and_that_is_said() -> None:
    answer = find("prototypes of noisy labels from the web", items(), limit=4)
    assert answer.how == "words"
    assert {"capro", "prototypical"} <= set(names(answer))
    assert all(found.cosine is None and found.by_words for found in answer.found)
    assert find("xylophone", items()).total == 0
    assert find("of the", items()).total == 0


@pytest.mark.usefixtures("without_encoder")
@pytest.mark.parametrize("query", ['" OR 1', "title:swav", "swav*", "NEAR(a b)", "a-b ^c {d}", "日本", "'; DROP TABLE"])
def test_no_query_is_taken_for_a_language(query) -> None:
    find(query, items())


@pytest.mark.usefixtures("without_encoder")
def test_words_are_found_in_any_form() -> None:
    assert names(find("clustering", items(), limit=50))[0] in names(find("clusters", items(), limit=50))


def test_an_empty_query_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing is asked for"):
        find("  ", items())


@pytest.mark.usefixtures("with_encoder")
def test_imported_papers_are_found_beside_cards(store) -> None:
    among = items(store)
    assert names(find("noisy web labels", among, limit=1)) == ["paper:2"]
    assert [found.item.name for found in about("cheese", items(store, cards=False))[1]] == ["paper:1"]
    near = similar("paper:2", among, limit=3)
    assert "capro" in names(near)
    assert "paper:2" not in names(near)


@pytest.mark.parametrize("encoder", ["with_encoder", "without_encoder"])
def test_what_is_similar_leaves_out_the_card_itself(encoder, request) -> None:
    request.getfixturevalue(encoder)
    near = similar("simcse", items(), limit=3)
    assert len(near.found) == 3
    assert "simcse" not in names(near)
    assert "simcse_supervised" in names(near)


def test_pages_of_answers_follow_each_other() -> None:
    among = items()
    whole = names(find("labels", among, limit=20))
    assert names(find("labels", among, limit=5)) + names(find("labels", among, limit=15, offset=5)) == whole


def test_cards_are_chosen_by_modality_task_and_status(store) -> None:
    graphs = items(store, modality="graph")
    assert graphs
    assert all("graph" in item.card.modalities for item in graphs)
    planned = items(store, status="planned", task="segmentation")
    assert planned
    assert all(item.card.status == "planned" and not item.card.example for item in planned)
    assert len(items(store)) == len(items()) + 2
    dates = [item.date for item in items(store)]
    assert dates == sorted(dates, reverse=True)
    with pytest.raises(ConfigError, match=r"no task 'retreival'; did you mean retrieval\?"):
        items(task="retreival")
    assert all(FILTERS.values())


def test_an_unknown_paper_or_card_is_said(store) -> None:
    with pytest.raises(ConfigError, match="no imported paper 'paper:99'"):
        similar("paper:99", items(store))
    with pytest.raises(ConfigError, match="no card 'capr0'; did you mean capro"):
        similar("capr0", items(store))


def test_each_text_is_encoded_once_and_a_damaged_cache_is_none(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(vectors, "cache_folder", lambda *parts: tmp_path.joinpath(*parts))
    asked: list[str] = []

    def embed(texts) -> np.ndarray:
        asked.extend(texts)
        return np.array([[len(text), 1.0] for text in texts])

    first = vectors.kept_vectors(["a", "bb", "a"], embed)
    assert asked == ["a", "bb"]
    assert first.tolist() == [[1, 1], [2, 1], [1, 1]]
    assert vectors.kept_vectors(["bb", "ccc"], embed).tolist() == [[2, 1], [3, 1]]
    assert asked == ["a", "bb", "ccc"]
    (tmp_path / "papers" / "vectors-minilm.sqlite").write_bytes(b"no database" * 500)
    assert vectors.kept_vectors(["bb"], embed).tolist() == [[2, 1]]
    assert asked[3:] == ["bb"]
