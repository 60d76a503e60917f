"""Tracks: the drawn frames and no others, one crop for all, things that come and go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.data.reading.media import Unreadable
from accord.data.targets import Canvas, Place, TrackBoxes, TrackMasks, entries
from data.targets.drawn import box_of, encoded, numbers_in, view_of

TRACKS, MASKS = TrackBoxes(classes=("cat", "dog")), TrackMasks(classes=("cat", "dog"))
SIZE = (60, 44)
WHOLE = Place((0, 0, 1, 1), False, (44, 60))


def clip(frames: int = 6) -> np.ndarray:
    """Two rectangles that move; the second is not there before the third frame, and in front."""
    found = np.zeros((frames, *SIZE[::-1]), dtype=np.uint8)
    for number in range(frames):
        found[number, 5:15, 4 + 3 * number : 24 + 3 * number] = 1
        if number > 1:
            found[number, 10 + 2 * number : 22 + 2 * number, 30:50] = 2
    return found


def boxes(frames: int = 6) -> list[list[list[int] | None]]:
    first = [[4 + 3 * t, 5, 24 + 3 * t, 15] for t in range(frames)]
    second = [[30, 10 + 2 * t, 50, 22 + 2 * t] if t > 1 else None for t in range(frames)]
    return [list(pair) for pair in zip(first, second, strict=True)]


def canvas(*frames: int, total: int = 6, slots: int | None = None) -> Canvas:
    return Canvas(SIZE, frames or None, total, slots)


def pictures(maps: np.ndarray) -> list[bytes]:
    return [encoded(frame) for frame in maps]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), frames=st.lists(st.integers(0, 5), min_size=1, max_size=4).map(sorted))
def test_masks_and_boxes_follow_the_frames_that_were_drawn(seed, frames):
    maps = clip()
    cells = {"track_masks": pictures(maps), "instance_label": ["dog", "cat"]}
    crops = [view_of(maps[frame], seed) for frame in frames]  # one seed: the one crop of all frames
    batch = MASKS.collate([MASKS.through(MASKS.read(cells, canvas(*frames)), Place.of(crops[0]))])
    for place, number in enumerate(batch["instance_id"][0].tolist()):
        for slot, crop in enumerate(crops):
            shown = numbers_in(crop) == number
            if batch["track_present"][0, place, slot]:
                mask = batch["track_masks"][0, place, slot]
                assert (mask == shown).all()
                assert batch["track_boxes"][0, place, slot].tolist() == pytest.approx(box_of(mask))
            else:
                assert not batch["track_masks"][0, place, slot].any()
                assert not batch["track_boxes"][0, place, slot].any()
                assert shown.float().mean() < 0.1


def test_boxes_and_masks_of_the_same_clip_agree():
    maps = clip()
    drawn = (
        TRACKS.read({"tracks": boxes()}, canvas(1, 3, 5)),
        MASKS.read({"track_masks": pictures(maps)}, canvas(1, 3, 5)),
    )
    by_boxes, by_masks = (
        TRACKS.collate([TRACKS.through(drawn[0], WHOLE)]),
        MASKS.collate([MASKS.through(drawn[1], WHOLE)]),
    )
    assert by_boxes["track_present"].tolist() == [[[True, True, True], [False, True, True]]]
    for key in ("track_present", "instance_id"):
        assert (by_boxes[key] == by_masks[key]).all()
    clear = by_masks["track_boxes"][0, 1]  # the second is in front, so nothing of it is hidden
    assert by_boxes["track_boxes"][0, 1].tolist() == [pytest.approx(box) for box in clear.tolist()]


def test_things_that_no_drawn_frame_has_are_left_out_and_all_share_the_crop():
    early = TRACKS.through(TRACKS.read({"tracks": boxes(), "instance_label": ["dog", "cat"]}, canvas(0, 1)), WHOLE)
    assert early.things.labels.tolist() == [1]
    corner = TRACKS.through(TRACKS.read({"tracks": boxes()}, canvas(0, 5)), Place((0, 0, 0.5, 0.5), True, (20, 20)))
    batch = TRACKS.collate([corner])
    assert batch["track_present"].tolist() == [[[True, True]]]
    # mirrored: 4..24 and 19..30 (clipped) of 30 pixels
    assert batch["track_boxes"][0, 0, :, [0, 2]].tolist() == [
        [pytest.approx(0.2), pytest.approx(26 / 30)],
        [0, pytest.approx(11 / 30)],
    ]


def test_short_clips_and_few_things_are_filled_up():
    long, short = canvas(0, 2, 4, 5), canvas(0, 1, total=2, slots=4)
    rows = [TRACKS.read({"tracks": boxes()}, long), TRACKS.read({"tracks": boxes(2)}, short), TRACKS.blank(short)]
    batch = entries(TRACKS, [[TRACKS.through(row, WHOLE)] for row in rows])
    assert batch["track_boxes"].shape == (3, 2, 4, 4)
    assert batch["track_present"].sum(dim=2).tolist() == [[4, 3], [2, 0], [0, 0]]
    masks = [MASKS.read({"track_masks": pictures(clip(2))}, short), MASKS.blank(short)]
    assert MASKS.collate(masks)["track_masks"].shape == (2, 1, 4, 44, 60)


def test_numbers_tell_things_apart_that_come_and_go():
    cells = {
        "tracks": [[[0, 0, 9, 9]], [[5, 5, 9, 9], [0, 0, 9, 9]]],
        "track_ids": [[7], [4, 7]],
        "instance_text": ["a", "b"],
    }
    batch = TRACKS.collate([TRACKS.read(cells, canvas(total=2))])
    assert batch["instance_id"].tolist() == [[4, 7]]
    assert batch["track_present"].tolist() == [[[False, True], [True, True]]]
    assert batch["instance_text"] == [["a", "b"]]


def test_a_folder_of_pictures_is_read_in_name_order_and_only_where_frames_were_drawn(tmp_path):
    for number, picture in enumerate(pictures(clip())):
        (tmp_path / f"{number:02}.png").write_bytes(b"broken" if number == 3 else picture)
    target = TrackMasks(root=tmp_path.parent)
    value = target.read({"track_masks": tmp_path.name}, canvas(0, 5))
    assert (value.maps.numpy() == clip()[[0, 5]]).all()
    with pytest.raises(Unreadable, match="not a picture"):
        target.read({"track_masks": tmp_path.name}, canvas())


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ({"tracks": boxes(5)}, "unequal counts: 5 frames in tracks, the clip has 6"),
        ({"tracks": boxes(), "track_ids": [[1, 2]] * 5}, "unequal counts: 5 in track_ids for 6 frames"),
        ({"tracks": boxes(), "track_ids": [["a", 1]] * 6}, r"bad track_ids: track_ids of frame 0 is \['a', 1\]"),
        ({"tracks": boxes(), "track_ids": [[1, 1]] * 6}, "number twice: 1 stands 2 times in frame 0 of track_ids"),
        ({"tracks": [[[0, 0, 9, 9]]] * 5 + [[[0, 0, 9, 90]]]}, "box outside its picture: box of thing 1 in frame 5 is"),
        ({"tracks": [[[0, 0, 9, 9]]] * 5 + [[]]}, "unequal counts: 0 in a frame of tracks for 1 things"),
        ({"tracks": boxes(), "instance_label": ["cat"]}, "unequal counts: 1 in instance_label for 2 things"),
    ],
)
def test_wrong_tracks_are_said(cells, sentence):
    with pytest.raises(Unreadable, match=sentence):
        TRACKS.read(cells, canvas())


def test_masks_for_another_number_of_frames_are_said():
    with pytest.raises(Unreadable, match="unequal counts: 4 frames in track_masks, the clip has 6"):
        MASKS.read({"track_masks": pictures(clip(4))}, canvas())
    with pytest.raises(Unreadable, match="expected a folder of pictures or a list of them"):
        MASKS.read({"track_masks": "none.mp4"}, canvas())
