"""A package of somebody else brings a method, an encoder, a task, an objective and a card; another one is broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import accord
from accord import pipeline
from accord.data.packs import available_packs, get_pack
from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.evaluation.tasks import get_task, task_names
from accord.methods import available, get_method, get_methods, get_objective
from accord.papers import get_card, list_cards, settings_of
from accord.plugins import find_plugin, plugin_names

CODE = '''
from typing import Any, ClassVar

import torch
from torch import nn

from accord.data.inputs import ImageInput
from accord.data.packs import Pack
from accord.encoders import Encoder, Features
from accord.evaluation.metric import Metric
from accord.evaluation.task import Task
from accord.methods import get_method, get_objective

Clip = get_method("clip")


class OwnClip(Clip):
    """CLIP under another name."""

    name: ClassVar[str] = "own_clip"


class Bare(Clip):
    """A method without a card."""

    name: ClassVar[str] = "bare"


class Apart(get_objective("contrastive_gap")):
    """An objective under another name."""

    name: ClassVar[str] = "apart"


class MeanColour(Encoder):
    """A linear map of the mean colour."""

    modality = "image"

    def __init__(self, dim):
        super().__init__()
        self.dim, self.input, self.map = dim, ImageInput(size=32), nn.Linear(3, dim)

    def encode(self, x, mask=None):
        return Features(pooled=self.map(x.mean((2, 3))))

    def blocks(self):
        return [self.map]

    def spec(self):
        return {"name": "mean_colour", "dim": self.dim}


def build(options, *, weights, texts=None):
    return MeanColour(options.get("dim", 8))


def run(model, prepared, options):
    return [Metric("brightness", 50.0, 40.0, 60.0, None, len(prepared.test))]


squares = Pack(
    name="squares", summary="squares", about="", licence="CC0", credit="us", origin="drawn", sources=(), schema={},
    read=lambda folder, reject: iter(()), columns={}, expected_rows=0,
)
brightness = Task("brightness", fits=lambda model, prepared: "image" in model.modalities, run=run)
card = {
    "title": "A title of our own", "use": "To try it.", "inputs": "pictures", "gives": "vectors",
    "example": "accord train pictures --method own_clip",
}
'''
OURS = """
[accord.methods]
own_clip = ourlab.parts:OwnClip
bare = ourlab.parts:Bare
misnamed = ourlab.parts:Bare
[accord.objectives]
apart = ourlab.parts:Apart
[accord.encoders]
mean_colour = ourlab.parts:build
[accord.tasks]
brightness = ourlab.parts:brightness
gloom = ourlab.parts:brightness
[accord.cards]
own_clip = ourlab.parts:card
[accord.packs]
squares = ourlab.parts:squares
round = ourlab.parts:squares
"""
BROKEN = """
[accord.methods]
shaky = brokenlab.nowhere:Method
[accord.tasks]
shaky = brokenlab.nowhere:task
[accord.encoders]
shaky = brokenlab.nowhere:build
"""


def installed(site: Path, package: str, entry_points: str, code: str = "") -> None:
    """Lay a package out as an installer does."""
    (site / package).mkdir(parents=True)
    (site / package / "__init__.py").write_text("")
    (site / package / "parts.py").write_text(code)
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture
def site(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    installed(folder, "ourlab", OURS, CODE)
    installed(folder, "brokenlab", BROKEN)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] in ("ourlab", "brokenlab")]:
        del sys.modules[name]


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    lines = ["file_name,caption,label"]
    for number in range(24):
        colour = ("red", "green", "blue")[number % 3]
        Image.new("RGB", (32, 32), colour).save(folder / f"{number}.png")
        lines.append(f"{number}.png,a {colour} square {number},{colour}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


def test_a_run_with_parts_of_another_package_trains_reports_and_loads(site, pictures, tmp_path):
    run = pipeline.train(
        pictures,
        "own_clip",
        encoders={"image": "mean_colour", "text": {"name": "tiny_text", "options": {"width": 16, "heads": 2}}},
        objective_add=["apart"],
        epochs=1,
        batch_size=8,
        device="cpu",
        settings={"method.dim": 8},
        out=tmp_path / "run",
        progress=False,
    )
    assert "brightness: brightness" in [metric.name for metric in run.metrics]
    assert "A title of our own" in (run.path / "README.md").read_text()
    assert "A title of our own" in (run.path / "report.html").read_text()
    assert accord.load(run.path).embed(texts=["a red square"]).shape == (1, 8)
    assert [metric.name for metric in pipeline.evaluate(run.path, tasks=["brightness"])] == ["brightness"]


def test_its_names_are_listed_and_its_settings_read(site):
    assert {"own_clip", "bare"} <= set(available())
    assert get_method("own_clip").name == "own_clip"
    assert get_objective("apart").name == "apart"
    assert task_names()[-3:] == ["brightness", "gloom", "shaky"]
    assert "temperature" in [setting.name for setting in settings_of("own-clip")]


def test_its_packs_are_packs(site):
    assert "squares" in available_packs()
    assert get_pack("pack:squares").licence == "CC0"
    with pytest.raises(ConfigError, match=r"accord\.packs 'round' of the package ourlab .* a Pack called 'round'"):
        get_pack("round")


def test_a_method_with_and_without_a_card_can_be_looked_up(site):
    assert get_card("own_clip").title == "A title of our own"
    assert get_card("bare").use == "Its package has no card for it."
    assert [card.slug for card in list_cards() if card.kind == "plugin"] == ["bare", "misnamed", "own_clip", "shaky"]


@pytest.mark.parametrize(
    "asked",
    [
        lambda: get_method("shaky"),
        lambda: get_task("shaky"),
        lambda: build_encoder("image", "shaky"),
    ],
)
def test_what_is_broken_names_its_package(site, asked):
    with pytest.raises(ConfigError, match=r"'shaky' of the package brokenlab cannot be used: ModuleNotFoundError"):
        asked()


def test_what_is_broken_does_not_stop_the_others(site, capsys):
    assert {"clip", "own_clip"} <= {kind.name for kind in get_methods()}
    assert "left out: accord.methods 'shaky' of the package brokenlab cannot be used" in capsys.readouterr().err


def test_a_class_under_another_name_than_its_own_is_refused(site):
    with pytest.raises(ConfigError, match=r"'misnamed' of the package ourlab cannot be used: .* calls itself 'bare'"):
        get_method("misnamed")


def test_a_task_under_another_name_than_its_own_is_refused(site):
    with pytest.raises(
        ConfigError, match=r"'gloom' of the package ourlab cannot be used: .* calls itself 'brightness'"
    ):
        get_task("gloom")


def test_an_encoder_for_another_modality_is_refused(site):
    with pytest.raises(
        ConfigError, match=r"'mean_colour' of the package ourlab cannot be used: .*Encoder for text, got one for image"
    ):
        build_encoder("text", "mean_colour")


def test_two_packages_with_one_name_are_told_apart_by_nobody(site):
    installed(site, "theirlab", "[accord.methods]\nown_clip = theirlab.parts:OwnClip\n")
    with pytest.raises(ConfigError, match=r"'own_clip' comes from several packages \(ourlab, theirlab\)"):
        find_plugin("methods", "own_clip")


def test_names_of_ours_come_first_and_import_nothing_of_others(site):
    installed(site, "theirlab", "[accord.methods]\nclip = brokenlab.nowhere:Clip\n")
    assert get_method("clip").__module__.startswith("accord.")
    assert "clip" in plugin_names("methods")
    assert "ourlab" not in sys.modules


def test_the_command_line_knows_them_without_importing_them(site):
    code = "import sys; from accord.cli import complete; print(complete.method_names('own'), 'ourlab' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join([str(site), *sys.path])},
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.split("\n")[0] == "['own_clip'] False"
