"""The commands of the page on bundles run as they are printed, with a tiny random CLIP in the folder that they name."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from accord.cli import app
from tiny_bundles import save_clip

PAGE = (Path(__file__).parent.parent / "docs" / "encoders.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Bundles")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^accord .*$", SECTION, re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    save_clip(folder / "models" / "vit-b-32")
    (folder / "pictures").mkdir()
    rows = []
    for number in range(24):
        colour = ("red", "green")[number % 2]
        Image.new("RGB", (20 + number, 30), colour).save(folder / "pictures" / f"{number}.png")
        rows.append([f"{number}.png", f"a {colour} heart, number {number}", colour])
    with (folder / "pictures" / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "caption", "label"], *rows])
    return folder


def test_the_page_has_commands() -> None:
    verbs = {line.split()[1] for line in COMMANDS}
    assert verbs == {"search", "zero-shot", "evaluate", "embed", "probe", "train"}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_runs_as_printed(line, place, monkeypatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: place / "cache")
    result = CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(app, shlex.split(line)[1:])
    assert result.exit_code == 0, result.output
