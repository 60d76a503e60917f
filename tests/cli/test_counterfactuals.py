"""``accord data counterfactuals`` on the command line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from accord.errors import DataError


@pytest.fixture
def calls(pipeline, monkeypatch) -> list:
    done = SimpleNamespace(
        path=Path("altered.parquet"), sentences=lambda: ["9 rows, 8 with altered captions, 5.0 each"]
    )
    pipeline.answers |= {"add_counterfactuals": done}
    monkeypatch.setattr(pipeline, "add_counterfactuals", pipeline._recorder("add_counterfactuals"), raising=False)
    return pipeline.calls


def test_data_and_a_table_to_write_are_enough(accord_cli, calls) -> None:
    result = accord_cli("data", "counterfactuals", "clips.csv", "--out", "altered.parquet", "--text", "title")
    assert result.exit_code == 0, result.output
    (name, given, options) = calls[0]
    assert (name, given) == ("add_counterfactuals", ("clips.csv", Path("altered.parquet")))
    assert options["columns"] == {"text": ["title"]}
    assert (options["kinds"], options["encoder"], options["count"]) == (["action"], "minilm", 10)
    assert "8 with altered captions" in result.stdout
    assert "altered.parquet" in result.stdout


def test_kinds_repeat_and_no_encoder_is_none(accord_cli, calls) -> None:
    words = ["--kind", "action", "--kind", "object", "--encoder", "none", "--blocks", "6", "--video-files", "{id}.mp4"]
    assert accord_cli("data", "counterfactuals", "clips.csv", "--out", "a.csv", *words).exit_code == 0
    options = calls[0][2]
    assert (options["kinds"], options["encoder"], options["blocks"]) == (["action", "object"], None, 6)
    assert options["video_files"] == "{id}.mp4"


def test_an_error_is_one_line(accord_cli, calls, pipeline) -> None:
    pipeline.error = DataError("clips.csv has no captions")
    result = accord_cli("data", "counterfactuals", "clips.csv", "--out", "a.csv")
    assert result.exit_code == 1
    assert "error: clips.csv has no captions" in result.output
