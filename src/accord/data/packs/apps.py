"""Applications of a Linux distribution: an icon, a summary and a description that are only weakly about each other.

The rows come from the AppStream lists (DEP-11) that ``apt-get update`` brings.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from accord.data.packs.base import AptIndex, Pack, Reject, Row
from accord.data.packs.files import linked_groups, picture
from accord.errors import DataError

# The registered main categories of the freedesktop menu specification.
CATEGORIES = (
    "AudioVideo",
    "Development",
    "Education",
    "Game",
    "Graphics",
    "Network",
    "Office",
    "Science",
    "Settings",
    "System",
    "Utility",
)
SIZE = 64
MAX_ICON_BYTES = 1_000_000


def read(folder: Path, reject: Reject) -> Iterator[Row]:
    """Rows of a folder with ``*Components-*.yml.gz`` and ``*icons-64x64.tar.gz``, packed or unpacked.

    Raises:
        DataError: the folder lacks the lists or the icons, or a list is not valid YAML.
    """
    icons = _icons(folder)
    if not icons:
        raise DataError(f"{folder} holds no *icons-64x64.tar.gz and no 64x64 folder with icons")
    rows, keys = [], []
    for component in _components(folder):
        name = _icon_name(component)
        summary = (component.get("Summary") or {}).get("C")
        if name not in icons or not summary:
            continue
        try:
            icon = picture(icons[name], name, SIZE)
        except DataError as error:
            reject(name, str(error))
            continue
        rows.append(_row(component, {"bytes": icon, "path": name}))
        package = component.get("Package") or component["ID"]
        keys.append((f"package {package}", f"icon {hashlib.sha256(icon).hexdigest()}", f"words {summary.lower()}"))
    for row, group in zip(rows, linked_groups(keys), strict=True):
        yield row | {"concept": rows[group]["id"]}


def _row(component: dict[str, Any], image: dict[str, Any]) -> Row:
    categories = [name for name in component.get("Categories") or [] if name in CATEGORIES]
    return {
        "id": component["ID"],
        "image": image,
        "name": (component.get("Name") or {}).get("C", component["ID"]),
        "summary": component["Summary"]["C"],
        "description": plain_text((component.get("Description") or {}).get("C", "")) or None,
        "keywords": [str(word) for word in (component.get("Keywords") or {}).get("C") or []],
        "category": categories[0] if categories else "Other",
        "categories": categories,
        "package": component.get("Package"),
        "licence": component.get("ProjectLicense"),
    }


def plain_text(markup: str) -> str:
    """The words of a description.

    >>> plain_text("<p>Edit &amp; play</p>\\n<ul><li>fast</li></ul>")
    'Edit & play fast'
    """
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def _components(folder: Path) -> Iterator[dict[str, Any]]:
    """The components of every list, each once, in the lists' order."""
    lists = sorted([*folder.rglob("*Components-*.yml"), *folder.rglob("*Components-*.yml.gz")])
    if not lists:
        raise DataError(f"{folder} holds no *Components-*.yml.gz")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    seen = set()
    for path in lists:
        opener = gzip.open if path.suffix == ".gz" else open
        try:
            with opener(path, "rb") as stream:
                for component in yaml.load_all(stream, Loader=loader):
                    if isinstance(component, dict) and component.get("ID") and component["ID"] not in seen:
                        seen.add(component["ID"])
                        yield component
        except (yaml.YAMLError, OSError, EOFError) as error:
            raise DataError(f"{path.name} cannot be read: {error}") from error


def _icon_name(component: dict[str, Any]) -> str | None:
    for icon in (component.get("Icon") or {}).get("cached") or []:
        if icon.get("width") == icon.get("height") == SIZE and icon.get("scale", 1) == 1:
            return str(icon["name"])
    return None


def _icons(folder: Path) -> dict[str, bytes]:
    """Icon name -> encoded picture; archives are read in memory, nothing is unpacked."""
    icons = {path.name: path.read_bytes() for path in sorted(folder.rglob("64x64/*.png"))}
    for path in sorted(folder.rglob("*icons-64x64.tar*")):
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    stream = archive.extractfile(member) if member.isfile() else None
                    if stream and member.size <= MAX_ICON_BYTES:
                        icons[Path(member.name).name] = stream.read()
        except (tarfile.TarError, OSError, EOFError) as error:
            raise DataError(f"{path.name} cannot be read: {error}") from error
    return icons


PACK = Pack(
    name="apps",
    summary="about 2,200 application icons with summary, description and category",
    about=(
        "What a distribution says about its desktop applications: icon, name, one-line summary, long description, "
        "keywords and up to 11 main categories; the first is the label ('Other' where there is none). Icon and "
        "words are related weakly and unevenly, as on the web, and the words know more about the category than "
        "the picture does. Split by concept: applications of one package, with one icon or with one summary stay "
        "together. The lists follow the distribution, so the number of rows differs between releases."
    ),
    licence="each application's own",
    credit=(
        "The lists' texts: each project's own metadata licence; the icons: each application's licence (column "
        "'licence' where it is stated). Fetched, never shipped with Accord."
    ),
    origin="https://appstream.debian.org",
    sources=(
        AptIndex(
            targets={
                "DEP-11": "dep11/Components-$(NATIVE_ARCHITECTURE).yml",
                "DEP-11-icons": "dep11/icons-64x64.tar",
            },
            size=15_412_918,
        ),
    ),
    read=read,
    schema={
        "id": "text",
        "image": "image",
        "name": "text",
        "summary": "text",
        "description": "text",
        "keywords": "texts",
        "category": "text",
        "categories": "texts",
        "package": "text",
        "licence": "text",
        "concept": "text",
    },
    columns={"image": "image", "text": ("summary",), "label": "category", "group": "concept"},
    expected_rows=2198,
)
