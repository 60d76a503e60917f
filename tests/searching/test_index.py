import numpy as np
import pytest
import torch

from accord.data.columns import Columns
from accord.data.corpus import Corpus, corpus_from_items
from accord.errors import ConfigError, DataError, ShapeError, StorageError
from accord.searching import index as index_module
from accord.searching.index import Update, build_index
from accord.searching.query import search


def update(run, model, corpus, **options):
    model.embedded.clear()
    return build_index(run, model, corpus, progress=False, **options)


def test_first_use_embeds_every_row_and_the_second_none(run, model, write, rows):
    corpus = write(rows)
    assert update(run, model, corpus).last_update == Update(rows=12, embedded=12, removed=0, ann=False)
    assert update(run, model, write(rows)).last_update == Update(rows=12, embedded=0, removed=0, ann=False)
    assert model.embedded == []


def test_words_are_looked_up_without_opening_the_table(run, model, write, rows, monkeypatch):
    first = update(run, model, write(rows)).search(torch.ones(3), "image", k=12)
    monkeypatch.setattr("accord.searching.table.RowTable.at", lambda *_: pytest.fail("opened"))
    again = update(run, model, write(rows))
    assert len(again) == 12
    assert again.dims == {"image": 3, "text": 3}
    assert again.search(torch.ones(3), "image", k=12) == first


def test_only_a_new_picture_is_embedded_even_when_it_moves_the_others(run, model, write, rows):
    update(run, model, write(rows))
    changed = [("aaa.png", "a blue newcomer", (10, 10, 250)), *rows]
    index = update(run, model, write(changed))
    assert index.last_update == Update(rows=13, embedded=1, removed=0, ann=False)
    assert model.embedded == [0]
    numbers = {hit.caption: hit.row for hit in index.search(torch.ones(3), "image", k=13)}
    assert numbers == {caption: position for position, (_, caption, _) in enumerate(changed)}


def test_a_changed_picture_replaces_the_old_one(run, model, write, rows):
    update(run, model, write(rows))
    name, caption, _ = rows[3]
    rows[3] = (name, caption, (1, 2, 250))
    assert update(run, model, write(rows)).last_update == Update(rows=12, embedded=1, removed=1, ann=False)
    assert model.embedded == [3]


def test_a_changed_caption_is_a_changed_row(run, model, write, rows):
    update(run, model, write(rows))
    rows[0] = (rows[0][0], "another text", rows[0][2])
    assert update(run, model, write(rows)).last_update == Update(rows=12, embedded=1, removed=1, ann=False)


def test_rows_that_are_gone_are_not_found_any_more(run, model, write, rows):
    update(run, model, write(rows))
    index = update(run, model, write(rows[3:]))
    assert index.last_update == Update(rows=9, embedded=0, removed=3, ann=False)
    assert not any("red" in hit.caption for hit in index.search(torch.ones(3), "image", k=12))


def test_identical_rows_stay_separate_answers(run, model):
    corpus = corpus_from_items("text", ["a red card", "a red card", "a blue card"])
    index = update(run, model, corpus)
    assert len(index) == 3
    hits = index.search(model.embed(texts=["red"])[0], "text", k=2)
    assert {hit.row for hit in hits} == {0, 1}


def test_an_interrupted_build_goes_on_where_it_stopped(run, model, write, rows, monkeypatch):
    monkeypatch.setattr("accord.searching.table._BLOCK", 5)
    corpus = write(rows)
    embed, calls = model.embed_corpus, []

    def fail_later(part, modality):
        calls.append(modality)
        if len(calls) > 2:  # the first block has both modalities
            raise KeyboardInterrupt
        return embed(part, modality)

    model.embed_corpus = fail_later
    with pytest.raises(KeyboardInterrupt):
        update(run, model, corpus)
    model.embed_corpus = embed
    assert update(run, model, corpus).last_update == Update(rows=12, embedded=7, removed=0, ann=False)


def test_a_retrained_model_embeds_everything_anew(run, model, write, rows):
    update(run, model, write(rows))
    (run / "model.safetensors").write_bytes(b"other weights")
    assert update(run, model, write(rows)).last_update.embedded == 12


def test_a_model_that_embeds_another_modality_embeds_everything_anew(run, model, write, rows):
    model.modalities = ("image",)
    assert update(run, model, write(rows)).dims == {"image": 3}
    model.modalities = ("image", "text")
    index = update(run, model, write(rows))
    assert index.last_update.embedded == 12
    assert index.dims == {"image": 3, "text": 3}


def test_two_corpora_live_side_by_side(run, model, write, rows):
    pictures = write(rows)
    texts = corpus_from_items("text", ["a red card"])
    update(run, model, pictures)
    update(run, model, texts)
    assert update(run, model, pictures).last_update.embedded == 0
    assert len(update(run, model, texts)) == 1


def test_hits_carry_what_a_reader_needs(run, model, write, rows, folder):
    hit = update(run, model, write(rows)).search(torch.tensor([0.4, -0.4, -0.4]), "image", k=1)[0]
    assert (hit.rank, hit.row, hit.captions) == (1, 0, ("a red card, shade 0",))
    assert hit.path == str(folder / "red0.png")
    assert hit.score > 0.99
    assert np.allclose(np.asarray(hit.image())[5, 5], (220, 20, 20), atol=12)


def test_classes_are_named_and_outsiders_have_none(run, model):
    corpus = corpus_from_items("text", ["a red card", "a blue card"]).with_labels(np.array([0, -1]), classes=["warm"])
    hits = update(run, model, corpus).search(model.embed(texts=["red"])[0], "text", k=2)
    assert [hit.label for hit in hits] == ["warm", None]
    several = corpus.with_labels(np.array([[1, 1], [0, 0]]), classes=["warm", "flat"])
    hits = update(run, model, several).search(model.embed(texts=["red"])[0], "text", k=2)
    assert [hit.label for hit in hits] == ["warm, flat", None]


