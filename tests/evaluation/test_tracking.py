"""Things followed through clips, over all frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from answering import SIDE, Tracker, measured, model_of, prepared, rows_of, shown
from PIL import Image

from accord.errors import ConfigError
from accord.methods.abilities import Tracked

LEFT, RIGHT = [0, 0, 16, 32], [16, 0, 32, 32]
NAMES = ("dog", "cat")


def clip(folder, frames=2):
    folder.mkdir()
    for number in range(frames):
        Image.new("RGB", (SIDE, SIDE)).save(folder / f"{number}.png")
    return folder.name


def followed(boxes, scores, present=None, masks=None):
    boxes = torch.tensor(boxes, dtype=torch.float32) / SIDE  # (n, T, 4)
    present = torch.ones(boxes.shape[:2], dtype=torch.bool) if present is None else torch.tensor(present)
    return Tracked(present, boxes, torch.tensor(scores), masks)


@pytest.fixture
def rows(tmp_path):
    """A cat that stays and a dog that leaves after the first frame."""
    row = {"video": clip(tmp_path / "clip"), "tracks": [[LEFT, RIGHT], [LEFT, None]], "instance_label": ["cat", "dog"]}
    return prepared(rows_of(tmp_path, [row]))


def tracked(answer):
    return model_of(Tracker, lambda row: answer, instance_classes=NAMES)


def test_tracks_that_agree_in_all_frames_are_found_in_full(rows):
    exact = followed([[LEFT, LEFT], [RIGHT, RIGHT]], [[0.1, 0.9], [0.8, 0.2]], [[True, True], [True, False]])
    metrics = measured("tracking", tracked(exact), rows)
    assert [metric.value for metric in metrics.values()] == [100] * 5
    assert list(metrics) == ["box AP", "box AP50", "box AP75", "box AR1", "box AR10"]


def test_frames_in_which_a_thing_is_not_there_count_against_a_track(rows):
    stays = followed([[LEFT, LEFT], [RIGHT, RIGHT]], [[0.1, 0.9], [0.8, 0.2]])
    metrics = measured("tracking", tracked(stays), rows)
    assert metrics["box AP50"].value == 100  # the dog: one of two frames
    assert metrics["box AP75"].value == 50
    assert metrics["box AP"].value == pytest.approx((100 + 10) / 2)


def test_a_track_that_changes_to_another_thing_overlaps_half(rows):
    swapped = followed([[LEFT, RIGHT]], [[0.1, 0.9]])
    assert measured("tracking", tracked(swapped), rows)["box AP50"].value == 0  # 1 of 3 areas


def test_every_track_is_a_guess_of_every_class_as_surely_as_it_is_scored(rows):
    # both tracks are likelier cats, and still the likeliest dog is the right one
    torn = followed([[LEFT, LEFT], [RIGHT, RIGHT]], [[0.1, 0.9], [0.3, 0.4]], [[True, True], [True, False]])
    assert measured("tracking", tracked(torn), rows)["box AP"].value == 100


def test_frames_that_fill_up_a_short_clip_do_not_count(tmp_path):
    row = {"video": clip(tmp_path / "clip", frames=1), "tracks": [[LEFT]]}
    test = prepared(rows_of(tmp_path, [row]))
    model = model_of(Tracker, lambda row: followed([[LEFT, RIGHT]], [[0.9]]))
    assert measured("tracking", model, test)["box AP"].value == 100


def test_masks_are_compared_where_both_have_them(tmp_path):
    numbers = np.zeros((SIDE, SIDE), dtype=np.uint8)
    numbers[:, :16] = 1
    (tmp_path / "maps").mkdir()
    for name in ("0.png", "1.png"):
        Image.fromarray(numbers).save(tmp_path / "maps" / name)
    test = prepared(rows_of(tmp_path, [{"video": clip(tmp_path / "clip"), "track_masks": "maps"}]))
    masks = torch.zeros(1, 2, SIDE, SIDE, dtype=torch.bool)
    masks[0, 0, :, :16], masks[0, 1, :, :8] = True, True  # three quarters of it
    drawn = model_of(Tracker, lambda row: followed([[LEFT, LEFT]], [[0.9]], masks=masks))
    metrics = measured("tracking", drawn, test)
    assert [metrics[f"mask {name}"].value for name in ("AP50", "AP75", "AP")] == [100, 100, 60]
    assert list(shown("tracking", drawn, test)[0].lines) == ["mask"]
    boxed = model_of(Tracker, lambda row: followed([[LEFT, LEFT]], [[0.9]]))
    assert measured("tracking", boxed, test)["box AP"].value == 100


def test_it_says_what_it_needs(tmp_path):
    bare = prepared(rows_of(tmp_path, [{"video": clip(tmp_path / "clip")}]))
    with pytest.raises(
        ConfigError, match=r"needs rows with track_masks or tracks; .* --track-masks COL or --tracks COL"
    ):
        measured("tracking", tracked(None), bare)
