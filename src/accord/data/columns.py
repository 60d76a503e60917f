"""Which column is which modality: guessed from types, contents and names, printed, and overridable."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import Field, create_model

from accord.config import Config
from accord.data.fields import Declaration, declarations, declared, main_fields
from accord.data.modalities import modality_of_file, sniff
from accord.errors import ConfigError, DataError, did_you_mean

if TYPE_CHECKING:
    import datasets

_ENDINGS = ("_path", "_file", "_filename", "_file_name", "_url", "_bytes")
_LOOK_AT = 50  # rows whose contents are inspected
NONE = "none"  # what stands for no column where a name is expected, unless a column is called so
# Fields that a fingerprint always holds; others only where they name a column, so that it stays what it was.
_FIRST = ("image", "text", "video", "audio", "label", "group", "mask", "graph")


def _setting(declaration: Declaration) -> Any:
    kind: Any = tuple[str, ...] if declaration.several else str | None
    return kind, Field(default=() if declaration.several else None, description=declaration.about)


if TYPE_CHECKING:
    _Declared = Any  # whatever is declared
else:
    _Declared = create_model(
        "_Declared", __base__=Config, **{field: _setting(made) for field, made in declarations().items()}
    )


class Columns(_Declared):
    """The column of each field that is declared; one that is absent has None (or no columns).

    Fields, their meaning, and how they are guessed stand in :mod:`accord.data.fields`.
    """

    @property
    def media(self) -> dict[str, str]:
        """Field -> column of what has to be decoded.

        >>> Columns(image="img", text=("name",)).media
        {'image': 'img'}
        """
        found = {field: getattr(self, field) for field, made in declarations().items() if made.medium}
        return {field: column for field, column in found.items() if column}

    @property
    def files(self) -> tuple[str, ...]:
        """Columns whose cells are paths or encoded contents.

        >>> Columns(image="img", text=("name",), mask="m").files
        ('img', 'm')
        """
        return tuple(column for field, used in self.items() if declared(field).files for column in used)

    @property
    def readable(self) -> tuple[str, ...]:
        """Fields that an encoder can be fed with: modalities, and what stands beside them."""
        return tuple(field for field, _ in self.items() if declared(field).modality)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities present, media first; what stands beside one is not counted.

        >>> Columns(image="a", reference="b", text=("c",), label="d").modalities
        ('image', 'text')
        """
        present = [field for field in self.readable if declared(field).main]
        return tuple(sorted(present, key=lambda field: not declared(field).files))

    @property
    def stamp(self) -> dict[str, Any]:
        """What a fingerprint says of the columns."""
        return {field: value for field, value in self.model_dump().items() if value or field in _FIRST}

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


