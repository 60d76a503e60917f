"""Several methods of one kind, trained one after the other on the same rows, whose vectors stand side by side.

A method that wraps another one derives from it and says what becomes of the data between two members. Whatever the
wrapped method declares of its training (views, stages, optimisers, hooks) holds for each member.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from accord.data.augmenting.views import View
from accord.data.inputs import Input
from accord.encoders import build_encoder
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.methods.abilities import Embeds
from accord.methods.base import Batch, DataInfo, Group, Loader, Method, Stage, Step
from accord.methods.programme import ClipsAround
from accord.methods.registry import get_method

if TYPE_CHECKING:
    from accord.data.augmenting.text_views import TextView
    from accord.encoders.bundles import Bundle


def refuse_base(name: str, config: Mapping[str, Any]) -> None:
    """Refuse a method that cannot be trained several times over.

    Raises:
        ValueError: says why.
        ConfigError: there is no such method, or a setting of it is wrong.
    """
    kind = get_method(name)
    reads = kind.wants(kind.Config.parse(dict(config), at="method.base_settings"))
    reasons = {
        "it wraps another method": issubclass(kind, Members),
        "it is not trained": kind.loss is Method.loss,
        "it embeds nothing": not issubclass(kind, Embeds),
        "it learns from labels or targets": kind.learns_labels or bool(kind.targets),
        "it draws its rows itself": kind.sampling is not Method.sampling,
        "it changes batches, captions or shapes": bool(kind.mixes or kind.resizable)
        or kind.prepare_texts is not Method.prepare_texts,
        "it reads a graph as a whole": "graph" in reads,
    }
    wrong = next((reason for reason, holds in reasons.items() if holds), None)
    if wrong is not None:
        raise ValueError(f"base = {name!r}: {wrong}; take a method of pictures or pairs, such as clip")


class Members(Method, Embeds):
    """Members of one base method, of which each but the first has its own copies of the encoders that are trained.

    A subclass's configuration has ``base`` and ``base_settings``, ``init`` and ``integration``. The buffer ``place``
    says which member was trained last; its vectors are the last of those that stand side by side.

    Args:
        config: as of every method.
        encoders: the first member's; those that are frozen are everybody's.
        data: as of every method.
        count: how many members there are.
    """

    config: Any
    place: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo, count: int) -> None:
        super().__init__(config, encoders, data)
        kind, own = _base(self.config)
        first = kind(own, encoders, data)
        self.members = nn.ModuleList([first, *(self._member(first) for _ in range(1, count))])
        self.copies = nn.ModuleList(
            nn.ModuleDict({name: own for name, own in member.encoders.items() if own is not encoders[name]})
            for member in self.each[1:]
        )
        for member in self.each:  # encoders stand above and are only known here: no weight has two names
            known = member.encoders
            del member.encoders
            object.__setattr__(member, "encoders", known)
        self.register_buffer("place", torch.tensor(0))
        if any(inner.freeze_epochs for inner in first.stages):
            raise ConfigError(f"method.base = {kind.name}: it holds its encoders still at first; take another base")
        if self.config.integration == "raw" and not self._raw:
            raise ConfigError(f"method.integration = raw: {kind.name} gives vectors of unit norm alone; take each")

    def _member(self, first: Method) -> Method:
        """A further member."""
        frozen = {id(encoder): encoder for encoder in _encoders(first).values() if encoder.frozen}
        if self.config.init != "scratch":
            return deepcopy(first, dict(frozen))
        fresh = {
            name: encoder if encoder.frozen else build_encoder(name, encoder.spec(), weights=False)
            for name, encoder in _encoders(first).items()
        }
        return type(first)(first.config, fresh, self.data)

    @property
    def each(self) -> list[Method]:
        """The members."""
        return list(self.members)  # type: ignore[arg-type]

    def start_as(self, number: int, other: int) -> None:
        """Give a member the weights and buffers of another."""
        member, before = self.each[number], self.each[other]
        member.load_state_dict(before.state_dict())
        for name, encoder in member.encoders.items():
            encoder.load_state_dict(before.encoders[name].state_dict())

    # --- what the base declares ---

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """What the base wants."""
        kind, own = _base(config)
        return kind.wants(own)

    @classmethod
    def reads(cls, config: Any) -> tuple[str, ...]:
        """What the base reads."""
        kind, own = _base(config)
        return kind.reads(own)

    @classmethod
    def raw(cls, config: Any) -> Mapping[str, Input | None]:
        """What the base takes as it is read."""
        kind, own = _base(config)
        return kind.raw(own)

    @classmethod
    def locks(cls, config: Any) -> tuple[str, ...]:
        """What the base takes as given."""
        kind, own = _base(config)
        return kind.locks(own)

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """Those of the base."""
        kind, own = _base(config)
        return kind.default_encoders(own)

    @classmethod
    def default_training(cls, config: Any) -> Mapping[str, Any]:
        """That of the base."""
        kind, own = _base(config)
        return kind.default_training(own)

    def start_from(self, bundle: Bundle) -> tuple[str, ...]:
        """What the base takes over, for every member."""
        taken = self.each[0].start_from(bundle)
        for member in self.each[1:]:
            member.load_state_dict(self.each[0].state_dict())
        return taken

    @property
    def views(self) -> tuple[View, ...]:
        """Those of the base."""
        return self.each[0].views

    def one_size(self, side: int) -> str:
        """What the base says."""
        return self.each[0].one_size(side)

    @property
    def text_views(self) -> tuple[TextView, ...]:
        """Those of the base."""
        return self.each[0].text_views

    @property
    def clips(self) -> ClipsAround | None:
        """Those of the base."""
        return self.each[0].clips

    def group(self, name: str) -> Group:
        """That which the parameter has in its member."""
        home, _, rest = name.partition(".")
        inner = rest.partition(".")[2]
        return self.each[0].group({"members": inner, "copies": f"encoders.{inner}"}.get(home, name))

    # --- stages and hooks, each for its member ---

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of each member in turn; what others have learnt stays as it is."""
        return tuple(
            replace(
                inner,
                name=name,
                train=self._names(number, inner.train or ("",)),
                optimisers=tuple(
                    replace(mover, parameters=self._names(number, mover.parameters)) for mover in inner.optimisers
                ),
            )
            for name, (number, inner) in self._programme().items()
        )

    def _programme(self) -> dict[str, tuple[int, Stage]]:
        """Name of a stage -> number of the member, and what the base calls it."""
        return {
            f"stage{number}" + (f" {inner.name}" if len(member.stages) > 1 else ""): (number, inner)
            for number, member in enumerate(self.each)
            for inner in member.stages
        }

    def _names(self, number: int, prefixes: tuple[str, ...]) -> tuple[str, ...]:
        """A member's name prefixes of parameters as they are called here; of those that name one."""
        own, encoders = f"members.{number}.", f"copies.{number - 1}." if number else "encoders."
        found = [
            name
            for prefix in prefixes
            for name in (
                [own, encoders]
                if not prefix
                else [encoders + prefix.removeprefix("encoders.") if prefix.startswith("encoders.") else own + prefix]
            )
        ]
        there = [name for name, _ in self.named_parameters()]
        return tuple(prefix for prefix in found if any(name.startswith(prefix) for name in there))

    def told(self, step: Step) -> tuple[int, Method, Step]:
        """Number of the member that is trained at a step, the member, and the step as it is told of it."""
        number, inner = self._programme()[step.stage]
        return number, self.each[number], replace(step, stage=inner.name)

    def lr_factor(self, group: str, step: Step, warmup: int) -> float:
        """That of the base."""
        _, member, own = self.told(step)
        return member.lr_factor(group, own, warmup)

    def mix(self, batch: Batch, step: Step) -> Batch:
        """That of the base."""
        _, member, own = self.told(step)
        return member.mix(batch, own)

    def active(self, step: Step) -> bool:
        """As the base says."""
        _, member, own = self.told(step)
        return member.active(own)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """That of the base."""
        _, member, own = self.told(step)
        return member.loss(batch, own)

    @property
    def converged(self) -> bool:
        """As the member says that is trained."""
        return self.each[int(self.place)].converged

    def before_stage(self, stage: Stage, loader: Loader) -> None:
        """Note which member it is the turn of, and let it begin."""
        number, inner = self._programme()[stage.name]
        self.place.fill_(number)
        self.each[number].before_stage(inner, loader)

    def before_epoch(self, step: Step, loader: Loader) -> None:
        """That of the base."""
        _, member, own = self.told(step)
        member.before_epoch(own, loader)

    def after_backward(self, step: Step) -> None:
        """That of the base."""
        _, member, own = self.told(step)
        member.after_backward(own)

    def after_step(self, step: Step) -> None:
        """That of the base."""
        _, member, own = self.told(step)
        member.after_step(own)

    def after_stage(self, stage: Stage, loader: Loader) -> None:
        """That of the base."""
        number, inner = self._programme()[stage.name]
        self.each[number].after_stage(inner, loader)

    # --- vectors ---

    @property
    def embeds(self) -> tuple[str, ...]:
        """What the base embeds."""
        return self._able[0].embeds

    @property
    def cosine_scale(self) -> float:
        """That of the member that was trained last."""
        return self._able[int(self.place)].cosine_scale

    @property
    def cosine_bias(self) -> float | None:
        """Likewise."""
        return self._able[int(self.place)].cosine_bias

    @property
    def templates(self) -> tuple[str, ...]:
        """Those of the base."""
        return self._able[0].templates

    @property
    def _able(self) -> list[Embeds]:
        return list(self.members)  # type: ignore[arg-type]

    @property
    def _raw(self) -> bool:
        return type(self._able[0]).vectors is not Embeds.vectors

    def vectors(self, batch: Batch) -> dict[str, Tensor]:
        """Vectors of all members trained so far side by side, raw or each of unit norm."""
        each = self.config.integration == "each" or not self._raw
        trained = self._able[: int(self.place) + 1]
        parts = [member.embed(batch) if each else member.vectors(batch) for member in trained]
        return {name: torch.cat([part[name].float() for part in parts], dim=1) for name in parts[0]}

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The same, of unit norm as a whole."""
        return {name: F.normalize(vectors, dim=1) for name, vectors in self.vectors(batch).items()}


def _base(config: Any) -> tuple[type[Method], Any]:
    """The base's class and its settings with defaults."""
    kind = get_method(config.base)
    return kind, kind.Config.parse(dict(config.base_settings), at="method.base_settings")


def _encoders(method: Method) -> dict[str, Encoder]:
    return {name: encoder for name, encoder in method.encoders.items() if isinstance(encoder, Encoder)}
