"""What the README and the tutorial say and tell people to type is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import typer

from accord.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")


def commands(page: str) -> list[str]:
    """The ``accord`` lines of its shell blocks, continued lines joined."""
    blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.partition("  #")[0].strip() for line in lines if line.startswith("accord ")]


@pytest.mark.parametrize("line", dict.fromkeys(commands(README) + commands(TUTORIAL)))
def test_commands_parse_as_printed(line, tmp_path, monkeypatch):
    words = shlex.split(line)[1:]
    monkeypatch.chdir(tmp_path)
    for word in words:  # what is there by then
        if word.startswith(("runs/", "pictures")):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch() if Path(word).suffix else Path(word).mkdir(exist_ok=True)
    context = typer.main.get_command(app).make_context("accord", words)
    command, rest = context.command, words
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(words[0], rest, parent=context)


def test_whoever_follows_the_pages_leaves_nothing_that_git_sees():
    written = re.findall(
        r"(?:--out|open\(')\s?(\S+?)(?:'|\s|$)", README + TUTORIAL + (ROOT / "tools/demo.sh").read_text()
    )
    assert len(written) > 8
    places = [*written, "pictures/metadata.csv", "embeddings.parquet"]
    ignored = subprocess.run(["git", "check-ignore", *places], cwd=ROOT, capture_output=True, text=True, check=False)
    if ignored.returncode == 128:
        pytest.skip("no checkout of git")
    assert set(places) - set(ignored.stdout.split()) == set()


def test_extras_are_those_that_can_be_installed():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    table = README.partition("| extra | brings |")[2].partition("\n\n")[0]
    named = {
        name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if "|" in row else "")
    }
    assert named <= set(declared)
    assert {"weights", "video", "onnx", "ray", "dev"} <= named


def test_the_demo_and_the_readme_use_the_same_folders():
    demo = set(re.findall(r"runs/\w+", (ROOT / "tools" / "demo.sh").read_text(encoding="utf-8"))) - {"runs/mine"}
    assert demo == {"runs/comparison", "runs/words"}
    assert all(folder in README for folder in demo)
    assert not [
        line
        for line in commands(README)
        if line.startswith(("accord train", "accord compare"))
        and "--out" in line
        and shlex.split(line)[shlex.split(line).index("--out") + 1] in demo
    ]  # "already holds a run"
