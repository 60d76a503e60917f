"""Targets through corpus and loaders: on their pixels in every view, the same whatever the workers, wrong ones out."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from accord.data.augmenting.views import View
from accord.data.corpus import Corpus, open_corpus
from accord.data.inputs import ImageInput, TextInput, VideoInput
from accord.data.loading.batches import to_device
from accord.data.loading.loader import eval_loader, hook_loader, train_loader
from accord.data.quarantine import RowError
from accord.errors import ConfigError, DataError
from accord.training.gradcache import micro_batches
from data.samples import Letters
from data.targets.drawn import box_of, grey, numbered

PLAIN = ImageInput(size=24, mean=(0, 0, 0), std=(1, 1, 1), interpolation="nearest")
IMAGE, VIDEO = {"image": PLAIN}, {"video": VideoInput(PLAIN, frames=3)}
VIEWS = (View(scale=(0.2, 0.9)), View(scale=(0.1, 0.4), size=16))
FRAMES, ROWS = 6, 8
COLUMNS = {
    "instances": "things",
    "boxes": "boxes",
    "track_masks": "tracked",
    "instance_label": "kinds",
    "instance_text": "phrases",
    "moments": "moments",
    "moment_text": "sentences",
    "duration": "seconds",
    "role": "part",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of three things, and clips in which they move to the right, with all that is known of them."""
    place = tmp_path_factory.mktemp("things")
    lines = []
    for row in range(ROWS):
        numbers = np.roll(numbered(), 2 * row, axis=1)
        numbers[:2] = 255 if row % 2 else 0
        things = np.where(numbers == 255, 0, numbers)
        grey(np.minimum(numbers, 4)).save(place / f"{row}.png")
        Image.fromarray(numbers).save(place / f"mask{row}.png")
        Image.fromarray(things).save(place / f"things{row}.png")
        for folder in ("clip", "tracked"):
            (place / f"{folder}{row}").mkdir()
        for frame in range(FRAMES - row % 2):
            moved = np.roll(things, 4 * frame, axis=1)
            grey(moved).save(place / f"clip{row}" / f"{frame}.png")
            Image.fromarray(moved).save(place / f"tracked{row}" / f"{frame}.png")
        masks = [torch.from_numpy(things == number) for number in (1, 2, 3)]
        line = {
            "image": f"{row}.png",
            "mask": f"mask{row}.png",
            "things": f"things{row}.png",
            "video": f"clip{row}",
            "tracked": f"tracked{row}",
            "boxes": [np.multiply(box_of(mask), [60, 44, 60, 44]).round().tolist() for mask in masks],
            "kinds": ["bar", "ring", "corner"],
            "phrases": [f"{number} of {row}" for number in (1, 2, 3)],
            "moments": [[start, start + 1] for start in range(row % 3)],
            "sentences": ["it moves"] * (row % 3),
            "seconds": 6 - row % 2,
            "part": "query" if row % 2 else "support",
            "text": f"row {row}",
        }
        lines.append(json.dumps(line) + "\n")
    (place / "rows.jsonl").write_text("".join(lines))
    return place


@pytest.fixture
def corpus(folder: Path) -> Corpus:
    return open_corpus(folder / "rows.jsonl", columns=COLUMNS, quiet=True)


def shown(pixels: torch.Tensor) -> torch.Tensor:
    """The numbers that a view's own pixels show, of ``(..., 3, h, w)``."""
    return (pixels[..., 0, :, :] * 255 / 60).round().long()


def batches(corpus: Corpus, inputs=IMAGE, views=VIEWS, workers=0, **options):
    return train_loader(corpus, inputs, views, batch_size=4, seed=3, workers=workers, **options)


def test_masks_and_instances_are_on_their_pixels_in_every_view(corpus):
    for batch in batches(corpus, targets=("mask", "instances")):
        for view in range(2):
            numbers = shown(batch["image_views"][view])
            truth = torch.where(batch["segmentation_views"][view] < 0, 4, batch["segmentation_views"][view])
            assert torch.equal(truth, numbers)
            masks, ids = batch["instance_masks_views"][view], batch["instance_id_views"][view]
            wanted = (numbers[:, None] == ids[..., None, None]) & batch["instance_present_views"][view][..., None, None]
            assert torch.equal(masks, wanted)
        assert torch.equal(batch["instance_masks"], batch["instance_masks_views"][0])


