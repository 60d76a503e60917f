import numpy as np
import pytest
import torch
from PIL import Image

from accord.data.corpus import open_corpus
from accord.errors import ConfigError, DataError
from accord.searching.index import build_index
from accord.searching.query import query_modality, search, search_altered, search_like
from accord.searching.rows import row_named


@pytest.fixture
def index(run, model, write, rows):
    return build_index(run, model, write(rows), progress=False)


@pytest.mark.parametrize("colour", ["red", "green", "blue", "yellow"])
def test_words_find_pictures(index, model, colour):
    hits = search(index, model, f"something {colour}", k=3)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert all(colour in hit.caption for hit in hits)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_picture_finds_itself_by_path_by_string_and_opened(index, model, folder):
    path = folder / "blue1.png"
    for query in (path, str(path), Image.open(path)):
        assert search(index, model, query, k=1)[0].path == str(path)


def test_words_are_taken_from_a_picture_and_added(index, model, folder):
    path = str(folder / "blue1.png")
    changed = search_altered(index, model, path, minus=["blue"], plus=["red"], strength=2.0, k=3)
    assert all("red" in hit.caption for hit in changed)
    assert [hit.rank for hit in changed] == [1, 2, 3]


def test_an_altered_picture_does_not_find_itself(index, model, folder):
    path = str(folder / "blue1.png")
    hits = search_altered(index, model, path, plus=["blue"], strength=0.01, k=12)
    assert path not in [hit.path for hit in hits]
    assert len(hits) == 11
    assert "blue" in hits[0].caption
    with pytest.raises(ConfigError, match="take words"):
        search_altered(index, model, path, plus=[" "])


def test_a_row_finds_its_like_but_not_itself(index, folder):
    hits = search_like(index, 7, k=2)  # of four colours, three shades each
    assert {hit.row for hit in hits} == {6, 8}
    assert [hit.rank for hit in hits] == [1, 2]
    assert len(search_like(index, 7, k=20)) == 11
    with pytest.raises(ConfigError, match="no row 12"):
        search_like(index, 12)


def test_a_row_is_named_by_its_number_or_by_what_it_alone_says(write, rows):
    corpus = write([*rows, ("odd.png", "7", (1, 2, 3)), ("twin.png", rows[0][1], (3, 2, 1))])
    assert row_named(corpus, "7") == 7
    assert row_named(corpus, "a blue card, shade 1") == 7
    assert row_named(corpus.select([9, 8]), "8") == 8
    with pytest.raises(DataError, match=r"2 rows of .* say 'a red card, shade 0': give a row's number"):
        row_named(corpus, rows[0][1])
    for name in ("99", "a blue card", ""):
        with pytest.raises(DataError, match=r"no row of .* says it in a column \(file_name, caption\)"):
            row_named(corpus, name)


