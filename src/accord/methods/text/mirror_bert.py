"""Mirror-BERT: Fast, Effective, and Self-Supervised (Liu et al., EMNLP 2021).

A text and its copy with a few characters hidden are positives, under dropout; NT-Xent in both directions, with the
texts on the same side as negatives too. Ten thousand texts and one epoch are enough for a pretrained encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from accord import config as settings
from accord.data.augmenting.text_views import TextView
from accord.encoders.base import Encoder
from accord.errors import ConfigError
from accord.functional import gather_features, nt_xent
from accord.methods.base import Batch, DataInfo, Step
from accord.methods.text.sentences import SentenceConfig, Sentences, spread_of


class MirrorBertConfig(SentenceConfig):
    """Settings of :class:`MirrorBert`; defaults from the paper's runs on sentences."""

    temperature: float = Field(0.04, gt=0, description="divides the cosines (0.2 for single words)")
    hide: int = Field(5, ge=0, description="characters in a row that the copy hides, of texts of thirty and more")


class MirrorBert(Sentences):
    """Mirror-BERT over any text encoder.

    Batch keys: ``text (B, L)``, ``text_mask (B, L)``, ``text_views`` a pair of the same, with hidden characters.

    Example:
        >>> from accord.encoders import build_encoder
        >>> text = build_encoder("text", {"name": "tiny_text", "pool": "mean"}, texts=["a red ball"])
        >>> MirrorBert({}, {"text": text}, DataInfo()).text_views[0].hide
        5
    """

    name: ClassVar[str] = "mirror_bert"
    Config: ClassVar[type[settings.Config]] = MirrorBertConfig
    config: MirrorBertConfig

    def __init__(self, config: Any, encoders: Mapping[str, Encoder], data: DataInfo) -> None:
        super().__init__(config, encoders, data)
        if self.config.hide and self.special.mask is None:
            raise ConfigError(
                f"method {self.name} hides characters behind a mask token, and the text encoder's tokenizer has none: "
                "choose another text encoder, or set method.hide=0"
            )

    @property
    def text_views(self) -> tuple[TextView, ...]:
        """The text once more, or another one of the row, with hidden characters."""
        return (TextView(caption="other", hide=self.config.hide),)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """NT-Xent over the texts of all processes and their copies."""
        found = self.of_views([(batch["text"], batch.get("text_mask")), batch["text_views"][0]])
        first, second = (gather_features(vector, with_grad=True) for vector in found)
        total = nt_xent(first, second, self.config.temperature)
        terms = {"contrastive": total.detach(), "total": total}
        return {**terms, **spread_of(first, second)} if step.watched else terms