def test_the_evaluation_view_has_the_targets_of_the_middle(corpus):
    (batch,) = eval_loader(corpus, IMAGE, targets=("mask", "boxes"))
    numbers = shown(batch["image"])
    assert torch.equal(torch.where(batch["segmentation"] < 0, 4, batch["segmentation"]), numbers)
    assert "segmentation_views" not in batch
    for row, ids in enumerate(batch["instance_id"].tolist()):
        for place, number in enumerate(ids):
            if number in (1, 3):  # full rectangles
                found = batch["boxes"][row, place].tolist()
                assert found == pytest.approx(box_of(numbers[row] == number), abs=1 / 24)
                assert batch["instance_text"][row][place] == f"{number} of {row}"
                assert (
                    corpus.instance_classes[batch["instance_label"][row, place]]
                    == ("bar", "ring", "corner")[number - 1]
                )


def test_tracks_follow_the_frames_that_are_drawn_anew_in_each_epoch(corpus):
    loader = batches(corpus, VIDEO, (View(scale=(0.3, 1.0)),), targets=("track_masks",))
    times = []
    for _ in range(2):
        for batch in loader:
            numbers = shown(batch["video"])  # (B, T, h, w)
            masks, ids = batch["track_masks"], batch["instance_id"]  # (B, M, T, h, w)
            assert masks.shape[2] == 3
            wanted = (numbers[:, None] == ids[..., None, None, None]) & batch["track_present"][..., None, None]
            assert torch.equal(masks, wanted)
            assert masks.any()
            times.append(batch["video_times"])
    assert not torch.equal(torch.cat(times[:2]), torch.cat(times[2:]))


def test_moments_and_roles_come_with_any_input(corpus):
    loader = eval_loader(corpus, {"text": TextInput(Letters())}, targets=("moments", "role"))
    (batch,) = loader
    assert batch["moments"].shape == (ROWS, 2, 2)
    assert batch["moment_present"].sum(dim=1).tolist() == [row % 3 for row in range(ROWS)]
    assert batch["moment_text"][2] == ["it moves"] * 2
    assert batch["duration"].tolist() == [6 - row % 2 for row in range(ROWS)]
    assert batch["role"].tolist() == [1, 0] * 4


@pytest.mark.parametrize(
    ("inputs", "targets"), [(IMAGE, ("mask", "instances", "moments", "role")), (VIDEO, ("track_masks",))]
)
def test_nothing_changes_with_workers_or_after_a_resume(corpus, inputs, targets):
    whole = list(batches(corpus, inputs, targets=targets))
    loader = batches(corpus, inputs, targets=targets, workers=2)
    assert_same(list(loader), whole)
    loader.close()
    resumed = batches(corpus, inputs, targets=targets)
    resumed.load_state_dict({"epoch": 0, "batch": 1})
    assert_same(list(resumed), whole[1:])


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.keys() == other.keys()
        for key, value in other.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(one[key], value), key
            elif "text" in key:
                assert one[key] == value
            else:
                assert all(map(torch.equal, one[key], value)), key


def test_batches_are_cut_into_micro_batches_and_moved(corpus):
    batch = next(iter(batches(corpus, targets=("mask", "instances", "moments", "role"))))
    pieces = list(micro_batches(batch, 3))
    for key, value in batch.items():
        if key.endswith("_views"):
            views = zip(*(piece[key] for piece in pieces), strict=True)
            joined = [list(chain(*view)) if isinstance(view[0], list) else torch.cat(view) for view in views]
            assert all(
                one == other if isinstance(one, list) else torch.equal(one, other)
                for one, other in zip(joined, value, strict=True)
            )
        elif isinstance(value, list):
            assert list(chain(*(piece[key] for piece in pieces))) == value
        else:
            assert torch.equal(torch.cat([piece[key] for piece in pieces]), value)
    moved = to_device(batch, torch.device("meta"))
    assert moved["instance_masks"].device.type == moved["segmentation_views"][1].device.type == "meta"
    assert moved["instance_text"] == batch["instance_text"]
    assert not [value for value in batch.values() if type(value) not in (torch.Tensor, list)]


def test_only_what_is_asked_for_is_read(folder, tmp_path):
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {key: str(folder / row[key]) for key in ("image", "mask", "things", "video", "tracked")}
    rows[3]["things"] = "gone.png"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = open_corpus(tmp_path / "rows.jsonl", columns=COLUMNS, check=False, quiet=True)
    plain = next(iter(eval_loader(corpus, IMAGE, modalities=("image",))))
    assert set(plain) == {"image", "index"}
    assert "segmentation" in next(iter(eval_loader(corpus, IMAGE, targets=("mask",))))
    with pytest.raises(RowError, match=r"row 3 \(gone.png\): missing file"):
        next(iter(eval_loader(corpus, IMAGE, targets=("instances",))))
    assert next(iter(hook_loader(corpus, IMAGE, targets=("instances",))))["instance_masks"].shape[0] == ROWS


