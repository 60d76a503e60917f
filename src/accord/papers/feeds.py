"""Feeds of new papers: arXiv's Atom and any other, RSS, and JSON such as Hugging Face's daily papers.

A file is read as a whole, entry by entry: what is broken is told with a reason and the others are kept. XML with a
document type is refused, so that no entity of a file is ever expanded or fetched.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pydantic import Field, field_validator

from accord.config import Config
from accord.errors import AccordError, DataError
from accord.files import storage_of

LARGEST = 64 * 2**20  # bytes of a feed
_ARXIV = re.compile(r"(?<![\w.])(\d{4}\.\d{4,5}|[a-z][a-z-]+(?:\.[A-Z]{2})?/\d{7})(?:v(\d+))?(?![\w])")
_DOI = re.compile(r"10\.\d{4,9}/[^\s\"<>]+")
_MARKUP = re.compile(r"</?(?:p|br|a|div|span|b|i|em|strong|ul|ol|li|img|h\d)\b[^>]*>", re.IGNORECASE)
_LISTS = ("papers", "entries", "items", "data", "results")  # where JSON keeps its entries
_FIELDS = {  # what is wanted -> what feeds call it, the likeliest first
    "title": ("title",),
    "abstract": ("abstract", "summary", "description", "encoded", "content"),
    "date": ("date", "published", "publishedAt", "published_at", "pubDate", "submittedOnDailyAt", "updated"),
    "authors": ("authors", "author", "creator"),
    "votes": ("votes", "upvotes"),
    "version": ("version",),
    "url": ("url", "link"),
}
_NAMES = ("id", "guid", "identifier", "arxiv", "arxiv_id", "doi", "url", "link")  # what may say which paper it is


class Entry(Config):
    """One paper as a feed has it."""

    title: str = Field(min_length=1, max_length=1_000, description="on one line")
    abstract: str = Field("", max_length=50_000, description="one paragraph")
    authors: tuple[str, ...] = Field((), max_length=10_000, description="names")
    date: datetime.date = Field(description="day of the first version")
    votes: int | None = Field(None, ge=0, le=10**9, description="None where the feed has none")
    version: int = Field(1, ge=1, le=10**6, description="of the text")
    url: str = Field("", max_length=2_000, pattern=r"^(https?://\S+)?$", description="where to read it")
    arxiv: str | None = Field(None, description="arXiv's number, without version")
    doi: str | None = Field(None, description="in lower case")

    @field_validator("date")
    @classmethod
    def _is_past(cls, date: datetime.date) -> datetime.date:
        if date > datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=2):
            raise ValueError("it lies in the future")
        return date


@dataclass(frozen=True)
class Broken:
    """An entry that is left out: where it stands in its file, what it is called, and why."""

    place: str
    title: str
    reason: str


@dataclass(frozen=True)
class Feed:
    """What a file holds.

    Args:
        file: its name.
        kind: "Atom", "RSS" or "JSON".
        entries: papers, in the file's order.
        broken: entries that are left out.
    """

    file: str
    kind: str
    entries: tuple[Entry, ...]
    broken: tuple[Broken, ...]


def read_feed(path: str | Path) -> Feed:
    """Read a feed from a file.

    Raises:
        StorageError: the file cannot be read.
        DataError: it is no feed as a whole; names the line where it stops being one.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "new.json"
        >>> _ = path.write_text('[{"title": "A", "date": "2024-01-18", "id": "2401.09732v2"}, {"title": "B"}]')
        >>> feed = read_feed(path)
        >>> feed.entries[0].arxiv, feed.entries[0].version
        ('2401.09732', 2)
        >>> feed.broken
        (Broken(place='entry 2', title='B', reason='it has no date'),)
    """
    path = Path(path)
    with storage_of(path, "read"):
        if not path.is_file():
            raise DataError(f"{path} is not a file: give an Atom, RSS or JSON file")
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    return parse_feed(raw, str(path))


def parse_feed(raw: bytes, name: str) -> Feed:
    """Read a feed that is in memory, such as one that was uploaded.

    Args:
        raw: the file.
        name: what it is called.

    Raises:
        DataError: it is no feed as a whole, or has more than 64 MB.

    Example:
        >>> parse_feed(b'[{"title": "A", "date": "2024-01-18"}]', "new.json").kind
        'JSON'
    """
    if len(raw) > LARGEST:
        raise DataError(f"{name} has more than {LARGEST // 2**20} MB: split it")
    start = raw.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    is_xml = start == b"<" or raw[:2] in (b"\xff\xfe", b"\xfe\xff")
    kind, found = _from_xml(raw, name) if is_xml else ("JSON", list(_from_json(raw, name)))
    entries, broken = [], []
    for number, fields in enumerate(found, start=1):
        try:
            entries.append(_entry(fields))
        except AccordError as error:
            title = _plain(fields.get("title"))[:120] if isinstance(fields, Mapping) else ""
            broken.append(Broken(f"entry {number}", title, str(error)))
    return Feed(Path(name).name, kind, tuple(entries), tuple(broken))


class _NoDoctype(ElementTree.TreeBuilder):
    """Builds a tree, and refuses a document type before anything that it declares is read."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise DataError("it declares a document type, which a feed does not need and which may hide an attack")