def test_a_damaged_index_is_named_with_a_remedy(run, model, write, rows):
    update(run, model, write(rows))
    for manifest in (run / "index").glob("*.lance/_versions/*"):
        manifest.write_bytes(b"cut")
    with pytest.raises(StorageError, match=r"index is damaged: delete it, and the next search makes it anew"):
        update(run, model, write(rows[1:]))


def test_a_damaged_record_of_an_index_makes_it_anew(run, model, write, rows):
    update(run, model, write(rows))
    next((run / "index").glob("*.json")).write_text("{cut")
    assert update(run, model, write(rows)).last_update.embedded == len(rows)


def test_a_place_for_an_index_that_is_no_folder_is_named(run, model, write, rows):
    (run / "index").write_text("mine")
    with pytest.raises(StorageError, match=r"index cannot be written: a part of the path is a file"):
        update(run, model, write(rows))


def vectors_model(rows):
    """A model whose text embeddings are the given rows, addressed by number."""

    class Numbered:
        modalities = ("text",)

        def __init__(self):
            self.embedded = []

        def embed(self, *, texts=None, **_):
            return torch.stack([rows[int(text)] for text in texts])

        def embed_corpus(self, corpus, modality):
            self.embedded += corpus.ids.tolist()
            return self.embed(texts=[texts[0] for texts in corpus.texts()])

    return Numbered()


@pytest.fixture(scope="module")
def clustered():
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(30, 16, generator=rng)
    points = centres.repeat_interleave(20, dim=0) + 0.3 * torch.randn(600, 16, generator=rng)
    return torch.nn.functional.normalize(points, dim=1)


def test_exact_search_equals_brute_force(run, clustered):
    index = update(run, vectors_model(clustered), corpus_from_items("text", [str(row) for row in range(600)]))
    for query in clustered[:5]:
        expected = (clustered @ query).topk(10)
        hits = index.search(query, "text", k=10, ann=False)
        assert [hit.row for hit in hits] == expected.indices.tolist()
        assert [hit.score for hit in hits] == pytest.approx(expected.values.tolist(), abs=1e-5)


def test_the_approximate_index_finds_nearly_everything_and_takes_in_new_rows(run, clustered):
    model = vectors_model(clustered)
    first = update(run, model, corpus_from_items("text", [str(row) for row in range(500)]), ann=True)
    assert first.last_update.ann
    grown = update(run, model, corpus_from_items("text", [str(row) for row in range(600)]))
    assert grown.last_update == Update(rows=600, embedded=100, removed=0, ann=True)
    found = 0
    for row in range(0, 600, 12):
        expected = set((clustered @ clustered[row]).topk(10).indices.tolist())
        found += len(expected & {hit.row for hit in grown.search(clustered[row], "text", k=10)})
    assert found / 500 > 0.9


def test_large_corpora_get_an_approximate_index_by_themselves(run, clustered, monkeypatch):
    monkeypatch.setattr(index_module, "ANN_ROWS", 300)
    corpus = corpus_from_items("text", [str(row) for row in range(400)])
    assert not update(run, vectors_model(clustered), corpus, ann=False).last_update.ann
    assert update(run, vectors_model(clustered), corpus).last_update.ann


def test_too_few_rows_for_an_approximate_index_are_refused(run, model, write, rows):
    with pytest.raises(ConfigError, match="needs at least 256 rows, there are 12: leave --ann out"):
        update(run, model, write(rows), ann=True)


def test_nothing_in_common_is_refused(run, model):
    model.modalities = ("image",)
    with pytest.raises(ConfigError, match="the model embeds image, texts has text: nothing in common"):
        update(run, model, corpus_from_items("text", ["a red card"]))


def test_embeddings_that_are_not_finite_never_enter_the_index(run, model):
    model.embed_corpus = lambda corpus, modality: torch.full((len(corpus), 3), torch.nan)
    with pytest.raises(DataError, match="text embeddings: 1 of 1 rows are not finite"):
        update(run, model, corpus_from_items("text", ["a red card"]))


def test_wrong_modality_size_and_k_are_refused(run, model):
    index = update(run, model, corpus_from_items("text", ["a red card"]))
    with pytest.raises(ConfigError, match="holds vectors of text, not of image"):
        index.search(torch.ones(3), "image")
    with pytest.raises(ShapeError, match=r"shape \(4,\); the index of text holds \(3,\)"):
        index.search(torch.ones(4), "text")
    with pytest.raises(ConfigError, match="k = 0"):
        index.search(torch.ones(3), "text", k=0)


def test_frames_of_a_clip_are_part_of_its_identity(run, tmp_path, write, rows):
    """A row whose video cell is a list of frame files is new when one of them changes."""
    import datasets

    from accord.searching.rows import row_keys

    write(rows)
    frames = [str(tmp_path / "pictures" / name) for name, _, _ in rows[:2]]
    table = datasets.Dataset.from_dict({"clip": [frames]})
    corpus = Corpus("clips", table, Columns(video="clip"), np.arange(1))
    before = list(row_keys(corpus))
    assert list(row_keys(corpus)) == before
    (tmp_path / "pictures" / rows[1][0]).write_bytes(b"another frame")
    assert list(row_keys(corpus)) != before


def test_search_by_words_over_pictures_held_as_bytes(run, model, write, rows):
    pictures = write(rows)
    held = corpus_from_items("image", [pictures.sample(i)["image"] for i in range(12)])
    hit = search(update(run, model, held), model, "something green", k=1)[0]
    assert (hit.row, hit.path, hit.captions) == (3, None, ())
    assert hit.image().size == (30, 20)
