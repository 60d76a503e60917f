from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from accord.data.loading.watch import Watch


def test_a_note_stands_while_a_worker_reads_and_is_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.data.loading.watch.get_worker_info", lambda: SimpleNamespace(id=1))
    watch = Watch(2)
    with watch.reading("a much longer note"):
        pass
    with watch.reading("Bär.png"):
        assert watch.notes([os.getpid()]) == ["Bär.png"]
        assert watch.notes([1]) == []
    with watch.reading("x" * 1000):
        assert watch.notes([os.getpid()]) == ["x" * 512]
    assert watch.notes([os.getpid()]) == []


def test_the_process_that_trains_takes_no_notes() -> None:
    watch = Watch(0)
    with watch.reading("a.png"):
        assert watch.notes([os.getpid()]) == []
