"""``ground``: when something happens in clips or recordings that a sentence says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accord.data.corpus import Corpus
from accord.data.reading.lengths import seconds_of
from accord.data.reading.media import Unreadable
from accord.errors import ConfigError, DataError, listed
from accord.explaining.moments import MomentLine, draw_moments
from accord.files import FIGURE, check_replaceable, write_atomically
from accord.methods.abilities import FindsMoments, Moments
from accord.pipeline.model import load
from accord.pipeline.rows import media_files, readable_files
from accord.training.model import Model

EVERY = 1 << 20  # more moments than a map has
BATCH = 16


@dataclass(frozen=True)
class Moment:
    """When something happens.

    Args:
        file: path of the clip or recording.
        sentence: what happens.
        start: seconds.
        end: seconds.
        score: the method's own; higher is likelier.
    """

    file: Path
    sentence: str
    start: float
    end: float
    score: float


def ground(
    run: str | Path,
    files: str | Path | Sequence[str | Path],
    sentences: str | Sequence[str],
    *,
    top: int = 5,
    nms: float | None = None,
    duration: float | None = None,
    out: str | Path | None = None,
    figure: str | Path | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> list[Moment]:
    """The moments in each file at which each sentence is true, the likeliest first.

    A file that cannot be read is left out, and said on stderr.

    Args:
        run: folder of a run whose method finds moments.
        files: clips, folders of frames or of clips, or ``.npy`` files of features, as the run was trained on.
        sentences: what happens.
        top: moments for a sentence in a file, at most.
        nms: overlap (IoU) above which the less likely of two moments is dropped, in (0, 1]; None for the run's own.
        duration: seconds that every file lasts; None for what the files say.
        out: JSON Lines file with ``file``, ``sentence``, ``start``, ``end`` and ``score`` of each moment, or None.
        figure: PNG, SVG or PDF of the scores over time, with a strip of pictures of the moments of clips, or None.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.
        workers: processes that decode; None for what suits the device.

    Raises:
        ConfigError: there is no such run or device, its method finds no moments, or a setting is wrong.
        DataError: a path does not exist, or no file can be read.
        StorageError: ``out`` or ``figure`` is a file of another kind, or cannot be written.
    """
    sentences = [sentences] if isinstance(sentences, str) else listed("sentences", sentences)
    _check(sentences, top, nms, duration)
    for path, kind, what in ((out, b'"sentence": ', "file of moments"), (figure, FIGURE, "figure")):
        if path is not None:
            check_replaceable(Path(path), kind, f"{what} of Accord")
    model = load(run, device, workers)
    model.able(FindsMoments)
    field = _subject(model)
    given = [files] if isinstance(files, str | Path) else files
    corpus, paths = readable_files(field, [path for item in given for path in media_files(Path(item), field)])
    lengths = [_length(path, model, field) if duration is None else duration for path in paths]
    rows = _asked(corpus, sentences, lengths)
    answers = _answers(model, rows, most=top, overlap=nms)
    found = [list(_told(path, sentences, answer)) for path, answer in zip(paths, answers, strict=True)]
    if figure is not None:
        every = _answers(model, rows, most=EVERY, overlap=1.0)
        draw_moments(list(_timelines(paths, sentences, lengths, every, found, pictures=field == "video")), figure)
    flat = [moment for of_file in found for moment in of_file]
    if out is not None:
        lines = (json.dumps({**vars(moment), "file": str(moment.file)}, ensure_ascii=False) for moment in flat)
        write_atomically(Path(out), "".join(f"{line}\n" for line in lines))
    return flat


def _check(sentences: Sequence[str], top: int, nms: float | None, duration: float | None) -> None:
    """Refuse settings before a model is loaded."""
    if not sentences or not all(sentence.strip() for sentence in sentences):
        raise ConfigError("ground: give at least one sentence, and none without words")
    if top < 1:
        raise ConfigError(f"ground: top = {top}; expected at least 1")
    if nms is not None and not 0 < nms <= 1:
        raise ConfigError(f"ground: nms = {nms}; expected an overlap above 0 and at most 1")
    if duration is not None and not duration > 0:
        raise ConfigError(f"ground: duration = {duration}; expected seconds above 0")


def _subject(model: Model) -> str:
    """What the method looks through.

    Raises:
        ConfigError: it looks through several things at once, which no single file holds.
    """
    subjects = model.method.subjects
    if len(subjects) > 1:
        raise ConfigError(
            f"ground: method {model.method.name} looks through {' and '.join(subjects)} of a row at once, and a file "
            "is one of them: use accord evaluate --task moments on rows"
        )
    return subjects[0]


def _length(path: Path, model: Model, field: str) -> float:
    try:
        return seconds_of(path, model.inputs[field])
    except Unreadable as error:
        raise DataError(f"{path}: how long it lasts cannot be read: {error}; say it with --duration SECONDS") from None


def _asked(corpus: Corpus, sentences: Sequence[str], lengths: Sequence[float]) -> Corpus:
    """The rows with the sentences beside each; what is asked for stands there as the whole."""
    added = {
        "moments": [[[0.0, seconds]] * len(sentences) for seconds in lengths],
        "moment_text": [list(sentences)] * len(corpus),
        "duration": list(lengths),
    }
    rows = corpus.rows
    for column, cells in added.items():
        rows = rows.add_column(column, cells)
    return replace(corpus, rows=rows, columns=corpus.columns.model_copy(update={name: name for name in added}))


def _answers(model: Model, rows: Corpus, most: int, overlap: float | None) -> list[Moments]:
    """What the method finds in each row."""
    able = model.able(FindsMoments)
    how: dict[str, Any] = {"most": most} | ({} if overlap is None else {"overlap": overlap})
    batches = model.over_batches(
        rows, lambda batch: able.find_moments(batch, **how), targets=("moments",), batch_size=BATCH
    )
    return [answer for batch in batches for answer in batch]


def _told(path: Path, sentences: Sequence[str], answer: Moments) -> Iterator[Moment]:
    """The moments of a file, without the places where fewer were found."""
    for sentence, spans, scores in zip(sentences, answer.spans.tolist(), answer.scores.tolist(), strict=True):
        for (start, end), score in zip(spans, scores, strict=True):
            if end > start:
                yield Moment(path, sentence, start, end, score)


def _timelines(
    paths: Sequence[Path],
    sentences: Sequence[str],
    lengths: Sequence[float],
    every: Sequence[Moments],
    found: Sequence[Sequence[Moment]],
    *,
    pictures: bool,
) -> Iterator[MomentLine]:
    """What is drawn of each file and sentence."""
    for path, seconds, answer, moments in zip(paths, lengths, every, found, strict=True):
        for sentence, spans, scores in zip(sentences, answer.spans.cpu(), answer.scores.cpu(), strict=True):
            best = [(one.start, one.end, one.score) for one in moments if one.sentence == sentence]
            yield MomentLine(path, sentence, seconds, spans.numpy(), scores.numpy(), best, pictures)
