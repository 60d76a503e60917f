"""The base of every configuration: typed, closed, and readable when it is wrong."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from accord.errors import ConfigError


class Config(BaseModel):
    """A frozen pydantic model that refuses unknown fields and explains itself in one sentence.

    Example:
        >>> from pydantic import Field
        >>> class Demo(Config):
        ...     temperature: float = Field(0.1, gt=0, description="softmax temperature")
        >>> Demo.parse({"temperature": -1})
        Traceback (most recent call last):
        accord.errors.ConfigError: Demo.temperature = -1: input should be greater than 0
        >>> Demo.parse({"temprature": 1})
        Traceback (most recent call last):
        accord.errors.ConfigError: Demo.temprature is not a setting; the settings are: temperature
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @classmethod
    def parse(cls, values: dict[str, Any] | Self | None = None) -> Self:
        """Validate ``values``.

        Raises:
            ConfigError: a field is unknown or out of range; names field, value and what is allowed.
        """
        if isinstance(values, cls):
            return values
        try:
            return cls.model_validate(values or {})
        except ValidationError as error:
            raise ConfigError("; ".join(cls._sentence(item) for item in error.errors())) from None

    @classmethod
    def _sentence(cls, item: Any) -> str:
        field = ".".join([cls.__name__, *(str(part) for part in item["loc"])])
        if item["type"] == "extra_forbidden":
            return f"{field} is not a setting; the settings are: {', '.join(cls.model_fields)}"
        message = item["msg"].removeprefix("Value error, ")
        if isinstance(item["input"], dict):
            return f"{field}: {message[0].lower()}{message[1:]}"
        return f"{field} = {item['input']!r}: {message[0].lower()}{message[1:]}"
