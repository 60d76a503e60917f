"""PixPro on scenes of three or four emoji: is a task for cells better for cells than a task for whole crops?

1. The pixel task against the method's own instance branch (BYOL) after the same steps, by a linear probe that names the
   kind of thing in each cell. It could fail because each cell of a small map sees much of the picture anyway.
2. Propagation against comparing the plain cells. Without it the loss can run to its trivial end.
3. Both tasks together against each alone.
4. PixContrast, which contrasts cells, against SimCLR, which contrasts whole crops.

SimCLR is trained beside PixPro, too, for the record: the paper does not claim to beat it at this size. Questions are
asked with the paper's changes of colour and without: they may leave little to agree on in cells as small as these.

    accord claims run pixpro
"""

from __future__ import annotations

from shared.interest import POINT
from shared.scenes import KIND, SIDE, SIMCLR, masked_scenes, segmentation

from accord.claims import Arm, Claim, Question


def question(name: str, statement: str, method: str, baseline: str) -> Question:
    """A question about the linear probe."""
    return Question(name, statement, method=method, baseline=baseline, metric=KIND, **POINT)


PLAIN = {"method.colour": False}
INSTANCE = {"method.pixel_weight": 0.0, "method.instance_weight": 1.0}

CLAIM = Claim(
    slug="pixpro",
    kind_of_data="composed",
    paper="Consistency between cells that show the same place learns better features for dense tasks than contrast or "
    "consistency between whole crops; propagation is what makes it work without negatives.",
    data=masked_scenes,
    run={
        "method": {"name": "pixpro", "dim": 48, "hidden": 128, "momentum": 0.97, "crop_scale": [0.3, 1.0]},
        "encoders": {"image": {"name": "tiny_resnet", "options": {"size": SIDE, "width": 32}}},
        "training": {"epochs": 12, "batch_size": 64, "lr": 1e-3, "accelerator": "cpu"},
    },
    arms={
        "pixel": Arm(),
        "instance": Arm(INSTANCE),
        "pixel and instance": Arm({"method.instance_weight": 1.0}),
        "pixel, no propagation": Arm({"method.propagation": False}),
        "PixContrast": Arm({"method.objective": "pixcontrast"}),
        "SimCLR": Arm(SIMCLR),
        "pixel, no colours": Arm(PLAIN),
        "instance, no colours": Arm(INSTANCE | PLAIN),
        "pixel, no propagation, no colours": Arm({"method.propagation": False} | PLAIN),
        "PixContrast, no colours": Arm({"method.objective": "pixcontrast"} | PLAIN),
        "SimCLR, no colours": Arm({"method": {**SIMCLR["method"], "colour": 0.0}}),
    },
    measure=segmentation,
    questions=[
        question(
            "pixel against instance",
            "The pixel task gives better cells than the instance branch alone.",
            "pixel",
            "instance",
        ),
        question(
            "propagation",
            "Propagation gives better cells than comparing the plain ones.",
            "pixel",
            "pixel, no propagation",
        ),
        question(
            "both against pixel",
            "Both tasks together give cells at least as good as the pixel task alone.",
            "pixel and instance",
            "pixel",
        ),
        question(
            "both against instance",
            "Both tasks together give better cells than the instance branch alone.",
            "pixel and instance",
            "instance",
        ),
        question(
            "against SimCLR",
            "The pixel task gives better cells than SimCLR on whole crops.",
            "pixel",
            "SimCLR",
        ),
        question(
            "contrast of cells",
            "Contrast of cells gives better cells than SimCLR's of whole crops.",
            "PixContrast",
            "SimCLR",
        ),
        question(
            "pixel against instance, no colours",
            "The pixel task gives better cells than the instance branch alone where colours are left as they are.",
            "pixel, no colours",
            "instance, no colours",
        ),
        question(
            "propagation, no colours",
            "Propagation gives better cells than comparing the plain ones where colours are left as they are.",
            "pixel, no colours",
            "pixel, no propagation, no colours",
        ),
        question(
            "contrast of cells, no colours",
            "Contrast of cells gives better cells than SimCLR's of whole crops where colours are left as they are.",
            "PixContrast, no colours",
            "SimCLR, no colours",
        ),
    ],
    tuning="Nothing was tuned: the method's recipe for small pictures, the same for all arms. The arms without changes "
    "of colour, and the question about contrast of cells, were added after a first run.",
)
