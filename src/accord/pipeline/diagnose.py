"""``diagnose``: the geometry of a model's embeddings, on its own held-out rows or on other data."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from accord.data.corpus import Corpus
from accord.data.sources import announce
from accord.diagnostics import Diagnostic, embedding_diagnostics, gap_diagnostics
from accord.errors import ConfigError
from accord.files import FIGURE, check_replaceable
from accord.pipeline.model import Model, load
from accord.pipeline.rows import ColumnNames, despite_bad_rows, held_out, open_like, require_data
from accord.report.gap import gap_figure


def diagnose(
    run: str | Path,
    data: str | Path | None = None,
    figure: str | Path | None = None,
    *,
    columns: ColumnNames | None = None,
    device: str = "auto",
) -> list[Diagnostic]:
    """Spread of each modality, and the gap between each two: as trained, and closed after training.

    Rows that cannot be read are left out, and said on stderr.

    Args:
        run: folder of a run, name of a model that ships, or that of a bundle.
        data: what to embed; None takes the run's held-out rows.
        figure: where to draw the modalities and the cosines of their pairs, or None.
        columns: modality -> column name(s) of ``data``, where the guess is wrong.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        ConfigError: the model embeds one modality only where a figure is wanted, or there is no such device.
        DataError: the data cannot be read.
        StorageError: ``figure`` is a file of another kind.
    """
    if figure is not None:
        check_replaceable(Path(figure), FIGURE, "figure of Accord")
    require_data(data, columns)
    model = load(run, device)
    corpus = held_out(model).test if data is None else open_like(model, data, columns)
    present = _present(model, corpus)

    def vectors_of(rows: Corpus) -> dict[str, Tensor]:
        return {name: model.embed_corpus(rows, name) for name in present}

    embeddings, _ = despite_bad_rows(_whole(corpus, present), vectors_of)
    if figure is not None:
        if len(embeddings) < 2:
            raise ConfigError(f"the figure shows two modalities; of these data the model embeds {list(embeddings)}")
        gap_figure(embeddings, Path(figure))
    gaps = gap_diagnostics(embeddings)
    named = {item.name for item in gaps}
    return [item for item in embedding_diagnostics(embeddings) if item.name not in named] + gaps


def _whole(corpus: Corpus, modalities: list[str]) -> Corpus:
    """The rows that have all of the modalities; says how many have not."""
    whole = corpus.having(*modalities)
    if len(whole) < len(corpus):
        lacking = len(corpus) - len(whole)
        announce(f"{corpus.name}: {lacking:,} rows without one of {', '.join(modalities)} left out")
    return whole


def _present(model: Model, corpus: Corpus) -> list[str]:
    return [name for name in model.modalities if name in corpus.modalities]
