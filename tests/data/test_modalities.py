"""What every modality promises, and what a new one gets by being declared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accord.data.augmenting.views import View
from accord.data.columns import Columns
from accord.data.corpus import Corpus, open_corpus
from accord.data.draws import UNDRAWN, Draws
from accord.data.fields import declarations, main_fields
from accord.data.inputs import AudioInput, ImageInput, SequenceInput, TextInput, VideoInput
from accord.data.loading.batches import Recipe, to_device
from accord.data.loading.loader import eval_loader, train_loader
from accord.data.modalities import Modality, get_modalities, get_modality, modality_of, viewed_field
from accord.errors import ConfigError
from data.samples import Letters, encoded

SMALL = ImageInput(size=16)
INPUTS: dict[str, Any] = {
    "image": SMALL,
    "text": TextInput(Letters()),
    "video": VideoInput(SMALL, frames=3),
    "audio": AudioInput(mels=8),
    "sequence": SequenceInput(dim=4, length=5),
    "reference": SMALL,
}


def test_every_modality_that_is_read_row_by_row_has_an_input_here() -> None:
    assert [field for field in main_fields() if field not in INPUTS and get_modality(field).by_row] == []


@pytest.mark.parametrize("field", INPUTS)
def test_a_blank_goes_through_cutting_and_collating_like_a_value(field: str) -> None:
    kind, spec = modality_of(field), INPUTS[field]
    cut = [kind.cut(kind.blank(spec), spec, (), UNDRAWN) for _ in range(2)]
    batch = to_device(kind.collate(field, cut, spec, (), Draws(row=np.arange(2))), torch.device("cpu"))
    assert len(batch[field]) == 2
    assert all(key == field or key.startswith(f"{field}_") for key in batch)


def test_every_column_is_declared_once_with_all_that_is_said_of_it() -> None:
    assert list(Columns.model_fields) == list(declarations())
    for field, made in declarations().items():
        assert Columns.model_fields[field].description == made.about
        assert made.help.endswith(".")
        assert made.modality is None or get_modality(made.modality)


def test_arguments_and_suffixes_belong_to_one_modality_each() -> None:
    suffixes = [suffix for kind in get_modalities() for suffix in kind.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert len({kind.argument for kind in get_modalities()}) == len(main_fields())


def test_the_fingerprint_is_what_it_was_before_a_field_was_declared(make_corpus: Any) -> None:
    corpus: Corpus = make_corpus(3)
    assert set(corpus.columns.stamp) == {"image", "text", "video", "audio", "label", "group", "mask", "graph"}
    assert "sequence" in Columns(sequence="a").stamp


def test_a_second_picture_stands_in_the_batch_under_its_fields_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(encoded(ord(name), size=(20, 20)))
    (tmp_path / "pairs.csv").write_text("image,reference\na.png,b.png\nb.png,a.png\n")
    corpus = open_corpus(tmp_path / "pairs.csv", quiet=True)
    assert corpus.modalities == ("image",)
    assert corpus.columns.readable == ("image", "reference")
    inputs = {"image": SMALL, "reference": SMALL}
    batch = next(iter(eval_loader(corpus, inputs)))
    assert torch.equal(batch["image"][0], batch["reference"][1])
    trained = next(iter(train_loader(corpus, inputs, (View(scale=(0.2, 0.3)),), batch_size=2, seed=0)))
    assert trained["view_boxes"].shape == (2, 1, 4)
    row = trained["index"].tolist().index(0)
    assert torch.equal(trained["reference"][row], batch["image"][1]), "what stands beside is not augmented"


def test_a_bad_second_picture_is_quarantined_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded())
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "pairs.csv").write_text("image,reference\na.png,bad.png\na.png,a.png\n")
    corpus = open_corpus(tmp_path / "pairs.csv", max_bad=0.5, quiet=True)
    assert [(bad.row, bad.file) for bad in corpus.left_out] == [(0, "bad.png")]


def test_pictures_have_the_views_and_else_clips_have() -> None:
    assert viewed_field(["video", "image", "text"]) == "image"
    assert viewed_field(["text", "video"]) == "video"
    recipe = Recipe({"video": INPUTS["video"], "image": SMALL}, (View(),))
    assert (len(recipe.views_of("image")), len(recipe.views_of("video"))) == (1, 0)


PACKAGE = """
import torch
from accord.data.reading.media import Unreadable
from accord.data.modalities import Modality


class Smells(Modality):
    name, argument, item, items, suffixes = "smell", "smells", "smell", "smells", frozenset({".smell"})

    def read(self, cell, reading):
        try:
            return float(next(self.contents(cell, reading.root)))
        except ValueError:
            raise Unreadable("no smell") from None

    def collate(self, field, values, spec, views, draws):
        return {field: torch.tensor(values)}


SMELLS, BROKEN = Smells(), 3
"""
USE = """
import sys
from pathlib import Path
from accord.data import Columns, eval_loader, open_corpus
from accord.data.modalities import get_modalities
from accord.encoders.build import modalities
corpus = open_corpus(sys.argv[1], max_bad=0.5, quiet=True)
print(corpus.columns.smell, corpus.modalities, [bad.reason for bad in corpus.left_out])
print(next(iter(eval_loader(corpus, {"smell": None})))["smell"].tolist())
print("smell" in modalities(), [kind.name for kind in get_modalities()][-1])
"""


def test_a_modality_of_another_package_is_guessed_read_checked_and_put_into_batches(tmp_path: Path) -> None:
    site, data = tmp_path / "site", tmp_path / "data"
    (site / "smelling-1.dist-info").mkdir(parents=True)
    (site / "smelling-1.dist-info/METADATA").write_text("Name: smelling\nVersion: 1\n")
    points = "[accord.modalities]\nsmell = smelling:SMELLS\ntaste = smelling:BROKEN\n"
    (site / "smelling-1.dist-info/entry_points.txt").write_text(points)
    (site / "smelling.py").write_text(PACKAGE)
    data.mkdir()
    for name, content in (("a", "1.5"), ("b", "2.5"), ("c", "sweet")):
        (data / f"{name}.smell").write_text(content)
    (data / "table.csv").write_text("what,name\na.smell,x\nb.smell,y\nc.smell,z\n")

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(site), *sys.path])
        env = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=env)

    done = python("-c", USE, str(data / "table.csv"))
    assert done.stdout.splitlines() == ["what ('smell', 'text') ['no smell']", "[1.5, 2.5]", "True smell"], done.stderr
    assert "accord.modalities 'taste' of the package smelling cannot be used" in done.stderr
    usage = python("-m", "accord", "train", "--help").stdout
    assert "--smell " in usage
    assert "--smell-encoder" in usage


def test_views_that_no_method_can_declare_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    touched = type("Touch", (Modality,), {"name": "touch", "views_from": "strokes"})()
    monkeypatch.setattr("accord.data.modalities.find_plugin", lambda kind, name: touched)
    with pytest.raises(ConfigError, match=r"views_from = 'strokes', expected None or one of \('views', 'text_views'\)"):
        get_modality("touch")
