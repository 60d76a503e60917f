"""A question as it stands in an address, so that it can be kept, shared and gone back to."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from pydantic import BaseModel, Field, field_validator

from accord.serving.searches import OWN

MOST = 1000  # answers to one question, on all pages together
_OPPOSITE = {"more": "less", "less": "more"}
Row = Annotated[int, Field(ge=0, lt=2**62)]
Words = Annotated[str, Field(max_length=2000)]


class Asked(BaseModel):
    """What a visitor asks, as it stands in the address."""

    model: str = Field("", max_length=500, description="a model, such as house; the newest where it is left out")
    data: str = Field(OWN, max_length=500, description="what is searched; the model's own data where it is left out")
    text: Words = Field("", description="words to look for")
    file: list[Annotated[str, Field(max_length=100)]] = Field(
        default_factory=list, max_length=5, description="handles of files that were uploaded"
    )
    like: Row | None = Field(None, description="a row, by its number")
    plus: list[Words] = Field(default_factory=list, max_length=20, description="words that answers should fit besides")
    minus: list[Words] = Field(default_factory=list, max_length=20, description="words that they should fit less")
    more: list[Row] = Field(default_factory=list, max_length=20, description="rows that answers should be like as well")
    less: list[Row] = Field(default_factory=list, max_length=20, description="rows that they should be like less")
    strength: float = Field(1.0, ge=0, le=5, allow_inf_nan=False, description="how much these four count")
    label: list[Annotated[str, Field(max_length=500)]] = Field(
        default_factory=list, max_length=100, description="classes; an answer has one of them"
    )
    k: int = Field(24, ge=1, le=200, description="answers on a page")
    page: int = Field(1, ge=1, le=MOST, description="which page of them")
    exact: bool = Field(False, description="look at every row also where there is an approximate index")
    candidates: int | None = Field(None, ge=0, le=MOST, description="rows that a second stage scores; 0 for none")

    @field_validator("plus", "minus", "file", "label", mode="after")
    @classmethod
    def _said(cls, given: list[str]) -> list[str]:
        return list(dict.fromkeys(each.strip() for each in given if each.strip()))

    @property
    def is_something(self) -> bool:
        """Whether anything is looked for."""
        return bool(self.text.strip() or self.file or self.altered) or self.like is not None

    @property
    def altered(self) -> bool:
        """Whether anything is added or taken."""
        return bool(self.plus or self.minus or self.more or self.less)

    @property
    def several(self) -> bool:
        """Whether things of several modalities are looked for together, which nothing can be added to."""
        return bool(self.text.strip()) + len(self.file) + (self.like is not None) > 1

    def address(self, path: str = "/search", /, **changes: Any) -> str:
        """The address that asks the same with some changes; a change of anything but the page begins at the first."""
        usual = type(self)()
        given = self.model_dump() | {"page": 1} | changes
        said = {name: value for name, value in given.items() if value != getattr(usual, name, None)}
        return f"{path}?{urlencode(said, doseq=True)}"

    def with_one(self, field: str, value: Any) -> str:
        """The address with one more of a field; a row is either added or taken."""
        changes = {field: list(dict.fromkeys([*getattr(self, field), value]))}
        if field in _OPPOSITE:
            other = _OPPOSITE[field]
            changes[other] = [each for each in getattr(self, other) if each != value]
        return self.address(**changes)

    def without(self, field: str, value: Any = None) -> str:
        """The address with one less of a field."""
        held = getattr(self, field)
        changes = {field: [each for each in held if each != value] if isinstance(held, list) else None}
        return self.address(**changes)

    def toggled(self, label: str) -> str:
        """The address with a class where it is not, and without where it is."""
        return self.without("label", label) if label in self.label else self.with_one("label", label)

    def place(self, path: str, /, **more: Any) -> str:
        """The address of something about the model and its data."""
        where = {name: value for name, value in (("model", self.model), ("data", self.data)) if value}
        return f"{path}?{urlencode({**where, **more})}"
