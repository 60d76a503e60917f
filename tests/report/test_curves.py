from __future__ import annotations

from pathlib import Path

from accord.report import read_curves

LINES = """\
{"stage": "vanilla", "epoch": 0, "step": 0, "lr": 0.1, "total": 3.0, "note": "text"}
{"stage": "vanilla", "epoch": 0, "step": 1, "lr": 0.1, "total": 2.0}
{"stage": "vanilla", "epoch": 0, "step": 1, "lr": 0.1, "total": 2.5}
{"stage": "clean", "epoch": 0, "step": 0, "lr": 0.1, "total": NaN}
{"stage": "clean", "epo"""


def test_a_resumed_step_counts_once_and_broken_values_not_at_all(tmp_path: Path) -> None:
    log = tmp_path / "train.jsonl"
    log.write_text(LINES, encoding="utf-8")
    assert read_curves(log) == {
        "vanilla/lr": [(0, 0.1), (1, 0.1)],
        "vanilla/total": [(0, 3.0), (1, 2.5)],
        "clean/lr": [(0, 0.1)],
    }
