"""Fingerspelling, on made recordings: what becomes of hands, which recordings are kept, words and their spans."""

from __future__ import annotations

import csv
import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from accord.data import open_corpus
from accord.data.inputs import SequenceInput
from accord.data.loading.loader import eval_loader
from accord.data.packs import build_pack, fingerspelled, fingerspelling
from accord.data.packs.fingerspelling import PACK, WIDTH, hands_of, letters, read
from accord.data.packs.poses import read_poses
from accord.errors import DataError

Write = Callable[[Path, bytes | str], Path]
PARTS = {"POSE_LANDMARKS": 33, "LEFT_HAND_LANDMARKS": 21, "RIGHT_HAND_LANDMARKS": 21}


def packed(text: str) -> bytes:
    return struct.pack("<H", len(text.encode())) + text.encode()


def pose(values: np.ndarray, confidence: np.ndarray, fps: float = 25.0, version: float = 0.2) -> bytes:
    """A file of one person with points ``(T, 75, 3)``, beside whom there is a second one."""
    head = struct.pack("<fHHHH", version, 500, 500, 0, len(PARTS))
    for name, points in PARTS.items():
        head += packed(name) + packed("XYZC") + struct.pack("<HHH", points, 1, 2)
        head += b"".join(packed(f"ñ{number}") for number in range(points)) + struct.pack("<8H", *range(8))
    head += struct.pack("<fIH", fps, len(values), 2)
    both = [np.stack([array, np.full_like(array, 9)], axis=1).astype("<f4") for array in (values, confidence)]
    return head + both[0].tobytes() + both[1].tobytes()


def recording(seed: int = 0, frames: int = 6, seen: tuple[bool, bool] = (False, True)) -> tuple[np.ndarray, np.ndarray]:
    """Points of a body and the hands that are seen, left and right."""
    values = np.random.default_rng(seed).normal(size=(frames, 75, 3))
    confidence = np.ones((frames, 75))
    for place, there in zip((slice(33, 54), slice(54, 75)), seen, strict=True):
        values[:, place] *= there
        confidence[:, place] *= there
    return values, confidence


