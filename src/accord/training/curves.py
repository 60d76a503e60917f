"""Where the curves go beside ``train.jsonl``: loggers of Lightning, each imported when it is asked for.

A run that resumes repeats the steps after its checkpoint, and repeats them exactly. A logger that keeps what it was
given is therefore not given it again; the CSV file is written anew from the lines that are left.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accord.errors import require
from accord.files import storage_of, write_atomically

Line = Mapping[str, Any]
_NAMES = "loggers.json"  # what W&B and MLflow call this run, so that a resumed one goes on under the same name


class Curves:
    """The loggers of a run; W&B stays offline and MLflow in the run's folder unless their own variables say otherwise.

    Args:
        names: of ``csv``, ``tensorboard``, ``wandb`` and ``mlflow``.
        folder: of the run.
        resumed: whether it goes on; else W&B and MLflow see a new run.

    Raises:
        MissingExtraError: the package of a logger is not installed.
    """

    def __init__(self, names: Sequence[str], folder: Path, resumed: bool = False) -> None:
        for name in names:
            if name != "csv":  # Lightning's own
                require(name, name)
        openers = {"csv": _csv, "tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
        self._folder, self._given = folder, (0, False)
        with storage_of(folder):
            if not resumed:
                (folder / _NAMES).unlink(missing_ok=True)
            self._loggers = {name: openers[name](folder) for name in names}

    def write(self, line: Line) -> None:
        """Log a line of ``train.jsonl``."""
        with storage_of(self._folder):
            for name, logger in self._loggers.items():
                if name == "csv" or _place(line) > self._given:
                    _log(logger, line)

    def restore(self, lines: Iterable[Line], kept: int) -> None:
        """Continue after step ``kept`` of a run that had written ``lines``."""
        for line in lines:
            self._given = max(self._given, _place(line))
            if "csv" in self._loggers and line["step"] <= kept:
                _log(self._loggers["csv"], line)

    def close(self, status: str) -> None:
        """Close the loggers; ``status`` is ``"success"`` or ``"failed"``."""
        for name, logger in self._loggers.items():
            logger.finalize(status)
            if name == "wandb":
                logger.experiment.finish(exit_code=int(status != "success"))


def _place(line: Line) -> tuple[int, bool]:
    """Where a line stands: what was measured after a step comes after the line of the step."""
    return line["step"], "lr" not in line


def _log(logger: Any, line: Line) -> None:
    terms = {f"{line['stage']}/{name}": value for name, value in line.items() if isinstance(value, float)}
    logger.log_metrics({"epoch": line["epoch"], **terms}, step=line["step"])
    logger.save()


def _csv(folder: Path) -> Any:
    from lightning.pytorch.loggers import CSVLogger

    (folder / "csv" / "metrics.csv").unlink(missing_ok=True)
    return CSVLogger(folder, name="", version="csv")


def _tensorboard(folder: Path) -> Any:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False)


def _wandb(folder: Path) -> Any:
    from lightning.pytorch.loggers import WandbLogger

    run = _name(folder, "wandb") or _named(folder, "wandb", uuid.uuid4().hex[:8])
    offline = "WANDB_MODE" not in os.environ
    return WandbLogger(name=folder.name, save_dir=folder, project="accord", id=run, resume="allow", offline=offline)


def _mlflow(folder: Path) -> Any:
    from lightning.pytorch.loggers import MLFlowLogger

    where = os.environ.get("MLFLOW_TRACKING_URI") or (folder / "mlruns").resolve().as_uri()
    logger = MLFlowLogger("accord", run_name=folder.name, tracking_uri=where, run_id=_name(folder, "mlflow"))
    _named(folder, "mlflow", str(logger.run_id))
    return logger


def _names(folder: Path) -> dict[str, str]:
    path = folder / _NAMES
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _name(folder: Path, logger: str) -> str | None:
    return _names(folder).get(logger)


def _named(folder: Path, logger: str, name: str) -> str:
    write_atomically(folder / _NAMES, json.dumps({**_names(folder), logger: name}))
    return name
