"""Which rows share a batch: purity, coverage, determinism, and equal shares over processes."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from accord.data.loading.samplers import ClassBalancedSampler, ClusterBatchSampler, EpisodeSampler, combine_labels
from accord.errors import AccordError

LABELS = torch.randint(5, (120,), generator=torch.Generator().manual_seed(0))


# -- combined labels


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 1)), max_size=12))
def test_combined_labels_agree_exactly_where_all_labels_do(rows: list[tuple[int, int, int]]) -> None:
    columns = [torch.tensor([row[stage] for row in rows], dtype=torch.int32) for stage in range(3)]
    combined = combine_labels(columns, [3, 4, 2])
    assert combined.dtype == torch.int64
    assert combined.tolist() == [8 * a + 2 * b + c for a, b, c in rows]
    assert torch.equal(combine_labels(columns, 4), 16 * columns[0].long() + 4 * columns[1] + columns[2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: combine_labels([], 3), "number of labels = 0"),
        (lambda: combine_labels([torch.tensor([0, 3])], 3), r"largest of labels\[0\] = 3"),
        (lambda: combine_labels([torch.tensor([-1])], 3), r"smallest of labels\[0\] = -1"),
        (lambda: combine_labels([torch.tensor([0])], [3, 3]), "k has 2 entries: expected 1"),
        (lambda: combine_labels([torch.tensor([0]), torch.tensor([0, 1])], 3), r"labels\[1\] has shape"),
        (lambda: combine_labels([torch.tensor([0])] * 7, 1000), "combinations"),
    ],
)
def test_wrong_labels_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# -- batches of one cluster


def test_the_batches_are_those_of_the_released_code(golden) -> None:
    given_ = golden("mcl_multistage")
    batches = ClusterBatchSampler(given_["cluster_batch_sampler.in.pseudo_label"], batch_size=6, seed=123)
    assert len(batches) == given_["cluster_batch_sampler.out.n_batches"]
    assert list(batches) == given_["cluster_batch_sampler.out.batches"].tolist()


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(-1, 4), min_size=1, max_size=60),
    batch_size=st.integers(1, 4),
    world_size=st.integers(1, 3),
    order=st.sampled_from(["round_robin", "proportional"]),
    epoch=st.integers(0, 2),
)
def test_global_batches_hold_one_label_and_no_row_twice(
    labels: list[int], batch_size: int, world_size: int, order: str, epoch: int
) -> None:
    truth, need = torch.tensor(labels), batch_size * world_size
    counts = Counter(label for label in labels if label >= 0)
    expected = sum(count // need for count in counts.values())
    if not expected:
        with pytest.raises(AccordError, match="no label has"):
            ClusterBatchSampler(truth, batch_size, 0, world_size)
        return
    shares = [ClusterBatchSampler(truth, batch_size, 7, world_size, rank, order) for rank in range(world_size)]
    for share in shares:
        share.set_epoch(epoch)
    steps = list(zip(*shares, strict=True))
    assert len(steps) == len(shares[0]) == expected
    assert shares[0].left_out == len(labels) - need * expected
    for step in steps:
        assert all(len(batch) == batch_size for batch in step)
        assert len({labels[row] for batch in step for row in batch}) == 1
    rows = [row for step in steps for batch in step for row in batch]
    assert len(set(rows)) == len(rows)
    assert all(labels[row] >= 0 for row in rows)


def test_an_epoch_is_the_same_whenever_it_is_asked_for_and_differs_from_the_others() -> None:
    first, second = (ClusterBatchSampler(LABELS, 4, seed=3) for _ in range(2))
    torch.manual_seed(99)
    second.set_epoch(5)
    assert list(first) == list(first)
    assert list(first) != list(second)
    first.set_epoch(5)
    assert list(first) == list(second)


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    list(ClusterBatchSampler(LABELS, 4, seed=3))
    list(ClassBalancedSampler(LABELS, 3, 2, seed=3))
    list(EpisodeSampler(10, 5, seed=3))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_proportional_epoch_has_every_label_in_each_part_of_it() -> None:
    labels = torch.tensor([0] * 80 + [1] * 16)
    first_half = {
        order: Counter(labels[batch[0]].item() for batch in list(ClusterBatchSampler(labels, 4, 0, order=order))[:12])
        for order in ("round_robin", "proportional")
    }
    assert first_half == {"round_robin": {0: 8, 1: 4}, "proportional": {0: 10, 1: 2}}


def test_small_labels_are_merged_with_their_neighbours_instead_of_dropped() -> None:
    labels = torch.tensor([0] * 8 + [1] * 2 + [2] * 3 + [3] * 1 + [4] * 4 + [5] * 1)
    dropped = ClusterBatchSampler(labels, 4, seed=0)
    merged = ClusterBatchSampler(labels, 4, seed=0, small="merge")
    assert (len(dropped), dropped.left_out) == (3, 7)
    assert (len(merged), merged.left_out) == (4, 3)
    mixed = [sorted(set(labels[batch].tolist())) for batch in merged if len(set(labels[batch].tolist())) > 1]
    assert len(mixed) == 1
    assert set(mixed[0]) <= {1, 2}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ClusterBatchSampler(LABELS, 0, 0), "batch_size = 0"),
        (lambda: ClusterBatchSampler(LABELS, 4, 0, 2, 2), "rank = 2"),
        (lambda: ClusterBatchSampler(LABELS, 4, 0, order="random"), "order = 'random'"),
        (lambda: ClusterBatchSampler(LABELS, 4, 0, small="keep"), "small = 'keep'"),
        (lambda: ClusterBatchSampler(LABELS, 100, 0), "no label has 100 rows"),
        (lambda: ClusterBatchSampler(LABELS[:, None], 4, 0), "labels has shape"),
        (lambda: ClassBalancedSampler(LABELS, 6, 2, 0), r"classes = 6: expected an integer in \[1, 5\]"),
        (lambda: ClassBalancedSampler(LABELS, 3, 0, 0), "samples = 0"),
        (lambda: ClassBalancedSampler(LABELS, 3, 1, 0, world_size=2), "expected a multiple of 2"),
        (lambda: ClassBalancedSampler(LABELS, 3, 1, 0, batches=0), "batches = 0"),
        (lambda: EpisodeSampler(0, 1), "n = 0"),
        (lambda: EpisodeSampler(4, 5, replacement=False), "episode_size = 5"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# -- P classes of K rows


def test_a_batch_has_p_classes_of_k_rows_and_repeats_rows_of_small_classes_only() -> None:
    labels = torch.cat([LABELS, torch.full((2,), 7), torch.full((9,), -1)])
    sampler = ClassBalancedSampler(labels, classes=4, samples=3, seed=0, batches=40)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 40
    for batch in batches:
        classes = labels[batch].view(4, 3)
        assert (classes == classes[:, :1]).all()
        assert classes[:, 0].unique().numel() == 4
        assert (classes >= 0).all()
        for rows in torch.tensor(batch).view(4, 3)[classes[:, 0] != 7]:
            assert rows.unique().numel() == 3
    assert {label for batch in batches for label in labels[batch].tolist()} == {0, 1, 2, 3, 4, 7}


def test_processes_share_the_batches_that_one_would_see() -> None:
    alone = list(ClassBalancedSampler(LABELS, 4, 3, seed=2))
    shares = [list(ClassBalancedSampler(LABELS, 4, 3, seed=2, world_size=2, rank=rank)) for rank in range(2)]
    assert [left + right for left, right in zip(*shares, strict=True)] == alone
    assert len(alone) == 120 // 12


def test_epochs_of_balanced_batches_differ_and_repeat() -> None:
    sampler = ClassBalancedSampler(LABELS, 3, 2, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_a_data_loader_takes_the_batches() -> None:
    loader = DataLoader(LABELS, batch_sampler=ClusterBatchSampler(LABELS, 4, seed=0))
    assert all(batch.unique().numel() == 1 for batch in loader)


# -- episodes


def test_an_episode_repeats_rows_only_with_replacement_and_depends_on_its_number_alone() -> None:
    drawn, permuted = EpisodeSampler(20, 20, seed=1), EpisodeSampler(20, 20, replacement=False, seed=1)
    assert len(set(drawn)) < 20
    assert sorted(permuted) == list(range(20))
    assert list(drawn) == drawn.rows(0).tolist()
    drawn.set_epoch(3)
    assert list(drawn) == drawn.rows(3).tolist() == EpisodeSampler(20, 20, seed=1).rows(3).tolist()
    assert list(drawn) != drawn.rows(0).tolist()
