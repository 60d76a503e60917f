"""``diagnose``: the geometry of a model's embeddings, on its own held-out rows or on other data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.reading.sources import announce
from accord.diagnostics import Diagnostic
from accord.diagnostics.measures import Measure, get_measure, get_measures, measured
from accord.errors import ConfigError, listed
from accord.files import FIGURE, check_replaceable
from accord.methods.abilities import Embeds
from accord.pipeline.model import Model, load
from accord.pipeline.rows import ColumnNames, despite_bad_rows, held_out, open_like, require_data


def diagnose(
    run: str | Path,
    data: str | Path | None = None,
    figure: str | Path | None = None,
    *,
    measures: Sequence[str] = (),
    columns: ColumnNames | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> list[Diagnostic]:
    """Spread of each modality, and the gap between each two: as trained, and closed after training.

    Rows that cannot be read are left out, and said on stderr.

    Args:
        run: folder of a run, name of a model that ships, or that of a bundle.
        data: what to embed; None takes the run's held-out rows.
        figure: where to draw the modalities and the cosines of their pairs, or None.
        measures: of :func:`accord.diagnostics.measures.measure_names`; empty takes all that fit.
        columns: modality -> column name(s) of ``data``, where the guess is wrong.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.
        workers: processes that decode; None for what suits the device.

    Raises:
        ConfigError: the model embeds nothing, or one modality only where two are compared or drawn; there is no such
            measure, none that draws a figure, or no such device.
        DataError: the data cannot be read.
        StorageError: ``figure`` is a file of another kind.
    """
    if figure is not None:
        check_replaceable(Path(figure), FIGURE, "figure of Accord")
    require_data(data, columns)
    chosen = [get_measure(name) for name in listed("measures", measures)]
    drawing = None if figure is None else _drawing(chosen or get_measures())
    model = load(run, device, workers)
    model.able(Embeds)
    corpus = held_out(model).test if data is None else open_like(model, data, columns)
    present = _present(model, corpus)

    def vectors_of(rows: Corpus) -> dict[str, Tensor]:
        return {name: model.embed_corpus(rows, name) for name in present}

    for measure in (*chosen, *([drawing] if drawing else [])):
        measure.check(present)
    embeddings, _ = despite_bad_rows(_whole(corpus, present), vectors_of)
    if drawing is not None and drawing.draw is not None and figure is not None:
        drawing.draw(embeddings, Path(figure))
    return measured(chosen or get_measures(), embeddings)


def _drawing(measures: Sequence[Measure]) -> Measure:
    """The first measure that draws a figure."""
    found = next((measure for measure in measures if measure.draw is not None), None)
    if found is None:
        able = ", ".join(measure.name for measure in get_measures() if measure.draw is not None)
        raise ConfigError(f"none of the measures {', '.join(one.name for one in measures)} has a figure; those: {able}")
    return found


def _whole(corpus: Corpus, modalities: list[str]) -> Corpus:
    """The rows that have all of the modalities; says how many have not."""
    whole = corpus.having(*modalities)
    if len(whole) < len(corpus):
        lacking = len(corpus) - len(whole)
        announce(f"{corpus.name}: {lacking:,} rows without one of {', '.join(modalities)} left out")
    return whole


def _present(model: Model, corpus: Corpus) -> list[str]:
    return [name for name in model.modalities if name in corpus.modalities]