def wrong(folder: Path, tmp_path: Path, **cells) -> list[dict]:
    """The list of bad rows where the third row has other cells."""
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {key: str(folder / row[key]) for key in ("image", "mask", "things", "video", "tracked")}
    rows[2] |= cells
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    listed = tmp_path / "bad.jsonl"
    opened = open_corpus(tmp_path / "rows.jsonl", columns=COLUMNS, quarantine=listed, quiet=True)
    bad = [json.loads(line) for line in listed.read_text().splitlines()]
    assert len(opened) == ROWS - len(bad)
    return bad


def test_rows_with_wrong_targets_are_left_out_when_a_corpus_is_opened(folder, tmp_path):
    (bad,) = wrong(folder, tmp_path, boxes=[[0, 0, 9, 9], [5, 5, 4, 9], [0, 0, 70, 9]])
    assert bad["row"] == 2
    assert bad["reason"].startswith("empty box: box 1 is [5, 5, 4, 9]")


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"mask": "0.png"}, "missing file"),
        ({"moments": [[3, 9], [1, 2]]}, "moment beyond the clip: moment 0 is from 3 to 9 s, of 6 s"),
        ({"part": "judge"}, "unknown role: 'judge'"),
        ({"kinds": ["bar"]}, "unequal counts: 1 in instance_label for 3 things"),
    ],
)
def test_each_kind_of_target_is_checked(folder, tmp_path, cells, reason):
    (bad,) = wrong(folder, tmp_path, **cells)
    assert bad["reason"].startswith(reason)


@pytest.mark.parametrize(
    ("cells", "file"),
    [
        ({"boxes": [[0, 0, 9]]}, "2.png"),
        ({"moments": [[2, 1]]}, "2.png"),  # on no pixels: the first medium
        ({"tracked": "gone"}, "gone"),
    ],
)
def test_a_wrong_target_is_said_of_the_file_that_it_is_about(folder, tmp_path, cells, file):
    (bad,) = wrong(folder, tmp_path, **cells)
    assert Path(bad["file"].split(",")[0]).name == file


def test_targets_of_rows_without_media_are_checked_too(tmp_path):
    rows = [{"text": "a", "role": "query"}, {"text": "b", "role": "judge"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = open_corpus(tmp_path / "rows.jsonl", columns={"role": "role"}, max_bad=0.5, quiet=True)
    assert corpus.ids.tolist() == [0]
    (bad,) = corpus.left_out
    assert (bad.row, bad.file) == (1, "rows.jsonl")


def test_a_row_that_says_nothing_stays_and_is_blank(folder, tmp_path):
    empty = dict.fromkeys(("boxes", "mask", "moments", "part", "tracked", "things"))
    assert wrong(folder, tmp_path, **empty) == []
    corpus = open_corpus(tmp_path / "rows.jsonl", columns=COLUMNS, quiet=True)
    names = ("mask", "boxes", "moments", "role")
    assert [corpus.has_target(name).tolist() for name in names] == [[row != 2 for row in range(ROWS)]] * 4
    (batch,) = eval_loader(corpus, IMAGE, targets=names)
    assert (batch["segmentation"][2] == -1).all()
    assert batch["instance_present"].any(dim=1).tolist() == [row != 2 for row in range(ROWS)]
    assert batch["role"][2] == -1


def test_views_that_turn_pictures_are_refused_and_so_is_what_is_not_there(corpus):
    turned = (View(rand_augment=(2, 0.5)),)
    with pytest.raises(ConfigError, match="views with rand_augment shear, shift and turn pictures, where boxes cannot"):
        batches(corpus, views=turned, targets=("boxes",))
    with pytest.raises(ConfigError, match="views with auto_augment shear, shift and turn pictures, where boxes cannot"):
        batches(corpus, views=(View(auto_augment=True),), targets=("boxes",))
    assert batches(corpus, views=turned, targets=("moments",))
    with pytest.raises(ConfigError, match="boxes lie on pixels of image, which is not read for this method"):
        batches(corpus, VIDEO, targets=("boxes",))
    with pytest.raises(DataError, match="has no tracks: name their column with --tracks COL"):
        batches(corpus, targets=("tracks",))
