"""What a package of somebody else brings for a kind of task that Accord has none of: a task, a method, an encoder."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from accord.config import Config
from accord.data.inputs import TextInput
from accord.encoders import Encoder, Features
from accord.evaluation.metric import Metric, mean_metric
from accord.evaluation.needs import Can, Rows, Subjects
from accord.evaluation.sections import Curves
from accord.evaluation.task import Options, Task
from accord.methods.abilities import FindsMoments, Moments
from accord.methods.base import Batch, Method, Step


class StartsOptions(Options):
    """Options of the task."""

    within: tuple[float, ...] = Field((3.0, 2.0, 1.0), min_length=1, description="seconds that a start may be off")


def delays(model: Any, rows: Any) -> Tensor:
    """Seconds ``(n,)`` by which the likeliest span of every sentence starts too early or too late."""
    able = model.able(FindsMoments)

    def of_batch(batch: Batch) -> Tensor:
        found = torch.cat([answer.spans[:, 0, 0] for answer in able.find_moments(batch)])  # (n,)
        return (found - batch["moments"][batch["moment_present"]][:, 0]).abs().cpu()

    return torch.cat(model.over_batches(rows, of_batch, targets=("moments",)))


def run(model: Any, prepared: Any, options: StartsOptions) -> list[Metric]:
    """Share of sentences within each of the seconds."""
    off = delays(model, prepared.test)
    return [mean_metric(f"starts within {most:g} s", off <= most, chance=None) for most in options.within]


def shows(model: Any, prepared: Any, options: StartsOptions) -> list[Curves]:
    """The share over the seconds."""
    off = delays(model, prepared.test)
    line = [(float(most), 100 * float((off <= most).float().mean())) for most in range(5)]
    return [Curves("Sentences whose start is found.", {"found": line}, x="seconds", y="recall", title="Starts")]


STARTS = Task(
    "starts",
    measures="share of sentences whose moment starts where it was found",
    needs=(Can(FindsMoments), Subjects(), Rows("moments", "moment_text")),
    order=5,
    options=StartsOptions,
    run=run,
    shows=shows,
)


class Seconds:
    """A transcript of one word a second -> 1 for loud, 2 for quiet."""

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        ids = torch.tensor([[1 if word == "loud" else 2 for word in text.split()] for text in texts])
        return ids, torch.ones_like(ids, dtype=torch.bool)


class Transcript(Encoder):
    """The mean loudness of a transcript."""

    modality = "text"

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.input, self.map = 4, TextInput(Seconds()), nn.Linear(1, 4)

    def encode(self, x: Tensor, mask: Tensor | None = None) -> Features:
        return Features(pooled=self.map(x.float().mean(dim=1, keepdim=True)))

    def blocks(self) -> list[nn.Module]:
        return [self.map]

    def spec(self) -> dict[str, Any]:
        return {"name": "transcript"}


def build(options: Any, *, weights: Any, texts: Any = None) -> Transcript:
    return Transcript()


class Finder(Method, FindsMoments):
    """Looks for the seconds of the word that a sentence ends with; embeds nothing."""

    name: ClassVar[str] = "finder"
    Config: ClassVar[type[Config]] = Config
    needs: ClassVar[dict[str, frozenset[str]]] = {"text": frozenset({"pooled"})}

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        return {"total": self.encoders["text"](batch["text"]).pooled.square().mean()}

    def find_moments(self, batch: Batch) -> list[Moments]:
        spans = []
        for seconds, sentences in zip(batch["text"], batch["moment_text"], strict=True):
            places = [torch.nonzero(seconds == (1 if text.endswith("loud") else 2))[:, 0] for text in sentences]
            spans.append(torch.stack([torch.stack([found.min(), found.max() + 1]).float() for found in places]))
        return [Moments(each[:, None], torch.ones(len(each), 1)) for each in spans]
