"""Every verb that runs a model can be told where, and says in one sentence that there is no such device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import typer
from PIL import Image

from accord.cli import app

WITHOUT_A_MODEL = {"data", "papers", "claims", "clean apply"}
VERBS = {
    "train": ("pack:emoji",),
    "evaluate": ("house",),
    "embed": ("house", "pack:emoji"),
    "search": ("house", "red heart"),
    "caption": ("house", "cat.png"),
    "transfer": ("house", "pack:emoji"),
    "zero-shot": ("house", "cat.png", "--class", "cat", "--class", "dog"),
    "probe": ("house",),
    "discover": ("pack:emoji",),
    "clean": ("pack:emoji", "--run", "house"),
    "explain": ("house", "cat.png", "--text", "a cat"),
    "ground": ("house", "cat.png", "a cat"),
    "detect-moments": ("house", "cat.png"),
    "export": ("house", "export"),
    "compare": ("emoji-web",),
    "serve": ("--port", "0"),
}


def test_no_verb_is_forgotten() -> None:
    assert set(typer.main.get_command(app).commands) == {*VERBS, *WITHOUT_A_MODEL}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is asked for")
@pytest.mark.parametrize("verb", VERBS)
def test_a_device_that_is_not_there_is_one_sentence(accord_cli, verb, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("cat.png")
    result = accord_cli(verb, *VERBS[verb], "--device", "cuda")
    assert result.exit_code == 1, result.output
    assert "cuda: PyTorch finds no cuda device on this machine" in result.output
    assert result.output.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["cat.png"]