@pytest.fixture
def unpacked(tmp_path: Path, write: Write) -> Path:
    """Two languages of six letters, a recording that is listed twice, and one that is broken."""
    lexicon = tmp_path / "unpacked" / "spoken_to_signed" / "assets" / "fingerspelling_lexicon"
    rows = []
    for number, language in enumerate(("ase", "gsg")):
        for place, letter in enumerate(("A", "E", "R", "S", "T", "ß")):
            path = f"{language}/{letter}.pose"
            write(lexicon / path, pose(*recording(10 * number + place, frames=4 + place)))
            rows.append({"path": path, "signed_language": language, "words": letter.lower()})
    rows.append({**rows[0], "signed_language": "fsl"})
    rows.append({"path": "gsg/broken.pose", "signed_language": "gsg", "words": "Q"})
    write(lexicon / "gsg/broken.pose", pose(*recording())[:-10])
    stream = io.StringIO()
    writer = csv.DictWriter(stream, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    write(lexicon / "index.csv", stream.getvalue())
    return tmp_path / "unpacked"


def ignore(name: str, reason: str) -> None: ...


def test_the_first_person_of_a_file_is_read() -> None:
    values, confidence = recording()
    found = read_poses(pose(values, confidence, fps=29.97), "a")
    assert found.fps == pytest.approx(29.97)
    np.testing.assert_allclose(np.concatenate(list(found.values.values()), axis=1), values, rtol=1e-6)
    np.testing.assert_array_equal(found.confidence["LEFT_HAND_LANDMARKS"], np.zeros((6, 21)))


@pytest.mark.parametrize(
    "content", [b"", b"no pose", pose(*recording())[:-4], pose(*recording(), version=0.1), pose(*recording())[:50]]
)
def test_what_is_no_whole_file_is_named(content: bytes) -> None:
    with pytest.raises(DataError, match=r"b\.pose: not a whole \.pose file of version 0\.2"):
        read_poses(content, "b.pose")


def steps_of(values: np.ndarray, confidence: np.ndarray, fps: float = 25.0) -> np.ndarray:
    return hands_of(read_poses(pose(values, confidence, fps), "a"), "a").astype(np.float32)


def test_hands_do_not_depend_on_place_and_size_of_the_person() -> None:
    values, confidence = recording(seen=(True, True))
    steps = steps_of(values, confidence)
    assert steps.shape == (6, WIDTH)
    np.testing.assert_allclose(steps_of(3 * values + 5, confidence), steps, atol=5e-3)
    hand = values[:, 54:75]
    inner = hand - hand[:, :1]
    unit = inner / np.sqrt((inner**2).sum(axis=2).mean(axis=1))[:, None, None]
    np.testing.assert_allclose(steps[:, :63].reshape(6, 21, 3), unit, atol=5e-3)


def test_a_hand_that_is_not_seen_is_zeros() -> None:
    steps = steps_of(*recording(seen=(False, True)))
    assert (steps[:, 66] == 1).all()
    assert not steps[:, 67:].any()


def test_who_signs_with_the_left_hand_looks_like_who_signs_with_the_right() -> None:
    values, confidence = recording(seen=(False, True))
    mirrored, seen = values * [-1, 1, 1], confidence.copy()
    mirrored[:, 33:54], mirrored[:, 54:75] = mirrored[:, 54:75].copy(), 0
    seen[:, 33:54], seen[:, 54:75] = 1, 0
    np.testing.assert_allclose(steps_of(mirrored, seen), steps_of(values, confidence), atol=5e-3)


def test_steps_are_25_a_second_whatever_the_recording() -> None:
    values, confidence = recording(frames=30)
    slow, fast = steps_of(values, confidence, fps=12.5), steps_of(values, confidence, fps=50.0)
    assert (len(slow), len(fast)) == (60, 15)
    np.testing.assert_array_equal(fast, steps_of(values, confidence)[::2])


def test_no_hand_and_no_component_are_said() -> None:
    with pytest.raises(DataError, match="no hand is seen"):
        steps_of(*recording(seen=(False, False)))
    found = read_poses(pose(*recording()), "a")
    del found.values["LEFT_HAND_LANDMARKS"]
    with pytest.raises(DataError, match="no LEFT_HAND_LANDMARKS"):
        hands_of(found, "a")


def test_recordings_are_kept_once_and_broken_ones_named(unpacked: Path) -> None:
    rejected: dict[str, str] = {}
    rows = list(read(unpacked, rejected.__setitem__))
    assert list(rejected) == ["gsg/broken.pose"]
    assert len(rows) == 12
    assert len({row["id"] for row in rows}) == 12
    assert all(set(row) == set(PACK.schema) for row in rows)
    assert rows[0]["letter"] == "A"
    assert rows[0]["text"] == "the letter A in American Sign Language"
    assert rows[5]["letter"] == "ẞ", "one letter, in upper case"
    assert {row["language"] for row in rows} == {"American Sign Language", "German Sign Language"}


def test_a_folder_without_the_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index\.csv is missing"):
        list(read(tmp_path, ignore))


def test_a_built_pack_opens_as_sequences_of_a_language_each(unpacked: Path, cache: Path) -> None:
    assert build_pack("fingerspelling", unpacked).rows == 12
    corpus = open_corpus("pack:fingerspelling", quiet=True)
    assert set(corpus.modalities) == {"sequence", "text"}
    assert corpus.classes == ("A", "E", "R", "S", "T", "ẞ")
    groups = corpus.groups()
    assert groups is not None
    assert len(set(groups)) == 2
    batch = next(iter(eval_loader(corpus, {"sequence": SequenceInput(WIDTH, length=4)}, batch_size=12)))
    assert batch["sequence"].shape == (12, 4, WIDTH)
    assert batch["sequence_mask"].all()


def test_words_are_their_letters_one_after_the_other(unpacked: Path, cache: Path) -> None:
    own = {(one.language, one.letter): one.steps for one in letters(unpacked, ignore)}
    rows = list(fingerspelled.read(unpacked, ignore))
    assert {row["language"] for row in rows} == {"American Sign Language", "German Sign Language"}
    for row in rows:
        word, language = row["word"], row["id"].split("/")[0]
        assert set(word) <= set("aerst")
        assert row["moment_text"] == list(word.upper())
        steps = np.load(io.BytesIO(row["sequence"]["bytes"]))
        for letter, (start, end) in zip(word.upper(), row["moments"], strict=True):
            np.testing.assert_array_equal(steps[round(start * 25) : round(end * 25)], own[language, letter])
        assert row["duration"] == pytest.approx(len(steps) / 25)
    assert rows == list(fingerspelled.read(unpacked, ignore))
    assert build_pack("fingerspelled", unpacked).rows == len(rows)
    corpus = open_corpus("pack:fingerspelled", wanted=("moments", "moment_text", "duration"), quiet=True)
    specs = {"sequence": SequenceInput(WIDTH, length=4)}
    batch = next(iter(eval_loader(corpus, specs, batch_size=len(rows), targets=("moments",))))
    count = len(rows[0]["moments"])
    torch.testing.assert_close(batch["moments"][0, :count], torch.tensor(rows[0]["moments"]))
    assert batch["moment_text"][0][:count] == rows[0]["moment_text"]


def test_both_packs_come_from_the_same_pinned_package() -> None:
    assert fingerspelled.PACK.sources == PACK.sources == fingerspelling.SOURCES
    assert [source.client for source in PACK.sources] == ["pip"]
