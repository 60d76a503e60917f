from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
import typer

from accord import __version__
from accord.cli import app

VERBS = (
    ("train",),
    ("evaluate",),
    ("embed",),
    ("search",),
    ("probe",),
    ("caption",),
    ("transfer",),
    ("compare",),
    ("discover",),
    ("detect-moments",),
    ("ground",),
    ("clean",),
    ("data", "list"),
    ("data", "get"),
    ("data", "build"),
    ("data", "info"),
    ("papers", "list"),
    ("papers", "show"),
    ("papers", "search"),
    ("papers", "similar"),
    ("papers", "import"),
    ("papers", "trending"),
    ("papers", "digest"),
    ("papers", "subscribe"),
    ("papers", "confirm"),
    ("papers", "unsubscribe"),
    ("papers", "outbox"),
    ("claims", "list"),
    ("claims", "run"),
    ("claims", "table"),
)
HEAVY = ("torch", "torchvision", "lightning", "transformers", "datasets", "lancedb", "matplotlib", "numpy")


def example(help_text: str) -> list[str]:
    """The command line printed under ``Example``."""
    found = re.search(r"Example.*:\s+(accord .+)", help_text)
    assert found, help_text
    return shlex.split(found[1].strip())


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_has_an_example_that_parses(accord_cli, verb, tmp_path, monkeypatch) -> None:
    result = accord_cli(*verb, "--help")
    assert result.exit_code == 0
    words = example(result.stdout)
    assert tuple(words[1 : 1 + len(verb)]) == verb
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/first", "runs/coca", "runs/g2l", "unpacked"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "daily.json").touch()
    context = typer.main.get_command(app).make_context("accord", words[1:])
    command = context.command
    for name in verb:  # walks down the groups; parsing raises on a wrong example
        command = command.commands[name]
    command.make_context(verb[-1], words[1 + len(verb) :], parent=context)


@pytest.mark.parametrize(
    "group", [(), ("data",), ("papers",), ("claims",)], ids=lambda group: "accord " + " ".join(group)
)
def test_groups_without_a_verb_show_their_help(accord_cli, group) -> None:
    result = accord_cli(*group)
    assert "Commands" in result.output


def test_version(accord_cli) -> None:
    result = accord_cli("--version")
    assert (result.exit_code, result.stdout) == (0, f"accord {__version__}\n")


@pytest.mark.parametrize(
    "args", [["--help"], ["train", "--help"], ["probe", "--help"], ["papers", "list"]], ids=" ".join
)
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys, accord.cli\n"
        f"try: accord.cli.app({args!r})\n"
        f"finally: print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
    assert done.returncode == 0
