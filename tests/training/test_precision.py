"""Half precision and compiled encoders: other arithmetic, the same training."""

from __future__ import annotations

import pytest
import torch
from toy_method import BagEncoder, Toy, toy, toy_corpus

from accord.errors import ConfigError
from accord.training.checkpoint import load_plain
from accord.training.config import TrainingConfig
from accord.training.fit import fit
from accord.training.start import check_machine

QUICK = {"epochs": 3, "batch_size": 32, "lr": 0.01, "grad_clip": 1e9, "log_every": 1, "accelerator": "cpu"}


class Halves(Toy):
    """Notes the types in which its encoder and its heads are computed."""

    def towers(self, batch):
        with_hook = self.encoders["text"].drop.register_forward_pre_hook(lambda *_: self.note("encoder"))
        towers = super().towers(batch)
        with_hook.remove()
        self.note("head")
        return towers

    def note(self, where):
        on = torch.is_autocast_enabled("cpu")
        self.types = {**getattr(self, "types", {}), where: torch.get_autocast_dtype("cpu") if on else torch.float32}


class Large(Toy):
    """Its head is fed numbers whose products float16 does not hold."""

    def towers(self, batch):
        towers = super().towers(batch)
        return {**towers, "z": torch.nn.functional.normalize(self.projector(1e6 * towers["h"]), dim=1)}


def trained(tmp_path, losses, name, kind=Toy, **settings):
    method = toy(dropout=0.0)
    method.__class__ = kind
    method.encoders["text"].drop = torch.nn.Linear(16, 16)  # which autocast computes in half precision
    fit(method, toy_corpus(), TrainingConfig.parse({**QUICK, **settings}), tmp_path / name, progress=False)
    return method, losses(tmp_path / name)


@pytest.fixture
def scaled_by(monkeypatch):
    """The factor from which the scale of the loss starts."""
    scaler = torch.amp.GradScaler

    def start(factor):
        made = lambda kind, enabled: scaler(kind, init_scale=factor, enabled=enabled)  # noqa: E731
        monkeypatch.setattr(torch.amp, "GradScaler", made)

    return start


@pytest.mark.parametrize(
    ("precision", "types"),
    [
        ("fp16", {"encoder": torch.float16, "head": torch.float32}),
        ("bf16", {"encoder": torch.bfloat16, "head": torch.bfloat16}),
    ],
)
def test_halves_follow_what_single_precision_does(precision, types, tmp_path, losses, scaled_by):
    scaled_by(256.0)
    method, half = trained(tmp_path, losses, precision, Halves, precision=precision)
    _, single = trained(tmp_path, losses, "fp32", precision="fp32")
    assert method.types == types
    assert all(parameter.dtype == torch.float32 for parameter in method.parameters())
    for name, close in (("total", 0.02), ("grad_norm", 0.1)):  # which is clipped, so it is not the scaled one
        found, expected = ([line[name] for line in lines] for lines in (half, single))
        assert found == pytest.approx(expected, rel=close), name


def test_what_a_head_is_fed_may_be_larger_than_fp16_holds(tmp_path, losses, scaled_by):
    scaled_by(1.0)
    _, lines = trained(tmp_path, losses, "large", Large, precision="fp16", epochs=1)
    assert all(line["grad_norm"] > 0 for line in lines)


def test_gradients_that_overflow_are_left_out_and_the_scale_falls(tmp_path, losses, scaled_by):
    scaled_by(2.0**30)
    method, lines = trained(tmp_path, losses, "run", precision="fp16", epochs=20)
    assert all(parameter.isfinite().all() for parameter in method.parameters())
    main = [line["grad_norm"] for line in lines if line["stage"] == "main"]
    assert main[0] == 0
    assert all(main[50:])
    content = load_plain(tmp_path / "run" / "checkpoints" / "last.ckpt")["accord"]
    assert content["loss_scale"]["scale"] > 0
    assert lines[-1]["total"] < lines[0]["total"]


def test_micro_batches_have_the_same_gradient_in_fp16(tmp_path, losses, scaled_by):
    scaled_by(256.0)
    _, whole = trained(tmp_path, losses, "whole", precision="fp16", epochs=1)
    _, parts = trained(tmp_path, losses, "parts", precision="fp16", epochs=1, micro_batch=8)
    norms = [[line["grad_norm"] for line in lines[:5]] for lines in (parts, whole)]
    assert norms[0] == pytest.approx(norms[1], rel=0.02)


def test_compiled_encoders_train_the_same_and_are_left_as_they_were(tmp_path, losses, monkeypatch):
    compiled = []
    monkeypatch.setattr(
        BagEncoder,
        "compile",
        lambda self, backend: compiled.append(backend) or torch.nn.Module.compile(self, backend=backend),
    )
    method, found = trained(tmp_path, losses, "compiled", compile="eager")
    _, expected = trained(tmp_path, losses, "plain")
    assert compiled == ["eager"]
    assert [line["total"] for line in found] == pytest.approx([line["total"] for line in expected], rel=1e-5)
    assert all(encoder._compiled_call_impl is None for encoder in method.encoders.values())


def test_a_backend_that_there_is_not_is_named():
    with pytest.raises(ConfigError, match="no backend 'inducto'; did you mean inductor"):
        check_machine(TrainingConfig(compile="inducto", accelerator="cpu"))
