"""Options that several verbs share: which column of the data is what, which encoder reads it, where the model runs.

Those of columns and encoders are made of the declarations of :mod:`accord.data.fields`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from accord.cli import complete
from accord.data.fields import Declaration, declarations, declared
from accord.errors import DataError

DATA, ENCODERS = "Data", "Encoders"
Verb = Callable[..., None]
Given = dict[str, Any]  # the options of one kind that the user set, by field

NamedColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="KEY=COL",
        help="Column of DATA where the guess is wrong: image=COL, text=COL, label=COL and so on; repeatable.",
        rich_help_panel=DATA,
    ),
]


class Device(StrEnum):
    """Where a model runs."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


DeviceOption = Annotated[Device, typer.Option(help="Where the model runs; auto takes the best there is.")]
WorkersOption = Annotated[
    int | None, typer.Option(min=0, help="Processes that decode files. Default: what suits the device.")
]


def takes_columns(verb: Verb) -> Verb:
    """A verb with an option ``--FIELD COL`` for every declared column; its parameter ``columns`` gets those given."""
    return _with_options(verb, "columns", {field: _column_option(made) for field, made in declarations().items()})


def takes_encoders(verb: Verb) -> Verb:
    """A verb with an option ``--FIELD-encoder NAME``; its parameter ``encoders`` gets those given, by field."""
    options = {field: _encoder_option(made) for field, made in declarations().items() if made.encoder is not None}
    return _with_options(verb, "encoders", options)


def takes_files(verb: Verb) -> Verb:
    """A verb with an option ``--FIELD FILE`` for media to ask with; its parameter ``files`` gets those given."""
    return _with_options(verb, "files", {field: _file_option(declared(field)) for field in queried()})


def queried() -> tuple[str, ...]:
    """The media that can be asked with."""
    return tuple(field for field, made in declarations().items() if made.main and made.medium)


def _column_option(made: Declaration) -> Any:
    option = typer.Option(made.option, metavar="COL", help=made.help, rich_help_panel=DATA)
    return Annotated[list[str] | None if made.several else str | None, option]


def _encoder_option(made: Declaration) -> Any:
    option = typer.Option(
        f"{made.option}-encoder",
        metavar="NAME",
        autocompletion=complete.encoders_for(made.field),
        help=f"Such as {made.encoder}." if made.encoder else "Of an installed package.",
        rich_help_panel=ENCODERS,
    )
    return Annotated[str | None, option]


def _file_option(made: Declaration) -> Any:
    what = f"A {made.file or made.field}, together with the rest."
    option = typer.Option(f"--{made.field}", metavar="FILE", help=what)
    return Annotated[str | None, option]


def _with_options(verb: Verb, name: str, options: Mapping[str, Any]) -> Verb:
    """The verb with these options in the place of its parameter ``name``, a dict of those that the user sets."""
    hints = get_type_hints(verb, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(verb).parameters.values():
        if parameter.name == name:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters += [
                inspect.Parameter(_argument(name, option), kind, default=None, annotation=annotation)
                for option, annotation in options.items()
            ]
        else:
            parameters.append(parameter.replace(annotation=hints[parameter.name]))

    @wraps(verb)
    def called(**values: Any) -> None:
        chosen = given(**{option: values.pop(_argument(name, option), None) for option in options})
        verb(**values, **{name: chosen})

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def _argument(name: str, option: str) -> str:
    """What an option is called inside: no verb has a parameter of that name."""
    return f"{name}_{option}"


def given(**options: Any) -> dict[str, Any]:
    """The options that the user set.

    >>> given(image="file", text=None)
    {'image': 'file'}
    """
    return {name: value for name, value in options.items() if value is not None}


def parse_columns(assignments: Iterable[str], option: str = "--column") -> dict[str, list[str]]:
    """What ``--column`` says, for verbs whose own ``--image`` and ``--text`` mean something else; or a like option.

    Raises:
        typer.BadParameter: an assignment has no ``=``.

    >>> parse_columns(["text=title", "text=tags", "image=file"])
    {'text': ['title', 'tags'], 'image': ['file']}
    """
    columns: dict[str, list[str]] = {}
    for assignment in assignments:
        key, equals, column = assignment.partition("=")
        if not (equals and key.strip() and column.strip()):
            example = "KEY=COL, for example text=title" if option == "--column" else "KEY=FILE, for example audio=a.wav"
            raise typer.BadParameter(f"{option} {assignment}: write {example}")
        columns.setdefault(key.strip(), []).append(column.strip())
    return columns


@contextmanager
def columns_by_key() -> Iterator[None]:
    """Let what is wrong with the data name ``--column text=COL`` where other verbs have ``--text COL``."""
    try:
        yield
    except DataError as error:
        fields = {made.option: field for field, made in declarations().items()}
        said = rf"({'|'.join(fields)}) COL"
        message = re.sub(said, lambda found: f"--column {fields[found[1]]}=COL", str(error))
        raise DataError(message) from None
