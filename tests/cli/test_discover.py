"""``accord discover`` on the command line."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from accord.searching.rows import vector_column


@pytest.fixture
def embeddings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three groups, the first half labelled, in the working folder."""
    monkeypatch.chdir(tmp_path)
    kinds = torch.arange(60) % 3
    vectors = torch.eye(3, 8)[kinds] + 0.05 * torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    captions = [["a [red] cat", "a dog", "a boat"][kind] for kind in kinds.tolist()]
    label = ["cat" if row % 6 == 0 else None for row in range(60)]
    pq.write_table(pa.table({"text_vector": vector_column(vectors), "caption": captions, "kind": label}), "v.parquet")
    return Path("v.parquet")


def test_it_prints_the_classes_and_where_the_page_is(accord_cli, embeddings: Path) -> None:
    result = accord_cli("discover", embeddings, "--labelled", "kind", "--out", "found", "--repeats", "2")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["dog", "new", "20", "1.00"] in [line[:4] for line in lines]
    assert any(line[:2] == ["cat", "20"] for line in lines)
    assert "3 classes in 60 rows, 1 known and 2 new; in parts of the rows 3.0 ± 0.0 classes were found" in result.stdout
    assert result.stdout.endswith("page: found/discover.html\n")
    assert Path("found/discover.html").is_file()
    assert "part 2 of 2: 3 classes in 48 rows" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--labelled", "species"), "no column 'species' for label; the columns are: caption, kind"),
        (("--label", "kind"), "the labels are those of the column --labelled COL; leave --label out"),
        (("--labelled", "kind", "--run", "house"), "v.parquet holds vectors already"),
        (("--modality", "image"), "modality = 'image': v.parquet has vectors of text"),
        (("--labelled", "kind", "--classes", "90"), "classes = 90: expected from 1 (known classes) to 51"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_one_sentence(accord_cli, embeddings: Path, options, said: str) -> None:
    result = accord_cli("discover", embeddings, *options)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert said in result.stderr
    assert not Path("discovered").exists()


@pytest.mark.parametrize("options", [("--run", "missing"), ("--classes", "0"), ("--repeats", "-1")], ids=" ".join)
def test_wrong_usage_exits_2(accord_cli, embeddings: Path, options) -> None:
    result = accord_cli("discover", embeddings, *options)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