def test_the_id_of_a_node_comes_before_the_number_of_a_row(tmp_path):
    for folder, name, table in (
        ("nodes", "paper", "id,title\n2,two\n0,nought\n1,one"),
        ("edges", "paper__cites__paper", "source,target\n2,0\n1,2"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.csv").write_text(table)
    corpus = open_corpus(tmp_path, quiet=True)
    assert [row_named(corpus, name) for name in ("2", "0", "1", "nought")] == [0, 1, 2, 1]


def test_a_row_without_anything_embedded_has_no_like(index, monkeypatch):
    monkeypatch.setattr(type(index), "vectors_of", lambda self, row: {})
    with pytest.raises(DataError, match="row 3 has nothing that the model embeds"):
        search_like(index, 3)


def test_a_vector_is_used_as_it_is(index, model):
    query = model.embed(texts=["yellow"])[0]
    expected = [hit.row for hit in search(index, model, "yellow", k=3)]
    assert [hit.row for hit in search(index, model, query, k=3)] == expected
    assert [hit.row for hit in search(index, model, np.asarray(query), k=3)] == expected


def test_the_texts_can_be_searched_instead_of_the_pictures(index, model):
    hits = search(index, model, "a red card", k=3, target="text")
    assert all(hit.score == pytest.approx(1, abs=1e-5) for hit in hits)


def test_words_are_compared_with_texts_where_no_picture_vector_has_their_size(run, model, write, rows):
    pictures = model.embed_corpus
    model.embed_corpus = lambda corpus, modality: (
        pictures(corpus, modality) if modality == "text" else torch.eye(5)[corpus.ids % 5]
    )
    index = build_index(run, model, write(rows), progress=False)
    assert index.dims == {"image": 5, "text": 3}
    assert "green" in search(index, model, "green", k=1)[0].caption
    with pytest.raises(ConfigError, match="a query of 7 numbers fits none of the index's vectors"):
        search(index, model, torch.ones(7))


def test_what_the_model_cannot_embed_is_refused(index, model):
    model.modalities = ("image",)
    with pytest.raises(ConfigError, match="the model embeds image; it cannot search by text"):
        search(index, model, "red")


def test_empty_words_missing_files_and_unknown_kinds_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="the query is empty"):
        query_modality("  ")
    with pytest.raises(DataError, match=r"there is no file missing\.png"):
        query_modality("missing.png")
    odd = tmp_path / "notes.docx"
    odd.write_bytes(b"x")
    with pytest.raises(DataError, match="is of no known kind"):
        query_modality(odd)


def test_a_sentence_that_ends_in_a_dot_is_words():
    assert query_modality("a red heart.") == "text"
    assert query_modality("version 2.5 of the logo") == "text"


def test_a_folder_of_frames_is_a_clip_where_its_path_has_a_slash(tmp_path, monkeypatch):
    frames = tmp_path / "frames"
    frames.mkdir()
    Image.new("RGB", (8, 8)).save(frames / "0.png")
    monkeypatch.chdir(tmp_path)
    for query in (frames, str(frames), "./frames", "frames/"):
        assert query_modality(query) == "video"
    assert query_modality("frames") == "text"
    assert query_modality("and/or") == "text"
    assert query_modality("a" * 5000 + "/b") == "text"


def test_a_word_that_is_a_folder_of_frames_too_has_to_be_made_clear(index, model, tmp_path, monkeypatch):
    (tmp_path / "red").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "red" / "0.png")
    monkeypatch.chdir(tmp_path)
    assert "red" in search(index, model, "red", k=1)[0].caption  # the model embeds no clips
    with pytest.raises(ConfigError, match="it cannot search by video"):
        search(index, model, "./red")
    model.modalities = ("image", "text", "video")
    with pytest.raises(ConfigError, match=r"red is a folder of frames too: write \./red for the clip, --text red for"):
        search(index, model, "red")


def test_answers_of_some_labels_are_the_nearest_of_these(run, model, write, rows):
    corpus = write(rows)
    names = [caption.split()[1] for _, caption, _ in rows]
    classes = sorted(set(names))
    labelled = corpus.with_labels(np.array([*(classes.index(name) for name in names[:-1]), -1]), classes=classes)
    index = build_index(run, model, labelled, progress=False)
    assert index.labels == {"blue": 3, "green": 3, "red": 3, "yellow": 2}
    hits = search(index, model, "something red", k=10, labels=["blue", "yellow"])
    assert {hit.label for hit in hits} == {"blue", "yellow"}
    assert len(hits) == 5
    everything = [hit for hit in search(index, model, "something red", k=12) if hit.label in ("blue", "yellow")]
    assert [(hit.row, hit.score) for hit in hits] == [(hit.row, hit.score) for hit in everything]
    assert {hit.label for hit in search_like(index, 0, k=5, labels=["green"])} == {"green"}


def test_rows_are_added_and_taken_as_words_are(index, model):
    hits = search_altered(index, model, 6, plus=[0], minus=[6], k=2)  # blue, less blue, more red
    assert all("red" in hit.caption for hit in hits)
    assert not {hit.row for hit in hits} & {0, 6}
    alone = search_altered(index, model, None, plus=[9, 10], k=1)
    assert [hit.row for hit in alone] == [11]
    mixed = search_altered(index, model, 6, plus=["yellow"], minus=[7], strength=3.0, k=1)
    assert "yellow" in mixed[0].caption


def test_classes_have_the_mean_of_their_rows_as_prototypes(run, model, write, rows):
    corpus = write(rows)
    names = [caption.split()[1] for _, caption, _ in rows]
    classes = sorted(set(names))
    labelled = corpus.with_labels(np.array([*(classes.index(name) for name in names[:-1]), -1]), classes=classes)
    index = build_index(run, model, labelled, progress=False)
    found = index.prototypes("image")
    vectors = model.embed_corpus(corpus, "image").numpy()
    for name in classes:
        mean = vectors[[row for row, said in enumerate(names[:-1]) if said == name]].mean(axis=0)
        assert found[name] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert index.prototypes("audio") == {}
