"""``explain``: why a picture, clip or sequence and a text match, by what the model's method offers."""

from __future__ import annotations

from pathlib import Path

from accord.errors import ConfigError
from accord.explaining import WAYS, Explanation, Way
from accord.files import FIGURE, check_replaceable
from accord.methods import named_with
from accord.pipeline.model import load
from accord.pipeline.rows import ColumnNames, despite_bad_rows, held_out, open_like, require_data
from accord.training.model import Model


def explain(
    run: str | Path,
    image: str | Path,
    text: str | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
    k: int = 8,
    *,
    columns: ColumnNames | None = None,
    device: str = "auto",
) -> Explanation:
    """Why ``image`` and ``text`` match, or what parts ``image`` has, as the run's method can tell.

    By the concepts that they share, and what these stand for in the data, by where each word is in the picture, or by
    when it is meant in a clip or sequence, or which frame of a clip it goes with; of a method that segments, without a
    text, the parts; of one that learns by filling in, what it makes of hidden parts.

    Args:
        run: folder of a run, name of a model that ships, or that of a bundle.
        image: path of a picture; for a method that reads such, of a clip, a folder of frames or a ``.npy`` file.
        text: words; None for a method that takes none.
        data: where to look for what concepts stand for; None takes the training rows of the run.
        out: PNG, SVG or PDF to draw the explanation to, or None.
        k: how many concepts.
        columns: modality -> column name(s) of ``data``, where the guess is wrong.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.

    Raises:
        ConfigError: the run's method cannot explain (names those that can), or there is no such device.
        DataError: the picture or the data cannot be read.
        StorageError: ``out`` is a file of another kind, or cannot be written.
    """
    if out is not None:
        check_replaceable(Path(out), FIGURE, "figure of Accord")
    require_data(data, columns)
    model = load(run, device)
    way = _way(model, text)
    if way.reads_rows:
        corpus = held_out(model).train if data is None else open_like(model, data, columns)
        found, _ = despite_bad_rows(corpus, lambda rows: way.explain(model, image, text or "", rows, k))
    else:
        found = way.explain(model, image, text or "", None, k)
    if out is not None:
        found.draw(out)
    return found


def _way(model: Model, text: str | None) -> Way:
    """How the model explains with a text, or without."""
    able = [way for way in WAYS if model.can(way.ability)]
    if not able:
        raise ConfigError(f"method {model.method.name} cannot say why two things match; {explainers()} can")
    found = next((way for way in able if text is not None or not way.reads_text), None)
    if found is None:
        raise ConfigError(f"method {model.method.name} explains a match: give the words too, --text WORDS")
    return found


def explainers() -> str:
    """Names of the methods that can explain."""
    return named_with(*(way.ability for way in WAYS))
