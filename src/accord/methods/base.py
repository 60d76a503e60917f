"""The contract of every method: a batch becomes a loss, an input becomes an embedding.

Training, evaluation, search, reports and serving are written once against this file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from accord.config import Config
from accord.data.augmenting.views import View
from accord.data.fields import declarations
from accord.data.inputs import Input
from accord.data.modalities import modality_of
from accord.encoders.base import Encoder, Freeze
from accord.encoders.registry import giving
from accord.errors import ConfigError, no_such
from accord.methods.abilities import Embeds
from accord.methods.programme import (
    Batch,
    ClipsAround,
    DataInfo,
    Episode,
    Group,
    Loader,
    OneOfEach,
    Optimiser,
    Sampling,
    Stage,
    Step,
)
from accord.methods.shapes import Resized, picked, replace_tensor, take_shapes

if TYPE_CHECKING:
    from accord.data.augmenting.text_views import TextView
    from accord.encoders.bundles import Bundle


class Method(nn.Module):
    """Base of all methods.

    A subclass sets ``name`` (the registry name), ``Config``, ``needs`` and implements :meth:`loss`; everything else has
    a default. What it can do besides being trained it derives from :mod:`accord.methods.abilities`. Its encoders are
    ``self.encoders[modality]``. Parameters and buffers under a prefix of ``training_only`` (momentum copies, queues,
    teachers' features) are checkpointed, but no part of the finished model. One that is not trained has no
    :attr:`stages` and no loss.

    Args:
        config: the method's :class:`Config`.
        encoders: one encoder per modality.
        data: what is known of the training data.

    Raises:
        ConfigError: an encoder is missing or does not give what the method needs.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Config]]
    needs: Mapping[str, frozenset[str]]  # modality -> features, e.g. {"image": {"pooled"}}
    training_only: ClassVar[tuple[str, ...]] = ()
    sizes_suffice: ClassVar[tuple[str, ...]] = ()  # see :class:`accord.encoders.unbuilt.Unbuilt`
    learns_labels: ClassVar[bool] = False  # whether each training row has to have a label
    in_space: ClassVar[bool] = False  # whether it is trained in the space of another model, which a run has to name
    mixes: ClassVar[tuple[str, ...]] = ()  # fields that `mix` changes, whose features cannot be computed beforehand
    resizable: ClassVar[tuple[str, ...]] = ()  # name prefixes of parameters and buffers whose shape training changes
    targets: ClassVar[tuple[str, ...]] = ()  # names of :mod:`accord.data.targets` that each has to have, too
    target_fields: ClassVar[tuple[str, ...]] = ()  # further columns of these that it has to fill, such as moment_text

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__()
        self.config = self.Config.parse(config)
        self.data = data
        self.resized: list[Resized] = []  # what training has yet to follow
        self.needs = self.wants(self.config)
        for modality, wanted in self.needs.items():
            if modality not in encoders:
                raise ConfigError(f"method {self.name} needs an encoder for {modality}: pass {modality}=NAME")
            missing = wanted - encoders[modality].gives
            if missing:
                given, others = ", ".join(sorted(encoders[modality].gives)), giving(modality, wanted)
                raise ConfigError(
                    f"method {self.name} needs {', '.join(sorted(missing))} from the {modality} encoder, which gives "
                    f"only {given}: choose another {modality} encoder{f', such as {others[0]}' if others else ''}"
                )
        self.encoders = nn.ModuleDict({modality: encoders[modality] for modality in self.needs})
        _check_raw(self)

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """What a method with this configuration needs of which modality; ``needs`` unless settings decide."""
        return cls.needs

    @classmethod
    def reads(cls, config: Any) -> tuple[str, ...]:
        """The fields that a row must have; those of :meth:`wants` and :meth:`raw`.

        Fewer where an encoder reads what no row holds, such as a text encoder the names of the classes.
        """
        return tuple(dict.fromkeys([*cls.wants(config), *cls.raw(config)]))

    @classmethod
    def raw(cls, config: Any) -> Mapping[str, Input | None]:
        """Fields that are wanted as they are read (pixels, samples, words), and how they are prepared.

        What no encoder reads stands in a batch under its own name, as for an encoder. What one reads stands beside it
        as ``FIELD_raw``, whether its features are cached or not; None prepares it as the encoder is fed. Both show the
        same: no features are cached where there are ``views`` of the field.
        """
        return {}

    @classmethod
    def learns_from_labels(cls, config: Any) -> bool:
        """Whether each training row has to have a label; ``learns_labels`` unless settings decide."""
        return cls.learns_labels

    @classmethod
    def fills(cls, config: Any) -> tuple[str, ...]:
        """Further columns of its targets that a training row has to fill; ``target_fields`` unless settings decide."""
        return cls.target_fields

    @property
    def read_targets(self) -> tuple[str, ...]:
        """The targets that its batches hold in training; ``targets``, and those of added objectives."""
        return self.targets

    @classmethod
    def locks(cls, config: Any) -> tuple[str, ...]:
        """The modalities whose encoders are taken as given: the method refuses to train them."""
        return ()

    @classmethod
    def default_encoders(cls, config: Any) -> Mapping[str, Mapping[str, Any]]:
        """Encoders to take where the user names none and the usual ones do not fit.

        Modality -> ``name``, ``freeze`` and ``options``, as in :class:`accord.pipeline.config.EncoderConfig`.
        """
        return {}

    @classmethod
    def default_training(cls, config: Any) -> Mapping[str, Any]:
        """Settings of training, by name, to take where the user names none and the usual ones teach nothing."""
        return {}

    @classmethod
    def encoders_from(cls, config: Any, bundle: str) -> Mapping[str, Mapping[str, Any]]:
        """Encoders to take besides those of the pretrained joint space that a run starts from, given by its name.

        As :meth:`default_encoders`, which stand behind them: for an encoder that is made of one of the bundle's.
        """
        return {}

    @classmethod
    def settings_from(cls, bundle: Bundle) -> dict[str, Any]:
        """Settings that a pretrained joint space decides where the user does not: its size, if there is such a one."""
        return {"dim": bundle.dim} if "dim" in cls.Config.model_fields else {}

    def start_from(self, bundle: Bundle) -> tuple[str, ...]:
        """Take over what fits of a pretrained joint space, whose encoders it has already; returns in words what.

        The default is :func:`accord.methods.inherit.inherit`: ``projections`` and ``logit_scale``.
        """
        from accord.methods.inherit import inherit

        return inherit(self, bundle)

    @classmethod
    def settings_from_space(cls, space: Method) -> dict[str, Any]:
        """Settings that a trained model decides whose space a run takes as it is (``space`` of its configuration).

        Raises:
            ConfigError: the method takes none, or not this one.
        """
        raise ConfigError(f"method {cls.name} takes no space of another model: leave out space = {space.name}")

    def take_space(self, space: Method) -> None:
        """Take over the weights of that model, whose encoders it has already."""

    def fit_pairs(self, vectors: Mapping[str, Tensor]) -> str:
        """Learn from pairs beside the training rows (``pairs`` of a run), given by their embeddings.

        Args:
            vectors: modality -> ``(N, D)`` unit norm, aligned.

        Returns:
            What was learnt, in words.

        Raises:
            ConfigError: the method makes nothing of pairs, or not of these.
        """
        raise ConfigError(f"method {self.name} makes nothing of pairs beside the training rows: leave them out")

    @property
    def inputs(self) -> dict[str, Input]:
        """Field -> what it is prepared for: what its encoder is fed, or what :meth:`raw` says where it has none."""
        fed = {field: encoder.input for field, encoder in self.encoders.items() if isinstance(encoder, Encoder)}
        return {**{field: spec for field, spec in self.raw(self.config).items() if spec is not None}, **fed}

    @property
    def raw_inputs(self) -> dict[str, Input]:
        """Field -> what it is prepared for besides, as ``FIELD_raw``: those of :meth:`raw` that an encoder reads."""
        fed, wanted = self.inputs, self.raw(self.config).items()
        return {field: fed[field] if spec is None else spec for field, spec in wanted if field in self.encoders}

    @property
    def subjects(self) -> tuple[str, ...]:
        """What a row is besides its texts: the modalities that classes, captions and masks are about."""
        read = self.reads(self.config)
        return tuple(name for name in read if name != "text") or read

    def subjects_of(self, fields: Collection[str]) -> tuple[str, ...]:
        """What rows with these fields are looked at by.

        :attr:`subjects`, unless one modality may stand for another, as a picture for the text that was trained on.
        """
        return self.subjects

    @property
    def views(self) -> tuple[View, ...]:
        """Augmented views of training images, or of clips where no images are read; ``batch["image"]`` is the first."""
        return ()

    def one_size(self, side: int) -> str:
        """The option that gives all views this size, for an encoder that takes no other; nothing without such one."""
        return ""

    @property
    def text_views(self) -> tuple[TextView, ...]:
        """Augmented views of the caption: ``batch["text_views"]``, beside ``batch["text"]``."""
        return ()

    @property
    def sampling(self) -> Sampling | None:
        """How the rows of an epoch are drawn, asked anew at the start of every epoch; None for every row once."""
        return None

    @property
    def clips(self) -> ClipsAround | None:
        """Which frames of a film a training clip has; None for what its encoder wants."""
        return None

    def group(self, name: str) -> Group:
        """The group of the parameter ``name``."""
        return Group()

    def lr_factor(self, group: str, step: Step, warmup: int) -> float:
        """Factor on the learning rate of a named group at a step, after ``warmup`` steps of warm-up."""
        raise NotImplementedError

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages in order."""
        return (Stage(),)

    @staticmethod
    def prepare_texts(captions: list[str]) -> list[str]:
        """The captions of one row as the method wants them tokenised (cleaned, joined); default unchanged."""
        return captions

    def mix(self, batch: Batch, step: Step) -> Batch:
        """The batch as the loss is to see it in training (mixup, cutmix); called once for each batch of a step."""
        return batch

    def active(self, step: Step) -> bool:
        """Whether the optimiser ``step.optimiser`` moves at this step; asked where a stage has several."""
        return True

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Named scalar terms; ``total`` is minimised by the optimiser ``step.optimiser``, the rest is logged."""
        raise NotImplementedError

    @property
    def converged(self) -> bool:
        """Whether the stage may end before its epochs are over; asked after every epoch."""
        return False

    def before_stage(self, stage: Stage, loader: Loader) -> None:
        """Run once before a stage; ``loader`` gives every training row once, in order, without augmentation."""

    def before_epoch(self, step: Step, loader: Loader) -> None:
        """Run before each epoch with the same kind of loader."""

    def after_backward(self, step: Step) -> None:
        """Run between the backward pass and an optimiser's step (gradients that a part is not to have)."""

    def after_step(self, step: Step) -> None:
        """Run after each step, when all optimisers have moved (clamps, moving averages)."""

    def after_stage(self, stage: Stage, loader: Loader) -> None:
        """Run once after a stage."""

    def resize(self, name: str, rows: Tensor, dim: int = 0) -> None:
        """Let a parameter or buffer keep some of its rows, in a hook; the optimiser's averages follow.

        Args:
            name: of a parameter or buffer under a prefix of ``resizable``.
            rows: ``(n,)`` int64, which of the present rows each is to be; -1 for a new one, of zeros.
            dim: the dimension of the rows.

        Raises:
            ConfigError: ``resizable`` does not list it, so that no checkpoint of it could be loaded.
        """
        if not name.startswith(self.resizable):
            raise ConfigError(f"method {self.name} resizes {name}: list it in {type(self).__name__}.resizable")
        before = self.state_dict()[name]
        replace_tensor(self, name, picked(before, rows, dim))
        self.resized.append(Resized(name, rows, dim, before.shape))

    def reshape(self, state: Mapping[str, Tensor]) -> None:
        """Give what is ``resizable`` the shapes that it has in ``state``, a state dict that is about to be loaded.

        A method that builds other modules in training builds them here as well.
        """
        take_shapes(self, state, self.resizable)

    @property
    def device(self) -> torch.device:
        """Where the method's parameters are."""
        return next(self.parameters()).device


