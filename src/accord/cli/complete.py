"""What the shell offers at the tab key: names and run folders, read without importing anything heavy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

CONFIG = "config.yaml"  # what makes a folder a run


def method_names(incomplete: str) -> list[str]:
    """Methods."""
    from accord.methods.registry import available

    return _starting(incomplete, available())


def card_names(incomplete: str) -> list[str]:
    """Cards, those of papers that are to come among them."""
    from accord.papers.catalogue import list_cards

    return _starting(incomplete, (card.slug for card in list_cards()))


def filters_by(name: str) -> Callable[[str], list[str]]:
    """A function that offers the values by which cards can be chosen."""

    def values(incomplete: str) -> list[str]:
        from accord.papers.finding import FILTERS

        return _starting(incomplete, FILTERS[name])

    return values


def objective_names(incomplete: str) -> list[str]:
    """Objectives that can be added to a loss."""
    from accord.methods.registry import objectives

    return _starting(incomplete, objectives())


def task_names(incomplete: str) -> list[str]:
    """Tasks of ``accord evaluate``."""
    from accord.evaluation.tasks import task_names as names

    return _starting(incomplete, names())


def measure_names(incomplete: str) -> list[str]:
    """Measures of ``accord probe``."""
    from accord.diagnostics.measures import measure_names as names

    return _starting(incomplete, names())


def pack_names(incomplete: str) -> list[str]:
    """Packs, as ``accord data`` takes them."""
    from accord.data.packs import available_packs

    return _starting(incomplete, available_packs())


def sources(incomplete: str) -> list[str]:
    """Packs as ``pack:NAME``, then files and folders."""
    packs = [f"pack:{name}" for name in pack_names("")]
    return [*_starting(incomplete, packs), *_paths(incomplete, lambda path: True)]


def runs(incomplete: str) -> list[str]:
    """Folders of runs, the folders on the way to them, models that ship, and kinds of bundles with their folders."""
    from accord.shipped import BUNDLES, is_bundle, shipped_models

    if is_bundle(incomplete):
        kind, _, place = incomplete.partition(":")
        return [f"{kind}:{folder}" for folder in _paths(place, Path.is_dir)]
    kinds = [f"{kind}:" for kind in BUNDLES] if incomplete else []
    return [*_paths(incomplete, Path.is_dir), *_starting(incomplete, [*shipped_models(), *kinds])]


def runs_and_tables(incomplete: str) -> list[str]:
    """Runs, and Parquet files."""
    tables = _paths(incomplete, lambda path: path.suffix.lower() in (".parquet", ".pq"))
    return [*runs(incomplete), *tables]


def encoders_for(field: str) -> Callable[[str], list[str]]:
    """A function that offers the encoders for a field, those of other packages among them; timm's thousand would take
    seconds to list."""

    def names(incomplete: str) -> list[str]:
        from accord.data.fields import declared
        from accord.encoders.registry import encoder_names

        usual = declared(field)
        return _starting(incomplete, {*encoder_names(usual.modality or field), *filter(None, [usual.encoder])})

    return names


def _paths(incomplete: str, wanted: Callable[[Path], bool]) -> Iterator[str]:
    """Paths that begin as typed; below a run there are no more runs, so a run ends without a slash."""
    folder, _, start = incomplete.rpartition("/")
    place = Path(f"{folder}/" if folder or incomplete.startswith("/") else ".").expanduser()
    before = f"{folder}/" if "/" in incomplete else ""
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if path.name.startswith(start) and (start or not path.name.startswith(".")) and wanted(path):
            further = path.is_dir() and not (path / CONFIG).is_file()
            yield f"{before}{path.name}{'/' if further else ''}"


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
