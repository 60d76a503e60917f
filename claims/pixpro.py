"""PixPro on scenes of three or four emoji: is a task for cells better for cells than a task for whole crops?

1. The pixel task against the method's own instance branch (BYOL) after the same steps, by a linear probe that names the
   kind of thing in each cell. It could fail because each cell of a small map sees much of the picture anyway.
2. Propagation against comparing the plain cells. Without it the loss can run to its trivial end.
3. Both tasks together against each alone.

SimCLR on whole crops is trained beside, for the record: the paper does not claim to beat it at this size.

    accord claims run pixpro
"""

from __future__ import annotations

from shared.scenes import KIND, SIDE, SIMCLR, masked_scenes, segmentation

from accord.claims import Arm, Claim, Question


def question(name: str, statement: str, method: str, baseline: str, refuted: str) -> Question:
    """A question about the linear probe."""
    return Question(name, statement, method=method, baseline=baseline, metric=KIND, refuted=refuted)


CLAIM = Claim(
    slug="pixpro",
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
        "instance": Arm({"method.pixel_weight": 0.0, "method.instance_weight": 1.0}),
        "pixel and instance": Arm({"method.instance_weight": 1.0}),
        "pixel, no propagation": Arm({"method.propagation": False}),
        "PixContrast": Arm({"method.objective": "pixcontrast"}),
        "SimCLR": Arm(SIMCLR),
    },
    measure=segmentation,
    questions=[
        question(
            "pixel against instance",
            "The pixel task gives better cells than the instance branch alone.",
            "pixel",
            "instance",
            "not more than a standard deviation above",
        ),
        question(
            "propagation",
            "Propagation gives better cells than comparing the plain ones.",
            "pixel",
            "pixel, no propagation",
            "they are equal",
        ),
        question(
            "both against pixel",
            "Both tasks together give cells at least as good as the pixel task alone.",
            "pixel and instance",
            "pixel",
            "lower",
        ),
        question(
            "both against instance",
            "Both tasks together give better cells than the instance branch alone.",
            "pixel and instance",
            "instance",
            "not higher",
        ),
        question(
            "against SimCLR",
            "The pixel task gives better cells than SimCLR on whole crops.",
            "pixel",
            "SimCLR",
            "not higher; the paper's comparisons are at another scale",
        ),
    ],
    tuning="Nothing was tuned: the method's recipe for small pictures, the same for all arms.",
)
