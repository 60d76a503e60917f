"""The training rows that a method did not believe, as a file: ``doubted.csv``, the most certain doubt first."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accord.data.corpus import Corpus
from accord.files import replacing
from accord.methods.abilities import JudgesRows, Verdicts
from accord.searching.rows import file_paths, label_names
from accord.training.model import Model

DOUBTED = "doubted.csv"
_HEADER = ("row", "file", "text", "label", "proposed label", "score", "reason")


@dataclass(frozen=True)
class Doubt:
    """One doubted row.

    Args:
        position: of the row among the training rows.
        row: its number in the source.
        file: the file of its first medium, empty where the source holds bytes or only text.
        text: its first caption.
        label: the label that it came with, empty without labels.
        proposed: the label that the method would give it, empty where it only drops the row.
        score: confidence that label or pair is right; lower is more doubtful.
        reason: what the method did, in words.
    """

    position: int
    row: int
    file: str
    text: str
    label: str
    proposed: str
    score: float
    reason: str


def doubted_rows(model: Model, train: Corpus) -> list[Doubt] | None:
    """The rows that the method dropped or gave another label, most certain doubt first; None where it judges none.

    Args:
        model: the trained model.
        train: the rows that it was trained on.
    """
    judge = JudgesRows.of(model.method)
    verdicts = None if judge is None else judge.verdicts()
    if verdicts is None or len(train) != len(verdicts.kept):
        return None
    kept, score = verdicts.kept.cpu().numpy(), verdicts.score.cpu().float().numpy()
    proposed = _proposed(verdicts, train)
    doubted = np.flatnonzero(~kept | np.array([bool(name) for name in proposed], dtype=np.bool_))
    order = doubted[np.argsort(score[doubted], kind="stable")]
    rows = train.select(order)
    described = zip(order, rows.ids, file_paths(rows), rows.texts(), label_names(rows), strict=True)
    return [
        Doubt(
            position=int(place),
            row=int(row),
            file=file or "",
            text=texts[0] if texts else "",
            label=label or "",
            proposed=proposed[place] if kept[place] else "",
            score=float(score[place]),
            reason=_reason(bool(kept[place]), model.method.learns_labels, train),
        )
        for place, row, file, texts, label in described
    ]


def write_doubted(folder: Path, model: Model, train: Corpus) -> Path | None:
    """Write ``folder/doubted.csv``; returns the file, None where the method judges no rows."""
    doubts = doubted_rows(model, train)
    if doubts is None:
        return None
    with replacing(folder / DOUBTED) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(_HEADER)
        for one in doubts:
            score = f"{one.score:.6g}"
            table.writerow([one.row, one.file, one.text, one.label, one.proposed, score, one.reason])
    return folder / DOUBTED


def _proposed(verdicts: Verdicts, train: Corpus) -> list[str]:
    """The other label that each row got, empty where it has its own or there are no single labels."""
    if verdicts.label is None or train.labels is None or train.multi_label:
        return [""] * len(train)
    judged = verdicts.label.cpu().numpy()
    return [
        train.classes[new] if new != old and new >= 0 else "" for old, new in zip(train.labels, judged, strict=True)
    ]


def _reason(kept: bool, by_labels: bool, train: Corpus) -> str:
    if kept:
        return "another label fits better"
    if by_labels:
        return "fits none of the classes"
    return f"{' and '.join(train.modalities)} do not belong together"
