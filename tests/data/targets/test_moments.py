"""Moments: ragged spans in seconds that no view changes; roles; what is wrong with them."""

from __future__ import annotations

import pytest

from accord.data.loading.order import QUERY, SUPPORT
from accord.data.reading.media import Unreadable
from accord.data.targets import ROLES, Canvas, MomentSpans, Place, Role, entries

MOMENTS, ROLE, CANVAS = MomentSpans(), Role(), Canvas()


def read(spans, duration=30.0, **cells):
    return MOMENTS.read({"moments": spans, "duration": duration, **cells}, CANVAS)


def test_moments_of_unequal_number_are_filled_up_and_keep_their_sentences():
    rows = [
        read([[0, 2.5], [2, 30]], moment_text=["a cat comes", " it goes "]),
        read([], duration=4),
        read("[[1, 2]]", duration=3),
        MOMENTS.blank(CANVAS),
    ]
    batch = entries(MOMENTS, [[row] for row in rows])
    assert batch["moments"].shape == (4, 2, 2)
    assert batch["moments"][0].tolist() == [[0, 2.5], [2, 30]]
    assert batch["moment_present"].tolist() == [[True, True], [False, False], [True, False], [False, False]]
    assert batch["moment_text"] == [["a cat comes", "it goes"], [], [""], []]
    assert batch["duration"].tolist() == [30, 4, 3, 0]


def test_a_view_does_not_change_moments_and_a_rounded_end_is_cut():
    value = read([[1, 30.3]])
    assert value.spans.tolist() == [[1, 30]]
    assert MOMENTS.through(value, Place((0, 0, 0.5, 0.5), True, (8, 8))) is value


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ({"spans": [[0, 1], [5, 3]]}, "bad moment: moment 1 starts at 5 s and ends at 3 s"),
        ({"spans": [[3, 3]]}, "bad moment"),
        ({"spans": [[3, 31]]}, "moment beyond the clip: moment 0 is from 3 to 31 s, of 30 s"),
        ({"spans": [[-1, 3]]}, "moment beyond the clip"),
        ({"spans": [[1]]}, r"bad moment: moment 0 is \[1\], expected 2 numbers"),
        ({"spans": [[0, 1]], "moment_text": ["a", "b"]}, "unequal counts: 2 in moment_text for 1 moments"),
        ({"spans": [[0, 1]], "duration": None}, r"no duration: .* \(--duration COL\)"),
        ({"spans": [[0, 1]], "duration": float("nan")}, "bad duration"),
    ],
)
def test_wrong_moments_are_said(cells, sentence):
    with pytest.raises(Unreadable, match=sentence):
        read(**cells)


def test_roles_are_counted_as_in_episodes_and_none_is_minus_one():
    assert (ROLES[QUERY], ROLES[SUPPORT]) == ("query", "support")
    values = [ROLE.read({"role": role}, CANVAS) for role in ("query", "Support ", "reference")]
    batch = entries(ROLE, [[value] for value in (*values, ROLE.blank(CANVAS))])
    assert batch["role"].tolist() == [0, 1, ROLES.index("reference"), -1]
    with pytest.raises(Unreadable, match="unknown role: 'judge', expected one of query, support, target, reference"):
        ROLE.read({"role": "judge"}, CANVAS)
