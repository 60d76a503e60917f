"""Rows are drawn as a method declares: the same whenever they are asked for, and shared among processes."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from accord.data.augmenting.views import View
from accord.data.corpus import corpus_from_items
from accord.data.inputs import ImageInput, TextInput, VideoInput
from accord.data.loading.loader import EpochLoader, train_loader
from accord.data.loading.order import (
    QUERY,
    SUPPORT,
    ClassBalanced,
    Clusters,
    Episode,
    EveryRow,
    Known,
    OneOfEach,
    Order,
    Passes,
    Repeated,
    Sampling,
    SupportQuery,
    Weighted,
)
from accord.data.targets import ROLES
from accord.errors import ConfigError, DataError
from data.samples import Letters

LABELS = np.repeat([0, 1, 2, -1], [20, 12, 6, 10])
DATASETS = np.repeat([0, 1], [40, 8])
KNOWN = Known(48, LABELS, DATASETS, "pets")
BOTH = np.eye(3, dtype=np.uint8)[np.maximum(LABELS, 0)] | np.eye(3, dtype=np.uint8)[1]  # all are of class 1 as well
KINDS: dict[str, Sampling] = {
    "every row": EveryRow(),
    "episode": Episode(30),
    "repeated": Repeated(2),
    "balanced": ClassBalanced(samples=4),
    "clusters": Clusters(torch.from_numpy(LABELS % 4)),
    "one of each": OneOfEach(torch.arange(48) // 2),
    "weighted": Weighted(by="labelled"),
    "support and query": SupportQuery(ways=2, shots=1, queries=1),
}


def order(sampling: Sampling, size: int = 8, seed: int = 0, known: Known = KNOWN, **options: Any) -> Order:
    return Order(known, sampling.rows_per_batch(size, known), seed, lambda: sampling, **options)


def batches(of: Order, epoch: int = 0, first: int = 0) -> list[list[int]]:
    return [rows.tolist() for _, rows in of(epoch, first)]


def rows_of(of: Order, epochs: int = 1) -> list[int]:
    return [row for epoch in range(epochs) for rows in batches(of, epoch) for row in rows]


def labels_of(rows: list[int]) -> list[int]:
    return LABELS[rows].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_repeats_from_any_batch_and_differs_from_the_next_and_from_another_seed(kind: str) -> None:
    made = order(KINDS[kind])
    assert len(batches(made)) == len(made) == KINDS[kind].rows_per_epoch(KNOWN) // 8
    assert batches(made, first=2) == batches(order(KINDS[kind]))[2:]
    assert batches(made, epoch=1) != batches(made, epoch=0) != batches(order(KINDS[kind], seed=1))


@pytest.mark.parametrize("kind", KINDS)
def test_processes_share_the_batches_and_notes_that_one_would_have(kind: str) -> None:
    whole, shares = order(KINDS[kind]), [order(KINDS[kind], rank=rank, world_size=2) for rank in (0, 1)]
    assert batches(whole) == [a + b for a, b in zip(*map(batches, shares), strict=True)]
    for name, values in whole.notes(1).items():
        assert torch.equal(values, torch.cat([share.notes(1)[name] for share in shares]))


def test_without_dropping_the_last_batch_is_filled_with_rows_of_the_first() -> None:
    made = order(EveryRow(shuffle=False), known=Known(5), size=4, world_size=2, rank=1, drop_last=False)
    assert batches(made) == [[2, 3], [0]]


def test_an_episode_says_the_place_of_each_row() -> None:
    made = order(Episode(30))
    drawn = batches(made)
    assert len(drawn) == 3
    assert made.notes(2)["place"].tolist() == list(range(16, 24))
    assert max(Counter(rows_of(made)).values()) > 1


def test_copies_of_a_row_stand_together_and_are_drawn_as_in_passes_of_their_own() -> None:
    made = order(Repeated(3), size=8)  # two rows with all their copies
    assert len(made) == 24
    for epoch in (0, 2):
        keys = list(made(epoch, 0))
        assert Counter(row for _, rows in keys for row in rows.tolist()) == dict.fromkeys(range(48), 3)
        for passes, rows in keys:
            assert rows.tolist() == rows[[0, 0, 0, 3, 3, 3]].tolist()
            assert passes.tolist() == [3 * epoch, 3 * epoch + 1, 3 * epoch + 2] * 2


def test_copies_are_of_rows_that_are_drawn_in_any_way() -> None:
    inner = Passes(20, near=8)
    made, once = order(Repeated(2, of=inner)), order(inner, size=4)
    assert batches(made) == [[row for row in rows for _ in range(2)] for rows in batches(once)]
    noted = order(Repeated(2, of=Episode(12)))
    batches(noted)
    assert noted.notes(1)["place"].tolist() == [4, 4, 5, 5, 6, 6, 7, 7]


def test_processes_share_the_passes_of_copies_too() -> None:
    whole, shares = order(Repeated(2)), [order(Repeated(2), rank=rank, world_size=2) for rank in (0, 1)]
    halves = zip(*(share(0, 0) for share in shares), strict=True)
    for (passes, _), ((first, _), (second, _)) in zip(whole(0, 0), halves, strict=True):
        assert passes.tolist() == [*first, *second]


def test_a_batch_has_room_for_all_copies_of_a_row() -> None:
    with pytest.raises(ConfigError, match="no room for 4 copies of one: raise batch_size"):
        Repeated(4).rows_per_batch(3, KNOWN)


def animation(frames: np.ndarray) -> bytes:
    first, *others = (Image.fromarray(frame) for frame in frames)
    stream = io.BytesIO()
    first.save(stream, "WEBP", save_all=True, append_images=others, lossless=True)
    return stream.getvalue()


@pytest.mark.parametrize("workers", [0, 1])
def test_copies_of_a_clip_show_other_frames_and_crops_as_later_passes_would(workers: int) -> None:
    random = np.random.default_rng(0)
    corpus = corpus_from_items(
        "video", [animation(random.integers(0, 256, (12, 20, 24, 3), np.uint8)) for _ in range(4)]
    )
    inputs = {"video": VideoInput(ImageInput(size=16), frames=3, sampling="dense", stride=2)}

    def loader(sampling: Sampling, batch_size: int) -> EpochLoader:
        views = (View(scale=(0.5, 1.0)),)
        return train_loader(
            corpus, inputs, views, batch_size=batch_size, seed=0, workers=workers, sampling=lambda: sampling
        )

    repeated, once = loader(Repeated(2), 4), loader(EveryRow(), 4)
    passes = [{int(row): clip for row, clip in zip(b["index"], b["video"], strict=True)} for b in [*once, *once]]
    repeated_batches = list(repeated)
    for batch in repeated_batches:
        for place, (row, clip) in enumerate(zip(batch["index"].tolist(), batch["video"], strict=True)):
            assert torch.equal(clip, passes[place % 2][row])
        assert not torch.equal(batch["video"][0], batch["video"][1])
    resumed = loader(Repeated(2), 4)
    resumed.load_state_dict({"epoch": 0, "batch": 1})
    assert torch.equal(next(iter(resumed))["video"], repeated_batches[1]["video"])
    for one in (repeated, once, resumed):
        one.close()


def test_balanced_batches_have_the_same_number_of_rows_of_each_class() -> None:
    made = order(ClassBalanced(samples=4), size=11)
    for rows in batches(made):
        assert sorted(Counter(labels_of(rows)).values()) == [4, 4]
        assert -1 not in labels_of(rows)


def test_a_batch_with_room_for_more_classes_than_there_are_has_all_of_them() -> None:
    assert ClassBalanced(samples=2).rows_per_batch(100, KNOWN) == 6


def test_clusters_fill_the_epoch_and_never_meet() -> None:
    clusters = torch.arange(48) % 3
    clusters[:8] = -1
    made = order(Clusters(clusters))
    drawn = batches(made)
    assert len(drawn) == 6  # of 40 rows five can be filled; the last is of another round
    assert all(len(set(clusters[rows].tolist())) == 1 for rows in drawn)
    assert not set(range(8)) & set(rows_of(made))


def test_labels_of_clusters_are_asked_for_anew_in_every_epoch() -> None:
    now = [torch.arange(48) % 2]
    made = Order(KNOWN, 8, 0, lambda: Clusters(now[0]))
    assert all(len({row % 2 for row in rows}) == 1 for rows in batches(made))
    now[0] = torch.arange(48) // 24
    assert all(len({row // 24 for row in rows}) == 1 for rows in batches(made, epoch=1))


def test_labelled_and_unlabelled_rows_come_equally_often() -> None:
    rows = rows_of(order(Weighted(by="labelled")), epochs=20)
    assert (LABELS[rows] >= 0).mean() == pytest.approx(0.5, abs=0.06)


def test_data_sets_come_in_their_shares_and_mix_only_where_they_may() -> None:
    apart = order(Weighted(by="dataset", shares=(1, 3), mixed=False))
    drawn = [rows for epoch in range(40) for rows in batches(apart, epoch)]
    assert all(len(set(DATASETS[rows].tolist())) == 1 for rows in drawn)
    assert np.mean([DATASETS[rows[0]] for rows in drawn]) == pytest.approx(0.75, abs=0.1)
    together = batches(order(Weighted(by="dataset")))
    assert any(len(set(DATASETS[rows].tolist())) == 2 for rows in together)


def test_rows_of_a_group_come_again_only_after_all_others() -> None:
    rows = rows_of(order(Weighted(by="dataset", shares=(0, 1))))
    assert set(rows) == set(range(40, 48))
    assert set(Counter(rows).values()) == {6}


def test_classes_in_shares_leave_out_rows_without_one() -> None:
    assert set(labels_of(rows_of(order(Weighted(by="label"))))) == {0, 1, 2}


@pytest.mark.parametrize("known", [KNOWN, Known(48, BOTH)], ids=["one label", "several labels"])
def test_episodes_have_supports_and_queries_of_the_class_they_were_drawn_for(known: Known) -> None:
    sampling = SupportQuery(ways=2, shots=2, queries=1)
    made = order(sampling, size=14, known=known)
    for number, rows in enumerate(batches(made)):
        notes = {name: values.tolist() for name, values in made.notes(number).items()}
        assert notes["role"] == [SUPPORT, SUPPORT, QUERY] * 4
        assert notes["episode"] == [0] * 6 + [1] * 6
        assert len(set(rows[:6])) == len(set(rows[6:])) == 6
        has = BOTH if known.labels is BOTH else np.eye(3)[LABELS]
        assert all(has[row, label] for row, label in zip(rows, notes["episode_label"], strict=True))
        assert len(set(notes["episode_label"][:6])) == 2


def test_roles_are_counted_as_those_of_a_column() -> None:
    assert (ROLES[QUERY], ROLES[SUPPORT]) == ("query", "support")


def test_a_whole_episode_is_drawn_whatever_the_batch_size() -> None:
    assert SupportQuery(ways=3, shots=5, queries=1).rows_per_batch(4, KNOWN) == 18


@pytest.mark.parametrize(
    ("sampling", "known", "error"),
    [
        (ClassBalanced(4), Known(48, name="pets"), DataError),
        (Weighted(by="label"), Known(48, name="pets"), DataError),
        (Weighted(by="dataset", shares=(1,)), KNOWN, ConfigError),
        (SupportQuery(3, 7), KNOWN, DataError),
        (SupportQuery(3, 7), Known(48, name="pets"), DataError),
    ],
)
def test_what_the_rows_lack_is_said_before_anything_is_drawn(sampling, known, error) -> None:
    with pytest.raises(error, match=r"pets has|of pets"):
        sampling.rows_per_batch(8, known)


@pytest.mark.parametrize(
    ("sampling", "known", "error", "sentence"),
    [
        (ClassBalanced(4), Known(48, name="pets"), DataError, r"pets has no labels: ClassBalanced needs one a row"),
        (ClassBalanced(9), KNOWN, ConfigError, "a batch of 8 rows has no room for a class of 9: raise batch_size"),
        (Weighted(by="label"), Known(48, BOTH, name="pets"), DataError, "pets has several labels a row: Weighted"),
        (Weighted(by="dataset", shares=(1,)), KNOWN, ConfigError, r"has shares \(1,\): expected 2"),
        (Clusters(torch.zeros(3)), KNOWN, DataError, "Clusters has 3 labels, pets has 48 rows"),
        (Clusters(torch.arange(48)), KNOWN, DataError, "no label has 8 rows"),
        (
            SupportQuery(3, 7),
            KNOWN,
            DataError,
            "2 classes of at least 8 rows: episodes of 3 classes need more",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(sampling: Sampling, known: Known, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        batches(order(sampling, known=known))


def test_batches_say_which_data_set_each_row_is_of() -> None:
    corpus = corpus_from_items("text", ["a", "b", "c", "d", "e", "f"])
    named = replace(
        corpus,
        rows=corpus.rows.add_column("from", ["web", "books", "web", "web", "books", "web"]),
        columns=corpus.columns.model_copy(update={"dataset": "from"}),
    )
    assert named.dataset_names == ("books", "web")
    inputs = {"text": TextInput(Letters())}
    apart = Weighted(by="dataset", mixed=False)
    for batch in train_loader(named, inputs, batch_size=2, seed=0, sampling=lambda: apart):
        assert batch["dataset_id"].tolist() == [int(index not in (1, 4)) for index in batch["index"]]
        assert len(set(batch["dataset_id"].tolist())) == 1


def test_of_each_group_a_batch_has_one_row_and_rounds_draw_others() -> None:
    sampling = OneOfEach(torch.arange(48) // 3)
    made = order(sampling)
    assert len(made) == 6
    for rows in batches(made):
        assert len({row // 3 for row in rows}) == len(rows)
    pairs = list(zip(batches(made)[::2], batches(made)[1::2], strict=True))  # rounds of 16 groups
    assert all({row // 3 for row in first + second} == set(range(16)) for first, second in pairs)
    assert len({tuple(sorted(first + second)) for first, second in pairs}) == 3


def test_a_batch_of_more_rows_than_groups_is_filled_by_further_rounds() -> None:
    made = order(OneOfEach(torch.arange(48) // 16))
    assert [len(rows) for rows in batches(made)] == [8] * 6
