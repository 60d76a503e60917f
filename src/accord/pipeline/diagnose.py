"""``diagnose``: the geometry of a model's embeddings, on its own held-out rows or on other data."""

from __future__ import annotations

from pathlib import Path

from accord.data.corpus import Corpus
from accord.diagnostics import Diagnostic, embedding_diagnostics, gap_diagnostics
from accord.errors import ConfigError
from accord.files import FIGURE, check_replaceable
from accord.pipeline.run import held_out, open_like
from accord.report.gap import gap_figure
from accord.shipped import run_folder
from accord.training.artifact import Model, load_model


def diagnose(run: str | Path, data: str | Path | None = None, figure: str | Path | None = None) -> list[Diagnostic]:
    """Spread of each modality, and the gap between each two: as trained, and closed after training.

    Args:
        run: folder of a run, or name of a model that ships.
        data: what to embed; None takes the run's held-out rows.
        figure: where to draw the modalities and the cosines of their pairs, or None.

    Raises:
        ConfigError: the model embeds one modality only where a figure is wanted.
        StorageError: ``figure`` is a file of another kind.
    """
    if figure is not None:
        check_replaceable(Path(figure), FIGURE, "figure of Accord")
    model = load_model(run_folder(run))
    corpus = held_out(model).test if data is None else open_like(model, data)
    present = _present(model, corpus)
    embeddings = {name: model.embed_corpus(corpus.having(*present), name) for name in present}
    if figure is not None:
        if len(embeddings) < 2:
            raise ConfigError(f"the figure shows two modalities; of these data the model embeds {list(embeddings)}")
        gap_figure(embeddings, Path(figure))
    gaps = gap_diagnostics(embeddings)
    named = {item.name for item in gaps}
    return [item for item in embedding_diagnostics(embeddings) if item.name not in named] + gaps


def _present(model: Model, corpus: Corpus) -> list[str]:
    return [name for name in model.modalities if name in corpus.modalities]
