"""``zero_shot``: rows sorted into classes by the names of these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from accord.evaluation.metric import Metric
from accord.evaluation.needs import Embeds, Labels, Shared, main_modality
from accord.evaluation.task import Options, Task
from accord.evaluation.zero_shot import class_examples, evaluate_zero_shot, resolve_templates

if TYPE_CHECKING:
    from accord.data.recipe import Prepared
    from accord.training.model import Model


class ZeroShotOptions(Options):
    """Options of the task."""

    templates: str | tuple[str, ...] | None = Field(
        None,
        description="how class names are written: plain, photo, drawing, or texts with {}; none: as in training",
    )
    examples: int = Field(0, ge=0, description="captions of training rows that stand for their class beside its name")

    @field_validator("templates")
    @classmethod
    def _have_a_place(cls, templates: Any) -> Any:
        return templates if templates is None else resolve_templates(templates)


def run(model: Model, prepared: Prepared, options: ZeroShotOptions) -> list[Metric]:
    """Accuracies of the nearest class."""
    examples = class_examples(prepared.reference, options.examples) if options.examples else None
    templates = options.templates or model.templates
    return evaluate_zero_shot(model, prepared.test, templates, main_modality(model, prepared.test), examples)


TASK = Task(
    "zero_shot",
    measures="top-1, top-5 and macro accuracy of the class whose name is nearest, with an ensemble of prompt templates",
    needs=(Labels(), Embeds("text"), Shared()),
    order=30,
    options=ZeroShotOptions,
    run=run,
)
