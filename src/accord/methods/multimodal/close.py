"""CLOSE: I Can't Believe There's No Images! Learning Visual Tasks Using only Language Supervision (ICCV 2023).

A contrastive model lays pictures and texts in one space. A head is trained on *text* vectors of that frozen space and
used on those of pictures (Gu et al.). The two lie apart, so that text vectors are moved in training: by noise, which is
enough, or by what pairs say of the gap. Vectors of pictures are never moved.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from accord import config as settings
from accord.data.inputs import Input, TextInput
from accord.encoders.base import Encoder
from accord.encoders.generation import Caption, CaptionFit, Decoding
from accord.errors import ConfigError
from accord.functional import fit_gap, noise_for_cosine, segment_mean
from accord.functional.distributed import own_rows, world_size
from accord.functional.measures.transfer import StructuredNoise
from accord.methods.abilities import Ability, Answers, Captions, Classifies, Embeds
from accord.methods.base import Batch, DataInfo, Method, Stage, Step
from accord.methods.multimodal.transfer import CloseConfig, Space, SpaceConfig, build_adapter, space_of, usual_noise
from accord.methods.multimodal.transfer_heads import ClassHead, EntailmentHead, WritingHead, targets_of

LONGEST = {"answers": 16, "captions": 32}  # tokens written
MEASURED = ("shift", "linear", "cov")  # adapters that are made of pairs


class Close(Method, Embeds, Classifies, Captions, Answers):
    """A head on the vectors of a frozen space, trained on texts and used on whatever the space embeds.

    Batch keys: ``text`` (training); ``image``, or another modality of the space, in its place (use); by head ``label``,
    ``input_text``, ``answers (M, L)`` with ``answers_row (M,)``; ``text_raw (M, L)``, ``text_raw_row (M,)`` and
    ``text_raw_drawn (B,)`` where captions are written or averaged.

    Raises:
        ConfigError: the space embeds no texts or nothing else, there are no classes to learn, or texts have no ends.

    Example:
        >>> from accord.encoders import build_encoder
        >>> towers = {"image": build_encoder("image", "tiny_vit"),
        ...           "text": build_encoder("text", "tiny_text", texts=["a red ball", "a blue cup"])}
        >>> close = Close({}, towers, DataInfo(classes=("ball", "cup")))
        >>> ids, mask = towers["text"].input.tokenizer(["a red ball", "a blue cup"])
        >>> sorted(close.loss({"text": ids, "text_mask": mask, "label": torch.tensor([0, 1])}, Step()))
        ['total']
        >>> size = towers["image"].input.size
        >>> close.eval().classify({"image": torch.randn(3, 3, size, size)}).shape
        torch.Size([3, 2])
    """

    name: ClassVar[str] = "close"
    Config: ClassVar[type[settings.Config]] = CloseConfig
    in_space: ClassVar[bool] = True
    needs: Mapping[str, frozenset[str]] = {"image": frozenset({"pooled"}), "text": frozenset({"pooled"})}
    config: CloseConfig
    measured: Tensor

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        self.space = Space(self.config.space, self.encoders)
        self.training_only = tuple(f"space.{name}" for name in self.space.training_only)  # type: ignore[misc]
        self.lacks = frozenset({Classifies, Captions, Answers} - {self._gives})
        self.adapter = build_adapter(self.config, self.space.dim, self.noise)
        self.register_buffer("measured", torch.zeros(3))  # pairs, their mean cosine, distance of the centroids
        self.head = self._build_head(encoders["text"])

    @property
    def _gives(self) -> type[Ability]:
        given: dict[str, type[Ability]] = {"answers": Answers, "captions": Captions}
        return given.get(self.config.head, Classifies)

    def _build_head(self, text: Encoder) -> ClassHead | EntailmentHead | WritingHead:
        config, classes = self.config, len(self.data.classes)
        if self._gives is Classifies and classes < 2:
            raise ConfigError(
                f"method {self.name}, head {config.head}: needs labels of at least 2 classes, got {classes}"
            )
        if config.head == "classification":
            return ClassHead(self.space.dim, classes, config.hidden, self.data.multi_label)
        kind = EntailmentHead if config.head == "entailment" else WritingHead
        return kind(config, self.space.dim, text, classes)

    # --- what it reads ---

    @classmethod
    def wants(cls, config: Any) -> Mapping[str, frozenset[str]]:
        """What the space wants."""
        return config.space.wants

    @classmethod
    def locks(cls, config: Any) -> tuple[str, ...]:
        """All encoders: the space stays as it is."""
        return tuple(cls.wants(config))

    @classmethod
    def reads(cls, config: Any) -> tuple[str, ...]:
        """Texts alone."""
        beside = ("input_text",) * config.reads_words + ("answers",) * (config.head == "answers")
        return ("text", *beside)

    @classmethod
    def raw(cls, config: Any) -> Mapping[str, Input | None]:
        """The words of captions that are written, or of all that are averaged."""
        return {"text": None} if config.head == "captions" or config.texts == "mean" else {}

    @classmethod
    def learns_from_labels(cls, config: Any) -> bool:
        """Where classes are learnt."""
        return config.head in ("classification", "entailment")

    @classmethod
    def default_training(cls, config: Any) -> Mapping[str, Any]:
        """The paper's optimiser; more and larger steps than a pretrained language model needs, since heads are new."""
        usual = {"lr": 1e-3, "weight_decay": 0.0, "betas": (0.9, 0.999), "epochs": 30, "warmup": 0.0}
        batch = 32 if config.targets == "others" else 128
        return {**usual, "schedule": "poly", "power": 1.0, "batch_size": batch}

    @property
    def inputs(self) -> dict[str, Input]:
        """Also the words beside a picture, and answers to be written."""
        words = {"input_text": TextInput(self._tokenizer)} if self.config.reads_words else {}
        answers = {"answers": TextInput(self.head.tokenizer, "common")} if isinstance(self.head, WritingHead) else {}
        return {**super().inputs, **words, **(answers if self.config.head == "answers" else {})}

    @property
    def raw_inputs(self) -> dict[str, Input]:
        """All captions of a row."""
        tokenizer = self.head.tokenizer if isinstance(self.head, WritingHead) else self._tokenizer
        return {field: TextInput(tokenizer, "all") for field in self.raw(self.config)}

    @property
    def _tokenizer(self) -> Any:
        return self.encoders["text"].input.tokenizer  # type: ignore[union-attr]

    @property
    def subjects(self) -> tuple[str, ...]:
        """What it was trained on."""
        return self.subjects_of(("text",))

    def subjects_of(self, fields: Collection[str]) -> tuple[str, ...]:
        """A picture, or what else the space embeds; a text where there is none; and the words beside it."""
        seen = next((name for name in self.space.media if name in fields), "text")
        return (seen, "input_text") if self.config.reads_words else (seen,)

    # --- the space, and how its modalities lie apart ---

    @classmethod
    def settings_from(cls, bundle: Any) -> dict[str, Any]:
        """The space of a bundle."""
        from accord.methods.pretrained.bundle import JointSpace

        own = JointSpace.Config.parse(JointSpace.settings_from(bundle)).model_dump(mode="json")
        return {"space": SpaceConfig(method=JointSpace.name, settings=own)}

    def start_from(self, bundle: Any) -> tuple[str, ...]:
        """Its projections."""
        return self.space.method.start_from(bundle)

    @classmethod
    def settings_from_space(cls, space: Method) -> dict[str, Any]:
        """What rebuilds the space."""
        return {"space": space_of(space)}

    def take_space(self, space: Method) -> None:
        """All its weights but those of the encoders, which are there already."""
        self.space.load(space)

    @property
    def noise(self) -> float:
        """Standard deviation of the noise: as set, else the paper's for this head at the size of the space."""
        return usual_noise(self.config, self.space.dim) if self.config.noise is None else self.config.noise

    def fit_pairs(self, vectors: Mapping[str, Tensor]) -> str:
        """Measure the gap between texts and what comes in their place: the adapter's, and the level of the noise.

        Args:
            vectors: ``text`` and one other modality, ``(N, D)``, of pairs that are not the task's pictures.

        Raises:
            ConfigError: there are no texts among them, fewer than two pairs, or they are no nearer than chance and no
                noise is set.
        """
        seen = next((name for name in self.space.media if name in vectors), None)
        if seen is None or "text" not in vectors or len(vectors["text"]) < 2:
            raise ConfigError(f"method {self.name}: expected at least two pairs of a text and {self.space.media[0]}")
        gap = fit_gap(vectors[seen], vectors["text"], self.config.ridge)
        cosine = float(gap.mean_pair_cosine)
        if self.config.noise is None:
            if cosine <= 0:
                raise ConfigError(
                    f"pairs of text and {seen} have a mean cosine of {cosine:.2f}, which is no level for noise: take "
                    "another space, or say method.noise"
                )
            self.config = self.config.model_copy(update={"noise": noise_for_cosine(min(cosine, 1.0), self.space.dim)})
        self.adapter = build_adapter(self.config, self.space.dim, self.noise, gap).to(self.device)
        numbers = [torch.tensor(float(len(vectors["text"]))), gap.mean_pair_cosine, gap.centroid_distance]
        self.measured.copy_(torch.stack([number.float().cpu() for number in numbers]))
        return (
            f"{len(vectors['text']):,} pairs of text and {seen}: mean cosine {cosine:.2f}, centroids "
            f"{float(gap.centroid_distance):.2f} apart; noise {self.noise:.3f}"
        )

    # --- training, on texts ---

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One.

        Raises:
            ConfigError: the adapter is made of pairs, and there were none.
        """
        if self.config.adapter in MEASURED and not self.measured[0]:
            raise ConfigError(
                f"method {self.name}: adapter = {self.config.adapter} is measured on pairs: name rows with texts and "
                f"{self.space.media[0]} (--pairs, or pairs in the configuration), or take adapter = noise"
            )
        return (Stage(),)

    def training_features(self, batch: Batch, step: Step) -> Tensor:
        """Text vectors ``(B, D)`` as the head sees them in training: raw, averaged, made unit norm, then moved."""
        v = self._text_vectors(batch)
        rows, draws = own_rows(len(v)), step.generator(v.device)
        shape = (world_size() * len(v), v.shape[1])
        noise, along = (torch.randn(shape, generator=draws, device=v.device)[rows] for _ in range(2))
        if isinstance(self.adapter, StructuredNoise):
            moved: Tensor = self.adapter(v, noise, along @ self.adapter.root.T)
        else:
            moved = self.adapter(v, noise)
        return moved

    def test_features(self, batch: Batch) -> Tensor:
        """Vectors ``(B, D)`` of what rows show, as they are; of their texts where they show nothing."""
        seen = next((name for name in self.space.media if name in batch), None)
        if seen is None:
            moved: Tensor = self.adapter(self._text_vectors(batch))
            return moved
        return self.space.embed({key: batch[key] for key in batch if key.startswith(seen)})[seen]

    def _text_vectors(self, batch: Batch) -> Tensor:
        """Unit norm ``(B, D)``; the mean of several captions is that of the vectors as long as they are."""
        if self.config.texts == "one" or "text_raw" not in batch:
            return self.space.embed({"text": batch["text"], "text_mask": batch.get("text_mask")})["text"]
        every = self.space.vectors({"text": batch["text_raw"], "text_mask": batch["text_raw_mask"]})["text"]
        return F.normalize(segment_mean(every, batch["text_raw_row"], len(batch["text_raw_drawn"])), dim=1)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Cross-entropy of classes, or of the tokens of all texts of the batch."""
        features = self.training_features(batch, step)
        if isinstance(self.head, WritingHead):
            field = "answers" if self.config.head == "answers" else "text_raw"
            others = self.config.targets == "others"
            return {"total": self.head.loss(features, batch, targets_of(batch, field, others))}
        return {"total": self.head.loss(features, batch)}

    # --- use, on whatever the space embeds ---

    @property
    def embeds(self) -> tuple[str, ...]:
        """What the space embeds."""
        return self.space.embeds

    @property
    def cosine_scale(self) -> float:
        """That of the space."""
        return self.space.able.cosine_scale

    @property
    def cosine_bias(self) -> float | None:
        """That of the space."""
        return self.space.able.cosine_bias

    @property
    def templates(self) -> tuple[str, ...]:
        """Those of the space."""
        return self.space.able.templates

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Vectors of the frozen space."""
        return self.space.embed(batch)

    def classify(self, batch: Batch) -> Tensor:
        """Class logits ``(B, C)`` of what rows show, or of their texts."""
        assert not isinstance(self.head, WritingHead)  # it lacks the ability
        return self.head(self.test_features(batch), batch)

    @torch.inference_mode()
    def caption(self, batch: Batch, decoding: Decoding) -> list[Caption]:
        """A caption for what each row shows."""
        return self._write(batch, decoding)

    @torch.inference_mode()
    def answer(self, batch: Batch, decoding: Decoding) -> list[Caption]:
        """An answer to the question of each row."""
        return self._write(batch, decoding)

    def _write(self, batch: Batch, decoding: Decoding) -> list[Caption]:
        assert isinstance(self.head, WritingHead)
        return self.head.write(self.test_features(batch), batch, decoding, LONGEST[self.config.head])

    @torch.inference_mode()
    def read_captions(self, batch: Batch) -> CaptionFit:
        """How well the caption of each row is predicted from what it shows."""
        assert isinstance(self.head, WritingHead)
        return self.head.fit(self.test_features(batch), batch, targets_of(batch, "text_raw", others=False))
