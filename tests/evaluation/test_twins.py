"""Pairs of rows that are nearly alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from accord.data.corpus import Corpus, open_corpus
from accord.data.recipe import Prepared
from accord.data.splits import Splits
from accord.errors import DataError
from accord.evaluation.tasks import get_task
from accord.evaluation.twins import CHANCE, twin_metrics

VECTORS = {"image": torch.eye(8), "text": torch.eye(8)[[0, 1, 3, 2, 4, 6, 6, 7]]}


class Space:
    """Rows 0 and 1 are told apart, 2 and 3 are mixed up, of 4 and 5 one caption says nothing; 6 and 7 are no pair."""

    modalities = ("image", "text")

    def embed_corpus(self, corpus: Corpus, modality: str) -> torch.Tensor:
        return VECTORS[modality][torch.from_numpy(corpus.ids)]


def table(folder: Path, groups: str, label: str = "ppccppcc") -> Corpus:
    Image.new("RGB", (4, 4)).save(folder / "one.png")
    lines = [
        f"one.png,caption {row},{group},{kind}" for row, (group, kind) in enumerate(zip(groups, label, strict=True))
    ]
    (folder / "pairs.csv").write_text("\n".join(["image,text,group,label", *lines]))
    return open_corpus(folder / "pairs.csv", quiet=True)


def measured(corpus: Corpus) -> dict[str, float]:
    empty = corpus.select([])
    prepared = Prepared(train=empty, test=corpus, val=empty, splits=Splits({"test": corpus.ids}))
    return {metric.name: metric.value for metric in get_task("twins").run(Space(), prepared, None)}


def test_a_pair_counts_where_both_captions_pick_their_row(tmp_path: Path) -> None:
    found = measured(table(tmp_path, "aabbccde"))
    assert found["pairs, text→image"] == pytest.approx(100 / 3)
    assert found["pairs, image→text"] == pytest.approx(100 / 3)
    assert found["captions, text→image"] == pytest.approx(50)
    assert found["pairs, text→image: p"] == 50
    assert found["pairs, text→image: c"] == 0


def test_pairs_whose_labels_differ_are_of_no_kind(tmp_path: Path) -> None:
    found = measured(table(tmp_path, "aabbccde", "pcccppcc"))
    assert {name.partition(": ")[2] for name in found} == {"", "p", "c"}
    assert found["pairs, text→image: p"] == 0


def test_rows_without_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no two rows with image and text are a pair: name with --group"):
        measured(table(tmp_path, "aaabbbcd"))


def test_chance_is_what_random_scores_reach() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, texts = (F.normalize(torch.randn(20_000, 2, 64, generator=generator), dim=2) for _ in range(2))
    text, row, both, either = (metric.value for metric in twin_metrics(rows, texts, "image"))
    assert np.allclose([text, row, both, either], [*CHANCE.values(), 50], atol=1.5)