def _from_xml(raw: bytes, name: str) -> tuple[str, list[Any]]:
    try:
        parser = ElementTree.XMLParser(target=_NoDoctype())
        parser.feed(raw)
        root = parser.close()
    except DataError as error:
        raise DataError(f"{name}: {error}; remove its <!DOCTYPE ...>") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the latter: an encoding that nobody knows
        raise DataError(f"{name} is no XML: {error}; fetch it again") from None
    kind = {"feed": "Atom", "rss": "RSS", "RDF": "RSS"}.get(_local(root))
    if kind is None:
        raise DataError(f"{name} begins with <{_local(root)}>: expected Atom's <feed>, <rss> or <rdf:RDF>")
    element = "entry" if kind == "Atom" else "item"
    return kind, [_fields_of(one) for one in root.iter() if _local(one) == element]


def _fields_of(element: ElementTree.Element) -> dict[str, Any]:
    """Children by their names without namespace; of several of a name the first, of authors all."""
    fields: dict[str, Any] = {"authors": []}
    for child in element:
        name, text = _local(child), "".join(child.itertext()).strip()
        if name in ("author", "creator"):
            names = [inner.text or "" for inner in child if _local(inner) == "name"]
            fields["authors"] += names or [text]
        elif name == "link" and child.get("href"):
            if child.get("rel", "alternate") == "alternate":
                fields.setdefault("link", child.get("href"))
        else:
            fields.setdefault(name, text)
    return fields