def guess_columns(
    rows: datasets.Dataset,
    overrides: Mapping[str, str | Sequence[str] | None] | None = None,
    wanted: Collection[str] = (),
    *,
    any_medium: bool = True,
) -> Columns:
    """The mapping that names, types and the first rows suggest.

    Args:
        rows: the data set.
        overrides: field of :class:`Columns` -> column name(s); None takes the modality out, and so does ``"none"``
            where no column is called that.
        wanted: fields that are not guessed otherwise: they take a column by its name alone.
        any_medium: whether there has to be a column of texts or media; not where rows stand for vectors.

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
    kinds = {column: kind_of(rows, column) for column in rows.column_names if column not in taken}
    for field in wanted:
        if field not in chosen and not (declared(field).kinds or declared(field).named_kinds):
            named = sorted((name for name in kinds if name not in taken), key=lambda name: _rank(field, name))
            chosen[field] = (named[-1],) if named and _rank(field, named[-1]) else ()
            taken.update(chosen[field])
    early = [field for field, made in declarations().items() if made.early]
    for field in (*early, *declarations()):
        if field not in chosen:
            column = _best(field, {name: kind for name, kind in kinds.items() if name not in taken})
            chosen[field] = (column,) if column else ()
            taken.update(chosen[field])
    if any_medium and not any(chosen[field] for field in main_fields()):
        raise DataError(
            f"no column was recognised as {', '.join(main_fields())}; name one, e.g. --image COL --text COL; "
            f"the columns are: {', '.join(rows.column_names)}"
        )
    values = {field: used if declared(field).several else next(iter(used), None) for field, used in chosen.items()}
    return Columns(**values)


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
        if not declared(field).several and len(columns) > 1:
            raise DataError(f"{field} takes one column, not {len(columns)} ({', '.join(columns)})")
        chosen[field] = columns
    return chosen


def _best(field: str, kinds: Mapping[str, str]) -> str | None:
    made = declared(field)
    sure = [name for name, kind in kinds.items() if made.surest and kind == made.surest]
    if sure:
        return sure[0]
    fitting = [name for name, kind in kinds.items() if kind in made.kinds]
    named = [name for name in fitting if _rank(field, name)]
    named += [name for name, kind in kinds.items() if kind in made.named_kinds and _rank(field, name)]
    if named:
        return max(named, key=lambda name: _rank(field, name))
    return fitting[0] if fitting and made.whatever_name else None


def _rank(field: str, column: str) -> int:
    """How usual the column's name is for the field: 0 for not at all."""
    plain = column.lower().replace("-", "_").replace("file_name", "filename").split(".")[-1]
    for ending in _ENDINGS:
        plain = plain.removesuffix(ending) or plain
    names = declared(field).names
    return len(names) - names.index(plain) if plain in names else 0


def is_usual(column: str) -> bool:
    """Whether people call a column so.

    >>> is_usual("Image_Path"), is_usual("crimson")
    (True, False)
    """
    return column.lower() == "id" or any(_rank(field, column) for field in declarations())


def kind_of(rows: datasets.Dataset, column: str) -> str:
    """What the cells of a column are: ``class``, ``number(s)``, ``text(s)``, ``vectors`` (lists of lists of numbers),
    a modality, by type, suffix or first bytes, or ``other``."""
    import datasets

    feature = rows.features[column]
    many = hasattr(feature, "feature")  # a list
    inner = feature.feature if many else feature
    plural = "s" if many else ""
    if isinstance(inner, datasets.Image | datasets.Audio | datasets.Video):
        return "video" if many else type(inner).__name__.lower()
    if isinstance(inner, datasets.ClassLabel):
        return "class"
    if isinstance(inner, datasets.Array2D):
        return "vectors"
    values = [value for value in rows[:_LOOK_AT][column] if value is not None]
    if _is_number(inner):
        return f"number{plural}"
    if _is_number(getattr(inner, "feature", None)):
        return "vectors"
    if isinstance(inner, datasets.Value) and "string" in inner.dtype:
        return f"text{plural}" if many else _kind_of_strings(values)
    return _kind_of_bytes(values)


def _is_number(feature: Any) -> bool:
    return getattr(feature, "dtype", "").startswith(("int", "uint", "float", "bool"))


def _kind_of_strings(values: Sequence[str]) -> str:
    """The modality of which most of the values are files, by their suffix, else ``text``."""
    kinds = [modality_of_file(PurePosixPath(value)) for value in values]
    return next((kind for kind in kinds if kind and 2 * kinds.count(kind) > len(kinds)), "text")


def _kind_of_bytes(values: Sequence[Any]) -> str:
    contents = [value.get("bytes") if isinstance(value, Mapping) else value for value in values]
    kinds = [sniff(content) for content in contents if isinstance(content, bytes)]
    known = [kind for kind in kinds if kind != "other"]
    if known:
        return max(known, key=known.count)
    paths = [value.get("path") for value in values if isinstance(value, Mapping)]
    kind = _kind_of_strings([path for path in paths if path])
    return kind if any(paths) and kind != "text" else "other"
