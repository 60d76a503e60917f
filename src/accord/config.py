"""The base of every configuration: typed, closed, and readable when it is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from accord.errors import ConfigError, did_you_mean

# Named alike by the settings of training and by what a method declares; `accord.training.optimiser` makes them.
OptimizerName = Literal["adamw", "adam", "sgd", "rmsprop", "lars", "lamb"]
ScheduleName = Literal["cosine", "poly", "step", "constant"]


class Config(BaseModel):
    """A frozen pydantic model that refuses unknown fields and explains itself in one sentence.

    Example:
        >>> from pydantic import Field
        >>> class Demo(Config):
        ...     temperature: float = Field(0.1, gt=0, description="softmax temperature")
        >>> Demo.parse({"temperature": -1}, at="method")
        Traceback (most recent call last):
        accord.errors.ConfigError: method.temperature = -1: input should be greater than 0
        >>> Demo.parse({"temprature": 1}, at="method")
        Traceback (most recent call last):
        accord.errors.ConfigError: method.temprature is not a setting; did you mean method.temperature?
        >>> Demo.parse({"smell": 1})
        Traceback (most recent call last):
        accord.errors.ConfigError: smell is not a setting; the settings are: temperature
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @classmethod
    def parse(cls, values: dict[str, Any] | Self | None = None, at: str = "", elsewhere: Iterable[str] = ()) -> Self:
        """Validate ``values``.

        Args:
            values: the settings.
            at: where they stand in the whole configuration, such as ``method``: the user knows them by dotted names.
            elsewhere: dotted names of settings beside these, which somebody may have meant.

        Raises:
            ConfigError: a field is unknown or out of range; names field, value and what is allowed.
        """
        if isinstance(values, cls):
            return values
        try:
            return cls.model_validate(values or {})
        except ValidationError as error:
            names = [*cls.dotted(at), *elsewhere]
            raise ConfigError("; ".join(cls._sentence(item, at, names) for item in error.errors())) from None

    @classmethod
    def dotted(cls, at: str = "") -> Iterator[str]:
        """The dotted names of all settings, those of nested configurations included.

        >>> class Demo(Config):
        ...     temperature: float = 0.1
        >>> list(Demo.dotted("method"))
        ['method.temperature']
        """
        for name, field in cls.model_fields.items():
            place = _join(at, name)
            yield place
            if inner := _configuration(field.annotation):
                yield from inner.dotted(place)

    @classmethod
    def _sentence(cls, item: Any, at: str, names: Sequence[str]) -> str:
        field = _join(at, *(str(part) for part in item["loc"]))
        if item["type"] == "extra_forbidden":
            return _unknown(field, list(cls._level(item["loc"][:-1])), names)
        message = item["msg"].removeprefix("Value error, ")
        message = f"{message[0].lower()}{message[1:]}"
        if not field:
            return message
        if isinstance(item["input"], dict):
            return f"{field}: {message}"
        return f"{field} = {item['input']!r}: {message}"

    @classmethod
    def _level(cls, place: Sequence[int | str]) -> Iterable[str]:
        """The settings of the nested configuration at ``place``."""
        here: Any = cls
        for part in place:
            inside = _configuration(here)
            here = inside.model_fields[str(part)].annotation if inside else _values(here)
        inside = _configuration(here)
        return inside.model_fields if inside else ()


def _unknown(field: str, level: Sequence[str], names: Sequence[str]) -> str:
    """The setting that was meant: the same name elsewhere, one like it here, one like it elsewhere; or those here."""
    place, _, name = field.rpartition(".")
    here = [_join(place, one) for one in level]
    hint = (
        did_you_mean(name, [one for one in names if _last(one) == name], _last)
        or did_you_mean(name, here, _last)
        or did_you_mean(name, names, _last)
        or f"; the settings are: {', '.join(here)}"
    )
    return f"{field} is not a setting{hint}"


def _configuration(annotation: Any) -> type[Config] | None:
    """The configuration that a field holds, where it holds one, or one or nothing."""
    kinds = (annotation, *(one for one in get_args(annotation) if type(None) in get_args(annotation)))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Config)), None)


def _values(annotation: Any) -> Any:
    """The type of the values of a mapping."""
    return get_args(annotation)[-1] if get_args(annotation) else None


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _last(dotted: str) -> str:
    return dotted.rpartition(".")[2]
