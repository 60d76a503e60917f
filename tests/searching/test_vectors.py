"""The neighbours of an index beside its table, as rows come and go."""

import json
import shutil

import pytest
import torch

from accord.data.corpus import corpus_from_items
from accord.errors import StorageError
from accord.searching import index as index_module
from accord.searching.index import Update, build_index
from accord.searching.neighbours import Neighbours

ALL = torch.nn.functional.normalize(torch.randn(2000, 8, generator=torch.Generator().manual_seed(0)), dim=1)


class Numbered:
    """Texts are numbers of the vectors above."""

    modalities = ("text",)

    def embed_corpus(self, corpus, modality):
        return ALL[[int(texts[0]) for texts in corpus.texts()]]


def numbers(*rows):
    return corpus_from_items("text", [str(row) for row in rows])


def update(run, corpus, **options):
    return build_index(run, Numbered(), corpus, progress=False, **options)


@pytest.fixture
def added(monkeypatch):
    """How many vectors were put in, call by call."""
    calls = []
    add = Neighbours.add
    monkeypatch.setattr(Neighbours, "add", lambda self, ids, vectors: (calls.append(len(ids)), add(self, ids, vectors)))
    return calls


def answers(index, row, k=5, **how):
    return [int(hit.caption) for hit in index.search(ALL[row], "text", k=k, **how)]


def nearest(rows, row, k=5):
    return [rows[place] for place in (ALL[rows] @ ALL[row]).topk(k).indices.tolist()]


@pytest.mark.parametrize("ann", [None, True])
def test_only_what_changed_is_put_in(run, added, ann):
    update(run, numbers(*range(600)), ann=ann)
    assert sum(added) == 600
    index = update(run, numbers(*range(100, 650)))
    assert index.last_update == Update(rows=550, embedded=50, removed=100, ann=bool(ann))
    assert sum(added) == 650
    rows = list(range(100, 650))
    assert [answers(index, row, ann=False) for row in (3, 300, 640)] == [nearest(rows, row) for row in (3, 300, 640)]
    assert update(run, numbers(*range(100, 650))).last_update.embedded == 0
    assert sum(added) == 650


def test_rows_that_only_moved_keep_their_vectors(run, added):
    update(run, numbers(*range(50)))
    index = update(run, numbers(*reversed(range(50))))
    assert index.last_update == Update(rows=50, embedded=0, removed=0, ann=False)
    assert sum(added) == 50
    assert index.search(ALL[0], "text", k=1)[0].row == 49


def test_many_more_rows_are_put_into_more_lists(run, monkeypatch):
    first = update(run, numbers(*range(300)), ann=True)
    before = first._now.neighbours("text").lists
    monkeypatch.setattr("accord.searching.vectors._SPARSE", 2)
    grown = update(run, numbers(*range(2000)))
    assert grown._now.neighbours("text").lists > 2 * before
    assert answers(grown, 1999, ann=False) == nearest(list(range(2000)), 1999)


def test_who_opened_an_index_goes_on_reading_it_while_another_changes_it(run):
    reader = update(run, numbers(*range(40)))
    assert answers(reader, 39)[0] == 39
    update(run, numbers(*range(20, 60)))
    assert answers(reader, 3)[0] == 3
    assert len(reader) == 40
    assert answers(update(run, numbers(*range(20, 60))), 59)[0] == 59


def test_an_update_that_was_stopped_between_rows_and_neighbours_goes_on(run, monkeypatch):
    update(run, numbers(*range(30)))
    with monkeypatch.context() as patch:
        patch.setattr(index_module, "make_vectors", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            update(run, numbers(*range(10, 50)))
    index = update(run, numbers(*range(10, 50)))
    assert index.last_update == Update(rows=40, embedded=0, removed=0, ann=False)
    assert [answers(index, row) for row in (0, 45)] == [nearest(list(range(10, 50)), row) for row in (0, 45)]


def test_rows_are_written_together(run, monkeypatch):
    monkeypatch.setattr("accord.searching.table._BLOCK", 10)
    index = update(run, numbers(*range(500)))
    state = json.loads((index.folder / f"{index.name}.json").read_text())
    assert state["version"] < 5, "a commit per block makes later blocks dearer"


def test_rows_are_written_after_a_while_even_if_they_are_few(run, monkeypatch):
    monkeypatch.setattr("accord.searching.table._BLOCK", 10)
    monkeypatch.setattr("accord.searching.table._COMMIT_SECONDS", 0.0)
    index = update(run, numbers(*range(50)))
    assert json.loads((index.folder / f"{index.name}.json").read_text())["version"] >= 5


def test_damaged_neighbours_are_named_with_a_remedy(run):
    index = update(run, numbers(*range(30)))
    file = next(index.folder.rglob("text.faiss"))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(StorageError, match="is damaged: delete it, and the next search makes it anew"):
        answers(update(run, numbers(*range(30))), 0)


def test_an_index_of_an_older_kind_is_made_anew(run):
    index = update(run, numbers(*range(30)))
    state = index.folder / f"{index.name}.json"
    told = {key: value for key, value in json.loads(state.read_text()).items() if key in ("model", "modalities")}
    state.write_text(json.dumps(told))
    assert update(run, numbers(*range(30))).last_update.embedded == 30


def test_only_the_neighbours_of_this_state_and_the_last_one_are_kept(run):
    for end in (10, 20, 30, 40):
        index = update(run, numbers(*range(end)))
    assert len(list(index.folder.rglob("text.faiss"))) == 2


def test_neighbours_that_are_gone_are_made_again(run):
    index = update(run, numbers(*range(30)))
    shutil.rmtree(index.folder / f"{index.name}.vectors")
    again = update(run, numbers(*range(30)))
    assert again.last_update == Update(rows=30, embedded=0, removed=0, ann=False)
    assert answers(again, 7)[0] == 7


def test_a_reader_takes_over_what_another_has_changed_when_it_asks_for_it(run):
    reader = update(run, numbers(*range(40)))
    assert not reader.refresh()
    begun = reader._now.held()
    for last in (60, 61, 62):  # so that the files of the first state are gone
        update(run, numbers(*range(20, last)))
    assert reader.refresh()
    assert not reader.refresh()
    assert answers(reader, 59)[0] == 59
    assert len(reader) == 42
    ids, _ = begun.nearest(ALL[3], "text", 3, None)
    assert begun.hits(ids, [0.0] * 3)[0].row == 3


def test_vectors_of_another_model_are_not_taken_over(run):
    reader = update(run, numbers(*range(40)))
    (run / "model.safetensors").write_bytes(b"trained again")
    update(run, numbers(*range(20, 60)))
    assert not reader.refresh()
    assert len(reader) == 40
