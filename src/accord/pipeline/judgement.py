"""``zero-shot``: sort files into classes that are only named, or into those that a run has a classifier for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accord.data.modalities import modality_of_file
from accord.data.reading.video import holds_pictures
from accord.errors import ConfigError, DataError, listed
from accord.evaluation.zero_shot import class_scores
from accord.methods.abilities import Classifies
from accord.pipeline.model import Model, load
from accord.pipeline.rows import readable_files
from accord.pipeline.run import read_templates


@dataclass(frozen=True)
class Sorted:
    """One file and its classes.

    Args:
        file: the file.
        classes: names with their probabilities, most likely first.
    """

    file: Path
    classes: tuple[tuple[str, float], ...]


def zero_shot(
    run: str | Path,
    items: str | Path | Sequence[str | Path],
    classes: Sequence[str] = (),
    templates: str | Path | None = None,
    *,
    device: str = "auto",
    workers: int | None = None,
) -> list[Sorted]:
    """Classes of pictures, recordings or clips by a model that was trained on none of these classes.

    A file that cannot be read is left out, and said on stderr.

    Args:
        run: folder of a run, name of a model that ships, or that of a bundle.
        items: files of one modality, or folders of such files.
        classes: the names to choose from, at least two; none for the classes of the run's own classifier, if it has
            one.
        templates: file of prompt templates, one a line with ``{}``; None takes the model's own, which
            are the plain names unless a bundle has others.
        device: ``auto`` for the best there is, ``cpu``, ``cuda`` or ``mps``.
        workers: processes that decode; None for what suits the device.

    Raises:
        ConfigError: fewer than two classes, files of several kinds, a model without text, or no such device; without
            classes, a run that has no classifier.
        DataError: a file does not exist or is of no known kind, or none can be read.
    """
    classes = listed("classes", classes)
    if len(set(classes)) == 1:
        raise ConfigError(f"classes {list(classes)}: give at least two different names to choose from")
    model = load(run, device, workers)
    if not classes and not model.can(Classifies):
        raise ConfigError(f"{run} has no classifier of its own: give at least two names of classes to choose from")
    found, modality = _files([items] if isinstance(items, str | Path) else items, model)
    corpus, files = readable_files(modality, found)
    if classes:
        lines = read_templates(templates) or model.templates
        shares = model.shares(class_scores(model, corpus, classes, lines, modality))  # (N, C)
    else:
        classes, logits = model.classes, model.classify(corpus)
        shares = logits.sigmoid() if model.method.data.multi_label else logits.softmax(dim=1)
    order = shares.argsort(dim=1, descending=True)
    return [
        Sorted(file, tuple((classes[int(place)], float(share[place])) for place in best))
        for file, share, best in zip(files, shares, order, strict=True)
    ]


def _files(items: Sequence[str | Path], model: Model) -> tuple[list[Path], str]:
    """The files and their modality; of a folder, those of a kind that the model embeds."""
    files: list[Path] = []
    for item in map(Path, items):
        if item.is_dir():
            below = sorted(item.rglob("*"))
            found = [file for file in below if modality_of_file(file, model.modalities) in model.modalities]
            if "video" in model.modalities and "image" not in model.modalities:  # a folder of frames is a clip
                found += [folder for folder in (item, *below) if holds_pictures(folder)]
            if not found:
                raise DataError(f"{item} holds no file that the model embeds ({', '.join(model.modalities)})")
            files += found
        elif item.is_file():
            files.append(item)
        else:
            raise DataError(f"there is no file {item}")
    kinds = {_kind(file, model) or "unknown" for file in files}
    if len(kinds) != 1:
        raise ConfigError(f"files of several kinds ({', '.join(sorted(kinds))}): give those of one kind at a time")
    modality = kinds.pop()
    if modality not in model.modalities or "text" not in model.modalities:
        raise ConfigError(
            f"the model embeds {', '.join(model.modalities)}: it cannot sort files of kind {modality} by words"
        )
    return files, modality


def _kind(path: Path, model: Model) -> str | None:
    """The modality of a file, or of a folder of frames."""
    return "video" if path.is_dir() else modality_of_file(path, model.modalities)
