"""Sequences of precomputed features: what files and lists become, and what is refused with row and file."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch

from accord.data.columns import guess_columns
from accord.data.corpus import corpus_from_fields, corpus_from_items, open_corpus
from accord.data.draws import UNDRAWN, Draws
from accord.data.inputs import SequenceInput
from accord.data.loading.loader import eval_loader, train_loader
from accord.data.modalities.sequence import fitted, read_steps
from accord.data.reading.media import Unreadable
from accord.errors import DataError

STEPS = np.arange(12, dtype=np.float32).reshape(6, 2)


def saved(path: Path, values: Any, **options: Any) -> Path:
    np.save(path, values, **options)
    return path


def test_files_and_lists_of_lists_make_the_same_batch(tmp_path: Path) -> None:
    saved(tmp_path / "a.npy", STEPS)
    saved(tmp_path / "b.npy", STEPS[:2])
    (tmp_path / "files.csv").write_text("features,text\na.npy,long\nb.npy,short\n")
    lists = datasets.Dataset.from_dict({"features": [STEPS.tolist(), STEPS[:2].tolist()], "text": ["long", "short"]})
    lists.to_parquet(str(tmp_path / "lists.parquet"))
    spec = {"sequence": SequenceInput(dim=2, length=4, seconds_per_step=0.5)}
    batches = [
        next(iter(eval_loader(open_corpus(tmp_path / name, quiet=True), spec)))
        for name in ("files.csv", "lists.parquet")
    ]
    for key in ("sequence", "sequence_mask", "sequence_times"):
        assert torch.equal(batches[0][key], batches[1][key])
    batch = batches[0]
    assert batch["sequence"].shape == (2, 4, 2)
    assert batch["sequence"][0].tolist() == STEPS[[0, 1, 3, 5]].tolist(), "floor(linspace(0, 5, 4))"
    assert batch["sequence_times"].tolist() == [[0, 0.5, 1.5, 2.5], [0, 0.5, 0, 0]]
    assert batch["sequence_mask"].tolist() == [[True] * 4, [True, True, False, False]]
    assert not batch["sequence"][1, 2:].any()


def test_parquet_columns_of_arrays_and_of_lists_of_fixed_length_are_found_as_well(tmp_path: Path) -> None:
    fixed = datasets.Sequence(datasets.Sequence(datasets.Value("float32"), length=2))
    for name, feature in (("array", datasets.Array2D((6, 2), "float32")), ("fixed", fixed)):
        features = datasets.Features({"features": feature, "text": datasets.Value("string")})
        table = {"features": [STEPS.tolist()] * 2, "text": ["a", "b"]}
        datasets.Dataset.from_dict(table, features=features).to_parquet(str(tmp_path / f"{name}.parquet"))
        corpus = open_corpus(tmp_path / f"{name}.parquet", quiet=True)
        assert corpus.columns.sequence == "features"
        np.testing.assert_array_equal(corpus.sample(1)["sequence"].values, STEPS)


@pytest.mark.parametrize(("count", "wanted"), [(7, 3), (64, 64), (200, 64), (10, 32)])
def test_slots_are_means_of_spans_as_g2l_resamples(count: int, wanted: int) -> None:
    values = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    bounds = [min(round(t * count / wanted), count - 1) for t in range(wanted + 1)]
    expected = [values[a:b].mean(axis=0) if b > a else values[a] for a, b in pairwise(bounds)]
    found = fitted(values, SequenceInput(3, wanted, "slots"), UNDRAWN)
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)
    assert found.seconds.tolist() == pytest.approx([t * count / wanted for t in range(wanted)])


def test_a_window_is_drawn_in_training_and_the_middle_one_otherwise() -> None:
    spec = SequenceInput(2, 4, "window")
    starts = {int(fitted(STEPS, spec, Draws(row=row, training=True)).seconds[0]) for row in range(50)}
    assert starts == {0, 1, 2}
    assert fitted(STEPS, spec, UNDRAWN).seconds.tolist() == [1, 2, 3, 4]
    corpus = corpus_from_items("sequence", [STEPS] * 8)
    epochs = train_loader(corpus, {"sequence": spec}, batch_size=8, seed=0)
    first, second = ([batch["sequence_times"] for batch in epochs] for _ in range(2))
    again = next(iter(train_loader(corpus, {"sequence": spec}, batch_size=8, seed=0)))
    assert torch.equal(first[0], again["sequence_times"])
    assert not torch.equal(first[0], second[0])


def test_steps_can_be_given_unit_norm() -> None:
    found = fitted(STEPS + 1, SequenceInput(2, 6, unit_norm=True), UNDRAWN).values
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(3), r"wrong shape: \(3,\), expected \(steps, features\)"),
        (np.zeros((0, 3)), "empty sequence"),
        (np.array([["a", "b"]]), "no numbers"),
        (np.array([[1, 2], [np.nan, 0]]), "not finite: step 1 holds NaN or infinity"),
        (np.array([[1.0, np.inf]]), "not finite: step 0"),
        (np.array([[{}, {}]], dtype=object), "pickled objects are not loaded"),
    ],
)
def test_arrays_that_are_no_sequence_are_refused(tmp_path: Path, values: np.ndarray, reason: str) -> None:
    path = saved(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(Unreadable, match=reason):
        read_steps(str(path), None)


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (b"not an array", "not a .npy file: save the array with numpy.save"),
        ([[1.0, 2.0], [3.0]], "wrong shape: steps of different widths"),
        ([], "no value"),
        (b"\x93NUMPY\x01\x00", "damaged .npy file"),
    ],
)
def test_other_cells_that_are_no_sequence_are_refused(cell: Any, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_steps(cell, None)


def test_bad_rows_and_rows_of_another_width_are_quarantined_with_their_file(tmp_path: Path) -> None:
    for number in range(4):
        saved(tmp_path / f"{number}.npy", STEPS)
    saved(tmp_path / "4.npy", np.zeros((3, 5)))
    saved(tmp_path / "5.npy", np.full((3, 2), np.nan))
    corpus = open_corpus(tmp_path, max_bad=0.5, quiet=True)
    assert corpus.modalities == ("sequence",)
    assert sorted((bad.file, bad.reason) for bad in corpus.left_out) == [
        ("4.npy", "unlike the others: 5 features a step, most rows have 2 features a step"),
        ("5.npy", "not finite: step 0 holds NaN or infinity"),
    ]
    with pytest.raises(DataError, match=r"row 0 \(0.npy\): wrong width: 2 features a step, the encoder takes 3"):
        next(iter(eval_loader(corpus, {"sequence": SequenceInput(dim=3)})))


def test_one_vector_a_row_is_no_sequence_unless_it_is_called_so(tmp_path: Path) -> None:
    boxes = [[[0, 0, 1, 1]], [[0, 0, 1, 1], [2, 2, 3, 3]]]
    table = {"text": ["a", "b"], "clip_embedding": ["1.npy", "2.npy"], "boxes": boxes}
    assert guess_columns(datasets.Dataset.from_dict(table)).sequence is None
    assert guess_columns(datasets.Dataset.from_dict({**table, "poses": boxes})).sequence == "poses"


def test_lists_in_json_lines_are_sequences(tmp_path: Path) -> None:
    rows = [{"poses": STEPS[: 2 + n].tolist(), "text": str(n)} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    corpus = open_corpus(tmp_path / "rows.jsonl", quiet=True)
    assert corpus.columns.sequence == "poses"
    assert corpus.sample(2)["sequence"].values.tolist() == STEPS[:4].tolist()


def test_arrays_in_memory_are_items() -> None:
    corpus = corpus_from_items("sequence", [STEPS, torch.from_numpy(STEPS)])
    assert corpus.sample(1)["sequence"].values.tolist() == STEPS.tolist()
    with pytest.raises(DataError, match=r"item 0 is a int; expected a .npy file or an array \(T, F\)"):
        corpus_from_items("sequence", [3])


def test_an_encoder_that_wants_all_steps_gets_them_outside_of_training_alone(tmp_path: Path) -> None:
    saved(tmp_path / "a.npy", STEPS)
    saved(tmp_path / "b.npy", STEPS[:2])
    (tmp_path / "rows.csv").write_text("features,text\na.npy,long\nb.npy,short\n")
    corpus = open_corpus(tmp_path / "rows.csv", quiet=True)
    spec = {"sequence": SequenceInput(dim=2, length=3, seconds_per_step=0.5, whole=True)}
    batch = next(iter(eval_loader(corpus, spec)))
    assert batch["sequence"].shape == (2, 6, 2)
    assert batch["sequence_times"][0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    assert batch["sequence_mask"].sum(dim=1).tolist() == [6, 2]
    trained = next(iter(train_loader(corpus, spec, batch_size=2, seed=0)))
    assert trained["sequence"].shape == (2, 3, 2)


def test_a_second_sequence_stands_beside_the_first_under_its_own_name(tmp_path: Path) -> None:
    saved(tmp_path / "a.npy", STEPS)
    saved(tmp_path / "b.npy", STEPS[:3, :1])
    (tmp_path / "rows.csv").write_text("features,vggish,text\na.npy,b.npy,one\na.npy,b.npy,two\n")
    corpus = open_corpus(tmp_path / "rows.csv", quiet=True)
    assert (corpus.columns.sequence, corpus.columns.second_sequence) == ("features", "vggish")
    spec = {"sequence": SequenceInput(dim=2, length=6), "second_sequence": SequenceInput(dim=1, length=4)}
    batch = next(iter(eval_loader(corpus, spec)))
    assert batch["sequence"].shape == (2, 6, 2)
    assert batch["second_sequence"].shape == (2, 4, 1)
    assert batch["second_sequence_mask"].sum(dim=1).tolist() == [3, 3]


def test_rows_of_several_media_are_made_of_things_in_memory() -> None:
    corpus = corpus_from_fields({"sequence": [STEPS, STEPS[:2]], "second_sequence": [STEPS, STEPS]})
    batch = next(iter(eval_loader(corpus, dict.fromkeys(("sequence", "second_sequence"), SequenceInput(2, 6)))))
    assert batch["second_sequence_mask"].all()
    with pytest.raises(DataError, match=r"2 of sequence, 1 of second_sequence: give as many of each"):
        corpus_from_fields({"sequence": [STEPS, STEPS], "second_sequence": [STEPS]})
