"""Masks of a corpus, and what is measured with them place by place."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from accord.data.corpus import open_corpus
from accord.data.inputs import ImageInput
from accord.data.making.compose import Sprite, write_scenes
from accord.data.quarantine import RowError
from accord.encoders import build_encoder
from accord.errors import DataError
from accord.evaluation.dense import (
    accuracy_metric,
    cell_classes,
    correspondence,
    drawn_cells,
    evaluate_segmentation,
    iou_metric,
    matched,
)
from accord.methods import DataInfo, get_method
from accord.methods.abilities import Segments
from accord.training.artifact import Model

COLOURS = {"red": (250, 0, 0), "blue": (0, 0, 250)}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    kinds = enumerate(COLOURS.items())
    sprites = [Sprite(Image.new("RGBA", (9, 9), (*rgb, 255)), name, kind) for kind, (name, rgb) in kinds]
    grey = Image.new("RGB", (60, 60), (120, 120, 120))
    return write_scenes(tmp_path_factory.mktemp("d") / "scenes", sprites, [grey], count=24, side=64, scale=(0.3, 0.5))


@pytest.fixture
def corpus(scenes):
    return open_corpus(scenes, quiet=True)


class Colours(Segments):
    """Stands for a method that segments; the model does it."""

    segment = None


class ColourModel:
    method = Colours()
    inputs: ClassVar = {"image": ImageInput(size=64)}

    def can(self, ability):
        return ability is Segments

    def dense_corpus(self, corpus):
        opened = (corpus.sample(row)["image"] for row in range(len(corpus)))
        pictures = [np.asarray(picture.resize((8, 8), Image.Resampling.BOX)) for picture in opened]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255

    def segment_corpus(self, corpus, size):
        maps = self.dense_corpus(corpus)
        solid = (maps.amax(dim=1) - maps.amin(dim=1)) > 0.4
        return torch.where(solid, 1 + maps.argmax(dim=1), 5)


def test_masks_are_found_read_and_belong_to_the_fingerprint(corpus, scenes):
    assert corpus.columns.mask == "mask"
    assert corpus.columns.image == "image"
    mask = corpus.targets_of(3, ["mask"])["mask"]
    assert mask.shape == (64, 64)
    assert mask.numpy().tolist() == np.asarray(Image.open(scenes / "masks" / "00003.png")).tolist()
    before = corpus.fingerprint
    path = scenes / "masks" / "00003.png"
    kept = path.read_bytes()
    Image.new("L", (64, 64)).save(path)
    assert open_corpus(scenes, quiet=True, check=False).fingerprint != before
    path.write_bytes(kept)


def test_an_unreadable_mask_is_one_bad_row(scenes, tmp_path):
    rows = [json.loads(line) for line in (scenes / "metadata.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {key: str(scenes / row[key]) for key in ("image", "mask")}
    rows[2]["mask"] = str(tmp_path / "none.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "colours.png")
    rows[5]["mask"] = str(tmp_path / "colours.png")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = open_corpus(tmp_path / "rows.jsonl", quiet=True)
    assert sorted(set(range(24)) - set(corpus.ids)) == [2, 5]
    unchecked = open_corpus(tmp_path / "rows.jsonl", quiet=True, check=False)
    with pytest.raises(RowError, match="RGB picture is no mask"):
        unchecked.targets_of(5, ["mask"])


def test_a_cell_has_the_class_of_most_of_its_pixels(corpus):
    cells = cell_classes(corpus, 8, 8)
    mask = corpus.targets_of(0, ["mask"])["mask"].numpy().reshape(8, 8, 8, 8).swapaxes(1, 2).reshape(8, 8, -1)
    for y, x in ((0, 0), (3, 4), (5, 2), (7, 7)):
        counts = np.bincount(mask[y, x], minlength=3)
        assert counts[cells[0, y, x]] == counts.max()


@pytest.mark.parametrize("side", [5, 7, 8])
def test_cells_of_a_square_picture_are_those_of_the_whole_mask(corpus, scenes, side):
    for row, found in enumerate(cell_classes(corpus, side, side)):
        mask = Image.open(scenes / "masks" / f"{corpus.ids[row]:05}.png").resize(
            (side * 16,) * 2, Image.Resampling.NEAREST
        )
        cells = np.asarray(mask).reshape(side, 16, side, 16).swapaxes(1, 2).reshape(side, side, -1)
        most = (cells[..., None] == np.arange(3)).sum(axis=2).argmax(axis=2)
        assert found.tolist() == most.tolist()


def test_cells_are_those_of_the_evaluation_view(tmp_path):
    mask = np.zeros((40, 100), dtype=np.uint8)
    mask[:, 40:50], mask[:, 50:] = 1, 2  # 40 and 60 are the edges of the middle half of the shorter side
    mask[:15, 55:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.new("RGB", (100, 40)).save(tmp_path / "0.png")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"image": "0.png", "mask": "mask.png"}) + "\n")
    corpus = open_corpus(tmp_path / "rows.jsonl", quiet=True)
    cells = cell_classes(corpus, 4, 4, ImageInput(size=32, crop=0.5))
    assert cells.tolist() == [[[1, 1, 2, -1], [1, 1, 2, 2], [1, 1, 2, 2], [1, 1, 2, 2]]]
    assert cell_classes(corpus, 1, 2).tolist() == [[[0, 2]]]  # 30 to 70


def test_cells_of_which_masks_say_nothing_do_not_count():
    truth, found = np.array([[[0, 1], [1, -1]]]), np.array([[[0, 1], [0, 1]]])
    known, guessed = truth.reshape(1, 1, 4)[..., :3], found.reshape(1, 1, 4)[..., :3]
    for metric in (iou_metric, accuracy_metric):
        assert metric("m", found, truth, 2).value == metric("m", guessed, known, 2).value
    cells, labels = drawn_cells(torch.arange(4.0).view(1, 1, 2, 2), truth, 10, seed=0)
    assert (cells.flatten().tolist(), labels.tolist()) == ([0, 1, 2], [0, 1, 1])
    parts = np.array([[[5, 3], [3, 5]]])
    assert matched(parts, truth, 2).tolist() == [[[0, 1], [1, 0]]]
    maps = torch.eye(3)[:, :, None, None]  # the third picture is like none; the others are its neighbours
    assert correspondence(maps, np.array([1, -1, 1])[:, None, None]).value == 100


def test_colours_are_told_apart_cell_by_cell(corpus):
    found = {
        metric.name: metric
        for metric in evaluate_segmentation(ColourModel(), corpus.select(range(12)), corpus.select(range(12, 24)))
    }
    assert found["linear mIoU"].value > 80
    assert found["linear mIoU"].low > found["linear mIoU"].chance
    assert found["linear foreground accuracy"].value > 85
    assert found["cell correspondence"].value > 85
    assert found["cell correspondence"].chance < 40
    assert found["parts mIoU"].value > 60
    assert found["parts accuracy"].value > 85


def test_the_nearest_cell_is_of_another_picture():
    maps = torch.zeros(2, 3, 2, 2)
    maps[0, 0], maps[1, 1] = 1.0, 1.0  # each picture is most like itself
    truth = np.array([[[1, 1], [1, 1]], [[2, 2], [2, 2]]])
    assert correspondence(maps, truth).value == 0
    assert correspondence(maps, np.ones((2, 2, 2), dtype=np.int64)).value == 100


def test_intersection_over_union_of_a_perfect_and_of_an_empty_guess():
    truth = np.array([[[0, 1], [1, 2]]])
    assert iou_metric("mIoU", truth, truth, 4).value == 100  # class 3 does not occur and does not count
    assert iou_metric("mIoU", np.zeros_like(truth), truth, 4).value == pytest.approx(100 / 4 / 3)


def test_parts_are_matched_one_to_one_for_the_most_agreement():
    parts = np.array([[[0, 0, 1], [1, 1, 2]]])
    truth = np.array([[[1, 1, 0], [0, 1, 0]]])
    assert matched(parts, truth, 2).tolist() == [[[1, 1, 0], [0, 0, -1]]]


@pytest.mark.parametrize("name", ["slotcon", "pixpro"])
def test_methods_are_evaluated_on_masks(corpus, name):
    torch.manual_seed(0)
    towers = {"image": build_encoder("image", {"name": "tiny_resnet", "size": 64, "width": 16})}
    settings = {"dim": 8, "hidden": 16, **({"slots": 4} if name == "slotcon" else {})}
    model = Model(get_method(name)(settings, towers, DataInfo()))
    metrics = evaluate_segmentation(model, corpus.select(range(8)), corpus.select(range(8, 16)))
    names = {metric.name for metric in metrics}
    assert ("parts mIoU" in names) == (name == "slotcon")
    assert all(0 <= metric.value <= 100 for metric in metrics)


def test_without_masks_it_is_refused(corpus):
    from dataclasses import replace

    bare = replace(corpus, columns=corpus.columns.model_copy(update={"mask": None}))
    with pytest.raises(DataError, match="needs masks"):
        evaluate_segmentation(ColourModel(), bare, corpus)
    with pytest.raises(DataError, match=r"has no mask: name their column with --mask COL"):
        bare.targets_of(0, ["mask"])
