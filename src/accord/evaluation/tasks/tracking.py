"""``tracking``: average precision of the things that a method follows through clips, over all frames of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

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
from accord.methods.abilities import Tracked, Tracks

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.data.recipe import Prepared
    from accord.methods.base import Batch
    from accord.training.model import Model

TRUTH = Either("track_masks", "tracks")  # masks in each frame, or boxes alone


def run(model: Model, prepared: Prepared, options: Options) -> list[Metric]:
    """Precision and recall by masks where the rows and the method have such, else by boxes."""
    test = _marked(model, prepared)
    what, rows = _followed(model, prepared)
    return average_precision(what, rows, test.groups())


def shows(model: Model, prepared: Prepared, options: Options) -> list[Curves]:
    """Precision over recall."""
    what, rows = _followed(model, prepared)
    return precision_curves({what: rows}, title="Things followed")


def _marked(model: Model, prepared: Prepared) -> Corpus:
    """The rows of which it is known what is in them."""
    test = prepared.test.having(*model.method.subjects)
    return test.select(np.flatnonzero(test.has_target(TRUTH.of(test))))


def _followed(model: Model, prepared: Prepared) -> tuple[str, Sequence[Guesses]]:
    """``"mask"`` or ``"box"``, and what was followed in each row beside what is there."""
    return model.once(prepared.test, "tracking", lambda: _asked(model, _marked(model, prepared)))


def _asked(model: Model, test: Corpus) -> tuple[str, Sequence[Guesses]]:
    able, places = model.able(Tracks), classes_as(test, model.method.data.instance_classes)

    def of_batch(batch: Batch) -> list[tuple[str, Guesses]]:
        return [_row(found, batch, row, places) for row, found in enumerate(able.track(batch))]

    parts = model.over_batches(test, of_batch, targets=(TRUTH.of(test),))
    rows = [row for part in parts for row in part]
    return (rows[0][0] if rows else "box"), [guesses for _, guesses in rows]


def _row(found: Tracked, batch: Batch, row: int, places: NDArray[np.int64]) -> tuple[str, Guesses]:
    """Every track as a guess of every class, as surely as it is scored; frames that fill up a clip do not count."""
    there, truth = looked_for(batch, row, places)
    shown, present = found.present & batch["video_mask"][row], batch["track_present"][row][there]  # (n, T), (m, T)
    if found.masks is not None and "track_masks" in batch:
        masks = batch["track_masks"][row][there]
        what, overlap = "mask", mask_overlap(_at(found.masks, shown), _at(masks, present))
    else:
        boxes = batch["track_boxes"][row][there]
        what, overlap = "box", box_overlap(_at(found.boxes, shown), _at(boxes, present))
    scores = (found.scores if len(places) else found.scores.amax(dim=1, keepdim=True)).cpu().double().numpy()
    tracks, classes = scores.shape
    kinds = np.tile(np.arange(classes), tracks)
    return what, Guesses(overlap.repeat(classes, axis=0), scores.reshape(-1), kinds, truth)


def _at(values: Tensor, present: Tensor) -> Tensor:
    """Boxes ``(n, T, 4)`` or masks ``(n, T, H, W)``, nothing where they are not there."""
    return values * present.view(*present.shape, *[1] * (values.ndim - 2))


TASK = Task(
    "tracking",
    measures="AP and recall of things followed through clips, over all frames, as YouTube-VIS counts them: by masks, "
    "by boxes where there are none",
    needs=(Can(Tracks), Subjects(), TRUTH),
    order=14,
    run=run,
    shows=shows,
)
