"""The verb ``detect_moments``: a score for each step of a recording, and the intervals in which it is high."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.data.corpus import Corpus, corpus_from_fields
from accord.data.fields import read_by
from accord.data.modalities import modality_of_file
from accord.data.reading.media import cell_name
from accord.data.reading.video import holds_pictures
from accord.diagnostics.figure import check_figure
from accord.errors import ConfigError
from accord.files import check_replaceable, write_atomically
from accord.functional.checks import check_share
from accord.methods.abilities import ScoresMoments, Timeline
from accord.methods.base import Batch
from accord.methods.timelines import intervals_above
from accord.pipeline.model import Model, load
from accord.pipeline.rows import ColumnNames, despite_bad_rows, open_like, readable_items

_ROWS = 16  # recordings of a batch: they may be long, and are scored whole


@dataclass(frozen=True)
class Detected:
    """When something happens in one recording.

    Args:
        file: what the recording is called.
        event: what happens.
        intervals: start and end in seconds and the highest score of each, in order of time.
        timeline: the score of each step, and what each stream says.
    """

    file: str
    event: str
    intervals: tuple[tuple[float, float, float], ...]
    timeline: Timeline

    def record(self) -> dict[str, Any]:
        """What a line of JSON says of it."""
        line, keys = self.timeline, ("start", "end", "score")
        return {
            "file": self.file,
            "event": self.event,
            "intervals": [dict(zip(keys, one, strict=True)) for one in self.intervals],
            "spans": line.spans.tolist(),
            "scores": line.scores.tolist(),
            "streams": {name: scores.tolist() for name, scores in line.streams.items()},
        }


def detect_moments(
    run: str | Path,
    data: str | Path | Sequence[str | Path],
    *,
    beside: Mapping[str, str | Path | Sequence[str | Path]] | None = None,
    columns: ColumnNames | None = None,
    threshold: float = 0.5,
    low: float | None = None,
    out: str | Path | None = None,
    figure: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> list[Detected]:
    """Say when something happens in recordings: a score for each step, and the intervals in which scores are high.

    What cannot be read is left out, and said on stderr.

    Args:
        run: folder of a run whose method scores moments (macil_sd).
        data: files of what the model reads first, or one source of rows, such as a table or a folder.
        beside: field -> files of the other streams, in the order of ``data``; rows have them as columns.
        columns: field -> column of the rows, where the guess is wrong.
        threshold: score that a step of each interval reaches.
        low: score that all steps of an interval reach, at most the threshold; None for the threshold.
        out: JSON Lines file to write, a recording a line.
        figure: PNG, SVG or PDF to draw the time lines to.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.
        workers: processes that decode; None for what suits the device.

    Raises:
        ConfigError: there is no such run or device, its method scores no moments, a stream is missing, or a threshold
            or figure is none.
        DataError: nothing can be read, or there are not as many files of each stream.
        StorageError: ``out`` is a file of another kind, or a file cannot be written.
    """
    given = [data] if isinstance(data, str | Path) else list(data)
    _check(threshold, threshold if low is None else low, given)
    if out is not None:
        check_replaceable(Path(out), b'"intervals": ', "file of moments of Accord")
    if figure is not None:
        check_figure(Path(figure))
    model = load(run, device, workers)
    able = model.able(ScoresMoments)
    corpus = _rows(model, given, dict(beside or {}), columns)

    def of_batch(batch: Batch) -> list[Timeline]:
        return [_on_cpu(timeline) for timeline in able.score_moments(batch)]

    def scored(rows: Corpus) -> list[Timeline]:
        return [line for part in model.over_batches(rows, of_batch, batch_size=_ROWS) for line in part]

    lines, corpus = despite_bad_rows(corpus, scored)
    files = map(cell_name, corpus.cells_of(model.method.subjects[0]))
    found = [
        Detected(file, able.event, tuple(intervals_above(line, threshold, low)), line)
        for file, line in zip(files, lines, strict=True)
    ]
    if out is not None:
        write_atomically(Path(out), "".join(f"{json.dumps(one.record(), ensure_ascii=False)}\n" for one in found))
    if figure is not None:
        from accord.pipeline.detection.figure import draw_timelines

        draw_timelines(found, corpus, Path(figure), threshold)
    return found


def _check(threshold: float, low: float, data: Sequence[str | Path]) -> None:
    try:
        check_share(threshold=threshold, low=low)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if low > threshold:
        raise ConfigError(
            f"low = {low} is above threshold = {threshold}: intervals reach from the threshold down to it"
        )
    if not data:
        raise ConfigError("nothing to look at: give recordings, or a table or folder of them")


def _rows(
    model: Model,
    data: list[str | Path],
    beside: dict[str, str | Path | Sequence[str | Path]],
    columns: ColumnNames | None,
) -> Corpus:
    """The rows of one source, or those that files make together.

    Raises:
        ConfigError: a stream is missing, or one is named that the model does not read.
    """
    first, *others = model.method.subjects
    unknown = sorted(set(beside) - set(others))
    if unknown:
        raise ConfigError(f"{unknown[0]}: the model reads {first}, and beside it {', '.join(others) or 'nothing'}")
    if len(data) == 1 and not _is_file_of(first, Path(data[0])):
        if beside:
            raise ConfigError(
                f"{data[0]} is a source of rows: name the column of {next(iter(beside))} instead of files"
            )
        return open_like(model, data[0], columns).having(first, *others)
    missing = [field for field in others if field not in beside]
    if missing:
        named = ", ".join(f"--with {field}=FILE" for field in missing)
        raise ConfigError(f"the model reads {' and '.join((first, *others))}: add {named} for each {first}")
    fields = {first: data, **{field: _listed(beside[field]) for field in others}}
    corpus, _ = readable_items(corpus_from_fields({field: list(map(Path, files)) for field, files in fields.items()}))
    return corpus


def _is_file_of(field: str, path: Path) -> bool:
    """Whether a path is a recording of this field rather than a table or folder of some."""
    modality = read_by(field)
    if path.is_dir():
        return modality == "video" and holds_pictures(path)
    return modality_of_file(path, [modality]) == modality


def _listed(files: str | Path | Sequence[str | Path]) -> list[str | Path]:
    return [files] if isinstance(files, str | Path) else list(files)


def _on_cpu(line: Timeline) -> Timeline:
    return Timeline(line.spans.cpu(), line.scores.cpu(), {name: own.cpu() for name, own in line.streams.items()})


def listed_intervals(found: Sequence[Detected]) -> Iterator[tuple[str, str, str, str]]:
    """File, start, end and score of each interval as text; a recording without any has one line that says so.

    >>> import torch
    >>> list(listed_intervals([Detected("a.npy", "fight", ((0.0, 61.5, 0.875),), Timeline(*[torch.zeros(0)] * 2, {}))]))
    [('a.npy', '0:00.00', '1:01.50', '0.88')]
    """
    for one in found:
        for start, end, score in one.intervals:
            yield one.file, clock(start), clock(end), f"{score:.2f}"
        if not one.intervals:
            yield one.file, "", "", f"{float(one.timeline.scores.max()):.2f}"


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds.

    >>> clock(61.5), clock(3600)
    ('1:01.50', '60:00.00')
    """
    minutes, rest = divmod(round(100 * seconds), 6000)
    return f"{minutes}:{rest / 100:05.2f}"
