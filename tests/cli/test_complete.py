"""What the shell offers at the tab key."""

from __future__ import annotations

import subprocess
import sys

import pytest

from accord.cli import complete


def completed(*words: str, cwd=None) -> list[str]:
    """What bash would be offered after these words, the last one being typed."""
    code = "import sys; sys.argv = ['accord']; from accord.cli import main; main()"
    line = {"_ACCORD_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(["accord", *words])}
    environment = {**line, "COMP_CWORD": str(len(words)), "PYTHONPATH": ":".join(sys.path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=cwd)
    return done.stdout.split()


def test_a_shell_is_offered_verbs_methods_and_options():
    assert completed("tr") == ["train", "transfer"]
    assert completed("train", "pictures", "--method", "cap") == ["capro"]
    assert completed("train", "pictures", "--device", "c") == ["cpu", "cuda"]


def test_tasks_and_packs_are_offered():
    assert complete.task_names("k") == ["knn"]
    assert "emoji" in complete.pack_names("e")
    assert "pack:emoji" in complete.sources("pack:e")
    assert complete.encoders_for("text")("t") == ["tiny_text"]
    assert complete.encoders_for("image")("tiny_v") == ["tiny_vit"]
    assert complete.method_names("sw") == ["swav"]


def test_runs_are_offered_without_a_slash_and_folders_on_the_way_with_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "config.yaml").write_text("")
    (tmp_path / "runs" / "note.txt").write_text("")
    (tmp_path / ".hidden").mkdir()
    assert complete.runs("") == ["runs/", "house"]
    assert complete.runs("ru") == ["runs/"]
    assert complete.runs("runs/") == ["runs/first"]
    assert complete.sources("runs/") == ["runs/first", "runs/note.txt"]
    assert complete.runs(f"{tmp_path}/ru") == [f"{tmp_path}/runs/"]


@pytest.mark.parametrize("heavy", ["torch", "datasets", "numpy"])
def test_completing_imports_nothing_heavy(heavy):
    asked = "method_names, complete.task_names, complete.sources, complete.runs, complete.encoders_for('image')"
    code = f"import sys; from accord.cli import complete\nfor one in (complete.{asked}): one('')\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print({heavy!r} in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


def test_objectives_are_offered():
    assert complete.objective_names("contr") == ["contrastive_gap"]


def test_the_names_of_methods_are_those_of_the_registry_and_load_nothing():
    code = (
        "import sys; from accord.cli import complete; from accord.methods.registry import available\n"
        "print(complete.method_names('') == available(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_kinds_of_bundles_are_offered_and_then_their_folders(tmp_path, monkeypatch):
    (tmp_path / "models" / "vit").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert complete.runs("cl") == ["clip:"]
    assert complete.runs("clip:models/v") == ["clip:models/vit/"]


def test_a_probe_is_offered_runs_and_parquet_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vectors.parquet").write_text("")
    (tmp_path / "note.txt").write_text("")
    assert complete.runs_and_tables("v") == ["vectors.parquet"]
    assert complete.measure_names("p") == ["pairs", "purity"]
