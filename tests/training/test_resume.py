from __future__ import annotations

import json

import pytest
import torch
from toy_method import toy, toy_corpus

from accord.errors import ConfigError, DataError, StorageError
from accord.training.checkpoint import AtomicCheckpointIO, load_plain, save_atomically
from accord.training.config import TrainingConfig
from accord.training.fit import fit

TRAINING = {"epochs": 3, "batch_size": 32, "checkpoint_every": 4, "log_every": 3, "lr": 0.01, "ema": 0.9}


@pytest.mark.parametrize("kill_at", [7, 23], ids=["first stage", "second stage amid an epoch"])
@pytest.mark.parametrize("resumed", ["here", "in a new process"])
def test_a_killed_run_resumes_to_the_same_bits(kill_at, resumed, tmp_path, run_toy, run_here, final, losses):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run_here(whole, training=TRAINING)
    assert run_toy(killed, training=TRAINING, kill_at=kill_at) == -9
    assert not (killed / "final.pt").exists()
    if resumed == "here":
        run_here(killed, training=TRAINING, resume=True)
    else:
        assert run_toy(killed, training=TRAINING, resume=True) == 0
    expected, found = final(whole), final(killed)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    assert losses(killed) == losses(whole)
    assert losses(whole)[-1]["step"] == 5 * (2 + 3 + 1)


def test_a_run_without_a_checkpoint_says_that_it_is_trained_from_the_start(tmp_path, capsys):
    config = TrainingConfig(epochs=1, batch_size=32, accelerator="cpu")
    fit(toy(), toy_corpus(), config, tmp_path, resume=True)
    assert f"no checkpoint yet in {tmp_path}: trained from the start" in capsys.readouterr().err
    fit(toy(), toy_corpus(), config, tmp_path, resume=True)
    assert "from the start" not in capsys.readouterr().err


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path, run_toy, run_here, final):
    assert run_toy(tmp_path / "killed", training=TRAINING, kill_at=2) == -9
    run_here(tmp_path / "killed", training=TRAINING, resume=True)
    run_here(tmp_path / "whole", training=TRAINING)
    assert torch.equal(final(tmp_path / "killed")["queue"], final(tmp_path / "whole")["queue"])


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    config = TrainingConfig(epochs=1, batch_size=32)
    first, again = toy(), toy()
    fit(first, toy_corpus(), config, tmp_path, progress=False)
    log = (tmp_path / "train.jsonl").read_text()
    result = fit(again, toy_corpus(), config, tmp_path, resume=True, progress=False)
    assert result.steps == 0
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())
    assert (tmp_path / "train.jsonl").read_text() == log


def test_without_resume_a_run_starts_over(tmp_path):
    config = TrainingConfig(epochs=1, batch_size=32)
    for _ in range(2):
        assert fit(toy(), toy_corpus(), config, tmp_path, progress=False).steps == 20
    assert len((tmp_path / "train.jsonl").read_text().splitlines()) == 4


def test_resuming_with_other_settings_is_refused(tmp_path):
    fit(toy(), toy_corpus(), TrainingConfig(epochs=1, batch_size=32), tmp_path, progress=False)
    with pytest.raises(ConfigError, match=r"trained with training\.batch_size = 32, now it is 16"):
        fit(toy(), toy_corpus(), TrainingConfig(epochs=1, batch_size=16), tmp_path, resume=True, progress=False)
    with pytest.raises(ConfigError, match="trained with corpus"):
        fit(toy(), toy_corpus(99), TrainingConfig(epochs=1, batch_size=32), tmp_path, resume=True, progress=False)


def test_settings_of_the_machine_may_change_on_resume(tmp_path):
    fit(toy(), toy_corpus(), TrainingConfig(epochs=1, batch_size=32), tmp_path, progress=False)
    other = TrainingConfig(epochs=1, batch_size=32, checkpoint_every=7, log_every=2)
    assert fit(toy(), toy_corpus(), other, tmp_path, resume=True, progress=False).steps == 0


class Explosive:
    """Would run on unpickling."""

    def __reduce__(self):
        return (print, ("boom",))


def test_a_checkpoint_runs_no_code_when_read(tmp_path, capsys):
    path = tmp_path / "last.ckpt"
    torch.save({"state": Explosive()}, path)
    with pytest.raises(DataError, match=r"last\.ckpt cannot be read .* delete it"):
        AtomicCheckpointIO().load_checkpoint(path)
    assert "boom" not in capsys.readouterr().out


def test_a_damaged_checkpoint_is_named(tmp_path):
    path = tmp_path / "last.ckpt"
    save_atomically({"weight": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"last\.ckpt cannot be read"):
        load_plain(path)


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    save_atomically({"step": 1}, path)
    with pytest.raises(Exception, match="pickle"):
        save_atomically({"step": lambda: 2}, path)
    assert load_plain(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]
    AtomicCheckpointIO().remove_checkpoint(path)
    assert not path.exists()


def test_a_run_of_few_rows_resumes_only_with_the_same_rows_a_step(tmp_path):
    config = TrainingConfig(epochs=1, batch_size=64, accelerator="cpu")
    fit(toy(), toy_corpus(37), config, tmp_path, progress=False)
    assert fit(toy(), toy_corpus(37), config, tmp_path, resume=True, progress=False).steps == 0
    saved = load_plain(tmp_path / "checkpoints" / "last.ckpt")
    assert saved["accord"]["identity"]["rows of a step"] == 37
    saved["accord"]["identity"]["rows of a step"] = 36
    save_atomically(saved, tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(ConfigError, match="trained with rows of a step = 36, now it is 37"):
        fit(toy(), toy_corpus(37), config, tmp_path, resume=True, progress=False)


def test_damaged_curves_and_a_checkpoint_of_another_program_are_named(tmp_path):
    config = TrainingConfig(epochs=1, batch_size=32, accelerator="cpu")
    fit(toy(), toy_corpus(), config, tmp_path, progress=False)
    (tmp_path / "train.jsonl").write_text("{cut\n")
    with pytest.raises(StorageError, match=r"train\.jsonl is damaged .*: delete it, and --resume goes on"):
        fit(toy(), toy_corpus(), config, tmp_path, resume=True, progress=False)
    save_atomically({"weights": torch.zeros(1)}, tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(StorageError, match=r"last\.ckpt is damaged \(it lacks 'accord'\): delete it, and --resume"):
        fit(toy(), toy_corpus(), config, tmp_path, resume=True, progress=False)


def test_the_log_is_cut_back_to_the_checkpoint(tmp_path):
    from accord.training.journal import truncate

    log = tmp_path / "train.jsonl"
    log.write_text("".join(json.dumps({"step": step}) + "\n" for step in (3, 6, 9)) + '{"step": 12')
    truncate(log, 6)
    assert log.read_text() == '{"step": 3}\n{"step": 6}\n'
    truncate(tmp_path / "absent.jsonl", 6)


def test_a_checkpoint_of_before_there_were_schedules_and_scales_is_continued(tmp_path, run_toy, run_here, final):
    run_here(tmp_path / "whole", training=TRAINING)
    assert run_toy(tmp_path / "killed", training=TRAINING, kill_at=7) == -9
    path = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    saved = load_plain(path)
    assert not {"training.schedule", "training.accumulate"} & saved["accord"]["identity"].keys()
    for group in saved["optimizer_states"][0]["param_groups"]:
        del group["lr_scale"]
    save_atomically(saved, path)
    run_here(tmp_path / "killed", training=TRAINING, resume=True)
    whole, killed = final(tmp_path / "whole"), final(tmp_path / "killed")
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())
