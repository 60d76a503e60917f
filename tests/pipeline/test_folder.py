"""Nothing of the user's is written over, one process writes at a time, and a failed start leaves nothing behind."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys

import pytest
import yaml
from small import small_run

from accord import pipeline
from accord.errors import AccordError, ConfigError, DataError, StorageError
from accord.pipeline.folder import is_run, list_for, owned
from accord.training import module


@pytest.fixture
def quick(shapes):
    run = small_run(shapes)
    run["training"] |= {"epochs": 1}
    return run


def train(config, out, **options):
    return pipeline.train(config=config, out=out, progress=False, **options)


def test_a_folder_with_other_things_is_left_alone(quick, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "config.yaml").write_text("data: {source: mine}\nmethod: {name: clip}\n")
    with pytest.raises(ConfigError, match=r"no run of Accord \(it holds README.md, config.yaml\): .*--out"):
        train(quick, tmp_path)
    with pytest.raises(ConfigError, match=r"no run .* leave --resume out"):
        train(quick, tmp_path, resume=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.yaml"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_the_data_folder_is_not_written_into(quick, shapes):
    before = sorted(shapes.iterdir())
    with pytest.raises(ConfigError, match="is the data folder: name a folder outside of it, such as --out "):
        train(quick, shapes)
    with pytest.raises(ConfigError, match="lies in the data folder"):
        train(quick, shapes / "runs" / "first")
    assert sorted(shapes.iterdir()) == before


def test_a_comparison_wants_an_empty_folder_too(quick, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    study = {"title": "t", "run": quick, "arms": {"a": {"role": "method"}}}
    with pytest.raises(ConfigError, match=r"it holds notes\.txt"):
        pipeline.compare(study, seeds=1, out=tmp_path, progress=False)


def test_arms_of_a_comparison_do_not_lower_the_batch_on_their_own(quick, tmp_path):
    quick["training"] |= {"batch_size": 64}
    study = {"title": "t", "run": quick, "arms": {"a": {"role": "method"}}}
    with pytest.raises(DataError, match=r"36 training rows, fewer than training\.batch_size = 64 of this comparison"):
        pipeline.compare(study, seeds=1, out=tmp_path / "study", progress=False)
    assert not (tmp_path / "study").exists()


# What an owner does, without the imports of one.
HOLD = """
import json, os, sys
from pathlib import Path
from filelock import FileLock
folder = Path(sys.argv[1])
folder.mkdir(parents=True)
with FileLock(folder / ".lock"):
    (folder / ".owner").write_text(json.dumps({"process": os.getpid(), "machine": "here", "since": "now"}))
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_writes_and_a_killed_one_is_in_nobodys_way(quick, tmp_path):
    folder = tmp_path / "runs" / "first"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=rf"is being written by process {other.pid} on .*: wait until .*--out"):
            train(quick, folder)
        other.kill()
    assert train(quick, folder).metrics
    assert not (folder / ".owner").exists()
    with pytest.raises(ConfigError, match="already holds a run: pass --resume to go on"):
        train(quick, folder)


def test_resuming_while_another_process_writes_is_told_too(trained):
    with owned(trained.path, resume=True), pytest.raises(ConfigError, match="is being written by process"):
        pipeline.train(out=trained.path, resume=True, progress=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data.source": "nowhere/pictures.csv"}, "nowhere"),
        ({"data.columns": {"text": "nope"}}, "no column 'nope'"),
        ({"encoders.image": {"name": "tiny_convnet", "weights": "nowhere.safetensors"}}, "nowhere"),
        (
            {"method": "swav", "encoders.image": {"name": "tiny_vit"}},
            "which it cannot take .*, or --set method.small_size=64",
        ),
        ({"training.micro_batch": 4, "method": "cross_entropy"}, "looks at its batch as a whole"),
    ],
)
def test_a_start_that_fails_leaves_no_folder(quick, tmp_path, settings, message):
    with pytest.raises(AccordError, match=message):
        train(quick, tmp_path / "runs" / "first", settings=settings)
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_fails_keeps_an_empty_folder_and_the_list_that_its_message_names(shapes, tmp_path, quick):
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    shutil.copytree(shapes, pictures)
    out.mkdir()
    for number in range(24):
        (pictures / f"{number:02}.png").write_bytes(b"")
    quick["data"] |= {"source": str(pictures)}
    with pytest.raises(DataError, match="24 of 48 rows") as refused:
        train(quick, out)
    assert list(out.iterdir()) == []
    assert str(list_for(out)) in str(refused.value)
    assert len(list_for(out).read_text().splitlines()) == 24
    train(quick, out, settings={"data.max_bad": 0.5, "training.batch_size": 8})
    assert len((out / "quarantine.jsonl").read_text().splitlines()) == 24