def _local(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _from_json(raw: bytes, name: str) -> Iterator[Any]:
    try:
        told = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is neither XML nor JSON: {str(error)[:200]}; fetch it again") from None
    if isinstance(told, Mapping) and "title" not in told:
        told = next((told[key] for key in _LISTS if isinstance(told.get(key), list)), None)
    if told is None or not isinstance(told, list | Mapping):
        raise DataError(f"{name}: expected a list of papers, or one under {', '.join(_LISTS)}")
    for item in told if isinstance(told, list) else [told]:
        inner = item.get("paper") if isinstance(item, Mapping) else None
        yield {**item, **inner} if isinstance(inner, Mapping) else item  # as in Hugging Face's daily papers


def _entry(fields: Any) -> Entry:
    """A paper of what a feed says.

    Raises:
        DataError: something is missing or cannot be.
        ConfigError: it is out of range.
    """
    if not isinstance(fields, Mapping):
        raise DataError(f"expected an object with title and date, got {type(fields).__name__}")
    known = {name: _first(fields, names) for name, names in _FIELDS.items()}
    reported = str(fields.get("id", ""))
    if "arxiv.org/api/errors" in reported:
        raise DataError(f"arXiv reports an error: {_plain(known['abstract'])[:200]}")
    arxiv, version, doi = _identity(fields)
    title, url = _plain(known["title"]), str(known["url"] or "").strip()
    if not title:
        raise DataError("it has no title")
    if not url and reported.startswith(("http://", "https://")):
        url = reported
    if url and not url.startswith(("http://", "https://")):
        raise DataError(f"its link {url[:60]!r} is neither http nor https")
    if not url and (arxiv or doi):
        url = f"https://arxiv.org/abs/{arxiv}" if arxiv else f"https://doi.org/{doi}"
    return Entry.parse(
        {
            "title": title,
            "abstract": _abstract(known["abstract"]),
            "authors": _authors(known["authors"]),
            "date": _date(known["date"]),
            "votes": known["votes"],
            "version": version or known["version"] or 1,
            "url": url,
            "arxiv": arxiv,
            "doi": doi,
        }
    )


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((fields[name] for name in names if fields.get(name) not in (None, "", [])), None)


def _identity(fields: Mapping[str, Any]) -> tuple[str | None, int | None, str | None]:
    """arXiv's number, its version and the DOI, from whatever names the paper."""
    said = [str(fields[name]) for name in _NAMES if fields.get(name) is not None]
    numbers = [found for text in said if (found := _ARXIV.search(text.removesuffix(".pdf"))) and _is_arxiv(text)]
    dois = [found[0].rstrip(".,;)").lower() for text in said if (found := _DOI.search(text))]
    doi = next((one for one in dois if not one.startswith("10.48550/")), None)  # arXiv's own say nothing new
    if not numbers:
        return None, None, doi
    versions = [int(found[2]) for found in numbers if found[1] == numbers[0][1] and found[2]]
    return numbers[0][1], max(versions, default=None), doi


def _is_arxiv(text: str) -> bool:
    """Whether a number in it is arXiv's: it stands alone, or beside that name.

    >>> _is_arxiv("2401.09732v1"), _is_arxiv("http://arxiv.org/abs/2401.09732"), _is_arxiv("https://a.org/1234.5678")
    (True, True, False)
    """
    return "arxiv" in text.lower() or _ARXIV.fullmatch(text.strip()) is not None


def _plain(text: Any) -> str:
    """Text on one line, without characters that cannot be seen."""
    shown = "".join(sign if sign.isprintable() else " " for sign in str(text or ""))
    return " ".join(shown.split())


def _abstract(text: Any) -> str:
    """Text without markup and without what arXiv's RSS puts before it."""
    from jinja2.filters import do_striptags

    text = str(text or "")
    if _MARKUP.search(text):
        text = do_striptags(text)
    return re.sub(r"^arXiv:\S+ Announce Type: \S+ Abstract: ", "", _plain(text))


def _authors(told: Any) -> list[str]:
    """Names; one string of several is cut at its commas, unless these stand inside of names.

    >>> _authors(["A. Bee, C. Dee"]), _authors("Bee, Anna"), _authors([{"name": "Anna Bee"}])
    (['A. Bee', 'C. Dee'], ['Bee, Anna'], ['Anna Bee'])
    """
    listed = told if isinstance(told, list | tuple) else [told] if told else []
    names = [_plain(one.get("name") if isinstance(one, Mapping) else one) for one in listed]
    names = [name for name in names if name]
    if len(names) == 1:
        parts = [part.strip() for part in re.split(r",\s*(?:and\s+)?|\s+and\s+", names[0]) if part.strip()]
        names = parts if all(" " in part for part in parts) else names
    return names


def _date(told: Any) -> datetime.date:
    """The day in UTC of a date as XML, JSON or a mail writes it.

    >>> _date("2024-01-18T23:30:00-05:00"), _date("Thu, 18 Jan 2024 00:00:00 GMT")
    (datetime.date(2024, 1, 19), datetime.date(2024, 1, 18))
    """
    if told is None:
        raise DataError("it has no date")
    text = str(told).strip()
    for parse in (datetime.datetime.fromisoformat, parsedate_to_datetime):
        try:
            time = parse(text)
            return (time.astimezone(datetime.UTC) if time.tzinfo else time).date()
        except (ValueError, OverflowError, TypeError):
            continue
    raise DataError(f"its date {text[:60]!r} cannot be read: expected one such as 2024-01-18")
