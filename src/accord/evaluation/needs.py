"""What a task may need of a model, of the rows that it is scored on, and of rows that it learns from.

Needs are data: whether a task fits, the sentence that says why it does not, and the table of the documentation come
from them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accord.data.fields import declared
from accord.errors import ConfigError

if TYPE_CHECKING:
    from accord.data.corpus import Corpus
    from accord.data.recipe import Prepared
    from accord.methods.abilities import Ability


class Need(ABC):
    """Something without which a task cannot be run."""

    fields: Sequence[str] = ()  # columns of the rows that it asks for

    @property
    @abstractmethod
    def words(self) -> str:
        """What is needed, after "it needs"."""

    @abstractmethod
    def lack(self, model: Any, prepared: Prepared) -> str | None:
        """What there is instead and what to do, as a clause; None where the need is met.

        Args:
            model: an :class:`accord.training.model.Model`.
            prepared: the corpora; the rows that are scored are ``prepared.test``.
        """


# --- of the model ---


@dataclass(frozen=True)
class Can(Need):
    """The method has an ability."""

    ability: type[Ability]

    @property
    def words(self) -> str:
        """Such as "a method that can write captions"."""
        return f"a method that can {self.ability.does}"

    def lack(self, model: Any, prepared: Prepared) -> str | None:
        """Names the method, and those that can."""
        if model.can(self.ability):
            return None
        from accord.methods import named_with

        return f"{model.method.name} cannot; methods that can: {named_with(self.ability)}"


@dataclass(frozen=True)
class Cannot(Need):
    """The method lacks an ability that makes the task superfluous."""

    ability: type[Ability]

    @property
    def words(self) -> str:
        """Such as "a method that cannot classify by itself"."""
        return f"a method that cannot {self.ability.does}"

    def lack(self, model: Any, prepared: Prepared) -> str | None:
        """Names the method."""
        return f"{model.method.name} can" if model.can(self.ability) else None


@dataclass(frozen=True)
class Embeds(Need):
    """The model embeds a modality, whatever the rows have."""

    modality: str

    @property
    def words(self) -> str:
        """Such as "a model that embeds text"."""
        return f"a model that embeds {self.modality}"

    def lack(self, model: Any, prepared: Prepared) -> str | None:
        """Names what the model embeds."""
        return None if self.modality in model.modalities else _embedded(model)


class Maps(Need):
    """The image encoder gives features of the cells of a picture."""

    words = "an image encoder that gives a map of its cells"

    def lack(self, model: Any, prepared: Prepared) -> str | None:
        """Says what the model says of it."""
        from accord.methods.base import map_encoder

        try:
            map_encoder(model.method)
        except ConfigError as error:
            return str(error)
        return None


@dataclass(frozen=True)
class Taught(Need):
    """The method learns from a target, so that what it says of rows can be held against theirs."""

    target: str

    @property
    def words(self) -> str:
        """Such as "a method that learns from mask"."""
        return f"a method that learns from {self.target}"

    def lack(self, model: Any, prepared: Prepared) -> str | None:
        """Names the method, and what it learns from."""
        method = model.method
        if self.target in method.targets:
            return None
        return f"{method.name} learns from {' and '.join(method.targets) or 'no target'}"


# --- of the rows ---


class Rows(Need):
    """The rows have columns: modalities, groups, targets; fields of :class:`accord.data.columns.Columns`."""

    def __init__(self, *fields: str) -> None:
        self.fields = fields

    @property
    def words(self) -> str:
        """Such as "rows with image and text"."""
        return f"rows with {' and '.join(self.fields)}"

    def lack(self, model: Any, prepared: Prepared) -> str | None:
        """Names the first that is missing, and the option that names it."""
        return _missing(prepared.test, self.fields)


class Either(Need):
    """The rows have one of several columns; the first of them is taken."""

    def __init__(self, *fields: str) -> None:
        self.fields = fields

    @property
    def words(self) -> str:
        """Such as "rows with instances or boxes"."""
        return f"rows with {' or '.join(self.fields)}"

    def of(self, corpus: Corpus) -> str:
        """The first that the rows have; where they have none, the last."""
        return next((field for field in self.fields if getattr(corpus.columns, field, None)), self.fields[-1])

    def lack(self, model: Any, prepared: Prepared) -> str | None:
        """Names the options of all."""
        if _missing(prepared.test, [self.of(prepared.test)]) is None:
            return None
        options = " or ".join(f"{declared(field).option} COL" for field in self.fields)
        return f"{_has(prepared.test)}; name a column with {options}"


class Subjects(Need):
    """The rows have what the method looks at: pictures, of a method of pictures."""

    words = "rows with what the method looks at"

    def lack(self, model: Any, prepared: Prepared) -> str | None:
        """Names the first that is missing, and the option that names it."""
        return _missing(prepared.test, model.method.subjects_of(prepared.test.columns.readable))


class Makes(Need):
    """The rows have what the method makes: pictures, of a method that makes pictures."""

    words = "rows with what the method makes"

    def lack(self, model: Any, prepared: Prepared) -> str | None:
        """Names it, and the option that names its column."""
        return _missing(prepared.test, [model.method.makes])


@dataclass(frozen=True)
class Shared(Need):
    """The rows have modalities that the model embeds.

    Args:
        at_least: how many.
        besides: one that does not count.
    """

    at_least: int = 1
    besides: str = ""

    @property
    def words(self) -> str:
        """Such as "3 modalities that the rows have and the model embeds"."""
        many = "a modality" if self.at_least == 1 else f"{self.at_least} modalities"
        besides = f" besides {self.besides}" if self.besides else ""
        return f"{many}{besides} that the rows have and the model embeds"

    def lack(self, model: Any, prepared: Prepared) -> str | None:
        """Names what the rows have and what the model embeds."""
        shared = {name for name in model.modalities if name in prepared.test.modalities} - {self.besides}
        return None if len(shared) >= self.at_least else f"{_has(prepared.test)} and {_embedded(model)}"


@dataclass(frozen=True)
class Labels(Need):
    """The rows have labels of at least two classes.

    Args:
        known: of classes that the model was trained on.
    """

    known: bool = False

    @property
    def words(self) -> str:
        """Such as "labels of at least two classes"."""
        return "labels of classes that the model was trained on" if self.known else "labels of at least two classes"

    def lack(self, model: Any, prepared: Prepared) -> str | None:
        """Says what labels there are."""
        from accord.evaluation.classification import scored_rows

        test = prepared.test
        if test.labels is None:
            return f"{test.name} has none; name their column with --label COL"
        if len(test.classes) < 2 or not len(scored_rows(test)[0]):
            return f"{test.name} has {len(test.classes)} classes and {len(test) - test.unlabelled} rows with one"
        if self.known and not set(test.classes) <= set(model.classes):
            return f"{test.name} has others, such as {min(set(test.classes) - set(model.classes))!r}"
        return None


class Unlabelled(Need):
    """Some rows have one label each, others are of none of the classes."""

    words = "rows of none of the classes"

    def lack(self, model: Any, prepared: Prepared) -> str | None:
        """Says that every row is of a class."""
        test = prepared.test
        if test.multi_label:
            return f"{test.name} may have several labels a row"
        labels = test.labels if test.truth is None else test.truth
        return None if labels is not None and (labels < 0).any() else f"every row of {test.name} has one"


class Reference(Need):
    """There are training rows to learn from, which have columns; ``label`` means that some row has a label."""

    def __init__(self, *fields: str) -> None:
        self.fields = fields

    @property
    def words(self) -> str:
        """Such as "training rows with label"."""
        return f"training rows with {' and '.join(self.fields)}"

    def lack(self, model: Any, prepared: Prepared) -> str | None:
        """Says that there are no such rows."""
        reference = prepared.reference
        if not len(reference):
            return "there are no training rows; evaluate on the run's own data"
        columns = [field for field in self.fields if field != "label"]
        if "label" in self.fields and (reference.labels is None or len(reference) == reference.unlabelled):
            return f"{reference.name} has no training row with a label"
        return _missing(reference, columns)


def main_modality(model: Any, corpus: Corpus) -> str:
    """What rows are looked at by: the model's first modality that they have, any other before text.

    Args:
        model: an embedder.
        corpus: the rows.
    """
    shared = [name for name in model.modalities if name in corpus.modalities]
    return next((name for name in shared if name != "text"), "text")


def beside_text(model: Any, corpus: Corpus) -> str:
    """What texts are compared with: the model's first modality besides text, one that the rows have before others.

    Args:
        model: an embedder.
        corpus: the rows.

    Raises:
        ConfigError: the model embeds texts alone.
    """
    others = [name for name in model.modalities if name != "text"]
    if not others:
        raise ConfigError(f"{_embedded(model)}, with nothing to compare texts with: choose a model of pairs")
    return str(next((name for name in others if name in corpus.modalities), others[0]))


def _missing(corpus: Corpus, fields: Any) -> str | None:
    missing = next((field for field in fields if not getattr(corpus.columns, field, None)), None)
    return missing and f"{_has(corpus)}; name the column with {declared(missing).option} COL"


def _has(corpus: Corpus) -> str:
    return f"{corpus.name} has {', '.join(name for name, _ in corpus.columns.items()) or 'nothing that is read'}"


def _embedded(model: Any) -> str:
    return f"the model embeds {', '.join(model.modalities) or 'nothing'}"