def test_a_full_disk_amid_training_keeps_the_checkpoint_and_says_how_to_go_on(quick, tmp_path, monkeypatch):
    quick["training"] |= {"epochs": 3, "checkpoint_every": 1}
    run, save = tmp_path / "run", module.StageModule._save

    def full_at_last(self):
        if self.position.number == 5:
            monkeypatch.setattr("torch.save", full)
        save(self)

    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.StageModule, "_save", full_at_last)
        with pytest.raises(StorageError, match=r"last\.ckpt cannot be written: the disk is full: .*--resume goes on"):
            train(quick, run)
    monkeypatch.undo()
    assert is_run(run)
    assert train(quick, run, resume=True).fitted.steps == 5  # of nine, four are in the checkpoint


@pytest.mark.parametrize("name", ["config.yaml", "encoders.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{cut", b"\x00" * 64], ids=["empty", "cut", "zeros"])
def test_a_damaged_file_of_a_run_is_named_with_a_remedy(trained, tmp_path, name, content):
    shutil.copytree(trained.path, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(StorageError, match=rf"run/{name} is damaged \(.*\): (put it back|the command that trained it)"):
        pipeline.load(tmp_path / "run")


def test_fewer_rows_than_a_batch_are_taken_as_they_are_and_the_report_says_so(quick, tmp_path, capsys):
    quick["training"] |= {"batch_size": 128}
    run = pipeline.train(config=quick, out=tmp_path / "run")
    assert "has 36 training rows: every step takes 36 of them instead of 128 (--batch-size)" in capsys.readouterr().err
    assert yaml.safe_load((run.path / "config.yaml").read_text())["training"]["batch_size"] == 128
    assert "36 (128 asked for)" in (run.path / "report.html").read_text()
    assert run.fitted.steps == 1


def test_labels_that_differ_in_every_row_are_doubted(quick, tmp_path, capsys):
    quick["data"] |= {"columns": {"image": "file_name", "label": "file_name"}}
    pipeline.train(config=quick, out=tmp_path / "run", settings={"evaluate": ["retrieval"]})
    told = " ".join(capsys.readouterr().err.split())
    assert "column 'file_name' gives each of its 48 rows a class of its own" in told


def test_evaluating_where_nothing_can_be_measured_is_an_error(trained, shapes, tmp_path):
    shutil.copy(shapes / "00.png", tmp_path / "a.png")
    shutil.copy(shapes / "01.png", tmp_path / "b.png")
    with pytest.raises(ConfigError, match=r"nothing to measure: .* has image and no labels, the model embeds image"):
        pipeline.evaluate(trained.path, tmp_path)


def test_a_missing_card_is_refused_before_the_data_are_read(quick, tmp_path):
    quick["training"] |= {"accelerator": "mps"}
    quick["data"] |= {"source": "nowhere.csv"}
    with pytest.raises(ConfigError, match=r"training\.accelerator mps: PyTorch finds no mps device"):
        train(quick, tmp_path / "run")


def test_an_export_replaces_only_an_export(trained, tmp_path, monkeypatch):
    weights = (trained.path / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="holds other things than an export"):
        pipeline.export(trained.path, trained.path)
    assert (trained.path / "model.safetensors").read_bytes() == weights
    (tmp_path / "config.json").write_text('{"architecture": "mine"}')
    with pytest.raises(StorageError, match="is there already and no part of an earlier export"):
        pipeline.export(trained.path, tmp_path)


def test_embeddings_replace_only_embeddings(trained, shapes, tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n")
    with pytest.raises(StorageError, match="no file of embeddings of Accord"):
        pipeline.embed(trained.path, shapes, tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == "a,b\n"
    for _ in range(2):
        pipeline.embed(trained.path, shapes, tmp_path / "vectors.parquet")
    with pytest.raises(StorageError, match="is what is to be embedded"):
        pipeline.embed(trained.path, tmp_path / "vectors.parquet", tmp_path / "vectors.parquet")


def test_a_figure_does_not_replace_a_photograph(trained, shapes, tmp_path):
    shutil.copy(shapes / "00.png", tmp_path / "photo.png")
    with pytest.raises(StorageError, match=r"photo\.png is there already and no figure of Accord"):
        pipeline.probe(trained.path, figure=tmp_path / "photo.png")
    for _ in range(2):
        pipeline.probe(trained.path, figure=tmp_path / "gap.png")


def test_further_processes_of_a_run_neither_lock_nor_write(quick, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with owned(folder):
        monkeypatch.setenv("RANK", "1")
        run = train(quick, folder)
        assert run.metrics == []
        assert not (folder / "config.yaml").exists()
        assert json.loads((folder / ".owner").read_text())["process"]
