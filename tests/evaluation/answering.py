"""Models that say of each row what a test wants them to say, asked through the loader as trained ones are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from accord.config import Config
from accord.data.corpus import Corpus, open_corpus
from accord.data.recipe import Prepared
from accord.data.splits import Splits
from accord.encoders import build_encoder
from accord.evaluation.metric import Metric
from accord.evaluation.tasks import get_task, parse_options
from accord.methods.abilities import Detections, Detects, FindsMoments, Generates, Moments, Segments, Tracked, Tracks
from accord.methods.base import Batch, DataInfo, Method, Stage
from accord.training.artifact import Model

SIDE, FRAMES = 32, 2
_VIT = {"name": "tiny_vit", "size": SIDE, "patch": 8, "width": 16, "depth": 1, "heads": 2}
_ENCODERS = {"image": _VIT, "video": {"name": "frames", "frames": FRAMES, "image": _VIT}}


class Answering(Method):
    """Base of all: ``answer(row)`` is what is said of a row."""

    name: ClassVar[str] = "answering"
    Config: ClassVar[type[Config]] = Config
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"})}
    stages: ClassVar[tuple[Stage, ...]] = ()
    answer: Callable[[int], Any]

    def answers(self, batch: Batch) -> list[Any]:
        return [self.answer(row) for row in batch["index"].tolist()]


class Detector(Answering, Detects):
    def detect(self, batch: Batch) -> list[Detections]:
        return self.answers(batch)


class Segmenter(Answering, Segments):
    targets: ClassVar[tuple[str, ...]] = ("mask",)

    def segment(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        return torch.stack(self.answers(batch)).view(-1, *size)


class Tracker(Answering, Tracks):
    needs: Mapping[str, frozenset[str]] = {"video": frozenset({"pooled"})}

    def track(self, batch: Batch) -> list[Tracked]:
        return self.answers(batch)


class Finder(Answering, FindsMoments):
    def find_moments(self, batch: Batch) -> list[Moments]:
        return self.answers(batch)


class Generator(Answering, Generates):
    def generate(self, batch: Batch, seed: int = 0, **how: Any) -> dict[str, Tensor]:
        return {self.makes: torch.stack(self.answers(batch))}


class Filmer(Generator):
    needs: Mapping[str, frozenset[str]] = {"video": frozenset({"pooled"})}
    makes = "video"


def model_of(kind: type[Answering], answer: Callable[[int], Any], **facts: Any) -> Model:
    """A model of this kind; facts are those of :class:`DataInfo`."""
    encoders = {name: build_encoder(name, _ENCODERS[name], weights=False) for name in kind.needs}
    method = kind({}, encoders, DataInfo(**facts))
    method.answer = answer
    return Model(method)


def rows_of(folder: Path, rows: Sequence[Mapping[str, Any]], colours: Sequence[Any] = (), **options: Any) -> Corpus:
    """Rows with a picture each, plain and black where no colour is given, and fields that they say besides."""
    for number, _ in enumerate(rows):
        Image.new("RGB", (SIDE, SIDE), colours[number] if colours else "black").save(folder / f"{number}.png")
    lines = [json.dumps({"image": f"{number}.png", **row}) for number, row in enumerate(rows)]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    columns = {field: field for row in rows for field in row}
    return open_corpus(folder / "rows.jsonl", columns=columns, quiet=True, **options)


def prepared(test: Corpus, train: Corpus | None = None) -> Prepared:
    """The rows as held-out ones."""
    nothing = test.select([])
    return Prepared(nothing if train is None else train, test, nothing, Splits({}))


def measured(task: str, model: Model, rows: Prepared, **options: Any) -> dict[str, Metric]:
    """What a task finds, by name; the task has to fit."""
    declared = get_task(task)
    declared.check(model, rows)
    return {metric.name: metric for metric in declared.run(model, rows, parse_options(task, options))}


def shown(task: str, model: Model, rows: Prepared, **options: Any) -> list[Any]:
    """What a task shows in the report."""
    declared = get_task(task)
    assert declared.shows is not None
    return list(declared.shows(model, rows, parse_options(task, options)))
