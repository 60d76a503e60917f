"""The model card: ``README.md`` beside the weights, in the layout that model hubs read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from accord import __version__
from accord.data.modalities import get_modality
from accord.evaluation.metric import Metric
from accord.files import write_atomically
from accord.papers.catalogue import get_card
from accord.training.model import Model


def write_card(folder: Path, model: Model, metrics: Sequence[Metric], notes: Sequence[str] = ()) -> Path:
    """Write ``folder/README.md`` from the run's configuration and metrics; returns the file.

    Args:
        folder: the run's directory.
        model: the trained model.
        metrics: what was measured.
        notes: sentences on what the numbers rest on, such as rows on both sides of the split.
    """
    write_atomically(folder / "README.md", render_card(folder.name, model, metrics, notes))
    return folder / "README.md"


def render_card(title: str, model: Model, metrics: Sequence[Metric], notes: Sequence[str] = ()) -> str:
    """The card as Markdown with a YAML header."""
    name = model.method.name
    paper = get_card(name)
    source = model.config["data"]["source"]
    header = {
        "library_name": "accord",
        "tags": [name, *model.modalities],
        "datasets": [source],
        "model-index": [{"name": title, "results": [{"metrics": [_entry(metric) for metric in metrics]}]}],
    }
    rows = [f"| {metric.name} | {metric.value:.1f} | {_interval(metric)} | {_chance(metric)} |" for metric in metrics]
    encoders = [f"- {modality}: {words}" for modality, words in describe_encoders(model).items()]
    parts = [
        f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---",
        f"# {title}\n\n{paper.title}" + (f" ({paper.citation})." if paper.citation else "."),
        f"{paper.use}",
        f"## Use\n\n```python\nimport accord\n\nmodel = accord.load({str(title)!r})\n{_embedding(model)}```",
        f"## Data\n\nTrained on `{source}`, {model.method.data.rows} rows. What the data do not show, the model does "
        "not know: measure it on your own rows (`accord evaluate`) before you rely on it.",
        "## Encoders\n\n" + "\n".join(encoders),
        "## Results on held-out rows\n\n| metric | value | 95 % interval | chance |\n|---|---|---|---|\n"
        + "\n".join(rows)
        + ("\n\n" + " ".join(notes) if notes else ""),
        f"Made with Accord {__version__}. Settings: `config.yaml`. Figures and examples: `report.html`.",
    ]
    return "\n\n".join(parts) + "\n"


def describe_encoders(model: Model) -> dict[str, str]:
    """Modality -> name of the encoder, where its weights came from, and whether it was trained."""
    return {
        modality: f"{encoder.spec()['name']}, {encoder.weights_from}, {'frozen' if encoder.frozen else 'trained'}"  # type: ignore[operator]
        for modality, encoder in model.method.encoders.items()
    }


def _embedding(model: Model) -> str:
    """The line that embeds something, for a model that does."""
    if not model.modalities:
        return ""
    modality = get_modality(model.modalities[0])
    return f'vectors = model.embed({modality.argument}=["{modality.example}"])\n'


def _entry(metric: Metric) -> dict[str, object]:
    return {"name": metric.name, "type": metric.name.replace(" ", "_"), "value": round(metric.value, 4)}


def _interval(metric: Metric) -> str:
    return "" if metric.low is None or metric.high is None else f"{metric.low:.1f} – {metric.high:.1f}"


def _chance(metric: Metric) -> str:
    return "" if metric.chance is None else f"{metric.chance:.1f}"
