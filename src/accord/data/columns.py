"""Which column is which modality: guessed from types, contents and names, printed, and overridable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import Field

from accord.config import Config
from accord.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    import datasets

IMAGE_SUFFIXES = frozenset(
    ".png .jpg .jpeg .webp .gif .bmp .tif .tiff .ppm .pgm .ico .avif".split()  # noqa: SIM905
)
AUDIO_SUFFIXES = frozenset(".wav .flac .ogg .mp3 .opus .aiff .aif .au".split())  # noqa: SIM905
VIDEO_SUFFIXES = frozenset(".mp4 .mkv .webm .mov .avi .m4v .mpg .mpeg".split())  # noqa: SIM905

# Names that people give to columns, best first; compared in lower case and without "_path" and the like.
_NAMES = {
    "image": ("image", "img", "picture", "photo", "jpg", "png", "jpeg", "webp", "icon", "file", "filename"),
    "video": ("video", "clip", "mp4", "frames", "animation"),
    "audio": ("audio", "sound", "speech", "wav", "flac", "ogg", "mp3", "file", "filename"),
    "text": tuple(
        "text caption captions texts sentence description alt_text alt title txt prompt summary name tags "  # noqa: SIM905
        "keywords".split()
    ),
    "label": ("label", "labels", "class", "category", "categories", "target", "cls", "classes", "y"),
    "group": ("group", "concept", "group_id", "concept_id"),
    "mask": ("mask", "masks", "segmentation", "label_map", "annotation"),
    "graph": (),  # every list of names could be one: it is asked for
}
_ENDINGS = ("_path", "_file", "_filename", "_file_name", "_url", "_bytes")
_LOOK_AT = 50  # rows whose contents are inspected
NONE = "none"  # what stands for no column where a name is expected, unless a column is called so
SEVERAL = ("text", "graph")  # fields that take more than one column


class Columns(Config):
    """The column of each modality; a modality that is absent has None (or no text columns)."""

    image: str | None = Field(default=None, description="images: paths or encoded bytes")
    text: tuple[str, ...] = Field(default=(), description="captions: one or several columns, or a column of lists")
    video: str | None = Field(default=None, description="clips: a file, its bytes, or a folder of frames")
    audio: str | None = Field(default=None, description="recordings: paths or encoded bytes")
    label: str | None = Field(default=None, description="class: a name, a number, or a list of them")
    group: str | None = Field(default=None, description="rows of one group are never split between training and test")
    mask: str | None = Field(default=None, description="masks, to measure by: pictures whose grey values are classes")
    graph: tuple[str, ...] = Field(
        default=(), description="columns that name what a row is linked to, such as authors: node types of a graph"
    )

    @property
    def media(self) -> dict[str, str]:
        """Modality -> column of what has to be decoded.

        >>> Columns(image="img", text=("name",)).media
        {'image': 'img'}
        """
        found = {modality: getattr(self, modality) for modality in ("image", "video", "audio")}
        return {modality: column for modality, column in found.items() if column}

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities present, labels and groups not counted."""
        return (*self.media, *(["text"] if self.text else []), *(["graph"] if self.graph else []))

    def items(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Field and its columns, for every field that has any."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value:
                yield name, (value,) if isinstance(value, str) else value


def describe_columns(columns: Columns) -> str:
    """One line for the user.

    >>> describe_columns(Columns(image="img", text=("name", "tags"), label="kind"))
    'image=img text=name+tags label=kind'
    """
    return " ".join(f"{name}={'+'.join(used)}" for name, used in columns.items())


def guess_columns(rows: datasets.Dataset, overrides: Mapping[str, str | Sequence[str] | None] | None = None) -> Columns:
    """The mapping that names, types and the first rows suggest.

    Args:
        rows: the data set.
        overrides: field of :class:`Columns` -> column name(s); None takes the modality out, and so does ``"none"``
            where no column is called that.

    Raises:
        ConfigError: an override is for a modality that does not exist.
        DataError: a column does not exist, or nothing was recognised; lists the columns.

    Example:
        >>> import datasets
        >>> table = datasets.Dataset.from_dict({"file": ["a.png", "b.png"], "title": ["a cat", "a dog"]})
        >>> describe_columns(guess_columns(table))
        'image=file text=title'
        >>> guess_columns(table, {"label": "species"})
        Traceback (most recent call last):
        accord.errors.DataError: no column 'species' for label; the columns are: file, title
    """
    chosen = _checked_overrides(rows, overrides or {})
    taken = {column for columns in chosen.values() for column in columns}
    kinds = {column: _kind(rows, column) for column in rows.column_names if column not in taken}
    for field in ("video", "mask", *Columns.model_fields):  # those that are pictures too, but for their name, first
        if field not in chosen:
            column = _best(field, {name: kind for name, kind in kinds.items() if name not in taken})
            chosen[field] = (column,) if column else ()
            taken.update(chosen[field])
    if not any(chosen[field] for field in ("image", "text", "video", "audio", "graph")):
        raise DataError(
            "no column was recognised as image, text, video or audio; name one, e.g. --image COL --text COL; "
            f"the columns are: {', '.join(rows.column_names)}"
        )
    several = {field: chosen.pop(field) for field in SEVERAL}
    return Columns(**several, **{field: used[0] if used else None for field, used in chosen.items()})


def _checked_overrides(
    rows: datasets.Dataset, overrides: Mapping[str, str | Sequence[str] | None]
) -> dict[str, tuple[str, ...]]:
    chosen = {}
    for field, value in overrides.items():
        if field not in Columns.model_fields:
            allowed = ", ".join(Columns.model_fields)
            raise ConfigError(f"columns: {field!r} is not a modality; there are: {allowed}")
        columns = () if value is None else (value,) if isinstance(value, str) else tuple(value)
        if columns == (NONE,) and NONE not in rows.column_names:
            columns = ()
        for column in columns:
            if column not in rows.column_names:
                known = ", ".join(rows.column_names)
                near = did_you_mean(column, rows.column_names)
                raise DataError(f"no column {column!r} for {field}; the columns are: {known}{near}")
        if field not in SEVERAL and len(columns) > 1:
            raise DataError(f"{field} takes one column, not {len(columns)} ({', '.join(columns)})")
        chosen[field] = columns
    return chosen


def _best(field: str, kinds: Mapping[str, str]) -> str | None:
    accepted = {
        "text": {"text", "texts"},
        "label": {"class", "text", "texts", "number", "numbers"},
        "group": {"class", "text", "number"},
    }.get(field, {field})
    if field == "label" and "class" in kinds.values():
        return next(name for name, kind in kinds.items() if kind == "class")
    fitting = [name for name, kind in kinds.items() if kind in accepted]
    if field in ("video", "mask"):  # only a name tells an animation or a mask from a picture, or a folder from a text
        other = ("image", "text", "texts") if field == "video" else ("image",)
        fitting += [name for name, kind in kinds.items() if kind in other and _rank(field, name)]
    named = [name for name in fitting if _rank(field, name)]
    if named:
        return max(named, key=lambda name: _rank(field, name))
    return fitting[0] if fitting and field in ("image", "video", "audio") else None


def _rank(field: str, column: str) -> int:
    """How usual the column's name is for the field: 0 for not at all."""
    plain = column.lower().replace("-", "_").replace("file_name", "filename").split(".")[-1]
    for ending in _ENDINGS:
        plain = plain.removesuffix(ending) or plain
    names = _NAMES[field]
    return len(names) - names.index(plain) if plain in names else 0


def is_usual(column: str) -> bool:
    """Whether people call a column so.

    >>> is_usual("Image_Path"), is_usual("crimson")
    (True, False)
    """
    return column.lower() == "id" or any(_rank(field, column) for field in _NAMES)


def _kind(rows: datasets.Dataset, column: str) -> str:
    """``image``, ``video``, ``audio``, ``text(s)``, ``class(es)``, ``number(s)`` or ``other``."""
    import datasets

    feature = rows.features[column]
    many = hasattr(feature, "feature")  # a list
    inner = feature.feature if many else feature
    plural = "s" if many else ""
    if isinstance(inner, datasets.Image | datasets.Audio | datasets.Video):
        return "video" if many else type(inner).__name__.lower()
    if isinstance(inner, datasets.ClassLabel):
        return "class"
    values = [value for value in rows[:_LOOK_AT][column] if value is not None]
    if isinstance(inner, datasets.Value) and inner.dtype.startswith(("int", "uint", "float", "bool")):
        return f"number{plural}"
    if isinstance(inner, datasets.Value) and "string" in inner.dtype:
        return f"text{plural}" if many else _kind_of_strings(values)
    return _kind_of_bytes(values)


def _kind_of_strings(values: Sequence[str]) -> str:
    suffixes = [PurePosixPath(value.lower()).suffix for value in values]
    families = (("image", IMAGE_SUFFIXES), ("audio", AUDIO_SUFFIXES), ("video", VIDEO_SUFFIXES))
    for kind, family in families:
        if 2 * sum(suffix in family for suffix in suffixes) > len(values):
            return kind
    return "text"


def _kind_of_bytes(values: Sequence[Any]) -> str:
    contents = [value.get("bytes") if isinstance(value, Mapping) else value for value in values]
    kinds = [sniff(content) for content in contents if isinstance(content, bytes)]
    known = [kind for kind in kinds if kind != "other"]
    if known:
        return max(known, key=known.count)
    paths = [value.get("path") for value in values if isinstance(value, Mapping)]
    kind = _kind_of_strings([path for path in paths if path])
    return kind if any(paths) and kind != "text" else "other"


def sniff(content: bytes) -> str:
    """``image``, ``audio``, ``video`` or ``other``, from a file's first bytes.

    >>> sniff(b"\\x89PNG rest"), sniff(b"RIFF....WAVEfmt"), sniff(b"....ftypisom"), sniff(b"hello")
    ('image', 'audio', 'video', 'other')
    """
    if content.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")):
        return "image"
    if content[:4] == b"RIFF":
        return {b"WEBP": "image", b"WAVE": "audio", b"AVI ": "video"}.get(content[8:12], "other")
    if content.startswith((b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"FORM")):
        return "audio"
    if content[4:8] == b"ftyp":
        return "image" if content[8:12] == b"avif" else "video"
    return "video" if content.startswith(b"\x1a\x45\xdf\xa3") else "other"
