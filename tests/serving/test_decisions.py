"""Decisions that are kept: undone and done again, after a restart and a crash, by several at once."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from accord.errors import StorageError
from accord.serving.decisions import ConflictError, Decisions


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decided" / "journal.jsonl"


def test_nothing_is_written_before_the_first_decision(path):
    decisions = Decisions(path)
    assert (decisions.values, decisions.head, decisions.get("7")) == ({}, 0, (None, 0))
    assert not path.exists()
    assert decisions.next_undo() is None


def test_the_whole_history_is_undone_and_done_again_after_a_restart(path):
    first = Decisions(path)
    states = [first.values]
    for number, word in enumerate(("accept", "drop", "reject")):
        first.decide({"7": word, str(number): word}, f"step {number}")
        states.append(first.values)
    first.decide({"7": None}, "back")
    states.append(first.values)
    again = Decisions(path)
    assert again.values == states[-1]
    for state in reversed(states[:-1]):
        again.undo()
        assert again.values == state
    with pytest.raises(ConflictError, match="nothing to undo"):
        again.undo()
    last = Decisions(path)
    for state in states[1:]:
        last.redo()
        assert last.values == state
    with pytest.raises(ConflictError, match="nothing to redo"):
        last.redo()


def test_decisions_in_a_folder_that_cannot_be_written_are_there_to_be_looked_at(path, monkeypatch):
    Decisions(path).decide({"1": "accept"}, "one")
    path.with_name(f".{path.name}.lock").unlink(missing_ok=True)
    monkeypatch.setattr(os, "access", lambda *_: False)  # whom root's rights let write everywhere
    saved: list[Decisions] = []
    assert Decisions(path, saved.append).values == {"1": "accept"}
    assert saved == []
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_new_step_ends_what_could_be_done_again(path):
    decisions = Decisions(path)
    decisions.decide({"1": "accept"}, "one")
    decisions.undo()
    decisions.decide({"2": "accept"}, "two")
    assert decisions.next_redo() is None
    assert Decisions(path).values == {"2": "accept"}


def test_many_decisions_are_one_step(path):
    decisions = Decisions(path)
    decisions.decide({"3": "reject"}, "one row")
    many = {str(row): "accept" for row in range(20_000)}
    decisions.decide(many, "accept 20,000 rows")
    assert len(decisions.values) == 20_000
    assert len(path.read_text().splitlines()) == 2
    assert decisions.undo().what == "accept 20,000 rows"
    assert decisions.values == {"3": "reject"}


def test_what_is_decided_already_adds_no_line(path):
    decisions = Decisions(path)
    head = decisions.decide({"7": "accept"}, "one")
    assert decisions.decide({"7": "accept"}, "the same") == head
    assert decisions.next_undo().what == "one"


@pytest.mark.parametrize("kept", [0, 1, 10, -1], ids=["nothing", "a byte", "a part", "all but the end"])
def test_a_line_that_was_cut_short_does_not_count_and_is_told(path, kept):
    decisions = Decisions(path)
    decisions.decide({"1": "accept"}, "one")
    whole = path.read_bytes()
    decisions.decide({"2": "drop"}, "two")
    last = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + last[:kept])
    again = Decisions(path)
    assert again.values == {"1": "accept"}
    assert again.cut == len(last[:kept])
    again.decide({"3": "reject"}, "three")
    assert Decisions(path).values == {"1": "accept", "3": "reject"}
    assert Decisions(path).cut == 0


def test_a_line_that_the_disk_does_not_take_is_not_decided(path, monkeypatch):
    decisions = Decisions(path)
    decisions.decide({"1": "accept"}, "one")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="the disk is full"):
            decisions.decide({"2": "drop"}, "two")
    decisions.decide({"3": "reject"}, "three")
    assert decisions.values == Decisions(path).values == {"1": "accept", "3": "reject"}


def test_a_file_that_was_deleted_is_forgotten(path):
    decisions = Decisions(path)
    decisions.decide({"1": "accept"}, "one")
    path.unlink()
    assert decisions.values == {}
    decisions.decide({"2": "drop"}, "two")
    assert Decisions(path).values == {"2": "drop"}


def test_damage_elsewhere_is_an_error_that_names_the_file(path):
    decisions = Decisions(path)
    for row in range(3):
        decisions.decide({str(row): "accept"}, "one")
    lines = path.read_text().splitlines(keepends=True)
    for damaged in ([lines[0], "{\n", lines[2]], [lines[0], lines[2]]):
        path.write_text("".join(damaged))
        with pytest.raises(StorageError, match=r"journal\.jsonl is damaged"):
            Decisions(path)


def test_a_row_that_another_decided_on_meanwhile_is_a_conflict(path):
    one, other = Decisions(path), Decisions(path)
    one.decide({"7": "accept"}, "one", seen={"7": 0})
    with pytest.raises(ConflictError, match="decided on 7 meanwhile"):
        other.decide({"7": "drop"}, "other", seen={"7": 0})
    assert other.get("7") == ("accept", 1)
    other.decide({"7": "drop"}, "other", seen={"7": 1})
    other.decide({"8": "drop"}, "other", seen={"8": 0})
    assert one.values == {"7": "drop", "8": "drop"}


def test_undoing_what_was_not_seen_is_a_conflict(path):
    one, other = Decisions(path), Decisions(path)
    head = one.decide({"7": "accept"}, "one")
    other.decide({"8": "accept"}, "other")
    with pytest.raises(ConflictError, match="meanwhile"):
        one.undo(head)
    assert one.undo(one.head).what == "other"


def test_undo_counts_as_a_change_of_its_rows(path):
    decisions = Decisions(path)
    decisions.decide({"7": "accept"}, "one")
    decisions.undo()
    assert decisions.get("7") == (None, 2)
    with pytest.raises(ConflictError):
        decisions.decide({"7": "drop"}, "late", seen={"7": 1})


def test_a_check_that_raises_keeps_everything(path):
    decisions = Decisions(path)

    def refuse() -> None:
        raise ConflictError("the count is another")

    with pytest.raises(ConflictError, match="count"):
        decisions.decide({"7": "accept"}, "one", check=refuse)
    assert decisions.values == {}


def test_decisions_of_many_threads_are_all_kept(path):
    shared, alone = Decisions(path), [Decisions(path) for _ in range(4)]

    def work(number: int) -> None:
        for row in range(15):
            key = f"{number}-{row}"
            (shared if number % 2 else alone[number // 2]).decide({key: "accept"}, key, seen={key: 0})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(Decisions(path).values) == len(shared.values) == 120
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == list(range(1, 121))


def test_another_form_is_written_after_each_change_and_after_a_crash_in_between(path):
    written: list[dict[str, str]] = []
    decisions = Decisions(path, lambda found: written.append(found.values))
    decisions.decide({"7": "accept"}, "one")
    decisions.undo()
    assert written == [{"7": "accept"}, {}]
    Decisions(path, lambda found: written.append(found.values))
    assert written[2:] == [{}]
