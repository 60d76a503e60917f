"""``detection``: average precision of the things that a method finds in pictures, by their boxes and by their masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from accord.evaluation.average_precision import (
    Guesses,
    average_precision,
    box_overlap,
    classes_as,
    looked_for,
    mask_overlap,
    precision_curves,
)
from accord.evaluation.metric import Metric
from accord.evaluation.needs import Can, Either, Subjects
from accord.evaluation.sections import Curves
from accord.evaluation.task import Options, Task
from accord.methods.abilities import Detections, Detects

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.data.recipe import Prepared
    from accord.methods.base import Batch
    from accord.training.model import Model

TRUTH = Either("instances", "boxes")  # masks, which have boxes around them, or boxes alone


def run(model: Model, prepared: Prepared, options: Options) -> list[Metric]:
    """Precision and recall by masks, where the rows and the method have such, and by boxes."""
    test = _marked(model, prepared)
    found = _found(model, prepared)
    return [metric for what, rows in found.items() for metric in average_precision(what, rows, test.groups())]


def shows(model: Model, prepared: Prepared, options: Options) -> list[Curves]:
    """Precision over recall."""
    return precision_curves(_found(model, prepared), title="Things found")


def _marked(model: Model, prepared: Prepared) -> Corpus:
    """The rows of which it is known what is in them."""
    test = prepared.test.having(*model.method.subjects)
    return test.select(np.flatnonzero(test.has_target(TRUTH.of(test))))


def _found(model: Model, prepared: Prepared) -> dict[str, Sequence[Guesses]]:
    """What was found in each row beside what is there, by mask and by box."""
    return model.once(prepared.test, "detection", lambda: _asked(model, _marked(model, prepared)))


def _asked(model: Model, test: Corpus) -> dict[str, Sequence[Guesses]]:
    able, places = model.able(Detects), classes_as(test, model.method.data.instance_classes)
    # without classes a guess is of one of its row's phrases, and right where that is said of the thing
    phrases = not model.method.data.instance_classes and test.columns.instance_text is not None

    def of_batch(batch: Batch) -> list[dict[str, Guesses]]:
        return [_row(found, batch, row, places, phrases) for row, found in enumerate(able.detect(batch))]

    parts = model.over_batches(test, of_batch, targets=(TRUTH.of(test),))
    rows = [row for part in parts for row in part]
    return {what: [row[what] for row in rows] for what in ("mask", "box") if rows and all(what in row for row in rows)}


def _row(found: Detections, batch: Batch, row: int, places: NDArray[np.int64], phrases: bool) -> dict[str, Guesses]:
    """One row by each way to compare."""
    there, truth = looked_for(batch, row, places)
    labels, scores = found.labels.cpu().numpy(), found.scores.cpu().double().numpy()
    overlaps = {"box": box_overlap(found.boxes[:, None], batch["boxes"][row][there][:, None])}
    if found.masks is not None and "instance_masks" in batch:
        overlaps["mask"] = mask_overlap(found.masks, batch["instance_masks"][row][there])
    if phrases:
        said = batch["instance_text"][row]
        same = np.array([[said[label] == text for text in said] for label in labels], dtype=np.bool_)
        overlaps = {what: overlap * same.reshape(overlap.shape) for what, overlap in overlaps.items()}
    kinds = labels if len(places) else np.zeros_like(labels)
    return {what: Guesses(overlap, scores, kinds, truth) for what, overlap in overlaps.items()}


TASK = Task(
    "detection",
    measures="AP and recall of things found in pictures, as COCO counts them: by boxes, and by masks if there are any",
    needs=(Can(Detects), Subjects(), TRUTH),
    order=12,
    run=run,
    shows=shows,
)