def _check_raw(method: Method) -> None:
    """Refuse raw fields that no batch could hold.

    Raises:
        ConfigError: there is no such field, it is not read row by row, or nothing says how it is prepared.
    """
    read = [field for field, made in declarations().items() if made.modality]
    for field, spec in method.raw(method.config).items():
        if field not in read:
            raise ConfigError(f"method {method.name} takes {field} raw: {no_such('field', field, read)}")
        if not modality_of(field).by_row:
            raise ConfigError(
                f"method {method.name} takes {field} raw, which is not read row by row: leave it out, since a batch "
                "holds it as it is"
            )
        if field not in method.reads(method.config):
            raise ConfigError(f"method {method.name} takes {field} raw and does not read it: add it to `reads`")
        if spec is None and field not in method.encoders:
            raise ConfigError(
                f"method {method.name} takes {field} raw and has no encoder for it: say in `raw` how it is prepared, "
                "such as ImageInput(size=64)"
            )


class Objective(nn.Module):
    """A loss on the embeddings of any paired method, added to its own.

    A subclass sets ``name`` and ``Config`` and implements :meth:`forward`, or :meth:`of_batch` where it needs more than
    embeddings: the method itself, and ``targets`` of the rows. A row that lacks these stays in the batch.

    Args:
        config: the objective's :class:`Config`.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Config]]
    targets: ClassVar[tuple[str, ...]] = ()  # names of :mod:`accord.data.targets` that the rows have to have

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = self.Config.parse(config)

    @classmethod
    def fills(cls, config: Any) -> tuple[str, ...]:
        """Further columns of its targets that there have to be."""
        return ()

    def check(self, method: Paired) -> None:
        """Refuse a method that it cannot be added to.

        Raises:
            ConfigError: it is one; says why.
        """

    def of_batch(self, method: Paired, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """The terms of a batch: :meth:`forward` of the method's embeddings, unless a subclass looks at more."""
        terms: dict[str, Tensor] = self(method.embeddings(towers), step)
        return terms

    def forward(self, embeddings: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Named scalar terms of unit-norm embeddings ``{modality: (B, D)}``; ``total`` is added to the loss."""
        raise NotImplementedError


class Paired(Method, Embeds):
    """A method whose loss is a function of what its towers make of a batch, embeddings of two modalities among it.

    ``loss(batch, step)`` is ``objective(towers(batch), batch, step)`` plus the added objectives, which act on
    :meth:`embeddings`.
    """

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.added = nn.ModuleDict()

    def add(self, objective: Objective) -> None:
        """Add an objective to the loss.

        Raises:
            ConfigError: one of that name is there already, or it does not fit the method.
        """
        if objective.name in self.added or objective.name == self.name:
            raise ConfigError(f"objective {objective.name!r} is part of the loss already")
        objective.check(self)
        self.added[objective.name] = objective

    @property
    def read_targets(self) -> tuple[str, ...]:
        """Those of the method, then those of the objectives."""
        added = [name for objective in self.added.values() for name in objective.targets]  # type: ignore[union-attr]
        return tuple(dict.fromkeys([*self.targets, *added]))

    def towers(self, batch: Batch) -> dict[str, Tensor]:
        """Differentiable tensors, among them the unit-norm embedding ``(B, D)`` of each modality."""
        raise NotImplementedError

    def objective(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """The loss terms from the towers' outputs."""
        raise NotImplementedError

    def embeddings(self, towers: dict[str, Tensor]) -> dict[str, Tensor]:
        """Unit-norm embeddings ``{modality: (B, D)}`` among the towers' outputs."""
        return {modality: towers[modality] for modality in self.needs}

    def score(self, towers: dict[str, Tensor], batch: Batch, step: Step) -> dict[str, Tensor]:
        """:meth:`objective` and the added objectives; their terms are called ``NAME: TERM``."""
        terms = dict(self.objective(towers, batch, step))
        for name, objective in self.added.items():
            assert isinstance(objective, Objective)
            extra = objective.of_batch(self, towers, batch, step)
            terms["total"] = terms["total"] + extra["total"]
            terms |= {f"{name}: {term}": value.detach() for term, value in extra.items() if term != "total"}
        return terms

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """``score(towers(batch))``."""
        return self.score(self.towers(batch), batch, step)


class TwoTower(Paired):
    """A paired method whose towers work row by row, so that gradient caching applies.

    Every output of :meth:`towers` has the batch first and no row depends on another.
    """


def map_encoder(method: Method) -> Encoder:
    """The image encoder of a method, which gives a map of the cells of each picture.

    Raises:
        ConfigError: there is none, or it gives no map.
    """
    encoder = dict(method.encoders.items()).get("image")
    if not isinstance(encoder, Encoder) or "patches" not in encoder.gives:
        raise ConfigError(f"method {method.name}: the image encoder gives no map of its cells; choose another one")
    return encoder


__all__ = [
    "Batch",
    "DataInfo",
    "Episode",
    "Freeze",
    "Group",
    "Loader",
    "Method",
    "Objective",
    "OneOfEach",
    "Optimiser",
    "Paired",
    "Sampling",
    "Stage",
    "Step",
    "TwoTower",
    "map_encoder",
]
