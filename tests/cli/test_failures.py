from __future__ import annotations

import subprocess
import sys

import pytest

from accord.errors import DataError


def test_an_accord_error_is_one_line_on_stderr_and_exit_1(pipeline, accord_cli) -> None:
    pipeline.error = DataError("pictures/a.png is cut off:\n  fetch it again")
    result = accord_cli("train", "pictures")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "error: pictures/a.png is cut off: fetch it again\n"


def test_an_unexpected_error_names_its_type_and_how_to_see_more(pipeline, accord_cli) -> None:
    pipeline.error = RuntimeError("no memory left")
    result = accord_cli("train", "pictures")
    assert result.exit_code == 1
    assert result.stderr == "error: RuntimeError: no memory left (run again with --debug for the traceback)\n"


@pytest.mark.parametrize("args", [("--debug", "train", "pictures"), ("train", "pictures", "--debug")])
def test_debug_lets_the_error_through_wherever_it_stands(pipeline, accord_cli, args) -> None:
    pipeline.error = DataError("broken")
    assert accord_cli(*args).exception is pipeline.error


def test_debug_after_a_double_dash_is_a_word(pipeline, accord_cli, tmp_path) -> None:
    accord_cli("search", tmp_path, "--", "--debug")
    assert pipeline.calls[0][1][1] == "--debug"


def test_an_interrupt_exits_130_and_says_how_to_go_on(pipeline, accord_cli) -> None:
    pipeline.error = KeyboardInterrupt()
    result = accord_cli("train", "pictures")
    assert result.exit_code == 130
    assert result.stderr == "interrupted; the same command with --resume goes on\n"


@pytest.mark.parametrize(
    "args",
    [
        ("no-such-verb",),
        ("train", "pictures", "--no-such-option"),
        ("train",),
        ("train", "pictures", "--epochs", "0"),
        ("train", "pictures", "--set", "no-equals-sign"),
        ("train", "pictures", "--set", "a=[1"),
        ("evaluate", "missing-run"),
        ("evaluate", ".", "--task", "juggling"),
        ("embed", "."),
        ("search", "."),
        ("data", "get"),
        ("data", "build", "emoji", "missing-folder"),
        ("papers", "show"),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2(pipeline, accord_cli, args) -> None:
    result = accord_cli(*args)
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert pipeline.calls == []


def test_the_program_itself_exits_with_the_code() -> None:
    command = [sys.executable, "-c", "from accord.cli import main; main()", "papers", "show", "capo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no card 'capo'; did you mean capro?")
    assert "Traceback" not in done.stderr


def test_debug_prints_the_traceback() -> None:
    command = [sys.executable, "-c", "from accord.cli import main; main()", "papers", "show", "capo", "--debug"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
